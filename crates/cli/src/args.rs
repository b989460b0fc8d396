//! The command line: what is common to several verbs. Each verb's own arguments lie beside what it does, in
//! [`crate::commands`]. Owns: words to values. Must not: fill in defaults, which are the daemon's to choose.

use crate::{
    commands::Command,
    error::{CliError, UsageError},
    exec::{self, TtyWish},
};
use banger_model::{
    ByteSize, ImageRef, KernelRef, VmName,
    api::vm::CreateVm,
    spec::{DiskLimits, NetMode, VmmChoice},
};
use clap::{Args, Parser};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// A disposable Linux machine with one command
///
/// banger makes small virtual machines (VMs) out of container images, on this host and as an ordinary user. `banger vm run`
/// makes one and gives you a shell or runs a command in it; with `--rm` nothing of it is left afterwards.
#[derive(Debug, Parser)]
#[command(name = "banger", version, propagate_version = false, after_long_help = API_HELP)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const API_HELP: &str = "\
Everything that this program does, it asks of a daemon, which it starts when none runs. Other programs can do the same over \
the daemon's socket, whose place `banger daemon status` tells:

  curl --unix-socket SOCKET http://banger/v1/vms
  curl --unix-socket SOCKET http://banger/v1/openapi.json   # all of it

Exit status: 0 on success, 1 when something failed, 2 when the command line makes no sense. `vm run`, `vm exec` and \
`vm shell` exit with the status of the command in the VM (128 + n after signal n, 126 when it cannot be executed, 127 when \
there is none of that name), and with 125 when it was banger that failed.";

/// Taken by every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Write JSON to standard output: one object, or one a line where there are several
    #[arg(long, global = true, display_order = 900)]
    pub(crate) json: bool,
    /// Say nothing but what was asked for, and errors
    #[arg(short, long, global = true, display_order = 901)]
    pub(crate) quiet: bool,
    /// Show each request to the daemon
    #[arg(short, long, global = true, display_order = 902, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
}

/// What a VM is made of. All of it has defaults: from ~/.config/banger/config.toml, then from what this host has.
#[derive(Debug, Args, Clone, Default)]
#[command(next_help_heading = "The VM")]
pub(crate) struct SpecArgs {
    /// Its name; two words are chosen when left out
    #[arg(long)]
    name: Option<VmName>,
    /// The image that it boots; fetched or built when it is not here
    ///
    /// docker://HOST[:PORT]/NAME[:TAG|@DIGEST] or the same without the scheme, as Docker reads it; oci-layout:DIR[:TAG];
    /// oci-archive:FILE; docker-archive:FILE; rootfs:FILE.tar[.gz|.xz|.zst]; or `debian-bookworm`, which is built from
    /// packages.
    #[arg(long, value_name = "REF")]
    image: Option<ImageRef>,
    /// The kernel that it boots; fetched when it is not here
    #[arg(long, value_name = "NAME")]
    kernel: Option<KernelRef>,
    /// Virtual CPUs
    #[arg(long, value_name = "N")]
    vcpu: Option<u32>,
    /// Memory, like 512M or 8GiB
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// How large its disks may grow, like 8GiB
    #[arg(long, value_name = "SIZE")]
    disk_size: Option<ByteSize>,
    /// The program that runs it: auto, firecracker or qemu
    #[arg(long, value_name = "VMM")]
    vmm: Option<VmmChoice>,
    /// Its network: user (the internet, but nothing of this host) or none
    #[arg(long, value_name = "MODE")]
    net: Option<NetMode>,
    /// How much each of its disks may read and write a second, like 50MiB; not limited when left out
    #[arg(long, value_name = "SIZE")]
    disk_bandwidth: Option<ByteSize>,
    /// How many reads and writes each of its disks may do a second; not limited when left out
    #[arg(long, value_name = "N")]
    disk_iops: Option<u32>,
}

impl SpecArgs {
    /// The request for it.
    pub(crate) fn request(self, start: bool, rm: bool) -> Result<CreateVm, CliError> {
        let Self {
            name,
            image,
            kernel,
            vcpu,
            memory,
            disk_size: disk,
            vmm,
            net,
            disk_bandwidth: bandwidth,
            disk_iops: iops,
        } = self;
        let limits = DiskLimits { bandwidth, iops };
        let image = image.map(absolute_image).transpose()?;
        Ok(CreateVm { name, image, kernel, vcpu, memory, disk, vmm, net, limits, start, rm })
    }
}

/// How a command runs in a VM.
#[derive(Debug, Args, Clone, Default)]
#[command(next_help_heading = "The command")]
pub(crate) struct CommandArgs {
    /// Set a variable, over the image's; without a value, the one that it has here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Run it in this folder of the VM
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Run it as this user of the VM
    #[arg(short, long, value_name = "NAME|UID[:GROUP|GID]")]
    pub(crate) user: Option<String>,
    /// Give it a terminal, even when standard input, output or error is none
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Give it no terminal
    #[arg(short = 'T', long, conflicts_with = "tty")]
    pub(crate) no_tty: bool,
}

