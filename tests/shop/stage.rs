//! A shop for one test: its database, its Redis, its program, and clients.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use cronmill::rpc::order::v1::order_service_client::OrderServiceClient;
use cronmill::rpc::order::v1::{CreateOrderRequest, Order};
use cronmill::rpc::resources::v1::resources_service_client::ResourcesServiceClient;
use cronmill::rpc::trade::v1::trade_service_client::TradeServiceClient;
use cronmill::rpc::trade::v1::{PayOrderRequest, PayOrderResponse};
use cronmill::rpc::v1::Money;
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::Channel;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{Postgres, Process, RedisServer, eventually, until};

pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Sqlite,
    Postgres,
}

/// A database of one test.
pub(crate) enum Database {
    Sqlite { _folder: TempDir, file: PathBuf },
    Postgres(Postgres),
}

impl Database {
    /// An empty one.
    pub(crate) fn empty(sort: Sort) -> Self {
        match sort {
            Sort::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                let file = folder.path().join("shop.db");
                Self::Sqlite { _folder: folder, file }
            }
            Sort::Postgres => Self::Postgres(Postgres::start()),
        }
    }

    /// What a command takes to use it.
    pub(crate) fn flags(&self) -> [String; 2] {
        match self {
            Self::Sqlite { file, .. } => ["--database".to_owned(), file.display().to_string()],
            Self::Postgres(server) => ["--database-url".to_owned(), server.url()],
        }
    }

    /// What the database's own shell answers; columns are joined by `|`.
    pub(crate) fn judge(&self, sql: &str) -> Vec<String> {
        match self {
            Self::Sqlite { file, .. } => {
                let mut command = Command::new("sqlite3");
                let output = command.arg("-cmd").arg(".timeout 30000").arg(file).arg(sql).output().unwrap();
                assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
                String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
            }
            Self::Postgres(server) => server.judge(sql),
        }
    }

    /// The one number that a statement answers.
    pub(crate) fn count(&self, sql: &str) -> i64 {
        self.judge(sql).concat().parse().unwrap()
    }

    /// The server, for what only PostgreSQL can do.
    pub(crate) fn postgres(&mut self) -> &mut Postgres {
        match self {
            Self::Postgres(server) => server,
            Self::Sqlite { .. } => panic!("a test of PostgreSQL only"),
        }
    }

    /// Fills it by the program.
    pub(crate) fn generate(&self, orders: u64, users: u64) {
        let numbers = ["--orders", &orders.to_string(), "--users", &users.to_string(), "--seed", "7"]
            .map(str::to_owned);
        let output = cronmill().args(["shop", "generate"]).args(self.flags()).args(numbers).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && stderr.contains("with seed 7"), "{stderr}");
    }
}

/// The program, without what this machine's environment says.
pub(crate) fn cronmill() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cronmill"));
    command.env_clear();
    command
}

/// A running shop.
pub(crate) struct Shop {
    pub(crate) database: Database,
    pub(crate) redis: RedisServer,
    pub(crate) service: Process,
    /// `127.0.0.1:PORT`, the same after a restart.
    pub(crate) address: String,
    flags: Vec<String>,
}

impl Shop {
    /// A shop with ten users and a hundred resources, and without orders.
    pub(crate) async fn start(sort: Sort) -> Self {
        let database = Database::empty(sort);
        database.generate(0, 10);
        Self::on(database, &[]).await
    }

    /// A shop on this database, and with more flags, which may name another way to it.
    pub(crate) async fn on(database: Database, flags: &[&str]) -> Self {
        let redis = RedisServer::options().durable().start();
        let names_one = flags.contains(&"--database-url");
        let mut all: Vec<String> = if names_one { Vec::new() } else { database.flags().to_vec() };
        all.extend(["--redis-url".to_owned(), redis.url()]);
        all.extend(flags.iter().map(|&flag| flag.to_owned()));
        let service = serve("127.0.0.1:0", &all);
        let address = announced(&service).await;
        let shop = Self { database, redis, service, address, flags: all };
        shop.ready().await;
        shop
    }

