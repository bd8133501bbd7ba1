//! Events: one when what is said of an object changes, none per tick.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use super::conditions::READY;

/// Longest note an API server takes, in bytes.
const NOTE_MAX: usize = 1000;

/// Who writes events.
#[derive(Clone)]
pub(super) struct Events {
    recorder: Recorder,
}

impl Events {
    pub(super) fn new(client: Client, identity: &str) -> Self {
        let reporter =
            Reporter { controller: super::CONTROLLER.to_owned(), instance: Some(identity.to_owned()) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Tells of a change of Ready, if there was one. An event that cannot be written is lost: the condition stays.
    pub(super) async fn transition(
        &self,
        object: &ObjectReference,
        before: &[Condition],
        after: &[Condition],
    ) {
        let ready = |conditions: &[Condition]| conditions.iter().find(|found| found.type_ == READY).cloned();
        let Some(now) = ready(after) else { return };
        let said = |condition: &Condition| (condition.status.clone(), condition.reason.clone());
        if ready(before).as_ref().map(said) == Some(said(&now)) {
            return;
        }
        let (type_, action) = match now.status.as_str() {
            "True" => (EventType::Normal, "PutIntoForce"),
            _ => (EventType::Warning, "Refuse"),
        };
        self.tell(object, type_, &now.reason, action, &now.message).await;
    }

    /// Tells of something else that happened to an object once.
    pub(super) async fn tell(
        &self,
        object: &ObjectReference,
        type_: EventType,
        reason: &str,
        action: &str,
        note: &str,
    ) {
        let mut end = note.len().min(NOTE_MAX);
        while !note.is_char_boundary(end) {
            end -= 1;
        }
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note[..end].to_owned()),
            action: action.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, object).await {
            tracing::debug!(%error, event.reason = reason, "an event could not be written");
        }
    }
}
