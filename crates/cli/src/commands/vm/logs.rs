//! `vm logs`.

use super::{Cx, several};
use crate::{
    client::{ClientError, Route},
    error::CliError,
    output::{clean::ConsoleFilter, style::Tone},
};
use banger_model::{VmName, api::vm::VmView};
use clap::Args;
use http_body_util::BodyExt;
use std::io::{IsTerminal, stdout};

/// Print what a VM wrote on its console
///
/// A terminal gets text and colours only; a file or pipe gets every byte. The consoles of the last five boots are kept, of
/// each the last 4 to 8 MiB.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Go on until this boot ends
    #[arg(short, long, conflicts_with = "all")]
    follow: bool,
    /// Of this boot, counted from 1, instead of the latest
    #[arg(long, value_name = "N", conflicts_with = "all", value_parser = clap::value_parser!(u32).range(1..))]
    boot: Option<u32>,
    /// Of all boots that are kept
    #[arg(long)]
    all: bool,
    /// Of which
    vm: VmName,
}

pub(super) async fn run(cx: &Cx<'_>, args: LogsArgs) -> Result<(), CliError> {
    let printed = print(cx, &args).await;
    match printed {
        Err(error) => Err(several::known_better(&cx.client, &args.vm, error).await),
        Ok(()) => Ok(()),
    }
}

async fn print(cx: &Cx<'_>, args: &LogsArgs) -> Result<(), CliError> {
    if !args.all {
        return boot(cx, args, args.boot).await;
    }
    let vm: VmView = cx.client.get(&Route::new(["vms", args.vm.as_str()])).await?;
    for number in 1..=vm.boots {
        cx.ui.say(&cx.ui.err.paint(Tone::Dim, &format!("==> boot {number} <==")));
        match boot(cx, args, Some(number)).await {
            // Old ones are thrown away.
            Err(CliError::Client(ClientError::Api(_))) => cx.ui.say("not kept any more"),
            other => other?,
        }
    }
    Ok(())
}

async fn boot(cx: &Cx<'_>, args: &LogsArgs, boot: Option<u32>) -> Result<(), CliError> {
    let mut route = Route::new(["vms", args.vm.as_str(), "logs"]);
    if let Some(boot) = boot {
        route = route.query("boot", &boot.to_string());
    }
    if args.follow {
        route = route.query("follow", "true");
    }
    let mut body = cx.client.download(&route).await?;
    let mut form = Form::new(cx.ui.json, boot);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ClientError::BrokeOff(error.into()))?;
        if let Some(bytes) = frame.data_ref() {
            cx.ui.print_bytes(&form.feed(bytes))?;
        }
    }
    Ok(cx.ui.print_bytes(&form.end())?)
}

/// How the console is shown.
enum Form {
    Raw,
    Terminal(ConsoleFilter),
    /// Lines as objects; holds the one that has not ended yet.
    Json {
        boot: Option<u32>,
        line: Vec<u8>,
    },
}

/// A line that is cut into pieces beyond this, in bytes: a console may never end one.
const MAX_LINE: usize = 64 << 10;

impl Form {
    fn new(json: bool, boot: Option<u32>) -> Self {
        match json {
            true => Self::Json { boot, line: Vec::new() },
            false if stdout().is_terminal() => Self::Terminal(ConsoleFilter::default()),
            false => Self::Raw,
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Raw => out.extend_from_slice(bytes),
            Self::Terminal(filter) => filter.feed(bytes, &mut out),
            Self::Json { boot, line } => {
                for byte in bytes {
                    if *byte == b'\n' || line.len() >= MAX_LINE {
                        object(*boot, line, &mut out);
                    }
                    if *byte != b'\n' {
                        line.push(*byte);
                    }
                }
            }
        }
        out
    }

    fn end(self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Self::Json { boot, mut line } = self
            && !line.is_empty()
        {
            object(boot, &mut line, &mut out);
        }
        out
    }
}

fn object(boot: Option<u32>, line: &mut Vec<u8>, out: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(line);
    let mut object = serde_json::json!({ "line": text.trim_end_matches('\r') });
    if let Some(boot) = boot {
        object["boot"] = boot.into();
    }
    out.extend_from_slice(object.to_string().as_bytes());
    out.push(b'\n');
    line.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_objects_in_pieces_of_any_size() {
        let console = b"one\r\ntwo\xff\nthree";
        for piece in 1..console.len() {
            let mut form = Form::Json { boot: Some(2), line: Vec::new() };
            let mut out = Vec::new();
            console.chunks(piece).for_each(|bytes| out.extend(form.feed(bytes)));
            out.extend(form.end());
            let text = String::from_utf8(out).unwrap();
            assert_eq!(
                text,
                "{\"boot\":2,\"line\":\"one\"}\n{\"boot\":2,\"line\":\"two\u{fffd}\"}\n{\"boot\":2,\"line\":\"three\"}\n"
            );
        }
    }
}
