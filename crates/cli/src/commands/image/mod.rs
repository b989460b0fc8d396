//! Verbs on images.

mod delete;
mod import;
mod list;
mod pull;
mod show;

pub(in crate::commands) use list::used_by;

use super::Cx;
use crate::error::CliError;
use clap::Subcommand;

/// What to do with images.
#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    Pull(pull::PullArgs),
    Import(import::ImportArgs),
    #[command(alias = "ls")]
    List(list::ListArgs),
    Show(show::ShowArgs),
    #[command(visible_alias = "rm")]
    Delete(delete::DeleteArgs),
}

pub(super) async fn run(cx: &Cx<'_>, image: Image) -> Result<u8, CliError> {
    match image {
        Image::Pull(args) => pull::run(cx, args).await.map(|()| 0),
        Image::Import(args) => import::run(cx, args).await.map(|()| 0),
        Image::List(_) => list::run(cx).await.map(|()| 0),
        Image::Show(args) => show::run(cx, args).await,
        Image::Delete(args) => delete::run(cx, args).await,
    }
}
