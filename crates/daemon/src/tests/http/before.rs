//! What a client of the first version sends, byte by byte: it knows no operations' ids, and nothing that has been added to the
//! wire since.

use super::*;

const CREATE: &str = include_str!("../recorded/client-create.http");
const START: &str = include_str!("../recorded/client-start.http");
const LIST: &str = include_str!("../recorded/client-list.http");
const EXEC: &str = include_str!("../recorded/client-exec.http");

/// The head and the body of an answer, of whichever transfer.
fn parts(answer: &str) -> (&str, &str) {
    answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_ids_is_served_as_ever() {
    let api = Api::new().await;
    for (request, status) in [(CREATE, "stopped"), (START, "running")] {
        let answer = api.raw(request, false).await;
        let (head, body) = parts(&answer);
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        // Chunks of whole lines: what is no JSON is the length of one.
        let events: Vec<Value> =
            body.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(events.first().unwrap()["event"], "begun", "{answer}");
        let done = events.last().unwrap();
        assert_eq!((&done["event"], &done["result"]["vm"]["status"]), (&"done".into(), &status.into()), "{answer}");
        let op = head.lines().find_map(|line| line.strip_prefix("banger-op: ")).expect("one is minted");
        assert_eq!(events[0]["op"], op, "{answer}");
    }
    let listed = api.raw(LIST, false).await;
    let list: Value = serde_json::from_str(parts(&listed).1).unwrap();
    assert_eq!(list["vms"][0]["name"], "box", "{listed}");
    let exec = api.raw(EXEC, false).await;
    let (head, frames) = parts(&exec);
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("upgrade: banger-exec/1"), "{exec}");
    assert!(!frames.is_empty(), "the command says nothing");
}
