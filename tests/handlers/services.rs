//! The shop's services for one test, as processes over a SQLite file, with a worker beside them and a judge that shares
//! no code with ours.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::{Broker, TaskView};
use cronmill::producer::{Client, Task};
use cronmill::rpc::order::v1::order_service_client::OrderServiceClient;
use cronmill::rpc::order::v1::{CreateOrderRequest, GetOrderRequest, Order, RefundOrderRequest};
use cronmill::rpc::trade::v1::PayOrderRequest;
use cronmill::rpc::trade::v1::trade_service_client::TradeServiceClient;
use cronmill::task::{QueueName, State};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use crate::support::http::{free_address, get};
use crate::support::{Process, RedisServer, eventually, until};

pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A shop, its Redis, and what they need.
pub(crate) struct Services {
    pub(crate) redis: RedisServer,
    pub(crate) broker: Broker,
    pub(crate) shop: Process,
    pub(crate) address: String,
    probes: SocketAddr,
    pub(crate) database: PathBuf,
    flags: Vec<String>,
    queue: QueueName,
    _folder: TempDir,
}

impl Services {
    /// With so many generated orders and users. Tasks that close orders go to the queue `expiry`.
    pub(crate) async fn start(orders: u64, users: u64) -> Self {
        Self::with(orders, users, &[]).await
    }

    pub(crate) async fn with(orders: u64, users: u64, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("shop.db");
        let (orders, users) = (orders.to_string(), users.to_string());
        let mut generate =
            cronmill(&["shop", "generate", "--seed=7", "--orders", &orders, "--users", &users]);
        let output = generate.arg("--database").arg(&database).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let redis = RedisServer::start();
        let broker = Broker::connect(&redis.endpoint()).await.unwrap();
        let address = free_address().await.to_string();
        let probes = free_address().await;
        let mut flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        flags.push(format!("--metrics-listen={probes}"));
        let shop = serve(&redis, &database, &address, &flags);
        let queue = QueueName::new("default").unwrap();
        let services = Self { redis, broker, shop, address, probes, database, flags, queue, _folder: folder };
        services.is_ready().await;
        services
    }

    async fn is_ready(&self) {
        until(LIMIT, "the shop is ready", async || {
            get(self.probes, "/readyz").await.is_some_and(|(status, _)| status == 200)
        })
        .await;
    }

    /// Kills the shop without warning and starts it anew.
    pub(crate) async fn restart(&mut self) {
        self.shop.kill9();
        self.shop = serve(&self.redis, &self.database, &self.address, &self.flags);
        self.is_ready().await;
    }

    /// A worker that works on this shop.
    pub(crate) fn worker(&self, flags: &[&str]) -> Process {
        self.worker_at(&format!("http://{}", self.address), flags)
    }

    pub(crate) fn worker_at(&self, target: &str, flags: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cronmill-worker"));
        clean(&mut command).env("CRONMILL_REDIS_URL", self.redis.url()).args(["--shop-target", target]);
        Process::start("cronmill-worker", command.args(flags))
    }

