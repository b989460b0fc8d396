//! The user's terminal: whether the command gets one, how large it is, and its raw mode.

use banger_model::wire::guest::TtySize;
use rustix::{
    stdio::{stderr, stdin, stdout},
    termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr},
};
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

/// What a terminal's size is when nobody can tell.
const FALLBACK: TtySize = TtySize { rows: 24, cols: 80 };

/// Whether the command should have a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TtyWish {
    /// When stdin, stdout and stderr all are terminals, so that nothing is lost by making them one.
    #[default]
    Auto,
    /// In any case.
    Always,
    /// In no case.
    Never,
}

/// A terminal for the command. Ours is behind it, unless the user insisted on one where there is none.
#[derive(Debug, Clone)]
pub(crate) struct Terminal {
    /// The mode of our stdin before we touched it; none when it is no terminal.
    cooked: Option<Arc<Termios>>,
    /// Whether our stdin is raw now. Shared with the signal task, which gives the terminal back while we are stopped.
    is_raw: Arc<Mutex<bool>>,
}

impl Terminal {
    /// A terminal if there should be one.
    pub(super) fn wanted(wish: TtyWish) -> io::Result<Option<Self>> {
        let wanted = match wish {
            TtyWish::Always => true,
            TtyWish::Never => false,
            TtyWish::Auto => isatty(stdin()) && isatty(stdout()) && isatty(stderr()),
        };
        if !wanted {
            return Ok(None);
        }
        let cooked = if isatty(stdin()) { Some(Arc::new(tcgetattr(stdin())?)) } else { None };
        Ok(Some(Self { cooked, is_raw: Arc::default() }))
    }

    /// As large as ours.
    pub(super) fn size(&self) -> TtySize {
        let size = [tcgetwinsize(stdin()), tcgetwinsize(stdout())].into_iter().flatten().find(|size| size.ws_row > 0);
        size.map_or(FALLBACK, |size| TtySize { rows: size.ws_row, cols: size.ws_col })
    }

    /// Every key goes to the command, until the guard is dropped.
    pub(super) fn raw(&self) -> io::Result<RawMode> {
        let guard = RawMode { terminal: self.clone() };
        self.set(true)?;
        Ok(guard)
    }

    /// Gives the terminal back to the shell that stopped us. Returns whether it was ours.
    pub(super) fn suspend(&self) -> bool {
        let was_raw = *self.is_raw.lock().unwrap_or_else(PoisonError::into_inner);
        was_raw && self.set(false).is_ok()
    }

    /// Takes it again.
    pub(super) fn resume(&self) {
        // It may have gone while we were stopped; reading it will tell.
        let _ = self.set(true);
    }

    fn set(&self, raw: bool) -> io::Result<()> {
        let Some(cooked) = &self.cooked else { return Ok(()) };
        let mut is_raw = self.is_raw.lock().unwrap_or_else(PoisonError::into_inner);
        let mut mode = Termios::clone(cooked);
        if raw {
            mode.make_raw();
        }
        // Output first: what the command wrote is shown in the mode that it was written for.
        tcsetattr(stdin(), OptionalActions::Drain, &mode)?;
        *is_raw = raw;
        Ok(())
    }
}

/// Our stdin is raw as long as this lives, a panic included.
#[derive(Debug)]
pub(crate) struct RawMode {
    terminal: Terminal,
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // The terminal may be gone, and then there is nothing to restore.
        let _ = self.terminal.set(false);
    }
}
