//! Which replica leads: a Lease, held and taken over by client-go's rules.
//!
//! Nobody compares another machine's clock with its own. Each replica remembers, by its own monotonic clock, when the
//! Lease last changed, and takes over only after a whole lease duration without a change. Writes replace the version
//! that was read, so of two that try one fails. A leader that could not renew for [`RENEW_DEADLINE`] stops leading
//! before anybody else may begin.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long others wait without a sign of the leader before one takes over.
pub(super) const LEASE_DURATION: Duration = Duration::from_secs(15);
/// How long a leader that cannot renew still leads.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often it renews, and others look; others less regularly, so that they do not all try at once.
const RETRY: Duration = Duration::from_secs(2);
/// The Lease's name.
pub(super) const LEASE: &str = "cronmill-operator";

/// One time of leading.
#[derive(Debug, Clone)]
pub(super) struct Tenure {
    /// How often the leadership had changed hands when it began: later leaders have more.
    pub(super) epoch: u64,
    /// Cancelled when it ends.
    pub(super) ended: CancellationToken,
}

/// What to do with a Lease that was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Write this over it, and lead on success.
    Write(Box<LeaseSpec>),
    /// Another leads.
    Wait,
}

/// What one replica remembers of the Lease.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    identity: String,
    /// The record as last seen, and when it was first seen so, by our own clock.
    seen: Option<(LeaseSpec, Duration)>,
}

impl Memory {
    pub(super) fn new(identity: String) -> Self {
        Self { identity, seen: None }
    }

    /// Takes note of the Lease as it is at `now` (monotonic) and decides. `clock` is only written down, for people.
    pub(super) fn step(&mut self, lease: Option<&LeaseSpec>, now: Duration, clock: Timestamp) -> Step {
        let found = lease.cloned().unwrap_or_default();
        let since = match &self.seen {
            Some((seen, since)) if *seen == found => *since,
            _ => now,
        };
        self.seen = Some((found.clone(), since));
        let holder = found.holder_identity.as_deref().unwrap_or_default();
        let is_ours = holder == self.identity;
        let lasts = found.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).map(Duration::from_secs);
        let is_over = holder.is_empty() || now.saturating_sub(since) >= lasts.unwrap_or(LEASE_DURATION);
        if !is_ours && !is_over {
            return Step::Wait;
        }
        let transitions = found.lease_transitions.unwrap_or(0);
        let (acquired, transitions) = match is_ours {
            true => (found.acquire_time.clone(), transitions),
            // A Lease without a holder was given back: it too changes hands now.
            false => (None, transitions.saturating_add(i32::from(lease.is_some()))),
        };
        Step::Write(Box::new(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(LEASE_DURATION.as_secs() as i32),
            acquire_time: acquired.or(Some(MicroTime(clock))),
            renew_time: Some(MicroTime(clock)),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }))
    }

    /// Takes note of what we wrote ourselves.
    pub(super) fn wrote(&mut self, spec: LeaseSpec, now: Duration) {
        self.seen = Some((spec, now));
    }
}

/// Tries to lead for as long as it runs.
pub(super) struct Election {
    api: Api<Lease>,
    memory: Memory,
    started: Instant,
    tenure: watch::Sender<Option<Tenure>>,
    renewed: Instant,
}

/// Whether this replica leads; cheap to clone.
#[derive(Clone)]
pub(super) struct Leadership {
    tenure: watch::Receiver<Option<Tenure>>,
}

impl Leadership {
    /// The tenure, while it leads.
    pub(super) fn tenure(&self) -> Option<Tenure> {
        self.tenure.borrow().clone().filter(|tenure| !tenure.ended.is_cancelled())
    }

    /// Waits until it leads. Cancel-safe.
    pub(super) async fn gained(&mut self) -> Option<Tenure> {
        let gained =
            |tenure: &Option<Tenure>| tenure.as_ref().is_some_and(|tenure| !tenure.ended.is_cancelled());
        self.tenure.wait_for(gained).await.ok().and_then(|tenure| tenure.clone())
    }
}

impl Election {
    pub(super) fn new(client: Client, namespace: &str, identity: String) -> (Self, Leadership) {
        let (tenure, watched) = watch::channel(None);
        let api = Api::namespaced(client, namespace);
        let now = Instant::now();
        let election = Self { api, memory: Memory::new(identity), started: now, tenure, renewed: now };
        (election, Leadership { tenure: watched })
    }

