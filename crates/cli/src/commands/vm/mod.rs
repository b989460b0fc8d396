//! Verbs on VMs.

mod cp;
mod create;
mod delete;
mod exec;
mod kill;
mod list;
mod logs;
mod prune;
mod restart;
mod run;
mod shell;
mod show;
mod start;
mod stats;
mod stop;

use super::{Cx, several};
use crate::{
    client::Route,
    error::{CliError, Realm},
    operation::Operation,
};
use banger_model::{VmName, api::error::ErrorCode};
use clap::Subcommand;
use hyper::Method;

/// What to do with VMs.
#[derive(Debug, Subcommand)]
pub(crate) enum Vm {
    Run(run::RunArgs),
    Create(create::CreateArgs),
    Start(start::StartArgs),
    Stop(stop::StopArgs),
    Restart(restart::RestartArgs),
    Kill(kill::KillArgs),
    #[command(visible_alias = "rm")]
    Delete(delete::DeleteArgs),
    Prune(prune::PruneArgs),
    #[command(visible_alias = "ps", alias = "ls")]
    List(list::ListArgs),
    Show(show::ShowArgs),
    Exec(exec::ExecArgs),
    Shell(shell::ShellArgs),
    Cp(cp::CpArgs),
    Logs(logs::LogsArgs),
    Stats(stats::StatsArgs),
}

impl Vm {
    pub(super) fn realm(&self) -> Realm {
        match self {
            Self::Run(_) | Self::Exec(_) | Self::Shell(_) => Realm::Command,
            _ => Realm::Verb,
        }
    }
}

pub(super) async fn run(cx: &Cx<'_>, vm: Vm) -> Result<u8, CliError> {
    match vm {
        Vm::Run(args) => run::run(cx, args).await,
        Vm::Create(args) => create::run(cx, args).await.map(|()| 0),
        Vm::Start(args) => start::run(cx, args).await,
        Vm::Stop(args) => stop::run(cx, args).await,
        Vm::Restart(args) => restart::run(cx, args).await,
        Vm::Kill(args) => kill::run(cx, args).await,
        Vm::Delete(args) => delete::run(cx, args).await,
        Vm::Prune(args) => prune::run(cx, args).await,
        Vm::List(_) => list::run(cx).await.map(|()| 0),
        Vm::Show(args) => show::run(cx, args).await,
        Vm::Exec(args) => exec::run(cx, args).await,
        Vm::Shell(args) => shell::run(cx, args).await,
        Vm::Cp(args) => cp::run(cx, args).await.map(|()| 0),
        Vm::Logs(args) => logs::run(cx, args).await.map(|()| 0),
        Vm::Stats(args) => stats::run(cx, args).await,
    }
}

/// How a verb of one VM is asked for.
fn verb(name: &'static str) -> impl Fn(&VmName) -> (Method, Route) {
    move |vm| (Method::POST, Route::new(["vms", vm.as_str(), name]))
}

/// Runs one operation for each VM. `fix` may know what to do about a failure of this verb.
async fn operate(
    cx: &Cx<'_>,
    vms: &[VmName],
    operation: Operation<'_>,
    request: impl Fn(&VmName) -> (Method, Route),
    fix: impl Fn(&VmName, ErrorCode) -> Option<String>,
) -> Result<u8, CliError> {
    let verdict = async |vm: &VmName, error: CliError| {
        let fix = error.code().and_then(|code| fix(vm, code));
        let error = if let Some(fix) = fix { error.or_fix(|| fix) } else { error };
        Err(several::known_better(&cx.client, vm, error).await)
    };
    several::operate(cx, vms, operation, request, verdict).await
}

/// Runs a command in a VM that is there.
async fn in_vm(cx: &Cx<'_>, vm: &VmName, command: crate::exec::Command) -> Result<u8, CliError> {
    match crate::exec::run(cx.ui, &cx.client, vm, command).await {
        Ok(status) => Ok(status.shell_code()),
        Err(error) => Err(several::known_better(&cx.client, vm, error).await),
    }
}
