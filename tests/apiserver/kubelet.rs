//! What a kubelet does for the pods of a fleet, where there is none: they get a node, run, and each has a worker in this
//! process that has the pod's name for its host.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cronmill::broker::Broker;
use cronmill::task::QueueName;
use cronmill::worker::{Handler, Server, WorkerError, WorkerStats};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt as _};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::field::Field;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(50);

/// A worker that runs in a pod.
struct Inside {
    stop: CancellationToken,
    stats: Arc<WorkerStats>,
    running: JoinHandle<Result<(), WorkerError>>,
}

/// What it has seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// Pods whose workers run, and how many tasks each runs.
    pub(crate) running: Mutex<HashMap<String, usize>>,
    /// Workers that were told to end.
    pub(crate) ended: AtomicU64,
    /// Attempts that were broken off by that.
    pub(crate) interrupted: AtomicU64,
}

pub(crate) struct Kubelet {
    pub(crate) seen: Arc<Seen>,
    is_over: Arc<AtomicBool>,
}

/// What every worker is.
pub(crate) struct Workers<H> {
    pub(crate) broker: Broker,
    pub(crate) queue: QueueName,
    pub(crate) handler: H,
}

impl Kubelet {
    /// Looks after the pods of a namespace until it is dropped.
    pub(crate) async fn start<H: Handler + Clone>(field: &Field, workers: Workers<H>) -> Self {
        let kubeconfig = Kubeconfig::read_from(field.api.kubeconfig()).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let client = Client::try_from(config.expect("a context")).expect("a client");
        let (seen, is_over) = (Arc::<Seen>::default(), Arc::<AtomicBool>::default());
        let round = Round {
            pods: Api::namespaced(client.clone(), &field.namespace),
            nodes: Api::all(client),
            node: format!("node-{}", field.namespace),
            seen: Arc::clone(&seen),
        };
        let over = Arc::clone(&is_over);
        tokio::spawn(async move {
            let mut inside = HashMap::new();
            while !over.load(Ordering::Relaxed) {
                // Whoever waits for something that does not come says so.
                let _done_or_not = round.go(&workers, &mut inside).await;
                sleep(LOOK).await;
            }
            let _gone_or_not = round.nodes.delete(&round.node, &DeleteParams::default()).await;
        });
        Self { seen, is_over }
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

struct Round {
    pods: Api<Pod>,
    nodes: Api<Node>,
    node: String,
    seen: Arc<Seen>,
}

impl Round {
    async fn go<H: Handler + Clone>(
        &self,
        workers: &Workers<H>,
        inside: &mut HashMap<String, Inside>,
    ) -> kube::Result<()> {
        self.beat().await?;
        let pods = self.pods.list(&ListParams::default()).await?;
        for pod in &pods.items {
            let name = pod.name_any();
            if pod.metadata.deletion_timestamp.is_some() {
                if let Some(worker) = inside.remove(&name) {
                    self.end(worker).await;
                }
                let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
                let _gone_or_not = self.pods.delete(&name, &now).await;
            } else if !inside.contains_key(&name) {
                self.run(&name).await?;
                inside.insert(name.clone(), Self::begin(workers, &name));
            }
        }
        let running = inside.iter().map(|(name, worker)| (name.clone(), worker.stats.running())).collect();
        *self.seen.running.lock().expect("no panic") = running;
        Ok(())
    }

    /// A node is taken for dead that says nothing.
    async fn beat(&self) -> kube::Result<()> {
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": self.node } });
        let now = Timestamp::from_second(Timestamp::now().as_second()).expect("a time");
        let ready = json!({ "status": { "conditions": [{
            "type": "Ready", "status": "True", "reason": "Test", "message": "", "lastHeartbeatTime": now,
        }] } });
        let params = PatchParams::apply("test").force();
        self.nodes.patch(&self.node, &params, &Patch::Apply(&node)).await?;
        let params = PatchParams::default();
        self.nodes.patch_status(&self.node, &params, &Patch::Merge(&ready)).await?;
        Ok(())
    }

    async fn run(&self, pod: &str) -> kube::Result<()> {
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": { "name": pod },
            "target": { "apiVersion": "v1", "kind": "Node", "name": self.node },
        });
        let _bound_already: Result<serde_json::Value, _> =
            self.pods.create_subresource("binding", pod, &PostParams::default(), &binding).await;
        let now = Timestamp::from_second(Timestamp::now().as_second()).expect("a time");
        let status = json!({ "status": {
            "phase": "Running",
            "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": now }],
            "containerStatuses": [{
                "name": "worker", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                "state": { "running": { "startedAt": now } },
            }],
        } });
        let params = PatchParams::default();
        self.pods.patch_status(pod, &params, &Patch::Merge(&status)).await?;
        Ok(())
    }

    /// It breaks off what it runs when it is to end: so nothing that it runs goes unseen.
    fn begin<H: Handler + Clone>(workers: &Workers<H>, pod: &str) -> Inside {
        let server = Server::builder(workers.broker.clone())
            .queue(workers.queue.clone(), 1)
            .concurrency(1)
            .host(pod)
            .shutdown_timeout(Duration::ZERO)
            .cancel_grace(Duration::ZERO)
            .heartbeat(Duration::from_secs(1));
        let server = server.build().expect("valid");
        let (stop, stats) = (CancellationToken::new(), server.stats());
        let running = tokio::spawn(server.run(workers.handler.clone(), stop.clone()));
        Inside { stop, stats, running }
    }

    async fn end(&self, worker: Inside) {
        worker.stop.cancel();
        worker.running.await.expect("no panic").expect("it ends");
        self.seen.ended.fetch_add(1, Ordering::Relaxed);
        self.seen.interrupted.fetch_add(worker.stats.requeued(), Ordering::Relaxed);
    }
}
