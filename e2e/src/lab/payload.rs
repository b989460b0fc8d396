//! The disk that carries what is tested into the lab, and has room for all that happens there.
//!
//! ```text
//! /lab/programs   ours, the cases among them        /lab/tools      firecracker, jailer
//! /lab/store      given to every sandbox            /lab/tmp        sandboxes
//! ```

use super::{
    LabError,
    cache::{Cache, Key, link},
    host::{Host, done},
    link::Program,
};
use crate::{
    Call,
    place::{Place, find},
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Ours, as they lie beside each other. The last one is the lab's own part inside.
const PROGRAMS: [&str; 5] = ["banger", "bangerd", "banger-usernet", "banger-agent", "lab"];
/// The pinned releases that the set-up has verified.
const TOOLS: [&str; 2] = ["firecracker", "jailer"];
/// Sparse: it takes what is written, and nothing that is written in the lab is kept.
const SIZE: &str = "16G";

/// Makes the disk unless it is there.
///
/// # Errors
/// When a program or tool is missing or fails.
pub fn make(cache: &Cache, host: &Host, program: Program) -> Result<PathBuf, LabError> {
    let place = Place::get();
    let mut programs: Vec<(String, PathBuf)> =
        PROGRAMS.iter().map(|name| ((*name).to_owned(), place.program(name))).collect();
    let run = match program {
        Program::Cases => cases(&place.programs)?,
        Program::Bench => place.program(program.name()),
    };
    programs.push((program.name().into(), run));
    let mut key =
        host.stores.iter().fold(Key::default().text(SIZE), |key, store| key.text(&store.display().to_string()));
    for (name, path) in &programs {
        key = key.text(name).file(path)?;
    }
    for name in TOOLS {
        key = key.text(name).file(&tool(name)?)?;
    }
    let folder = cache.get("payload", &key.finish(), |folder| {
        eprintln!("lab: packing the programs");
        let tree = folder.join("tree");
        for sub in ["programs", "tools", "tmp", "store"] {
            let path = tree.join(sub);
            fs::create_dir_all(&path).map_err(LabError::io("make", &path))?;
        }
        for (name, path) in &programs {
            // What only a debugger wants would be read by an emulated disk.
            let strip = Call::new(find("strip").ok_or(LabError::Missing { program: "strip", package: "binutils" })?);
            let to = tree.join("programs").join(name);
            done("strip a program", &strip.words("--strip-debug -o").arg(to).arg(path).run())?;
        }
        for name in TOOLS {
            let path = tool(name)?;
            fs::copy(&path, tree.join("tools").join(name)).map_err(LabError::io("copy", &path))?;
        }
        host.stores.iter().try_for_each(|store| copy(store, &tree.join("store/data")))?;
        file_system(&tree, &folder.join("payload.ext4"))?;
        fs::remove_dir_all(&tree).map_err(LabError::io("remove", &tree))
    })?;
    Ok(folder.join("payload.ext4"))
}

fn file_system(tree: &Path, to: &Path) -> Result<(), LabError> {
    let mke2fs = find("mke2fs").ok_or(LabError::Missing { program: "mke2fs", package: "e2fsprogs" })?;
    // Written once and thrown away: no journal, and tables are made when they are needed.
    let words = "-q -F -t ext4 -O ^has_journal -E lazy_itable_init=1,nodiscard -m 0 -d";
    let call = Call::new(mke2fs).words(words).arg(tree).arg(to).arg(SIZE);
    done("write the payload's file system", &call.run())
}

fn tool(name: &'static str) -> Result<PathBuf, LabError> {
    let place = Place::get();
    let path = place.tools.join(name);
    if path.is_file() { Ok(path) } else { Err(LabError::NoTool { what: name, folder: place.tools.clone() }) }
}

/// The program of the end-to-end cases: the newest that was built, since its name holds what it was built with.
///
/// # Errors
/// When there is none.
pub fn cases(programs: &Path) -> Result<PathBuf, LabError> {
    let deps = programs.join("deps");
    let is_it = |path: &PathBuf| {
        path.extension().is_none() && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cases-"))
    };
    let built = |path: &PathBuf| fs::metadata(path).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let found = crate::sandbox::entries(&deps).into_iter().filter(is_it).max_by_key(built);
    found.ok_or(LabError::NoTool { what: "the program of the end-to-end cases", folder: deps })
}

/// A tree of folders and files, as hard links.
fn copy(from: &Path, to: &Path) -> Result<(), LabError> {
    fs::create_dir_all(to).map_err(LabError::io("make", to))?;
    fs::set_permissions(to, fs::metadata(from).map_err(LabError::io("read", from))?.permissions())
        .map_err(LabError::io("make", to))?;
    for path in crate::sandbox::entries(from) {
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            link(&path, &target).map_err(LabError::io("copy", &path))?;
        }
    }
    Ok(())
}
