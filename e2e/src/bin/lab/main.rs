//! `make test-lab`: the end-to-end cases on real Firecracker, in a host that is emulated for them.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is what it is for")]

use banger_e2e::{
    Call,
    lab::{
        LabError,
        cache::Cache,
        host::Host,
        inside,
        link::Program,
        payload,
        report::Report,
        session::{self, Plan},
        shell, table,
    },
    place::Place,
    surroundings,
};
use std::{
    path::Path,
    process::{Command, ExitCode},
};

const USAGE: &str = "\
usage: lab [--case WORD]... [--jobs N] [--keep | --on-this-host] [--list]
  --case WORD   only cases whose name has the word
  --jobs N      so many at once, each in a lab of its own (one for each processor, at most 4)
  --keep        stay up when they are done, and say how to get a shell there
  --on-this-host  no lab: run them straight here, on Firecracker and this host's KVM
  --list        which cases run in the lab, and why the others do not
       lab shell SOCKET     a root shell in a lab that was kept";

/// A lab has 3 GiB of memory, which it may come to use.
const MOST_LABS: usize = 4;

/// What was asked for.
#[derive(Default)]
struct Wish {
    words: Vec<String>,
    jobs: Option<usize>,
    keep: bool,
    here: bool,
    list: bool,
}

impl Wish {
    fn jobs(&self) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.jobs.unwrap_or(processors.min(MOST_LABS))
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Wish> {
    let mut wish = Wish::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--case" => wish.words.push(arguments.next()?),
            "--jobs" => wish.jobs = Some(arguments.next()?.parse().ok()?),
            "--keep" => wish.keep = true,
            "--on-this-host" => wish.here = true,
            "--list" => wish.list = true,
            _ => return None,
        }
    }
    Some(wish)
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    let done = match arguments.peek().map(String::as_str) {
        Some("inside") => inside::serve().map(|()| true),
        Some("shell") => match arguments.nth(1) {
            Some(socket) => shell::attach(Path::new(&socket)).map(|()| true),
            None => return misuse(),
        },
        _ => match parse(arguments) {
            Some(wish) if wish.list => list(),
            Some(wish) if wish.here => here(&wish),
            Some(wish) => run(&wish),
            None => return misuse(),
        },
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lab: {}", error.with_causes());
            ExitCode::FAILURE
        }
    }
}

fn misuse() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// The names of all cases.
fn names() -> Result<Vec<String>, LabError> {
    let program = payload::cases(&Place::get().programs)?;
    let listed = Call::new(program).words("--list --format terse").run();
    Ok(listed.ok().lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

fn list() -> Result<bool, LabError> {
    for name in names()? {
        match table::fit(&name)? {
            table::Fit::No(why) => println!("{name}: not in the lab: {why}"),
            _ => println!("{name}"),
        }
    }
    Ok(true)
}

/// The same cases in one process, as on a machine that tests QEMU. Whether KVM works they find out themselves.
fn here(wish: &Wish) -> Result<bool, LabError> {
    let place = Place::get();
    let cases = table::choose(&names()?, &wish.words)?;
    let cases = cases.into_iter().map(|case| case.name).filter(|name| name != inside::SHARED);
    let mut command = Command::new(payload::cases(&place.programs)?);
    command.arg("--exact").args(cases).arg(format!("--test-threads={}", wish.jobs()));
    command.envs(surroundings::on_this_host(&place.tools));
    Ok(command.status().map_err(LabError::io("run", "the end-to-end cases"))?.success())
}

fn run(wish: &Wish) -> Result<bool, LabError> {
    let names = names()?;
    let cases = table::choose(&names, &wish.words)?;
    let cache = Cache::open(Place::get().target())?;
    let host = Host::make(&cache)?;
    let payload = payload::make(&cache, &host, Program::Cases)?;
    drop(cache);
    let mut report = Report::new(cases.len(), names.len() - cases.len());
    let plan = Plan { host: &host, payload: &payload, labs: wish.jobs(), keep: wish.keep };
    let ran = session::run(&plan, cases, &mut report);
    Ok(report.close(ran.as_ref().err()))
}
