//! What a daemon makes of a host, a clock and a database that are not as the one before left them.

use super::*;
use banger_model::{
    VmId,
    api::vm::EndReason,
    vm::{Status, admit},
};
use std::{collections::BTreeMap, fs};

/// A database of the version before, by name and what the host shows of each VM.
const RECORDED: &str = include_str!("recorded/state-1.sql");

#[tokio::test]
async fn a_host_that_went_down_leaves_vms_at_rest_that_can_be_started() {
    let bench = Bench::new();
    let first = bench.daemon();
    arrange(&first, Target::Running).await;
    kill(first);
    bench.world.reboot();
    let app = bench.daemon();
    look(&app).await;
    bench.assert_settled(&app).await;
    let vm = app.named(&name("box")).await.unwrap();
    assert_eq!((app.status(&vm), vm.last_end.unwrap().reason), (Status::Stopped, EndReason::Lost));
    act(&app, Verb::Start).await.unwrap();
    bench.assert_settled(&app).await;
}

#[tokio::test]
async fn a_clock_that_was_set_back_changes_nothing() {
    let bench = Bench::new();
    let first = bench.daemon();
    arrange(&first, Target::Running).await;
    let (cx, _events) = begin(&first);
    create(&first, Some("rests"), false, &cx).await.unwrap();
    create(&first, Some("half"), false, &cx).await.unwrap();
    let half = first.named(&name("half")).await.unwrap();
    let operation = crate::db::OperationRow::begin(crate::clock::new_op(), Verb::Delete);
    first.db.intend(half.id, Target::Absent, operation, None).await.unwrap();
    kill(first);
    // All that is on record lies a hundred years ahead.
    let connection = rusqlite::Connection::open(bench.folder.path().join("state/banger.db")).unwrap();
    connection
        .execute_batch(
            "UPDATE vms SET created_ms = 4900000000000, boot = json_set(boot, '$.started_ms', 4900000000000);
             UPDATE operations SET begun_ms = 4900000000000;",
        )
        .unwrap();
    let app = bench.daemon();
    look(&app).await;
    bench.assert_settled(&app).await;
    let names: Vec<_> = app.db.vms().await.unwrap().into_iter().map(|vm| (app.status(&vm), vm.name)).collect();
    assert_eq!(names, [(Status::Running, name("box")), (Status::Stopped, name("rests"))]);
    for verb in [Verb::Restart, Verb::Stop, Verb::Start, Verb::Kill, Verb::Delete] {
        act(&app, verb).await.unwrap();
        bench.assert_settled(&app).await;
    }
}

/// One VM in each state that the version before could leave: each becomes what it would have become there.
#[tokio::test]
async fn a_database_of_the_version_before_is_taken_over() {
    let bench = Bench::new();
    let state = bench.folder.path().join("state");
    fs::create_dir_all(&state).unwrap();
    rusqlite::Connection::open(state.join("banger.db")).unwrap().execute_batch(RECORDED).unwrap();
    let app = bench.daemon();
    kill(Arc::clone(&app));
    let rows: BTreeMap<String, VmId> =
        app.db.vms().await.unwrap().into_iter().map(|row| (row.name.to_string(), row.id)).collect();
    for (name, target) in [
        ("rests", Target::Stopped),
        ("runs", Target::Running),
        ("starting", Target::Running),
        ("stopping", Target::Running),
        ("going", Target::Stopped),
    ] {
        bench.world.strand(rows[name], target);
    }
    look(&app).await;
    bench.assert_settled(&app).await;
    let found: Vec<_> =
        app.db.vms().await.unwrap().into_iter().map(|vm| (vm.name.to_string(), app.status(&vm))).collect();
    let expected = [
        ("rests", Status::Stopped),
        ("runs", Status::Running),
        // Its guest does not answer.
        ("starting", Status::Stopped),
        ("stopping", Status::Stopped),
    ];
    assert_eq!(found, expected.map(|(name, status)| (name.to_owned(), status)));
    for vm in app.db.vms().await.unwrap() {
        assert_eq!(admit(Verb::Delete, app.status(&vm)), Ok(()));
        let (cx, _events) = begin(&app);
        verbs::delete::delete(&app, &vm.name, None, true, &cx).await.unwrap();
    }
    bench.assert_settled(&app).await;
}

/// The public text on recovery names every resource, and has the plan's own table.
#[test]
fn what_is_promised_in_public_is_what_the_code_has() {
    let text = include_str!("../../../../docs/recovery.md");
    let rows = |heading: &str| -> Vec<String> {
        let from = text.split_once(heading).unwrap().1;
        let table = from.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
        table.skip(2).map(str::to_owned).collect()
    };
    let first = |row: &String| row.split('|').nth(1).unwrap().trim().to_owned();
    let named: Vec<_> = rows("## What a VM owns").iter().map(first).collect();
    assert_eq!(named, resource::ORDER.map(|(resource, _)| resource.to_string()));
    let plan = include_str!("../reconcile/plan.rs");
    let table = plan.lines().filter_map(|line| line.strip_prefix("//! ")).filter(|line| line.starts_with('|'));
    assert_eq!(rows("## What a look decides"), table.skip(2).collect::<Vec<_>>());
}
