//! `make smoke`: what users do, all at once on one host, through the `banger` program alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a scenario stops where it fails, with the reason"
)]

mod daemon;
mod images;
mod life;
mod runs;
mod speech;
mod table;

use banger_e2e::{
    narration,
    place::Place,
    smoke::{
        User, report,
        round::Plan,
        scenario::{self, Unknown},
    },
};
use std::{path::Path, process::ExitCode};
use table::TABLE;

const USAGE: &str = "\
usage: smoke [--scenario NAME,...]... [--jobs N] [--rounds N] [--list]
  --scenario NAME,...  only these
  --jobs N             so many at once (one for each processor)
  --rounds N           all of it so often, each time in a fresh home (once)
  --list               the scenarios, what each shares with others, and what it shows";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    names: Vec<String>,
    jobs: usize,
    rounds: usize,
    list: bool,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Wish> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut wish = Wish { names: Vec::new(), jobs: processors, rounds: 1, list: false };
    let number = |word: Option<String>| word?.parse().ok().filter(|number| *number > 0);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--scenario" => wish.names.extend(arguments.next()?.split(',').map(str::to_owned)),
            "--jobs" => wish.jobs = number(arguments.next())?,
            "--rounds" => wish.rounds = number(arguments.next())?,
            "--list" => wish.list = true,
            _ => return None,
        }
    }
    Some(wish)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &arguments[..] {
        [word, name, surroundings] if word == "one" => one(name, Path::new(surroundings)).map(|()| true),
        _ => match parse(arguments.into_iter()) {
            Some(wish) => run(&wish),
            None => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        },
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("smoke: {error}");
            ExitCode::from(2)
        }
    }
}

/// Does one scenario: in a process of its own, which whoever runs them all has started.
fn one(name: &str, surroundings: &Path) -> Result<(), Unknown> {
    let scenario = scenario::find(TABLE, name)?;
    narration::begin();
    (scenario.play)(&User::enter(name, surroundings));
    Ok(())
}

fn run(wish: &Wish) -> Result<bool, Unknown> {
    let scenarios = scenario::choose(TABLE, &wish.names)?;
    if wish.list {
        print!("{}", report::list(&scenarios));
        return Ok(true);
    }
    let kept = Place::get().target().join(format!("smoke-failed/{}", std::process::id()));
    let mut good = 0;
    for round in 1..=wish.rounds {
        if wish.rounds > 1 {
            print!("round {round} of {}: ", wish.rounds);
        }
        let evidence = kept.join(format!("round-{round}"));
        let tally = Plan { scenarios: &scenarios, jobs: wish.jobs, evidence }.play();
        good += usize::from(tally.is_good());
    }
    if wish.rounds > 1 {
        println!("smoke: {good} of {} rounds passed", wish.rounds);
    }
    Ok(good == wish.rounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &str) -> Option<Wish> {
        parse(words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn names_are_given_with_commas_or_one_by_one() {
        let wish = parsed("--scenario one,two --scenario three --jobs 4 --rounds 20").unwrap();
        assert_eq!((wish.names, wish.jobs, wish.rounds), (["one", "two", "three"].map(str::to_owned).into(), 4, 20));
    }

    #[test]
    fn what_makes_no_sense_is_no_wish() {
        for words in ["--jobs 0", "--jobs", "--rounds many", "--scenario", "life"] {
            assert_eq!(parsed(words), None, "{words}");
        }
    }
}
