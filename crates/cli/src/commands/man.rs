//! `man`.

use crate::{args::Cli, error::CliError, output::Ui};
use clap::{Args, CommandFactory};
use std::{fs, io, path::PathBuf};

/// Write manual pages: of banger to standard output, or of every command into a folder
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The folder, made when it is missing
    dir: Option<PathBuf>,
}

pub(super) fn run(ui: &Ui, args: ManArgs) -> Result<(), CliError> {
    let setup = |source| CliError::Setup { what: "the manual page", source };
    let pages = pages().map_err(setup)?;
    let Some(dir) = args.dir else {
        let Some((name, page)) = pages.first() else { return Ok(()) };
        if ui.json {
            return Ok(ui.print_json(&serde_json::json!({ "name": name, "page": String::from_utf8_lossy(page) }))?);
        }
        return Ok(ui.print_bytes(page)?);
    };
    let failed = |source| CliError::Man { dir: dir.clone(), source };
    fs::create_dir_all(&dir).map_err(failed)?;
    for (name, page) in &pages {
        fs::write(dir.join(name), page).map_err(failed)?;
    }
    if ui.json {
        let names: Vec<_> = pages.iter().map(|(name, _)| name).collect();
        ui.print_json(&serde_json::json!({ "pages": names }))?;
    }
    Ok(())
}

/// All pages with the names of their files, banger's own first.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = Cli::command();
    command.build();
    let mut pages = Vec::new();
    add(&command, &mut pages)?;
    Ok(pages)
}

fn add(command: &clap::Command, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let man = clap_mangen::Man::new(command.clone()).manual("banger");
    let mut page = Vec::new();
    man.render(&mut page)?;
    pages.push((man.get_filename(), page));
    command.get_subcommands().filter(|below| !below.is_hide_set()).try_for_each(|below| add(below, pages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let pages = pages().unwrap();
        let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["banger.1", "banger-vm-run.1", "banger-image-pull.1", "banger-daemon-stop.1", "banger-doctor.1"] {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        assert_eq!(names[0], "banger.1");
        let run = &pages[names.iter().position(|name| *name == "banger-vm-run.1").unwrap()].1;
        let run = String::from_utf8_lossy(run);
        assert!(run.contains("disk\\-size") && run.contains("SYNOPSIS"), "{run}");
    }
}
