//! The form of what a command prints.

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::cli::exit::Failure;
use crate::cli::output::{Sheet, Table, has_color, print_data, print_note};

/// Flags of commands that read something.
#[derive(Args, Clone, Copy, Debug)]
pub struct OutputArgs {
    /// Form of what is printed.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: OutputFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// For people; columns may change.
    Table,
    /// For programs; fields stay.
    Json,
}

impl OutputArgs {
    pub(in crate::cli) fn is_json(self) -> bool {
        self.output == OutputFormat::Json
    }

    /// Prints a list: as JSON, or as a table. One without rows prints nothing but `nothing`, on stderr.
    pub(in crate::cli) fn list<T: Serialize>(
        self,
        value: &T,
        nothing: &str,
        table: impl FnOnce() -> Table,
    ) -> Result<(), Failure> {
        if self.is_json() {
            return print_json(value);
        }
        let table = table();
        if table.is_empty() {
            print_note(nothing);
            return Ok(());
        }
        print_data(&table.render(has_color()))
    }

    /// Prints one thing: as JSON, or as a sheet.
    pub(in crate::cli) fn one<T: Serialize>(
        self,
        value: &T,
        sheet: impl FnOnce() -> Sheet,
    ) -> Result<(), Failure> {
        match self.output {
            OutputFormat::Json => print_json(value),
            OutputFormat::Table => print_data(&sheet().render(has_color())),
        }
    }
}

fn print_json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::failed(error).context("write the answer as JSON"))?;
    text.push('\n');
    print_data(&text)
}
