//! The operator's terminal handed to a program on a host: every key goes there, and what it says comes back as it is.

use std::io::{IsTerminal as _, stdin, stdout};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Whether somebody types and reads here.
pub fn is_interactive() -> bool {
    stdin().is_terminal() && stdout().is_terminal()
}

/// A terminal that gives every key at once, Ctrl-C too, and shows none, until this is dropped.
pub struct Raw {
    before: Termios,
}

/// Of a terminal, in characters and pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub columns: u32,
    pub rows: u32,
    pub width: u32,
    pub height: u32,
}

impl Raw {
    pub fn begin() -> std::io::Result<Raw> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        // What was typed ahead is for the host.
        tcsetattr(stdin(), OptionalActions::Drain, &raw)?;
        Ok(Raw { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.before);
    }
}

/// As it is now; all 0, which is "unknown" to a host, where it cannot be asked.
pub fn size() -> Size {
    let size = tcgetwinsize(stdin());
    size.map_or_else(
        |_| Size::default(),
        |size| Size {
            columns: size.ws_col.into(),
            rows: size.ws_row.into(),
            width: size.ws_xpixel.into(),
            height: size.ws_ypixel.into(),
        },
    )
}
