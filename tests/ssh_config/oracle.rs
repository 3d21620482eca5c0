//! `ssh -G`, and how what it says compares with what muster says.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use muster::error::Problem;
use muster::ssh::Credentials;
use muster::ssh::config::{self, Request};
use tempfile::TempDir;

use super::Case;

/// Muster's own defaults in ssh's words: what is said last counts only where nobody says anything.
const DEFAULTS: &str = "ConnectTimeout 10\nServerAliveInterval 15\n";
/// Lists that muster shows only where somebody says one, and what `ssh -Q` calls them.
const LISTS: [(&str, &str); 6] = [
    ("ciphers", "cipher"),
    ("hostkeyalgorithms", "HostKeyAlgorithms"),
    ("kexalgorithms", "kex"),
    ("casignaturealgorithms", "HostKeyAlgorithms"),
    ("macs", "mac"),
    ("pubkeyacceptedalgorithms", "PubkeyAcceptedAlgorithms"),
];
/// Files whose names are expanded with the host's, in this order.
const FILES: [&str; 3] = ["identityfile", "certificatefile", "revokedhostkeys"];
const BETWEEN: &str = "/|";
/// What both show in the same way.
const SAME: [&str; 15] = [
    "host",
    "user",
    "hostname",
    "port",
    "addressfamily",
    "batchmode",
    "hashknownhosts",
    "identitiesonly",
    "numberofpasswordprompts",
    "serveralivecountmax",
    "serveraliveinterval",
    "requiredrsasize",
    "bindaddress",
    "hostkeyalias",
    "userknownhostsfile",
];

type Rows = BTreeMap<String, Vec<String>>;

pub(super) struct Oracle {
    /// `~` of `Include`, for both; ssh finds `~` of other files elsewhere, and both stand for the same here.
    home: TempDir,
    /// `~` of the user's entry in `/etc/passwd`.
    passwd_home: String,
    user: String,
    defaults: Rows,
    known: BTreeMap<&'static str, Vec<String>>,
    refused: Cell<usize>,
}

