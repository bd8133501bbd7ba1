//! Events: one when what is said of an object changes, none per tick.
//!
//! They are written beside everything else, a few a second: ten thousand objects that are put into force at once must
//! not cost the API server twice as much. What does not fit is lost, first of what went well; the conditions stay.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::runtime::events::EventType;
use kube::{Api, Client};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::conditions::READY;
use crate::causes;

/// Longest note an API server takes, in bytes.
const NOTE_MAX: usize = 1000;
/// Longest part of an object's name in the name of an event, in bytes.
const NAME_MAX: usize = 220;
/// Events that wait at most.
const WAITING_MAX: usize = 1024;
/// Of them, those that say that all is well.
const GOOD_NEWS_MAX: usize = 512;
/// Between two events.
const PAUSE: Duration = Duration::from_millis(40);

/// How long a change that was told is not told again: the watch may still show what was before it.
const ECHO: Duration = Duration::from_secs(10);
/// From how many such changes on those are forgotten that are older.
const ECHOES: usize = 256;

/// Who tells of events.
pub(super) struct Events {
    waiting: Sender<Event>,
    instance: String,
    told: Mutex<Told>,
}

/// What was last told of Ready: by uid, status and reason.
#[derive(Default)]
struct Told(HashMap<String, (Instant, String, String)>);

impl Told {
    /// Whether just that was told of an object a moment ago; notes that it is now.
    fn is_echo(&mut self, uid: &str, ready: &Condition, now: Instant) -> bool {
        let is_fresh = |at: Instant| now.duration_since(at) < ECHO;
        if self.0.len() >= ECHOES {
            self.0.retain(|_, (at, ..)| is_fresh(*at));
        }
        let before = self.0.insert(uid.to_owned(), (now, ready.status.clone(), ready.reason.clone()));
        before.is_some_and(|(at, status, reason)| {
            is_fresh(at) && status == ready.status && reason == ready.reason
        })
    }
}

impl Events {
    /// Writes until it is gone; what waits then is lost.
    pub(super) fn new(client: Client, identity: &str) -> Self {
        let (waiting, told) = channel(WAITING_MAX);
        tokio::spawn(write(client, told));
        Self { waiting, instance: identity.to_owned(), told: Mutex::default() }
    }

    /// Tells of a change of Ready, if there was one.
    pub(super) fn transition(&self, object: &ObjectReference, before: &[Condition], after: &[Condition]) {
        let ready = |conditions: &[Condition]| conditions.iter().find(|found| found.type_ == READY).cloned();
        let Some(now) = ready(after) else { return };
        let said = |condition: &Condition| (condition.status.clone(), condition.reason.clone());
        if ready(before).as_ref().map(said) == Some(said(&now)) {
            return;
        }
        let uid = object.uid.as_deref().unwrap_or_default();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_echo(uid, &now, Instant::now()) {
            return;
        }
        drop(told);
        let (type_, action) = match now.status.as_str() {
            "True" => (EventType::Normal, "PutIntoForce"),
            _ => (EventType::Warning, "Refuse"),
        };
        self.tell(object, type_, &now.reason, action, &now.message);
    }

    /// Tells of something that happened to an object once.
    pub(super) fn tell(
        &self,
        object: &ObjectReference,
        type_: EventType,
        reason: &str,
        action: &str,
        note: &str,
    ) {
        let (type_, most) = match type_ {
            EventType::Normal => ("Normal", GOOD_NEWS_MAX),
            EventType::Warning => ("Warning", WAITING_MAX),
        };
        let is_full = WAITING_MAX - self.waiting.capacity() >= most;
        let event = self.event(object, type_, reason, action, note);
        if is_full || self.waiting.try_send(event).is_err() {
            tracing::debug!(event.reason = reason, "too many events wait; this one is not written");
        }
    }

    fn event(&self, object: &ObjectReference, type_: &str, reason: &str, action: &str, note: &str) -> Event {
        let now = Timestamp::now();
        // As client-go names them: no two of an object are told in the same nanosecond.
        let object_name = up_to(object.name.as_deref().unwrap_or_default(), NAME_MAX);
        let name = format!("{object_name}.{:x}", now.as_nanosecond());
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: object.namespace.clone(),
                ..ObjectMeta::default()
            },
            action: Some(action.to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(up_to(note, NOTE_MAX).to_owned()),
            reason: Some(reason.to_owned()),
            regarding: Some(object.clone()),
            reporting_controller: Some(super::CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(type_.to_owned()),
            ..Event::default()
        }
    }
}

fn up_to(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

async fn write(client: Client, mut told: Receiver<Event>) {
    let mut pace = interval(PAUSE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Some(event) = told.recv().await {
        pace.tick().await;
        let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
        let events: Api<Event> = Api::namespaced(client.clone(), namespace);
        if let Err(error) = events.create(&PostParams::default(), &event).await {
            let reason = event.reason.unwrap_or_default();
            tracing::debug!(
                event.reason = reason,
                "an event could not be written: {}",
                causes::on_one_line(&error)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(status: &str, reason: &str) -> Condition {
        let at = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH);
        Condition {
            type_: READY.into(),
            status: status.into(),
            reason: reason.into(),
            message: String::new(),
            last_transition_time: at,
            observed_generation: None,
        }
    }

    #[test]
    fn a_change_is_told_once_until_another_comes_or_time_has_passed() {
        let (mut told, start) = (Told::default(), Instant::now());
        let (well, ill) = (ready("True", "InForce"), ready("False", "RedisMissing"));
        let mut is_echo =
            |uid, ready, seconds| told.is_echo(uid, ready, start + Duration::from_secs(seconds));
        assert!(!is_echo("a", &well, 0));
        assert!(is_echo("a", &well, 1), "the watch does not show it yet");
        assert!(!is_echo("b", &well, 1), "another object");
        assert!(!is_echo("a", &ill, 2), "it changes");
        assert!(!is_echo("a", &well, 3), "and changes back");
        assert!(!is_echo("a", &well, 14), "long ago: somebody else told otherwise meanwhile");
    }

    #[test]
    fn what_is_long_ago_is_forgotten_once_there_is_much() {
        let (mut told, start) = (Told::default(), Instant::now());
        for number in 0..ECHOES {
            told.is_echo(&number.to_string(), &ready("True", "InForce"), start);
        }
        told.is_echo("one more", &ready("True", "InForce"), start + ECHO);
        assert_eq!(told.0.len(), 1);
    }
}
