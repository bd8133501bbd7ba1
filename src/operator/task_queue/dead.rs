//! Tasks of workers that are known to be dead come back at once, not when their leases end.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures::future::join_all;
use futures::{FutureExt as _, StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Resource as _;
use kube::ResourceExt as _;
use kube::runtime::events::EventType;
use kube::runtime::watcher::{Config, Event};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until, timeout};

use super::build::OBJECT_LABEL;
use super::death::{Death, deaths};
use crate::broker::{BrokerError, Recovered};
use crate::causes;
use crate::operator::context::Context;
use crate::operator::watched::{WatchState, heard};
use crate::operator::watches::api;
use crate::task::default_retry_delay;

/// Deaths looked at at once.
const AT_ONCE: usize = 8;
/// How long one look may take: a Redis that is away holds up no other for longer, and a task of a hundred megabytes gets
/// through.
const LIMIT: Duration = Duration::from_secs(10);
/// How soon it is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long it is tried: leases are over by then, or are the business of whoever keeps the queue.
const TRIED_FOR: Duration = Duration::from_secs(600);

/// What a watch of pods tells.
enum News {
    Died(Death),
    /// The pod of that uid is gone.
    Gone(String),
    /// All pods are told anew.
    Anew,
}

/// Gives back what dead workers held, for as long as it runs.
pub(in crate::operator) async fn release_dead(context: &Context) {
    let (tell, told) = unbounded_channel();
    let watches = context.scopes.iter().map(|scope| watch(context, scope.namespace.as_deref(), tell.clone()));
    tokio::join!(join_all(watches), act(context, told));
}

async fn watch(context: &Context, namespace: Option<&str>, tell: UnboundedSender<News>) {
    let pods = api::<Pod>(&context.client, namespace);
    let state = std::sync::Arc::<WatchState>::default();
    let config = Config::default().labels(OBJECT_LABEL);
    let events = heard("Pods of workers", pods, config, state, move |event| {
        let mut news = Vec::new();
        match event {
            Event::Apply(pod) | Event::InitApply(pod) => news.extend(deaths(pod).into_iter().map(News::Died)),
            Event::Delete(pod) => {
                news.extend(deaths(pod).into_iter().map(News::Died));
                news.extend(pod.uid().map(News::Gone));
            }
            Event::Init => news.push(News::Anew),
            Event::InitDone => {}
        }
        for news in news {
            // Nobody listens any more only when all ends.
            let _ = tell.send(news);
        }
    });
    events.for_each(|_| std::future::ready(())).await;
}

/// What is to be done, and what was.
#[derive(Default)]
struct Work {
    waiting: VecDeque<(Death, Instant)>,
    /// Up to which end of a pod's worker all has come back, by its uid.
    done: HashMap<String, Timestamp>,
}

impl Work {
    fn hear(&mut self, news: News) {
        match news {
            News::Died(death) => {
                let is_done = self.done.get(&death.pod).is_some_and(|before| *before >= death.workers.before);
                if !is_done && self.waiting.iter().all(|(waiting, _)| *waiting != death) {
                    self.waiting.push_back((death, Instant::now()));
                }
            }
            News::Gone(pod) => drop(self.done.remove(&pod)),
            News::Anew => self.done.clear(),
        }
    }
}

async fn act(context: &Context, mut told: UnboundedReceiver<News>) {
    let mut work = Work::default();
    let mut again = Instant::now();
    loop {
        tokio::select! {
            news = told.recv() => match news {
                Some(news) => work.hear(news),
                None => return,
            },
            () = sleep_until(again), if !work.waiting.is_empty() => {}
        }
        while let Ok(news) = told.try_recv() {
            work.hear(news);
        }
        let waiting = std::mem::take(&mut work.waiting);
        let looks = waiting.into_iter().map(|(death, since)| {
            async move { (timeout(LIMIT, release(context, &death)).await == Ok(true), death, since) }.boxed()
        });
        let looked: Vec<_> = stream::iter(looks.collect::<Vec<_>>()).buffered(AT_ONCE).collect().await;
        for (is_done, death, since) in looked {
            if is_done {
                let before = work.done.entry(death.pod).or_insert(death.workers.before);
                *before = death.workers.before.max(*before);
            } else if since.elapsed() < TRIED_FOR {
                work.waiting.push_back((death, since));
            }
        }
        again = Instant::now() + AGAIN;
    }
}

/// Gives back what a dead worker held; answers whether nothing is left to do.
async fn release(context: &Context, death: &Death) -> bool {
    let Some(queue) = context.queue(&death.queue) else { return true };
    let Some(held) = context.claims.of(&queue.uid().unwrap_or_default()) else { return false };
    let site = context.sites.get(&held.site);
    let Some(Ok(parts)) = site.as_ref().map(|site| site.parts()) else { return false };
    let mut tasks = 0;
    for name in &held.queues {
        let delay = |task: &crate::task::Message| default_retry_delay(task.retried, fastrand::u32(..));
        let released: Result<Recovered, BrokerError> =
            parts.broker.release(name, &death.workers, delay).await;
        match released {
            Ok(recovered) => tasks += recovered.total(),
            Err(error) => {
                let why = causes::on_one_line(&error);
                tracing::debug!(queue = %death.queue, "what a dead worker held waits to come back: {why}");
                return false;
            }
        }
    }
    if tasks > 0 {
        let note = match tasks {
            1 => format!("{}; the task that it ran came back", death.workers.why),
            _ => format!("{}; {tasks} tasks that it ran came back", death.workers.why),
        };
        tracing::warn!(queue = %death.queue, "{note}");
        context.events.tell(&queue.object_ref(&()), EventType::Warning, "WorkerDied", "Release", &note);
    }
    true
}
