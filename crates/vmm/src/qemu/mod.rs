//! QEMU: what its command line says, and the few words of QMP we need.

mod args;
pub(crate) mod qmp;

pub(crate) use args::NAME_PREFIX;
pub use args::args;
