//! A VMM that a guest has taken over, in exactly the confinement of every VMM: nothing that leads out of it may work, and all
//! that a VMM needs must. The same program without the confinement shows that its attacks are real.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod support;

use banger_model::ByteSize;
use banger_vmm::binary::{Binary, Version};
use banger_vmm::{Disk, Engine, Exit, Kernel, LaunchError, VmmConfig, confine, launch};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use support::Place;

/// What the program ends with when it has tried everything.
const TRIED: i32 = 42;

/// What works or not on the host as it is, whatever the confinement.
const DEPENDS: [&str; 5] = [
    "open the host's memory",
    "hold a capability",
    "hold an inherited descriptor",
    "dump core",
    "make a user namespace",
];

/// The user's things, those of another VM, and the daemon's.
struct Scene {
    place: Place,
    victim: Child,
    _listening: (TcpListener, UnixListener, UnixListener, UnixListener, UnixDatagram),
}

impl Scene {
    fn new() -> Self {
        let place = Place::new();
        for folder in ["home", "other", "daemon", "images", "kernel", "state", "run"] {
            std::fs::create_dir(place.path(folder)).unwrap();
        }
        let files = [
            "home/secret",
            "home/movable",
            "home/removable",
            "other/layer",
            "daemon/db",
            "images/image",
            "kernel/vmlinux",
            "state/layer",
            "state/vmm.json",
        ];
        for file in files {
            std::fs::write(place.path(file), [7; 8192]).unwrap();
        }
        let victim = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = format!("banger-test-{}", place.vm);
        let by_name = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let listen = |path: &str| UnixListener::bind(place.path(path)).unwrap();
        let log = UnixDatagram::bind(place.path("daemon/log")).unwrap();
        let facts = format!("{} {} {name}", victim.id(), tcp.local_addr().unwrap().port());
        std::fs::write(place.path("kernel/initramfs"), facts).unwrap();
        let listening = (tcp, by_name, listen("daemon/sock"), listen("other/agent.sock"), log);
        Self { place, victim, _listening: listening }
    }

    fn config(&self, engine: Engine) -> VmmConfig {
        let path = |name| self.place.path(name);
        VmmConfig {
            vm: self.place.vm,
            engine,
            binary: Binary {
                kind: engine.kind(),
                path: env!("CARGO_BIN_EXE_compromised-vmm").into(),
                version: Version { major: 9, minor: 0, patch: 0 },
            },
            vcpu: 1,
            memory: ByteSize::mib(128),
            kernel: Kernel {
                bzimage: None,
                elf: Some(path("kernel/vmlinux")),
                initramfs: path("kernel/initramfs"),
                hz: 250,
            },
            kernel_args: Vec::new(),
            disk_limits: Default::default(),
            metrics: path("state/metrics.json"),
            disks: vec![
                Disk { path: path("images/image"), read_only: true },
                Disk { path: path("state/layer"), read_only: false },
            ],
            net: None,
            runtime_dir: path("run"),
            console_log: path("state/console.log"),
            vmm_log: path("state/vmm.log"),
            record: path("state/vmm.json"),
            cgroup: None,
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
        let _ = std::fs::remove_file(std::env::temp_dir().join(format!("banger-test-{}", self.place.vm)));
    }
}

/// What was tried, and how it went.
fn report(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once(": ")).collect()
}

fn without_landlock(test: &str) -> bool {
    let missing = confine::support().landlock.is_none();
    if missing {
        eprintln!("SKIPPED: {test}: this kernel has no Landlock");
    }
    missing
}

async fn attacked_as(engine: Engine) {
    let scene = Scene::new();
    let config = scene.config(engine);
    let error = launch(&config).await.unwrap_err();
    assert!(matches!(&error, LaunchError::Died { exit: Exit::Code(TRIED), .. }), "{error}");
    let said = |path: &Path| std::fs::read_to_string(path).unwrap();
    let text = said(&config.console_log) + &said(&config.vmm_log);
    let report = report(&text);
    assert!(report.len() > 60, "{text}");
    for (attempt, outcome) in report {
        let works = attempt.starts_with("need ") || (attempt == "kvm" && engine == Engine::Firecracker && has_kvm());
        assert_eq!(outcome == "done", works, "{attempt}: {outcome}");
    }
}

fn has_kvm() -> bool {
    std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok()
}

#[tokio::test]
async fn a_compromised_qemu_gets_nowhere() {
    if !without_landlock("a_compromised_qemu_gets_nowhere") {
        attacked_as(Engine::QemuTcg).await;
    }
}

#[tokio::test]
async fn a_compromised_firecracker_gets_nowhere() {
    if !without_landlock("a_compromised_firecracker_gets_nowhere") {
        attacked_as(Engine::Firecracker).await;
    }
}

#[test]
fn without_the_confinement_every_attack_works() {
    let scene = Scene::new();
    let config = scene.config(Engine::QemuTcg);
    std::fs::write(&config.vmm_log, "").unwrap();
    std::fs::write(&config.console_log, "").unwrap();
    let attack = Command::new(&config.binary.path).arg(config.runtime_dir.join("vmm.sock")).output().unwrap();
    let text = String::from_utf8_lossy(&attack.stdout);
    let report = report(&text);
    assert!(report.len() > 60, "{text}");
    for (attempt, outcome) in report {
        let potent = outcome == "done" || DEPENDS.contains(&attempt) || (attempt == "kvm" && !has_kvm());
        assert!(potent, "{attempt}: {outcome}");
    }
}