impl Oracle {
    /// `None`, said loudly, where there is no ssh.
    pub(super) fn start() -> Option<Oracle> {
        let Ok(found) = Command::new("ssh").arg("-V").output() else {
            eprintln!("LEFT OUT: this test needs ssh; nothing was tested");
            return None;
        };
        println!("{}", String::from_utf8_lossy(&found.stderr).trim());
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".ssh")).unwrap();
        let defaults = rows(&text(Command::new("ssh").args(["-F", "none", "-G", "x"])));
        let files = &defaults["userknownhostsfile"][0];
        let passwd_home = files.split_once("/.ssh/").expect("ssh has files of host keys").0.to_owned();
        let known = LISTS.map(|(keyword, query)| {
            let names = text(Command::new("ssh").args(["-Q", query]));
            (keyword, names.lines().map(str::to_owned).collect())
        });
        Some(Oracle {
            home,
            passwd_home,
            user: defaults["user"][0].clone(),
            defaults,
            known: known.into(),
            refused: Cell::new(0),
        })
    }

    /// How many cases both have refused so far.
    pub(super) fn refused(&self) -> usize {
        self.refused.get()
    }

    /// How the two differ, if they do.
    pub(super) fn disagreement(&self, case: &Case) -> Option<String> {
        let folder = self.home.path().join(".ssh");
        fs::remove_dir_all(&folder).unwrap();
        for (name, text) in &case.files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text.replace("{HOME}", &self.home.path().display().to_string())).unwrap();
            // Whatever the umask: what others may write is not read.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        let text = fs::read_to_string(folder.join("config")).unwrap();
        let last = folder.join("config.ssh");
        fs::write(&last, &text).unwrap();
        let all = if self.is_read_twice(case, &folder) { "Match final all" } else { "Match all" };
        fs::write(&last, format!("{text}\n{all}\n{DEFAULTS}")).unwrap();
        let expected = self.expected(case, &folder);
        let seen = self.seen(case, &folder);
        let difference = match (expected, seen) {
            (Err(_), Err(_)) => {
                self.refused.set(self.refused.get() + 1);
                return None;
            }
            (Ok(_), Err(_)) if case.is_refused => return None,
            (Ok(_), Ok(_)) if case.is_refused => "muster does not refuse it".to_owned(),
            (Err(why), Ok(_)) => format!("ssh refuses, muster does not: {}", why.trim()),
            (Ok(_), Err(why)) => format!("muster refuses, ssh does not: {why}"),
            (Ok(expected), Ok(seen)) => {
                let keywords: BTreeSet<&String> = expected.keys().chain(seen.keys()).collect();
                let unlike =
                    keywords.into_iter().filter(|keyword| expected.get(*keyword) != seen.get(*keyword));
                let lines = unlike.map(|keyword| {
                    format!(
                        "{keyword}\n  ssh:    {:?}\n  muster: {:?}",
                        expected.get(keyword),
                        seen.get(keyword)
                    )
                });
                let lines: Vec<String> = lines.collect();
                if lines.is_empty() {
                    return None;
                }
                lines.join("\n")
            }
        };
        let files = case
            .files
            .iter()
            .map(|(name, text)| format!("--- {name}\n{}", text.get(..2_000).unwrap_or(text)));
        Some(format!("{} {:?}\n{}{difference}\n", case.place, case.arguments, files.collect::<String>()))
    }

    fn seen(&self, case: &Case, folder: &Path) -> Result<Rows, Problem> {
        let agent = env::var_os("SSH_AUTH_SOCK").map(PathBuf::from);
        let credentials = Credentials::new(&self.user, Some(self.home.path().to_owned()), agent);
        let mut options = Vec::new();
        let mut file = folder.join("config").display().to_string();
        let mut destination = "";
        let mut arguments = case.arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "-o" => options.push(config::option(arguments.next().unwrap())?),
                "-F" => file.clone_from(arguments.next().unwrap()),
                host => destination = host,
            }
        }
        let request = Request { destination, options: &options, file: Some(&file) };
        let settings = config::resolve(&request, &credentials)?;
        let mut rows = Rows::new();
        for (keyword, value) in settings.rows() {
            let value = match self.known.get(keyword) {
                // muster knows algorithms that this ssh is too old for.
                Some(known) => {
                    let both = value.split(',').filter(|name| known.iter().any(|known| known == name));
                    both.collect::<Vec<_>>().join(",")
                }
                None => self.at_home(&value),
            };
            rows.entry(keyword.to_owned()).or_default().push(value);
        }
        let mut files = Vec::new();
        for (number, keyword) in FILES.into_iter().enumerate() {
            files.extend((number > 0).then(|| BETWEEN.to_owned()));
            files.extend(rows.remove(keyword).unwrap_or_default());
        }
        rows.insert("files".to_owned(), vec![files.join(" ")]);
        // Not said is as good as said in the words of the default.
        for (keyword, _) in LISTS {
            rows.entry(keyword.to_owned()).or_insert_with(|| self.defaults[keyword].clone());
        }
        Ok(rows)
    }

    /// How the two differ where no file is named: this user's and this machine's own are read.
    pub(super) fn disagreement_here(&self, host: &str) -> Option<String> {
        // What ssh has no default for is said, so that the two can be compared.
        let options = [("connecttimeout", "9"), ("serveraliveinterval", "8")];
        let mut ssh = Command::new("ssh");
        ssh.arg("-G");
        for (keyword, value) in options {
            ssh.arg("-o").arg(format!("{keyword}={value}"));
        }
        let ssh = rows(&text(ssh.arg(host)));
        let credentials = Credentials::new(&self.user, Some(PathBuf::from(&self.passwd_home)), None);
        let options = options.map(|(keyword, value)| (keyword.to_owned(), value.to_owned()));
        let request = Request { destination: host, options: &options, file: None };
        let mut muster = Rows::new();
        for (keyword, value) in config::resolve(&request, &credentials).unwrap().rows() {
            muster.entry(keyword.to_owned()).or_default().push(value);
        }
        let unlike = SAME.iter().find(|keyword| ssh.get(**keyword) != muster.get(**keyword))?;
        Some(format!("{host}: {unlike}: ssh {:?}, muster {:?}", ssh.get(*unlike), muster.get(*unlike)))
    }

    fn ssh(&self, case: &Case, folder: &Path, more: &[&str]) -> Output {
        let mut ssh = Command::new("ssh");
        ssh.env("HOME", self.home.path()).arg("-G").args(more);
        if !case.arguments.iter().any(|argument| argument == "-F") {
            ssh.arg("-F").arg(folder.join("config.ssh"));
        }
        ssh.args(&case.arguments).output().unwrap()
    }

    /// Whether ssh reads the files once more: what is last in the first reading is not last of all then.
    fn is_read_twice(&self, case: &Case, folder: &Path) -> bool {
        let may_be = case.files.iter().any(|(_, text)| text.to_lowercase().contains("final"));
        may_be && {
            let said = self.ssh(case, folder, &["-v"]).stderr;
            String::from_utf8_lossy(&said).contains("re-parsing configuration")
        }
    }

    /// What muster is to say, by what ssh says.
    fn expected(&self, case: &Case, folder: &Path) -> Result<Rows, String> {
        let output = self.ssh(case, folder, &[]);
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let ssh = rows(&String::from_utf8_lossy(&output.stdout));
        let mut expected = Rows::new();
        for keyword in SAME {
            let values = ssh.get(keyword).cloned().unwrap_or_default();
            expected.insert(keyword.to_owned(), values.iter().map(|value| self.at_home(value)).collect());
        }
        for (keyword, _) in LISTS {
            let list = ssh.get(keyword).cloned();
            expected.insert(keyword.to_owned(), list.unwrap_or_else(|| vec!["not shown".to_owned()]));
        }
        let mut say = |keyword: &str, value: String| expected.insert(keyword.to_owned(), vec![value]);
        let one = |keyword: &str| ssh.get(keyword).map(|values| values[0].as_str());
        // To ssh there may be no limit; and where no file was read, the defaults were not either.
        let timeout = one("connecttimeout").filter(|value| !["none", "0"].contains(value));
        say("connecttimeout", timeout.unwrap_or("10").to_owned());
        if case.arguments.iter().any(|argument| argument == "-F") {
            say("serveraliveinterval", "15".to_owned());
        }
        let checking = one("stricthostkeychecking").unwrap();
        say("stricthostkeychecking", if checking == "ask" { "true" } else { checking }.to_owned());
        say("preferredauthentications", methods(&ssh)?);
        let agent = match one("identityagent") {
            Some("none") => None,
            None | Some("SSH_AUTH_SOCK") => env::var("SSH_AUTH_SOCK").ok(),
            Some(value) => match value.strip_prefix('$') {
                Some(name) => env::var(name).ok(),
                None => Some(value.to_owned()),
            },
        };
        say("identityagent", self.at_home(&agent.unwrap_or_else(|| "none".to_owned())));

        let all = |keyword: &str| {
            let values = ssh.get(keyword).cloned().unwrap_or_default();
            values.into_iter().filter(|value| !value.eq_ignore_ascii_case("none")).collect::<Vec<_>>()
        };
        let mut identities = all("identityfile");
        if ssh.get("identityfile") == self.defaults.get("identityfile") {
            // No ssh has keys of these kinds any more.
            identities.retain(|file| !file.ends_with("id_xmss") && !file.ends_with("id_dsa"));
            // What is the same for every host need not be asked for each.
            identities = identities.iter().map(|file| file.replacen('~', "/HOME", 1)).collect();
        }
        let files = [identities, all("certificatefile"), all("revokedhostkeys")];
        expected
            .insert("files".to_owned(), vec![self.expand(case, folder, &files)?.replace("/HOME/", "~HOME/")]);
        // Tokens stay, a home does not.
        let global =
            one("globalknownhostsfile").unwrap().split(' ').map(|file| match file.strip_prefix("~/") {
                Some(file) => format!("~HOME/{file}"),
                None => self.at_home(file),
            });
        expected.insert("globalknownhostsfile".to_owned(), vec![global.collect::<Vec<_>>().join(" ")]);
        if let Some(hops) = one("proxyjump") {
            expected.insert("proxyjump".to_owned(), vec![self.hops(hops)?]);
        }
        if let Some(command) = one("proxycommand").filter(|_| one("proxyjump").is_none()) {
            expected.insert("proxycommand".to_owned(), vec![self.expand_command(case, folder, command)?]);
        }
        expected.retain(|_, values| !values.is_empty());
        Ok(expected)
    }

    /// Files with `~`, tokens and variables: ssh shows them expanded as `UserKnownHostsFile`, which has the same ones.
    fn expand(&self, case: &Case, folder: &Path, files: &[Vec<String>; 3]) -> Result<String, String> {
        let words = files.join(&BETWEEN.to_owned());
        if !words.iter().any(|word| word.contains(['~', '%', '$'])) {
            return Ok(self.at_home(&words.join(" ")));
        }
        let quoted =
            words.iter().map(|word| format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")));
        let option = format!("UserKnownHostsFile={}", quoted.collect::<Vec<_>>().join(" "));
        self.shown(self.ssh(case, folder, &["-o", &option]), "userknownhostsfile")
    }

    /// ssh shows all hops but the last as they are written: for a URI it is asked alone.
    fn hops(&self, hops: &str) -> Result<String, String> {
        let shown = hops.split(',').map(|hop| {
            if !hop.starts_with("ssh://") {
                return Ok(hop.to_owned());
            }
            let option = format!("ProxyJump={hop}");
            let ssh = Command::new("ssh").args(["-F", "none", "-G", "-o", &option, "x"]).output();
            self.shown(ssh.unwrap(), "proxyjump")
        });
        shown.collect::<Result<Vec<_>, _>>().map(|hops| hops.join(","))
    }

    /// A command with tokens: ssh shows it expanded as a `RemoteCommand`, which has these and some more.
    fn expand_command(&self, case: &Case, folder: &Path, command: &str) -> Result<String, String> {
        let tokens = command.replace("%%", "");
        let mut letters = tokens.split('%').skip(1).map(|rest| rest.chars().next());
        if !letters.all(|letter| letter.is_some_and(|letter| "hknpr".contains(letter))) {
            return Err("a ProxyCommand has no such token (sshconnect.c)".to_owned());
        }
        let option = format!("RemoteCommand={command}");
        self.shown(self.ssh(case, folder, &["-o", &option]), "remotecommand")
    }

    fn shown(&self, output: Output, keyword: &str) -> Result<String, String> {
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let shown = rows(&String::from_utf8_lossy(&output.stdout));
        let value = shown.get(keyword).ok_or_else(|| format!("ssh shows no {keyword}"))?;
        Ok(self.at_home(&value[0]))
    }

    /// The two homes are the same place.
    fn at_home(&self, value: &str) -> String {
        value.replace(&self.home.path().display().to_string(), "~HOME").replace(&self.passwd_home, "~HOME")
    }
}

