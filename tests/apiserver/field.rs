//! A namespace of its own, a Redis of its own, and replicas of the operator.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::http::{free_address, get};
use crate::support::{ApiServer, Process, RedisServer, eventually};

/// How long anything may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Numbers the namespaces.
static NEXT: AtomicU32 = AtomicU32::new(1);

pub(crate) struct Field {
    pub(crate) api: Arc<ApiServer>,
    pub(crate) redis: RedisServer,
    pub(crate) namespace: String,
}

/// Status, reason and message of a condition.
type Said = (String, String, String);

/// One replica.
pub(crate) struct Replica {
    pub(crate) process: Process,
    pub(crate) probes: std::net::SocketAddr,
}

impl Field {
    /// A namespace whose Secret `redis` holds the URL of the Redis.
    pub(crate) fn new() -> Self {
        Self::on(ApiServer::shared())
    }

    /// The same on an API server of its own, which counts what nobody else asks for.
    pub(crate) fn alone() -> Self {
        let api = ApiServer::start();
        api.install_definitions();
        Self::on(Arc::new(api))
    }

    pub(crate) fn on(api: Arc<ApiServer>) -> Self {
        let namespace = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
        api.kubectl(&["create", "namespace", &namespace]);
        let field = Self { api, redis: RedisServer::options().start(), namespace };
        field.put_secret("redis", &field.redis.plain_url());
        field
    }

    pub(crate) fn put_secret(&self, name: &str, url: &str) {
        self.apply(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{url: \"{url}\"}}\n"
        ));
    }

    /// Starts a replica that looks after this namespace only.
    pub(crate) async fn operator(&self, identity: &str, flags: &[&str]) -> Replica {
        self.operator_on(identity, &self.api.kubeconfig(), flags).await
    }

    pub(crate) async fn operator_on(&self, identity: &str, kubeconfig: &Path, flags: &[&str]) -> Replica {
        let probes = free_address().await;
        let mut command = Command::new(env!("CARGO_BIN_EXE_cronmill"));
        command.arg("operator").args([
            "--watch-namespace",
            &self.namespace,
            "--lease-namespace",
            &self.namespace,
        ]);
        command.args(["--identity", identity]);
        if !flags.contains(&"--cluster-id") {
            command.args(["--cluster-id", &format!("cluster-{}", self.namespace)]);
        }
        command.args(["--worker-image", "cronmill:test", "--listen", &probes.to_string()]);
        // As in the chart.
        command.args(flags).env("KUBECONFIG", kubeconfig).env("MALLOC_ARENA_MAX", "1");
        Replica { process: Process::start(&format!("operator {identity}"), &mut command), probes }
    }

    pub(crate) fn apply(&self, manifests: &str) {
        self.api.apply(&self.namespace, manifests);
    }

    pub(crate) fn get(&self, kind: &str, name: &str) -> Value {
        self.api.get(&self.namespace, kind, name)
    }

    pub(crate) fn delete(&self, kind: &str, name: &str) {
        self.api.kubectl(&["delete", "-n", &self.namespace, kind, name, "--wait=false"]);
    }

    /// A condition of an object: its status and reason, and what it says.
    pub(crate) fn condition(&self, kind: &str, name: &str, condition: &str) -> Option<Said> {
        let object = self.get(kind, name);
        let found = object["status"]["conditions"]
            .as_array()?
            .iter()
            .find(|found| found["type"] == condition)?
            .clone();
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        Some((text("status"), text("reason"), text("message")))
    }

    /// Waits until an object is Ready.
    pub(crate) async fn ready(&self, kind: &str, name: &str) {
        let last = self.told(kind, name, |(status, _, _)| status == "True").await;
        last.unwrap_or_else(|last| panic!("{kind} {name} is not ready within {LIMIT:?}: {last:?}"));
    }

    /// Waits until an object is not Ready for that reason, and returns what it says.
    pub(crate) async fn refused(&self, kind: &str, name: &str, reason: &str) -> String {
        let last = self.told(kind, name, |(status, why, _)| status == "False" && why == reason).await;
        let said = |last| panic!("{kind} {name} is not refused as {reason} within {LIMIT:?}: {last:?}");
        last.unwrap_or_else(said).2
    }

