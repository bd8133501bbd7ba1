//! The fleets whose queues are on one Redis: the work is read for all of them together, what was read goes through the
//! pure function, and its answer to `/scale`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::time::{Instant, sleep_until, timeout};

use super::fleet::{self, Fleet, Rest};
use super::handshake::{Answer, Fewer, Handshake};
use super::idle::IdleQueues;
use super::scale::Share;
use super::target::{Target, Workload};
use super::targets;
use crate::broker::{Broker, BrokerError, Concern, Demand, DemandReader, LiveServer, Outage, Question};
use crate::crd::TaskQueue;
use crate::fleet::{FleetName, Work, read_records, write_records};
use crate::operator::context::{Context, ObjectName, Readable, uid_of};
use crate::operator::leader::Tenure;
use crate::operator::site::Site;
use crate::scaling::{Plan, Policy};
use crate::task::QueueName;

/// How often fleets are looked at: work that nobody waits for is seen within a second.
const LOOK: Duration = Duration::from_millis(750);
/// How long one look may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Fleets whose number is written at once.
const ASKS_AT_ONCE: usize = 16;

/// The fleets of one Redis, as this leader knows them.
pub(super) struct SiteFleets<'a> {
    context: &'a Context,
    tenure: &'a Tenure,
    broker: Broker,
    reader: DemandReader,
    /// By the TaskQueue's uid.
    fleets: HashMap<String, Fleet>,
    /// Whose these are.
    share: Share,
    /// What is asked of all their queues, while those are the same.
    question: Option<Question>,
    /// How often Deployments and claims had changed at the last look, if that looked at all that had.
    changes: Option<(u64, u64)>,
    idle: IdleQueues,
    /// The queues of the fleets at rest that have no workers, and whether that is true still.
    waited_on: HashSet<QueueName>,
    are_waited_on: bool,
}

/// A fleet that can be decided about now.
struct Candidate {
    uid: String,
    object: Readable<TaskQueue>,
    name: ObjectName,
    queues: Vec<QueueName>,
    policy: Policy,
    workload: Workload,
    /// Workers there are to be, as its workload says.
    replicas: u32,
}

/// What was decided about it.
struct Decided {
    candidate: Candidate,
    plan: Plan,
}

/// A fleet whose number is not what it is to be, or was on its way to another.
struct Asking<'a> {
    candidate: &'a Candidate,
    plan: Plan,
    /// Workers there are to be by now.
    current: u32,
    handshake: Handshake,
}

/// What came of it.
enum Asked {
    /// So many were asked for, while those served.
    Scaled(u32, Vec<LiveServer>),
    /// So many workers are to go once they hold nothing.
    Waits(u32),
    Nothing,
}

impl Asking<'_> {
    async fn go(mut self, context: &Context, broker: &Broker) -> (Self, Result<Asked, String>) {
        let asked = self.ask(context, broker).await;
        (self, asked)
    }

    async fn ask(&mut self, context: &Context, broker: &Broker) -> Result<Asked, String> {
        let Candidate { name, queues, workload, replicas: seen, .. } = self.candidate;
        let wanted = self.plan.replicas;
        let fewer = Fewer { context, broker, queue: name, queues, current: self.current, wanted };
        let replicas = if matches!(workload, Workload::Target(_)) {
            // Which of its pods go is not ours to choose.
            wanted
        } else if wanted < self.current {
            match self.handshake.step(&fewer).await? {
                Some(Answer::Go(replicas)) => replicas,
                Some(Answer::Wait(workers)) => return Ok(Asked::Waits(workers)),
                None => return Ok(Asked::Nothing),
            }
        } else {
            self.handshake.give_up(&fewer).await;
            wanted
        };
        if replicas == self.current {
            return Ok(Asked::Nothing);
        }
        let plan = Plan { replicas, ..self.plan };
        Ok(Asked::Scaled(replicas, fleet::ask(context, broker, name, workload, *seen, plan).await?))
    }
}

