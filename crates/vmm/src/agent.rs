//! The stream to the agent in the guest.
//!
//! Owns: getting a byte stream to it through either VMM. What is said on it is the caller's matter, and so is greeting
//! again until the agent answers: under QEMU the stream is there before the guest is.

use crate::console::Changes;
use crate::process::{Exit, Vmm};
use banger_model::spec::VmmKind;
use banger_model::wire::guest::AGENT_VSOCK_PORT;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// `OK ` and a port number, with room to spare.
const MAX_ANSWER: usize = 32;
/// The shortest and the longest pause before the agent is tried again. Each attempt costs the VMM and the guest, which has better
/// things to do while it boots; so the pause is a tenth of what has passed, and so is at most what is lost by it.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(500));

/// No stream to the agent.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum AgentError {
    /// The guest has not come that far.
    #[error("nothing listens for the agent's stream in the guest yet")]
    NotListening,
    #[error("cannot reach the agent through {}", socket.display())]
    Socket { socket: PathBuf, source: io::Error },
    #[error("{} answers {answer:?} instead of OK", socket.display())]
    Handshake { socket: PathBuf, answer: String },
    #[error("the VMM is gone: {0}")]
    VmmGone(Exit),
    #[error("the agent's stream was not there within {} seconds", .0.as_secs())]
    Late(Duration),
}

impl Vmm {
    /// A stream to the agent. Under QEMU it is there at once, one client at a time: a second waits until the first has
    /// hung up. Under Firecracker it needs the agent to listen, and any number may be open.
    ///
    /// # Errors
    /// [`AgentError::NotListening`] when it is worth trying again.
    pub async fn connect_agent(&self) -> Result<UnixStream, AgentError> {
        let socket = self.agent_socket();
        let failed = |source: io::Error| match source.kind() {
            // Firecracker makes its socket as it starts the guest; a full backlog is a matter of moments.
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::WouldBlock => {
                AgentError::NotListening
            }
            _ => AgentError::Socket { socket: socket.clone(), source },
        };
        let mut stream = UnixStream::connect(&socket).await.map_err(failed)?;
        if self.record().engine.kind() == VmmKind::Firecracker {
            handshake(&mut stream).await.map_err(|e| match e {
                Handshake::Closed => AgentError::NotListening,
                Handshake::Io(source) => AgentError::Socket { socket: socket.clone(), source },
                Handshake::Answer(answer) => AgentError::Handshake { socket: socket.clone(), answer },
            })?;
        }
        Ok(stream)
    }

    /// As [`Vmm::connect_agent`], trying until the guest listens, the VMM ends, or `bound` has passed. What the guest writes to
    /// its `console`, if that is given, is a sign that it may: its agent says there when it does.
    ///
    /// # Errors
    /// The one that ended the trying.
    pub async fn connect_agent_within(
        &self,
        console: Option<&Path>,
        bound: Duration,
    ) -> Result<UnixStream, AgentError> {
        let start = Instant::now();
        // Without, it takes a little longer.
        let words = console.and_then(|console| Changes::of(console).ok());
        let tries = async {
            loop {
                match self.connect_agent().await {
                    Err(AgentError::NotListening) => rest(pause(start.elapsed()), words.as_ref()).await,
                    result => return result,
                }
            }
        };
        tokio::select! {
            biased;
            result = timeout_at(start + bound, tries) => result.unwrap_or(Err(AgentError::Late(bound))),
            exit = self.exited() => Err(AgentError::VmmGone(exit)),
        }
    }
}

/// Lets time pass until the guest says something, but always the shortest pause: it may say much.
async fn rest(time: Duration, words: Option<&Changes>) {
    sleep(PAUSES.0).await;
    let rest = time.saturating_sub(PAUSES.0);
    match words {
        Some(words) => drop(timeout(rest, words.wait()).await),
        None => sleep(rest).await,
    }
}

fn pause(passed: Duration) -> Duration {
    (passed / 10).clamp(PAUSES.0, PAUSES.1)
}

#[derive(Debug)]
enum Handshake {
    Closed,
    Io(io::Error),
    Answer(String),
}

/// Firecracker's way of choosing a guest port: `CONNECT port`, answered `OK` and the host's port. It hangs up when nobody
/// listens. The answer is read byte by byte, because what follows its line is the agent's.
async fn handshake<S>(stream: &mut S) -> Result<(), Handshake>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let hung_up = |e: io::Error| match e.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => Handshake::Closed,
        _ => Handshake::Io(e),
    };
    let request = format!("CONNECT {AGENT_VSOCK_PORT}\n");
    stream.write_all(request.as_bytes()).await.map_err(hung_up)?;
    let mut answer = Vec::with_capacity(MAX_ANSWER);
    while answer.len() < MAX_ANSWER {
        match stream.read_u8().await.map_err(hung_up)? {
            b'\n' if answer.starts_with(b"OK ") => return Ok(()),
            b'\n' => break,
            byte => answer.push(byte),
        }
    }
    Err(Handshake::Answer(crate::console::clean(&answer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shake(answer: &[u8]) -> Result<Vec<u8>, Handshake> {
        let (mut ours, mut theirs) = tokio::io::duplex(256);
        theirs.write_all(answer).await.unwrap();
        let mut request = [0; 13];
        let (shaken, _) = tokio::join!(handshake(&mut ours), async {
            theirs.read_exact(&mut request).await.unwrap();
            drop(theirs);
        });
        assert_eq!(&request, b"CONNECT 1024\n");
        shaken?;
        let mut rest = Vec::new();
        ours.read_to_end(&mut rest).await.unwrap();
        Ok(rest)
    }

    #[tokio::test]
    async fn what_follows_the_answer_is_left_for_the_agent() {
        assert_eq!(shake(b"OK 1073741824\nhello").await.unwrap(), b"hello");
    }

    #[test]
    fn a_boot_of_ten_seconds_is_asked_less_than_a_hundred_times() {
        let mut passed = Duration::ZERO;
        let mut attempts = 0;
        while passed < Duration::from_secs(10) {
            passed += pause(passed);
            attempts += 1;
        }
        assert!((50..100).contains(&attempts), "{attempts}");
    }

    #[tokio::test]
    async fn a_word_of_the_guest_ends_a_rest() {
        let console = tempfile::NamedTempFile::new().unwrap();
        let words = Changes::of(console.path()).unwrap();
        let long = Duration::from_secs(3600);
        let say = async { std::fs::write(console.path(), "banger: ready\n").unwrap() };
        timeout(Duration::from_secs(60), async { tokio::join!(rest(long, Some(&words)), say) }).await.unwrap();
        // What was said before is not said again.
        assert!(timeout(Duration::from_millis(50), rest(long, Some(&words))).await.is_err());
    }

    #[tokio::test]
    async fn other_answers() {
        assert!(matches!(shake(b"").await, Err(Handshake::Closed)));
        assert!(matches!(shake(b"OK 10").await, Err(Handshake::Closed)));
        assert!(matches!(shake(b"NO\n").await, Err(Handshake::Answer(a)) if a == "NO"));
        assert!(matches!(shake(&[b'x'; 100]).await, Err(Handshake::Answer(a)) if a.len() == MAX_ANSWER));
    }
}
