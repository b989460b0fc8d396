//! Kernels: from Debian's package and from files of the user's own.

use banger_e2e::{Sandbox, fixture::image, processes, sandbox::entries, wait_for};
use rustix::process::Signal;
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

/// The files of the kernel that every sandbox has.
fn kernel_folder(sandbox: &Sandbox) -> PathBuf {
    let folders = entries(&sandbox.data().join("kernels"));
    let [folder] = &folders[..] else { panic!("{folders:?}") };
    folder.clone()
}

/// The catalog's kernel as Debian packs it.
pub(crate) fn bzimage(sandbox: &Sandbox) -> PathBuf {
    with_magic(sandbox, 0x202, b"HdrS")
}

/// The file of that kernel that has these bytes there.
fn with_magic(sandbox: &Sandbox, at: usize, magic: &[u8]) -> PathBuf {
    let has =
        |path: &PathBuf| fs::read(path).is_ok_and(|bytes| bytes.get(at..).is_some_and(|rest| rest.starts_with(magic)));
    let files = entries(&kernel_folder(sandbox));
    files.iter().find(|path| has(path)).unwrap_or_else(|| panic!("none of {files:?} is such a file")).clone()
}

#[test]
fn the_kernel_of_the_catalog_is_listed_and_shown() {
    let sandbox = Sandbox::new();
    let show = sandbox.banger("kernel show --json debian").run().json();
    let release = show["release"].as_str().unwrap();
    assert!(release.contains("cloud-amd64"), "{show}");
    let list = sandbox.banger("kernel list").run();
    assert!(list.ok().contains("debian") && list.ok().contains(release), "{list}");
    let output = sandbox.banger("vm run --rm -- uname -r").run();
    assert_eq!(output.ok(), release);
}

#[test]
fn a_kernel_that_is_not_here_is_still_listed_as_to_be_had() {
    let sandbox = Sandbox::empty();
    let list = sandbox.banger("kernel list").run();
    assert!(list.ok().contains("debian"), "{list}");
    sandbox.banger("kernel show nothing").run().fails_with(&["nothing"]);
    sandbox.banger("kernel pull nothing").run().fails_with(&["nothing"]);
}

#[test]
fn an_imported_kernel_boots_and_is_not_deleted_while_in_use() {
    let sandbox = Sandbox::new();
    let kernel = sandbox.scratch().join("bzImage");
    fs::copy(bzimage(&sandbox), &kernel).unwrap();
    // Without modules there is no disk: what is needed is not built into Debian's kernel.
    let modules = unpack_modules(&sandbox);
    let import = sandbox.banger("kernel import --modules").arg(&modules).arg(&kernel).arg("mine");
    import.run().ok();
    let output = sandbox.banger("vm run --name box --kernel mine -- uname -s").run();
    assert_eq!(output.ok(), "Linux");
    sandbox.banger("kernel delete mine").run().fails_with(&["mine", "box"]);
    sandbox.banger("vm delete --force box").run().ok();
    sandbox.banger("kernel delete mine").run().ok();
    sandbox.banger("kernel show mine").run().fails_with(&["mine"]);

    // The same as the plain ELF file that a kernel's build leaves.
    let elf = sandbox.scratch().join("vmlinux");
    fs::copy(with_magic(&sandbox, 0, b"\x7fELF"), &elf).unwrap();
    sandbox.banger("kernel import --modules").arg(&modules).arg(&elf).arg("plain").run().ok();
    let release = sandbox.banger("kernel show --json plain").run().json()["release"].clone();
    let output = sandbox.banger("vm run --rm --kernel plain -- uname -r").run();
    assert_eq!(output.ok(), release);
}

/// The modules folder of Debian's package, as a user would have it below `/lib/modules`.
fn unpack_modules(sandbox: &Sandbox) -> PathBuf {
    let folder = sandbox.scratch().join("package");
    fs::create_dir(&folder).unwrap();
    let show = sandbox.banger("kernel show --json debian").run().json();
    let package = format!("linux-image-{}", show["release"].as_str().unwrap());
    let apt = sandbox.tool("apt-get").words("-qq -o APT::Sandbox::User=root download");
    apt.arg(&package).folder(&folder).run().ok();
    let deb = entries(&folder).pop().unwrap();
    sandbox.tool("dpkg").words("-x").arg(&deb).arg(".").folder(&folder).run().ok();
    entries(&folder.join("lib/modules")).pop().unwrap()
}

#[test]
fn files_that_are_no_kernels_are_refused_and_leave_nothing() {
    let sandbox = Sandbox::new();
    let before = entries(&sandbox.data().join("kernels"));
    let text = sandbox.scratch().join("text");
    fs::write(&text, vec![b'x'; 70_000]).unwrap();
    let cut = sandbox.scratch().join("cut");
    let whole = fs::read(bzimage(&sandbox)).unwrap();
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    for file in [Path::new("/no/such/kernel"), &text, &cut] {
        let output = sandbox.banger("kernel import").arg(file).arg("bad").run();
        output.fails_with(&[file.to_str().unwrap()]);
    }
    assert_eq!(entries(&sandbox.data().join("kernels")), before);
    assert_eq!(entries(&sandbox.data().join("staging")), Vec::<PathBuf>::new());
}

#[test]
fn a_guest_that_stands_still_is_given_up_in_time_with_its_last_words() {
    let sandbox = Sandbox::new();
    let reference = image::busybox_reference();
    sandbox.configure(&format!("image = \"{reference}\"\nboot-timeout = 5\n"));
    sandbox.daemon_pid();
    let run = sandbox.banger("vm run --rm --name box -- true").start();
    wait_for("the boot", || {
        let open = sandbox.api("GET", "/operations", None).run().json();
        (open["operations"][0]["stage"]["stage"] == "boot").then_some(())
    });
    let vmm = sandbox.processes().into_iter().find(|process| process.command.contains("console.1.log"));
    processes::signal(vmm.unwrap_or_else(|| panic!("{:?}", sandbox.processes())).pid, Signal::STOP);
    // As a guest would that came this far.
    let console = entries(&sandbox.state().join("vms")).pop().unwrap().join("console.1.log");
    fs::OpenOptions::new().append(true).open(console).unwrap().write_all(b"the last word\n").unwrap();
    run.wait().fails_with(&["box", "did not answer within 5 s", "the last word"]);
    assert_eq!(sandbox.existing("box").show()["last_end"]["reason"]["why"], "never-ready");
    assert!(sandbox.banger("vm logs box").run().ok().contains("the last word"));
}
