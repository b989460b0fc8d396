//! Servers that send back what they get, for as long as the process lives.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// The port of every server that is not a name server.
pub(crate) const PORT: u16 = 7000;
/// What the name server puts before what it sends back, to be told apart.
pub(crate) const RESOLVED: &[u8] = b"resolved:";

pub(crate) fn address(ip: &str, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(ip.parse().unwrap(), port)
}

/// TCP and UDP at that address, in the network of the calling thread.
pub(crate) fn serve(ip: &str) {
    let listener = TcpListener::bind(address(ip, PORT)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    answer(ip, PORT, b"");
}

/// A name server's stand-in.
pub(crate) fn resolve(ip: &str) {
    answer(ip, 53, RESOLVED);
}

fn answer(ip: &str, port: u16, prefix: &'static [u8]) {
    let socket = UdpSocket::bind(address(ip, port)).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 65536];
        while let Ok((read, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&[prefix, &buffer[..read]].concat(), from);
        }
    });
}

/// Whether the host itself reaches the server there: only then does it mean anything that the guest does not.
pub(crate) fn is_reachable_from_the_host(ip: &str) -> bool {
    let to = address(ip, PORT);
    let tcp = TcpStream::connect_timeout(&to.into(), Duration::from_secs(3)).is_ok();
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    socket.send_to(b"x", to).unwrap();
    tcp && socket.recv(&mut [0; 8]).is_ok()
}
