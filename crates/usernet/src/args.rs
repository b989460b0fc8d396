//! The command line.
//!
//! Owns: its reading and its errors. All of it is required: the daemon is the only caller, and the one place where the
//! network's facts are decided. It stays in `/proc/PID/cmdline`, where a scan finds the VM's id.

use crate::network::{Network, NetworkError};
use banger_model::{OpId, VmId};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

/// How it is to be called.
pub(crate) const USAGE: &str = "banger-usernet --vm ID --op ID --socket PATH --passt PATH \
     --address A.B.C.D/PREFIX --gateway A.B.C.D --dns A.B.C.D --mtu BYTES";

const VM: &str = "--vm";
const OP: &str = "--op";
const SOCKET: &str = "--socket";
const PASST: &str = "--passt";
const ADDRESS: &str = "--address";
const GATEWAY: &str = "--gateway";
const DNS: &str = "--dns";
const MTU: &str = "--mtu";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Args {
    /// The VM whose network this is.
    pub(crate) vm: VmId,
    /// The operation that starts it.
    pub(crate) op: OpId,
    /// Where QEMU listens.
    pub(crate) socket: PathBuf,
    /// The `passt` program.
    pub(crate) passt: PathBuf,
    /// The virtual network.
    pub(crate) network: Network,
}

/// A command line that is not understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArgsError {
    #[error("argument {0:?} is not one of: {USAGE}")]
    Unknown(OsString),
    #[error("{0} has no value")]
    NoValue(&'static str),
    #[error("{0} is given twice")]
    Twice(&'static str),
    #[error("{0} is missing: {USAGE}")]
    Missing(&'static str),
    #[error("{name} {value:?} is not {expected}")]
    Value { name: &'static str, value: OsString, expected: &'static str },
    #[error("the addresses do not make a network")]
    Network(#[from] NetworkError),
}

impl Args {
    /// Reads the arguments behind the program's name.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ArgsError> {
        let mut given = BTreeMap::new();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let known = [VM, OP, SOCKET, PASST, ADDRESS, GATEWAY, DNS, MTU].into_iter().find(|name| argument == *name);
            let name = known.ok_or(ArgsError::Unknown(argument))?;
            let value = arguments.next().ok_or(ArgsError::NoValue(name))?;
            if given.insert(name, value).is_some() {
                return Err(ArgsError::Twice(name));
            }
        }
        let mut given = Given(given);
        let (guest, prefix) = given.address_and_prefix()?;
        let ip = "an IPv4 address";
        Ok(Self {
            vm: given.parsed(VM, "a VM id")?,
            op: given.parsed(OP, "an operation id")?,
            socket: given.take(SOCKET)?.into(),
            passt: given.take(PASST)?.into(),
            network: Network::new(
                guest,
                prefix,
                given.parsed(GATEWAY, ip)?,
                given.parsed(DNS, ip)?,
                given.parsed(MTU, "a number of bytes")?,
            )?,
        })
    }
}

struct Given(BTreeMap<&'static str, OsString>);

impl Given {
    fn take(&mut self, name: &'static str) -> Result<OsString, ArgsError> {
        self.0.remove(name).ok_or(ArgsError::Missing(name))
    }

    fn parsed<T: FromStr>(&mut self, name: &'static str, expected: &'static str) -> Result<T, ArgsError> {
        let value = self.take(name)?;
        let parsed = value.to_str().and_then(|text| text.parse().ok());
        parsed.ok_or(ArgsError::Value { name, value, expected })
    }

    fn address_and_prefix(&mut self) -> Result<(Ipv4Addr, u8), ArgsError> {
        let value = self.take(ADDRESS)?;
        let parsed = value.to_str().and_then(|text| {
            let (address, prefix) = text.split_once('/')?;
            Some((address.parse().ok()?, prefix.parse().ok()?))
        });
        parsed.ok_or(ArgsError::Value { name: ADDRESS, value, expected: "an IPv4 address and a prefix" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::example;

    const GOOD: &str = "--vm 0123456789ab --op op-0123456789abcdef --socket /run/n.sock --passt /usr/bin/passt \
        --address 10.0.2.15/24 --gateway 10.0.2.2 --dns 10.0.2.3 --mtu 65520";

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_a_whole_command_line() {
        let args = parse(GOOD).unwrap();
        assert_eq!(args.vm.as_str(), "0123456789ab");
        assert_eq!(args.op.to_string(), "op-0123456789abcdef");
        assert_eq!((args.socket, args.passt), ("/run/n.sock".into(), "/usr/bin/passt".into()));
        assert_eq!(args.network, example());
    }

    #[test]
    fn names_what_is_wrong() {
        for (line, expected) in [
            (GOOD.replace("--mtu 65520", ""), "--mtu is missing"),
            (GOOD.replace("65520", ""), "--mtu has no value"),
            (format!("{GOOD} --mtu 1500"), "--mtu is given twice"),
            (format!("{GOOD} --ipv6"), "argument \"--ipv6\" is not one of"),
            (GOOD.replace("0123456789ab ", "UP "), "--vm \"UP\" is not a VM id"),
            (GOOD.replace("/24", ""), "--address \"10.0.2.15\" is not an IPv4 address and a prefix"),
            (GOOD.replace("10.0.2.3", "10.0.9.3"), "the addresses do not make a network"),
        ] {
            let error = parse(&line).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
