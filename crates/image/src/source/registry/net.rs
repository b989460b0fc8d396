//! Connections that give up when nobody waits for them, or when nothing comes.
//!
//! Owns: name look-up, connecting, and waiting for bytes, as the HTTP client's lowest layer (TLS goes on top of it). Every
//! wait here looks at its token 20 times a second and is bounded. Must not: know HTTP.

use super::super::SourceError;
use crate::cancel::Cancel;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};

/// How often a waiter looks at its token.
const TICK: Duration = Duration::from_millis(50);
const TICK_SPEC: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// How long a name look-up may take.
const LOOK_UP_LIMIT: Duration = Duration::from_secs(20);
/// How long one address may take to answer.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long the other side may be silent.
const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// What is asked of the kernel at once, in bytes. Larger ones fall out of the processor's cache before they are hashed, and
/// cost three times as much.
const INPUT_BUFFER: usize = 64 << 10;
const OUTPUT_BUFFER: usize = 16 << 10;

/// A wait that took too long.
#[derive(Debug, thiserror::Error)]
#[error("{what} for {} s", limit.as_secs())]
struct TooLong {
    what: &'static str,
    limit: Duration,
}

/// A name without an address.
#[derive(Debug, thiserror::Error)]
#[error("the name {host} cannot be looked up")]
struct Unresolved {
    host: String,
    source: io::Error,
}

fn too_long(what: &'static str, limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, TooLong { what, limit })
}

fn check(cancel: &Cancel) -> io::Result<()> {
    cancel.check().map_err(|cancelled| SourceError::from(cancelled).into())
}

/// Lets time pass, as long as somebody waits.
pub(super) fn pause(time: Duration, cancel: &Cancel) -> Result<(), SourceError> {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        cancel.check()?;
        std::thread::sleep(left.min(TICK));
    }
    Ok(cancel.check()?)
}

/// Waits until `socket` is ready for `what`.
fn wait(socket: impl AsFd, what: PollFlags, limit: Duration, silent: &'static str, cancel: &Cancel) -> io::Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        match poll(&mut [PollFd::new(&socket, what)], Some(&TICK_SPEC)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        check(cancel)?;
        if Instant::now() >= deadline {
            return Err(too_long(silent, limit));
        }
    }
}

/// Looks names up.
#[derive(Debug)]
pub(super) struct Names(pub(super) Cancel);

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().ok_or(Error::HostNotFound)?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        let mut found = self.empty();
        match host.parse::<IpAddr>() {
            Ok(address) => found.push(SocketAddr::new(address, port)),
            Err(_) => {
                let addresses = look_up(host, port, &self.0).map_err(Error::Io)?;
                addresses.into_iter().take(16).for_each(|address| found.push(address));
            }
        }
        Ok(found)
    }
}

/// Asks the system, on a thread of its own: its call cannot be interrupted, only left behind.
fn look_up(host: String, port: u16, cancel: &Cancel) -> io::Result<Vec<SocketAddr>> {
    let (tell, told) = mpsc::channel();
    let name = host.clone();
    std::thread::Builder::new().name("look-up".into()).spawn(move || {
        let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        let _nobody_waits = tell.send(found);
    })?;
    let unresolved = |source: io::Error| io::Error::new(io::ErrorKind::NotFound, Unresolved { host, source });
    let deadline = Instant::now() + LOOK_UP_LIMIT;
    loop {
        match told.recv_timeout(TICK) {
            Ok(Ok(found)) if found.is_empty() => return Err(unresolved(io::ErrorKind::NotFound.into())),
            Ok(found) => return found.map_err(unresolved),
            Err(RecvTimeoutError::Disconnected) => return Err(unresolved(io::ErrorKind::BrokenPipe.into())),
            Err(RecvTimeoutError::Timeout) => check(cancel)?,
        }
        if Instant::now() >= deadline {
            return Err(unresolved(too_long("no name server answered", LOOK_UP_LIMIT)));
        }
    }
}

/// Opens connections.
#[derive(Debug)]
pub(super) struct Dial(pub(super) Cancel);

impl<In: Transport> Connector<In> for Dial {
    type Out = Either<In, Connection>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        // A proxy's connection.
        if let Some(transport) = chained {
            return Ok(Some(Either::A(transport)));
        }
        let mut failure = None;
        for address in &details.addrs {
            match dial(*address, &self.0) {
                Ok(stream) => {
                    let buffers = LazyBuffers::new(INPUT_BUFFER, OUTPUT_BUFFER);
                    return Ok(Some(Either::B(Connection { stream, buffers, cancel: self.0.clone() })));
                }
                Err(error) => failure = Some(error),
            }
            check(&self.0).map_err(Error::Io)?;
        }
        Err(failure.map_or(Error::HostNotFound, Error::Io))
    }
}

fn dial(address: SocketAddr, cancel: &Cancel) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Ok(()) => {}
        Err(Errno::INPROGRESS) => {
            wait(&socket, PollFlags::OUT, CONNECT_LIMIT, "no answer to a connection attempt", cancel)?;
            sockopt::socket_error(&socket)??;
        }
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection whose every wait is bounded.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buffers: LazyBuffers,
    cancel: Cancel,
}

/// The time left of what the HTTP client allows, up to our own bound.
fn limit(timeout: NextTimeout) -> Result<(Duration, bool), Error> {
    match timeout.not_zero().map(|left| *left) {
        Some(left) if left < IDLE_LIMIT => Ok((left, true)),
        _ => Ok((IDLE_LIMIT, false)),
    }
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let (limit, _) = limit(timeout)?;
        let mut output = &self.buffers.output()[..amount];
        while !output.is_empty() {
            match self.stream.write(output) {
                Ok(0) => return Err(Error::Io(io::ErrorKind::WriteZero.into())),
                Ok(written) => output = &output[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(&self.stream, PollFlags::OUT, limit, "the other side took nothing", &self.cancel)?;
                }
                Err(error) => return Err(Error::Io(error)),
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let (limit, of_the_whole) = limit(timeout)?;
        let input = self.buffers.input_append_buf();
        let amount = loop {
            match self.stream.read(input) {
                Ok(amount) => break amount,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match wait(&self.stream, PollFlags::IN, limit, "the other side was silent", &self.cancel) {
                        Err(error) if of_the_whole && error.kind() == io::ErrorKind::TimedOut => {
                            return Err(Error::Timeout(timeout.reason));
                        }
                        result => result?,
                    }
                }
                Err(error) => return Err(Error::Io(error)),
            }
        };
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        // A connection at rest has nothing to say; one that has is closed, or out of step.
        matches!(self.stream.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}
