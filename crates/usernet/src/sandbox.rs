//! What this process gives up, as it has no further use for it.
//!
//! Owns: the session, no_new_privs and Landlock. Must not touch: `passt`, which confines itself with namespaces and
//! seccomp and could not if it inherited a Landlock domain.

use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope};

/// Leaves the starter's session, so that no terminal's signal reaches it, and can never gain rights by executing a file.
pub(crate) fn detach() -> Result<(), rustix::io::Errno> {
    match rustix::process::setsid() {
        // The starter has made it the leader of a session already.
        Ok(_) | Err(rustix::io::Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    rustix::thread::set_no_new_privs(true)
}

/// From here on no file can be opened, made or removed, no TCP socket bound or connected, no abstract socket reached, as far
/// as the kernel can enforce it. Signals stay allowed: `passt` is stopped by one.
pub(crate) fn close_in() -> Result<RulesetStatus, landlock::RulesetError> {
    let newest = ABI::V6;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(newest))?
        .handle_access(AccessNet::from_all(newest))?
        .scope(Scope::AbstractUnixSocket)?
        .create()?;
    ruleset.restrict_self().map(|status| status.ruleset)
}
