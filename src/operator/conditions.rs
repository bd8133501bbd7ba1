//! Conditions: what is said of an object, and since when.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::broker::BrokerError;
use crate::causes;
use crate::resolve::Flaw;
use crate::scheduler::SchedulerError;

/// The spec is accepted and in force.
pub(super) const READY: &str = "Ready";
/// It is being put into force, and nobody has to do anything.
pub(super) const RECONCILING: &str = "Reconciling";
/// Nothing but an edit helps, of the object or of what it refers to.
pub(super) const STALLED: &str = "Stalled";
/// Redis answers.
pub(super) const REDIS_REACHABLE: &str = "RedisReachable";
/// The queues are this TaskQueue's in Redis.
pub(super) const QUEUES_CLAIMED: &str = "QueuesClaimed";
/// The number of workers follows the work.
pub(super) const SCALING: &str = "Scaling";

/// No worker is known that cannot run.
pub(super) const WORKERS_HEALTHY: &str = "WorkersHealthy";
/// Never true, since not all workers tell what they serve: false while a type is queued that none of them serves.
pub(super) const HANDLERS_AVAILABLE: &str = "HandlersAvailable";

/// All that we write; those of other types are another program's.
const OURS: [&str; 8] = [
    READY,
    RECONCILING,
    STALLED,
    REDIS_REACHABLE,
    QUEUES_CLAIMED,
    SCALING,
    WORKERS_HEALTHY,
    HANDLERS_AVAILABLE,
];

/// Longest message of a condition, in characters.
const MESSAGE_MAX: usize = 1024;

/// Why an object is not in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// A fixed word.
    pub(super) reason: &'static str,
    /// What is wrong, and what to do next.
    pub(super) message: String,
    /// Whether somebody has to edit something.
    pub(super) needs_edit: bool,
}

impl Refusal {
    /// Somebody has to edit something; `next` says what.
    pub(super) fn edit(reason: &'static str, what: impl fmt::Display, next: impl fmt::Display) -> Self {
        Self { reason, message: format!("{what}; {next}"), needs_edit: true }
    }

    /// It passes by itself; `next` says what is done meanwhile, or may be.
    pub(super) fn passing(reason: &'static str, what: impl fmt::Display, next: impl fmt::Display) -> Self {
        Self { reason, message: format!("{what}; {next}"), needs_edit: false }
    }

    /// What is wrong with a spec.
    pub(super) fn flaws(flaws: &[Flaw]) -> Self {
        let reason = flaws.first().map_or("InvalidSpec", |flaw| flaw.kind.as_str());
        let message: Vec<_> = flaws.iter().map(ToString::to_string).collect();
        Self { reason, message: message.join(" | "), needs_edit: true }
    }
}

impl From<&BrokerError> for Refusal {
    fn from(error: &BrokerError) -> Self {
        let what = causes::on_one_line(error);
        match error.is_retryable() {
            true => Self::passing(error.reason(), what, "it is tried again by itself, every few seconds"),
            false => Self::edit(error.reason(), what, "it is tried again by itself once that is mended"),
        }
    }
}

impl From<&SchedulerError> for Refusal {
    fn from(error: &SchedulerError) -> Self {
        match error {
            SchedulerError::Broker { source, .. } => source.into(),
            error if error.is_retryable() => {
                Self::passing(error.reason(), causes::on_one_line(error), "it is tried again by itself")
            }
            error => Self::edit(error.reason(), causes::on_one_line(error), "edit the spec"),
        }
    }
}

impl From<&kube::Error> for Refusal {
    fn from(error: &kube::Error) -> Self {
        Self::passing("APIRequestFailed", causes::on_one_line(error), "it is tried again by itself")
    }
}

/// One condition as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) kind: &'static str,
    pub(super) is_true: bool,
    pub(super) reason: String,
    pub(super) message: String,
}

impl Wanted {
    pub(super) fn new(
        kind: &'static str,
        is_true: bool,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, is_true, reason: reason.into(), message: message.into() }
    }
}

/// Ready, and what tools in the manner of kstatus look at, from what became of an object. `Ok` says what is in force.
///
/// What passes by itself does not take Ready from an object whose spec is in force: see `was_ready`.
pub(super) fn verdict(outcome: Result<String, &Refusal>, was_ready: bool) -> Vec<Wanted> {
    match outcome {
        Ok(message) => vec![Wanted::new(READY, true, "InForce", message)],
        Err(refusal) if refusal.needs_edit => vec![
            Wanted::new(READY, false, refusal.reason, &refusal.message),
            Wanted::new(STALLED, true, refusal.reason, &refusal.message),
        ],
        Err(refusal) if was_ready => {
            vec![Wanted::new(READY, true, "InForce", format!("in force, but: {}", refusal.message))]
        }
        Err(refusal) => vec![
            Wanted::new(READY, false, refusal.reason, &refusal.message),
            Wanted::new(RECONCILING, true, refusal.reason, &refusal.message),
        ],
    }
}

