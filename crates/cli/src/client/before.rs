//! What a daemon of the first version says, which knows no operations' ids: everything that has been added to the wire since is
//! left out of these, and this client understands them.

use super::events::event;
use crate::error::CliError;
use banger_model::{
    api::{
        error::{ErrorBody, ErrorCode},
        op::{OpEvent, OpResult},
        vm::VmList,
    },
    vm::{Status, Verb},
};

const RUN: &str = include_str!("recorded/run.ndjson");
const FAILED: &str = include_str!("recorded/failed.ndjson");
const REFUSAL: &str = include_str!("recorded/refusal.json");
const LIST: &str = include_str!("recorded/list.json");

fn events(recorded: &str) -> Vec<OpEvent> {
    let known = |line: &str| event(line.as_bytes()).unwrap().unwrap_or_else(|| panic!("not understood: {line}"));
    recorded.lines().map(known).collect()
}

#[test]
fn an_operation_is_followed_to_its_end() {
    let events = events(RUN);
    assert_eq!(events[0], OpEvent::Begun { op: None, what: "run box".into() });
    let Some(OpEvent::Done { result: Some(result) }) = events.last() else { panic!("{events:?}") };
    let OpResult::Vm(vm) = &**result else { panic!("{result:?}") };
    assert_eq!((vm.name.as_str(), vm.status, vm.running.as_ref().unwrap().pid), ("box", Status::Running, 4711));
}

#[test]
fn a_failure_is_told_without_an_id() {
    let Some(OpEvent::Failed { error }) = events(FAILED).pop() else { panic!("no failure") };
    let refusal: ErrorBody = serde_json::from_str(REFUSAL).unwrap();
    for (body, code) in [(error, ErrorCode::BootFailed), (refusal, ErrorCode::VmNotFound)] {
        assert_eq!((body.code, body.op), (code, None));
        let (message, report) = (body.message.clone(), CliError::Operation(Box::new(body)).report().unwrap());
        let text = report.render(crate::output::style::Style::PLAIN);
        assert!(text.starts_with(&format!("error: {message}\n")) && !text.contains("op-"), "{text}");
    }
}

#[test]
fn vms_are_listed() {
    let list: VmList = serde_json::from_str(LIST).unwrap();
    assert_eq!(list.vms[1].operation.as_ref().map(|open| (open.op, open.verb)), Some((None, Verb::Stop)));
    assert_eq!(list.vms.iter().map(|vm| vm.status).collect::<Vec<_>>(), [Status::Stopped, Status::Stopping]);
}
