#!/usr/bin/env bash
# Two Rust readers of ssh_config, russh-config 0.58.0 (made beside russh) and ssh2-config 0.9.0, and `ssh -G` as the reference.
#
# Guess before the run: neither knows `Match`, and both skip such a block; the first value of a keyword counts, as the manual says.
# Seen:
#   both: the `Match` line alone is skipped, and the lines under it go to the `Host` block above, whatever the condition says. There the
#     last value counts, not the first: with `Host a`, `User u`, `Match host b`, `User x` the user for a is x. ssh says u.
#   russh-config: `Port 2222 # office` and `Port=23` give no port, without an error. `User = z` gives the user "= z". Quotes stay in the value.
#     A keyword before the first Host is an error: HostNotFound.
#   ssh2-config: `ServerAliveInterval 5m` fails the whole file.
# Exit code 0 while that is so; 1 if a release behaves otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cd "$work"
cat >Cargo.toml <<'TOML'
[package]
name = "readers"
version = "0.1.0"
edition = "2021"

[dependencies]
russh-config = "=0.58.0"
ssh2-config = "=0.9.0"
TOML
cat >src/main.rs <<'RUST'
use ssh2_config::{ParseRule, SshConfig};

fn russh(text: &str) -> String {
    match russh_config::parse(text, "a") {
        Ok(found) => format!("{:?} {:?}", found.host_config.user, found.host_config.port),
        Err(error) => format!("{error:?}"),
    }
}

fn ssh2(text: &str) -> String {
    let mut reader = std::io::BufReader::new(text.as_bytes());
    match SshConfig::default().parse(&mut reader, ParseRule::ALLOW_UNKNOWN_FIELDS) {
        Ok(config) => format!("{:?} {:?}", config.query("a").user, config.query("a").port),
        Err(error) => error.to_string(),
    }
}

fn main() {
    let matching = "Host a\n User u\nMatch host b\n User x\n";
    let rows = [
        ("russh-config", russh as fn(&str) -> String, matching, "Some(\"x\") None"),
        ("ssh2-config", ssh2, matching, "Some(\"x\") None"),
        ("russh-config", russh, "Host a\n Port 2222 # office\n", "None None"),
        ("russh-config", russh, "Host a\n Port=23\n User = z\n", "Some(\"= z\") None"),
        ("russh-config", russh, "Host a\n User \"x y\"\n", "Some(\"\\\"x y\\\"\") None"),
        ("russh-config", russh, "User g\nHost a\n Port 23\n", "HostNotFound"),
        ("ssh2-config", ssh2, "Host a\n ServerAliveInterval 5m\n", "expected unsigned value"),
    ];
    let mut changed = 0;
    for (name, read, text, recorded) in rows {
        let seen = read(text);
        changed += usize::from(seen != recorded);
        println!("{name}: {text:?} gives {seen}{}", if seen == recorded { "" } else { ", recorded was otherwise" });
    }
    assert_eq!(changed, 0, "some behave otherwise than recorded");
}
RUST
printf 'Host a\n User u\nMatch host b\n User x\n' >config
user=$(ssh -T -G -F config a | sed -n 's/^user //p')
echo "ssh -G: the user of a is $user"
[ "$user" = u ]
cargo run -q
echo "as recorded"