/// Whether a condition is true, for that generation.
pub(super) fn is_true(conditions: &[Condition], kind: &str, generation: Option<i64>) -> bool {
    let holds =
        |condition: &Condition| condition.status == "True" && condition.observed_generation == generation;
    conditions.iter().any(|condition| condition.type_ == kind && holds(condition))
}

/// The conditions to write: those wanted, each with the time at which it last changed its status.
pub(super) fn conditions(
    before: &[Condition],
    wanted: Vec<Wanted>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let written = wanted.into_iter().map(|wanted| {
        let status = if wanted.is_true { "True" } else { "False" };
        let same = before.iter().find(|old| old.type_ == wanted.kind && old.status == status);
        // The API keeps whole seconds.
        let since = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
        Condition {
            last_transition_time: same.map_or(since, |old| old.last_transition_time.clone()),
            message: cut(&wanted.message),
            observed_generation: generation,
            reason: wanted.reason,
            status: status.to_owned(),
            type_: wanted.kind.to_owned(),
        }
    });
    written.collect()
}

/// Whether an object already carries exactly these of ours, in whatever order and beside others' own.
pub(super) fn are_written(before: &[Condition], wanted: &[Condition]) -> bool {
    let ours = before.iter().filter(|old| OURS.contains(&old.type_.as_str()));
    ours.count() == wanted.len() && wanted.iter().all(|wanted| before.contains(wanted))
}

fn cut(message: &str) -> String {
    let one_line = message.replace(|c: char| c.is_control(), " ");
    match one_line.char_indices().nth(MESSAGE_MAX) {
        Some((at, _)) => format!("{}…", &one_line[..at]),
        None => one_line,
    }
}

/// How long to wait before the `attempt`-th try again: 1 s doubling to 30 s, less a random quarter.
pub(super) fn backoff(attempt: u32) -> Duration {
    let whole = Duration::from_secs(1 << attempt.min(5)).min(Duration::from_secs(30));
    whole.mul_f64(1.0 - fastrand::f64() / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let wanted = |is_true, reason: &str| vec![Wanted::new(READY, is_true, reason, "m")];
        let first = conditions(&[], wanted(false, "A"), Some(1), at(10));
        let second = conditions(&first, wanted(false, "B"), Some(2), at(20));
        assert_eq!((second[0].last_transition_time.0, second[0].reason.as_str()), (at(10), "B"));
        let third = conditions(&second, wanted(true, "B"), Some(2), at(30));
        assert_eq!(third[0].last_transition_time.0, at(30));
    }

    #[test]
    fn a_condition_of_another_program_is_no_news() {
        let wanted = |kinds: &[&'static str]| {
            let wanted = kinds.iter().map(|kind| Wanted::new(kind, true, "A", "m")).collect();
            conditions(&[], wanted, Some(1), at(10))
        };
        let (ours, [theirs]) = (wanted(&[READY, SCALING]), &wanted(&["Audited"])[..]) else { panic!() };
        let beside = [theirs.clone(), ours[1].clone(), ours[0].clone()];
        assert!(are_written(&ours, &ours) && are_written(&beside, &ours));
        assert!(!are_written(&beside, &ours[..1]), "one of ours is to go");
        assert!(!are_written(&beside[..2], &ours), "one of ours is to come");
        assert!(!are_written(
            &ours,
            &conditions(&[], vec![Wanted::new(READY, true, "B", "m")], Some(1), at(10))
        ));
    }

    #[test]
    fn what_passes_by_itself_does_not_take_ready_away() {
        let away = Refusal::passing("RedisUnreachable", "Redis is away", "wait");
        let kinds = |wanted: Vec<Wanted>| {
            wanted.into_iter().map(|wanted| (wanted.kind, wanted.is_true)).collect::<Vec<_>>()
        };
        assert_eq!(kinds(verdict(Err(&away), true)), [(READY, true)]);
        assert_eq!(kinds(verdict(Err(&away), false)), [(READY, false), (RECONCILING, true)]);
        let wrong = Refusal::edit("UnknownZone", "no zone", "edit it");
        assert_eq!(kinds(verdict(Err(&wrong), true)), [(READY, false), (STALLED, true)]);
        assert_eq!(kinds(verdict(Ok("fine".into()), false)), [(READY, true)]);
    }

    #[test]
    fn a_message_is_one_line_of_bounded_length() {
        let message = cut(&"é\n".repeat(5000));
        assert_eq!((message.chars().count(), message.contains('\n')), (MESSAGE_MAX + 1, false));
    }

    #[test]
    fn the_wait_grows_and_stays_bounded() {
        for attempt in 0..100 {
            let wait = backoff(attempt);
            assert!(
                wait <= Duration::from_secs(30) && wait >= Duration::from_millis(750),
                "{attempt}: {wait:?}"
            );
        }
    }
}
