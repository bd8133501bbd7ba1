//! A web server that takes effects: which tasks were handed to it by the handler `http`, and how often.
//!
//! It shares nothing with the workers but the network, so what it counts happened whatever became of them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A real web server on a port of its own. Dropping it closes the port.
pub struct Sink {
    address: SocketAddr,
    effects: Effects,
    serving: JoinHandle<()>,
}

type Effects = Arc<Mutex<HashMap<String, u32>>>;

impl Sink {
    /// Counts each request at once, and answers it after `delay`: who dies in between has had its effect.
    pub async fn start(delay: Duration) -> Self {
        let effects = Effects::default();
        let count = Arc::clone(&effects);
        let router = Router::new().fallback(move |headers: HeaderMap| {
            let id = headers.get("cronmill-task-id").map(|id| id.to_str().expect("visible text").to_owned());
            let id = id.expect("the handler says which task it is");
            *count.lock().expect("nobody panics while holding it").entry(id).or_default() += 1;
            tokio::time::sleep(delay)
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound above");
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { address, effects, serving }
    }

    /// What a worker's `--http-target` takes, so that tasks of the type `http:sink` come here.
    pub fn target(&self) -> String {
        format!("sink=http://{}/", self.address)
    }

    /// How many tasks have had their effect.
    pub fn tasks(&self) -> usize {
        self.effects.lock().expect("nobody panics while holding it").len()
    }

    /// How often each task had its effect, by id.
    pub fn effects(&self) -> HashMap<String, u32> {
        self.effects.lock().expect("nobody panics while holding it").clone()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
