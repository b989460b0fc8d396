//! The one place that reads the clock and the pool of entropy.

use banger_model::{OpId, VmId};
use std::time::{SystemTime, UNIX_EPOCH};

/// Since the epoch.
pub(crate) fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(now().as_millis()).unwrap_or(u64::MAX)
}

/// Sixteen random bytes from the kernel.
pub(crate) fn entropy() -> [u8; 16] {
    #[cfg(test)]
    if let Some(bytes) = crate::task::explored::entropy() {
        return bytes;
    }
    let mut bytes = [0; 16];
    // With no flags and at most 256 bytes, getrandom(2) neither fails nor returns short once the pool is ready.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes
}

/// A fresh operation id.
pub(crate) fn new_op() -> OpId {
    OpId::from_entropy(entropy())
}

/// A fresh VM id.
pub(crate) fn new_vm() -> VmId {
    VmId::from_entropy(entropy())
}
