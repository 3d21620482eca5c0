//! A line from the terminal itself, whatever standard input is: what is typed need not be seen.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::ask::Echo;

const TERMINAL: &str = "/dev/tty";

/// Whether there is a terminal to ask on.
pub(super) fn is_there() -> bool {
    open().is_ok()
}

/// Asks; blocks until the line is complete. `None`: no answer, Ctrl-C or the end of input.
pub(super) fn ask(question: &str, echo: Echo) -> std::io::Result<Option<Zeroizing<String>>> {
    let terminal = Quiet::begin()?;
    // Over a status line that may be there.
    write!(&terminal.file, "\r\x1b[K{question}")?;
    let said = read_line(&terminal.file, echo);
    let _ = (&terminal.file).write_all(b"\r\n");
    drop(terminal);
    match said? {
        Said::Line(line) => Ok(Some(line)),
        Said::Nothing => Ok(None),
        Said::Interrupt => {
            // Signals are off while the terminal is ours, or it would stay silent after the end of this process. The
            // operator means the run, not only this question.
            let _ = kill_process(getpid(), Signal::INT);
            Ok(None)
        }
    }
}

fn open() -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).open(TERMINAL)
}

/// The terminal gives every key at once and shows none, until this is dropped.
struct Quiet {
    file: File,
    before: Termios,
}

impl Quiet {
    fn begin() -> std::io::Result<Quiet> {
        let file = open()?;
        let before = tcgetattr(&file)?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        // What was typed before the question is no answer to it.
        tcsetattr(&file, OptionalActions::Flush, &quiet)?;
        Ok(Quiet { file, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.file, OptionalActions::Flush, &self.before);
    }
}

enum Said {
    Line(Zeroizing<String>),
    Nothing,
    Interrupt,
}

fn read_line(mut terminal: &File, echo: Echo) -> std::io::Result<Said> {
    /// sshd takes no longer ones; room for all of it, so that no copy stays behind in memory.
    const LONGEST: usize = 1024;
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST));
    let mut byte = Zeroizing::new([0u8]);
    loop {
        if terminal.read(byte.as_mut())? == 0 {
            return Ok(Said::Nothing);
        }
        let shown: &[u8] = match byte[0] {
            b'\r' | b'\n' => {
                return Ok(Said::Line(Zeroizing::new(String::from_utf8_lossy(&line).into_owned())));
            }
            3 => return Ok(Said::Interrupt),
            4 if line.is_empty() => return Ok(Said::Nothing),
            // Backspace takes a whole character.
            8 | 127 => match line.iter().rposition(|byte| byte & 0xc0 != 0x80) {
                Some(start) => {
                    line.truncate(start);
                    b"\x08 \x08"
                }
                None => b"",
            },
            // Ctrl-U: from the beginning.
            21 => {
                line.clear();
                b""
            }
            0..32 => b"",
            typed if line.len() < LONGEST => {
                line.push(typed);
                byte.as_slice()
            }
            _ => b"",
        };
        if echo == Echo::Shown {
            terminal.write_all(shown)?;
        }
    }
}
