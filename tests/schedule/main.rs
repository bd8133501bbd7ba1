//! The next-time engine against three judges that share no code with it: robfig/cron (Go), croner, `cron`.
//!
//! The cases are random, from a seed that is printed; `SCHEDULE_SEED=n` runs others.

mod against_crates;
mod against_robfig;
mod generate;
mod robfig;

use cronmill::schedule::{Gap, Overlap, Timing, TimingSource};

fn source(spec: &str, zone: &str) -> TimingSource {
    TimingSource { schedules: vec![spec.into()], time_zone: Some(zone.into()), ..TimingSource::default() }
}

fn timing(spec: &str, zone: &str, gap: Gap, overlap: Overlap) -> Timing {
    let source = TimingSource { gap, overlap, ..source(spec, zone) };
    Timing::parse(&source).unwrap_or_else(|error| panic!("{error}"))
}

/// Random numbers from the seed of this run.
fn seeded() -> fastrand::Rng {
    let chosen = std::env::var("SCHEDULE_SEED").ok();
    let seed = chosen.map_or(20_261_123, |text| text.parse().expect("SCHEDULE_SEED is a whole number"));
    println!("SCHEDULE_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
