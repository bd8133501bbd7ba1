//! `cronmill check`: whether manifests are right, without Redis and without running anything.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Error;
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::args::OutputArgs;
use super::exit::Failure;
use super::output::{count_of, print_data, print_note};
use crate::local::manifest::{ManifestError, Manifests};

/// Check manifests as a cluster and `cronmill dev` would, without Redis: schema, rules, schedules, references.
///
/// Prints one line for each mistake: file, line, object, field, what is wrong and what is allowed.
///
/// Exit codes: 0 all are right, 2 some are not.
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// Manifests, or folders of them: every *.yaml, *.yml and *.json below.
    #[arg(short, long = "file", value_name = "PATH", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

impl CheckArgs {
    /// Reads the files and prints what is wrong.
    ///
    /// # Errors
    /// [`Failure::Usage`] when anything is.
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut manifests = Manifests::open(self.files, "check");
        let changes = manifests.refresh(Timestamp::now());
        let (tasks, queues) = (manifests.tasks().count() as u64, manifests.queues().count() as u64);
        let errors: Vec<&ManifestError> = manifests.errors().collect();
        if self.output.is_data() {
            let errors: Vec<_> = errors.iter().map(|error| as_json(error)).collect();
            let report =
                json!({"cronTasks": tasks, "taskQueues": queues, "errors": errors, "note": changes.note});
            self.output.data(&report)?;
        } else {
            let mut text = String::new();
            for error in &errors {
                let _ = writeln!(text, "{error}");
            }
            let _ = writeln!(
                text,
                "{} and {} are right, {}",
                count_of(tasks, "CronTask"),
                count_of(queues, "TaskQueue"),
                match errors.len() as u64 {
                    0 => "nothing is wrong".to_owned(),
                    1 => "1 thing is wrong".to_owned(),
                    wrong => format!("{wrong} things are wrong"),
                },
            );
            print_data(&text)?;
            changes.note.iter().for_each(|note| print_note(&format!("note: {note}")));
        }
        match errors.len() {
            0 => Ok(()),
            wrong => Err(Failure::Usage(Error::msg(wrong_in(wrong)))),
        }
    }
}

/// The one line that says at the end that manifests were wrong.
pub(super) fn wrong_in(places: usize) -> String {
    format!("manifests are wrong in {}, see above", count_of(places as u64, "place"))
}

fn as_json(error: &ManifestError) -> Value {
    json!({
        "file": error.file,
        "line": error.line,
        "object": error.object,
        "field": error.field,
        "reason": error.reason(),
        "message": error.message,
        "allowed": error.allowed,
    })
}
