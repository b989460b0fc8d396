//! Bytes that nobody would send, for decoders: what is good, changed in the ways that decoders stumble over.
//!
//! Each case is a function of its seed, so that what failed once fails again: `BANGER_FUZZ=SEED` tries that case alone. A
//! target is tried for a second, with `BANGER_SOAK` for a minute. [`fuzz`] is how it is used.

use crate::{Noise, memory};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long a target is tried.
const BRIEF: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(60);
/// How long one case may take, on a host that is busy with other things: no decoder is a thousandth as slow.
const HANGS: Duration = Duration::from_secs(60);
/// Of the first case.
const SEED: u64 = 20_261_125;
/// Changes to one case.
const CHANGES: usize = 6;
/// The longest noise that is put in, in bytes.
const NOISE: usize = 64;
/// No case is longer, in bytes: what a decoder is given is bounded before it.
const LONGEST: usize = 1 << 20;
/// Bytes that a decoder may keep for each that it is given, beside what its target allows.
const EACH: usize = 64;

/// Gives `decode` changed bytes of `corpus`, again and again, with `words` of its format put in. It must not panic, nor hold
/// more memory at once on its thread than `memory` and what its input accounts for. Returns a line that says what was tried.
///
/// # Panics
/// When `decode` does, after the seed was told; when it holds too much.
pub fn fuzz(name: &str, corpus: &[Vec<u8>], words: &[&[u8]], memory: usize, mut decode: impl FnMut(&[u8])) -> String {
    let only = std::env::var("BANGER_FUZZ").ok().and_then(|seed| seed.parse().ok());
    let first = only.unwrap_or(SEED);
    let limit = if std::env::var_os("BANGER_SOAK").is_some() { LONG } else { BRIEF };
    let (begun, watch) = (Instant::now(), watch(name));
    let (mut cases, mut peak) = (0, 0);
    while cases == 0 || (only.is_none() && begun.elapsed() < limit) {
        let seed = first.wrapping_add(cases);
        // Without a watch there is only less to be seen of a case that hangs.
        let _nobody_watches = watch.send(seed);
        let bytes = case(corpus, words, seed);
        let (done, held) = memory::peak_of(|| catch_unwind(AssertUnwindSafe(|| decode(&bytes))));
        if let Err(panic) = done {
            report(name, seed, &bytes);
            resume_unwind(panic);
        }
        if held > memory + EACH * bytes.len() {
            report(name, seed, &bytes);
            too_much(held, bytes.len());
        }
        peak = peak.max(held);
        cases += 1;
    }
    format!("FUZZ {name}: {cases} cases from seed {first}, at most {peak} bytes held")
}

#[expect(clippy::panic, reason = "this is an assertion")]
fn too_much(held: usize, length: usize) -> ! {
    panic!("{held} bytes were held for {length}")
}

#[expect(clippy::print_stderr, reason = "it is for who reads the failure")]
fn report(name: &str, seed: u64, bytes: &[u8]) {
    let shown = &bytes[..bytes.len().min(400)];
    eprintln!("{name}: BANGER_FUZZ={seed} ({} bytes): {}", bytes.len(), shown.escape_ascii());
}

/// Ends the process when a case takes too long: a decoder that hangs cannot be stopped otherwise.
#[expect(clippy::print_stderr, reason = "it is for who reads the failure")]
fn watch(name: &str) -> Sender<u64> {
    let (sender, cases) = channel();
    let name = name.to_owned();
    std::thread::spawn(move || {
        let mut current = None;
        loop {
            match cases.recv_timeout(HANGS) {
                Ok(seed) => current = Some(seed),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    eprintln!("{name}: BANGER_FUZZ={current:?} is not done after {} s", HANGS.as_secs());
                    std::process::abort();
                }
            }
        }
    });
    sender
}

