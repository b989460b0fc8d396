//! Making the file system.

use super::{
    BLOCK, Ext4Error, MIN_SIZE, Volume,
    declare::{self, Declared},
    place::ImagePlan,
    sink::Sink,
    spool::{ContentReader, Spool},
    tree::{Content, InodeId, Piece, Tree},
    volume::MIN_JOURNAL,
};
use crate::cancel::Cancel;
use crate::effect;
use mkext4::{InodeHandle, Layout};
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// How often the journal's length is corrected before the contents are copied instead.
const TRIES: usize = 4;

/// Turns the spool's file into a file system with everything that is reachable in `tree`. Contents stay where they are if they
/// are where the file system wants them, and are copied once if not. Afterwards the contents of `tree` say where in the file
/// system's file they are.
///
/// # Errors
/// When a name, a link or an attribute cannot be expressed, the file cannot be written, or `cancel` says so.
pub fn build(tree: &mut Tree, mut spool: Spool, volume: &Volume<'_>, cancel: &Cancel) -> Result<(), Ext4Error> {
    let (file, path, places) = spool.finish()?;
    if let Some(plan) = places.image()
        && let Some(layout) = fit(tree, plan, volume, cancel)?
    {
        effect::resize(file, plan.size).map_err(Ext4Error::io("resize", path))?;
        let mut sink = Sink::new(file);
        // Contents are there already, so the writer's work ends with the metadata.
        drop(layout.writer(&mut sink).map_err(Ext4Error::write(plan.size, path))?);
        sink.flush().map_err(Ext4Error::io("write", path))?;
        spool.keep();
        return Ok(());
    }
    let whole = path.with_extension("whole");
    let written = copy(tree, file, &whole, needed_size(tree), volume, cancel)
        .and_then(|()| effect::rename(&whole, path).map_err(Ext4Error::io("rename", &whole)));
    if written.is_err() {
        let _gone_or_swept_later = effect::remove(&whole);
    } else {
        spool.keep();
    }
    written
}

/// Writes a file system of `size` bytes to the new file `path`. The contents of `tree` are read from `contents`, and afterwards
/// say where in `path` they are.
///
/// # Errors
/// As [`build`]; the file is left behind then.
pub fn copy(
    tree: &mut Tree,
    contents: &File,
    path: &Path,
    size: u64,
    volume: &Volume<'_>,
    cancel: &Cancel,
) -> Result<(), Ext4Error> {
    let Declared { layout, files } = declare::seal(tree, &volume.writable(size), cancel)?;
    let file = effect::create(path).map_err(Ext4Error::io("make", path))?;
    effect::resize(&file, size).map_err(Ext4Error::io("resize", path))?;
    let mut sink = Sink::new(&file);
    let mut writer = layout.writer(&mut sink).map_err(Ext4Error::write(size, path))?;
    for (id, handle) in &files {
        if let Some(content) = tree.content(*id) {
            let mut reader = DataReader { inner: ContentReader::new(contents, content), content, cancel, piece: 0 };
            let filled = writer.fill(*handle, &mut reader);
            cancel.check()?;
            filled.map_err(Ext4Error::write(size, path))?;
        }
    }
    writer.finish().map_err(Ext4Error::write(size, path))?;
    sink.flush().map_err(Ext4Error::io("write", path))?;
    for (id, handle) in files {
        relocate(tree, id, &layout, handle);
    }
    Ok(())
}

/// A layout of the planned size that has all contents where the spool put them, if there is one.
fn fit(tree: &Tree, plan: &ImagePlan, volume: &Volume<'_>, cancel: &Cancel) -> Result<Option<Layout>, Ext4Error> {
    let mut journal = u64::from(MIN_JOURNAL);
    for _ in 0..TRIES {
        let blocks = u32::try_from(journal).unwrap_or(u32::MAX);
        let declared = match declare::seal(tree, &volume.options(plan.size, blocks), cancel) {
            Ok(declared) => declared,
            // Too little room. What else is wrong will be so in every layout.
            Err(Ext4Error::Layout { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let first = declared.files.iter().find_map(|(_, handle)| declared.layout.extents(*handle).first().copied());
        let Some(first) = first.map(|(byte, _)| byte / BLOCK as u64).filter(|block| *block != plan.data) else {
            return Ok(declared
                .files
                .iter()
                .all(|file| is_in_place(tree, &declared.layout, *file))
                .then_some(declared.layout));
        };
        journal = match plan.slack(first) {
            Some(slack) if slack > 0 => journal + slack,
            // The journal's own map took room.
            _ => match journal.checked_sub(plan.excess(first)) {
                Some(shorter) if shorter >= MIN_JOURNAL.into() => shorter,
                _ => return Ok(None),
            },
        };
    }
    Ok(None)
}

fn is_in_place(tree: &Tree, layout: &Layout, (id, handle): (InodeId, InodeHandle)) -> bool {
    let pieces = tree.content(id).into_iter().flat_map(|content| &content.pieces);
    joined(pieces.map(|piece| (piece.at, piece.length))).eq(joined(layout.extents(handle).into_iter()))
}

/// Ranges with those that touch made one.
fn joined(ranges: impl Iterator<Item = (u64, u64)>) -> impl Iterator<Item = (u64, u64)> {
    let mut ranges = ranges.peekable();
    std::iter::from_fn(move || {
        let (start, mut length) = ranges.next()?;
        while let Some((_, more)) = ranges.next_if(|(next, _)| *next == start + length) {
            length += more;
        }
        Some((start, length))
    })
}

/// Makes a file's pieces say where the layout has them.
fn relocate(tree: &mut Tree, id: InodeId, layout: &Layout, handle: InodeHandle) {
    let Some(content) = tree.content_mut(id) else { return };
    let mut extents = layout.extents(handle).into_iter();
    let (mut at, mut room) = (0, 0);
    let mut pieces = Vec::with_capacity(content.pieces.len());
    for piece in &content.pieces {
        let (mut offset, mut left) = (piece.offset, piece.length);
        while left > 0 {
            if room == 0 {
                let Some(next) = extents.next() else { break };
                (at, room) = next;
            }
            let length = left.min(room);
            pieces.push(Piece { offset, length, at });
            (offset, left, at, room) = (offset + length, left - length, at + length, room - length);
        }
    }
    content.pieces = pieces;
}

/// A file's data without its holes: what the writer wants to be filled with.
struct DataReader<'a> {
    inner: ContentReader<'a>,
    content: &'a Content,
    cancel: &'a Cancel,
    piece: usize,
}

impl Read for DataReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.cancel.check().map_err(io::Error::other)?;
        while let Some(piece) = self.content.pieces.get(self.piece) {
            let end = piece.offset + piece.length;
            self.inner.skip_to(piece.offset);
            let left = end - self.inner.position();
            if left > 0 {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                return self.inner.read(&mut buffer[..length]);
            }
            self.piece += 1;
        }
        Ok(0)
    }
}

/// A size that has room for everything, and for as much again of metadata as there usually is.
fn needed_size(tree: &Tree) -> u64 {
    let (mut inodes, mut data) = (0, 0);
    for (id, _) in tree.inodes() {
        inodes += 1;
        let pieces = tree.content(id).into_iter().flat_map(|content| &content.pieces);
        data += pieces.map(|piece| piece.length.next_multiple_of(BLOCK as u64)).sum::<u64>();
    }
    // An inode of 256 bytes per 8 KiB, a block for each folder, link or attribute that needs one, the journal.
    let size = data + data / 16 + inodes * 2 * BLOCK as u64 + (128 << 20);
    (size + size / 64).next_multiple_of(BLOCK as u64).max(MIN_SIZE)
}
