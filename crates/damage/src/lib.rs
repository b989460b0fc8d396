//! What can become of a file that was being written, or of a disk that it lies on: cut off at any length, its end never
//! written, pieces of it noise. For tests of whatever reads files; no program of ours names it.
//!
//! The noise is a function of a seed, so that what failed once fails again. [`try_all`] is how it is used: it damages a file
//! in every way, asks a reader for its answer each time, and says which damage was taken for something else.

pub mod fuzz;
pub mod memory;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Files up to this length, in bytes, are damaged at each of their bytes; longer ones at the ends of sectors and pages, next
/// to those, and here and there.
pub const SMALL: usize = 4096;
/// What a disk writes at once.
const SECTOR: usize = 512;
/// What a file system writes at once.
const PAGE: usize = 4096;
/// How many places in the middle of nothing a long file is damaged at.
const HERE_AND_THERE: usize = 64;

/// Noise that a seed determines: SplitMix64, by Steele, Lea and Flood, "Fast splittable pseudorandom number generators".
#[derive(Debug, Clone)]
pub struct Noise(u64);

impl Noise {
    /// The noise of that seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which must not be zero.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % u64::try_from(end).unwrap_or(u64::MAX)).unwrap_or(0)
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            piece.copy_from_slice(&self.number().to_le_bytes()[..piece.len()]);
        }
    }
}

/// One thing that was done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Only so many bytes are left.
    Cut(usize),
    /// From there on it was never written: zeros.
    Unwritten(usize),
    /// Noise, from the first to before the second offset.
    Noise {
        /// Where it begins.
        from: usize,
        /// Where it ends.
        to: usize,
        /// Of the noise.
        seed: u64,
    },
}

impl Damage {
    /// What kind it is, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Cut(_) => "cut off",
            Self::Unwritten(_) => "unwritten ends",
            Self::Noise { .. } => "noise",
        }
    }

    /// What becomes of `whole`.
    pub fn of(&self, whole: &[u8]) -> Vec<u8> {
        let mut bytes = whole.to_vec();
        match *self {
            Self::Cut(length) => bytes.truncate(length),
            Self::Unwritten(from) => bytes.iter_mut().skip(from).for_each(|byte| *byte = 0),
            Self::Noise { from, to, seed } => {
                let to = to.min(bytes.len());
                Noise::new(seed).fill(&mut bytes[from.min(to)..to]);
            }
        }
        bytes
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(length) => write!(f, "cut off after {length} bytes"),
            Self::Unwritten(from) => write!(f, "zeros from byte {from} on"),
            Self::Noise { from, to, seed } => write!(f, "noise of seed {seed} in bytes {from} to {to}"),
        }
    }
}

/// Where a file of that length is damaged, ascending.
pub fn places(length: usize, seed: u64) -> Vec<usize> {
    if length <= SMALL {
        return (0..length).collect();
    }
    let around = |at: usize| [at.saturating_sub(1), at, at + 1];
    let mut places: Vec<usize> = (0..length).step_by(PAGE).chain([SECTOR, length - 1]).flat_map(around).collect();
    let mut noise = Noise::new(seed);
    places.extend((0..HERE_AND_THERE).map(|_| noise.below(length)));
    places.retain(|place| *place < length);
    places.sort_unstable();
    places.dedup();
    places
}

/// Everything that is done to a file of that length.
pub fn all(length: usize, seed: u64) -> Vec<Damage> {
    let places = places(length, seed);
    let step = if length <= SMALL { SECTOR } else { PAGE };
    let noise = |from: usize, to: usize| Damage::Noise { from, to, seed: seed.wrapping_add(from as u64) };
    let cuts = places.iter().map(|place| Damage::Cut(*place));
    let unwritten = places.iter().map(|place| Damage::Unwritten(*place));
    let tails = places.iter().map(|place| noise(*place, length));
    let blocks = (0..length).step_by(step).map(|from| noise(from, from + step));
    cuts.chain(unwritten).chain(tails).chain(blocks).collect()
}

/// What a reader made of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It read this.
    Read(String),
    /// It said so, in full: the error with its causes.
    Refused(String),
    /// It did without the file, as it is meant to.
    None,
}

