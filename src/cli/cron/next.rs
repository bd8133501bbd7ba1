//! `cronmill cron next`: when something runs next.

use anyhow::Error;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::entry_lookup;
use crate::cli::args::{ConnectionArgs, ObjectName, OutputArgs, parse_timestamp};
use crate::cli::exit::Failure;
use crate::cli::output::{Table, Tone, print_note};
use crate::schedule::{Gap, Overlap, Timing, TimingError, TimingSource};

const EXAMPLES: &str = "\
Examples:
  cronmill cron next shop/nightly-report
  cronmill cron next '*/20 * * * *' --tz Asia/Shanghai --count 10
  cronmill cron next '30 2 * * *' --tz Europe/Berlin --after 2027-03-27T00:00:00Z --gap Skip -o json";

/// Flags of `cronmill cron next`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct NextArgs {
    /// An object as name or namespace/name, looked up in Redis; or a schedule as text, which needs no Redis.
    ///
    /// In a schedule, @every counts from the Unix epoch, and H stands for the value it has without a name.
    #[arg(value_name = "OBJECT|SCHEDULE")]
    what: String,
    /// IANA name of the zone whose wall clock counts. [default: the object's own, UTC for a schedule]
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// Print times after this one, RFC 3339. [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_timestamp)]
    after: Option<Timestamp>,
    /// How many times, 1 to 10000.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    count: u16,
    /// What a fixed time of day does when the clock jumps over it. [default: the object's own, After for a
    /// schedule]
    #[arg(long, value_name = "RULE", ignore_case = true)]
    gap: Option<GapArg>,
    /// What a fixed time of day does when the clock shows it twice. [default: the object's own, First for a
    /// schedule]
    #[arg(long, value_name = "RULE", ignore_case = true)]
    overlap: Option<OverlapArg>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten, next_help_heading = "Connection")]
    connection: ConnectionArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GapArg {
    /// It fires right after the jump.
    #[value(name = "After")]
    After,
    /// It does not fire.
    #[value(name = "Skip")]
    Skip,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OverlapArg {
    /// It fires the first time.
    #[value(name = "First")]
    First,
    /// It fires both times.
    #[value(name = "Both")]
    Both,
}

impl NextArgs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (mut source, now) = self.source().await?;
        if self.tz.is_some() {
            source.time_zone.clone_from(&self.tz);
        }
        if let Some(gap) = self.gap {
            source.gap = match gap {
                GapArg::After => Gap::After,
                GapArg::Skip => Gap::Skip,
            };
        }
        if let Some(overlap) = self.overlap {
            source.overlap = match overlap {
                OverlapArg::First => Overlap::First,
                OverlapArg::Both => Overlap::Both,
            };
        }
        let timing = Timing::parse(&source).map_err(|error| self.refusal(&error))?;
        let after = self.after.unwrap_or(now);
        let times: Vec<Timestamp> = timing.iter_after(after).take(self.count.into()).collect();
        self.output.list(&times, "never, that is not within five years", || table(&source, &timing, &times))
    }

    /// The timing meant, and the time now.
    async fn source(&self) -> Result<(TimingSource, Timestamp), Failure> {
        let Ok(name) = self.what.parse::<ObjectName>() else {
            let source = TimingSource { schedules: vec![self.what.clone()], ..TimingSource::default() };
            return Ok((source, Timestamp::now()));
        };
        let broker = self.connection.connect().await?;
        let (_, entry) = entry_lookup::find(&broker, &name).await?;
        if entry.suspend {
            print_note("suspended: until it is resumed, these times pass without a run");
        }
        Ok((entry.timing, broker.now()))
    }

    /// What is wrong, and below it the place.
    fn refusal(&self, error: &TimingError) -> Failure {
        let mut text = error.to_string();
        if let Some(picture) = error.caret() {
            text.push('\n');
            picture.lines().for_each(|line| text.extend(["\n  ", line]));
        }
        let is_schedule = matches!(error, TimingError::Spec(_));
        if is_schedule && !self.what.contains(char::is_whitespace) && !self.what.starts_with('@') {
            text.push_str("\n\nnor is it an object's name, such as shop/nightly-report");
        }
        Failure::Usage(Error::msg(text))
    }
}

fn table(source: &TimingSource, timing: &Timing, times: &[Timestamp]) -> Table {
    let name = source.time_zone.as_deref().unwrap_or("UTC");
    // The zone data of the engine, not of this machine.
    let zone = TimeZoneDatabase::bundled().get(name).unwrap_or(TimeZone::UTC);
    let local = name.to_uppercase();
    let has_jitter = source.jitter_s > 0;
    let mut table = match has_jitter {
        true => Table::new(&["UTC", &local, "OFFSET", "DUE AFTER JITTER"]),
        false => Table::new(&["UTC", &local, "OFFSET"]),
    };
    for time in times {
        let there = time.to_zoned(zone.clone());
        let mut cells = vec![
            time.to_string(),
            there.strftime("%a %Y-%m-%d %H:%M:%S").to_string(),
            there.strftime("%:z").to_string(),
        ];
        if has_jitter {
            cells.push(timing.due(*time).to_string());
        }
        table.row(Tone::Plain, cells);
    }
    table
}
