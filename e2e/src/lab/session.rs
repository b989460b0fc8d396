//! One boot of the lab: the plan goes in, results come out.

use super::{
    LabError,
    host::Host,
    inside::SHARED,
    link::{BEAT, Case, Event, Plan},
    machine::{BOOT_BOUND, Machine},
    report::Report,
};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

/// What the lab may take for a case beyond its deadline: it kills it and tidies up.
const GRACE: Duration = Duration::from_secs(60);
/// How long a lab may say nothing at all: see [`BEAT`].
const SILENCE: Duration = BEAT.saturating_mul(12);
/// How long switching off may take before it is done by force. Nothing in the lab is kept.
const END_BOUND: Duration = Duration::from_secs(5);

/// How often the lab is booted at most for one plan. A host on an emulated processor hangs, now and then, for no reason of the
/// cases that run in it: those that are not over by then are done in another, which is always told.
const BOOTS: u32 = 5;

/// Boots the lab, runs the cases, and switches it off; unless the plan says that it is kept for looking around.
///
/// # Errors
/// When the lab itself fails, and fails again. What has been reported until then stays reported.
pub fn run(host: &Host, payload: &Path, plan: &Plan, report: &mut Report) -> Result<(), LabError> {
    let mut plan = plan.clone();
    for _ in 1..BOOTS {
        match boot(host, payload, &plan, report) {
            Err(error) if error.may_pass() => report.again(&error),
            done => return done,
        }
        // The machine that others share went with the lab.
        report.forget(SHARED);
        plan.cases.retain(|case| !report.all().iter().any(|ended| ended.name == case.name));
    }
    boot(host, payload, &plan, report)
}

/// One boot.
fn boot(host: &Host, payload: &Path, plan: &Plan, report: &mut Report) -> Result<(), LabError> {
    let mut machine = Machine::boot(host, payload, plan.keep)?;
    let start = Instant::now();
    let mut port = machine.connect()?;
    let events = listen(port.try_clone().map_err(LabError::io("use", "the lab's port"))?);
    match next(&mut machine, &events, BOOT_BOUND, "its host to come up")? {
        Event::Up { seconds, kernel } => report.up(start.elapsed(), seconds, &kernel),
        other => return Err(LabError::Nonsense { line: format!("{other:?}") }),
    }
    let mut line = serde_json::to_string(plan).unwrap_or_default();
    line.push('\n');
    port.write_all(line.as_bytes()).map_err(LabError::io("write to", "the lab's port"))?;
    follow(&mut machine, &events, &plan.cases, report)?;
    if plan.keep {
        report.kept(&machine.shell);
        machine.wait();
    }
    machine.finish(END_BOUND);
    Ok(())
}

/// Reports until all is done.
fn follow(
    machine: &mut Machine,
    events: &Receiver<String>,
    cases: &[Case],
    report: &mut Report,
) -> Result<(), LabError> {
    let longest = cases.iter().map(|case| Duration::from_secs(case.seconds)).max().unwrap_or_default();
    let mut running = BTreeSet::new();
    let mut progress = Instant::now();
    loop {
        let waited_for = format!("the end of {}", running.iter().cloned().collect::<Vec<String>>().join(", "));
        let event = next(machine, events, SILENCE, &waited_for)?;
        if event != Event::Alive {
            progress = Instant::now();
        }
        match event {
            Event::Begun { name } => {
                running.insert(name);
            }
            Event::Ended(ended) => {
                running.remove(&ended.name);
                report.ended(ended);
            }
            Event::Alive if progress.elapsed() > longest + GRACE => {
                return Err(machine.hangs(waited_for, progress.elapsed()));
            }
            Event::Alive => {}
            Event::Done => return Ok(()),
            Event::Up { .. } => return Err(LabError::Nonsense { line: "up, again".into() }),
        }
    }
}

/// The next event.
fn next(
    machine: &mut Machine,
    events: &Receiver<String>,
    bound: Duration,
    waited_for: &str,
) -> Result<Event, LabError> {
    match events.recv_timeout(bound) {
        Ok(line) => serde_json::from_str(&line).map_err(|_| LabError::Nonsense { line }),
        Err(RecvTimeoutError::Timeout) => Err(machine.hangs(waited_for.to_owned(), bound)),
        Err(RecvTimeoutError::Disconnected) => Err(machine.why_it_ended()),
    }
}

/// Its lines, until it hangs up.
fn listen(port: UnixStream) -> Receiver<String> {
    let (tell, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(port).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    lines
}
