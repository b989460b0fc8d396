//! Real guests under QEMU's translator.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod support;

use banger_model::ByteSize;
use banger_model::spec::DiskLimits;
use banger_vmm::console::{self, Ending};
use banger_vmm::trim;
use banger_vmm::{CounterFiles, StatsError};
use banger_vmm::{Exit, LaunchError, Record, Vmm, VmmConfig, VmmRecord, launch, launch_within};
use rustix::process::Signal;
use std::time::Duration;
use support::{BOUND, Place, exit_of};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

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
async fn what_a_guest_under_qemu_uses() {
    let place = Place::new();
    let mut config = place.qemu("read").await;
    config.disks = vec![place.disk("a", 8, true), place.disk("b", 16, false)];
    config.disk_limits = DiskLimits { bandwidth: Some(ByteSize::mib(100)), iops: Some(10_000) };
    let vmm = launch(&config).await.unwrap();
    place.console_says(&vmm, "guest: has read").await;
    let files = CounterFiles { metrics: place.path("metrics.json"), total: place.path("total.json") };
    let start = std::time::Instant::now();
    let usage = loop {
        let usage = vmm.guest_usage(&files).await.unwrap();
        if usage.memory.is_some() {
            break usage;
        }
        assert!(start.elapsed() < BOUND, "the guest does not tell of its memory: {usage:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let memory = usage.memory.unwrap();
    assert!(memory.total > ByteSize::mib(128) && memory.total <= ByteSize::mib(256), "{memory:?}");
    assert!(memory.available < memory.total && memory.available > ByteSize::mib(16), "{memory:?}");
    assert_eq!(usage.disks.len(), 2);
    assert!(usage.disks[0].read >= ByteSize::mib(8) && usage.disks[0].reads > 0, "{usage:?}");
    assert!(usage.disks[1].written >= ByteSize::mib(1) && usage.disks[0].written == ByteSize(0), "{usage:?}");
    let host = vmm.host_usage().await.unwrap();
    assert!(host.cpu > Duration::from_millis(100) && host.resident > ByteSize::mib(50), "{host:?}");
    vmm.kill_and_wait(BOUND).await.unwrap();
    assert!(matches!(vmm.host_usage().await, Err(StatsError::Gone(_))));
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
        let stream = BufReader::new(vmm.connect_agent_within(None, BOUND).await.unwrap());
        let echo = tokio::time::timeout(BOUND, echo(stream, turn)).await;
        assert!(echo.is_ok(), "no echo of {turn}:\n{}", place.console());
    }
    assert_eq!(vmm.kill_and_wait(BOUND).await.unwrap(), Exit::Signal(Signal::KILL.as_raw()));
    assert!(!vmm.is_alive());
    vmm.kill().unwrap();
}

/// Until the word comes back. The guest may not have its port open yet; what is said before may be lost.
async fn echo(mut stream: BufReader<UnixStream>, word: &str) {
    let mut line = String::new();
    while line != format!("echo {word}\n") {
        stream.write_all(format!("{word}\n").as_bytes()).await.unwrap();
        line.clear();
        let _ = tokio::time::timeout(Duration::from_millis(500), stream.read_line(&mut line)).await;
    }
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

#[tokio::test]
async fn qemu_that_never_answers_is_given_up_and_killed() {
    let place = Place::new();
    let mut config = place.qemu("wait").await;
    config.binary.path = place.program("mute", "echo some words >&2; kill -STOP $$");
    let error = launch_within(&config, Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(&error, LaunchError::Silent { log, .. } if log == &["some words"]), "{error:?}");
    assert!(!config.record.exists(), "a VMM that was killed leaves no record");
    assert!(processes_of(&config).is_empty());
}

#[tokio::test]
async fn what_is_no_program_is_named() {
    let place = Place::new();
    let mut config = place.qemu("wait").await;
    config.binary.path = place.path("no-such-program");
    let error = launch(&config).await.unwrap_err();
    assert!(matches!(&error, LaunchError::Spawn(_)) && error.to_string().contains("no-such-program"), "{error:?}");
    assert!(!config.record.exists());
}

#[tokio::test]
async fn what_cannot_be_recorded_does_not_run() {
    let place = Place::new();
    let mut config = place.qemu("wait").await;
    config.binary.path = place.program("witness", "echo ran >&2");
    config.record = place.path("no-such-folder/vmm.json");
    let error = launch(&config).await.unwrap_err();
    assert!(error.to_string().contains("no-such-folder"), "{error:?}");
    assert_eq!(std::fs::read_to_string(&config.vmm_log).unwrap(), "", "it ran without a record");
}

#[tokio::test]
async fn qemu_takes_paths_with_anything_in_them() {
    let place = Place::in_folder("a, \"b\"=\\ %s 'c'");
    let mut config = place.qemu("poweroff").await;
    config.disks = vec![place.disk("d,readonly=on \"\\\u{e4}", 8, false)];
    let vmm = launch(&config).await.unwrap();
    assert_eq!(exit_of(&vmm, &place).await, Exit::Code(0));
    assert!(place.console().contains("guest: disk 16384 ro 0"), "{}", place.console());
}

#[tokio::test]
async fn a_record_of_another_process_adopts_nothing() {
    let place = Place::new();
    let vmm = launch(&place.qemu("wait").await).await.unwrap();
    let mut record = vmm.record().clone();
    assert!(Vmm::adopt(&record).unwrap().is_some());
    record.identity.start_time += 1;
    assert!(Vmm::adopt(&record).unwrap().is_none());
    record = vmm.record().clone();
    record.identity.boot_id = "another boot".into();
    assert!(Vmm::adopt(&record).unwrap().is_none());
    vmm.kill_and_wait(BOUND).await.unwrap();
    assert!(Vmm::adopt(vmm.record()).unwrap().is_none(), "it is gone");
}

/// Set in the process that launches a VM to leave it.
const LEAVE: &str = "BANGER_TEST_LEAVE_A_VM_IN";

#[tokio::test]
async fn qemu_outlives_its_starter_and_another_process_takes_it_up() {
    if let Some(folder) = std::env::var_os(LEAVE) {
        let place = Place::existing(folder.into());
        launch(&place.qemu("port").await).await.unwrap();
        // As a daemon that is killed: nothing is cleaned up.
        rustix::process::kill_process(rustix::process::getpid(), Signal::KILL).unwrap();
    }
    let place = Place::new();
    let starter = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "qemu_outlives_its_starter_and_another_process_takes_it_up"])
        .env(LEAVE, place.root())
        .output()
        .unwrap();
    let record = VmmRecord::read(&place.path("vmm.json")).unwrap().unwrap_or_else(|| panic!("{starter:?}"));
    let found = banger_vmm::find(record.vm, place.root()).unwrap();
    assert_eq!(found, [VmmRecord { version: None, ..record.clone() }], "the same without the record");

    let vmm = Vmm::adopt(&record).unwrap().expect("it lives");
    let echo =
        tokio::time::timeout(BOUND, echo(BufReader::new(vmm.connect_agent_within(None, BOUND).await.unwrap()), "you"));
    assert!(echo.await.is_ok(), "{}", place.console());
    assert_eq!(vmm.kill_and_wait(BOUND).await.unwrap(), Exit::Unknown, "only its parent could know");
    assert!(banger_vmm::scan(place.root()).unwrap().is_empty());
}

