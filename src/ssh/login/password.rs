//! Passwords and one-time codes: the inventory's password where it is asked for, everything else from the operator.

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse, Prompt};
use zeroize::Zeroizing;

use super::Trouble;
use super::clock::Clock;
use crate::command::Failure;
use crate::console::Echo;
use crate::ssh::credentials::Credentials;
use crate::ssh::host_key::{Doorman, explain};
use crate::ssh::settings::{Method, Settings};

/// Words of a question that a password does not answer, even if it is the only one.
const CODES: [&str; 6] = ["code", "token", "otp", "verification", "factor", "yubikey"];

/// A host may ask again and again; nobody answers for ever.
const ROUNDS: usize = 20;

/// What is left to answer with.
pub(super) struct Answers<'a> {
    settings: &'a Settings,
    credentials: &'a Credentials,
    clock: &'a Clock,
    /// The inventory's password has been sent: what it did not open then it will not open later.
    pub(super) is_spent: bool,
    /// How often each method may still ask the operator.
    interactive_left: u32,
    password_left: u32,
}

impl<'a> Answers<'a> {
    pub(super) fn new(settings: &'a Settings, credentials: &'a Credentials, clock: &'a Clock) -> Answers<'a> {
        let (interactive_left, password_left) = (settings.prompts, settings.prompts);
        Answers { settings, credentials, clock, is_spent: false, interactive_left, password_left }
    }

    pub(super) fn can_ask(&self) -> bool {
        self.credentials.can_ask(self.settings)
    }

    pub(super) fn has_password(&self) -> bool {
        self.settings.password.is_some()
    }

    /// Nobody is asked, and nothing is sent, where neither a password is given nor somebody there to answer.
    pub(super) fn may_try(&self, method: Method) -> bool {
        let left = match method {
            Method::PublicKey => return false,
            Method::KeyboardInteractive => self.interactive_left,
            Method::Password => self.password_left,
        };
        left > 0 && (self.has_password() && !self.is_spent || !self.has_password() && self.can_ask())
    }

    pub(super) fn may_try_any(&self) -> bool {
        self.settings.methods.iter().any(|method| self.may_try(*method))
    }

    pub(super) async fn password(&mut self, handle: &mut Handle<Doorman>) -> Result<AuthResult, Trouble> {
        self.password_left = self.password_left.saturating_sub(1);
        let user = self.settings.user.as_str();
        let password = match &self.settings.password {
            Some(password) => {
                self.is_spent = true;
                Zeroizing::new(password.reveal().to_owned())
            }
            None => {
                let question = format!("{user}@{}'s password: ", self.settings.hostname);
                self.ask(&question, Echo::Hidden).await.inspect_err(|_| self.password_left = 0)?
            }
        };
        let sent = handle.authenticate_password(user, password.as_str()).await;
        sent.map_err(|error| Trouble::Here(explain(&error)))
    }

    pub(super) async fn keyboard_interactive(
        &mut self,
        handle: &mut Handle<Doorman>,
    ) -> Result<AuthResult, Trouble> {
        self.interactive_left = self.interactive_left.saturating_sub(1);
        let user = self.settings.user.as_str();
        let mut said = handle.authenticate_keyboard_interactive_start(user, None).await;
        let mut was_asked = false;
        for _ in 0..ROUNDS {
            match said {
                Ok(KeyboardInteractiveAuthResponse::Success) => return Ok(AuthResult::Success),
                Ok(KeyboardInteractiveAuthResponse::Failure { remaining_methods, partial_success }) => {
                    if !was_asked {
                        // It has no questions for this user, and will have none.
                        self.interactive_left = 0;
                    }
                    return Ok(AuthResult::Failure { remaining_methods, partial_success });
                }
                Ok(KeyboardInteractiveAuthResponse::InfoRequest { name: _, instructions, prompts }) => {
                    was_asked |= !prompts.is_empty();
                    // PAM likes to say something without a question at the end: that wants an empty answer.
                    let answers = self.answers(&instructions, &prompts).await?;
                    said = handle.authenticate_keyboard_interactive_respond(answers).await;
                }
                Err(_) => {
                    // As the library has it elsewhere: the connection ended.
                    let remaining_methods = russh::MethodSet::empty();
                    return Ok(AuthResult::Failure { remaining_methods, partial_success: false });
                }
            }
        }
        Err(Trouble::Final(Failure::Unreachable {
            reason: format!("the host asks {user} question after question"),
            hint: "try ssh -v to the same address".to_owned(),
        }))
    }

    /// The library waits for these answers and hears nothing else: without them the connection is of no more use.
    async fn answers(&mut self, instructions: &str, prompts: &[Prompt]) -> Result<Vec<String>, Trouble> {
        let mut answers = Vec::new();
        for prompt in prompts {
            let wants_password = asks_password(&prompt.prompt, prompt.echo, prompts.len() == 1);
            let answer = match &self.settings.password {
                Some(password) if wants_password && !self.is_spent => {
                    self.is_spent = true;
                    password.reveal().to_owned()
                }
                Some(_) if wants_password && !self.can_ask() => {
                    return Err(Trouble::Final(self.wrong_password()));
                }
                Some(_) | None => {
                    if !self.can_ask() {
                        return Err(Trouble::Final(self.nobody(&prompt.prompt)));
                    }
                    let (user, host) = (&self.settings.user, &self.settings.hostname);
                    let said = if answers.is_empty() { printable(instructions) } else { String::new() };
                    let said = if said.is_empty() { said } else { format!("{said}\r\n") };
                    let question = format!("{said}({user}@{host}) {}", printable(&prompt.prompt));
                    let echo = if prompt.echo { Echo::Shown } else { Echo::Hidden };
                    match self.ask(&question, echo).await {
                        Ok(answer) => answer.to_string(),
                        Err(Trouble::Here(_) | Trouble::Final(_)) => {
                            return Err(Trouble::Final(self.nobody(&prompt.prompt)));
                        }
                    }
                }
            };
            answers.push(answer);
        }
        Ok(answers)
    }

    async fn ask(&self, question: &str, echo: Echo) -> Result<Zeroizing<String>, Trouble> {
        self.clock.stopped(self.credentials.asker().ask(question, echo)).await.map_err(Trouble::Here)
    }

    fn nobody(&self, prompt: &str) -> Failure {
        let (user, prompt) = (&self.settings.user, printable(prompt));
        Failure::Unreachable {
            reason: format!(
                "the host asks {user} \"{}\", and nobody answers",
                prompt.trim_end_matches([':', ' '])
            ),
            hint: "run muster on a terminal, or allow a key alone for this user".to_owned(),
        }
    }

    fn wrong_password(&self) -> Failure {
        Failure::Unreachable {
            reason: format!("the host refuses the password of {}", self.settings.user),
            hint: "check ansible_password".to_owned(),
        }
    }
}

/// Whether a question means the password of the user.
fn asks_password(prompt: &str, echo: bool, is_alone: bool) -> bool {
    let prompt = prompt.to_lowercase();
    let is_code = CODES.iter().any(|word| prompt.contains(word));
    !echo && !is_code && (is_alone || prompt.contains("password"))
}

/// The host's words on the operator's terminal: no more than words.
fn printable(text: &str) -> String {
    let trimmed = text.trim_end_matches(['\r', '\n']);
    trimmed.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_answers_only_what_asks_for_it() {
        assert!(asks_password("Password: ", false, true));
        assert!(asks_password("Passwort: ", false, true));
        assert!(asks_password("root's password:", false, false));
        assert!(!asks_password("Passwort: ", false, false));
        assert!(!asks_password("Verification code: ", false, true));
        assert!(!asks_password("One-time password (OATH) token: ", false, true));
        assert!(!asks_password("Login: ", true, true));
        assert_eq!(printable("a\x1b[2Jb: \n"), "a [2Jb: ");
    }
}
