//! From a registry on loopback to a bootable file system, cold, beside what else does that.

use crate::{
    images,
    inflate::all_layers,
    measure::{Cost, forget_peak, median, memory, once},
    table::Table,
};
use banger_e2e::{
    Call, Sandbox,
    fixture::registry::Registry,
    place::{Place, find},
};
use std::{fs, path::Path, time::Duration};

/// Deleting trees slows down every file that is made later on some file systems: each run has a fresh folder, and few.
const RUNS: usize = 5;
const LONG: Duration = Duration::from_secs(600);

/// One layer, then six; then memory.
pub(crate) fn run(table: &mut Table) {
    let Some(registry) = Registry::start() else {
        return table.missing("image pull", "no docker-registry");
    };
    let layout = Place::get().folder("bench-layout").join("images");
    let megabytes = images::layout(&layout) / 1_000_000;
    for tag in ["one", "six"] {
        registry.push(&layout, tag, &format!("bench/{tag}:1"));
        compare(table, &registry.host, tag, megabytes);
    }
    big_file(table, &registry);
}

fn compare(table: &mut Table, host: &str, tag: &str, megabytes: usize) {
    let name = format!("bench/{tag}");
    let (mut ours, mut tools, mut msb, mut least) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut peak = 0;
    for _ in 0..RUNS {
        let (cost, memory) = banger(host, &name);
        ours.push(cost);
        peak = peak.max(memory);
        tools.extend(with_tools(host, &name));
        msb.extend(with_msb(host, &name));
        let folder = Place::get().folder("bench-least");
        least.push(alone(None, || all_layers(host, &name, &folder)));
    }
    let (ours, what) = (median(ours), format!("image pull, {megabytes} MB in {tag}"));
    match tools.is_empty() {
        false => table.compared(&what, ours, "skopeo copy + umoci raw unpack + mke2fs -d", median(tools), 0.25),
        true => table.missing(&what, "no skopeo, umoci or mke2fs"),
    }
    match msb.is_empty() {
        false => table.compared(&what, ours, "msb pull to flat ext4", median(msb), 0.5),
        true => table.missing(&what, "no msb"),
    }
    // Its threads are not children, so their time is not seen.
    let least = Cost { cpu: None, ..median(least) };
    table.compared(&what, ours, "hash twice, inflate, write once, two threads", least, 1.6);
    table.memory(&format!("{what}: peak memory of the daemon"), peak, 128);
}

/// [`once`], when what the one before wrote has reached the disk: it would be paid for by this one.
fn alone<T>(daemon: Option<u32>, job: impl FnOnce() -> T) -> Cost {
    rustix::fs::sync();
    once(daemon, job)
}

/// What it takes, and the daemon's peak in KiB.
fn banger(host: &str, name: &str) -> (Cost, u64) {
    let sandbox = Sandbox::empty();
    let daemon = sandbox.daemon_pid();
    forget_peak(daemon);
    let pull = || sandbox.banger("image pull").arg(format!("{host}/{name}:1")).within(LONG);
    let cost = alone(Some(daemon), || pull().succeeds());
    (cost, memory(daemon, "VmHWM:"))
}

fn with_tools(host: &str, name: &str) -> Option<Cost> {
    let mke2fs = find("mke2fs")?;
    let folder = Place::get().folder("bench-tools");
    let run = |call: Call| call.folder(&folder).within(LONG).succeeds();
    let rootless = if banger_e2e::need::is_root() { "" } else { "--rootless" };
    (find("skopeo").is_some() && find("umoci").is_some()).then(|| {
        alone(None, || {
            let from = format!("docker://{host}/{name}:1");
            run(Call::new("skopeo")
                .words("--insecure-policy copy --src-tls-verify=false")
                .arg(from)
                .arg("oci:layout:x"));
            run(Call::new("umoci").words(&format!("raw unpack {rootless} --image layout:x root")));
            run(Call::new(mke2fs).words("-q -t ext4 -d root root.ext4 1G"));
        })
    })
}

fn with_msb(host: &str, name: &str) -> Option<Cost> {
    let msb = Place::get().tool("msb", "msb")?;
    let home = Place::get().folder("bench-msb");
    let call = |program: &Path| {
        let call =
            Call::new(program).words("pull --quiet --insecure --materialize flat").arg(format!("{host}/{name}:1"));
        call.env("HOME", &home).env("MSB_HOME", home.join("msb")).within(LONG)
    };
    Some(alone(None, || call(&msb).succeeds()))
}

/// Memory must not grow with a file.
fn big_file(table: &mut Table, registry: &Registry) {
    let what = "image pull, one file of 5 GiB: peak memory of the daemon";
    let layout = Place::get().folder("bench-big").join("images");
    images::one_big_file(&layout, 5);
    registry.push(&layout, "big", "bench/big:1");
    let (cost, peak) = banger(&registry.host, "bench/big");
    table.memory(what, peak, 128);
    table.plain("the same: time", cost);
    fs::remove_dir_all(layout).unwrap();
}
