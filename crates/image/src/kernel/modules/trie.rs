//! The binary index that `modprobe` looks names up in (kmod's `modules.*.bin`).
//!
//! Owns: writing that format, version 2.1: a trie of 7-bit keys with compressed paths, big-endian, each node behind its
//! children. Must not: know what the keys mean. kmod reads only these files, never the text beside them; busybox reads only
//! the text.

const MAGIC: u32 = 0xb007_f457;
const VERSION: u32 = 0x0002_0001;
const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;
/// The format's room for offsets, less what one node can take.
const MAX_OFFSET: usize = 0x0fff_0000;
/// Longer keys are left out: the trie is walked by recursion, and no real key comes near.
const MAX_KEY: usize = 1024;

/// What is to be found under a key. Of several, the one with the lowest priority comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    key: Vec<u8>,
    priority: u32,
    value: Vec<u8>,
}

/// An index being built.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: Vec<Entry>,
}

impl Index {
    /// Adds a value. Keys and values that the format cannot hold (not 7-bit, with a NUL, very long) are left out, as nobody
    /// could look them up.
    pub(super) fn insert(&mut self, key: &str, value: &str, priority: u32) {
        let fits = |text: &str| text.bytes().all(|b| (1..128).contains(&b));
        if fits(key) && fits(value) && key.len() <= MAX_KEY {
            self.entries.push(Entry { key: key.into(), priority, value: value.into() });
        }
    }

    /// The file's bytes; `None` if there is more than the format has room for.
    pub(super) fn into_bytes(mut self) -> Option<Vec<u8>> {
        self.entries.sort();
        self.entries.dedup();
        let mut out = Vec::new();
        put(&mut out, MAGIC);
        put(&mut out, VERSION);
        put(&mut out, 0);
        let root = node(&mut out, &self.entries, 0, 0)?;
        out[8..12].copy_from_slice(&root.to_be_bytes());
        Some(out)
    }
}

fn put(out: &mut Vec<u8>, word: u32) {
    out.extend_from_slice(&word.to_be_bytes());
}

/// Writes the node that all `entries` (sorted) go through after `depth` bytes of their keys, behind its children. The next
/// `prefix` bytes, the same in all, become its path. Returns its offset with its flags.
fn node(out: &mut Vec<u8>, entries: &[Entry], depth: usize, prefix: usize) -> Option<u32> {
    let end = depth + prefix;
    let path: &[u8] = entries.first().map_or(&[], |entry| &entry.key[depth..end]);
    let (values, below) = entries.split_at(entries.partition_point(|entry| entry.key.len() == end));
    let mut children = Vec::new();
    for group in below.chunk_by(|a, b| a.key[end] == b.key[end]) {
        let byte = group[0].key[end];
        children.push((byte, node(out, group, end + 1, common(group, end + 1))?));
    }
    let mut at = u32::try_from(out.len()).ok().filter(|_| out.len() < MAX_OFFSET)?;
    if !path.is_empty() {
        at |= HAS_PREFIX;
        out.extend_from_slice(path);
        out.push(0);
    }
    if let (Some((first, _)), Some((last, _))) = (children.first(), children.last()) {
        at |= HAS_CHILDREN;
        let (first, last) = (*first, *last);
        out.extend_from_slice(&[first, last]);
        let mut next = children.iter().peekable();
        for byte in first..=last {
            put(out, next.next_if(|(b, _)| *b == byte).map_or(0, |(_, child)| *child));
        }
    }
    if !values.is_empty() {
        at |= HAS_VALUES;
        put(out, u32::try_from(values.len()).ok()?);
        for entry in values {
            put(out, entry.priority);
            out.extend_from_slice(&entry.value);
            out.push(0);
        }
    }
    Some(at)
}

/// How many bytes after `depth` are the same in all `entries`, which are sorted.
fn common(entries: &[Entry], depth: usize) -> usize {
    match entries {
        [] => 0,
        [one] => one.key.len() - depth,
        [first, .., last] => first.key[depth..].iter().zip(&last.key[depth..]).take_while(|(a, b)| a == b).count(),
    }
}
