//! What an answer means for its task.

use std::time::Duration;

use hyper::header::{LOCATION, RETRY_AFTER};
use hyper::{HeaderMap, Response, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use url::Url;

use super::error::HttpError;
use super::request::shown;
use crate::worker::HandlerError;

/// The shortest a task is put off, whatever the server says.
const SNOOZE_MIN: Duration = Duration::from_secs(1);
/// The longest: a server's mistake must not bury a task.
const SNOOZE_MAX: Duration = Duration::from_secs(3600);

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Done,
    Retry(StatusCode),
    GiveUp(StatusCode),
    Snooze(Duration, StatusCode),
    /// Ask there.
    Redirect(Url),
    /// A redirect that is not followed, and where it leads.
    Astray(StatusCode, String),
}

impl Meaning {
    pub(super) fn into_outcome(self, url: &str) -> Result<(), HandlerError> {
        let error =
            |status: StatusCode| HttpError::Status { url: url.to_owned(), status: status.to_string() };
        match self {
            Self::Done => Ok(()),
            Self::Retry(status) => Err(error(status).into()),
            Self::GiveUp(status) => Err(HandlerError::skip_retry(error(status))),
            Self::Snooze(after, status) => {
                Err(HandlerError::snooze(after).because(error(status).to_string()))
            }
            // Redirects were followed before.
            Self::Redirect(to) => Err(astray(url, StatusCode::TEMPORARY_REDIRECT, shown(&to))),
            Self::Astray(status, to) => Err(astray(url, status, to)),
        }
    }
}

fn astray(url: &str, status: StatusCode, to: String) -> HandlerError {
    HandlerError::skip_retry(HttpError::Redirect { url: url.to_owned(), status: status.to_string(), to })
}

/// Judges an answer by its head.
pub(super) fn meaning<B>(response: &Response<B>, asked: &Url, now: Timestamp) -> Meaning {
    let status = response.status();
    let headers = response.headers();
    let later = || retry_after(headers, now);
    match status.as_u16() {
        200..=299 => Meaning::Done,
        429 | 503 => later().map_or(Meaning::Retry(status), |after| Meaning::Snooze(after, status)),
        307 | 308 => redirect(headers, asked, status),
        408 | 500..=599 => Meaning::Retry(status),
        300..=399 => {
            let to = location(headers, asked).map_or_else(|| "nowhere".to_owned(), |to| shown(&to));
            Meaning::Astray(status, to)
        }
        _ => Meaning::GiveUp(status),
    }
}

/// Followed within one scheme, host and port: anywhere else would be told what was meant for this one.
fn redirect(headers: &HeaderMap, asked: &Url, status: StatusCode) -> Meaning {
    match location(headers, asked) {
        Some(to) if to.origin() == asked.origin() => Meaning::Redirect(to),
        Some(to) => Meaning::Astray(status, shown(&to)),
        None => Meaning::Astray(status, "nowhere".to_owned()),
    }
}

fn location(headers: &HeaderMap, asked: &Url) -> Option<Url> {
    let mut to = asked.join(headers.get(LOCATION)?.to_str().ok()?).ok()?;
    to.set_fragment(None);
    // They would be sent to nobody, and are for nobody to see.
    let _has_host = to.set_username("").and_then(|()| to.set_password(None));
    Some(to)
}

/// How long to wait, within bounds: whole seconds, or an HTTP date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let wait = if is_number {
        // More digits than a number holds is longer than the longest anyway.
        text.parse().map_or(SNOOZE_MAX, Duration::from_secs)
    } else {
        let until = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO)
    };
    Some(wait.clamp(SNOOZE_MIN, SNOOZE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)]) -> Meaning {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in headers {
            response.headers_mut().insert(*name, value.parse().unwrap());
        }
        let asked = Url::parse("http://host:8080/a/b").unwrap();
        meaning(&response, &asked, "1994-11-06T08:49:00Z".parse().unwrap())
    }

    #[test]
    fn every_status_has_its_meaning() {
        let status = |code| StatusCode::from_u16(code).unwrap();
        for code in [200, 201, 204, 299] {
            assert_eq!(answer(code, &[]), Meaning::Done);
        }
        for code in [408, 429, 500, 502, 503, 504, 599] {
            assert_eq!(answer(code, &[]), Meaning::Retry(status(code)));
        }
        for code in [400, 401, 404, 410, 422, 451, 499, 600, 999] {
            assert_eq!(answer(code, &[]), Meaning::GiveUp(status(code)));
        }
        assert_eq!(
            answer(500, &[("retry-after", "5")]),
            Meaning::Retry(status(500)),
            "only 429 and 503 put off"
        );
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_bounded() {
        let wait = |text: &str| match answer(429, &[("retry-after", text)]) {
            Meaning::Snooze(after, _) => Some(after.as_secs()),
            Meaning::Retry(_) => None,
            other => panic!("{other:?}"),
        };
        for (text, seconds) in [
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("0", Some(1)),
            ("86400", Some(3600)),
            ("99999999999999999999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sun, 06 Nov 1994 07:49:37 GMT", Some(1)),
            ("Mon, 06 Nov 2034 08:49:37 GMT", Some(3600)),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(wait(text), seconds, "{text:?}");
        }
    }

    #[test]
    fn a_redirect_is_followed_within_one_origin_only() {
        let to = |status, location: &str| answer(status, &[("location", location)]);
        for (location, url) in [
            ("/c", "http://host:8080/c"),
            ("c?d", "http://host:8080/a/c?d"),
            ("http://host:8080/", "http://host:8080/"),
            ("http://ann:s3cret@HOST:8080/#x", "http://host:8080/"),
        ] {
            assert_eq!(to(307, location), Meaning::Redirect(Url::parse(url).unwrap()), "{location}");
            assert_eq!(to(308, location), Meaning::Redirect(Url::parse(url).unwrap()), "{location}");
            assert!(matches!(to(302, location), Meaning::Astray(..)), "{location}");
        }
        for location in
            ["http://evil/", "//evil/", "http://host/", "https://host:8080/", "http://host:8081/", "data:x"]
        {
            assert!(matches!(to(307, location), Meaning::Astray(..)), "{location}");
        }
        assert!(matches!(answer(307, &[]), Meaning::Astray(..)));
        assert!(matches!(answer(304, &[]), Meaning::Astray(..)));
    }
}
