//! What the end of a program means for its task.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use super::error::ExecError;
use crate::worker::HandlerError;

/// `EX_DATAERR`: what it was given is wrong, and will be at each attempt.
const GIVE_UP: i32 = 65;
/// `EX_TEMPFAIL`: it may be started again later.
const LATER: i32 = 75;

/// How long a task is put off when the program does not say.
const SNOOZE: Duration = Duration::from_secs(60);
/// The shortest a task is put off, whatever the program says.
const SNOOZE_MIN: Duration = Duration::from_secs(1);
/// The longest: a program's mistake must not bury a task.
const SNOOZE_MAX: Duration = Duration::from_secs(3600);

/// Lines of standard error that are told, and how many bytes of them.
const LINES_MAX: usize = 3;
const TEXT_BYTES_MAX: usize = 900;

/// What the end of a program means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Done,
    Retry(ExitStatus),
    GiveUp(ExitStatus),
    Snooze(Duration),
}

impl Meaning {
    pub(super) fn of(status: ExitStatus, stdout: &[u8]) -> Self {
        match status.code() {
            Some(0) => Self::Done,
            Some(GIVE_UP) => Self::GiveUp(status),
            Some(LATER) => Self::Snooze(wait(stdout)),
            _ => Self::Retry(status),
        }
    }

    pub(super) fn into_outcome(self, name: &str, said: String) -> Result<(), HandlerError> {
        let failed = |status: ExitStatus, said| ExecError::Failed {
            name: name.to_owned(),
            status: shown(status),
            said,
        };
        match self {
            Self::Done => Ok(()),
            Self::Retry(status) => Err(failed(status, said).into()),
            Self::GiveUp(status) => Err(HandlerError::skip_retry(failed(status, said))),
            Self::Snooze(after) => {
                let error = failed(ExitStatus::from_raw(LATER << 8), said);
                Err(HandlerError::snooze(after).because(error.to_string()))
            }
        }
    }
}

/// How long the program asks to wait: a whole number of seconds, within bounds.
fn wait(stdout: &[u8]) -> Duration {
    let text = stdout.trim_ascii();
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return SNOOZE;
    }
    let seconds = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    // More digits than a number holds is longer than the longest anyway.
    seconds.map_or(SNOOZE_MAX, Duration::from_secs).clamp(SNOOZE_MIN, SNOOZE_MAX)
}

fn shown(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("died of {}", signal_name(signal)),
        (None, None) => "ended".to_owned(),
    }
}

fn signal_name(signal: i32) -> String {
    let names = [
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (4, "SIGILL"),
        (6, "SIGABRT"),
        (8, "SIGFPE"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (13, "SIGPIPE"),
        (15, "SIGTERM"),
    ];
    let known = names.iter().find(|(number, _)| *number == signal);
    known.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}

/// The last lines of what a program wrote to standard error, on one line and without what steers a terminal.
pub(super) fn last_lines(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines = text.lines().rev().map(str::trim).filter(|line| !line.is_empty()).take(LINES_MAX);
    let mut lines: Vec<&str> = lines.collect();
    lines.reverse();
    let line: String = lines.join(" | ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() <= TEXT_BYTES_MAX {
        return line;
    }
    let from = line.ceil_char_boundary(line.len() - TEXT_BYTES_MAX);
    format!("…{}", &line[from..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: i32, stdout: &str) -> Meaning {
        Meaning::of(ExitStatus::from_raw(code << 8), stdout.as_bytes())
    }

    #[test]
    fn every_end_has_its_meaning() {
        assert_eq!(exited(0, "75"), Meaning::Done);
        assert!(matches!(exited(65, ""), Meaning::GiveUp(_)));
        for code in [1, 2, 64, 66, 77, 78, 126, 127, 137, 255] {
            assert!(matches!(exited(code, "5"), Meaning::Retry(_)), "{code}");
        }
        let killed = ExitStatus::from_raw(11);
        assert_eq!(Meaning::of(killed, b""), Meaning::Retry(killed));
        assert_eq!(shown(killed), "died of SIGSEGV");
        assert_eq!(shown(ExitStatus::from_raw(35)), "died of signal 35");
    }

    #[test]
    fn a_program_says_in_seconds_how_long_to_wait() {
        for (stdout, seconds) in [
            ("", 60),
            ("7\n", 7),
            (" 300 ", 300),
            ("0", 1),
            ("86400", 3600),
            ("99999999999999999999999", 3600),
            ("-5", 60),
            ("1.5", 60),
            ("5 6", 60),
            ("busy\n5\n", 60),
        ] {
            assert_eq!(exited(75, stdout), Meaning::Snooze(Duration::from_secs(seconds)), "{stdout:?}");
        }
    }

    #[test]
    fn of_standard_error_the_last_lines_are_told() {
        assert_eq!(last_lines(b""), "");
        assert_eq!(last_lines(b"\n \n"), "");
        assert_eq!(last_lines(b"a\nb\r\n\nc\n\x1b[31md\x00\n\n"), "b | c |  [31md ");
        assert_eq!(last_lines(b"\xff\n"), "\u{fffd}");
        let long = last_lines("ü".repeat(TEXT_BYTES_MAX).as_bytes());
        assert!(long.starts_with("…ü") && long.len() <= TEXT_BYTES_MAX + "…".len(), "{}", long.len());
    }
}
