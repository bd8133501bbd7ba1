//! `cronmill version`: what this program is built of.

use clap::Args;
use serde::Serialize;

use super::args::OutputArgs;
use super::exit::Failure;
use super::output::Sheet;
use crate::schedule::{ENTRY_FORMAT, engine_version};

/// Flags of `cronmill version`.
#[derive(Args, Debug)]
pub(super) struct VersionArgs {
    #[command(flatten)]
    output: OutputArgs,
}

/// What this program is built of, as printed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: &'static str,
    /// Version of the schedule engine, and release of its time zone data.
    schedule_engine: String,
    /// The highest format of schedule entries it reads and writes.
    entry_format: u32,
}

impl VersionArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let version = Version {
            version: env!("CARGO_PKG_VERSION"),
            schedule_engine: engine_version(),
            entry_format: ENTRY_FORMAT,
        };
        self.output.one(&version, || {
            let mut sheet = Sheet::default();
            sheet.field("cronmill", version.version);
            sheet.field("Schedule engine", &version.schedule_engine);
            sheet.field("Entry format", version.entry_format);
            sheet
        })
    }
}
