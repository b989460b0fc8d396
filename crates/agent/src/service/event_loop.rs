//! The loop: wait, move what can be moved, wait again.
//!
//! Owns: the table of sessions and the table of tasks, and what each frame of the host means for them. Memory is bounded by
//! the windows of the channels in use and the high-water mark of each session.

use super::launch::{Job, Launched, launch};
use super::link::{Incoming, Kind, Link, READ_SIZE};
use super::pid1::Order;
use super::poller::{Event, Part, Poller, Token};
use super::ports::Ports;
use super::spare::Spare;
use super::task::{Address, Task};
use crate::configure::{self, Context};
use crate::console;
use crate::processes::kill_session;
use banger_model::wire::frame::MAX_DATA;
use banger_model::wire::guest::{Refusal, Reply, Request};
use banger_model::wire::{Body, Frame, Stream};
use rustix::fd::OwnedFd;
use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

/// Frames taken from a session before others get their turn.
const FRAMES_A_TURN: usize = 64;

/// How long after a start the next process is forked in advance, if the command has not ended by then: it has work to do.
const REST: Duration = Duration::from_millis(250);
/// How long after the death of one that was forked in advance: whatever killed it may kill the next.
const PAUSE: Duration = Duration::from_secs(1);

/// Who PID 1 is, and so what the service may do with the machine.
#[derive(Debug)]
enum Machine {
    /// The agent's other process, at the other end of this socket.
    Agent(OwnedFd),
    /// The image's own init, or soon so: the agent's other process was told to become it. As long as that one cannot, it is
    /// at the other end of this socket, and would take the socket's end for ours.
    Image(#[expect(dead_code, reason = "held open, see above")] OwnedFd),
    /// The machine is not ours.
    NotOurs,
}

/// What a frame that the protocol does not allow was about.
#[derive(Debug, thiserror::Error)]
enum Violation {
    #[error("channel {0} was opened twice")]
    Reopened(u32),
    #[error(transparent)]
    Overrun(#[from] super::stdin::Overrun),
    #[error("a frame came that only the guest sends")]
    Direction,
}

/// The service.
pub(crate) struct Service {
    poller: Poller,
    ports: Option<Ports>,
    machine: Machine,
    context: Context,
    links: BTreeMap<u32, Link>,
    tasks: BTreeMap<u32, Task>,
    spare: Option<Spare>,
    spare_due: Instant,
    last_id: u32,
    read_buffer: Box<[u8; READ_SIZE]>,
    data_buffer: Box<[u8; MAX_DATA]>,
}

impl Service {
    /// The guest's service: meets the host wherever it may come. `pid1` leads to the agent's process that is PID 1.
    ///
    /// # Errors
    /// When the kernel has no descriptors left.
    pub(crate) fn in_guest(pid1: OwnedFd, context: Context) -> rustix::io::Result<Self> {
        let poller = Poller::new()?;
        let ports = Ports::listen();
        if let Some(uevents) = &ports.uevents {
            poller.add(uevents.fd(), Token::Uevents)?;
        }
        if let Some(listener) = &ports.listener {
            poller.add(listener, Token::Listener)?;
        }
        let mut service = Self::new(poller, Some(ports), Machine::Agent(pid1), context);
        service.open_ports();
        Ok(service)
    }

    /// A service for one connection, of a machine that is not ours.
    ///
    /// # Errors
    /// When the descriptor cannot be waited for.
    pub(crate) fn on_connection(stream: OwnedFd) -> rustix::io::Result<Self> {
        let mut service = Self::new(Poller::new()?, None, Machine::NotOurs, Context::default());
        service.add_link(stream, Kind::Connection)?;
        Ok(service)
    }

    fn new(poller: Poller, ports: Option<Ports>, machine: Machine, context: Context) -> Self {
        let (links, tasks, spare, last_id) = (BTreeMap::new(), BTreeMap::new(), None, 0);
        let spare_due = Instant::now();
        let (read_buffer, data_buffer) = (Box::new([0; READ_SIZE]), Box::new([0; MAX_DATA]));
        Self { poller, ports, machine, context, links, tasks, spare, spare_due, last_id, read_buffer, data_buffer }
    }

    /// Serves until nothing can ever come again, which in a guest never happens.
    pub(crate) fn run(mut self) {
        loop {
            while self.turn() {}
            if self.ports.is_none() && self.links.is_empty() && self.tasks.is_empty() {
                return;
            }
            let spare = self.prepare_for_more();
            let deadline = self.tasks.values().filter_map(Task::deadline).chain(spare).min();
            for event in self.poller.wait(deadline) {
                self.note(event);
            }
        }
    }

    /// Has a process ready for the next command, or says when.
    fn prepare_for_more(&mut self) -> Option<Instant> {
        if self.spare.is_some() || self.links.is_empty() {
            return None;
        }
        if self.spare_due <= Instant::now() {
            let id = self.next_id();
            // Without one, commands are launched as they come.
            self.spare = Spare::start(id, &self.poller).ok();
            self.spare_due = Instant::now() + PAUSE;
        }
        self.spare.is_none().then_some(self.spare_due)
    }

