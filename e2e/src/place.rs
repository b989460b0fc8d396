//! Where this run of the tests keeps its files, and the certainty that they and all its processes go.
//!
//! Everything lies below one folder of the target folder; sockets below a short one in `/tmp`. A *keeper*, a shell that
//! holds the other end of a pipe, notices the end of this process whatever its cause, kills what still mentions these
//! folders, and removes them.

use crate::surroundings;
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// Folders of this process.
#[derive(Debug)]
pub struct Place {
    /// Where the programs under test lie.
    pub programs: PathBuf,
    /// What the set-up unpacked for tests only.
    pub tools: PathBuf,
    root: PathBuf,
    sockets: PathBuf,
    count: AtomicU32,
    /// Its standard input closes with our end. None where something else sees to that.
    _keeper: Option<Child>,
}

const KEEPER: &str = r#"
trap '' INT TERM HUP
cat >/dev/null
found=yes
while [ -n "$found" ]; do
    found=
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        [ "$pid" = $$ ] && continue
        if grep -qsaF -e "$1/" -e "$2/" -e "$3/" "$process/cmdline" "$process/environ"; then
            kill -9 "$pid" 2>/dev/null && found=yes
        fi
    done
done
for mount in $(grep -aF "$1/" /proc/self/mounts | cut -d' ' -f2); do umount -l "$mount" 2>/dev/null; done
if id "${3##*/}" >/dev/null 2>&1; then userdel "${3##*/}"; fi
rm -rf "$1" "$2" "$3"
"#;

/// The home of the user that a test may make, who is called as its last part is.
pub fn users_home() -> PathBuf {
    format!("/tmp/banger-user-{}", std::process::id()).into()
}

fn keep(root: &Path, sockets: &Path) -> Child {
    let mut keeper = Command::new("setsid");
    keeper.args(["sh", "-c", KEEPER, "keeper"]).args([root, sockets, &users_home()]);
    keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

impl Place {
    /// The one of this process.
    pub fn get() -> &'static Self {
        static PLACE: OnceLock<Place> = OnceLock::new();
        PLACE.get_or_init(Self::make)
    }

    fn make() -> Self {
        let exe = std::env::current_exe().unwrap();
        // Tests lie in `deps/`, beside them what is tested.
        let programs =
            exe.ancestors().skip(1).find(|dir| dir.file_name().is_some_and(|n| n != "deps")).unwrap().to_owned();
        let target = programs.parent().unwrap();
        let pid = std::process::id();
        let (root, sockets) = (target.join(format!("tmp/e2e-{pid}")), PathBuf::from(format!("/tmp/banger-e2e-{pid}")));
        for folder in [&root, &sockets] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let keeper = surroundings::store().is_none().then(|| keep(&root, &sockets));
        Self { tools: target.join("tools"), count: AtomicU32::new(0), _keeper: keeper, programs, root, sockets }
    }

    /// Where everything lies that was built.
    pub fn target(&self) -> &Path {
        self.programs.parent().unwrap()
    }

    /// A program under test.
    pub fn program(&self, name: &str) -> PathBuf {
        let path = self.programs.join(name);
        assert!(path.is_file(), "{} is not there: run `make build` first, or `make test`", path.display());
        path
    }

    /// A program that only tests use: unpacked, or installed.
    pub fn tool(&self, unpacked: &str, name: &str) -> Option<PathBuf> {
        let unpacked = self.tools.join(unpacked);
        if unpacked.is_file() { Some(unpacked) } else { find(name) }
    }

    /// A fresh number, for names that must not meet.
    pub fn number(&self) -> u32 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    /// A fresh folder for files.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.root.join(format!("{}-{name}", self.number()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// A fresh folder for sockets, with a short path.
    pub fn sockets(&self) -> PathBuf {
        let path = self.sockets.join(self.number().to_string());
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}

/// Folders of programs, those of administrators included.
pub fn search_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".into()))
}

/// A program on the [`search_path`].
pub fn find(name: &str) -> Option<PathBuf> {
    search_path().split(':').map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
}
