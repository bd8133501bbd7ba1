//! URLs of Redis from Secrets: each read by its name, none listed or watched, and read again now and then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, timeout};

use super::conditions::Refusal;

/// How long a URL is taken for the current one.
const KEEP: Duration = Duration::from_secs(30);
/// How soon a Secret is looked for again that was not there or not right.
const MISSING: Duration = Duration::from_secs(3);
/// How soon it is read again when Redis refuses who we say we are.
const REFUSED: Duration = Duration::from_secs(2);
/// How long one read may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Where a URL stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) key: String,
}

/// What was read of each place, and when.
pub(super) struct Secrets {
    client: Client,
    read: Mutex<HashMap<Place, Read>>,
}

#[derive(Clone)]
struct Read {
    url: Result<Arc<SecretString>, Refusal>,
    at: Instant,
}

impl Secrets {
    pub(super) fn new(client: Client) -> Self {
        Self { client, read: Mutex::default() }
    }

    /// The URL at a place. One that was read before stays in use while the API server cannot be asked. `is_refused`:
    /// Redis does not take it, so it may be another by now.
    ///
    /// # Errors
    /// What is wrong with the Secret.
    pub(super) async fn url(&self, place: &Place, is_refused: bool) -> Result<Arc<SecretString>, Refusal> {
        let known = self.read.lock().unwrap_or_else(PoisonError::into_inner).get(place).cloned();
        if let Some(known) = &known {
            let fresh = match &known.url {
                Ok(_) if is_refused => REFUSED,
                Ok(_) => KEEP,
                Err(_) => MISSING,
            };
            if known.at.elapsed() < fresh {
                return known.url.clone();
            }
        }
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &place.namespace);
        let url = match timeout(LIMIT, api.get_opt(&place.name)).await {
            Ok(Ok(secret)) => url_of(secret, place),
            unread => match known {
                // It counts as read, so that an API server in trouble is not asked ever more.
                Some(Read { url: Ok(url), .. }) => Ok(url),
                _ => Err(unreadable(place, unread.map(Result::err).unwrap_or_default().as_ref())),
            },
        };
        let read = Read { url: url.clone(), at: Instant::now() };
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone(), read);
        url
    }

    /// Whether a place was read not long ago, and had this URL.
    pub(super) fn still_says(&self, place: &Place, url: &Arc<SecretString>) -> bool {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.get(place).is_some_and(|read| {
            read.at.elapsed() < KEEP && read.url.as_ref().is_ok_and(|known| is_same(known, url))
        })
    }

    /// Forgets what nobody asks for any more.
    pub(super) fn keep_only(&self, asked: impl Fn(&Place) -> bool) {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).retain(|place, _| asked(place));
    }
}

fn unreadable(place: &Place, error: Option<&kube::Error>) -> Refusal {
    let what = format!("Secret {}/{} cannot be read", place.namespace, place.name);
    match error {
        Some(kube::Error::Api(status)) if status.is_forbidden() => Refusal::edit(
            "SecretForbidden",
            format!("{what}: the operator may not"),
            "let it get Secrets in that namespace, as the chart does for the namespaces it watches",
        ),
        _ => Refusal::passing("SecretUnreadable", what, "the API server is asked again by itself"),
    }
}

fn url_of(secret: Option<Secret>, place: &Place) -> Result<Arc<SecretString>, Refusal> {
    let Place { namespace, name, key } = place;
    let Some(secret) = secret else {
        return Err(Refusal::edit(
            "SecretMissing",
            format!("there is no Secret {name} in namespace {namespace}"),
            format!("create it with the URL of Redis under {key}; it is noticed within seconds"),
        ));
    };
    let Some(bytes) = secret.data.unwrap_or_default().remove(key) else {
        return Err(Refusal::edit(
            "SecretKeyMissing",
            format!("Secret {namespace}/{name} has no key {key}"),
            "put the URL of Redis there, or name its key in spec.redis.secretRef.key",
        ));
    };
    match String::from_utf8(bytes.0) {
        Ok(url) if !url.trim().is_empty() => Ok(Arc::new(SecretString::from(url.trim()))),
        _ => Err(Refusal::edit(
            "InvalidRedisURL",
            format!("key {key} of Secret {namespace}/{name} is empty or no text"),
            "put a URL there, such as redis://:password@host:6379",
        )),
    }
}

/// Whether both are the same text.
pub(super) fn is_same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}
