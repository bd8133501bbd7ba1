//! Workloads that TaskQueues name and do not own: which TaskQueue has which, and how large each is.
//!
//! Nothing is listed or watched for that. `/scale` of each is read now and then, from one budget however many there
//! are, and told by each write.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::end::is_draining;
use super::target::{Scaled, Target};
use crate::crd::{GROUP, TargetKind, TaskQueue};
use crate::operator::conditions::Refusal;
use crate::operator::context::{All, Context, ObjectName, Readable};
use crate::operator::leader::Tenure;

/// How often it is looked whose turn it is to be read.
const LOOK: Duration = Duration::from_millis(500);
/// Targets read per look, of those that are as they should be and of the others: 10 a second of each at most.
const READS: usize = 5;
/// How long a number is taken for the current one while nothing is going on.
const SETTLED: Duration = Duration::from_secs(10);
/// The same while pods come or go, and of a target that cannot be scaled.
const UNSETTLED: Duration = Duration::from_secs(2);
/// How old a number may be when a TaskQueue is put into force.
const KNOWN: Duration = Duration::from_secs(120);
/// How soon it is tried again to set a number that could not be set.
const AGAIN: Duration = Duration::from_secs(5);
/// How long that is told when it is not tried again, since nothing is to be set any more.
const TOLD: Duration = Duration::from_secs(30);
/// Why nothing is known of one.
const UNREAD: &str = "TargetUnread";

/// What the leader knows of all targets.
#[derive(Default)]
pub(in crate::operator) struct Targets {
    known: Mutex<HashMap<Target, Known>>,
    holders: Mutex<HashMap<Target, Holder>>,
}

#[derive(Clone)]
struct Known {
    epoch: u64,
    scaled: Result<Scaled, Refusal>,
    at: Instant,
    /// Why the number could not be set the last time, and when that was.
    unwritten: Option<(Refusal, Instant)>,
}

/// The TaskQueue that has a target: of those that name it the one that was made first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Holder {
    made: Option<Timestamp>,
    name: ObjectName,
    uid: String,
}

impl Known {
    fn is_settled(&self) -> bool {
        self.unwritten.is_none() && self.scaled.as_ref().is_ok_and(|scaled| scaled.replicas == scaled.current)
    }
}

impl Targets {
    fn known(&self) -> MutexGuard<'_, HashMap<Target, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holders(&self) -> MutexGuard<'_, HashMap<Target, Holder>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this leader knows of a target.
    fn of(&self, context: &Context, target: &Target) -> Option<Known> {
        let epoch = context.leadership.tenure()?.epoch;
        self.known().get(target).filter(|known| known.epoch == epoch).cloned()
    }

    /// Finds out anew who has which target; answers all that are named.
    fn share_out(&self, queues: &[Readable<TaskQueue>]) -> HashSet<Target> {
        let mut holders: HashMap<Target, Holder> = HashMap::new();
        for queue in queues {
            let Some(target) = Target::of(queue) else { continue };
            if queue.metadata.deletion_timestamp.is_some() && !is_draining(queue) {
                continue;
            }
            let holder = Holder {
                made: queue.metadata.creation_timestamp.as_ref().map(|made| made.0),
                name: ObjectName::of(&**queue),
                uid: queue.uid().unwrap_or_default(),
            };
            match holders.get_mut(&target) {
                Some(first) if *first <= holder => {}
                Some(first) => *first = holder,
                None => drop(holders.insert(target, holder)),
            }
        }
        let named = holders.keys().cloned().collect();
        *self.holders() = holders;
        named
    }
}

/// How large the target of a TaskQueue is.
///
/// # Errors
/// Why it is not that TaskQueue's to scale, or cannot be read.
pub(super) fn scaled(context: &Context, queue: &TaskQueue, target: &Target) -> Result<Scaled, Refusal> {
    check_owner(context, target)?;
    let holder = context.targets.holders().get(target).cloned();
    if let Some(holder) = holder.filter(|holder| Some(&holder.uid) != queue.uid().as_ref()) {
        return Err(Refusal::edit(
            "TargetTaken",
            format!("{target} is scaled by TaskQueue {}, which was made before this one", holder.name),
            "name another workload in spec.workers.targetRef, or serve all queues in one TaskQueue",
        ));
    }
    context.targets.of(context, target).map_or_else(
        || {
            let what = format!("the scale of {target} was not read yet");
            Err(Refusal::passing(UNREAD, what, "the API server is asked again by itself"))
        },
        |known| known.scaled,
    )
}

