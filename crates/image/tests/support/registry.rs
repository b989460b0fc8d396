//! Debian's docker-registry on loopback.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A registry that runs; it ends when dropped.
pub(crate) struct Registry {
    child: Child,
    pub(crate) address: String,
}

impl Registry {
    /// Starts one that keeps its data in `dir` and asks for nothing.
    pub(crate) fn start(dir: &Path) -> Self {
        Self::with(dir, "addr: '127.0.0.1:0'")
    }

    /// As [`Self::start`], with other settings of its server.
    pub(crate) fn with(dir: &Path, http: &str) -> Self {
        let root = dir.join("registry");
        fs::create_dir_all(&root).unwrap();
        let config = dir.join("registry.yml");
        let storage = format!("{{filesystem: {{rootdirectory: {}}}}}", root.display());
        let text = format!("version: 0.1\nlog: {{level: info}}\nstorage: {storage}\nhttp: {{{http}}}\n");
        fs::write(&config, text).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "docker-registry ended before it listened");
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split(['"', ' ', ',']).next().unwrap().to_owned();
            }
        };
        // Its log must be read, or it would stop at a full pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, address }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
