//! `vm cp`.

use super::{Cx, several};
use crate::{
    copy::{self, GuestPath, Keep, Summary},
    error::{CliError, UsageError},
};
use clap::Args;
use std::{
    io::{IsTerminal, stdin, stdout},
    path::PathBuf,
};

/// Copy files and folders into a VM or out of it
///
/// One side is VM:/PATH. As with `cp`, the copy goes into the destination when that is a folder, and takes its name
/// otherwise. Modes, times and links are kept; owners are not, unless --archive is given. A `-` is a tar on standard input
/// or output. A local name with a colon in it is written with a slash, like ./a:b.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CpArgs {
    /// Keep owners, setuid and setgid bits, device nodes and pipes too
    ///
    /// On this host, owners and device nodes need root. Do this only with a VM that you trust.
    #[arg(short, long)]
    archive: bool,
    /// What to copy
    #[arg(value_name = "SRC")]
    from: String,
    /// Where to
    #[arg(value_name = "DST")]
    to: String,
}

const EXAMPLES: &str = "\
Examples:
  banger vm cp ./src box:/root          a folder into the VM, as /root/src
  banger vm cp box:/var/log/dpkg.log .  a file out of it
  banger vm cp box:/etc - | tar t       a folder as a tar";

/// One side of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Side {
    Guest(GuestPath),
    Local(PathBuf),
    /// Standard input or output.
    Tar,
}

pub(super) async fn run(cx: &Cx<'_>, args: CpArgs) -> Result<(), CliError> {
    let keep = Keep { all: args.archive };
    let (from, to) = (side(&args.from)?, side(&args.to)?);
    let vm = match (&from, &to) {
        (Side::Guest(guest), Side::Local(_) | Side::Tar) | (Side::Local(_) | Side::Tar, Side::Guest(guest)) => {
            guest.vm.clone()
        }
        (Side::Guest(_), Side::Guest(_)) => {
            return Err(UsageError::CopyBetweenVms { from: args.from, to: args.to }.into());
        }
        _ => return Err(UsageError::CopyWithoutVm { from: args.from, to: args.to }.into()),
    };
    let copied = match (from, to) {
        (Side::Local(from), Side::Guest(to)) => copy::into_guest(&cx.client, &from, &to, keep).await.map(Some),
        (Side::Guest(from), Side::Local(to)) => copy::out_of_guest(&cx.client, &from, &to, keep).await.map(Some),
        (Side::Tar, Side::Guest(_)) if stdin().is_terminal() => return Err(UsageError::TarFromTerminal.into()),
        (Side::Tar, Side::Guest(to)) => copy::stdin_into_guest(&cx.client, &to).await.map(Some),
        (Side::Guest(_), Side::Tar) if stdout().is_terminal() => return Err(UsageError::TarToTerminal.into()),
        (Side::Guest(from), Side::Tar) => copy::out_of_guest_to_stdout(cx.ui, &cx.client, &from).await.map(|()| None),
        _ => return Err(UsageError::CopyWithoutVm { from: args.from, to: args.to }.into()),
    };
    match copied {
        Err(error) => Err(several::known_better(&cx.client, &vm, error).await),
        Ok(Some(summary)) => tell(cx, &summary),
        Ok(None) => Ok(()),
    }
}

fn tell(cx: &Cx<'_>, summary: &Summary) -> Result<(), CliError> {
    if cx.ui.json {
        return Ok(cx.ui.print_json(summary)?);
    }
    match summary.skipped {
        0 => {}
        1 => cx.ui.warn("1 device node, pipe or socket was left out: --archive copies devices and pipes"),
        n => {
            cx.ui.warn(&format!("{n} device nodes, pipes or sockets were left out: --archive copies devices and pipes"))
        }
    }
    Ok(())
}

/// `VM:/PATH` when what is before the first colon can name a VM; a slash before it makes it a local path.
fn side(word: &str) -> Result<Side, CliError> {
    if word == "-" {
        return Ok(Side::Tar);
    }
    if let Some((name, path)) = word.split_once(':')
        && let Ok(vm) = name.parse()
    {
        return match path.starts_with('/') {
            true => Ok(Side::Guest(GuestPath { vm, path: path.to_owned() })),
            false => Err(UsageError::RelativeGuestPath { path: path.to_owned() }.into()),
        };
    }
    Ok(Side::Local(word.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides() {
        let guest = |vm: &str, path: &str| Side::Guest(GuestPath { vm: vm.parse().unwrap(), path: path.into() });
        assert_eq!(side("box:/etc/hosts").unwrap(), guest("box", "/etc/hosts"));
        assert_eq!(side("box:/a:b").unwrap(), guest("box", "/a:b"));
        assert_eq!(side("./a:b").unwrap(), Side::Local("./a:b".into()));
        assert_eq!(side("/x/a:/b").unwrap(), Side::Local("/x/a:/b".into()));
        assert_eq!(side("-").unwrap(), Side::Tar);
        assert!(matches!(side("box:etc"), Err(CliError::Usage(UsageError::RelativeGuestPath { .. }))));
    }
}
