//! Consoles.

use super::*;
use banger_model::api::{error::ErrorCode, vm::EndReason};
use std::{fs::OpenOptions, io::Write};

#[tokio::test]
async fn each_boot_has_its_console() {
    let api = Api::new().await;
    arrange(&api.app, Target::Stopped).await;
    let error = api.get("/v1/vms/box/logs").await.error();
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::VmStatus, "box has never been started"));
    act(&api.app, Verb::Start).await.unwrap();
    act(&api.app, Verb::Restart).await.unwrap();
    let id = api.app.named(&name("box")).await.unwrap().id;
    let file = |boot: u32| api.bench.folder.path().join(format!("{id}.{boot}"));
    std::fs::write(file(1), b"first \xff\x1b[31m boot\n").unwrap();
    assert_eq!(api.get("/v1/vms/box/logs").await.text(), "", "the VMM has not made it yet");
    std::fs::write(file(2), "second boot\n").unwrap();
    assert_eq!(api.get("/v1/vms/box/logs").await.text(), "second boot\n");
    // Byte for byte.
    let first = api.get("/v1/vms/box/logs?boot=1").await;
    assert_eq!(&first.body[..], b"first \xff\x1b[31m boot\n");
    // An earlier boot has ended: there is nothing to follow.
    assert_eq!(api.get("/v1/vms/box/logs?boot=1&follow=true").await.body, first.body);
    for boot in ["0", "3"] {
        let error = api.get(&format!("/v1/vms/box/logs?boot={boot}")).await.error();
        assert!(error.message.contains("its latest is 2"), "{error:?}");
    }
}

#[tokio::test]
async fn a_console_that_was_cut_begins_where_it_is_left() {
    let api = Api::with_box().await;
    let id = api.app.named(&name("box")).await.unwrap().id;
    let path = api.bench.folder.path().join(format!("{id}.1"));
    std::fs::write(&path, (0..100_000).map(|n| format!("line {n}\n")).collect::<String>()).unwrap();
    assert!(banger_vmm::trim::trim(&path, 256 * 1024).unwrap());
    let answer = api.get("/v1/vms/box/logs").await;
    let text = answer.text();
    assert!(text.ends_with("line 99998\nline 99999\n") && !text.contains('\0'), "{} bytes", text.len());
    assert!((128 * 1024..512 * 1024).contains(&text.len()), "{} bytes", text.len());
}

#[tokio::test]
async fn following_ends_with_the_boot() {
    let api = Api::with_box().await;
    let id = api.app.named(&name("box")).await.unwrap().id;
    let path = api.bench.folder.path().join(format!("{id}.1"));
    let body = api.send("GET /v1/vms/box/logs?follow=true", &[], "");
    let writing = async {
        // It begins before the VMM has made the file.
        let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        file.write_all(b"one\n").unwrap();
        file
    };
    let (answer, mut file) = tokio::join!(body, writing);
    let mut body = answer.into_body();
    let mut next = async || {
        let frame = tokio::time::timeout(BOUND, body.frame()).await.expect("nothing comes");
        frame.map(|frame| frame.unwrap().into_data().unwrap())
    };
    assert_eq!(next().await.unwrap(), "one\n");
    for line in ["two\n", "three\n"] {
        file.write_all(line.as_bytes()).unwrap();
        assert_eq!(next().await.unwrap(), line);
    }
    file.write_all(b"last\n").unwrap();
    api.bench.world.end(id, EndReason::PoweredOff);
    assert_eq!(next().await.unwrap(), "last\n");
    assert_eq!(next().await, None);
}