/// Which ways to log in are left, in their order, by `authmethods` of sshconnect2.c.
fn methods(ssh: &Rows) -> Result<String, String> {
    let is_on = |keyword: &str| ssh[keyword][0] != "no" && ssh[keyword][0] != "false";
    let known = [
        ("publickey", "pubkeyauthentication"),
        ("keyboard-interactive", "kbdinteractiveauthentication"),
        ("password", "passwordauthentication"),
    ];
    let preferred = ssh.get("preferredauthentications").map(|values| values[0].as_str());
    let preferred = preferred.unwrap_or("publickey,keyboard-interactive,password");
    let mut left: Vec<&str> = Vec::new();
    for name in preferred.split(',') {
        let usable = known.iter().find(|(known, keyword)| *known == name && is_on(keyword));
        left.extend(usable.map(|(known, _)| *known).filter(|known| !left.contains(known)));
    }
    if left.is_empty() { Err("no way to log in is left".to_owned()) } else { Ok(left.join(",")) }
}

fn rows(text: &str) -> Rows {
    let mut rows = Rows::new();
    for (keyword, value) in text.lines().filter_map(|line| line.split_once(' ')) {
        rows.entry(keyword.to_owned()).or_default().push(value.to_owned());
    }
    rows
}

fn text(command: &mut Command) -> String {
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}
