//! The files in which a machine keeps who it is.
//!
//! Owns: host name, hosts, resolver, keys, machine id, and what systemd is told of the machine. What the image or the user
//! wrote into them stays, but for our own lines of before. Written beside and renamed over.

use banger_model::wire::guest::{GuestConfig, GuestNetwork};
use rustix::fs::{Mode, OFlags, open};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::Path;

/// At the end of a line of ours.
const MARK: &str = "# banger";

/// Writes all of them below `root`. Returns what could not be done.
pub(super) fn write(config: &GuestConfig, root: &Path) -> Vec<String> {
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
    let mut warnings = Vec::new();
    let mut put = |file: &str, mode: u32, text: String| {
        if text != read(file)
            && let Err(error) = replace(&root.join(file), mode, &text)
        {
            warnings.push(format!("/{file} could not be written: {error}"));
        }
    };
    put("etc/hostname", 0o644, format!("{}\n", config.hostname));
    put("etc/hosts", 0o644, hosts(&read("etc/hosts"), &config.hostname));
    if let Some(network) = &config.network {
        put("etc/resolv.conf", 0o644, resolver(network));
    }
    if !config.authorized_keys.is_empty() {
        let _ = fs::DirBuilder::new().mode(0o700).create(root.join("root/.ssh"));
        let file = "root/.ssh/authorized_keys";
        put(file, 0o600, keys(&read(file), &config.authorized_keys));
    }
    // With an id, a first boot of systemd's is one like any other: it asks nothing and enables nothing anew.
    if matches!(read("etc/machine-id").trim(), "" | "uninitialized") {
        put("etc/machine-id", 0o444, machine_id());
    }
    warnings
}

/// Tells systemd what it cannot know, in `/run`, before it starts. That folder's being there means to programs that systemd
/// is: without it, nothing may be written.
pub(super) fn tell_systemd(root: &Path) -> io::Result<()> {
    let units = root.join("run/systemd/system");
    fs::create_dir_all(&units)?;
    // The console is there to be read; a login on it would wait for a device manager that the image may not have.
    let getty = units.join("serial-getty@ttyS0.service");
    if !getty.is_symlink() {
        symlink("/dev/null", getty)?;
    }
    let kernel = fs::read_to_string(root.join("proc/cmdline")).unwrap_or_default();
    if kernel.split_ascii_whitespace().any(|word| word.starts_with("reboot=k")) {
        // A machine without a power switch: its VMM ends with a restart.
        for unit in ["systemd-poweroff", "systemd-halt"] {
            let folder = units.join(format!("{unit}.service.d"));
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("banger.conf"), "[Unit]\nSuccessAction=reboot-force\n")?;
        }
    }
    Ok(())
}

/// Puts a file with that text at `path`, whatever was there, a link included.
fn replace(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.banger"));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let _ = fs::remove_file(&beside);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(text.as_bytes())?;
    drop(file);
    fs::rename(&beside, path)
}

