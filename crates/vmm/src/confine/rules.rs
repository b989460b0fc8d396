//! Grants become Landlock rules: dull.

use super::ConfineError;
use super::grants::{Access, Grant};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, Scope, make_bitflags,
};
use std::os::fd::OwnedFd;

/// The newest kernel interface whose restrictions this was tried with. Older kernels get the part that they know.
const NEWEST: ABI = ABI::V6;

/// A domain where no file can be used but for these, no TCP port either, and where signals and abstract sockets do not lead
/// out. None where the kernel has no Landlock.
pub(super) fn ruleset(grants: &[Grant]) -> Result<Option<OwnedFd>, ConfineError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for Grant { path, access } in grants {
        // What cannot be opened here cannot be opened by the VMM either, and that says so in its own words.
        if let Ok(file) = PathFd::new(path) {
            ruleset = ruleset.add_rule(PathBeneath::new(file, rights(*access)))?;
        }
    }
    Ok(ruleset.into())
}

fn rights(access: Access) -> BitFlags<AccessFs> {
    match access {
        Access::Read => AccessFs::ReadFile.into(),
        Access::Execute => make_bitflags!(AccessFs::{ReadFile | Execute}),
        Access::Write => make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate}),
        Access::Device => make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate | IoctlDev}),
        Access::Sockets => make_bitflags!(AccessFs::{MakeSock | RemoveFile}),
    }
}