    /// Leads when it can until `stop` is cancelled, then gives the Lease back, so that another need not wait.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut trouble = None;
        loop {
            let tried = timeout(RENEW_DEADLINE / 2, self.attempt());
            let Some(tried) = stop.run_until_cancelled(tried).await else { break };
            let told = match tried {
                Ok(Ok(())) => None,
                Ok(Err(error)) if is_race(&error) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("no answer".to_owned()),
            };
            if told.is_some() && trouble != told {
                tracing::warn!(
                    lease = LEASE,
                    "cannot read or renew the Lease: {}; trying on",
                    told.as_deref().unwrap_or("")
                );
            }
            trouble = told;
            if self.is_leading() && self.renewed.elapsed() >= RENEW_DEADLINE {
                self.end("could not renew its Lease in time");
            }
            let pause = if self.is_leading() { RETRY } else { RETRY.mul_f64(1.0 + 0.2 * fastrand::f64()) };
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                break;
            }
        }
        if self.is_leading() {
            self.end("ends");
            let _late = timeout(RETRY, self.release()).await;
        }
    }

    fn is_leading(&self) -> bool {
        self.tenure.borrow().is_some()
    }

    fn end(&self, why: &str) {
        if !self.is_leading() {
            return;
        }
        if let Some(tenure) = self.tenure.send_replace(None) {
            tenure.ended.cancel();
            tracing::info!(lease = LEASE, epoch = tenure.epoch, "leads no more: it {why}");
        }
    }

    async fn attempt(&mut self) -> Result<(), kube::Error> {
        let lease = self.api.get_opt(LEASE).await?;
        let now = Instant::now();
        let spec = lease.as_ref().map(|lease| lease.spec.clone().unwrap_or_default());
        let step = self.memory.step(spec.as_ref(), now.duration_since(self.started), Timestamp::now());
        let Step::Write(spec) = step else {
            // Somebody else holds it: whatever we believed, it is over.
            self.end("lost its Lease");
            return Ok(());
        };
        let metadata = match lease {
            Some(lease) => lease.metadata,
            None => ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() },
        };
        let is_new = metadata.resource_version.is_none();
        let lease = Lease { metadata, spec: Some(*spec) };
        let parameters =
            PostParams { field_manager: Some(super::MANAGER.to_owned()), ..PostParams::default() };
        let written = match is_new {
            true => self.api.create(&parameters, &lease).await?,
            false => self.api.replace(LEASE, &parameters, &lease).await?,
        };
        // From before the request: what others see as renewed is never earlier.
        self.renewed = now;
        let spec = written.spec.unwrap_or_default();
        let epoch = spec.lease_transitions.and_then(|times| u64::try_from(times).ok()).unwrap_or(0);
        self.memory.wrote(spec, now.duration_since(self.started));
        if !self.is_leading() {
            tracing::info!(lease = LEASE, epoch, "leads");
            self.tenure.send_replace(Some(Tenure { epoch, ended: CancellationToken::new() }));
        }
        Ok(())
    }

    /// Gives the Lease back as client-go does: nobody holds it, for a second.
    async fn release(&self) -> Result<(), kube::Error> {
        let mut lease = self.api.get(LEASE).await?;
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() != Some(&self.memory.identity) {
            return Ok(());
        }
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        let parameters =
            PostParams { field_manager: Some(super::MANAGER.to_owned()), ..PostParams::default() };
        self.api.replace(LEASE, &parameters, &lease).await.map(drop)
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        self.end("ends");
    }
}

/// Another replica was faster, which is how it should be.
fn is_race(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict() || status.is_already_exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn held(by: &str, transitions: i32, renewed_s: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(by.into()),
            lease_duration_seconds: Some(15),
            acquire_time: Some(MicroTime(AT)),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed_s).unwrap())),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    fn written(step: Step) -> (String, i32) {
        match step {
            Step::Write(spec) => (spec.holder_identity.unwrap(), spec.lease_transitions.unwrap()),
            Step::Wait => panic!("it waits"),
        }
    }

    #[test]
    fn the_first_one_leads_at_once_as_the_first() {
        assert_eq!(written(Memory::new("a".into()).step(None, s(0), AT)), ("a".into(), 0));
    }

    #[test]
    fn another_is_taken_over_only_after_a_whole_lease_without_a_change() {
        let mut b = Memory::new("b".into());
        // Its clock is hours off; only changes count.
        assert_eq!(b.step(Some(&held("a", 3, 7000)), s(100), AT), Step::Wait);
        assert_eq!(b.step(Some(&held("a", 3, 7002)), s(114), AT), Step::Wait, "it was renewed");
        assert_eq!(b.step(Some(&held("a", 3, 7002)), s(128), AT), Step::Wait);
        assert_eq!(written(b.step(Some(&held("a", 3, 7002)), s(129), AT)), ("b".into(), 4));
    }

    #[test]
    fn a_lease_that_was_given_back_is_free() {
        let mut b = Memory::new("b".into());
        assert_eq!(written(b.step(Some(&held("", 3, 0)), s(0), AT)), ("b".into(), 4));
    }

    #[test]
    fn renewing_changes_no_hands_and_keeps_when_it_began() {
        let mut a = Memory::new("a".into());
        let Step::Write(spec) = a.step(Some(&held("a", 3, 0)), s(50), Timestamp::from_second(9).unwrap())
        else {
            panic!("it waits")
        };
        assert_eq!((spec.lease_transitions, &spec.acquire_time), (Some(3), &Some(MicroTime(AT))));
        assert_eq!(spec.renew_time, Some(MicroTime(Timestamp::from_second(9).unwrap())));
    }

    #[test]
    fn a_holder_says_itself_how_long_to_wait_for_it() {
        let short = LeaseSpec { lease_duration_seconds: Some(1), ..held("a", 0, 0) };
        let mut b = Memory::new("b".into());
        assert_eq!(b.step(Some(&short), s(0), AT), Step::Wait);
        assert_eq!(written(b.step(Some(&short), s(1), AT)), ("b".into(), 1));
    }
}
