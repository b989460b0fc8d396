//! Files and folders between this host and a VM, as a tar on the wire.
//!
//! Owns: reading local trees into a tar ([`pack`]), and turning a guest's tar into local files ([`extract`]), which trusts
//! nothing that the guest says. Must not: hold more than a few chunks in memory, whatever the size of files, names or trees.
//!
//! File systems are read and written in a thread ([`bridge`]); bytes go through a bounded queue to and from the connection.

mod bridge;
mod entries;
mod extract;
mod local;
mod pack;
mod sparse;

use crate::{
    client::{Client, ClientError, Route, streamed},
    error::CliError,
    output::Ui,
};
use banger_model::VmName;
use serde::Serialize;
use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

/// Files could not be copied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    /// Something of this host.
    #[error("cannot {what} {}", path.display())]
    Local {
        /// What was to be done to it.
        what: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The guest wants to write where it was not asked to.
    #[error("the guest sent {entry:?}, which was not asked for: {reason}")]
    Hostile {
        /// The name in the tar.
        entry: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Bytes that are no tar, or a tar that was cut off.
    #[error("cannot read the tar that the guest sent")]
    Tar(#[source] io::Error),
    /// Nothing at all came.
    #[error("the guest sent nothing")]
    Nothing,
    /// The tar cannot be sent on.
    #[error("cannot send the tar")]
    Send(#[source] io::Error),
    /// A file changed while it was read.
    #[error("{} became shorter while it was read", path.display())]
    Shrank {
        /// Which.
        path: PathBuf,
    },
    /// The thread that reads or writes files has panicked.
    #[error("copying ended without a result")]
    NoResult,
}

impl CopyError {
    fn local(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Local { what, path, source }
    }
}

/// How much of an entry is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Keep {
    /// Owners, setuid and setgid bits, device nodes and pipes too.
    pub(crate) all: bool,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Summary {
    /// Files, folders and links.
    pub(crate) entries: u64,
    /// Their contents.
    pub(crate) bytes: u64,
    /// Device nodes, pipes and sockets that were left out.
    pub(crate) skipped: u64,
}

/// One side of a copy that is in a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GuestPath {
    pub(crate) vm: VmName,
    /// Absolute.
    pub(crate) path: String,
}

impl GuestPath {
    fn route(&self) -> Route {
        Route::new(["vms", self.vm.as_str(), "files"]).query("path", &self.path)
    }

    /// What a copy of it is called; the VM's name for all of its file system.
    fn name(&self) -> OsString {
        Path::new(&self.path).file_name().map_or_else(|| self.vm.as_str().into(), Into::into)
    }
}

/// Copies a local file or folder into a VM.
pub(crate) async fn into_guest(
    client: &Client<'_>,
    from: &Path,
    to: &GuestPath,
    keep: Keep,
) -> Result<Summary, CliError> {
    let source = local::Source::open(from)?;
    upload(client, to, move |writer| pack::pack(writer, &source, keep)).await
}

/// Sends standard input, which is a tar, into a VM.
pub(crate) async fn stdin_into_guest(client: &Client<'_>, to: &GuestPath) -> Result<Summary, CliError> {
    upload(client, to, |writer| {
        let bytes = io::copy(&mut io::stdin().lock(), writer).map_err(CopyError::Send)?;
        Ok(Summary { bytes, ..Summary::default() })
    })
    .await
}

async fn upload(
    client: &Client<'_>,
    to: &GuestPath,
    work: impl FnOnce(&mut bridge::Writer) -> Result<Summary, CopyError> + Send + 'static,
) -> Result<Summary, CliError> {
    let (writer, body) = bridge::upload();
    let working = bridge::in_thread(move || {
        let mut writer = writer;
        let summary = work(&mut writer)?;
        writer.end()?;
        Ok(summary)
    })?;
    let answer = client.upload(&to.route(), streamed(body)).await;
    match (answer, working.await) {
        // An answer before everything was sent closes the pipe under the sender; the answer says why.
        (Err(refused @ ClientError::Api(_)), _) => Err(refused.into()),
        (_, Err(error)) => Err(error.into()),
        (answer, Ok(summary)) => Ok(answer.map(|()| summary)?),
    }
}

/// Copies a file or folder of a VM to this host.
pub(crate) async fn out_of_guest(
    client: &Client<'_>,
    from: &GuestPath,
    to: &Path,
    keep: Keep,
) -> Result<Summary, CliError> {
    // Before anything is asked of the guest.
    let place = local::Place::open(to, from.name())?;
    let body = client.download(&from.route()).await?;
    let (reader, pump) = bridge::download(body);
    let working = bridge::in_thread(move || extract::extract(reader, &place, keep))?;
    let (pumped, summary) = tokio::join!(pump, working);
    // Where the answer broke off, the tar is broken too; the answer says why.
    pumped?;
    Ok(summary?)
}

/// Writes a file or folder of a VM to standard output, as a tar.
pub(crate) async fn out_of_guest_to_stdout(ui: &Ui, client: &Client<'_>, from: &GuestPath) -> Result<(), CliError> {
    let mut body = client.download(&from.route()).await?;
    while let Some(bytes) = bridge::chunk(&mut body).await? {
        ui.print_bytes(&bytes)?;
    }
    Ok(())
}