/// The table of hosts with this machine's own name in it.
fn hosts(old: &str, hostname: &str) -> String {
    let mut lines: Vec<String> =
        old.lines().filter(|line| !line.trim_end().ends_with(MARK)).map(str::to_owned).collect();
    let names = |line: &str| {
        let entry = line.split('#').next().unwrap_or_default();
        entry.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let has = |lines: &[String], address: &str, name: &str| {
        lines.iter().any(
            |line| matches!(names(line).as_slice(), [a, rest @ ..] if a == address && rest.iter().any(|n| n == name)),
        )
    };
    if !has(&lines, "127.0.0.1", "localhost") {
        lines.push(format!("127.0.0.1\tlocalhost\t{MARK}"));
    }
    if !has(&lines, "::1", "localhost") {
        lines.push(format!("::1\tlocalhost ip6-localhost ip6-loopback\t{MARK}"));
    }
    if !hostname.is_empty() && hostname != "localhost" {
        lines.push(format!("127.0.1.1\t{hostname}\t{MARK}"));
    }
    lines.join("\n") + "\n"
}

fn resolver(network: &GuestNetwork) -> String {
    let mut text = String::new();
    if !network.search.is_empty() {
        text.push_str(&format!("search {}\n", network.search.join(" ")));
    }
    for server in &network.dns {
        text.push_str(&format!("nameserver {server}\n"));
    }
    text
}

/// The keys that were there and, behind them, those that were not.
fn keys(old: &str, wanted: &[String]) -> String {
    let mut lines: Vec<&str> = old.lines().collect();
    for key in wanted.iter().map(|key| key.trim()) {
        if !lines.contains(&key) {
            lines.push(key);
        }
    }
    lines.join("\n") + "\n"
}

fn machine_id() -> String {
    let mut id = [0_u8; 16];
    let random = open("/dev/urandom", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let _ = random.and_then(|random| rustix::io::read(random, &mut id));
    // As systemd makes them: a valid random UUID.
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    hex + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_keep_what_is_theirs_and_change_what_is_ours() {
        let first = hosts("10.0.0.1 db # mine\n127.0.0.1 localhost\n", "box");
        assert_eq!(
            first,
            "10.0.0.1 db # mine\n127.0.0.1 localhost\n::1\tlocalhost ip6-localhost ip6-loopback\t# banger\n127.0.1.1\tbox\t# banger\n"
        );
        let second = hosts(&first, "other");
        assert!(
            second.contains("127.0.1.1\tother") && !second.contains("box") && second.contains("db # mine"),
            "{second}"
        );
        assert_eq!(hosts(&second, "other"), second);
    }

    #[test]
    fn everything_lands_in_its_file() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path();
        fs::create_dir_all(path.join("etc")).expect("a folder");
        fs::create_dir_all(path.join("root/.ssh")).expect("a folder");
        fs::write(path.join("root/.ssh/authorized_keys"), "ssh-ed25519 A mine").expect("a file");
        symlink("../run/nowhere", path.join("etc/resolv.conf")).expect("a link");
        let network = GuestNetwork {
            address: [10, 0, 2, 15].into(),
            prefix: 24,
            gateway: [10, 0, 2, 2].into(),
            dns: vec![[10, 0, 2, 3].into()],
            search: vec!["vm".into()],
            mtu: None,
        };
        let authorized_keys = vec!["ssh-ed25519 A mine".into(), "ssh-ed25519 B ours\n".into()];
        let config =
            GuestConfig { hostname: "box".into(), network: Some(network), authorized_keys, ..GuestConfig::default() };
        assert_eq!(write(&config, path), [""; 0]);
        let read = |file: &str| fs::read_to_string(path.join(file)).expect(file);
        assert_eq!(read("etc/hostname"), "box\n");
        assert_eq!(read("etc/resolv.conf"), "search vm\nnameserver 10.0.2.3\n");
        assert_eq!(read("root/.ssh/authorized_keys"), "ssh-ed25519 A mine\nssh-ed25519 B ours\n");
        let id = read("etc/machine-id");
        assert_eq!(id.len(), 33);
        assert_eq!(write(&config, path), [""; 0]);
        assert_eq!(read("etc/machine-id"), id, "an id stays");
        assert!(!path.join("run").exists(), "its being there would mean that systemd runs");
    }

    #[test]
    fn systemd_ends_a_machine_without_a_power_switch_by_a_restart() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path();
        let power = path.join("run/systemd/system/systemd-poweroff.service.d/banger.conf");
        fs::create_dir_all(path.join("proc")).expect("a folder");
        for (cmdline, drop_in) in [("console=ttyS0 reboot=t", false), ("console=ttyS0 reboot=k panic=-1", true)] {
            fs::write(path.join("proc/cmdline"), cmdline).expect("a file");
            tell_systemd(path).expect("written");
            assert_eq!(power.exists(), drop_in, "{cmdline}");
        }
        assert!(path.join("run/systemd/system/serial-getty@ttyS0.service").is_symlink());
    }
}
