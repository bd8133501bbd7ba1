//! What is sent: the payload, and headers that say which task it belongs to.

use std::fmt::Write as _;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request};
use serde::de::IgnoredAny;
use url::Url;

use super::URL_HEADER;
use super::error::HttpError;
use super::target::Destination;
use crate::worker::{Context, HandlerError, Task};

/// What headers of ours begin with. A task cannot set such a one.
const OURS: &str = "cronmill-";
/// Headers that belong to the connection or are set by the client. A task's are not sent.
const NOT_THE_TASKS: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    URL_HEADER,
];

/// What is sent for a task, wherever it goes.
pub(super) struct Outgoing {
    headers: HeaderMap,
    body: Bytes,
}

impl Outgoing {
    /// # Errors
    /// A header that HTTP cannot carry; it is not retried.
    pub(super) fn new(context: &Context, task: &Task) -> Result<Self, HandlerError> {
        let body = task.payload().clone();
        let mut headers = HeaderMap::new();
        if !body.is_empty() {
            let is_json = serde_json::from_slice::<IgnoredAny>(&body).is_ok();
            let kind = if is_json { "application/json" } else { "application/octet-stream" };
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        for (name, value) in context.headers() {
            let lower = name.to_ascii_lowercase();
            if lower.starts_with(OURS) || NOT_THE_TASKS.contains(&lower.as_str()) {
                continue;
            }
            let pair = HeaderName::try_from(lower).ok().zip(HeaderValue::try_from(&value).ok());
            let (key, value) = pair.ok_or_else(|| HandlerError::skip_retry(HttpError::Header { name }))?;
            headers.insert(key, value);
        }
        let agent = concat!("cronmill-worker/", env!("CARGO_PKG_VERSION"));
        headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(agent));
        let told = [
            ("cronmill-task-id", visible(context.id())),
            ("cronmill-task-type", visible(context.kind())),
            ("cronmill-queue", visible(context.queue().as_str())),
            ("cronmill-attempt", context.attempt().to_string()),
            ("cronmill-max-retry", context.max_retry().to_string()),
            ("cronmill-deadline", context.deadline().to_string()),
        ];
        for (name, value) in told {
            let value = HeaderValue::try_from(value).expect("visible characters");
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(Self { headers, body })
    }

    /// The request for one place.
    pub(super) fn to(&self, destination: &Destination) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = destination.url.as_str().parse().expect("a URL of the web is a URI");
        *request.headers_mut() = self.headers.clone();
        if let Some(authorization) = &destination.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        request
    }
}

/// A text as a header can carry it: all but visible ASCII is percent-encoded, and so is the percent sign.
fn visible(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut shown, byte| {
        match byte {
            b'%' => shown.push_str("%25"),
            0x21..=0x7e => shown.push(char::from(byte)),
            _ => write!(shown, "%{byte:02X}").expect("writing to a string cannot fail"),
        }
        shown
    })
}

/// A URL for people and logs: without user, password and query, which may be secrets.
pub(super) fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_visible_characters() {
        assert_eq!(visible("a:b-1"), "a:b-1");
        assert_eq!(visible("a b%\n\u{fc}"), "a%20b%25%0A%C3%BC");
    }

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        let url = Url::parse("https://ann:s3cret@host:8443/a/b?token=s3cret#s3cret").unwrap();
        assert_eq!(shown(&url), "https://host:8443/a/b");
    }
}
