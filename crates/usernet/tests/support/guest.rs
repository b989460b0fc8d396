//! A guest: smoltcp over the stream socket that QEMU would have.

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr, IpEndpoint, Ipv4Address};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddrV4;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long what should happen may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long what should not happen is waited for. What does happen takes milliseconds.
const DOUBT: Duration = Duration::from_secs(1);

pub(crate) struct Guest {
    interface: Interface,
    wire: Wire,
    sockets: SocketSet<'static>,
    next_port: u16,
}

/// How an attempt to connect ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// There is a connection.
    Connected,
    /// Refused by somebody who could be reached.
    Reset,
    /// Nobody answered.
    Nothing,
}

impl Guest {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self::with_address(stream, "10.0.2.15".parse().unwrap())
    }

    pub(crate) fn with_address(stream: UnixStream, address: Ipv4Address) -> Self {
        let mut wire = Wire::new(stream);
        let config = Config::new(EthernetAddress([0x02, 0, 0, 0, 0, 1]).into());
        let mut interface = Interface::new(config, &mut wire, Instant::now());
        interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(address.into(), 24)).unwrap());
        interface.routes_mut().add_default_ipv4_route(Ipv4Address::new(10, 0, 2, 2)).unwrap();
        Self { interface, wire, sockets: SocketSet::new(Vec::new()), next_port: 40000 }
    }

    fn port(&mut self) -> u16 {
        self.next_port += 1;
        self.next_port
    }

    /// Moves frames until `done` gives something, at most for the time given.
    fn until<T>(
        &mut self,
        patience: Duration,
        mut done: impl FnMut(&mut SocketSet<'static>) -> Option<T>,
    ) -> Option<T> {
        let start = std::time::Instant::now();
        loop {
            self.wire.pump();
            self.interface.poll(Instant::now(), &mut self.wire, &mut self.sockets);
            self.wire.pump();
            if let Some(got) = done(&mut self.sockets) {
                return Some(got);
            }
            if start.elapsed() > patience {
                return None;
            }
            self.wire.wait(Duration::from_millis(5));
        }
    }

    fn open(&mut self, to: SocketAddrV4, buffer: usize) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; buffer]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        let endpoint = IpEndpoint::new(IpAddress::Ipv4(*to.ip()), to.port());
        let port = self.port();
        socket.connect(self.interface.context(), endpoint, port).unwrap();
        self.sockets.add(socket)
    }

    /// Expects an answer of any kind.
    pub(crate) fn connect(&mut self, to: SocketAddrV4) -> Attempt {
        self.try_to_connect(to, PATIENCE)
    }

    /// Expects none.
    pub(crate) fn cannot_connect(&mut self, to: SocketAddrV4) -> bool {
        self.try_to_connect(to, DOUBT) == Attempt::Nothing
    }

    fn try_to_connect(&mut self, to: SocketAddrV4, patience: Duration) -> Attempt {
        let handle = self.open(to, 4096);
        let attempt = self.until(patience, |sockets| match sockets.get::<tcp::Socket<'_>>(handle).state() {
            tcp::State::Established | tcp::State::CloseWait => Some(Attempt::Connected),
            tcp::State::Closed => Some(Attempt::Reset),
            _ => None,
        });
        self.sockets.remove(handle);
        attempt.unwrap_or(Attempt::Nothing)
    }

    /// Sends all of it to a server that sends it back and returns what came.
    pub(crate) fn echo(&mut self, to: SocketAddrV4, bytes: &[u8]) -> Vec<u8> {
        let handle = self.open(to, 1 << 20);
        let (mut sent, mut got) = (0, Vec::new());
        let done = self.until(Duration::from_secs(60), |sockets| {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
            if socket.can_send() && sent < bytes.len() {
                sent += socket.send_slice(&bytes[sent..]).unwrap();
            }
            while socket.can_recv() {
                socket.recv(|piece| (piece.len(), got.extend(&*piece))).unwrap();
            }
            (got.len() >= bytes.len()).then_some(())
        });
        self.sockets.remove(handle);
        assert!(done.is_some(), "only {} of {} bytes came back", got.len(), bytes.len());
        got
    }

    /// Sends one datagram, again and again as programs do, and returns the first answer.
    pub(crate) fn ask(&mut self, to: SocketAddrV4, datagram: &[u8]) -> Option<Vec<u8>> {
        self.exchange(to, datagram, PATIENCE)
    }

    /// Expects no answer.
    pub(crate) fn cannot_ask(&mut self, to: SocketAddrV4) -> bool {
        self.exchange(to, b"anybody?", DOUBT).is_none()
    }

    fn exchange(&mut self, to: SocketAddrV4, datagram: &[u8], patience: Duration) -> Option<Vec<u8>> {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 16], vec![0; 65536]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(self.port()).unwrap();
        let handle = self.sockets.add(socket);
        let endpoint = IpEndpoint::new(IpAddress::Ipv4(*to.ip()), to.port());
        let mut last = None::<std::time::Instant>;
        let answer = self.until(patience, |sockets| {
            let socket = sockets.get_mut::<udp::Socket<'_>>(handle);
            if last.is_none_or(|last| last.elapsed() > Duration::from_millis(500)) {
                socket.send_slice(datagram, endpoint).unwrap();
                last = Some(std::time::Instant::now());
            }
            let (bytes, from) = socket.recv().ok()?;
            (from.endpoint == endpoint).then(|| bytes.to_vec())
        });
        self.sockets.remove(handle);
        answer
    }
}

/// Frames behind their lengths.
struct Wire {
    stream: UnixStream,
    received: Vec<u8>,
    to_send: Vec<u8>,
}

impl Wire {
    fn new(stream: UnixStream) -> Self {
        stream.set_nonblocking(true).unwrap();
        Self { stream, received: Vec::new(), to_send: Vec::new() }
    }

    fn pump(&mut self) {
        let mut sent = 0;
        while sent < self.to_send.len() {
            match self.stream.write(&self.to_send[sent..]) {
                Ok(written) => sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("the filter takes no frames: {error}"),
            }
        }
        self.to_send.drain(..sent);
        let mut buffer = [0; 65536];
        while self.received.len() < 1 << 18 {
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("the filter has hung up"),
                Ok(read) => self.received.extend(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("no frames come from the filter: {error}"),
            }
        }
    }

    /// Until something can be moved.
    fn wait(&self, bound: Duration) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, !self.to_send.is_empty());
        let mut fds = [PollFd::new(&self.stream, flags)];
        let _ = poll(&mut fds, Some(&Timespec::try_from(bound).unwrap()));
    }

    fn frame(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(u32::from_be_bytes(*self.received.first_chunk()?)).unwrap();
        let frame = self.received.get(4..4 + length)?.to_vec();
        self.received.drain(..4 + length);
        Some(frame)
    }
}

impl Device for Wire {
    type RxToken<'a> = Frame;
    type TxToken<'a> = Sender<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Frame, Sender<'_>)> {
        let frame = self.frame()?;
        Some((Frame(frame), Sender(&mut self.to_send)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sender<'_>> {
        (self.to_send.len() < 1 << 19).then_some(Sender(&mut self.to_send))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 65520 + 14;
        capabilities.checksum = ChecksumCapabilities::default();
        capabilities
    }
}

struct Frame(Vec<u8>);

impl RxToken for Frame {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Sender<'a>(&'a mut Vec<u8>);

impl TxToken for Sender<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.extend(u32::try_from(len).unwrap().to_be_bytes());
        self.0.extend(frame);
        result
    }
}
