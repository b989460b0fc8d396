//! One VM for all stories that only run commands in it. It ends with this process.

use banger_e2e::{Sandbox, Vm};
use std::sync::OnceLock;

/// The sandbox of [`vm`].
pub(crate) fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| {
        let sandbox = Sandbox::new();
        sandbox.vm("shared");
        sandbox
    })
}

/// A running VM of the busybox image.
pub(crate) fn vm() -> Vm<'static> {
    sandbox().existing("shared")
}
