//! The form of what a command prints.

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::cli::exit::Failure;
use crate::cli::output::{Sheet, Table, has_color, print_data, print_note, yaml};

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
    /// For people, with everything there is to say.
    Wide,
    /// For programs; fields stay.
    Json,
    /// The same as YAML.
    Yaml,
}

impl OutputArgs {
    /// Whether it is for programs.
    pub(in crate::cli) fn is_data(self) -> bool {
        matches!(self.output, OutputFormat::Json | OutputFormat::Yaml)
    }

    /// Whether people want to see everything there is.
    pub(in crate::cli) fn is_wide(self) -> bool {
        self.output == OutputFormat::Wide
    }

    /// Prints something for programs.
    pub(in crate::cli) fn data<T: Serialize>(self, value: &T) -> Result<(), Failure> {
        match self.output {
            OutputFormat::Yaml => print_yaml(value),
            _ => print_json(value),
        }
    }

    /// Prints a list: for programs, or as a table. One without rows prints nothing but `nothing`, on stderr.
    pub(in crate::cli) fn list<T: Serialize>(
        self,
        value: &T,
        nothing: &str,
        table: impl FnOnce() -> Table,
    ) -> Result<(), Failure> {
        if self.is_data() {
            return self.data(value);
        }
        let table = table();
        if table.is_empty() {
            print_note(nothing);
            return Ok(());
        }
        print_data(&table.render(has_color(), self.is_wide()))
    }

    /// Prints one thing: for programs, or as a sheet.
    pub(in crate::cli) fn one<T: Serialize>(
        self,
        value: &T,
        sheet: impl FnOnce() -> Sheet,
    ) -> Result<(), Failure> {
        match self.is_data() {
            true => self.data(value),
            false => print_data(&sheet().render(has_color())),
        }
    }
}

fn print_yaml<T: Serialize>(value: &T) -> Result<(), Failure> {
    let value = serde_json::to_value(value)
        .map_err(|error| Failure::failed(error).context("write the answer as YAML"))?;
    print_data(&yaml(&value))
}

fn print_json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::failed(error).context("write the answer as JSON"))?;
    text.push('\n');
    print_data(&text)
}