impl<'a> SiteFleets<'a> {
    /// Scales the fleets on a Redis until there are none there.
    pub(super) async fn scale(context: &'a Context, tenure: &'a Tenure, site: &Arc<Site>) {
        let Ok(parts) = site.parts() else { return };
        let broker = parts.broker.clone();
        let mut fleets = Self {
            context,
            tenure,
            reader: DemandReader::new(broker.clone()),
            idle: IdleQueues::new(broker.clone(), context.around.owner.clone(), context.scaler.room()),
            broker,
            fleets: HashMap::new(),
            share: Share::default(),
            question: None,
            changes: None,
            waited_on: HashSet::new(),
            are_waited_on: false,
        };
        let mut outage = Outage::new("see what work there is");
        while !context.scaler.share_of(&site.key).is_empty() {
            let began = Instant::now();
            let looked = timeout(LIMIT, fleets.look(&site.key, None)).await;
            if !matches!(looked, Ok(Ok(()))) {
                // What was seen to have changed may not have been decided about.
                fleets.changes = None;
            }
            let pause = match looked {
                Ok(Ok(())) => {
                    outage.ended();
                    LOOK.saturating_sub(began.elapsed())
                }
                Ok(Err(error)) => outage.failed(&error),
                Err(_) => LOOK,
            };
            fleets.rest(&site.key, began + began.elapsed() + pause).await;
        }
    }

    /// Waits until then. A fleet that gets work meanwhile is looked at at once.
    async fn rest(&mut self, site: &str, until: Instant) {
        loop {
            let queue = tokio::select! {
                queue = self.idle.rung() => queue,
                () = sleep_until(until) => return,
            };
            let looked = timeout(LIMIT, self.look(site, Some(&queue))).await;
            if let Ok(Err(error)) = looked {
                tracing::debug!(queue.name = %queue, "a fleet was not looked at: {error}");
            }
        }
    }

    /// Looks at all fleets, or at the one that serves a queue.
    async fn look(&mut self, site: &str, only: Option<&QueueName>) -> Result<(), BrokerError> {
        let share = self.context.scaler.share_of(site);
        let looked_at = match only {
            Some(queue) => self.serving(&share, queue),
            None => {
                self.follow(&share);
                self.disturbed(&share).await?
            }
        };
        let mut candidates = Vec::with_capacity(looked_at.len());
        for queue in &looked_at {
            match self.candidate(queue) {
                Some(candidate) => candidates.push(candidate),
                None => self.rests(uid_of(queue), None),
            }
        }
        if only.is_none() {
            let read: HashSet<_> = candidates.iter().flat_map(|one| &one.queues).collect();
            self.reader.keep_only(|queue| read.contains(queue));
        }
        self.muster(&candidates).await?;
        // Before it is decided: a worker may be there, do all there is to do, and be sent away in one look.
        self.hear_of_starts().await?;
        let decided = self.decide(candidates).await?;
        if only.is_none() {
            self.wait_on_idle();
        }
        self.ask(&decided).await;
        let now = self.broker.now();
        write_records(&self.broker, self.fleets.values_mut().map(Fleet::watch), now).await
    }

    /// Forgets the fleets that are not among these any more.
    fn follow(&mut self, share: &Share) {
        if Arc::ptr_eq(&self.share, share) {
            return;
        }
        let living: HashSet<_> = share.iter().map(|queue| uid_of(queue)).collect();
        self.fleets.retain(|uid, _| living.contains(uid.as_str()));
        self.share = Arc::clone(share);
        (self.question, self.are_waited_on) = (None, false);
    }

    /// The one that serves a queue.
    fn serving(&self, share: &Share, queue: &QueueName) -> Vec<Readable<TaskQueue>> {
        let serves = |(_, fleet): &(&String, &Fleet)| fleet.queues().contains(queue);
        let Some((uid, _)) = self.fleets.iter().find(serves) else { return Vec::new() };
        share.iter().filter(|queue| uid_of(queue) == uid).cloned().collect()
    }

