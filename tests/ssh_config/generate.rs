//! Configurations made by chance: few names and many rules, so that they meet.

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::Case;

const HOSTS: [&str; 8] = ["db1", "db2", "DB1", "web.example", "10.0.0.1", "::1", "db-3.example.com", "a"];
const PATTERNS: [&str; 14] = [
    "*",
    "db*",
    "db?",
    "!db2",
    "!db*",
    "db1",
    "*.example",
    "*.example.com",
    "10.*",
    "web.*",
    "?",
    "*1",
    "DB1",
    "!*.com",
];
const USERS: [&str; 5] = ["root", "ana", "admin", "DOMAIN\\\\ana", "postgres"];
/// A keyword and values; some are wrong.
const KEYWORDS: &[(&str, &[&str])] = &[
    ("HostName", &["10.0.0.7", "%h.example", "Real.Example", "db2", "%%x", "127.1", "fe80::2", "%n"]),
    ("User", &USERS),
    ("Port", &["22", "2222", "0", "65535", "65536", "ssh", "x", "\"2022\"", "+23"]),
    (
        "IdentityFile",
        &["~/.ssh/a", "/k/%h", "~/.ssh/%r@%n", "none", "\"/with space/k\"", "~root/k", "/k/%p/%u/%i"],
    ),
    ("CertificateFile", &["/c/%h-cert.pub", "~/.ssh/c", "/c/%%"]),
    ("IdentitiesOnly", &["yes", "no", "TRUE", "maybe"]),
    (
        "IdentityAgent",
        &["none", "SSH_AUTH_SOCK", "/run/%u", "$NOT_SET_ANYWHERE", "~/agent", "${CARGO_PKG_NAME}"],
    ),
    ("ProxyJump", &["none", "b1", "u@b1:2022,b2", "[::1]:22", "ssh://u@b3:4", "b1,", "b:0"]),
    ("ProxyCommand", &["none", "nc %h %p", "nc -X 5 %r@%n %%", "sh -c 'x' # y", "nc \"%h\""]),
    ("HostKeyAlias", &["Alias", "%h", "db"]),
    (
        "UserKnownHostsFile",
        &["none", "~/kh /kh2", "/kh/%k", "\"/a b\" /c", "/kh/%n.%p", "/${CARGO_PKG_NAME}/%L"],
    ),
    ("GlobalKnownHostsFile", &["none", "/g1 /g2", "~/g"]),
    ("StrictHostKeyChecking", &["yes", "no", "ask", "accept-new", "off", "Accept-New", "sometimes"]),
    ("ConnectTimeout", &["5", "1m", "none", "0", "1h2m3s", "-1", "5x"]),
    ("ServerAliveInterval", &["5", "1m30", "0", "none", "1.5"]),
    ("ServerAliveCountMax", &["0", "5", "-2", "2147483647", "2147483648"]),
    ("AddressFamily", &["any", "inet", "inet6", "INET", "ipv4"]),
    ("BindAddress", &["10.9.9.9", "::1"]),
    ("BatchMode", &["yes", "no", "false"]),
    ("NumberOfPasswordPrompts", &["1", "0", "x"]),
    ("PreferredAuthentications", &["publickey", "password,publickey", "gssapi-with-mic,publickey", "none"]),
    ("PasswordAuthentication", &["yes", "no"]),
    ("PubkeyAuthentication", &["yes", "no", "unbound", "host-bound"]),
    ("KbdInteractiveAuthentication", &["yes", "no"]),
    ("ChallengeResponseAuthentication", &["no"]),
    ("HashKnownHosts", &["yes", "no"]),
    ("RevokedHostKeys", &["/revoked", "none"]),
    ("Ciphers", &["aes256-ctr", "+3des-cbc", "-aes*", "^aes256-ctr,aes128-ctr", "rot13", "aes*"]),
    ("MACs", &["hmac-sha2-256", "-umac*", "+hmac-md5", "^hmac-sha1"]),
    ("KexAlgorithms", &["curve25519-sha256", "-diffie*", "^ecdh-sha2-nistp521", "+none"]),
    ("HostKeyAlgorithms", &["ssh-ed25519", "+ssh-rsa", "-*cert*", "^rsa-*", "ssh-*", "+!ssh-rsa"]),
    ("PubkeyAcceptedKeyTypes", &["+ssh-rsa", "ecdsa-*", "-ssh-ed25519*"]),
    ("CASignatureAlgorithms", &["ssh-ed25519", "-rsa*", "+ssh-rsa"]),
    ("RequiredRSASize", &["2048", "x"]),
    ("IgnoreUnknown", &["Blurb", "bl*,!blurb", "*"]),
    ("Blurb", &["1"]),
    ("ForwardAgent", &["yes", "no"]),
    ("ControlMaster", &["auto", "sometimes"]),
    ("LogLevel", &["INFO"]),
    ("Compression", &["yes"]),
];

