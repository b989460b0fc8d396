//! The modules in the initramfs.
//!
//! Owns: loading them in the order of `/modules/order`, but for drivers of devices that the machine does not have, and giving
//! back the memory they take. A kernel that has everything built in comes without the list.
//!
//! Distributions sign their modules. Checking that takes a translated processor 10 to 20 ms for each, and tells nothing here:
//! modules and kernel come from the same host. So they are offered without their signatures first.

use crate::virtio;
use banger_model::wire::boot_module::BootModule;
use rustix::io::Errno;
use rustix::system::init_module;
use std::cell::LazyCell;
use std::path::Path;

const FOLDER: &str = "/modules";

/// At the very end of a signed module (`linux/module_signature.h`), behind the signature and a block that describes it, whose
/// last four bytes are the signature's length.
const MAGIC: &[u8] = b"~Module signature appended~\n";
const DESCRIPTION: usize = 12;

/// Loads all that the machine has use for, past those that cannot be; what is missed shows where it is needed.
pub(super) fn load_all() -> Vec<String> {
    let order = std::fs::read_to_string(Path::new(FOLDER).join("order")).unwrap_or_default();
    let mut warnings = Vec::new();
    // Looked at when the buses' own drivers, which come first, have found all that there is. A machine that shows nothing is
    // one that cannot be asked.
    let machine = LazyCell::new(virtio::types);
    let is_of_use = |module: &BootModule| module.devices.is_empty() || machine.is_empty() || module.is_for(&machine);
    for module in order.lines().filter_map(BootModule::parse).filter(is_of_use) {
        let name = &module.file;
        let path = Path::new(FOLDER).join(name);
        match std::fs::read(&path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)).and_then(load) {
            Ok(()) | Err(Errno::EXIST) => {}
            // Modules for devices that this machine does not have.
            Err(Errno::NODEV) => {}
            Err(error) => warnings.push(format!("kernel module {name} could not be loaded: {error}")),
        }
        let _ = std::fs::remove_file(&path);
    }
    let _ = std::fs::remove_dir_all(FOLDER);
    warnings
}

fn load(module: Vec<u8>) -> rustix::io::Result<()> {
    match init_module(without_signature(&module), c"") {
        // A kernel that insists.
        Err(Errno::KEYREJECTED | Errno::NOKEY | Errno::PERM) => init_module(&module, c""),
        other => other,
    }
}

fn without_signature(module: &[u8]) -> &[u8] {
    let end = module.strip_suffix(MAGIC).and_then(|rest| {
        let length: [u8; 4] = rest.last_chunk().copied()?;
        let signature = usize::try_from(u32::from_be_bytes(length)).ok()?;
        rest.len().checked_sub(DESCRIPTION)?.checked_sub(signature)
    });
    &module[..end.unwrap_or(module.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_found_only_where_there_is_one() {
        let signed = |signature: &[u8], length: u32| {
            let mut module = b"code".to_vec();
            module.extend(signature);
            module.extend([0; 8]);
            module.extend(length.to_be_bytes());
            module.extend(MAGIC);
            module
        };
        assert_eq!(without_signature(&signed(b"signature", 9)), b"code");
        for whole in [b"code".to_vec(), Vec::new(), MAGIC.to_vec(), signed(b"short", 1000)] {
            assert_eq!(without_signature(&whole), whole);
        }
    }
}