    /// Those that are to be looked at: all but those that have what they are to have, and whose queues are still empty.
    async fn disturbed(&mut self, share: &Share) -> Result<Vec<Readable<TaskQueue>>, BrokerError> {
        let changes = (self.context.deployment_changes(), self.context.claims.changes());
        let is_as_seen = self.changes.replace(changes) == Some(changes);
        let fleets = || share.iter().map(|queue| self.fleets.get(uid_of(queue)));
        let mut question = self.question.take().unwrap_or_else(|| {
            let queues = fleets().flatten().flat_map(Fleet::queues).cloned().collect();
            self.broker.question(Concern::Workers, queues)
        });
        let mut hold = self.broker.which_hold(&mut question).await?.into_iter();
        let mut disturbed = Vec::new();
        for (queue, fleet) in share.iter().zip(fleets()) {
            let count = fleet.map_or(0, |fleet| fleet.queues().len());
            let holding = hold.by_ref().take(count).filter(|holds| *holds).count();
            let rest = fleet.and_then(|fleet| Some((fleet, fleet.rest.as_ref()?)));
            let goes_on = |(fleet, rest): (&Fleet, &Rest)| {
                let is_known = is_as_seen && fleet.is_of_our_own();
                let has_as_many =
                    || self.workload(queue).is_some_and(|(_, replicas)| replicas == rest.replicas);
                rest.queue.is(queue) && rest.is_recent() && (is_known || has_as_many())
            };
            if holding > 0 || !rest.is_some_and(goes_on) {
                disturbed.push(queue.clone());
            }
        }
        self.question = Some(question);
        Ok(disturbed)
    }

    /// Notes whether a fleet is at rest.
    fn rests(&mut self, uid: &str, rest: Option<Rest>) {
        let is_at_zero = |rest: &Option<Rest>| rest.as_ref().is_some_and(Rest::is_at_zero);
        if let Some(fleet) = self.fleets.get_mut(uid) {
            self.are_waited_on &= is_at_zero(&fleet.rest) == is_at_zero(&rest);
            fleet.rest = rest;
        }
    }

    /// Waits on the queues of the fleets at rest that have no workers.
    fn wait_on_idle(&mut self) {
        if !std::mem::replace(&mut self.are_waited_on, true) {
            let is_at_zero = |fleet: &&Fleet| fleet.rest.as_ref().is_some_and(Rest::is_at_zero);
            let at_rest = self.fleets.values().filter(is_at_zero);
            self.waited_on = at_rest.flat_map(Fleet::queues).cloned().collect();
        }
        self.idle.wait_on(&self.waited_on);
    }

    fn candidate(&self, queue: &Readable<TaskQueue>) -> Option<Candidate> {
        let (workload, replicas) = self.workload(queue)?;
        let wanted = self.context.plan(queue).ok()?;
        let policy = wanted.workers.as_ref()?.policy();
        let queues = wanted.redis_names().cloned().collect();
        let (uid, object, name) = (uid_of(queue).to_owned(), queue.clone(), ObjectName::of(&**queue));
        Some(Candidate { uid, object, name, queues, policy, workload, replicas })
    }

    /// What is to be scaled for a TaskQueue, and how many workers that says there are to be.
    fn workload(&self, queue: &TaskQueue) -> Option<(Workload, u32)> {
        if queue.metadata.deletion_timestamp.is_some() && !super::end::is_draining(queue) {
            return None;
        }
        if !self.context.claims.are_held(uid_of(queue), self.tenure.epoch) {
            return None;
        }
        match Target::of(queue) {
            None => {
                let deployment = self.context.deployment(&ObjectName::of(queue))?;
                Some((Workload::Owned, fleet::replicas_of(&deployment)))
            }
            Some(target) => {
                let scaled = targets::scaled(self.context, queue, &target).ok()?;
                Some((Workload::Target(target), scaled.replicas))
            }
        }
    }

    /// Has new fleets go on from what was written down of them.
    async fn muster(&mut self, candidates: &[Candidate]) -> Result<(), BrokerError> {
        let mut new = Vec::new();
        for candidate in candidates {
            match self.fleets.get_mut(&candidate.uid) {
                Some(fleet) => {
                    if fleet.serve(&candidate.queues) {
                        (self.question, self.are_waited_on) = (None, false);
                    }
                    fleet.works_as(&candidate.workload);
                }
                None => new.push(candidate),
            }
        }
        let queues: Vec<_> = new.iter().flat_map(|candidate| candidate.queues.iter().cloned()).collect();
        let records = read_records(&self.broker, &queues).await?;
        for candidate in new {
            let name = FleetName { name: candidate.name.to_string(), owner: candidate.uid.clone() };
            let mut fleet = Fleet::new(name, candidate.queues.clone(), candidate.workload.clone());
            fleet.watch().recall(&records, &candidate.policy, candidate.replicas, self.broker.now());
            self.fleets.insert(candidate.uid.clone(), fleet);
            self.question = None;
        }
        Ok(())
    }

