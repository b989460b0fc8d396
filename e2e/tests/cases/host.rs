//! Hosts that lack something: a program, room, rights. Each is told with its subject and leaves nothing.

use banger_e2e::{
    Call, Output, Sandbox,
    fixture::image,
    need::is_root,
    place::{Place, find, users_home},
    processes,
    sandbox::entries,
    skip,
};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

/// The daemon looks for programs in the usual folders whatever the `PATH` says, so there has to be a place without them.
#[test]
fn root_no_mmdebstrap_no_qemu_no_passt() {
    let Some(hidden) = Hidden::make() else { skip!("missing programs", "needs root, unshare and mount") };
    hidden.without("mmdebstrap", "vm run --rm --image debian-bookworm -- true").fails_with(&["mmdebstrap"]);
    hidden.without("qemu-system-x86_64", "vm run --rm -- true").fails_with(&["qemu-system-x86"]);
    let doctor = hidden.without("qemu-system-x86_64", "doctor");
    doctor.expect_status(1);
    assert!(doctor.stdout.contains("apt-get install qemu-system-x86"), "{doctor}");
    hidden.without("passt", "vm run --rm --net user -- true").fails_with(&["passt"]);
    assert_eq!(hidden.without("passt", "vm run --rm -- ls /sys/class/net").ok(), "lo");
}

/// A sandbox whose daemon lives in a mount namespace where a program cannot be run.
struct Hidden {
    sandbox: Sandbox,
    nothing: PathBuf,
}

impl Hidden {
    fn make() -> Option<Self> {
        let able = is_root() && Call::new("unshare").words("--mount true").run().status.success();
        let sandbox = able.then(Sandbox::new)?;
        let nothing = sandbox.scratch().join("nothing");
        fs::write(&nothing, "").unwrap();
        Some(Self { sandbox, nothing })
    }

    /// Runs banger, and a daemon of its own, where that program is a file that cannot be run.
    fn without(&self, program: &str, words: &str) -> Output {
        if self.sandbox.socket().exists() {
            self.sandbox.stop_daemon();
        }
        let script = format!(
            "for folder in /usr/local/bin /usr/bin /bin; do \
                 if [ -e $folder/{program} ]; then mount --bind {} $folder/{program}; fi; \
             done; exec {} {words}",
            self.nothing.display(),
            Place::get().program("banger").display()
        );
        let output = self.sandbox.tool("unshare").words("--mount sh -c").arg(script).run();
        // One that never became ready is kept, to be looked at.
        for name in self.sandbox.vm_names() {
            self.sandbox.banger("vm delete").arg(name).run().ok();
        }
        self.sandbox.assert_no_vm_left();
        output
    }
}

#[test]
fn a_configuration_that_does_not_parse_is_named_with_its_line() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.config(), "[vm]\nmemroy = \"1G\"\n").unwrap();
    sandbox.banger("vm run --rm -- true").run().fails_with(&["config.toml", "memroy"]);
    fs::write(sandbox.config(), "[vm]\nvcpu = 1\nmemory = \"300MiB\"\n").unwrap();
    let reference = image::busybox_reference();
    sandbox.banger("vm create --name box --image").arg(&reference).run().ok();
    assert_eq!(sandbox.existing("box").show()["spec"]["memory"], 300 << 20, "the file is read anew");
    sandbox.banger("vm create --name other --memory 400M --image").arg(&reference).run().ok();
    assert_eq!(sandbox.existing("other").show()["spec"]["memory"], 400 << 20, "a flag beats the file");
}

/// A file system of that size, and its end.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path, size: &str) -> Self {
        fs::create_dir_all(at).unwrap();
        Call::new("mount").words("-t tmpfs -o").arg(format!("size={size},mode=700")).arg("tmpfs").arg(at).run().ok();
        Self(at.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        Call::new("umount").words("-l").arg(&self.0).run();
    }
}

#[test]
fn root_a_disk_that_fills_up_while_an_image_is_pulled() {
    if !is_root() {
        skip!("full disk during pull", "needs root to mount a small file system");
    }
    let sandbox = Sandbox::empty();
    let small = Small::mount(&sandbox.data(), "1500k");
    let pull = sandbox.banger("image pull").arg(image::busybox_reference()).run();
    pull.fails_with(&["space", sandbox.data().to_str().unwrap()]);
    assert_eq!(entries(&sandbox.data().join("images")), Vec::<PathBuf>::new());
    assert_eq!(entries(&sandbox.data().join("staging")), Vec::<PathBuf>::new());
    sandbox.stop_daemon();
    drop(small);
}

