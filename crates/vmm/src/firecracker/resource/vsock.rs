//! `/vsock`: sockets between host and guest.

use serde::Serialize;
use std::path::PathBuf;

/// `Vsock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Vsock {
    /// The guest's number, at least 3.
    pub guest_cid: u32,
    /// The Unix socket that it makes, for connections from the host. For one from the guest to port N it connects to that
    /// path with `_N` behind it. A path that is not UTF-8 cannot be said.
    pub uds_path: PathBuf,
}