/// Whether the target of a TaskQueue is scaled as it should be; `None` without one.
///
/// # Errors
/// Why it is not.
pub(super) fn verdict(context: &Context, queue: &TaskQueue) -> Option<Result<Scaled, Refusal>> {
    let target = Target::of(queue)?;
    let scaled = scaled(context, queue, &target);
    let unwritten = || context.targets.of(context, &target).and_then(|known| known.unwritten);
    Some(scaled.and_then(|scaled| unwritten().map_or(Ok(scaled), |(refusal, _)| Err(refusal))))
}

/// A target that a TaskQueue owns is scaled by that one.
fn check_owner(context: &Context, target: &Target) -> Result<(), Refusal> {
    if target.kind != TargetKind::Deployment {
        return Ok(());
    }
    let scope = context.scope(&target.namespace);
    let ours = scope
        .and_then(|scope| scope.deployments.get(&ObjectRef::new(&target.name).within(&target.namespace)));
    let owner = ours.as_ref().and_then(|ours| {
        ours.owner_references().iter().find(|owner| {
            owner.kind == "TaskQueue"
                && owner.api_version.split_once('/').is_some_and(|(group, _)| group == GROUP)
        })
    });
    match owner {
        None => Ok(()),
        Some(owner) => Err(Refusal::edit(
            "TargetOwned",
            format!("{target} belongs to TaskQueue {}, which made it and scales it", owner.name),
            "name a workload of your own in spec.workers.targetRef, or leave that out to have one made",
        )),
    }
}

/// Reads a target, and notes what came of it. What passes by itself leaves what was known.
async fn read(context: &Context, tenure: &Tenure, target: &Target) {
    let read = target.read(context).await;
    let before = context.targets.of(context, target);
    let scaled = match &read {
        Ok(scaled) => Ok(scaled.clone()),
        Err(failed) => match (target.refusal(failed, "read"), &before) {
            (Some(refusal), _) => Err(refusal),
            (None, Some(known)) => known.scaled.clone(),
            (None, None) => {
                let what = format!("the scale of {target} cannot be read: {failed}");
                Err(Refusal::passing(UNREAD, what, "the API server is asked again by itself"))
            }
        },
    };
    let unwritten = before.and_then(|known| known.unwritten).filter(|(_, at)| at.elapsed() < TOLD);
    let known = Known { epoch: tenure.epoch, scaled, at: Instant::now(), unwritten };
    context.targets.known().insert(target.clone(), known);
}

/// Sees to it that something is known of the target of a TaskQueue, and answers whether it is scaled as it should be.
///
/// # Errors
/// Why it is not.
pub(super) async fn find(context: &Context, tenure: &Tenure, queue: &TaskQueue) -> Result<(), Refusal> {
    let Some(target) = Target::of(queue) else { return Ok(()) };
    let is_named = context.targets.holders().contains_key(&target);
    if !is_named {
        context.targets.share_out(&context.queues());
    }
    let is_known = context
        .targets
        .of(context, &target)
        .is_some_and(|known| known.at.elapsed() < if known.scaled.is_ok() { KNOWN } else { UNSETTLED });
    if !is_known {
        read(context, tenure, &target).await;
    }
    verdict(context, queue).map_or(Ok(()), |verdict| verdict.map(drop))
}

/// Sets the number of a target's pods.
///
/// # Errors
/// Why that is not done, for people.
pub(super) async fn scale(context: &Context, target: &Target, to: u32) -> Result<(), String> {
    let unwritten = context.targets.of(context, target).and_then(|known| known.unwritten);
    if let Some((refusal, _)) = unwritten.filter(|(_, at)| at.elapsed() < AGAIN) {
        return Err(refusal.message);
    }
    let written = target.write(context, to).await;
    let mut known = context.targets.known();
    let Some(known) = known.get_mut(target) else { return Ok(()) };
    match written {
        Ok(scaled) => {
            (known.scaled, known.unwritten, known.at) = (Ok(scaled), None, Instant::now());
            Ok(())
        }
        Err(failed) => {
            match target.refusal(&failed, "change") {
                Some(gone) if gone.reason == "TargetMissing" => known.scaled = Err(gone),
                Some(refusal) => known.unwritten = Some((refusal, Instant::now())),
                None => {}
            }
            Err(failed.to_string())
        }
    }
}

