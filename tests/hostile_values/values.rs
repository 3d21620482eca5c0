//! What is hostile, and where it is put.

/// Whatever has a meaning somewhere between an inventory and a server.
pub(crate) fn hostile() -> Vec<String> {
    let mut values: Vec<String> = [
        "'",
        "\"",
        "`",
        "\\",
        "$(touch /x)",
        "`touch /x`",
        ";",
        "'; drop table t; --",
        "\"; drop table t; --",
        "{{ 7*7 }}",
        "{%",
        "{#",
        "%",
        "%s",
        "%h",
        "%n",
        "\\n",
        "\\'",
        "#",
        "a # b",
        "=",
        "a=b",
        "a host=evil",
        "-",
        "--",
        "-rf",
        " a",
        "a ",
        "a b",
        "*",
        "?",
        "~",
        "~root",
        "$HOME",
        "${HOME}",
        "&&",
        "& a",
        "|",
        ">",
        "<(a)",
        "!",
        "[a]",
        "(a)",
        ",",
        "a,b",
        ":",
        "::",
        "/",
        "..",
        "a/../b",
        "@",
        "a@b",
        "\n",
        "a\nb",
        "\r",
        "\t",
        "a\tb",
        "\0",
        "a\0b",
        "\u{1b}[2J",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "e\u{301}",
        "\u{202e}a",
        "\u{2066}a",
        "🐘",
        "\u{a0}",
        "a\u{a0}",
        "\u{200b}",
        "\u{feff}",
        "",
        "true",
        "null",
        "1e309",
        "0x1F",
        "-1",
        "99999999999999999999",
        ":'a'",
        ":a",
        "\\gexec",
        "\\! touch /x",
        "$1",
        "$$",
        "$a$",
        "E'",
        "/*",
        "--a",
        "postgres://evil/a",
        "all",
        "samenet",
        ".a",
        "+a",
        "/^a",
        "'a' 'b'",
        "''",
        "\"\"",
        "\\\\",
        "a\\",
        "EOF",
        "SQL",
        "é",
    ]
    .map(str::to_owned)
    .into();
    values.push("a".repeat(10_000));
    values.push("'$(touch /x)\" ".repeat(700));
    values
}

/// A variable, the shape of the inventory it is tried in, and the text around the hostile part: `§`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) variable: &'static str,
    pub(crate) shape: Shape,
    pub(crate) around: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    /// Two standalone nodes with passwords.
    Plain,
    /// Citus with a read replica and certificates of the operator's.
    Citus,
    /// A monitor of somebody else's.
    External,
}

use Shape::{Citus, External, Plain};

const fn spot(variable: &'static str, shape: Shape, around: &'static str) -> Spot {
    Spot { variable, shape, around }
}

/// Every variable that holds text, as often as there are places for text in it. `name` and the like are one host's.
pub(crate) const SPOTS: &[Spot] = &[
    spot("formation", Plain, "§"),
    spot("dbname", Plain, "§"),
    spot("username", Plain, "§"),
    spot("pgdata", Plain, "/data/§/main"),
    spot("pgctl", Plain, "/opt/§/pg_ctl"),
    spot("pghost", Plain, "/run/§"),
    spot("listen", Plain, "§"),
    spot("name", Plain, "§"),
    spot("hostname", Plain, "§"),
    spot("ansible_host", Plain, "§"),
    spot("sans", Plain, "§"),
    spot("encoding", Plain, "§"),
    spot("locale", Plain, "§"),
    spot("become_user", Plain, "§"),
    spot("maximum_backup_rate", Plain, "§"),
    spot("password", Plain, "§"),
    spot("replication_password", Plain, "§"),
    spot("monitor_password", Plain, "§"),
    spot("settings", Plain, "§"),
    spot("hba", Plain, "hostssl \"§\" all 10.0.0.0/8 reject"),
    spot("ansible_user", Plain, "§"),
    spot("ansible_password", Plain, "§"),
    spot("ansible_become_password", Plain, "§"),
    spot("auth", Citus, "ldap ldapserver=§"),
    spot("citus_cluster", Citus, "§"),
    spot("server_cert", Citus, "/etc/§/server.crt"),
    spot("server_key", Citus, "/etc/§"),
    spot("ssl_ca_file", Citus, "/etc/§/ca.crt"),
    spot("ssl_crl_file", Citus, "/etc/§.crl"),
    spot("hostname", Citus, "§"),
    spot("dbname", Citus, "§"),
    spot("username", Citus, "§"),
    spot("formation", Citus, "§"),
    spot("pgdata", Citus, "/data/§/main"),
    spot("monitor", External, "postgres://u:§@m/d"),
    spot("monitor", External, "postgres://u§@m/d"),
    spot("monitor", External, "postgres://u@m/d§"),
    spot("monitor", External, "postgres://u@§/d"),
    spot("monitor", External, "postgres://u@m/d?sslrootcert=/etc/§&sslmode=verify-ca"),
    spot("formation", External, "§"),
    spot("dbname", External, "§"),
];

/// The value where it means itself in that place: words of an authentication method stay words, `//` in a path is `/`, and what
/// parts a URI parts it.
pub(crate) fn fitting(spot: Spot, value: &str) -> String {
    let value = match spot.variable {
        "auth" => value.replace([' ', ',', '"'], "_"),
        "pgdata" => value.replace("//", "/").trim_matches('/').to_owned(),
        // An address is written with the length of its network in pg_hba.conf.
        "hostname" | "ansible_host" => value.replace("::", "_"),
        "monitor" if spot.around.contains("@§") => value.replace(['/', '?', '@', ':', '[', ']', ','], "_"),
        _ => return value.to_owned(),
    };
    if value.is_empty() { "_".to_owned() } else { value }
}

/// So is the text with the hostile part in it; of a URI it is written `%XX`.
pub(crate) fn filled(spot: Spot, value: &str) -> String {
    let encoded = || -> String { value.bytes().map(|byte| format!("%{byte:02X}")).collect() };
    // The host is no part that may be encoded.
    let value = match spot.variable == "monitor" && !spot.around.contains("@§") {
        true => encoded(),
        false => value.to_owned(),
    };
    spot.around.replace('§', &value)
}