/// Damages the file at `path` in every way and asks `read` each time. The answer must be that of the whole file, or a refusal
/// that holds each of `words`, or, with `dispensable`, nothing. Leaves the whole file behind. Returns a line that says how
/// often it was damaged.
///
/// # Panics
/// When one answer is another, with the damage and the answer. Also when the file cannot be changed or is not read when whole.
pub fn try_all(path: &Path, seed: u64, words: &[&str], dispensable: bool, mut read: impl FnMut() -> Answer) -> String {
    let name = path.file_name().unwrap_or_default().display().to_string();
    #[expect(clippy::panic, reason = "this is an assertion")]
    let fail = |what: String| -> ! { panic!("{name}: {what}") };
    let put = |bytes: &[u8]| {
        if let Err(error) = std::fs::write(path, bytes) {
            fail(format!("cannot damage {}: {error}", path.display()));
        }
    };
    let whole = std::fs::read(path).unwrap_or_else(|error| fail(format!("cannot read {}: {error}", path.display())));
    let truth = read();
    if !matches!(truth, Answer::Read(_)) {
        fail(format!("the whole file is not read: {truth:?}"));
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut refused = 0;
    for damage in all(whole.len(), seed) {
        let bytes = damage.of(&whole);
        if bytes == whole {
            continue;
        }
        put(&bytes);
        *counts.entry(damage.kind()).or_default() += 1;
        match read() {
            Answer::None if dispensable => refused += 1,
            Answer::Refused(text) => match words.iter().find(|word| !text.contains(**word)) {
                None => refused += 1,
                Some(word) => fail(format!("{damage}: the error does not say {word:?}: {text}")),
            },
            answer if answer == truth => {}
            answer => fail(format!("{damage}: taken for something else: {answer:?}")),
        }
    }
    put(&whole);
    if read() != truth {
        fail("it is whole again, and read otherwise".into());
    }
    let counts: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    format!("TORN {name} ({} bytes, seed {seed}): {}; {refused} refused", whole.len(), counts.join(", "))
}

/// An error with all its causes, as a user reads it.
pub fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_a_function_of_its_seed() {
        let noise = |seed| {
            let mut bytes = [0; 21];
            Noise::new(seed).fill(&mut bytes);
            bytes
        };
        assert_eq!(noise(7), noise(7));
        assert_ne!(noise(7), noise(8));
    }

    #[test]
    fn a_small_file_is_cut_at_every_length_and_a_long_one_around_its_pages() {
        assert_eq!(places(5, 1), [0, 1, 2, 3, 4]);
        let long = places(3 * PAGE, 1);
        for at in [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE - 1] {
            assert!(long.contains(&at), "{at}");
        }
        assert!(long.iter().any(|place| *place % SECTOR > 1 && *place % SECTOR < SECTOR - 1));
        assert_eq!(Damage::Cut(2).of(b"abcd"), b"ab");
        assert_eq!(Damage::Unwritten(2).of(b"abcd"), b"ab\0\0");
        let noisy = Damage::Noise { from: 1, to: 3, seed: 1 }.of(b"abcd");
        assert!(noisy[0] == b'a' && noisy[3] == b'd' && noisy != b"abcd");
    }

    /// A reader of numbers, and one that guesses.
    #[test]
    fn a_reader_that_guesses_is_caught() {
        let path = std::env::temp_dir().join(format!("banger-damage-{}", std::process::id()));
        std::fs::write(&path, "[1234567]").unwrap_or_default();
        let text = || std::fs::read_to_string(&path).unwrap_or_default();
        let strict = || match text().strip_prefix('[').and_then(|text| text.strip_suffix(']')?.parse::<u32>().ok()) {
            Some(number) => Answer::Read(number.to_string()),
            None => Answer::Refused("the file is damaged".into()),
        };
        let report = try_all(&path, 1, &["damaged"], false, strict);
        assert!(report.contains("9 cut off"), "{report}");
        let guesses = || Answer::Read(text().chars().filter(char::is_ascii_digit).collect());
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| try_all(&path, 1, &[], false, guesses)));
        assert!(caught.is_err());
        let silent = || if text().ends_with(']') { strict() } else { Answer::None };
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| try_all(&path, 1, &[], false, silent)));
        assert!(caught.is_err());
        let _gone = std::fs::remove_file(&path);
    }
}
