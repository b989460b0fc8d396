//! The least work that any pull has to do: read the layers from the registry, hash them, inflate them, hash the result,
//! write it once. Two threads. What a pull takes beyond this is its own.

use flate2::write::GzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    sync::{
        Mutex,
        mpsc::{SyncSender, sync_channel},
    },
};

const PIECE: usize = 256 << 10;

/// Fetches every layer of an image and writes the tars into `folder`.
pub(crate) fn all_layers(host: &str, name: &str, folder: &Path) {
    let accept = "application/vnd.oci.image.manifest.v1+json";
    let mut manifest = String::new();
    get(host, &format!("/v2/{name}/manifests/1"), accept).read_to_string(&mut manifest).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let digests: Vec<String> = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["digest"].as_str().unwrap().to_owned())
        .collect();
    match &digests[..] {
        [one] => in_a_line(host, name, one, folder),
        many => side_by_side(host, name, many, folder),
    }
}

/// One layer: a thread reads, hashes and inflates, the other hashes and writes.
fn in_a_line(host: &str, name: &str, digest: &str, folder: &Path) {
    let (sender, receiver) = sync_channel::<Vec<u8>>(16);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut plain = Sink { hash: Sha256::new(), file: File::create(folder.join("0.tar")).unwrap() };
            receiver.into_iter().for_each(|piece| plain.write_all(&piece).unwrap());
        });
        fetch(host, name, digest, Pieces { sender, held: Vec::with_capacity(PIECE) });
    });
}

/// Several layers: two threads, each with a whole layer at a time.
fn side_by_side(host: &str, name: &str, digests: &[String], folder: &Path) {
    let next = Mutex::new(digests.iter().enumerate());
    let take = || next.lock().unwrap().next();
    let work = || {
        while let Some((number, digest)) = take() {
            let file = File::create(folder.join(format!("{number}.tar"))).unwrap();
            fetch(host, name, digest, Sink { hash: Sha256::new(), file });
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
}

/// Reads a blob, hashes it, and inflates it into `to`.
fn fetch(host: &str, name: &str, digest: &str, to: impl Write) {
    let mut body = get(host, &format!("/v2/{name}/blobs/{digest}"), "*/*");
    let (mut hash, mut inflate) = (Sha256::new(), GzDecoder::new(to));
    let mut buffer = vec![0; PIECE];
    loop {
        let length = body.read(&mut buffer).unwrap();
        if length == 0 {
            break;
        }
        hash.update(&buffer[..length]);
        inflate.write_all(&buffer[..length]).unwrap();
    }
    inflate.finish().unwrap().flush().unwrap();
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, format!("sha256:{hex}"));
}

/// Hashes and writes.
struct Sink {
    hash: Sha256,
    file: File,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.hash.update(bytes);
        self.file.write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Hands pieces to the other thread.
struct Pieces {
    sender: SyncSender<Vec<u8>>,
    held: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.held.extend_from_slice(bytes);
        if self.held.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let piece = std::mem::replace(&mut self.held, Vec::with_capacity(PIECE * 2));
        self.sender.send(piece).map_err(std::io::Error::other)
    }
}

/// The body of a successful answer.
fn get(host: &str, path: &str, accept: &str) -> impl Read + use<> {
    let mut stream = TcpStream::connect(host).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut reader = BufReader::with_capacity(PIECE, stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.contains(" 200 "), "{path}: {line}");
    let mut length = 0;
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    reader.take(length)
}