pub(super) fn cases(seed: u64, count: u64) -> Vec<Case> {
    let one = |number: u64| {
        let mut chance = Chance(SmallRng::seed_from_u64(seed.wrapping_add(number)));
        let mut config = chance.text(0);
        let mut files = Vec::new();
        for name in ["one", "two"] {
            if chance.one_in(3) {
                config.insert_str(0, &format!("Include {name} nothing*\n"));
                config += &format!("Include t?o {name}\n");
                files.push((name.to_owned(), chance.text(1)));
            }
        }
        files.insert(0, ("config".to_owned(), config));
        let mut arguments = Vec::new();
        while chance.one_in(4) {
            arguments.extend(["-o".to_owned(), chance.option("=")]);
        }
        let host = chance.of(&HOSTS);
        let user = if chance.one_in(4) { format!("{}@", chance.of(&["u", "root"])) } else { String::new() };
        arguments.push(format!("{user}{host}"));
        Case { place: format!("seed {seed}, case {number}"), arguments, is_refused: false, files }
    };
    (0..count).map(one).collect()
}

struct Chance(SmallRng);

impl Chance {
    fn one_in(&mut self, of: usize) -> bool {
        self.0.random_range(0..of) == 0
    }

    fn of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.random_range(0..of.len())]
    }

    fn text(&mut self, depth: usize) -> String {
        let mut text = String::new();
        for _ in 0..self.0.random_range(1..14) {
            let line = match self.0.random_range(0..10) {
                0 | 1 => self.host(),
                2 => self.matches(),
                3 => self.of(&["", "# comment", "  ", "\t#x"]).to_owned(),
                4 if depth == 0 => {
                    self.of(&["Include one", "Include \"two\" one", "Include /none/*"]).to_owned()
                }
                _ => {
                    let separator = self.of(&[" ", "=", " = ", "\t", "   ", " =", "= "]);
                    self.option(separator)
                }
            };
            let indent = self.of(&["", "", "  ", "\t"]);
            let end = self.of(&["", "", "", " ", "\r", " # end", "\t\r"]);
            text += &format!("{indent}{line}{end}\n");
        }
        text
    }

    fn host(&mut self) -> String {
        let patterns: Vec<&str> = (0..self.0.random_range(1..4)).map(|_| self.of(&PATTERNS)).collect();
        format!("{} {}", self.of(&["Host", "host", "HOST"]), patterns.join(self.of(&[" ", "  ", "\t"])))
    }

    fn matches(&mut self) -> String {
        let mut criteria = Vec::new();
        for _ in 0..self.0.random_range(1..4) {
            let negation = self.of(&["", "", "!"]);
            let list = format!("{},{}", self.of(&PATTERNS), self.of(&PATTERNS));
            let criterion = match self.0.random_range(0..9) {
                0 => "all".to_owned(),
                1 => "final".to_owned(),
                2 => "canonical".to_owned(),
                3 => format!("host {list}"),
                4 => format!("originalhost={list}"),
                5 => format!("user {},{}", self.of(&USERS), self.of(&PATTERNS)),
                6 => format!("localuser {}", self.of(&["root", "*", "nobody"])),
                7 => self
                    .of(&["exec true", "exec \"test %h = db1\"", "exec \"test %p = 22\"", "exec \"exit 1\""])
                    .to_owned(),
                _ => format!("host \"{list}\""),
            };
            criteria.push(negation.to_owned() + &criterion);
        }
        format!("Match {}", criteria.join(" "))
    }

    /// One in twenty may be wrong: ssh refuses all for one of them.
    fn option(&mut self, separator: &str) -> String {
        let wrong = [
            "0",
            "65536",
            "x",
            "maybe",
            "b1,",
            "b:0",
            "sometimes",
            "-1",
            "5x",
            "1.5",
            "-2",
            "2147483648",
            "ipv4",
            "rot13",
            "aes*",
            "+none",
            "+!ssh-rsa",
            "%n",
        ];
        loop {
            let (keyword, values) = self.of(KEYWORDS);
            let value = self.of(values);
            if (wrong.contains(&value) || keyword == "Blurb") && !self.one_in(20) {
                continue;
            }
            return format!("{keyword}{separator}{value}");
        }
    }
}
