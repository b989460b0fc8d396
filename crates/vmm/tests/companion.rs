//! Companions: any program that keeps to the contract will do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod support;

use banger_vmm::{Companion, CompanionConfig, CompanionError, CompanionRecord, Exit, Record, companions};
use rustix::process::Signal;
use std::ffi::OsString;
use support::{BOUND, Place};

/// A companion in the place's folder that runs that shell script.
fn companion(place: &Place, script: &str) -> CompanionConfig {
    let args = ["--vm", place.vm.as_str(), "--socket"].map(OsString::from);
    CompanionConfig {
        vm: place.vm,
        program: "/bin/sh".into(),
        args: ["-c".into(), script.into(), "companion".into()]
            .into_iter()
            .chain(args)
            .chain([place.path("net.sock").into()])
            .collect(),
        log: place.path("companion.log"),
        record: place.path("companion.json"),
        cgroup: None,
    }
}

/// Killed in any case.
struct Killed(Companion);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

#[tokio::test]
async fn a_companion_is_recorded_before_it_does_anything_and_found_again() {
    let place = Place::new();
    let record_path = place.path("companion.json");
    let script = format!("cat '{}' >&2; echo ready; exec sleep 1000", record_path.display());
    let config = companion(&place, &script);
    let started = Killed(Companion::start(&config).await.unwrap());
    let record = CompanionRecord::read(&record_path).unwrap().unwrap();
    assert_eq!(&record, started.0.record());
    let seen: CompanionRecord = serde_json::from_slice(&std::fs::read(&config.log).unwrap()).unwrap();
    assert_eq!(seen, record, "its record was there when it began");
    assert_eq!((record.vm, record.binary.as_path()), (place.vm, "/bin/sh".as_ref()));

    let adopted = Companion::adopt(&record).unwrap().expect("it lives");
    assert_eq!(adopted.kill_and_wait(BOUND).await.unwrap(), Exit::Signal(Signal::KILL.as_raw()));
    assert!(Companion::adopt(&record).unwrap().is_none());
}

#[tokio::test]
async fn a_companion_without_a_record_is_found_by_its_arguments() {
    let place = Place::new();
    // The shell stays, and with it the arguments. It starts nothing: until its exec, a child would have the same ones.
    let config = companion(&place, "echo ready; kill -STOP $$");
    let started = Killed(Companion::start(&config).await.unwrap());
    assert_eq!(companions("sh", place.root()).unwrap(), [started.0.record().clone()]);
    assert!(companions("sh", &place.path("elsewhere")).unwrap().is_empty());
    assert!(companions("other", place.root()).unwrap().is_empty());
    started.0.kill_and_wait(BOUND).await.unwrap();
    assert!(companions("sh", place.root()).unwrap().is_empty());
}

#[tokio::test]
async fn a_companion_that_ends_before_it_is_ready_is_an_error_with_its_last_words() {
    for script in ["echo it cannot >&2; exit 3", "echo it cannot >&2; echo reading; exit 3"] {
        let place = Place::new();
        let config = companion(&place, script);
        let error = Companion::start(&config).await.unwrap_err();
        let CompanionError::Died { exit: Exit::Code(3), log, .. } = &error else { panic!("{error:?}") };
        assert_eq!(log, &["it cannot"]);
        assert!(error.to_string().ends_with("it exited with status 3: it cannot"), "{error}");
        assert!(!config.record.exists());
    }
}
