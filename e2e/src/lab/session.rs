//! Some labs side by side: each boots, runs one case after another, and is switched off.
//!
//! A lab has one emulated processor: with two, QEMU's emulation of SVM breaks its host or a guest every few boots. So what runs
//! at once runs in labs of their own.

use super::{
    LabError,
    host::Host,
    inside::SHARED,
    link::{BEAT, Case, Ended, Event, Order},
    machine::{BOOT_BOUND, Machine},
    queue::Queue,
    report::Report,
};
use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    panic::resume_unwind,
    path::Path,
    sync::{
        Mutex, MutexGuard,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    time::{Duration, Instant},
};

/// What the lab may take for a case beyond its deadline: it kills it and tidies up.
const GRACE: Duration = Duration::from_secs(60);
/// How long a lab may say nothing at all: see [`BEAT`].
const SILENCE: Duration = BEAT.saturating_mul(12);
/// How long switching off may take before it is done by force. Nothing in the lab is kept.
const END_BOUND: Duration = Duration::from_secs(5);
/// How often a lab is booted at most. A failure of the emulated host says nothing of the case that ran in it, which is run again
/// in the next; that is always told.
const BOOTS: u32 = 3;

/// What labs are made of, and how many.
#[derive(Debug)]
pub struct Plan<'a> {
    /// What is booted.
    pub host: &'a Host,
    /// What is tested, as a disk.
    pub payload: &'a Path,
    /// How many labs at most.
    pub labs: usize,
    /// The first stays up afterwards.
    pub keep: bool,
}

/// Boots the labs and runs the cases in them.
///
/// # Errors
/// When a lab fails, and fails again. What has been reported until then stays reported.
pub fn run(plan: &Plan<'_>, cases: Vec<Case>, report: &mut Report) -> Result<(), LabError> {
    let queue = Queue::new(cases);
    let report = Mutex::new(report);
    std::thread::scope(|scope| {
        let lab = |number| Lab { number, plan, queue: &queue, report: &report };
        let labs: Vec<_> = (0..plan.labs.max(1)).map(|number| scope.spawn(move || lab(number).run())).collect();
        let ended = labs.into_iter().map(|lab| lab.join().unwrap_or_else(|panic| resume_unwind(panic)));
        ended.fold(Ok(()), Result::and)
    })
}

/// One of them.
struct Lab<'a> {
    number: usize,
    plan: &'a Plan<'a>,
    queue: &'a Queue,
    report: &'a Mutex<&'a mut Report>,
}

impl<'a> Lab<'a> {
    fn report(&self) -> MutexGuard<'_, &'a mut Report> {
        self.report.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn run(&self) -> Result<(), LabError> {
        let mut boots = 0;
        let mut shared = None;
        while let Some(case) = self.queue.take(self.number) {
            boots += 1;
            let mut current = Some(case);
            match self.boot(&mut current, &mut shared) {
                Err(error) if error.may_pass() && boots < BOOTS => {
                    self.report().again(self.number, &error);
                    current.into_iter().for_each(|case| self.queue.put_back(case));
                    // The machine that others share went with the lab.
                    if let Some(case) = shared.take() {
                        self.report().forget(SHARED);
                        self.queue.put_back(case);
                    }
                }
                ended => return ended,
            }
        }
        Ok(())
    }

    /// One boot. `current` is the case that is not over yet, `shared` the one that booted the machine which others use.
    fn boot(&self, current: &mut Option<Case>, shared: &mut Option<Case>) -> Result<(), LabError> {
        let keep = self.plan.keep && self.number == 0;
        let mut machine = Machine::boot(self.plan.host, self.plan.payload, keep)?;
        let start = Instant::now();
        let mut port = machine.connect()?;
        let events = listen(port.try_clone().map_err(LabError::io("use", "the lab's port"))?);
        match next(&mut machine, &events, BOOT_BOUND, "its host to come up")? {
            Event::Up { seconds, kernel } => self.report().up(self.number, start.elapsed(), seconds, &kernel),
            other => return Err(LabError::Nonsense { line: format!("{other:?}") }),
        }
        while let Some(case) = current.clone() {
            tell(&mut port, &Order::Run(case.clone())).map_err(|_| machine.why_it_ended())?;
            let ended = follow(&mut machine, &events, &case)?;
            self.report().ended(ended);
            if case.name == SHARED {
                *shared = Some(case);
            }
            *current = self.queue.take(self.number);
        }
        tell(&mut port, if keep { &Order::Stay } else { &Order::End }).map_err(|_| machine.why_it_ended())?;
        if keep {
            self.report().kept(&machine.shell);
            machine.wait();
        }
        machine.finish(END_BOUND);
        Ok(())
    }
}

fn tell(port: &mut UnixStream, order: &Order) -> io::Result<()> {
    let mut line = serde_json::to_string(order).unwrap_or_default();
    line.push('\n');
    port.write_all(line.as_bytes())
}

/// Waits for the end of a case.
fn follow(machine: &mut Machine, events: &Receiver<String>, case: &Case) -> Result<Ended, LabError> {
    let start = Instant::now();
    let waited_for = format!("the end of {}", case.name);
    loop {
        match next(machine, events, SILENCE, &waited_for)? {
            Event::Ended(ended) => return Ok(ended),
            Event::Alive if start.elapsed() > Duration::from_secs(case.seconds) + GRACE => {
                return Err(machine.hangs(waited_for, start.elapsed()));
            }
            Event::Alive => {}
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
