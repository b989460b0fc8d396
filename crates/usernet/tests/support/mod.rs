//! What the tests of the real filter need: a host and an outside in network namespaces of their own, and a guest.

pub(crate) mod filter;
pub(crate) mod guest;
pub(crate) mod namespaces;
pub(crate) mod servers;
pub(crate) mod slirp;
