//! What was logged for one operation.
//!
//! Owns: reading the logs of this daemon and of the processes that it started back, and picking out of them what belongs to
//! an operation. Logs are text that may be torn or of another version; a line that makes no sense is left out.

use banger_model::{
    OpId,
    api::op::{LogRecord, OpLog},
};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::PathBuf,
};

/// The longest line that is looked at, in bytes.
const MAX_LINE: u64 = 256 * 1024;
/// Most records of one operation that are told: the latest.
const MAX_RECORDS: usize = 10_000;

/// A log, and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    /// The process.
    pub(crate) process: String,
    /// The file; nothing is logged yet when it is not there.
    pub(crate) path: PathBuf,
}

/// All that `logs` have of an operation, in time order.
///
/// # Errors
/// When a log is there and cannot be read.
pub(crate) fn of(op: OpId, logs: &[Log]) -> io::Result<OpLog> {
    let id = op.to_string();
    let mut records = Vec::new();
    for log in logs {
        let file = match File::open(&log.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        pick(BufReader::new(file), &id, &log.process, &mut records)?;
    }
    // Stable: lines without a time, or of the same moment, stay in their order.
    records.sort_by(|a: &LogRecord, b| a.timestamp.cmp(&b.timestamp));
    records.drain(..records.len().saturating_sub(MAX_RECORDS));
    Ok(OpLog { records })
}

fn pick(mut log: impl BufRead, id: &str, process: &str, records: &mut Vec<LogRecord>) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = log.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        // Most lines are of other operations; only what may be of this one is parsed.
        if !text.contains(id) {
            continue;
        }
        if let Some(mut record) = of_json(&text, id).or_else(|| of_text(&text, id)) {
            process.clone_into(&mut record.process);
            records.push(record);
        }
    }
}

/// A line of the daemon's: the operation is one of its fields, or of its span's.
fn of_json(line: &str, id: &str) -> Option<LogRecord> {
    let record: LogRecord = serde_json::from_str(line).ok()?;
    let is_this = |value: Option<&serde_json::Value>| value.and_then(serde_json::Value::as_str) == Some(id);
    let in_span = record.fields.get("span").is_some_and(|span| is_this(span.get("op")));
    (in_span || is_this(record.fields.get("op"))).then_some(record)
}

/// A line of the network process: `TIME LEVEL usernet{vm=ID op=ID}: what happened`.
fn of_text(line: &str, id: &str) -> Option<LogRecord> {
    let (timestamp, rest) = line.trim().split_once(char::is_whitespace)?;
    let (level, rest) = rest.trim_start().split_once(char::is_whitespace)?;
    let (span, message) = rest.trim_start().split_once("}: ")?;
    span.split(['{', ' ']).any(|field| field.strip_prefix("op=") == Some(id)).then(|| LogRecord {
        timestamp: timestamp.to_owned(),
        level: level.to_owned(),
        process: String::new(),
        message: message.to_owned(),
        fields: std::collections::BTreeMap::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "op-504z3wawsnkfsd7t";

    fn read(logs: &[(&str, &str)]) -> Vec<(String, String)> {
        let folder = tempfile::tempdir().unwrap();
        let mut files = vec![Log { process: "none".into(), path: folder.path().join("missing") }];
        for (process, text) in logs {
            let path = folder.path().join(process);
            std::fs::write(&path, text).unwrap();
            files.push(Log { process: (*process).into(), path });
        }
        let found = of(OURS.parse().unwrap(), &files).unwrap();
        found.records.into_iter().map(|record| (record.process, record.message)).collect()
    }

    #[test]
    fn lines_of_all_processes_come_in_the_order_of_time() {
        let daemon = format!(
            "{{\"timestamp\":\"2026-01-01T00:00:03Z\",\"message\":\"third\",\"span\":{{\"op\":\"{OURS}\"}}}}\n\
             {{\"timestamp\":\"2026-01-01T00:00:01Z\",\"message\":\"first\",\"op\":\"{OURS}\"}}\n"
        );
        let net = format!("2026-01-01T00:00:02Z  INFO usernet{{vm=0123456789ab op={OURS}}}: second: and more\n");
        let expected = [("bangerd", "first"), ("net", "second: and more"), ("bangerd", "third")];
        let expected = expected.map(|(process, message)| (process.to_owned(), message.to_owned()));
        assert_eq!(read(&[("bangerd", &daemon), ("net", &net)]), expected);
    }

    #[test]
    fn what_only_mentions_the_operation_or_is_no_record_is_left_out() {
        let long = "x".repeat(300_000);
        let log = format!(
            "{{\"message\":\"talks of {OURS}\",\"span\":{{\"op\":\"op-0123456789abcdef\"}}}}\n\
             {{\"message\":\"torn\",\"span\":{{\"op\":\"{OURS}\"\n{OURS}\n{OURS} \n{long}{OURS}\n"
        );
        assert_eq!(read(&[("bangerd", &log)]), []);
    }
}