impl CommandArgs {
    /// The command to run. An empty `argv` is a login shell.
    pub(crate) fn command(self, argv: Vec<String>) -> exec::Command {
        let tty = match (self.tty, self.no_tty) {
            (true, _) => TtyWish::Always,
            (_, true) => TtyWish::Never,
            (false, false) => TtyWish::Auto,
        };
        let env = self.env.into_iter().filter_map(|word| variable(word, |name| std::env::var(name).ok())).collect();
        exec::Command { argv, env, workdir: self.workdir, user: self.user, tty, detach: false }
    }
}

/// `NAME=VALUE` as it is; `NAME` with the value that it has here, or nothing when it has none.
fn variable(word: String, here: impl Fn(&str) -> Option<String>) -> Option<String> {
    if word.contains('=') { Some(word) } else { here(&word).map(|value| format!("{word}={value}")) }
}

/// The same image, whatever folder the daemon is in.
pub(crate) fn absolute_image(image: ImageRef) -> Result<ImageRef, CliError> {
    let Some(path) = image.local_path() else { return Ok(image) };
    let whole = absolute(path)?;
    Ok(image.map_path(|_| whole))
}

/// A local path that is the same in any folder.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    let whole = std::path::absolute(path);
    whole.map_err(|source| UsageError::NoSuchPlace { path: path.to_owned(), source }.into())
}

/// Whether JSON was asked for, told from words that do not parse. What follows `--` is a command's.
pub(crate) fn wants_json(words: &[impl AsRef<OsStr>]) -> bool {
    words.iter().map(AsRef::as_ref).take_while(|word| *word != "--").any(|word| word == "--json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(words: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(words.split(' '))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    /// Every help text, long and short, as a stranger reads it.
    #[test]
    fn help() {
        fn add(command: &mut clap::Command, path: &str, texts: &mut String) {
            let rule = "=".repeat(100);
            let long = command.render_long_help().to_string();
            let lines: Vec<_> = long.lines().map(str::trim_end).collect();
            *texts += &format!("{rule}\n{path}\n{rule}\n{}\n", lines.join("\n"));
            for below in command.get_subcommands_mut() {
                let path = format!("{path} {}", below.get_name());
                add(below, &path, texts);
            }
        }
        let mut command = Cli::command().term_width(100);
        command.build();
        let mut texts = String::new();
        add(&mut command, "banger", &mut texts);
        insta::assert_snapshot!(texts);
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_anything_is_made() {
        for words in [
            "banger vm run -d --rm",
            "banger vm run -d -- true",
            "banger vm run -d --env A=1",
            "banger vm run --memory lots",
            "banger vm run --name ../x",
            "banger vm run --image ftp://x/y",
            "banger vm run --vmm vmware",
            "banger vm start",
            "banger vm exec box",
            "banger vm logs --boot 0 box",
            "banger vm logs --all -f box",
            "banger -q -v vm list",
        ] {
            let refused = parse(words).unwrap_err();
            assert!(refused.use_stderr(), "{words}");
        }
    }

    #[test]
    fn a_command_has_its_own_options() {
        for words in ["banger vm exec -e A=1 box ls -l --json", "banger vm exec -e A=1 box -- ls -l --json"] {
            let cli = parse(words).unwrap();
            assert!(!cli.global.json, "{words}");
            assert!(format!("{:?}", cli.command).contains(r#"["ls", "-l", "--json"]"#), "{words}: {:?}", cli.command);
        }
        let cli = parse("banger vm run --rm --json -- sh -c x --json").unwrap();
        assert!(cli.global.json && format!("{:?}", cli.command).contains(r#"["sh", "-c", "x", "--json"]"#));
    }

    #[test]
    fn variables_without_a_value_have_the_one_of_here() {
        let here = |name: &str| (name == "LANG").then(|| "C.UTF-8".to_owned());
        assert_eq!(variable("A=".into(), here), Some("A=".into()));
        assert_eq!(variable("LANG".into(), here), Some("LANG=C.UTF-8".into()));
        assert_eq!(variable("UNSET".into(), here), None);
    }

    #[test]
    fn local_images_do_not_depend_on_the_folder() {
        let image = absolute_image("rootfs:x.tar".parse().unwrap()).unwrap();
        assert_eq!(image.local_path(), Some(&std::env::current_dir().unwrap().join("x.tar")));
        let image: ImageRef = "h.example/x".parse().unwrap();
        assert_eq!(absolute_image(image.clone()).unwrap(), image);
    }

    #[test]
    fn json_behind_two_dashes_is_not_for_us() {
        assert!(wants_json(&["banger", "--json", "vm"]));
        assert!(!wants_json(&["banger", "vm", "run", "--", "--json"]));
    }
}
