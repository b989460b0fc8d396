//! Verbs on kernels.

mod delete;
mod import;
mod list;
mod pull;
mod show;

use super::Cx;
use crate::error::CliError;
use clap::Subcommand;

/// What to do with kernels.
#[derive(Debug, Subcommand)]
pub(crate) enum Kernel {
    #[command(alias = "ls")]
    List(list::ListArgs),
    Pull(pull::PullArgs),
    Import(import::ImportArgs),
    Show(show::ShowArgs),
    #[command(visible_alias = "rm")]
    Delete(delete::DeleteArgs),
}

pub(super) async fn run(cx: &Cx<'_>, kernel: Kernel) -> Result<u8, CliError> {
    match kernel {
        Kernel::List(_) => list::run(cx).await.map(|()| 0),
        Kernel::Pull(args) => pull::run(cx, args).await.map(|()| 0),
        Kernel::Import(args) => import::run(cx, args).await.map(|()| 0),
        Kernel::Show(args) => show::run(cx, args).await,
        Kernel::Delete(args) => delete::run(cx, args).await,
    }
}
