//! `http`: hands a task to a web server, so that its work may be written in any language.
//!
//! A task of the type `http:<name>`, or `http:<name>:<anything>`, goes to the URL that the worker's configuration
//! gives this name. A task of the type `http` names its URL itself, in the header `http-url`; the configuration must
//! allow its host. Nothing else decides where a request goes: neither a redirect nor the payload does.
//!
//! | Answer | Then |
//! | --- | --- |
//! | 2xx | done |
//! | 429 or 503 with `Retry-After` | put off for that long, between 1 s and 1 h; no attempt is spent |
//! | 307 or 308 to the same scheme, host and port | followed, 5 times at most |
//! | any other 3xx | archived: there is nothing to gain from asking again |
//! | 408, 429, and all 5xx | retried |
//! | any other 4xx | archived |
//! | none in time, or one that breaks off | retried |
//!
//! What the server said last is kept as the task's result, 64 KiB at most, in every state that keeps the task.

mod answer;
mod client;
mod error;
mod request;
mod target;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Response, body::Incoming};
use tokio::time::timeout;
use tracing::warn;
use url::Url;

pub use error::{HttpConfigError, HttpError};
pub use target::{HttpHosts, HttpTargets};

use self::answer::{Meaning, meaning};
use self::client::HttpClient;
use self::request::{Outgoing, shown};
use self::target::Destination;
use crate::worker::{Context, Handler, HandlerError, Task};

/// The task type; with `:` and a name behind it, tasks for a target of the configuration.
pub const KIND: &str = "http";
/// The header in which a task of the type `http` names its URL.
pub const URL_HEADER: &str = "http-url";

/// Bytes of an answer that are kept.
const RESULT_BYTES_MAX: usize = 64 * 1024;
/// How long the text of an answer is waited for that says no.
const REFUSAL_WAIT: Duration = Duration::from_secs(5);
/// Redirects followed for one attempt.
const REDIRECTS_MAX: usize = 5;

/// Where tasks may be sent, and whom to trust there.
#[derive(Clone, Debug, Default)]
pub struct HttpConfig {
    /// URLs by name, for tasks of the types `http:<name>`.
    pub targets: HttpTargets,
    /// Hosts that tasks of the type `http` may name; none unless it is configured.
    pub hosts: HttpHosts,
    /// Certificate authorities to trust besides the public ones, in PEM.
    pub authorities: Option<Vec<u8>>,
}

/// Sends tasks to web servers. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct HttpHandler {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    targets: HttpTargets,
    hosts: HttpHosts,
    client: HttpClient,
}

/// What a server said last.
struct Answer {
    meaning: Meaning,
    body: Bytes,
}

impl HttpHandler {
    /// A handler for these targets and hosts.
    ///
    /// # Errors
    /// [`HttpConfigError::Authorities`] when the authorities are no certificates.
    pub fn new(config: HttpConfig) -> Result<Self, HttpConfigError> {
        let HttpConfig { targets, hosts, authorities } = config;
        let client = HttpClient::new(authorities.as_deref())?;
        Ok(Self { shared: Arc::new(Shared { targets, hosts, client }) })
    }
}

impl Handler for HttpHandler {
    async fn run(&self, context: Context, task: Task) -> Result<(), HandlerError> {
        let shared = &self.shared;
        let destination = target::choose(&shared.targets, &shared.hosts, &task)?;
        let url = shown(&destination.url);
        let answer = tokio::select! {
            // Dropped, a request closes its connection: the server can tell.
            reason = context.cancelled() => {
                return Err(HandlerError::msg(format!("POST {url}: no answer before it was told to stop ({reason})")));
            }
            answer = shared.exchange(destination, &context, &task) => answer?,
        };
        let is_kept = task.retention_s > 0 || answer.meaning != Meaning::Done;
        if is_kept
            && !answer.body.is_empty()
            && let Err(error) = context.result_writer().write(&answer.body).await
        {
            // The server has done its part, or has said that it will not: asking again would not change that.
            warn!(
                task.id = context.id(),
                reason = error.reason(),
                "an answer is not kept as the task's result: {error}"
            );
        }
        answer.meaning.into_outcome(&url)
    }
}

impl Shared {
    /// Asks until there is an answer that is no redirect.
    async fn exchange(
        &self,
        mut destination: Destination,
        context: &Context,
        task: &Task,
    ) -> Result<Answer, HandlerError> {
        let outgoing = Outgoing::new(context, task)?;
        for _ in 0..=REDIRECTS_MAX {
            let response = self.client.send(outgoing.to(&destination)).await;
            let response = response.map_err(|error| error.at(&destination.url))?;
            match meaning(&response, &destination.url, jiff::Timestamp::now()) {
                Meaning::Redirect(next) => destination.url = next,
                Meaning::Done => {
                    let mut kept = Vec::new();
                    read_body(response, &destination.url, &mut kept).await?;
                    return Ok(Answer { meaning: Meaning::Done, body: kept.into() });
                }
                meaning => {
                    let mut kept = Vec::new();
                    // What the server says besides is good to know and changes nothing.
                    let reading = read_body(response, &destination.url, &mut kept);
                    let _in_part_or_whole = timeout(REFUSAL_WAIT, reading).await;
                    return Ok(Answer { meaning, body: kept.into() });
                }
            }
        }
        let url = shown(&destination.url);
        Err(HandlerError::skip_retry(HttpError::Redirects { url, most: REDIRECTS_MAX }))
    }
}

/// The beginning of an answer; what is beyond the limit is not waited for.
async fn read_body(response: Response<Incoming>, url: &Url, kept: &mut Vec<u8>) -> Result<(), HttpError> {
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let broken = |source| HttpError::BrokenOff { url: shown(url), source };
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        let room = RESULT_BYTES_MAX - kept.len();
        kept.extend_from_slice(&data[..data.len().min(room)]);
        if kept.len() == RESULT_BYTES_MAX {
            break;
        }
    }
    Ok(())
}
