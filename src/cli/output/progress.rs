//! Progress on a terminal, and questions to whoever sits at one.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far a long step has come: a bar on a terminal, nothing elsewhere.
#[derive(Debug)]
pub(in crate::cli) struct Progress(ProgressBar);

impl Progress {
    /// A step of so many parts, named as in `deleting`.
    pub(in crate::cli) fn of(parts: u64, doing: &'static str) -> Self {
        let shape = "{msg} {wide_bar} {human_pos} of {human_len}, {per_sec}, {eta} left";
        Self::new(ProgressBar::with_draw_target(Some(parts), target()), shape, doing)
    }

    /// A step whose size nobody knows yet.
    pub(in crate::cli) fn unknown(doing: &'static str) -> Self {
        let bar = Self::new(ProgressBar::with_draw_target(None, target()), "{msg} {human_pos}", doing);
        bar.0.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    fn new(bar: ProgressBar, shape: &str, doing: &'static str) -> Self {
        bar.set_style(ProgressStyle::with_template(shape).expect("a constant of ours, tested below"));
        bar.set_message(doing);
        Self(bar)
    }

    /// So many parts are done.
    pub(in crate::cli) fn at(&self, done: u64) {
        self.0.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn target() -> ProgressDrawTarget {
    match io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr_with_hz(5),
        false => ProgressDrawTarget::hidden(),
    }
}

/// Whether somebody can be asked: both what is typed and what is told are a terminal.
pub(in crate::cli) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks; only `y` and `yes` mean yes.
pub(in crate::cli) fn ask(question: &str) -> bool {
    let mut stderr = io::stderr();
    let mut answer = String::new();
    // Whoever cannot be asked has not said yes.
    let heard = write!(stderr, "{question} [y/N] ")
        .and_then(|()| stderr.flush())
        .and_then(|()| io::stdin().lock().read_line(&mut answer));
    heard.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_drawn_without_a_terminal() {
        let progress = Progress::of(10, "deleting");
        progress.at(3);
        assert_eq!(progress.0.position(), 3);
        Progress::unknown("counting").at(1);
    }
}
