//! Real guests under QEMU's translator.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use banger_vmm::{Exit, LaunchError, Record, VmmRecord, launch};
use rustix::process::Signal;
use std::time::Duration;
use support::{BOUND, Place, exit_of};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

#[tokio::test]
async fn qemu_boots_a_guest_and_poweroff_ends_it() {
    let place = Place::new();
    let mut config = place.qemu("poweroff").await;
    config.disks = vec![place.disk("a", 8, true), place.disk("b", 16, false)];
    let vmm = launch(&config).await.unwrap();
    assert_eq!(VmmRecord::read(&config.record).unwrap().as_ref(), Some(vmm.record()));
    assert_eq!(exit_of(&vmm, &place).await, Exit::Code(0));
    let console = place.console();
    for line in ["guest: up", "guest: disk 16384 ro 1", "guest: disk 32768 ro 0", "guest: cpus 1", "Power down"] {
        assert!(console.contains(line), "no {line:?} on the console:\n{console}");
    }
    let date: u64 = console.split("date ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(date) < 60, "the guest's clock says {date}, ours {now}");
}

#[tokio::test]
async fn qemu_ends_when_its_guest_reboots() {
    let place = Place::new();
    let vmm = launch(&place.qemu("reboot").await).await.unwrap();
    assert_eq!(exit_of(&vmm, &place).await, Exit::Code(0));
    assert!(place.console().contains("Restarting system"), "{}", place.console());
}

#[tokio::test]
async fn qemu_ends_when_its_guest_panics() {
    let place = Place::new();
    let vmm = launch(&place.qemu("panic").await).await.unwrap();
    assert_eq!(exit_of(&vmm, &place).await, Exit::Code(0));
    assert!(place.console().contains("Kernel panic - not syncing: sysrq triggered crash"), "{}", place.console());
}

#[tokio::test]
async fn qemu_gives_a_stream_to_the_guest_again_and_again() {
    let place = Place::new();
    let vmm = launch(&place.qemu("port").await).await.unwrap();
    place.console_says(&vmm, "guest: up").await;
    for turn in ["one", "two"] {
        let mut stream = BufReader::new(vmm.connect_agent_within(BOUND).await.unwrap());
        let mut line = String::new();
        // The guest may not have its port open yet; what is said before is lost.
        while !line.contains(turn) {
            stream.write_all(format!("{turn}\n").as_bytes()).await.unwrap();
            line.clear();
            let _ = tokio::time::timeout(Duration::from_millis(500), stream.read_line(&mut line)).await;
        }
        assert_eq!(line, format!("echo {turn}\n"));
    }
    assert_eq!(vmm.kill_and_wait(BOUND).await.unwrap(), Exit::Signal(Signal::KILL.as_raw()));
    assert!(!vmm.is_alive());
}

#[tokio::test]
async fn qemu_that_refuses_its_disk_says_so() {
    let place = Place::new();
    let mut config = place.qemu("wait").await;
    config.disks = vec![place.disk("gone", 8, true)];
    std::fs::remove_file(&config.disks[0].path).unwrap();
    let error = launch(&config).await.unwrap_err();
    let LaunchError::Died { exit: Exit::Code(1), log, .. } = &error else { panic!("{error:?}") };
    assert!(log.iter().any(|line| line.contains("gone") && line.contains("No such file")), "{error}");
    assert!(!config.record.exists(), "a VMM that never ran leaves no record");
}
