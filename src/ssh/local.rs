//! Commands on this machine itself (`ansible_connection: local`), in the same frame as on any other.

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::exchange::{ASKED_WITHIN, End, GRACE, Input, Said};
use super::frame::Frame;

/// Of the environment, who the user is.
const KEPT: [&str; 4] = ["HOME", "USER", "LOGNAME", "SHELL"];

/// A command that has ended may leave a child behind that holds its output open.
const AFTER_END: std::time::Duration = std::time::Duration::from_millis(200);

/// Runs to its end, or to the deadline: `None` then, and the command has been told to end.
pub(super) async fn run(frame: &Frame, most: u64, deadline: Instant) -> std::io::Result<(Option<End>, Said)> {
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(&frame.exec)
        // As a login over SSH would find it: what the operator has set for psql or sudo is not meant for the host.
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Its own group: Ctrl-C on the terminal is for muster, which lets steps finish.
        .process_group(0)
        .spawn()?;
    let mut said = Said::new(most);
    let end = timeout_at(deadline, talk(&mut child, frame, &mut said)).await;
    Ok(match end {
        Ok(end) => {
            let end = end?;
            if matches!(end, End::Full(_) | End::NobodyAsked) {
                stop(&mut child, &said).await;
            }
            (Some(end), said)
        }
        Err(_) => {
            stop(&mut child, &said).await;
            (None, said)
        }
    })
}

async fn talk(child: &mut Child, frame: &Frame, said: &mut Said) -> std::io::Result<End> {
    let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(ErrorKind::BrokenPipe.into());
    };
    let (mut input, mut to_write) = Input::new(frame);
    let write = async move {
        while let Some(bytes) = to_write.recv().await {
            // A command that has ended does not read: how it ended says the rest.
            if stdin.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::pin!(write);
    let (mut written, mut out_ended, mut err_ended) = (false, false, false);
    let (mut out, mut err) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut status: Option<ExitStatus> = None;
    let patience = sleep(ASKED_WITHIN);
    tokio::pin!(patience);
    while status.is_none() || !(out_ended && err_ended) {
        tokio::select! {
            biased;
            length = stdout.read(&mut out), if !out_ended => match length? {
                0 => out_ended = true,
                length => if let Err(full) = said.stdout.push(frame, &out[..length]) {
                    return Ok(End::Full(full));
                },
            },
            length = stderr.read(&mut err), if !err_ended => match length? {
                0 => err_ended = true,
                length => {
                    input.hear(&err[..length]);
                    said.stderr.push(&err[..length]);
                }
            },
            () = &mut write, if !written => written = true,
            () = &mut patience, if input.is_waiting() => return Ok(End::NobodyAsked),
            ended = child.wait(), if status.is_none() => status = Some(ended?),
            () = sleep(AFTER_END), if status.is_some() => break,
        }
    }
    Ok(match status.map(|status| (status.code(), status.signal())) {
        Some((Some(code), _)) => End::Status(u32::try_from(code).unwrap_or(255)),
        Some((None, Some(signal))) => {
            End::Signal(format!("signal {signal}"), u32::try_from(signal).unwrap_or(0))
        }
        Some((None, None)) | None => End::Closed,
    })
}

/// Tries to end a command nobody waits for any more: the group it runs in, which sudo may have made another.
async fn stop(child: &mut Child, said: &Said) {
    let own = child.id();
    for group in [said.stdout.group(), own].into_iter().flatten() {
        let kill = Command::new("/bin/sh")
            .args(["-c", "kill -s TERM -- \"-$1\"", "sh", &group.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let _ = timeout(GRACE, kill).await;
    }
    let _ = timeout(GRACE, child.wait()).await;
}