#[test]
fn root_a_disk_that_fills_up_while_a_vm_is_created() {
    if !is_root() {
        skip!("full disk during create", "needs root to mount a small file system");
    }
    let sandbox = Sandbox::new();
    let small = Small::mount(&sandbox.state(), "3m");
    sandbox.banger("vm list").run().ok();
    let ballast = sandbox.state().join("ballast");
    fs::write(&ballast, vec![0; 4 << 20]).expect_err("it should be full now");
    let create = sandbox.banger("vm create --name box").run();
    create.fails_with(&[]);
    let said = create.stderr.to_lowercase();
    assert!(said.contains("space") || said.contains("full"), "{create}");
    fs::remove_file(ballast).unwrap();
    sandbox.assert_no_vm_left();
    sandbox.stop_daemon();
    drop(small);
}

#[test]
fn root_a_disk_that_fills_up_under_a_running_vm_is_an_error_in_the_guest_only() {
    if !is_root() {
        skip!("full disk during run", "needs root to mount a small file system");
    }
    let sandbox = Sandbox::new();
    let small = Small::mount(&sandbox.state(), "28m");
    sandbox.banger("vm list").run().ok();
    let ballast = sandbox.state().join("ballast");
    fs::write(&ballast, vec![1; 4 << 20]).unwrap();
    let run = sandbox.banger("vm run --name box -d").run();
    run.ok();
    assert!(run.stderr.contains("free for its disks"), "warned before it is full: {run}");
    let (vm, other) = (sandbox.existing("box"), sandbox.vm("other"));
    assert!(vm.show()["running"]["warnings"].to_string().contains("may still grow by"), "{}", vm.show());
    let doctor = sandbox.banger("doctor").run();
    assert!(doctor.stdout.contains("the disks of 2 VMs may still grow by"), "{doctor}");

    // What its guest still holds back after the boot would find no room either, and its file system goes read-only then.
    other.sh("sync").run().ok();
    let write = vm.sh("dd if=/dev/zero of=/root/big bs=1M count=40 conv=fsync").run();
    assert!(!write.status.success(), "{write}");
    vm.exec("true").run().ok();
    assert_eq!(
        other.sh("echo here; cat /etc/passwd >/dev/null").run().ok(),
        "here",
        "it only has no room to write either"
    );
    fs::remove_file(ballast).unwrap();
    sandbox.banger("vm restart box").run().ok();
    vm.sh("rm /root/big; echo again >/root/note; sync").run().ok();
    assert_eq!(vm.exec("cat /root/note").run().ok(), "again", "a restart mends it");
    sandbox.banger("vm delete --force box").run().ok();
    other.sh("dd if=/dev/zero of=/root/big bs=1M count=8 conv=fsync").run().ok();
    sandbox.banger("vm delete --force other").run().ok();
    sandbox.assert_no_vm_left();
    sandbox.stop_daemon();
    drop(small);
}

#[test]
fn memory_that_is_not_free_is_refused_before_boot_with_the_figure() {
    let sandbox = Sandbox::new();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let kib: u64 = meminfo.split_whitespace().nth(1).unwrap().parse().unwrap();
    let all = format!("{}M", kib / 1024);
    let run = sandbox.banger("vm run --rm --memory").arg(&all).words("-- true").run();
    run.fails_with(&["of memory is more than this host can give", "are free"]);
    assert!(!run.stderr.contains("start the VMM"), "{run}");
    sandbox.assert_no_vm_left();
}

#[test]
fn what_runs_a_vm_has_no_rights_and_goes_first_when_memory_runs_out() {
    let sandbox = Sandbox::new();
    let vm = sandbox.vm_with("box", "--net user");
    let about = |pid: u32, file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let status = about(vm.vmm_pid(), "status");
    let field = |name: &str| {
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {status}"));
        line.trim().to_owned()
    };
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".into(), "2".into()));
    assert_eq!((field("CapPrm:"), field("CapEff:")), ("0".repeat(16), "0".repeat(16)));
    let score = |pid: u32| about(pid, "oom_score_adj").trim().parse::<i32>().unwrap();
    let companions = sandbox.processes().into_iter().filter(|process| process.command.contains("banger-usernet"));
    let companions: Vec<_> = companions.map(|process| score(process.pid)).collect();
    assert_eq!(companions.len(), 1);
    assert!(score(vm.vmm_pid()) > companions[0] && companions[0] > score(sandbox.daemon_pid()));
}