    /// A worker that reads this file beside its flags.
    pub(crate) fn worker_by(&self, file: &Path) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cronmill-worker"));
        clean(&mut command).env("CRONMILL_REDIS_URL", self.redis.url()).arg("-f").arg(file);
        Process::start("cronmill-worker", &mut command)
    }

    pub(crate) async fn send(&self, task: Task) {
        Client::new(self.broker.clone()).enqueue(task.retention(Duration::from_secs(600))).await.unwrap();
    }

    /// Enqueues a task that is known by its id.
    pub(crate) async fn enqueue(&self, kind: &str, id: &str, payload: &str) {
        self.send(Task::new(kind, Bytes::copy_from_slice(payload.as_bytes())).id(id)).await;
    }

    pub(crate) async fn look(&self, id: &str) -> TaskView {
        self.broker.task(&self.queue, id).await.unwrap().expect("the task is kept")
    }

    pub(crate) async fn reaches(&self, id: &str, state: State) -> TaskView {
        eventually(LIMIT, &format!("task {id} is {state}"), async || {
            Some(self.look(id).await).filter(|view| view.state == state)
        })
        .await
    }

    /// The result of a task, once it has completed.
    pub(crate) async fn result(&self, id: &str) -> serde_json::Value {
        let view = self.reaches(id, State::Completed).await;
        serde_json::from_slice(&view.result.expect("it leaves one")).unwrap()
    }

    /// What a task that goes wrong tells in this state.
    pub(crate) async fn error(&self, id: &str, state: State) -> String {
        self.reaches(id, state).await.message.error
    }

    pub(crate) async fn history(&self, id: &str) -> Option<String> {
        let history = self.broker.task_history(&self.queue, id).await.unwrap();
        history.snoozed.map(|(_, reason)| reason)
    }

    /// What sqlite3 says.
    pub(crate) fn judge(&self, sql: &str) -> Vec<String> {
        judge(&self.database, sql)
    }

    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.judge(sql).concat().parse().unwrap()
    }

    /// Users whose earnings are not the sum of their paid orders, with the difference: `user|currency|minor`.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.judge(
            "SELECT user_id, currency, SUM(minor) FROM (
                SELECT user_id, currency, amount_minor AS minor FROM orders WHERE status IN ('paid', 'completed')
                UNION ALL SELECT user_id, currency, -amount_minor FROM earnings)
             GROUP BY user_id, currency HAVING SUM(minor) <> 0",
        )
    }

    /// How many batches stand in somebody's earnings.
    pub(crate) fn credited(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM credited_batches")
    }

    /// Talks to the services as a shop's web site would.
    pub(crate) fn customer(&self) -> Customer {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        Customer(endpoint.connect_lazy())
    }
}

fn cronmill(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cronmill"));
    clean(&mut command).args(words);
    command
}

fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CRONMILL_")) {
        command.env_remove(name);
    }
    command
}

fn serve(redis: &RedisServer, database: &Path, address: &str, flags: &[String]) -> Process {
    let mut command = cronmill(&["shop", "serve", "--queue=expiry", "--listen", address]);
    command.env("CRONMILL_REDIS_URL", redis.url()).arg("--database").arg(database).args(flags);
    Process::start("cronmill shop serve", &mut command)
}

/// Runs one statement with a program that shares no code with ours; columns are joined by `|`.
fn judge(path: &Path, sql: &str) -> Vec<String> {
    const PYTHON: &str = "import sqlite3, sys\n\
        db = sqlite3.connect(sys.argv[1], timeout=30)\n\
        for row in db.execute(sys.argv[2]): print('|'.join(str(value) for value in row))\n\
        db.commit()";
    let by_cli = Command::new("sqlite3").arg("-cmd").arg(".timeout 30000").arg(path).arg(sql).output();
    let output = match by_cli {
        Ok(output) => output,
        Err(_) => Command::new("python3")
            .args(["-c", PYTHON])
            .arg(path)
            .arg(sql)
            .output()
            .expect("sqlite3 or python3 is installed: the totals need a judge"),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Somebody who orders and pays.
#[derive(Clone)]
pub(crate) struct Customer(Channel);

impl Customer {
    fn orders(&self) -> OrderServiceClient<Channel> {
        OrderServiceClient::new(self.0.clone())
    }

    /// Orders one of the first resource, to be paid within that time.
    pub(crate) async fn order(&self, pay_within: Duration) -> Order {
        let seconds = i64::try_from(pay_within.as_secs()).unwrap();
        let pay_within = Some(prost_types::Duration { seconds, nanos: 0 });
        let request =
            CreateOrderRequest { user_id: 1, resource_id: 1, quantity: 1, pay_within, ..Default::default() };
        self.orders().create_order(request).await.unwrap().into_inner().order.unwrap()
    }

    pub(crate) async fn pay(&self, order: &Order) {
        self.try_to_pay(order).await.unwrap();
    }

    /// Pays, unless the order is closed already.
    pub(crate) async fn try_to_pay(&self, order: &Order) -> Result<(), tonic::Status> {
        let payment_id = format!("payment-{}", order.id);
        let request = PayOrderRequest { payment_id, order_id: order.id, amount: order.amount.clone() };
        TradeServiceClient::new(self.0.clone()).pay_order(request).await.map(drop)
    }

    pub(crate) async fn refund(&self, order: &Order) {
        self.orders().refund_order(RefundOrderRequest { order_id: order.id }).await.unwrap();
    }

    pub(crate) async fn look(&self, order: &Order) -> Order {
        let request = GetOrderRequest { order_id: order.id };
        self.orders().get_order(request).await.unwrap().into_inner().order.unwrap()
    }
}