    fn next_id(&mut self) -> u32 {
        self.last_id = self.last_id.wrapping_add(1);
        self.last_id
    }

    fn add_link(&mut self, fd: OwnedFd, kind: Kind) -> rustix::io::Result<()> {
        let id = self.next_id();
        self.poller.add(&fd, Token::Link(id))?;
        self.links.insert(id, Link::new(fd, kind));
        Ok(())
    }

    fn open_ports(&mut self) {
        let opened = self.ports.as_mut().map(Ports::open_new).unwrap_or_default();
        for (name, fd) in opened {
            if let Err(error) = self.add_link(fd, Kind::Port(name)) {
                console::say(format_args!("the host's port cannot be watched: {error}"));
            }
        }
    }

    fn note(&mut self, event: Event) {
        match event.token {
            Token::Link(id) => {
                if let Some(link) = self.links.get_mut(&id) {
                    link.ready(event.hangup);
                }
            }
            Token::Task(id, part) => {
                if let Some(task) = self.tasks.get_mut(&id) {
                    task.ready(part);
                } else if part == Part::End
                    && let Some(spare) = self.spare.take_if(|spare| spare.id() == id)
                {
                    spare.end();
                    self.spare_due = Instant::now() + PAUSE;
                }
            }
            Token::Uevents => {
                if let Some(uevents) = self.ports.as_ref().and_then(|ports| ports.uevents.as_ref()) {
                    uevents.drain();
                }
                self.open_ports();
            }
            Token::Listener => {
                for fd in self.ports.as_ref().map(Ports::accept_all).unwrap_or_default() {
                    // A connection that cannot be watched is closed, which its other end sees.
                    let _ = self.add_link(fd, Kind::Connection);
                }
            }
        }
    }

    /// Everything that can be done now, once round. Says whether anything was.
    fn turn(&mut self) -> bool {
        let mut moved = false;
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            moved |= self.serve_link(id);
        }
        for id in self.tasks.keys().copied().collect::<Vec<_>>() {
            moved |= self.serve_task(id);
        }
        for link in self.links.values_mut() {
            moved |= link.flush();
        }
        moved
    }

    fn serve_link(&mut self, id: u32) -> bool {
        for turn in 0..FRAMES_A_TURN {
            let Some(link) = self.links.get_mut(&id) else { return true };
            match link.next(&mut self.read_buffer) {
                Incoming::Nothing => return turn > 0,
                Incoming::Frame(frame) => {
                    if let Err(violation) = self.take(id, frame) {
                        console::say(format_args!("the host broke the protocol: {violation}"));
                        self.end_session(id);
                        if let Some(link) = self.links.get_mut(&id)
                            && matches!(link.reset(), Incoming::Gone)
                        {
                            self.remove_link(id);
                        }
                    }
                }
                Incoming::Reset => self.end_session(id),
                Incoming::Gone => {
                    self.end_session(id);
                    self.remove_link(id);
                    return true;
                }
            }
        }
        true
    }

    fn remove_link(&mut self, id: u32) {
        let link = self.links.remove(&id);
        if let (Some(Kind::Port(name)), Some(ports)) = (link.as_ref().map(Link::kind), &mut self.ports) {
            ports.closed(name);
        }
    }

    /// The host of that session is gone: what it had begun goes with it.
    fn end_session(&mut self, id: u32) {
        let channels = self.links.get_mut(&id).map(|link| std::mem::take(&mut link.channels)).unwrap_or_default();
        for task in channels.into_values() {
            if let Some(task) = self.tasks.get_mut(&task) {
                task.abandon();
                task.address = None;
            }
        }
    }

    /// Acts on a frame.
    fn take(&mut self, link: u32, frame: Frame) -> Result<(), Violation> {
        let Frame { channel, body } = frame;
        let task = self.links.get(&link).and_then(|link| link.channels.get(&channel)).copied();
        if let Body::Open(request) = body {
            return match task {
                Some(_) => Err(Violation::Reopened(channel)),
                None => {
                    self.open(Address { link, channel }, *request);
                    Ok(())
                }
            };
        }
        // A frame that crossed the end of its channel on the way is late, not wrong.
        let Some(task) = task.and_then(|id| self.tasks.get_mut(&id)) else { return Ok(()) };
        match body {
            Body::Data(Stream::Stdin, bytes) => task.feed(&bytes)?,
            Body::Eof(Stream::Stdin) => task.end_stdin(),
            Body::Credit(stream @ (Stream::Stdout | Stream::Stderr), bytes) => task.grant(stream, bytes),
            Body::Control(control) => task.control(&control),
            Body::Close => task.abandon(),
            Body::Open(_)
            | Body::Accept(_)
            | Body::Refuse(_)
            | Body::Exit(_)
            | Body::Data(..)
            | Body::Eof(_)
            | Body::Credit(..) => return Err(Violation::Direction),
        }
        Ok(())
    }

