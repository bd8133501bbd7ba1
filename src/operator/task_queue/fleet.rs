//! One fleet as a leader knows it: what it asked for, and who answered.

use std::collections::HashSet;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use tokio::time::Instant;

use super::handshake::Handshake;
use super::target::Workload;
use crate::broker::{Broker, LiveServer};
use crate::crd::TaskQueue;
use crate::fleet::{FleetName, FleetWatch};
use crate::operator::context::{Context, ObjectName, Readable};
use crate::scaling::Plan;
use crate::task::QueueName;

/// How far ahead work is seen: what a pod needs to start, until that is measured.
const LEAD_TIME_GUESS: Duration = Duration::from_secs(5);
/// How long what was asked for may take to be seen before it is asked for again.
const SEEN_WITHIN: Duration = Duration::from_secs(5);
/// How long a fleet is left alone while nothing is seen to happen.
const REST_LIMIT: Duration = Duration::from_secs(60);
/// How long a worker's first sign is waited for.
const START_LIMIT: Duration = Duration::from_secs(600);

/// One fleet as this leader knows it.
pub(super) struct Fleet {
    watch: FleetWatch,
    workload: Workload,
    /// What was asked for last, and when.
    asked: Option<(u32, Instant)>,
    awaited: Option<Awaited>,
    /// While it has what it is to have, and nothing to do.
    pub(super) rest: Option<Rest>,
    /// The way down to fewer workers, where that was begun.
    pub(super) handshake: Handshake,
}

/// What it was seen with when there was nothing to do, and nothing to be changed.
pub(super) struct Rest {
    pub(super) queue: Readable<TaskQueue>,
    pub(super) replicas: u32,
    pub(super) since: Instant,
}

impl Rest {
    /// Whether there are no workers.
    pub(super) fn is_at_zero(&self) -> bool {
        self.replicas == 0
    }

    /// Whether that was not long ago.
    pub(super) fn is_recent(&self) -> bool {
        self.since.elapsed() < REST_LIMIT
    }
}

/// More workers were asked for, and none of them has shown itself.
struct Awaited {
    since: Instant,
    /// Those that were there before.
    known: HashSet<String>,
}

impl Fleet {
    pub(super) fn new(name: FleetName, queues: Vec<QueueName>, workload: Workload) -> Self {
        let watch = FleetWatch::new(name, queues, LEAD_TIME_GUESS);
        Self { watch, workload, asked: None, awaited: None, rest: None, handshake: Handshake::default() }
    }

    pub(super) fn watch(&mut self) -> &mut FleetWatch {
        &mut self.watch
    }

    pub(super) fn queues(&self) -> &[QueueName] {
        self.watch.queues()
    }

    /// It serves these queues; answers whether those were others before.
    pub(super) fn serve(&mut self, queues: &[QueueName]) -> bool {
        let is_news = self.watch.queues() != queues;
        if is_news {
            self.watch.serve(queues.to_vec());
        }
        is_news
    }

    /// Whether its workers are the pods of a Deployment that is made for it.
    pub(super) fn is_of_our_own(&self) -> bool {
        matches!(self.workload, Workload::Owned)
    }

    /// Its workers are that workload's pods. What was asked of another one counts for nothing here.
    pub(super) fn works_as(&mut self, workload: &Workload) {
        if self.workload != *workload {
            (self.workload, self.asked, self.awaited) = (workload.clone(), None, None);
            self.handshake = Handshake::default();
        }
    }

    /// Workers there are to be, of whom its workload says `seen`: what was just asked for may not be seen yet.
    pub(super) fn current(&self, seen: u32) -> u32 {
        self.asked.filter(|(_, at)| at.elapsed() < SEEN_WITHIN).map_or(seen, |(asked, _)| asked)
    }

    /// Whether to ask for that many now.
    pub(super) fn may_ask(&self, replicas: u32, seen: u32) -> bool {
        let was_asked = |(asked, at): (u32, Instant)| asked == replicas && at.elapsed() < SEEN_WITHIN;
        replicas != seen && !self.asked.is_some_and(was_asked)
    }

    /// So many were asked for, while those served.
    pub(super) fn asked(&mut self, replicas: u32, before: u32, servers: Vec<LiveServer>) {
        let now = Instant::now();
        self.asked = Some((replicas, now));
        if replicas < before {
            self.awaited = None;
        } else if self.awaited.is_none() {
            let known = servers.iter().filter(|server| self.is_ours(server)).map(name_of).collect();
            self.awaited = Some(Awaited { since: now, known });
        }
    }

    /// Whether a new worker's first sign is awaited.
    pub(super) fn awaits_a_start(&mut self) -> bool {
        self.awaited.take_if(|awaited| awaited.since.elapsed() > START_LIMIT);
        self.awaited.is_some()
    }

    /// Looks for the first sign of a new worker among all that serve.
    pub(super) fn hear(&mut self, servers: &[LiveServer]) {
        let is_new = |server: &&LiveServer| {
            self.is_ours(server)
                && self.awaited.as_ref().is_some_and(|awaited| !awaited.known.contains(&name_of(server)))
        };
        if servers.iter().any(|server| is_new(&server))
            && let Some(awaited) = self.awaited.take()
        {
            self.watch.learn_start(awaited.since.elapsed());
        }
    }

    fn is_ours(&self, server: &LiveServer) -> bool {
        let served = |name: &str| self.watch.queues().iter().any(|queue| queue.as_str() == name);
        server.info.queues.iter().any(|queue| served(queue.queue()))
    }
}

fn name_of(server: &LiveServer) -> String {
    format!("{}:{}:{}", server.info.host, server.info.pid, server.info.server_id)
}

pub(super) fn replicas_of(deployment: &Deployment) -> u32 {
    u32::try_from(deployment.spec.replicas.unwrap_or(0)).unwrap_or(0)
}

/// Writes the number, through `/scale` and nothing else. Answers who serves at that moment.
///
/// # Errors
/// Why it is not written, for people.
pub(super) async fn ask(
    context: &Context,
    broker: &Broker,
    queue: &ObjectName,
    workload: &Workload,
    from: u32,
    plan: Plan,
) -> Result<Vec<LiveServer>, String> {
    let written = workload.scale(context, queue, plan.replicas);
    let (written, servers) = tokio::join!(written, broker.servers());
    written?;
    tracing::info!(queue = %queue, from, to = plan.replicas, "scales {queue} from {from} to {}: {plan}", plan.replicas);
    Ok(servers.unwrap_or_default())
}
