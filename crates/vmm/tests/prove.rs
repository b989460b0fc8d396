//! Proving KVM on the host that runs the tests, whatever it has.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod support;

use banger_model::spec::{NetMode, VmmChoice};
use banger_vmm::prove::{self, LONGEST};
use banger_vmm::{Engine, Kernel, Programs, ProofSetup, Unusable, Verdict, Wish, candidates, choose};
use std::time::{Duration, Instant};
use support::{Place, firecracker, guest, qemu};

#[tokio::test]
async fn a_guest_whose_agent_does_not_answer_proves_nothing_and_that_is_remembered() {
    let place = Place::new();
    let setup = ProofSetup {
        // Without an agent in it.
        kernel: Kernel {
            bzimage: Some(guest().join("vmlinuz")),
            elf: Some(guest().join("vmlinux")),
            initramfs: guest().join("initramfs"),
            hz: Kernel::DEFAULT_HZ,
        },
        memory_dir: place.path("state"),
        runtime_dir: place.path("proof"),
    };
    let mut engines = vec![(Engine::QemuKvm, qemu().await)];
    let test = "a_guest_whose_agent_does_not_answer_proves_nothing_and_that_is_remembered";
    engines.extend(firecracker(test).await.map(|binary| (Engine::Firecracker, binary)));

    let start = Instant::now();
    let proofs = prove::prove(&engines, &setup).await;
    let took = start.elapsed();
    eprintln!("in {took:?}: {proofs:?}");
    assert!(took < LONGEST + Duration::from_secs(10), "{took:?}");
    for (engine, _) in &engines {
        assert!(matches!(proofs.of(*engine), Some(Verdict::Unusable(_))), "{engine}: {proofs:?}");
    }
    assert!(banger_vmm::scan(place.root()).unwrap().is_empty(), "a trial is left");

    let start = Instant::now();
    assert_eq!(prove::prove(&engines, &setup).await, proofs);
    assert!(start.elapsed() < Duration::from_secs(1), "it was tried again");

    let programs = Programs::discover(&banger_vmm::Overrides::default(), &std::env::var_os("PATH").unwrap()).await;
    let wish = Wish { vmm: VmmChoice::Auto, net: NetMode::User };
    assert_eq!(candidates(wish, &programs).len(), 1);
    let choice = choose(wish, programs, &proofs).unwrap();
    assert_eq!(choice.engine, Engine::QemuTcg);
    eprintln!("{}", choice.reason);
    assert!(choice.reason.contains("KVM") && !choice.reason.contains('\n'), "{}", choice.reason);
}

#[tokio::test]
async fn a_kernel_that_is_not_there_is_the_verdict() {
    let place = Place::new();
    let setup = ProofSetup {
        kernel: Kernel { bzimage: Some(place.path("gone")), elf: None, initramfs: place.path("gone"), hz: 250 },
        memory_dir: place.path("state"),
        runtime_dir: place.path("proof"),
    };
    let proofs = prove::prove(&[(Engine::QemuKvm, qemu().await)], &setup).await;
    match proofs.of(Engine::QemuKvm) {
        Some(Verdict::Unusable(Unusable::Fails { reason })) => assert!(reason.contains("gone"), "{reason}"),
        Some(Verdict::Unusable(Unusable::NoDevice { .. } | Unusable::NoPermission { .. })) => {}
        other => panic!("{other:?}"),
    }
}

/// Set in the process that looks at the device as somebody else.
const LOOK: &str = "BANGER_TEST_LOOK_AT_KVM";

#[test]
fn as_root_a_user_outside_of_the_group_is_told_apart_from_one_inside() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let test = "as_root_a_user_outside_of_the_group_is_told_apart_from_one_inside";
    if std::env::var_os(LOOK).is_some() {
        // Read by the test that started this process.
        eprintln!("looked: {:?}", prove::look());
        return;
    }
    let Ok(device) = std::fs::metadata("/dev/kvm") else { return eprintln!("SKIPPED: {test}: there is no /dev/kvm") };
    if !rustix::process::geteuid().is_root() || device.mode() & 0o006 == 0o006 {
        return eprintln!("SKIPPED: {test}: not root, or everybody may open /dev/kvm");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("test");
    // Written by another process: one that is forked here meanwhile would hold the file open, and then it cannot be run.
    let this = std::env::current_exe().unwrap();
    assert!(std::process::Command::new("cp").args([&this, &program]).status().unwrap().success());
    let look = |groups: &str| {
        let output = std::process::Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", groups])
            .arg(&program)
            .args(["--exact", test, "--nocapture"])
            .env(LOOK, "1")
            .output()
            .unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let outside = look("--clear-groups");
    assert!(outside.contains("NoPermission") && outside.contains("joined: false"), "{outside}");
    if device.mode() & 0o060 != 0o060 || device.gid() == 0 {
        assert!(outside.contains("group: None"), "{outside}");
        return eprintln!("SKIPPED: {test}: the part inside: no group may open /dev/kvm");
    }
    let inside = look(&format!("--groups={}", device.gid()));
    assert!(!inside.contains("NoPermission") && inside.contains("looked"), "{inside}");
}