    fn open(&mut self, address: Address, request: Request) {
        let ours = !matches!(self.machine, Machine::NotOurs);
        let answer = match request {
            Request::Exec(exec) => return self.start(Job::Exec(exec), Some(address)),
            Request::CopyIn(copy) => return self.start(Job::CopyIn(copy), Some(address)),
            Request::CopyOut { path } => return self.start(Job::CopyOut(path), Some(address)),
            Request::Configure(_) | Request::SetClock { .. } | Request::Shutdown if !ours => {
                Err(failed("the machine's own settings", "this agent does not run the machine"))
            }
            Request::Configure(config) => {
                let clock = configure::set_clock(config.unix_ns);
                let mut context = self.context.clone();
                context.warnings.extend(clock.err().map(|error| format!("the clock could not be set: {error}")));
                return self.start(Job::Configure(config, context), Some(address));
            }
            Request::SetClock { unix_ns } => {
                configure::set_clock(unix_ns).map(|()| Reply::Done).map_err(|error| failed("the clock", error))
            }
            Request::Shutdown => {
                // The answer first: nothing is certain to get out once the end has begun.
                self.answer(address, Ok(Reply::Done));
                return self.power_off();
            }
        };
        self.answer(address, answer);
    }

    fn answer(&mut self, address: Address, answer: Result<Reply, Refusal>) {
        if let Some(link) = self.links.get_mut(&address.link) {
            link.send(
                address.channel,
                match answer {
                    Ok(reply) => Body::Accept(Box::new(reply)),
                    Err(refusal) => Body::Refuse(refusal),
                },
            );
            link.flush();
        }
    }

    fn power_off(&mut self) {
        let told = match &self.machine {
            Machine::Agent(socket) => Order::End.send(socket).is_ok(),
            Machine::Image(_) | Machine::NotOurs => false,
        };
        if !told && !matches!(self.machine, Machine::NotOurs) {
            self.start(Job::PowerOff, None);
        }
    }

    fn start(&mut self, job: Job, address: Option<Address>) {
        let started = self.launch(&job).map(|(id, launched)| (id, Task::new(&job, launched, address)));
        self.spare_due = Instant::now() + REST;
        match (started, address) {
            (Ok((id, task)), _) => {
                if let Some(Address { link, channel }) = address
                    && let Some(link) = self.links.get_mut(&link)
                {
                    link.channels.insert(channel, id);
                }
                self.tasks.insert(id, task);
            }
            (Err(error), Some(address)) => self.answer(address, Err(failed("starting a process in the guest", error))),
            (Err(error), None) => console::say(format_args!("cannot start a process: {error}")),
        }
    }

    /// A process for `job`, watched as that of the task with this id.
    fn launch(&mut self, job: &Job) -> io::Result<(u32, Launched)> {
        if let Job::Exec(exec) = job
            && let Some(spare) = self.spare.take_if(|_| Spare::suits(exec))
        {
            let id = spare.id();
            if let Some(launched) = spare.become_command(exec) {
                return self.watched(id, job, launched, |_| Ok(()));
            }
        }
        let id = self.next_id();
        let launched = launch(job)?;
        self.watched(id, job, launched, |launched| launched.register(id, &self.poller))
    }

    /// The process, once it is waited for; `register` does most of that.
    fn watched(
        &self,
        id: u32,
        job: &Job,
        launched: Launched,
        register: impl FnOnce(&Launched) -> rustix::io::Result<()>,
    ) -> io::Result<(u32, Launched)> {
        let report = || if job.is_awaited() { launched.register_report(id, &self.poller) } else { Ok(()) };
        match register(&launched).and_then(|()| report()) {
            Ok(()) => Ok((id, launched)),
            Err(error) => {
                kill_session(launched.pid);
                Err(error.into())
            }
        }
    }

    /// The facts are in force and the host is told: the image's own init may have PID 1, if it has not already.
    fn hand_over(&mut self, init: String) {
        self.machine = match std::mem::replace(&mut self.machine, Machine::NotOurs) {
            Machine::Agent(socket) => match (Order::Become { init }).send(&socket) {
                Ok(()) => Machine::Image(socket),
                Err(error) => {
                    console::say(format_args!("PID 1 cannot be told to start the image's init: {error}"));
                    Machine::Agent(socket)
                }
            },
            other => other,
        };
    }

    fn serve_task(&mut self, id: u32) -> bool {
        let Some(task) = self.tasks.get_mut(&id) else { return false };
        let link = task.address.and_then(|address| self.links.get_mut(&address.link));
        let room = link.as_ref().is_none_or(|link| link.has_room());
        let advance = task.advance(room, &mut self.data_buffer);
        let moved = advance.moved();
        if let (Some(link), Some(address)) = (link, task.address) {
            for body in advance.bodies {
                link.send(address.channel, body);
            }
            if advance.over {
                link.channels.remove(&address.channel);
                task.address = None;
            }
        }
        if advance.ended {
            self.tasks.remove(&id);
            if self.tasks.is_empty() {
                self.spare_due = Instant::now();
            }
        }
        if let Some(Reply::Ready(facts)) = advance.answered
            && let Some(init) = facts.init
        {
            self.hand_over(init);
        }
        moved
    }
}

fn failed(what: &str, reason: impl std::fmt::Display) -> Refusal {
    Refusal::Failed { what: what.to_owned(), reason: reason.to_string() }
}