    /// Starts the program again where it was.
    pub(crate) async fn start_again(&mut self) {
        self.service = serve(&self.address, &self.flags);
        self.ready().await;
    }

    /// Another program on the same database and Redis, and clients of it.
    pub(crate) async fn replica(&self) -> (Process, Clients) {
        let service = serve("127.0.0.1:0", &self.flags);
        let address = announced(&service).await;
        let clients = Clients::of(Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy());
        (service, clients)
    }

    /// Waits until it says that it serves.
    pub(crate) async fn ready(&self) {
        if self.flags.iter().any(|flag| flag == "--tls-cert") {
            return;
        }
        until(LIMIT, "the shop is healthy", async || self.health().await == Some(ServingStatus::Serving))
            .await;
    }

    /// What it says of its health.
    pub(crate) async fn health(&self) -> Option<ServingStatus> {
        let answer = HealthClient::new(self.channel()).check(HealthCheckRequest::default()).await.ok()?;
        match answer.into_inner().status {
            1 => Some(ServingStatus::Serving),
            2 => Some(ServingStatus::NotServing),
            _ => Some(ServingStatus::Unknown),
        }
    }

    /// A way to it.
    pub(crate) fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect_lazy()
    }

    /// Clients of its services.
    pub(crate) fn clients(&self) -> Clients {
        Clients::of(self.channel())
    }

    /// Ids of the tasks that close orders, as Redis has them.
    pub(crate) fn tasks(&self) -> Vec<String> {
        let mut tasks = self.redis.cli_lines(["ZRANGE", "asynq:{default}:scheduled", "0", "-1"]);
        tasks.extend(self.redis.cli_lines(["LRANGE", "asynq:{default}:pending", "0", "-1"]));
        tasks.sort();
        tasks
    }
}

/// Starts the program.
pub(crate) fn serve(address: &str, flags: &[String]) -> Process {
    let mut command = cronmill();
    Process::start("cronmill shop", command.args(["shop", "serve", "--listen", address]).args(flags))
}

/// The address that a service says it serves at.
pub(crate) async fn announced(service: &Process) -> String {
    eventually(LIMIT, "the shop says where it serves", async || {
        let text = service
            .stderr()
            .into_iter()
            .find_map(|line| line.split_once("serves the shop at ").map(|(_, rest)| rest.to_owned()))?;
        Some(text.split_whitespace().next()?.to_owned())
    })
    .await
}

/// Clients of the three services.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) orders: OrderServiceClient<Channel>,
    pub(crate) resources: ResourcesServiceClient<Channel>,
    pub(crate) trade: TradeServiceClient<Channel>,
}

impl Clients {
    pub(crate) fn of(channel: Channel) -> Self {
        Self {
            orders: OrderServiceClient::new(channel.clone()),
            resources: ResourcesServiceClient::new(channel.clone()),
            trade: TradeServiceClient::new(channel),
        }
    }

    /// Orders one of a resource.
    pub(crate) async fn order(
        &self,
        request_id: &str,
        user_id: i64,
        pay_within_s: i64,
    ) -> Result<Order, Status> {
        let request = CreateOrderRequest {
            request_id: request_id.to_owned(),
            user_id,
            resource_id: user_id,
            quantity: 1,
            pay_within: Some(prost_types::Duration { seconds: pay_within_s, nanos: 0 }),
        };
        Ok(self.orders.clone().create_order(request).await?.into_inner().order.unwrap())
    }

    /// Pays an order as it is.
    pub(crate) async fn pay(&self, order: &Order) -> Result<PayOrderResponse, Status> {
        let request = PayOrderRequest {
            payment_id: format!("payment of {}", order.id),
            order_id: order.id,
            amount: order.amount.clone(),
        };
        Ok(self.trade.clone().pay_order(request).await?.into_inner())
    }
}

pub(crate) fn money(minor: i64, currency: &str) -> Option<Money> {
    Some(Money { minor, currency: currency.to_owned() })
}