#[test]
fn folders_that_cannot_be_written_are_named() {
    if is_root() {
        skip!("folders without rights", "root may write everywhere; the ordinary user's case runs as one");
    }
    let sandbox = Sandbox::empty();
    for folder in [sandbox.data(), sandbox.state(), sandbox.runtime()] {
        let parent = folder.parent().unwrap();
        fs::create_dir_all(parent).unwrap();
        fs::set_permissions(parent, fs::Permissions::from_mode(0o500)).unwrap();
        sandbox.banger("vm list").run().fails_with(&[parent.to_str().unwrap()]);
        fs::set_permissions(parent, fs::Permissions::from_mode(0o700)).unwrap();
    }
    sandbox.banger("vm list").run().ok();
}

#[test]
fn a_data_folder_that_is_a_file_is_named() {
    let sandbox = Sandbox::empty();
    fs::create_dir_all(sandbox.data().parent().unwrap()).unwrap();
    fs::write(sandbox.data(), "").unwrap();
    sandbox.banger("vm list").run().fails_with(&[sandbox.data().to_str().unwrap()]);
}

#[test]
fn root_folders_of_another_user_are_refused() {
    if !is_root() {
        skip!("folders of another user", "needs root to give a folder away");
    }
    let sandbox = Sandbox::empty();
    for folder in [sandbox.data(), sandbox.state(), sandbox.runtime()] {
        fs::create_dir_all(&folder).unwrap();
        chown(&folder, Some(12345), Some(12345)).unwrap();
        sandbox.banger("vm list").run().fails_with(&[folder.to_str().unwrap(), "12345"]);
        assert_eq!(sandbox.processes(), []);
        chown(&folder, Some(0), Some(0)).unwrap();
    }
}

/// A user that is made for one test and removed after it.
struct User {
    name: String,
    uid: u32,
    home: PathBuf,
}

impl User {
    fn add() -> Self {
        let home = users_home();
        let name = home.file_name().unwrap().to_str().unwrap().to_owned();
        Call::new(find("useradd").unwrap()).words("--create-home --home-dir").arg(&home).arg(&name).run().ok();
        let uid = fs::metadata(&home).unwrap().uid();
        Self { name, uid, home }
    }

    /// That user's login shell runs a script.
    fn runs(&self, script: &str) -> Output {
        Call::new("su")
            .words("-s /bin/sh -c")
            .arg(script)
            .words("-")
            .arg(&self.name)
            .within(banger_e2e::BOUND * 4)
            .run()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let own = |pid: u32| fs::metadata(format!("/proc/{pid}")).is_ok_and(|meta| meta.uid() == self.uid);
        for process in processes::of(&[&self.home]).into_iter().filter(|process| own(process.pid)) {
            processes::kill(process.pid);
        }
        let sockets = format!("banger-{}-", self.uid);
        let is_its = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&sockets));
        for folder in entries(Path::new("/tmp")).into_iter().filter(is_its) {
            let _ = fs::remove_dir_all(folder);
        }
        Call::new(find("userdel").unwrap()).words("--remove").arg(&self.name).run();
        let _ = fs::remove_dir_all(&self.home);
    }
}

#[test]
fn root_an_ordinary_user_runs_the_whole_main_job() {
    if !is_root() {
        skip!("an ordinary user", "this is one; root makes another");
    }
    let user = User::add();
    let programs = user.home.join("programs");
    fs::create_dir(&programs).unwrap();
    fs::set_permissions(&programs, fs::Permissions::from_mode(0o755)).unwrap();
    // By another process: one that is forked here meanwhile would hold a copy open, and then it cannot be run.
    for name in ["banger", "bangerd", "banger-usernet", "banger-agent"] {
        Call::new("cp").arg(Place::get().program(name)).arg(&programs).run().ok();
    }
    fs::copy(image::busybox(), programs.join("busybox.tar")).unwrap();
    let banger = programs.join("banger").display().to_string();
    for name in ["DATA_HOME", "STATE_HOME", "RUNTIME_DIR"] {
        let script = format!(
            "mkdir -m 500 $HOME/{name} && mkdir -m 700 -p $HOME/run && XDG_RUNTIME_DIR=$HOME/run XDG_{name}=$HOME/{name} {banger} vm list"
        );
        user.runs(&script).fails_with(&[&user.home.join(name).display().to_string()]);
    }
    let run =
        user.runs(&format!("{banger} vm run --rm --memory 512M -- sh -c 'id -u; cat /etc/debian_version; exit 37'"));
    run.expect_status(37);
    assert!(run.stdout.starts_with("0\n12."), "{run}");
    let own = format!(
        "{banger} vm run --rm --memory 256M --image rootfs:{}/busybox.tar -- cat /root/.seeded",
        programs.display()
    );
    assert_eq!(user.runs(&own).ok(), "from the image");
    assert_eq!(user.runs(&format!("{banger} vm list --quiet && {banger} daemon stop -q")).ok(), "");
}
