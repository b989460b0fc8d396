//! A process that was forked before anybody asked for one.
//!
//! Owns: a process that has all that any command without a terminal has, and only waits to be told which one to become. Where a
//! processor is emulated, forking and what it entails is half of what starting a short command takes; done while nothing else
//! is to be done, nobody waits for it. Must not be needed: whoever finds none, or one that has died, launches as ever.

use super::launch::{Launched, Report, Wires, double, never_block, tell};
use super::poller::Poller;
use super::stdin::{Ending, Stdin};
use crate::command::child::{Blank, Stdio, null};
use crate::sys;
use banger_model::wire::guest::Exec;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use std::fs::File;
use std::io::{self, Read as _};

/// Longest order, in bytes: a pipe takes it at once.
const LONGEST_ORDER: usize = 60 * 1024;
/// What an order's length takes, in bytes.
const LENGTH: usize = size_of::<u32>();

/// The process. It ends with this value.
#[derive(Debug)]
pub(super) struct Spare {
    id: u32,
    orders: OwnedFd,
    launched: Launched,
}

impl Spare {
    /// Forks it; `poller` tells of it as of the task `id`, which it is to be.
    ///
    /// # Errors
    /// When the kernel has no descriptors, memory or processes left.
    pub(super) fn start(id: u32, poller: &Poller) -> io::Result<Self> {
        let (order, orders) = pipe_with(PipeFlags::CLOEXEC)?;
        never_block(&orders)?;
        let launched = double(Wires::pipes(true)?, |stdio, reporter| wait(stdio, &order, &reporter))?;
        let spare = Self { id, orders, launched };
        spare.launched.register(id, poller)?;
        Ok(spare)
    }

    /// The task that it is to be.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Whether it can become that command.
    pub(super) fn suits(exec: &Exec) -> bool {
        !exec.detach && exec.tty.is_none()
    }

    /// Has it become that command. None when it is dead, or the order too long.
    pub(super) fn become_command(mut self, exec: &Exec) -> Option<Launched> {
        if send(&self.orders, exec).is_none() {
            self.end();
            return None;
        }
        if exec.no_stdin {
            self.launched.stdin = Stdin::new(None, Ending::Close);
        }
        Some(self.launched)
    }

    /// Sees it off, dead or alive.
    pub(super) fn end(self) {
        // It only ever waits for its order, so it is gone at once.
        let _ = pidfd_send_signal(&self.launched.pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.launched.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

/// An order with its length before it, all of it or none.
fn send(orders: &OwnedFd, exec: &Exec) -> Option<()> {
    let mut order = vec![0; LENGTH];
    serde_json::to_writer(&mut order, exec).ok()?;
    let length = u32::try_from(order.len() - LENGTH).ok()?;
    order[..LENGTH].copy_from_slice(&length.to_le_bytes());
    let written = (order.len() <= LONGEST_ORDER).then(|| rustix::io::write(orders, &order))?;
    (written == Ok(order.len())).then_some(())
}

/// The child's whole life, up to its exec. Without an agent there is none.
fn wait(stdio: Stdio, order: &OwnedFd, reporter: &OwnedFd) {
    let settled = Blank::settle(stdio);
    // What other commands' pipes lead to must end when the agent lets go of it.
    sys::close_all_but(&[order, reporter]);
    let nothing = null();
    let mut length = [0; LENGTH];
    let mut come = || -> io::Result<Exec> {
        let mut order = File::from(order.try_clone()?);
        order.read_exact(&mut length)?;
        let mut bytes = vec![0; u32::from_le_bytes(length).try_into().unwrap_or(0)];
        order.read_exact(&mut bytes)?;
        Ok(serde_json::from_slice(&bytes)?)
    };
    let Ok(exec) = come() else { return };
    let become_it = |blank: Blank| {
        if exec.no_stdin {
            blank.read_from(nothing)?;
        }
        Ok(blank.become_command(&exec))
    };
    tell(reporter, &Report::Refused(settled.and_then(become_it).unwrap_or_else(|refusal| refusal)));
}
