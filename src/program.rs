//! Programs on this machine that are asked for something: run to their end, within a time limit.

use std::io::{self, Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use zeroize::{Zeroize as _, Zeroizing};

/// How long a program may take: an operator may have to type a PIN, or to touch a key.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Most that is read of an answer.
pub const MOST_BYTES: u64 = 16 << 20;

/// What a program said in the end; its output is wiped from memory after use.
pub struct Said {
    pub status: ExitStatus,
    pub stdout: Zeroizing<Vec<u8>>,
    /// Empty where it went to the terminal.
    pub stderr: Zeroizing<Vec<u8>>,
}

/// Why a program has no answer.
pub enum Silent {
    CannotStart(io::Error),
    /// "did not end within 120 seconds"
    Failed(String),
}

/// Runs it with nothing to read; standard error is kept unless it was set to something else.
pub fn run(command: &mut Command, patience: Duration, errors: Errors) -> Result<Said, Silent> {
    command.stdin(Stdio::null());
    ended(command, &[], patience, errors)
}

/// As [`run`], with something to read.
pub fn run_with(
    command: &mut Command,
    input: &[u8],
    patience: Duration,
    errors: Errors,
) -> Result<Said, Silent> {
    command.stdin(Stdio::piped());
    ended(command, input, patience, errors)
}

fn ended(command: &mut Command, input: &[u8], patience: Duration, errors: Errors) -> Result<Said, Silent> {
    let stderr = match errors {
        Errors::Kept => Stdio::piped(),
        Errors::Shown => Stdio::inherit(),
    };
    command.stdout(Stdio::piped()).stderr(stderr);
    let mut child = command.spawn().map_err(Silent::CannotStart)?;
    if let Some(mut pipe) = child.stdin.take() {
        let input = input.to_vec();
        // One that does not read must not be waited for, and need not read.
        thread::spawn(move || pipe.write_all(&input));
    }
    let (out, err) = (Drain::of(child.stdout.take()), Drain::of(child.stderr.take()));
    let status = wait(&mut child, patience).map_err(Silent::Failed)?;
    let (stdout, stderr) = (out.bytes(), err.bytes());
    match stdout.len() as u64 > MOST_BYTES {
        true => Err(Silent::Failed("answers with too much".to_owned())),
        false => Ok(Said { status, stdout, stderr }),
    }
}

/// Where a program's standard error goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Errors {
    Kept,
    /// To the operator at once: it may be a question.
    Shown,
}

impl Said {
    /// The last lines of standard error, trimmed, without empty ones.
    pub fn last_errors(&self) -> Vec<String> {
        const LINES: usize = 5;
        let text = String::from_utf8_lossy(&self.stderr);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(LINES)..].iter().map(|line| (*line).to_owned()).collect()
    }
}

/// Reads to the end, so that the program never waits for a reader; keeps what may be kept.
struct Drain {
    read: Arc<Mutex<Zeroizing<Vec<u8>>>>,
    reader: thread::JoinHandle<()>,
}

impl Drain {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        const CHUNK: usize = 8192;
        // Room for every password: what grows leaves copies behind.
        let read = Arc::new(Mutex::new(Zeroizing::new(Vec::with_capacity(CHUNK))));
        let kept = read.clone();
        let reader = thread::spawn(move || {
            let Some(mut pipe) = pipe else { return };
            let mut buffer = [0; CHUNK];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() as u64 <= MOST_BYTES {
                    kept.extend_from_slice(&buffer[..count]);
                }
            }
            buffer.zeroize();
        });
        Drain { read, reader }
    }

    /// What the program said. What it has left behind, e.g. a shared connection of ssh, may hold the pipe for hours.
    fn bytes(self) -> Zeroizing<Vec<u8>> {
        const GRACE: Duration = Duration::from_secs(1);
        let ended = Instant::now();
        while !self.reader.is_finished() && ended.elapsed() < GRACE {
            thread::sleep(Duration::from_millis(1));
        }
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *read)
    }
}

fn wait(child: &mut Child, patience: Duration) -> Result<ExitStatus, String> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Ok(status);
        }
        if started.elapsed() > patience {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("did not end within {} seconds", patience.as_secs()));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