/// Reads targets for as long as it runs, and has TaskQueues looked at whose target is, or is no more, as it should be.
pub(in crate::operator) async fn follow_targets(context: &Context, tenure: &Tenure) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // By the TaskQueue's uid: what is wrong with its target.
    let mut told: HashMap<String, Option<&'static str>> = HashMap::new();
    let (mut seen, mut named): (Option<All<TaskQueue>>, _) = (None, HashSet::new());
    loop {
        looks.tick().await;
        let queues = context.queues();
        if !seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &queues)) {
            named = context.targets.share_out(&queues);
            seen = Some(Arc::clone(&queues));
        }
        if named.is_empty() && told.is_empty() {
            continue;
        }
        context.targets.known().retain(|target, known| named.contains(target) && known.epoch == tenure.epoch);
        let mut living = HashMap::new();
        for queue in queues.iter() {
            let Some(verdict) = verdict(context, queue) else { continue };
            let (uid, wrong) = (queue.uid().unwrap_or_default(), verdict.err().map(|refusal| refusal.reason));
            if wrong == Some(UNREAD) {
                continue;
            }
            if told.get(&uid).is_some_and(|before| *before != wrong) {
                context.wake_queue(&ObjectName::of(&**queue));
            }
            living.insert(uid, wrong);
        }
        told = living;
        let due = due(&context.targets.known(), Instant::now());
        join_all(due.iter().map(|target| read(context, tenure, target))).await;
    }
}

/// Whose turn it is: those read longest ago, each no sooner than it makes sense.
fn due(known: &HashMap<Target, Known>, now: Instant) -> Vec<Target> {
    let mut due = Vec::new();
    for (is_settled, age) in [(true, SETTLED), (false, UNSETTLED)] {
        let some = known.iter().filter(|(_, known)| known.is_settled() == is_settled);
        let mut some: Vec<_> = some.filter(|(_, known)| now.duration_since(known.at) >= age).collect();
        some.sort_by_key(|(_, known)| known.at);
        due.extend(some.into_iter().take(READS).map(|(target, _)| target.clone()));
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: impl ToString) -> Target {
        Target { namespace: "n".into(), kind: TargetKind::StatefulSet, name: name.to_string() }
    }

    fn known(replicas: u32, current: u32, at: Instant) -> Known {
        let scaled = Ok(Scaled { replicas, current, selector: String::new() });
        Known { epoch: 1, scaled, at, unwritten: None }
    }

    #[tokio::test]
    async fn a_target_that_changes_or_cannot_be_scaled_is_read_sooner_than_one_at_rest() {
        let start = Instant::now();
        let wrong = Refusal::edit("TargetMissing", "what", "next");
        let mut all = HashMap::from([
            (target("rests"), known(2, 2, start)),
            (target("grows"), known(2, 1, start)),
            (target("missing"), Known { scaled: Err(wrong.clone()), ..known(0, 0, start) }),
            (target("refused"), Known { unwritten: Some((wrong, start)), ..known(0, 0, start) }),
        ]);
        let names = |all: &HashMap<_, _>, age| {
            let mut names: Vec<_> = due(all, start + age).into_iter().map(|target| target.name).collect();
            names.sort();
            names
        };
        assert!(names(&all, UNSETTLED - LOOK).is_empty());
        assert_eq!(names(&all, UNSETTLED), ["grows", "missing", "refused"]);
        all.retain(|target, _| target.name == "rests");
        assert!(names(&all, SETTLED - LOOK).is_empty());
        assert_eq!(names(&all, SETTLED), ["rests"]);
    }

    #[tokio::test]
    async fn however_many_there_are_a_few_are_read_at_once_the_oldest_first_and_those_at_rest_starve_nobody()
    {
        let start = Instant::now();
        let at = |number: u64| start + Duration::from_millis(number);
        let resting = (0..500).map(|number| (target(format!("r{number}")), known(1, 1, at(number))));
        let growing = (500..1000).map(|number| (target(format!("g{number}")), known(1, 0, at(number))));
        let names = due(&resting.chain(growing).collect(), start + Duration::from_secs(3600));
        let names: Vec<_> = names.into_iter().map(|target| target.name).collect();
        assert_eq!(names, ["r0", "r1", "r2", "r3", "r4", "g500", "g501", "g502", "g503", "g504"]);
    }
}