    /// Decides about each whose queues can be read.
    async fn decide(&mut self, candidates: Vec<Candidate>) -> Result<Vec<Decided>, BrokerError> {
        let mut asked = Vec::new();
        for candidate in &candidates {
            let Some(fleet) = self.fleets.get_mut(&candidate.uid) else { continue };
            let ahead = fleet.watch().ahead();
            asked.extend(candidate.queues.iter().map(|queue| (queue.clone(), ahead)));
        }
        let mut demands = self.reader.read(&asked).await?.into_iter();
        let mut decided = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let read: Vec<_> = demands.by_ref().take(candidate.queues.len()).collect();
            let Some(fleet) = self.fleets.get_mut(&candidate.uid) else { continue };
            let read: Vec<Demand> = match read.into_iter().collect() {
                Ok(read) => read,
                Err(error) => {
                    let error: BrokerError = error;
                    tracing::debug!(queue = %candidate.name, "a fleet keeps its size: {error}");
                    self.rests(&candidate.uid, None);
                    continue;
                }
            };
            let work = Work::of(&read);
            let current = fleet.current(candidate.replicas);
            let plan = fleet.watch().decide(&work, &candidate.policy, current, self.broker.now());
            let fewest = candidate.policy.fixed.unwrap_or(candidate.policy.min);
            let is_settled = [candidate.replicas, plan.replicas] == [fewest; 2]
                && !fleet.handshake.has_begun()
                && work.is_idle()
                && read.iter().all(|demand| demand.pending == 0 && !demand.is_paused);
            let is_gone =
                is_settled && candidate.replicas == 0 && workers_there(self.context, &candidate) == 0;
            self.context.scaler.note(&candidate.uid, plan, is_gone);
            let (queue, replicas, since) = (candidate.object.clone(), candidate.replicas, Instant::now());
            self.rests(&candidate.uid, is_settled.then_some(Rest { queue, replicas, since }));
            decided.push(Decided { candidate, plan });
        }
        Ok(decided)
    }

    /// Writes the numbers that are different from what they are to be. Down goes only who holds nothing.
    async fn ask(&mut self, decided: &[Decided]) {
        let mut steps = Vec::new();
        for Decided { candidate, plan } in decided {
            let Some(fleet) = self.fleets.get_mut(&candidate.uid) else { continue };
            let current = fleet.current(candidate.replicas);
            let is_down = plan.replicas < current;
            if is_down || fleet.handshake.has_begun() || fleet.may_ask(plan.replicas, candidate.replicas) {
                let handshake = std::mem::take(&mut fleet.handshake);
                steps.push(Asking { candidate, plan: *plan, current, handshake });
            }
        }
        let (context, broker) = (self.context, &self.broker);
        let steps: Vec<_> = steps.into_iter().map(|step| step.go(context, broker).boxed()).collect();
        let mut steps = stream::iter(steps).buffer_unordered(ASKS_AT_ONCE);
        while let Some((step, asked)) = steps.next().await {
            let candidate = step.candidate;
            let Some(fleet) = self.fleets.get_mut(&candidate.uid) else { continue };
            fleet.handshake = step.handshake;
            match asked {
                Ok(Asked::Scaled(replicas, servers)) => fleet.asked(replicas, candidate.replicas, servers),
                Ok(Asked::Waits(workers)) => self.context.scaler.note_awaited(&candidate.uid, workers),
                Ok(Asked::Nothing) => {}
                Err(why) => tracing::debug!(queue = %candidate.name, "a fleet was not scaled: {why}"),
            }
        }
    }

    /// Learns from the first signs of new workers how long one takes to be there.
    async fn hear_of_starts(&mut self) -> Result<(), BrokerError> {
        if !self.fleets.values_mut().any(Fleet::awaits_a_start) {
            return Ok(());
        }
        let servers = self.broker.servers().await?;
        self.fleets.values_mut().for_each(|fleet| fleet.hear(&servers));
        Ok(())
    }
}

/// Workers that are there, those on their way out included, as the workload tells.
fn workers_there(context: &Context, candidate: &Candidate) -> u32 {
    match &candidate.workload {
        Workload::Owned => {
            let deployment = context.deployment(&candidate.name);
            let told = deployment.and_then(|deployment| deployment.status.as_ref()?.replicas);
            told.and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
        }
        Workload::Target(target) => {
            targets::scaled(context, &candidate.object, target).map_or(0, |scaled| scaled.current)
        }
    }
}