/// The bytes of one case.
pub fn case(corpus: &[Vec<u8>], words: &[&[u8]], seed: u64) -> Vec<u8> {
    let mut noise = Noise::new(seed);
    let mut bytes = match noise.below(32) {
        0 => noise_of(&mut noise, 600),
        _ if corpus.is_empty() => Vec::new(),
        _ => corpus[noise.below(corpus.len())].clone(),
    };
    for _ in 0..=noise.below(CHANGES) {
        change(&mut bytes, corpus, words, &mut noise);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn noise_of(noise: &mut Noise, longest: usize) -> Vec<u8> {
    let mut bytes = vec![0; noise.below(longest)];
    noise.fill(&mut bytes);
    bytes
}

fn change(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&[u8]], noise: &mut Noise) {
    let at = noise.below(bytes.len() + 1);
    let end = at + noise.below(bytes.len() - at + 1);
    match noise.below(14) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        3 if !corpus.is_empty() => {
            let other = &corpus[noise.below(corpus.len())];
            let from = noise.below(other.len() + 1);
            bytes.splice(at..end, other[from..].iter().copied());
        }
        4 if !words.is_empty() => {
            let word = words[noise.below(words.len())];
            let over = if noise.below(2) == 0 { at } else { (at + word.len()).min(bytes.len()) };
            bytes.splice(at..over, word.iter().copied());
        }
        5 => {
            let put_in = noise_of(noise, NOISE);
            bytes.splice(at..at, put_in);
        }
        // What texts are most often believed in.
        6 | 10..=13 => number_in_digits(bytes, at, noise),
        7 => number_in_bytes(bytes, at, noise),
        _ if at < bytes.len() => bytes[at] ^= 1 << noise.below(8),
        _ => bytes.push(noise.below(256).to_le_bytes()[0]),
    }
}

/// Numbers at which arithmetic goes wrong.
fn extreme(length: usize, noise: &mut Noise) -> u64 {
    let length = length as u64;
    let some = [
        0,
        1,
        0x7f,
        0x80,
        0xff,
        0x7fff,
        0xffff,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        i64::MAX.unsigned_abs(),
        1 << 63,
        u64::MAX,
    ];
    match noise.below(4) {
        0 => length.wrapping_sub(noise.number() % 3),
        1 => length + noise.number() % 3,
        _ => some[noise.below(some.len())],
    }
}

/// A length or an offset as most formats have it, in either order of bytes.
fn number_in_bytes(bytes: &mut [u8], at: usize, noise: &mut Noise) {
    let number = extreme(bytes.len(), noise);
    let width = [1, 2, 4, 8][noise.below(4)];
    let Some(place) = bytes.get_mut(at..at + width) else { return };
    match noise.below(2) {
        0 => place.copy_from_slice(&number.to_le_bytes()[..width]),
        _ => place.copy_from_slice(&number.to_be_bytes()[8 - width..]),
    }
}

/// The next run of digits, as texts and tars have them.
fn number_in_digits(bytes: &mut Vec<u8>, at: usize, noise: &mut Noise) {
    let Some(begin) = bytes[at..].iter().position(u8::is_ascii_digit).map(|offset| at + offset) else { return };
    let length = bytes[begin..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = extreme(bytes.len(), noise);
    let text = match noise.below(4) {
        // As long as it was: fields of a fixed width stay where they are.
        0 => format!("{number:0length$o}"),
        1 => format!("{number:0length$}"),
        2 => number.to_string(),
        _ => format!("-{number}"),
    };
    bytes.splice(begin..begin + length, text.into_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_a_function_of_its_seed() {
        let corpus = [b"length 12: hello".to_vec(), vec![7; 100]];
        let cases: Vec<_> = (0..5000).map(|seed| case(&corpus, &[b"magic"], seed)).collect();
        assert_eq!(cases, (0..5000).map(|seed| case(&corpus, &[b"magic"], seed)).collect::<Vec<_>>());
        assert!(cases.iter().any(|case| case.windows(5).any(|word| word == b"magic")));
        assert!(cases.iter().any(|case| case.starts_with(b"length 18446744073709551615")));
    }

    /// A reader of lists with their length before them, and the same without a look at what it says.
    #[test]
    fn a_reader_that_believes_lengths_is_caught() {
        let corpus = [vec![3, 0, 0, 0, 1, 2, 3]];
        let length = |bytes: &[u8]| bytes.first_chunk().map(|length| u32::from_le_bytes(*length) as usize);
        let careful =
            |bytes: &[u8]| drop(length(bytes).and_then(|length| Some(bytes.get(4..)?.get(..length)?.to_vec())));
        let report = fuzz("lists", &corpus, &[], 1 << 16, careful);
        assert!(report.starts_with("FUZZ lists: "), "{report}");
        let caught = |decode: &dyn Fn(&[u8])| {
            catch_unwind(AssertUnwindSafe(|| fuzz("lists", &corpus, &[], 1 << 16, decode))).is_err()
        };
        assert!(caught(&|bytes| drop(length(bytes).map(|length| bytes[4..4 + length].to_vec()))));
        assert!(caught(&|bytes| drop(length(bytes).map(|length| Vec::<u8>::with_capacity(length.min(1 << 28))))));
    }
}
