//! One direction of the relay: a bounded buffer of frames on their way.
//!
//! Owns the framing of QEMU's and `passt`'s stream sockets: each Ethernet frame behind its length, four bytes, big endian.
//! Both sides speak it, so a frame that passes leaves as it came, where it lies. Sans-IO: whoever uses it reads into
//! [`Lane::space`] and sends from [`Lane::waiting`] or [`Lane::batch`].

/// The longest frame that is taken, in bytes; neither QEMU's guests nor `passt` have a longer one.
pub(crate) const MAX_FRAME: usize = 65550;
const LENGTH_LEN: usize = 4;

/// Bytes that are no frames. The stream is of no further use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes is announced, longer than the {MAX_FRAME} allowed")]
pub(crate) struct TooLong(u32);

/// Frames in a row: `sent <= judged <= filled`. What is between the first two may leave, what is between the last two is
/// not judged yet. After [`Lane::sift`] that is less than one frame.
#[derive(Debug)]
pub(crate) struct Lane {
    buffer: Box<[u8]>,
    sent: usize,
    judged: usize,
    filled: usize,
    /// Bytes from `sent` to the end of the frame that it is inside of; zero between frames.
    rest: usize,
}

impl Lane {
    /// An empty lane that holds that many bytes, but at least one frame.
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(LENGTH_LEN + MAX_FRAME);
        Self { buffer: vec![0; capacity].into_boxed_slice(), sent: 0, judged: 0, filled: 0, rest: 0 }
    }

    /// Where to read into; empty when the lane is full.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        let nothing_waits = self.sent == self.judged;
        let little_room = self.buffer.len() - self.filled < self.buffer.len() / 4;
        if self.sent > 0 && (nothing_waits || (little_room && self.sent > self.buffer.len() / 4)) {
            self.move_down();
        }
        &mut self.buffer[self.filled..]
    }

    /// Takes in that many bytes, which were read into [`Lane::space`].
    pub(crate) fn fill(&mut self, read: usize) {
        self.filled = (self.filled + read).min(self.buffer.len());
    }

    /// Has every whole new frame judged, and changed in place if need be; those for which `passes` is false are taken out.
    pub(crate) fn sift(&mut self, mut passes: impl FnMut(&mut [u8]) -> bool) -> Result<(), TooLong> {
        let mut at = self.judged;
        while let Some(end) = self.frame_end(at)? {
            if passes(&mut self.buffer[at + LENGTH_LEN..end]) {
                if at != self.judged {
                    self.buffer.copy_within(at..end, self.judged);
                }
                self.judged += end - at;
            }
            at = end;
        }
        if at != self.judged {
            self.buffer.copy_within(at..self.filled, self.judged);
            self.filled -= at - self.judged;
        }
        Ok(())
    }

    /// Puts a frame of our own behind those that wait. False if there is no room for it now.
    pub(crate) fn inject(&mut self, frame: &[u8]) -> bool {
        let needed = LENGTH_LEN + frame.len();
        let Ok(length) = u32::try_from(frame.len()) else { return false };
        if self.buffer.len() - self.filled < needed {
            self.move_down();
        }
        if frame.len() > MAX_FRAME || self.buffer.len() - self.filled < needed {
            return false;
        }
        self.buffer.copy_within(self.judged..self.filled, self.judged + needed);
        let (header, body) = self.buffer[self.judged..self.judged + needed].split_at_mut(LENGTH_LEN);
        header.copy_from_slice(&length.to_be_bytes());
        body.copy_from_slice(frame);
        self.judged += needed;
        self.filled += needed;
        true
    }

    /// All that may be sent.
    pub(crate) fn waiting(&self) -> &[u8] {
        &self.buffer[self.sent..self.judged]
    }

    /// What may be sent at once if the receiver must not see a header in two parts: the rest of a frame that was begun, or
    /// else whole frames of together at most `limit` bytes, or one longer frame.
    pub(crate) fn batch(&self, limit: usize) -> &[u8] {
        let mut end = self.sent + self.rest;
        if self.rest == 0 {
            while let Some(next) = self.judged_end(end) {
                if end > self.sent && next - self.sent > limit {
                    break;
                }
                end = next;
            }
        }
        &self.buffer[self.sent..end]
    }

    /// Takes out that many bytes, which were sent.
    pub(crate) fn drain(&mut self, sent: usize) {
        let end = (self.sent + sent).min(self.judged);
        while self.sent < end {
            if self.rest == 0 {
                self.rest = self.judged_end(self.sent).map_or(0, |next| next - self.sent);
            }
            let step = self.rest.min(end - self.sent).max(1);
            self.sent += step;
            self.rest = self.rest.saturating_sub(step);
        }
    }

    fn move_down(&mut self) {
        self.buffer.copy_within(self.sent..self.filled, 0);
        self.judged -= self.sent;
        self.filled -= self.sent;
        self.sent = 0;
    }

    /// Where the frame that begins at `at` ends, if all of it is there.
    fn frame_end(&self, at: usize) -> Result<Option<usize>, TooLong> {
        let Some(header) = self.buffer[at..self.filled].first_chunk::<LENGTH_LEN>() else { return Ok(None) };
        let announced = u32::from_be_bytes(*header);
        let length = usize::try_from(announced).ok().filter(|length| *length <= MAX_FRAME).ok_or(TooLong(announced))?;
        let end = at + LENGTH_LEN + length;
        Ok((end <= self.filled).then_some(end))
    }

    /// Where the judged frame that begins at `at` ends; none behind the last one.
    fn judged_end(&self, at: usize) -> Option<usize> {
        self.frame_end(at).ok().flatten().filter(|end| *end <= self.judged)
    }
}

#[cfg(test)]
mod tests;
