//! A clean debug build on two cores.

use crate::{measure::once, table::Table};
use banger_e2e::{Call, place::Place};
use std::{path::Path, time::Duration};

const LIMIT: Duration = Duration::from_secs(6 * 60);

/// Into a folder of its own; the sources of the crates are here already.
pub(crate) fn run(table: &mut Table) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target = Place::get().folder("bench-build");
    let build = || {
        let cargo = Call::new("cargo").words("build -q --jobs 2 --offline").folder(root);
        cargo.env("CARGO_TARGET_DIR", &target).within(LIMIT * 4)
    };
    let cost = once(None, || build().succeeds());
    table.bounded("a clean debug build, two jobs", cost, LIMIT);
}
