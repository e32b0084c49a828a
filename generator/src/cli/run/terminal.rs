//! The caller's terminal: how it was before, so that nobody who was killed leaves it otherwise.

use std::io::{self, IsTerminal as _, Stdin};

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};

/// Settings of the terminal on standard input, if it is one.
///
/// systemd resets a terminal that it hands over, and the launcher makes it raw: both happen to the caller's own.
pub(super) struct Terminal {
    input: Stdin,
    before: Option<Termios>,
}

impl Terminal {
    /// Notes the settings.
    pub(super) fn note() -> Self {
        let input = io::stdin();
        let before = input
            .is_terminal()
            .then(|| tcgetattr(&input).ok())
            .flatten();
        Self { input, before }
    }

    /// Puts them back. In the background the terminal belongs to somebody else.
    pub(super) fn restore(&self) {
        let Some(before) = &self.before else { return };
        if tcgetpgrp(&self.input) == Ok(getpgrp()) {
            // A terminal that hung up has no settings any more.
            let _ = tcsetattr(&self.input, SetArg::TCSADRAIN, before);
        }
    }
}

/// Whether standard input and output are both a terminal.
pub(super) fn is_present() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}
