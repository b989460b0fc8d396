//! `debug`.

use super::Cx;
use crate::{
    client::Route,
    error::{CliError, UsageError},
    output::{
        clean,
        style::{Style, Tone},
    },
};
use banger_model::{
    OpId,
    api::op::{LogRecord, OpLog},
};
use clap::Args;
use serde_json::Value;

/// Show all that was logged for one operation
///
/// Errors name the operation that they belong to, like (op-7f3a91…). What every process of banger's logged for it comes
/// in the order of time, which is given in UTC. Logs are bounded: the oldest lines are forgotten, and those of a VM's
/// network process go with the VM.
#[derive(Debug, Args)]
pub(crate) struct DebugArgs {
    /// The operation, as an error or `--verbose` names it
    #[arg(value_name = "OP")]
    op: OpId,
}

pub(super) async fn run(cx: &Cx<'_>, args: DebugArgs) -> Result<(), CliError> {
    let log: OpLog = cx.client.get(&Route::new(["operations", &args.op.to_string(), "log"])).await?;
    if log.records.is_empty() {
        return Err(UsageError::NothingLogged { op: args.op }.into());
    }
    if cx.ui.json {
        return Ok(cx.ui.print_json(&log)?);
    }
    Ok(cx.ui.print(&render(&log, cx.ui.out))?)
}

/// What every record of an operation repeats, or is of use to nobody but us.
const OMITTED: [&str; 3] = ["op", "span", "target"];

fn render(log: &OpLog, style: Style) -> String {
    log.records.iter().map(|record| line(record, style) + "\n").collect()
}

fn line(record: &LogRecord, style: Style) -> String {
    let tone = match record.level.as_str() {
        "ERROR" => Tone::Error,
        "WARN" => Tone::Warning,
        _ => Tone::Dim,
    };
    let mut text = format!(
        "{} {} {}: {}",
        style.paint(Tone::Dim, &clean::line(&record.timestamp)),
        style.paint(tone, &format!("{:5}", clean::line(&record.level))),
        clean::line(&record.process),
        clean::line(&record.message)
    );
    for (name, value) in &record.fields {
        if OMITTED.contains(&name.as_str()) || value == "" {
            continue;
        }
        let value = match value {
            // Quoted where it would run into what follows.
            Value::String(word) if !word.contains(char::is_whitespace) => word.clone(),
            other => other.to_string(),
        };
        text.push_str(&format!(" {}={}", clean::line(name), clean::line(&value)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_record() {
        let records = [
            serde_json::json!({
                "timestamp": "2026-11-25T03:07:48.841244Z", "level": "INFO", "process": "bangerd", "message": "stage",
                "stage": "Resolve", "detail": "find the image", "target": "bangerd::op", "span": { "op": "op-x" },
            }),
            serde_json::json!({
                "timestamp": "2026-11-25T03:07:49.000001Z", "level": "ERROR", "process": "banger-usernet 5wh97nzx8m7t",
                "message": "passt said \u{1b}[2J", "causes": ["a", "b"],
            }),
            serde_json::json!({ "message": "a line of another kind", "empty": "" }),
        ];
        let records = records.into_iter().map(|record| serde_json::from_value(record).unwrap()).collect();
        insta::assert_snapshot!(render(&OpLog { records }, Style::PLAIN), @r#"
        2026-11-25T03:07:48.841244Z INFO  bangerd: stage detail="find the image" stage=Resolve
        2026-11-25T03:07:49.000001Z ERROR banger-usernet 5wh97nzx8m7t: passt said \u{1b}[2J causes=["a","b"]
               : a line of another kind
        "#);
    }
}
