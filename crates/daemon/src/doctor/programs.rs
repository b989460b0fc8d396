//! The programs that VMs and recipes are made with.

use super::{fail, pass, warn};
use crate::{App, config::Programs as Configured, search_path::search_path, verbs::chain};
use banger_model::api::doctor::Check;
use banger_vmm::{Overrides, Programs, find_tool};
use rustix::process::getuid;
use std::{
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

/// What a program that only has to say yes or no may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where apt keeps its lists of packages.
const APT_LISTS: &str = "/var/lib/apt/lists";

/// Where the programs that recipes need are looked for, as recipes do.
fn path() -> OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

/// The VMMs, of which one is enough.
pub(super) async fn vmms(app: &App) -> Vec<Check> {
    // What is wrong with the configuration has been said.
    let configured = app.config.load().map_or_else(|_| Configured::default(), |config| config.programs);
    let overrides = Overrides { firecracker: configured.firecracker, qemu: configured.qemu };
    let Programs { firecracker, qemu } = Programs::discover(&overrides, &search_path()).await;
    let either = firecracker.is_ok() || qemu.is_ok();
    let shown = |binary: &banger_vmm::Binary| format!("{} {}", binary.path.display(), binary.version);
    let qemu = match qemu {
        Ok(binary) => pass("QEMU", shown(&binary)),
        Err(error) if either => {
            warn("QEMU", chain(&error), "apt-get install qemu-system-x86: it runs VMs without KVM, and has a network")
        }
        Err(error) => fail("QEMU", chain(&error), "apt-get install qemu-system-x86"),
    };
    let firecracker = match firecracker {
        Ok(binary) => match binary.caution() {
            None => pass("Firecracker", shown(&binary)),
            Some(caution) => warn(
                "Firecracker",
                format!("{}: {caution}", shown(&binary)),
                "nothing, as long as VMs run well; else name one of those with `firecracker` in `[programs]` of the configuration",
            ),
        },
        Err(error) => warn(
            "Firecracker",
            chain(&error),
            "nothing, as long as QEMU is there; where KVM works, Firecracker boots faster",
        ),
    };
    vec![qemu, firecracker]
}

/// What was built together with this program and must lie beside it.
pub(super) fn beside() -> Vec<Check> {
    let own = std::env::current_exe().ok();
    let folder = own.as_deref().and_then(Path::parent).unwrap_or_else(|| Path::new("."));
    [("guest agent", "banger-agent"), ("network filter", "banger-usernet"), ("client", "banger")]
        .map(|(name, file)| {
            let path = folder.join(file);
            match (runnable(&path), name) {
                (true, _) => pass(name, path.display().to_string()),
                (false, "client") => {
                    warn(name, format!("{} is not there", path.display()), "keep all programs of banger in one folder")
                }
                (false, _) => fail(
                    name,
                    format!("{} is not there", path.display()),
                    "build all programs with `make build`, and keep them in one folder",
                ),
            }
        })
        .to_vec()
}

/// What the catalog's image and kernel are made with.
pub(super) async fn recipes() -> Vec<Check> {
    let mut checks = vec![
        tool(
            "mmdebstrap",
            "mmdebstrap",
            "the image debian-bookworm cannot be built; images from registries and files can",
        ),
        apt(),
    ];
    if !getuid().is_root() {
        checks.push(user_namespaces().await);
        checks.push(tool("newuidmap", "uidmap", "mmdebstrap cannot build images as an ordinary user"));
        checks.push(subordinate_ids());
    }
    checks
}

fn tool(name: &'static str, package: &'static str, without: &str) -> Check {
    match find_tool(name, package, &path()) {
        Ok(path) => pass(name, path.display().to_string()),
        Err(_) => warn(name, format!("not installed: {without}"), format!("apt-get install {package}")),
    }
}

fn apt() -> Check {
    let without = "the kernel debian cannot be fetched; `banger kernel import` takes others";
    let path = match find_tool("apt-get", "apt", &path()) {
        Ok(path) => path,
        Err(_) => {
            return warn("apt", format!("not installed: {without}"), "on another system than Debian, import a kernel");
        }
    };
    let has_lists = fs::read_dir(APT_LISTS)
        .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages")));
    match has_lists {
        true => pass("apt", path.display().to_string()),
        false => warn("apt", format!("it has no lists of packages: {without}"), "run `apt-get update` as root"),
    }
}

/// Whether an ordinary user may have namespaces: tried, since several settings of several kernels forbid them.
async fn user_namespaces() -> Check {
    let name = "user namespaces";
    let fix = "allow them: `sysctl kernel.unprivileged_userns_clone=1`, or what your system has in its place; without them images cannot be built from recipes";
    let mut unshare = tokio::process::Command::new("unshare");
    unshare
        .args(["--user", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, unshare.status()).await {
        Ok(Ok(status)) if status.success() => pass(name, "an ordinary user may have them"),
        Ok(Ok(_)) => warn(name, "this user may not have them", fix),
        Ok(Err(error)) => warn(name, format!("cannot tell: unshare: {error}"), fix),
        Err(_) => warn(name, format!("cannot tell: unshare did not end within {} s", PATIENCE.as_secs()), fix),
    }
}

/// Ranges of ids that an ordinary user may map into a namespace.
fn subordinate_ids() -> Check {
    let name = "subordinate ids";
    let uid = getuid().as_raw();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = user_name(&passwd, uid).unwrap_or_default();
    let missing: Vec<_> = ["/etc/subuid", "/etc/subgid"]
        .into_iter()
        .filter(|file| !has_range(&fs::read_to_string(file).unwrap_or_default(), user, uid))
        .collect();
    match missing.is_empty() {
        true => pass(name, format!("{user} has ranges in /etc/subuid and /etc/subgid")),
        false => warn(
            name,
            format!("no range of 65536 for this user in {}", missing.join(" and ")),
            "run `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER`",
        ),
    }
}

fn user_name(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse::<u32>().ok()? == uid).then_some(name)
    })
}

/// Whether a text like `/etc/subuid`, `NAME|UID:FIRST:COUNT`, gives the user enough ids for a whole system.
fn has_range(text: &str, user: &str, uid: u32) -> bool {
    text.lines().any(|line| {
        let mut fields = line.split(':');
        let whose = fields.next().unwrap_or_default();
        let count = fields.nth(1).and_then(|count| count.trim().parse::<u64>().ok());
        (whose == user || whose.parse() == Ok(uid)) && count.is_some_and(|count| count >= 65536)
    })
}

fn runnable(path: &PathBuf) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_by_name_and_by_number() {
        let text = "ann:100000:65536\n1001:200000:65536\nbob:300000:1000\nbroken\n";
        assert!(has_range(text, "ann", 1000));
        assert!(has_range(text, "nobody-knows", 1001));
        assert!(!has_range(text, "bob", 1002));
        assert!(!has_range("", "ann", 1000));
        assert_eq!(user_name("root:x:0:0::/:\nann:x:1000:\n", 1000), Some("ann"));
    }
}
