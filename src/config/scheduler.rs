//! The file of a scheduler.

use std::path::Path;

use super::entries::{self, Owner};
use super::error::{ConfigError, ConfigFault};
use super::findings::{Findings, Idle};
use super::section::Section;
use super::server;
use super::service::Service;
use crate::broker::Endpoint;
use crate::document::FieldPath;
use crate::schedule::{Entry, Timing, TimingError, TimingSource};

/// Keys of this program's file alone.
pub(super) const KEYS: [&str; 3] = ["Location", "Tasks", "configs"];

/// What a scheduler's file says.
#[derive(Debug, Clone)]
pub struct SchedulerFile {
    /// About the service itself.
    pub service: Service,
    /// `Redis`.
    pub redis: Option<Endpoint>,
    /// What tells its schedules from those of other files on the same Redis: `Name`, or else the file's own without
    /// its ending.
    pub name: String,
    /// What its schedules belong to in Redis; made of the name.
    pub cluster: String,
    /// The schedules, in the order of the file, of generation 0.
    pub entries: Vec<Entry>,
    /// What does nothing here, in the order of its lines.
    pub idle: Vec<Idle>,
}

/// Reads the text of a scheduler's file.
///
/// # Errors
/// Everything that is wrong, in the order of its lines.
pub fn read_scheduler(file: &Path, text: &str) -> Result<SchedulerFile, Vec<ConfigError>> {
    let (mut found, value) = Findings::open(file, text)?;
    let Some(mut keys) = Section::open(&value, FieldPath::default(), &mut found) else {
        return Err(found.errors);
    };
    let service = Service::take(&mut keys, &mut found);
    let redis = server::take(&mut keys, &mut found);
    let zone = zone(&mut keys, &mut found);
    let stem = || file.file_stem().map_or_else(|| "scheduler".into(), |stem| stem.to_string_lossy());
    let name = service.name.clone().unwrap_or_else(|| stem().into_owned());
    let owner = Owner::new(&name, zone);
    let entries = entries::take(&mut keys, &owner, &mut found);
    keys.close(&super::worker::KEYS, "cronmill-worker", &mut found);
    let cluster = owner.cluster;
    found.conclude(|idle| SchedulerFile { service, redis, name, cluster, entries, idle })
}

/// `Location`: the zone of every spec that names none itself.
fn zone(keys: &mut Section<'_>, found: &mut Findings<'_>) -> Option<String> {
    let (path, zone) = keys.text("Location", found)?;
    let daily = TimingSource { schedules: vec!["@daily".to_owned()], ..TimingSource::default() };
    match Timing::parse(&TimingSource { time_zone: Some(zone.to_owned()), ..daily }) {
        Ok(_) => Some(zone.to_owned()),
        Err(error) => {
            refuse_timing(&path, error, found);
            None
        }
    }
}

/// Notes what is wrong with a spec or a zone.
pub(super) fn refuse_timing(path: &FieldPath, error: TimingError, found: &mut Findings<'_>) {
    let (message, allowed) = match error {
        TimingError::Spec(error) => {
            let field = error.field.map(|field| format!("{field}: ")).unwrap_or_default();
            (format!("{:?}: {field}{}", error.text, error.problem), error.allowed)
        }
        TimingError::UnknownZone { name, nearest } => {
            let meant = nearest.map(|zone| format!(", did you mean {zone}?")).unwrap_or_default();
            let allowed = "a zone of the IANA database, like Asia/Shanghai or UTC".to_owned();
            (format!("unknown zone {name:?}{meant}"), allowed)
        }
        other => (other.to_string(), String::new()),
    };
    found.refuse(path, ConfigFault::InvalidSchedule, message, allowed);
}
