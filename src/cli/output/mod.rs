//! What commands print: data to stdout, everything else to stderr.
//!
//! Texts that come from Redis may hold anything; what goes to a terminal passes through [`clean`].

mod progress;
mod sheet;
mod table;
mod text;
mod yaml;

use std::io::{self, ErrorKind, IsTerminal, Write};

pub(super) use progress::{Progress, ask, can_ask};
pub(super) use sheet::Sheet;
pub(super) use table::{Table, Tone};
pub(super) use text::{clean, clean_lines, count_of, distance, known, relative, seconds, shorten, size};
pub(super) use yaml::yaml;

use super::exit::Failure;

/// Writes data to stdout. A reader that has seen enough and left, as `head` does, is no failure.
pub(super) fn print_data(data: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(data.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(error).context("write to stdout"))
        }
        _ => Ok(()),
    }
}

/// Writes one line to stderr, if anybody listens there.
pub(super) fn print_note(note: &str) {
    let _ = writeln!(io::stderr(), "{note}");
}

/// Whether stdout shows colour: it is a terminal, and `NO_COLOR` does not say otherwise.
pub(super) fn has_color() -> bool {
    let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !is_unwanted
}
