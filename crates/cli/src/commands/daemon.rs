//! `daemon status` and `daemon stop`.

use crate::{
    client::{Client, ClientError, Route},
    error::CliError,
    output::{Ui, age, style::Style, table::Facts},
};
use banger_model::api::daemon::DaemonInfo;
use clap::{Args, Subcommand};
use hyper::Method;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::time::Duration;

/// How long a daemon may take to end once it said that it would.
const END_LIMIT: Duration = Duration::from_secs(60);

/// What to do with the daemon.
#[derive(Debug, Subcommand)]
pub(crate) enum Daemon {
    Status(StatusArgs),
    Stop(StopArgs),
}

/// Show what the daemon is and where it keeps its files
///
/// Every other command starts a daemon when none runs; this one fails then.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {}

/// Stop the daemon; VMs go on running
///
/// The next command that needs a daemon starts it again. With --json, the daemon that was stopped is told as `daemon status`
/// does; where none ran, its `pid` is null.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {}

pub(super) async fn run(ui: &Ui, daemon: Daemon) -> Result<(), CliError> {
    let client = Client::of_running(ui);
    match daemon {
        Daemon::Status(_) => status(ui, &client).await,
        Daemon::Stop(_) => stop(ui, &client).await,
    }
}

async fn status(ui: &Ui, client: &Client<'_>) -> Result<(), CliError> {
    let info: DaemonInfo = client.get(&Route::new(["daemon"])).await?;
    if ui.json {
        return Ok(ui.print_json(&info)?);
    }
    Ok(ui.print(&render(&info, age::now_ms(), ui.out))?)
}

async fn stop(ui: &Ui, client: &Client<'_>) -> Result<(), CliError> {
    let info = match client.call::<DaemonInfo>(Method::POST, &Route::new(["daemon", "stop"])).await {
        Err(ClientError::NotRunning { .. }) => {
            if ui.json {
                return Ok(ui.print_json(&serde_json::json!({ "pid": null }))?);
            }
            ui.say("the daemon is not running");
            return Ok(());
        }
        answer => answer?,
    };
    if !ended(info.pid)? {
        return Err(CliError::DaemonStays { pid: info.pid, waited: END_LIMIT });
    }
    if ui.json {
        return Ok(ui.print_json(&info)?);
    }
    match info.running {
        0 => ui.say("stopped the daemon"),
        1 => ui.say("stopped the daemon; 1 VM goes on running"),
        n => ui.say(&format!("stopped the daemon; {n} VMs go on running")),
    }
    Ok(())
}

/// Waits for a process to end, within [`END_LIMIT`]. Blocks: nothing else is under way.
fn ended(pid: u32) -> Result<bool, CliError> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // A process that cannot be opened has ended already.
    let Some(process) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else { return Ok(true) };
    let limit = Timespec { tv_sec: i64::try_from(END_LIMIT.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit));
    let ready = ready.map_err(|error| CliError::Setup { what: "the wait for the daemon", source: error.into() })?;
    Ok(ready > 0)
}

fn render(info: &DaemonInfo, now_ms: u64, style: Style) -> String {
    let mut facts = Facts::default();
    facts.add("version", &info.version);
    facts.add("api", info.api.join(", "));
    facts.add("process", info.pid);
    facts.add("started", age::ago(info.started_ms, now_ms));
    facts.add("VMs", format!("{}, of which {} run", info.vms, info.running));
    facts.add("socket", info.socket.display());
    facts.add("log", info.log.display());
    facts.add("images", info.data_dir.display());
    facts.add("VM disks", info.state_dir.display());
    facts.add("config", info.config.display());
    facts.render(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon() {
        let info = DaemonInfo {
            version: "0.1.0".into(),
            api: vec!["v1".into()],
            pid: 4711,
            started_ms: 1_700_000_000_000,
            socket: "/run/user/1000/banger/api.sock".into(),
            log: "/home/a/.local/state/banger/bangerd.log".into(),
            data_dir: "/home/a/.local/share/banger".into(),
            state_dir: "/home/a/.local/state/banger".into(),
            config: "/home/a/.config/banger/config.toml".into(),
            vms: 3,
            running: 1,
        };
        insta::assert_snapshot!(render(&info, 1_700_000_200_000, Style::PLAIN));
    }
}
