//! The folder on this machine for what muster makes for a formation and the operator keeps: passwords, a CA.

use std::path::{Path, PathBuf};

use crate::error::Problem;
use crate::formation::{Formation, Monitor};

/// Where programs keep their data on this machine.
#[derive(Clone, Debug, Default)]
pub struct Env {
    /// `$XDG_DATA_HOME`; counts where it is absolute.
    pub data_home: Option<PathBuf>,
    pub home: Option<PathBuf>,
}

impl Env {
    pub fn of_this_process() -> Env {
        Env { data_home: std::env::var_os("XDG_DATA_HOME").map(PathBuf::from), home: std::env::home_dir() }
    }
}

/// `muster/MONITORHOST-FORMATION` below the folder for data. It need not be there.
///
/// # Errors
/// Nothing says where this user keeps data.
pub fn of(monitor_hostname: &str, formation: &str, env: &Env) -> Result<PathBuf, Problem> {
    // Source: the XDG Base Directory Specification; paths that are not absolute are to be ignored.
    let given = env.data_home.as_deref().filter(|path| path.is_absolute()).map(Path::to_owned);
    let of_home =
        || env.home.as_deref().filter(|path| path.is_absolute()).map(|home| home.join(".local/share"));
    let Some(data) = given.or_else(of_home) else {
        let problem = Problem::new("this user has no home folder, in which muster could keep what it makes");
        return Err(problem.hint("set XDG_DATA_HOME to an absolute path, or name a folder in the inventory"));
    };
    Ok(data.join("muster").join(format!("{}-{}", in_a_name(monitor_hostname), in_a_name(formation))))
}

/// The same for a formation: its monitor's `hostname`, or the host in an existing monitor's URI.
///
/// # Errors
/// As [`of`].
pub fn of_formation(formation: &Formation, env: &Env) -> Result<PathBuf, Problem> {
    let monitor = match &formation.monitor {
        Monitor::Managed(server) => &server.hostname,
        Monitor::External(uri) => &uri.host,
    };
    of(monitor, &formation.name, env)
}

/// As a part of a file's name: everything but letters, digits, `.`, `_` and `-` as `%` and two digits a byte.
fn in_a_name(text: &str) -> String {
    text.bytes().fold(String::new(), |mut name, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            // Nor is the name hidden, or another folder's.
            b'.' if !name.is_empty() => name.push('.'),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
        name
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_below_the_users_data_and_nowhere_else() {
        let env = |data_home: Option<&str>, home: Option<&str>| Env {
            data_home: data_home.map(PathBuf::from),
            home: home.map(PathBuf::from),
        };
        let of = |host, formation, env: &Env| of(host, formation, env).unwrap().display().to_string();
        let home = env(None, Some("/home/ann"));
        for (host, formation, env, expected) in [
            ("mon1.db.example", "default", &home, "/home/ann/.local/share/muster/mon1.db.example-default"),
            ("m", "f", &env(Some("/data"), Some("/home/ann")), "/data/muster/m-f"),
            ("m", "f", &env(Some("data"), Some("/home/ann")), "/home/ann/.local/share/muster/m-f"),
            ("m", "f", &env(Some(""), Some("/home/ann")), "/home/ann/.local/share/muster/m-f"),
            ("fe80::1", "../../x y", &home, "/home/ann/.local/share/muster/fe80%3A%3A1-%2E.%2F..%2Fx%20y"),
            ("..", "ü", &home, "/home/ann/.local/share/muster/%2E.-%C3%BC"),
        ] {
            assert_eq!(of(host, formation, env), expected);
        }
        for env in [env(None, None), env(Some("data"), Some(""))] {
            assert!(super::of("m", "f", &env).unwrap_err().to_string().contains("XDG_DATA_HOME"));
        }
    }
}