#[tokio::test]
async fn the_console_of_a_panic_says_so() {
    let place = Place::new();
    let config = place.qemu("panic").await;
    exit_of(&launch(&config).await.unwrap(), &place).await;
    let ending = console::ending(&config.console_log).unwrap();
    assert_eq!(ending, Ending::Panicked("sysrq triggered crash".into()), "{}", place.console());
    // The next boot begins with an empty console.
    let vmm = launch(&place.qemu("poweroff").await).await.unwrap();
    exit_of(&vmm, &place).await;
    assert_eq!(console::ending(&config.console_log).unwrap(), Ending::PoweredOff, "{}", place.console());
}

#[tokio::test]
async fn a_guest_that_prints_for_ever_does_not_fill_the_disk_and_a_reader_misses_nothing() {
    use std::os::unix::fs::MetadataExt;
    const MOST: u64 = 256 * 1024;
    let place = Place::new();
    let config = place.qemu("flood").await;
    let vmm = launch(&config).await.unwrap();
    place.console_says(&vmm, "guest: up").await;
    let mut reader = trim::Reader::open(&config.console_log).unwrap();
    let (mut seen, mut cut, start) = (Vec::new(), 0, std::time::Instant::now());
    while cut < 2 {
        assert!(start.elapsed() < BOUND && vmm.is_alive(), "{} bytes in {:?}", reader.position(), start.elapsed());
        let before = std::fs::metadata(&config.console_log).unwrap().blocks() * 512;
        if trim::trim(&config.console_log, MOST).unwrap() {
            cut += 1;
            let after = std::fs::metadata(&config.console_log).unwrap().blocks() * 512;
            assert!(before > MOST && after < MOST, "{before} bytes, then {after}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        seen.extend(reader.next(1 << 20).unwrap());
    }
    vmm.kill_and_wait(BOUND).await.unwrap();
    let seen = String::from_utf8(seen).unwrap();
    let full = format!("guest: {}\r", "x".repeat(4000));
    let lines: Vec<_> = seen.split('\n').filter(|line| line.starts_with("guest: xx")).collect();
    let (_cut_off, whole) = lines.split_last().unwrap();
    let torn = whole.iter().filter(|line| **line != full).count();
    assert_eq!((torn, seen.contains('\0')), (0, false), "of {} lines", whole.len());
    assert!(std::fs::metadata(&config.console_log).unwrap().len() > MOST * 3 / 2);
}

/// The processes that have the VM's id in their arguments.
fn processes_of(config: &VmmConfig) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok());
    let arguments = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    arguments.filter(|arguments| arguments.contains(config.vm.as_str())).collect()
}
