//! The process that is a VM's network: our filter, and `passt` behind it.
//!
//! The addresses are the same for every VM, because no two share a network. They are decided here and told to both ends:
//! to the process on its command line, to the guest by its agent.

use super::places::Places;
use crate::{db::VmRow, host::NoUserNet, op::OpCx};
use banger_model::{host_name::VmFile, wire::guest::GuestNetwork};
use banger_vmm::{CompanionConfig, companion::CompanionError, process::Companion};
use std::{
    ffi::{OsStr, OsString},
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const PREFIX: u8 = 24;
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const DNS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// The largest that passt takes: the fewer packets, the faster.
const MTU: u16 = 65520;

/// The programs that it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NetPrograms {
    filter: PathBuf,
    passt: PathBuf,
}

impl NetPrograms {
    /// The filter was built with us; passt is the configured one, or in the search path.
    pub(super) fn find(filter: &Path, passt: Option<&Path>, search_path: &OsStr) -> Result<Self, NoUserNet> {
        if !runnable(filter) {
            return Err(NoUserNet::Filter { path: filter.into() });
        }
        let passt = match passt {
            Some(path) if runnable(path) => path.to_owned(),
            Some(path) => return Err(NoUserNet::Configured { path: path.into() }),
            None => std::env::split_paths(search_path)
                .filter(|folder| folder.is_absolute())
                .map(|folder| folder.join("passt"))
                .find(|path| runnable(path))
                .ok_or(NoUserNet::Passt)?,
        };
        Ok(Self { filter: filter.into(), passt })
    }
}

fn runnable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Starts it and waits until it serves the VM, whose VMM must run.
pub(super) async fn start(
    places: &Places,
    programs: &NetPrograms,
    vm: &VmRow,
    cgroup: Option<PathBuf>,
    cx: &OpCx,
) -> Result<Companion, CompanionError> {
    Companion::start(&CompanionConfig { cgroup, ..config(places, programs, vm, cx) }).await
}

fn config(places: &Places, programs: &NetPrograms, vm: &VmRow, cx: &OpCx) -> CompanionConfig {
    let args: [(&str, OsString); 8] = [
        ("--vm", vm.id.as_str().into()),
        ("--op", cx.id().to_string().into()),
        ("--socket", places.net_socket(vm.id).into()),
        ("--passt", programs.passt.clone().into()),
        ("--address", format!("{GUEST}/{PREFIX}").into()),
        ("--gateway", GATEWAY.to_string().into()),
        ("--dns", DNS.to_string().into()),
        ("--mtu", MTU.to_string().into()),
    ];
    CompanionConfig {
        vm: vm.id,
        program: programs.filter.clone(),
        args: args.into_iter().flat_map(|(name, value)| [name.into(), value]).collect(),
        log: places.file(vm.id, VmFile::UserNetLog),
        record: places.file(vm.id, VmFile::UserNetRecord),
        cgroup: None,
    }
}

/// What the guest is told.
pub(super) fn guest_network() -> GuestNetwork {
    GuestNetwork {
        address: GUEST,
        prefix: PREFIX,
        gateway: GATEWAY,
        dns: vec![DNS],
        search: Vec::new(),
        mtu: Some(MTU.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let filter = folder.path().join("filter");
        let empty = folder.path().as_os_str();
        assert!(matches!(NetPrograms::find(&filter, None, empty), Err(NoUserNet::Filter { .. })));
        std::fs::write(&filter, "").unwrap();
        std::fs::set_permissions(&filter, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(NetPrograms::find(&filter, None, empty), Err(NoUserNet::Passt)));
        assert!(matches!(NetPrograms::find(&filter, Some(empty.as_ref()), empty), Err(NoUserNet::Configured { .. })));
        std::fs::copy(&filter, folder.path().join("passt")).unwrap();
        assert_eq!(NetPrograms::find(&filter, None, empty).unwrap().passt, folder.path().join("passt"));
    }
}
