//! asynq's web console as its authors published it: the module in `tests/asynqmon`, built once and kept in the cache.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use super::go_program;
use super::http;
use super::process::Process;

/// How long it may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(30);

fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| go_program::built("asynqmon"))
}

/// A running asynqmon. Dropping it kills it.
pub struct Asynqmon {
    address: SocketAddr,
    _process: Process,
}

impl Asynqmon {
    /// Starts it on a Redis and waits until it is ready.
    pub async fn on(redis_url: &str) -> Self {
        let mut command = Command::new(program());
        let process = Process::start("asynqmon", command.args(["--redis", redis_url]));
        let line = process.line(READY_LIMIT, |line| line.contains(r#""event":"ready""#)).await;
        let ready: Value = serde_json::from_str(&line).expect("it prints JSON");
        let address = ready["address"].as_str().expect("a text").parse().expect("an address");
        Self { address, _process: process }
    }

    /// The URL of a page.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What its API answers.
    ///
    /// # Panics
    /// When it answers with anything but 200 and JSON.
    pub async fn api(&self, path: &str) -> Value {
        let body = self.page(&format!("/api{path}")).await;
        serde_json::from_str(&body).unwrap_or_else(|cause| panic!("{path}: {cause}: {body}"))
    }

    /// A page or a file of it.
    ///
    /// # Panics
    /// When it answers with anything but 200.
    pub async fn page(&self, path: &str) -> String {
        let (status, body) = http::get(self.address, path).await.expect("it listens");
        assert_eq!(status, 200, "{path}: {body}");
        body
    }
}
