//! `make test-lab`: the end-to-end cases on real Firecracker, in a host that is emulated for them.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is what it is for")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod wish;

use banger_e2e::{
    Call, Sandbox,
    fixture::image::busybox_reference,
    lab::{
        LabError,
        cache::Cache,
        host::Host,
        inside,
        link::Program,
        machine, payload,
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
use wish::{Run, USAGE, Wish};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    let done = match arguments.peek().map(String::as_str) {
        Some("inside") => inside::serve().map(|()| true),
        Some("shell") => match arguments.nth(1) {
            Some(socket) => shell::attach(Path::new(&socket)).map(|()| true),
            None => return misuse("shell needs the socket that the lab has named"),
        },
        _ => match wish::parse(arguments, std::thread::available_parallelism().map_or(1, std::num::NonZero::get)) {
            Ok(Wish::Help) => {
                println!("{USAGE}");
                Ok(true)
            }
            Ok(Wish::List(words)) => list(&words),
            Ok(Wish::Run(run)) => match run.place {
                wish::Place::Here => here(&run),
                wish::Place::Lab | wish::Place::KeptLab => in_labs(&run),
            },
            Err(why) => return misuse(&why),
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

fn misuse(why: &str) -> ExitCode {
    eprintln!("lab: {why}\n{USAGE}");
    ExitCode::from(2)
}

/// The names of all cases.
fn names() -> Result<Vec<String>, LabError> {
    let program = payload::cases(&Place::get().programs)?;
    let listed = Call::new(program).words("--list --format terse").run();
    Ok(listed.ok().lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

fn list(words: &[String]) -> Result<bool, LabError> {
    for name in table::named(&names()?, words)? {
        match table::fit(&name)? {
            table::Fit::No(why) => println!("{name}: not in the lab: {why}"),
            _ => println!("{name}"),
        }
    }
    Ok(true)
}

/// The same cases in one process, as on a machine that tests QEMU.
fn here(run: &Run) -> Result<bool, LabError> {
    let place = Place::get();
    let cases = table::choose(&names()?, &run.words)?;
    let variables = surroundings::on_this_host(&place.tools);
    works_here(&variables)?;
    let cases = cases.into_iter().map(|case| case.name).filter(|name| name != inside::SHARED);
    let mut command = Command::new(payload::cases(&place.programs)?);
    command.arg("--exact").args(cases).arg(format!("--test-threads={}", run.jobs));
    command.envs(variables);
    Ok(command.status().map_err(LabError::io("run", "the end-to-end cases"))?.success())
}

/// One machine, for all the cases that would fail for the same reason.
fn works_here(variables: &[(&'static str, String)]) -> Result<(), LabError> {
    let mut sandbox = Sandbox::empty();
    for (name, value) in variables {
        sandbox.set(name, value);
    }
    eprintln!("lab: trying whether Firecracker runs a guest here");
    let run = sandbox.banger("vm run --rm --net none --vmm firecracker --image").arg(busybox_reference());
    let tried = run.words("-- true").run();
    sandbox.finish();
    if tried.status.success() {
        return Ok(());
    }
    Err(LabError::NoKvm { said: tried.stderr.trim().to_owned() })
}

fn in_labs(run: &Run) -> Result<bool, LabError> {
    let names = names()?;
    let cases = table::choose(&names, &run.words)?;
    // Before minutes are spent on what it would boot.
    machine::program()?;
    let cache = Cache::open(Place::get().target())?;
    let host = Host::make(&cache)?;
    let payload = payload::make(&cache, &host, Program::Cases)?;
    drop(cache);
    let mut report = Report::new(cases.len(), names.len() - cases.len());
    let keep = run.place == wish::Place::KeptLab;
    let plan = Plan { host: &host, payload: &payload, labs: run.jobs.min(cases.len()), keep };
    let ran = session::run(&plan, cases, &mut report);
    Ok(report.close(ran.as_ref().err()))
}
