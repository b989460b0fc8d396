//! One VM for all stories that only run commands in it. It ends with this process.

use banger_e2e::{Sandbox, Vm, surroundings};
use std::sync::OnceLock;

/// The sandbox of [`vm`].
pub(crate) fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| {
        let (sandbox, fresh) = match surroundings::shared() {
            Some(folder) => Sandbox::shared(&folder),
            None => (Sandbox::new(), true),
        };
        if fresh {
            sandbox.vm("shared");
        }
        sandbox
    })
}

/// A running VM of the busybox image.
pub(crate) fn vm() -> Vm<'static> {
    sandbox().existing("shared")
}

/// Where processes share it, this one goes first, and what it leaves is what the others find.
#[test]
fn the_machine_of_many_cases_is_there() {
    vm().exec("true").run().ok();
}
