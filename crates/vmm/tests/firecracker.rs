//! The real Firecracker, as far as a guest gets on this host: configured, started, console read, killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod support;

use banger_vmm::{ApiError, Exit, LaunchError, Record, Vmm, VmmRecord, launch};
use support::{BOUND, Place, firecracker};

/// Whether guests can be started at all; said loudly when not.
fn has_kvm(test: &str) -> bool {
    let usable = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    if !usable {
        eprintln!("SKIPPED: {test}: /dev/kvm cannot be opened");
    }
    usable
}

#[tokio::test]
async fn firecracker_takes_all_that_it_is_asked_and_its_guest_begins_to_boot() {
    let test = "firecracker_takes_all_that_it_is_asked_and_its_guest_begins_to_boot";
    let Some(binary) = firecracker(test).await.filter(|_| has_kvm(test)) else { return };
    let place = Place::in_folder("a \"b\" \u{e4}");
    let mut config = place.firecracker(binary).await;
    config.disks = vec![place.disk("a", 8, true), place.disk("b", 16, false)];
    let vmm = launch(&config).await.unwrap();
    // Where KVM makes VMs whose guests crawl or hang, how far one gets depends on what else the host does.
    if place.console_says_within(&vmm, "Command line: ", BOUND / 3).await {
        place.console_says(&vmm, "reboot=k").await;
    } else {
        eprintln!("SKIPPED: {test}: its console: a guest on this host's KVM says nothing in time");
    }
    assert!(vmm.agent_socket().exists(), "it makes its vsock socket");

    let record = VmmRecord::read(&config.record).unwrap().unwrap();
    assert_eq!(&record, vmm.record());
    let found = banger_vmm::find(config.vm, place.root()).unwrap();
    assert_eq!(found, [VmmRecord { version: None, ..record.clone() }], "the same without the record");
    let adopted = Vmm::adopt(&record).unwrap().expect("it lives");

    // Two hold it in one process: which of them learns how it ended is open.
    vmm.kill_and_wait(BOUND).await.unwrap();
    tokio::time::timeout(BOUND, adopted.exited()).await.unwrap();
    assert!(!vmm.is_alive() && !adopted.is_alive());
}

#[tokio::test]
async fn firecracker_says_what_it_refuses() {
    let test = "firecracker_says_what_it_refuses";
    let Some(binary) = firecracker(test).await.filter(|_| has_kvm(test)) else { return };
    let place = Place::new();
    let good = place.firecracker(binary).await;

    let mut config = good.clone();
    config.disks = vec![place.disk("gone", 8, true)];
    std::fs::remove_file(&config.disks[0].path).unwrap();
    assert_refused(&config, "/drives/disk0", "No such file").await;

    let mut config = good.clone();
    let not_an_elf = place.path("not-an-elf");
    std::fs::write(&not_an_elf, "not an ELF").unwrap();
    config.kernel.elf = Some(not_an_elf);
    assert_refused(&config, "/actions", "kernel").await;
}

async fn assert_refused(config: &banger_vmm::VmmConfig, asked: &str, why: &str) {
    let error = launch(config).await.unwrap_err();
    match &error {
        LaunchError::Api { source: ApiError::Refused { call, reason, .. }, .. } => {
            assert_eq!(*call, format!("PUT {asked}"));
            assert!(reason.to_lowercase().contains(&why.to_lowercase()), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!config.record.exists(), "what never ran leaves no record");
    assert!(banger_vmm::scan(&config.runtime_dir).unwrap().is_empty());
}

#[tokio::test]
async fn firecracker_that_cannot_start_says_why() {
    let test = "firecracker_that_cannot_start_says_why";
    let Some(binary) = firecracker(test).await else { return };
    let place = Place::new();
    let mut config = place.firecracker(binary).await;
    config.binary.path = place.program("firecracker", "echo it cannot >&2; exit 3");
    let error = launch(&config).await.unwrap_err();
    assert!(matches!(&error, LaunchError::Died { exit: Exit::Code(3), log, .. } if log == &["it cannot"]), "{error:?}");
}
