//! All verbs, one file each: its arguments, whose comments are its help, and what it does.

pub(crate) mod completions;
mod daemon;
mod debug;
mod doctor;
mod image;
mod kernel;
pub(crate) mod man;
mod several;
mod vm;

use crate::{
    client::Client,
    error::{CliError, Realm},
    operation::{Interrupt, Operation},
    output::Ui,
};
use clap::Subcommand;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make and use VMs
    #[command(subcommand)]
    Vm(Box<vm::Vm>),
    /// Get and keep the images that VMs boot
    #[command(subcommand)]
    Image(image::Image),
    /// Get and keep the kernels that VMs boot
    #[command(subcommand)]
    Kernel(kernel::Kernel),
    /// See and stop the daemon
    #[command(subcommand)]
    Daemon(daemon::Daemon),
    Doctor(doctor::DoctorArgs),
    Debug(debug::DebugArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

impl Command {
    /// How its failures are numbered.
    pub(crate) fn realm(&self) -> Realm {
        match self {
            Self::Vm(vm) => vm.realm(),
            _ => Realm::Verb,
        }
    }
}

/// What every verb works with.
pub(crate) struct Cx<'a> {
    pub(crate) ui: &'a Ui,
    pub(crate) client: Client<'a>,
}

impl<'a> Cx<'a> {
    /// An operation that builds something up: Ctrl-C has it undone.
    fn building(&'a self) -> Operation<'a> {
        Operation { ui: self.ui, client: &self.client, interrupt: Interrupt::Cancels }
    }

    /// An operation that takes something down: Ctrl-C leaves it to the daemon.
    fn removing(&'a self) -> Operation<'a> {
        Operation { ui: self.ui, client: &self.client, interrupt: Interrupt::Leaves }
    }
}

/// Runs a verb. Returns the exit status.
pub(crate) async fn run(ui: &Ui, command: Command) -> Result<u8, CliError> {
    let cx = Cx { ui, client: Client::new(ui) };
    match command {
        Command::Vm(vm) => vm::run(&cx, *vm).await,
        Command::Image(image) => image::run(&cx, image).await,
        Command::Kernel(kernel) => kernel::run(&cx, kernel).await,
        Command::Daemon(daemon) => daemon::run(ui, daemon).await.map(|()| 0),
        Command::Doctor(args) => doctor::run(&cx, args).await,
        Command::Debug(args) => debug::run(&cx, args).await.map(|()| 0),
        Command::Completions(args) => completions::run(ui, &args).map(|()| 0),
        Command::Man(args) => man::run(ui, args).map(|()| 0),
    }
}
