//! The emulated host: QEMU with its disks, console and port. It ends with this value, and with this process.

use super::{LabError, host::Host, link::PORT};
use crate::{
    BOUND,
    place::{Place, find},
    wait_for,
};
use std::{
    ffi::OsString,
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// Guests of 256 MiB, and a file system in memory for `/tmp`. The host of all that only gives what is used.
const MEMORY_MIB: &str = "3072";
/// How many of the console's last lines are shown.
const CONSOLE_LINES: usize = 40;

/// A lab that runs.
#[derive(Debug)]
pub struct Machine {
    qemu: Child,
    console: PathBuf,
    complaints: PathBuf,
    /// The socket behind the second serial port.
    pub shell: PathBuf,
    port: PathBuf,
}

impl Machine {
    /// Switches it on. Nothing is ever written to the disks: what is, goes to files that have no name.
    ///
    /// # Errors
    /// When QEMU is not here or cannot be started.
    pub fn boot(host: &Host, payload: &Path, shell: bool) -> Result<Self, LabError> {
        let program = program()?;
        let place = Place::get();
        let (files, sockets) = (place.folder("lab"), place.sockets());
        let machine = |qemu| Self {
            qemu,
            console: files.join("console.log"),
            complaints: files.join("qemu.log"),
            shell: sockets.join("shell"),
            port: sockets.join("port"),
        };
        let complaints = files.join("qemu.log");
        let log = fs::File::create(&complaints).map_err(LabError::io("make", &complaints))?;
        let mut command = Command::new(program);
        command.args(arguments(host, payload, &files, &sockets, shell));
        // Where the changes to the disks go.
        command.env("TMPDIR", &files);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Ok(machine(command.spawn().map_err(LabError::io("start", "qemu-system-x86_64"))?))
    }

    /// The port on which the lab speaks. What is said before this is lost, so it comes first.
    ///
    /// # Errors
    /// When QEMU ends instead.
    pub fn connect(&mut self) -> Result<UnixStream, LabError> {
        let port = self.port.clone();
        let connected = wait_for("QEMU's socket", || match UnixStream::connect(&port) {
            Ok(stream) => Some(Some(stream)),
            Err(_) if self.ended().is_some() => Some(None),
            Err(_) => None,
        });
        connected.ok_or_else(|| self.why_it_ended())
    }

    /// Waits for its own end, and ends it when there is none.
    pub fn finish(mut self, bound: Duration) {
        let start = Instant::now();
        while self.ended().is_none() && start.elapsed() < bound {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for its end, however long that takes.
    pub fn wait(&mut self) {
        let _ = self.qemu.wait();
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.qemu.try_wait().ok().flatten()
    }

    /// Why nothing comes from it any more, as far as QEMU and the console tell.
    pub fn why_it_ended(&mut self) -> LabError {
        let start = Instant::now();
        while self.ended().is_none() && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let said = fs::read_to_string(&self.complaints).unwrap_or_default();
        self.console().ended(self.ended(), &said)
    }

    /// It should have said something by now.
    pub fn hangs(&self, waited_for: String, bound: Duration) -> LabError {
        self.console().hangs(waited_for, bound)
    }

    fn console(&self) -> Console {
        Console::new(&fs::read(&self.console).unwrap_or_default())
    }
}

/// What the host has printed, and what follows from it.
#[derive(Debug)]
struct Console(String);

impl Console {
    fn new(bytes: &[u8]) -> Self {
        Self(String::from_utf8_lossy(bytes).replace('\r', ""))
    }

    /// Why there is nothing more to hear of it: QEMU has ended so, or not at all, and complained of that.
    fn ended(&self, status: Option<ExitStatus>, complaints: &str) -> LabError {
        self.panicked().unwrap_or_else(|| {
            let status =
                status.map_or_else(|| "it runs, but its port is closed".to_owned(), |status| status.to_string());
            LabError::QemuEnded {
                why: format!("{status} {}", complaints.trim()).trim().to_owned(),
                console: self.end(),
            }
        })
    }

    /// Why it says nothing.
    fn hangs(&self, waited_for: String, bound: Duration) -> LabError {
        self.panicked().unwrap_or_else(|| LabError::Hang { waited_for, bound, console: self.end() })
    }

    /// What a panic prints after that line may be longer than what is shown.
    fn panicked(&self) -> Option<LabError> {
        let line = self.0.lines().find(|line| line.contains("Kernel panic"))?;
        Some(LabError::HostPanic { line: line.trim().to_owned(), console: self.end() })
    }

    fn end(&self) -> String {
        let lines: Vec<&str> = self.0.lines().collect();
        lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// QEMU's program.
///
/// # Errors
/// When there is none.
pub fn program() -> Result<PathBuf, LabError> {
    let missing = LabError::Missing { program: "qemu-system-x86_64", package: "qemu-system-x86" };
    find("qemu-system-x86_64").ok_or(missing)
}

/// How long QEMU's own start may take.
pub const BOOT_BOUND: Duration = BOUND;

/// One processor: with two, QEMU 7.2's emulation of SVM loses every third guest, and a host every few minutes; with one it has
/// lost none in hundreds. The clock is the TSC, since an emulated device is slow to read. Timers wait for the next tick: where
/// handling one takes longer than the time until the next, nothing else is ever done again. Addresses are not random: QEMU keeps
/// what it has translated by its address, so a program that lies elsewhere each time is translated anew at each start. Nor does
/// the processor offer to copy bytes fast, since QEMU does that byte by byte.
///
/// The disks are name spaces of one controller, so that their order is that of their numbers.
fn arguments(host: &Host, payload: &Path, files: &Path, sockets: &Path, shell: bool) -> Vec<OsString> {
    let words = format!(
        "-M q35 -accel tcg -cpu max,+svm,-erms,-fsrm -smp 1 -m {MEMORY_MIB} -no-reboot -no-user-config \
         -nodefaults -display none -device virtio-rng-pci"
    );
    let mut arguments: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
    let mut add = |option: &str, value: String| arguments.extend([option.into(), value.into()]);
    let socket = |name: &str| format!("path={},server=on,wait=off", sockets.join(name).display());
    let log = files.join("console.log");
    add("-chardev", format!("file,id=console,path={}", log.display()));
    add("-serial", "chardev:console".into());
    add("-chardev", format!("socket,id=shell,{}", socket("shell")));
    add("-serial", "chardev:shell".into());
    add("-chardev", format!("socket,id=port,{}", socket("port")));
    add("-device", "virtio-serial-pci".into());
    add("-device", format!("virtserialport,chardev=port,name={PORT}"));
    add("-device", "nvme,id=disks,serial=lab".into());
    for (number, disk) in [host.root.as_path(), payload, host.modules.as_path()].into_iter().enumerate() {
        let number = number + 1;
        add("-drive", format!("if=none,id=disk{number},format=raw,snapshot=on,cache=unsafe,file={}", disk.display()));
        add("-device", format!("nvme-ns,drive=disk{number},bus=disks,nsid={number}"));
    }
    add("-kernel", host.vmlinuz.display().to_string());
    let shell = if shell { " lab.shell" } else { "" };
    add(
        "-append",
        format!(
            "console=ttyS0 tsc=reliable highres=off nohz=off root=/dev/nvme0n1 rw rootfstype=ext4 panic=-1 \
             mitigations=off no_timer_check norandmaps nokaslr cryptomgr.notests random.trust_cpu=on \
             loglevel=4 systemd.show_status=0 systemd.unit=lab.target{shell}"
        ),
    );
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    const BOUND: Duration = Duration::from_secs(60);

    fn killed() -> Option<ExitStatus> {
        Some(ExitStatus::from_raw(9))
    }

    #[test]
    fn a_panic_is_told_however_much_is_printed_after_it() {
        let trace = "[    2.0] Call Trace:\r\n".repeat(2 * CONSOLE_LINES);
        let text = format!("[    1.9] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n{trace}the end\r\n");
        let console = Console::new(text.as_bytes());
        for error in [console.ended(Some(ExitStatus::from_raw(0)), ""), console.hangs("a case".into(), BOUND)] {
            assert!(error.to_string().contains("not syncing: VFS: Unable to mount root fs"), "{error}");
            let shown = error.console().unwrap();
            assert!(shown.ends_with("the end") && shown.lines().count() == CONSOLE_LINES, "{shown}");
            assert!(error.may_pass());
        }
    }

    #[test]
    fn an_end_is_told_with_qemus_words_and_a_hang_with_what_was_waited_for() {
        let console = Console::new(b"Debian\xff boots\n");
        let ended = console.ended(killed(), "qemu: no such disk\n");
        assert!(ended.to_string().ends_with("signal: 9 (SIGKILL) qemu: no such disk"), "{ended}");
        assert_eq!(ended.console(), Some("Debian\u{fffd} boots"));
        assert!(console.ended(None, "").to_string().contains("its port is closed"));
        let hangs = console.hangs("the end of exec::one".into(), BOUND);
        assert_eq!(hangs.to_string(), "the lab hangs: waited 60 s for the end of exec::one");
        assert_eq!(Console::new(b"").hangs("its host to come up".into(), BOUND).console(), Some(""));
    }
}