    /// Waits until the condition Ready of an object is such, and returns it; after [`LIMIT`] as it is then.
    async fn told(&self, kind: &str, name: &str, fits: impl Fn(&Said) -> bool) -> Result<Said, Option<Said>> {
        let end = Instant::now() + LIMIT;
        eventually(2 * LIMIT, "kubectl answers", async || match self.condition(kind, name, "Ready") {
            Some(said) if fits(&said) => Some(Ok(said)),
            last => (Instant::now() >= end).then_some(Err(last)),
        })
        .await
    }

    /// What redis-cli answers.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        self.redis.cli(words)
    }

    /// How many workers the Deployment of a TaskQueue shall have; `None`: there is none.
    pub(crate) fn replicas(&self, queue: &str) -> Option<u64> {
        self.get("deployment", &format!("{queue}-worker"))["spec"]["replicas"].as_u64()
    }

    /// How many writes of a sort the API server has been asked for.
    pub(crate) fn writes(&self, resource: &str, subresource: &str) -> u64 {
        let metrics = self.api.kubectl(&["get", "--raw", "/metrics"]);
        let is_of = |line: &&str| {
            line.starts_with("apiserver_request_total{")
                && line.contains(&format!("resource=\"{resource}\""))
                && line.contains(&format!("subresource=\"{subresource}\""))
                && ["verb=\"APPLY\"", "verb=\"PATCH\"", "verb=\"PUT\""].iter().any(|verb| line.contains(verb))
        };
        let count = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
        metrics.lines().filter(is_of).filter_map(count).map(|count| count as u64).sum()
    }

    /// The uids of entries that are in force in a queue.
    pub(crate) fn entries(&self, queue: &str) -> Vec<String> {
        let told = self.cli(&["ZRANGE", &format!("cronmill:{{{queue}}}:due"), "0", "-1"]);
        told.lines().map(str::to_owned).filter(|uid| !uid.is_empty()).collect()
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        let _ = self.api.try_kubectl(&["delete", "namespace", &self.namespace, "--wait=false"], "");
    }
}

impl Replica {
    /// Status and text of a probe.
    pub(crate) async fn probe(&self, path: &str) -> Option<(u16, String)> {
        get(self.probes, path).await
    }

    /// The value of a metric without labels.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.probe("/metrics").await?;
        let line = text.lines().find(|line| line.split(' ').next() == Some(name))?;
        line.split(' ').nth(1)?.parse().ok()
    }

    /// Whether it is ready: it has read all objects, and does not end.
    pub(crate) async fn is_ready(&self) -> bool {
        self.probe("/readyz").await.is_some_and(|(code, _)| code == 200)
    }

    pub(crate) async fn leads(&self) -> bool {
        self.metric("cronmill_operator_leading").await == Some(1.0)
    }
}

/// A TaskQueue `main` on the Secret `redis`, with lines below `spec`.
pub(crate) fn queue(lines: &str) -> String {
    named_queue("main", lines)
}

pub(crate) fn named_queue(name: &str, lines: &str) -> String {
    format!(
        "apiVersion: cronmill.dev/v1alpha1\nkind: TaskQueue\nmetadata: {{name: {name}}}\nspec:\n  \
         redis: {{secretRef: {{name: redis}}}}\n  queues: [{{name: default}}]\n{}",
        indented(lines)
    )
}

/// A TaskQueue on queues of these names in Redis, with lines below `spec`.
pub(crate) fn on_queues(name: &str, queues: &[&str], lines: &str) -> String {
    let listed: Vec<_> = queues.iter().map(|queue| format!("{{name: {queue}}}")).collect();
    named_queue(name, lines).replace("{name: default}", &listed.join(", "))
}

/// A CronTask of the queue `default` of `main`, with lines below `spec`.
pub(crate) fn task(name: &str, schedule: &str, lines: &str) -> String {
    format!(
        "apiVersion: cronmill.dev/v1alpha1\nkind: CronTask\nmetadata: {{name: {name}}}\nspec:\n  \
         schedule: \"{schedule}\"\n  queueRef: {{name: main}}\n  task: {{type: hello, retention: 1h}}\n{}---\n",
        indented(lines)
    )
}

fn indented(lines: &str) -> String {
    lines.lines().map(|line| format!("  {line}\n")).collect()
}
