//! What tests want to become of the steps that a thread takes.

use crate::cancel::Cancel;
use std::cell::RefCell;
use std::fmt;
use std::io::{self, BufRead, Write};

/// Before a step has its effect, or after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    /// Of what is to be written half has been. Only some steps write.
    Midway,
    After,
}

/// A step that was taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    /// Whether it did what it is for. Some are taken to see whether they can be.
    worked: bool,
}

impl Step {
    /// When something can go wrong with it.
    pub(crate) fn sides(&self) -> &'static [When] {
        match self.worked {
            false => &[When::Before],
            true if self.name.starts_with("write") => &[When::Before, When::Midway, When::After],
            true => &[When::Before, When::After],
        }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What happens there.
#[derive(Clone)]
pub(crate) enum How {
    /// The step fails.
    Fails,
    /// The process is killed.
    Killed,
    /// The work is told that nobody wants it any more.
    Cancelled(Cancel),
}

/// Something that goes wrong.
#[derive(Clone)]
pub(crate) struct Fault {
    /// At which step, counted from 0.
    pub(crate) at: usize,
    pub(crate) when: When,
    pub(crate) how: How,
}

/// The steps that were taken.
pub(crate) type Trace = Vec<Step>;

enum Mode {
    Faults(Vec<Fault>),
    /// Before each step a line with its name goes out, and a line is waited for.
    Led,
}

struct Plan {
    mode: Mode,
    trace: Trace,
}

thread_local! {
    static PLAN: RefCell<Option<Plan>> = const { RefCell::new(None) };
}

/// How an error of ours is known.
#[derive(Debug, thiserror::Error)]
#[error("planted failure")]
pub(crate) struct Planted;

/// Does `work` on this thread with those faults in it, and says which steps it took, those of undoing included.
pub(crate) fn with<T>(faults: &[Fault], work: impl FnOnce() -> T) -> (T, Trace) {
    run(Mode::Faults(faults.to_vec()), work)
}

/// Does `work` on this thread step by step, each when a line has come on stdin.
pub(crate) fn led<T>(work: impl FnOnce() -> T) -> T {
    run(Mode::Led, work).0
}

fn run<T>(mode: Mode, work: impl FnOnce() -> T) -> (T, Trace) {
    PLAN.set(Some(Plan { mode, trace: Vec::new() }));
    let done = work();
    let plan = PLAN.take();
    (done, plan.map(|plan| plan.trace).unwrap_or_default())
}

pub(super) fn step<T>(name: &'static str, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(faults) = begin(name) else { return change() };
    hit(&faults, When::Before)?;
    let done = change()?;
    PLAN.with_borrow_mut(|plan| {
        plan.iter_mut().filter_map(|plan| plan.trace.last_mut()).for_each(|step| step.worked = true)
    });
    hit(&faults, When::After)?;
    Ok(done)
}

/// Does `half` of the step that has begun, if something is to go wrong then.
pub(super) fn midway<T>(half: impl FnOnce() -> io::Result<T>) -> io::Result<()> {
    let faults = PLAN.with_borrow(|plan| match plan {
        Some(Plan { mode: Mode::Faults(faults), trace }) => {
            let now = |fault: &&Fault| fault.at + 1 == trace.len() && fault.when == When::Midway;
            faults.iter().filter(now).cloned().collect()
        }
        _ => Vec::new(),
    });
    if !faults.is_empty() {
        half()?;
    }
    hit(&faults, When::Midway)
}

/// What goes wrong at the step that begins; none where nothing is planned.
fn begin(name: &'static str) -> Option<Vec<Fault>> {
    PLAN.with_borrow_mut(|plan| {
        let plan = plan.as_mut()?;
        let at = plan.trace.len();
        plan.trace.push(Step { name, worked: false });
        match &plan.mode {
            Mode::Faults(faults) => Some(faults.iter().filter(|fault| fault.at == at).cloned().collect()),
            Mode::Led => {
                let mut stdout = io::stdout().lock();
                writeln!(stdout, "{LED}{name}").and_then(|()| stdout.flush()).expect("whoever leads has gone");
                let read = io::stdin().lock().read_line(&mut String::new()).expect("whoever leads has gone");
                assert!(read > 0, "whoever leads has gone");
                Some(Vec::new())
            }
        }
    })
}

/// How the lines begin that say what the next step is.
pub(crate) const LED: &str = "NEXT STEP: ";

fn hit(faults: &[Fault], when: When) -> io::Result<()> {
    for fault in faults.iter().filter(|fault| fault.when == when) {
        match &fault.how {
            How::Fails => return Err(io::Error::other(Planted)),
            How::Cancelled(cancel) => cancel.cancel(),
            How::Killed => loop {
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            },
        }
    }
    Ok(())
}
