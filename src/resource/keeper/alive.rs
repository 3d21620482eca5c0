//! Waiting for a pg_autoctl that has just been started, as long as there is anything to wait for.

use crate::command::{Command, RunAs};
use crate::formation::Server;
use crate::op::{Op, Wait};
use crate::step::{Action, Step};

use super::{KeeperFacts, unit, waiting};

/// `$1` PGDATA, `$2` its unit, empty without systemd, `$3` files that change how that one starts, empty where there are none. pg_autoctl
/// writes its pid file, then its services' pids as they start. Its exit codes do not tell what passes by itself, but for its guard's; those
/// from 200 on are systemd's own, of a program that it could not begin. Source: systemd.exec(5), "Process Exit Codes".
const ALIVE: &str = r#"k=$(head -n 1 "/tmp/pg_autoctl$1/pg_autoctl.pid" 2>/dev/null) || k=
if [ -n "$k" ] && kill -0 "$k" 2>/dev/null && [ "$(wc -l <"/tmp/pg_autoctl$1/pg_autoctl.pid")" -ge 6 ]; then echo alive; exit 0; fi
state= sub= status=0 restarts=0
if [ -n "$2" ]; then
  while IFS='=' read -r key value; do
    case $key in
    ActiveState) state=$value ;;
    SubState) sub=$value ;;
    ExecMainStatus) status=$value ;;
    NRestarts) restarts=$value ;;
    esac
  done <<SHOW
$(systemctl show -p ActiveState -p SubState -p ExecMainStatus -p NRestarts "$2" 2>/dev/null)
SHOW
fi
why=
if [ "$state" = failed ]; then why="has failed"
elif [ "$sub" != auto-restart ]; then :
elif [ "$status" -ge 200 ] && [ "$status" -le 245 ]; then why="cannot be begun"
elif [ -n "$3" ] && [ "$restarts" -ge 5 ]; then why="ends again and again"; fi
if [ -z "$why" ]; then echo no; exit 0; fi
# What root alone may read of the log is told where to look for.
said=$(systemctl status -l -n 0 --no-pager "$2" 2>/dev/null | sed -n 's/^ *Process: [0-9]* \(ExecStart=\)/\1/p' | tail -n 1) || :
echo "$2 $why: ${said:-status $status}${3:+; $3 changes how it starts}; see \`journalctl -u $2\` on its host" >&2
journalctl -q -o cat -n 5 -u "$2" 2>/dev/null >&2 || :
exit 69
"#;

/// Waits until it runs; ends where its unit does not get it to.
pub(super) fn wait(server: &Server, facts: &KeeperFacts, systemd: bool) -> Step {
    let unit = if systemd { unit(server) } else { String::new() };
    let args = [server.pgdata.clone(), unit, facts.drop_ins.join(", ")];
    let command = Command::new(RunAs::User(server.os_user.clone()), ALIVE).args(args);
    let because = waiting(server, facts).unwrap_or_else(|| "it has just been started".to_owned());
    let wait = Action::Wait { command, answers: vec!["alive".to_owned()], timeout: 60 };
    Step::new(&server.name, Op::Wait(Wait::KeeperRuns), &because, wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::IN_VAIN;

    /// What is answered where systemd shows this of a unit, and how that ends.
    fn asked(shown: &str, drop_ins: &str) -> (Option<i32>, String) {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let status = "echo '    Process: 812 ExecStart=/nope run (code=exited, status=203/EXEC)'";
        for (name, text) in [
            ("systemctl", format!("case $1 in show) printf '{shown}' ;; status) {status} ;; esac")),
            ("journalctl", "exit 1".to_owned()),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("it can be written");
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .expect("ours");
        }
        let output = std::process::Command::new("sh")
            .args(["-euc", ALIVE, "sh", "/no/such", "u.service", drop_ins])
            .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
            .output()
            .expect("there is a shell");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).expect("it is text").trim_end().to_owned())
    }

    #[test]
    fn a_unit_that_does_not_begin_is_not_waited_for() {
        let vain = i32::try_from(IN_VAIN).ok();
        let look = "see `journalctl -u u.service` on its host";
        let of = "ExecStart=/nope run (code=exited, status=203/EXEC)";
        let failed = "ActiveState=failed\\nSubState=failed\\nExecMainStatus=78\\nNRestarts=0\\n";
        assert_eq!(asked(failed, ""), (vain, format!("u.service has failed: {of}; {look}")));
        let again = |status: u32, restarts: u32| {
            format!(
                "NRestarts={restarts}\\nExecMainStatus={status}\\nActiveState=activating\\nSubState=auto-restart\\n"
            )
        };
        let told = format!("u.service cannot be begun: {of}; /x.conf changes how it starts; {look}");
        assert_eq!(asked(&again(203, 1), "/x.conf"), (vain, told));
        let no = (Some(0), "no".to_owned());
        assert_eq!(asked(&again(1, 9), ""), no, "its reason may pass");
        assert_eq!(asked(&again(1, 1), "/x.conf"), no);
        assert_eq!(asked(&again(1, 5), "/x.conf").0, vain);
        assert_eq!(
            asked("ActiveState=active\\nSubState=running\\nExecMainStatus=0\\nNRestarts=9\\n", ""),
            no
        );
        assert_eq!(asked("", ""), no, "nobody can say");
    }
}
