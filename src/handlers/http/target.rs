//! Where a task may go.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use url::Url;

use super::error::{HttpConfigError, HttpError};
use super::{KIND, URL_HEADER};
use crate::worker::{HandlerError, Task};

/// URLs by name: `orders=https://user:password@orders.internal/tasks,mail=http://127.0.0.1:8000`.
///
/// User and password become the header `Authorization: Basic`. Neither is ever shown.
#[derive(Clone, Default)]
pub struct HttpTargets(BTreeMap<String, Destination>);

/// Hosts that tasks may name: `api.example.com,*.internal:8080`. Without a port, the scheme's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpHosts(Vec<HostRule>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct HostRule {
    /// In lower case; with a dot in front for every host below a domain.
    host: String,
    port: Option<u16>,
}

/// Where a request goes, and as whom.
#[derive(Clone)]
pub(super) struct Destination {
    pub(super) url: Url,
    pub(super) authorization: Option<HeaderValue>,
}

/// Decides where a task goes.
pub(super) fn choose(
    targets: &HttpTargets,
    hosts: &HttpHosts,
    task: &Task,
) -> Result<Destination, HandlerError> {
    if task.kind() == KIND {
        return named_by_task(hosts, task.header(URL_HEADER)).map_err(HandlerError::skip_retry);
    }
    let Some(name) = task.kind().strip_prefix(KIND).and_then(|rest| rest.strip_prefix(':')) else {
        // Another type that merely begins like ours, as the mux says it of any.
        return Err(HandlerError::unserved(task.kind()));
    };
    let found = targets.0.get(name.split(':').next().unwrap_or_default());
    found.cloned().ok_or_else(|| {
        let kind = task.kind().to_owned();
        HttpError::UnknownTarget { kind, known: targets.to_string() }.into()
    })
}

fn named_by_task(hosts: &HttpHosts, url: Option<&str>) -> Result<Destination, HttpError> {
    let url = url.and_then(|url| Url::parse(url).ok()).filter(is_web).ok_or(HttpError::NoUrl)?;
    let host = url.host_str().unwrap_or_default();
    if !hosts.allow(&url) || !url.username().is_empty() || url.password().is_some() {
        let host = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        return Err(HttpError::Forbidden { host, allowed: hosts.to_string() });
    }
    Ok(Destination { url, authorization: None })
}

fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty())
}

impl HttpTargets {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds others.
    ///
    /// # Errors
    /// [`HttpConfigError::Duplicate`] when a name stands in both.
    pub fn extend(&mut self, others: Self) -> Result<(), HttpConfigError> {
        for (name, destination) in others.0 {
            if self.0.insert(name.clone(), destination).is_some() {
                return Err(HttpConfigError::Duplicate { name });
            }
        }
        Ok(())
    }
}

impl FromStr for HttpTargets {
    type Err = HttpConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut targets = Self::default();
        for (place, entry) in
            text.split(',').map(str::trim).enumerate().filter(|(_, entry)| !entry.is_empty())
        {
            let wrong = |problem| HttpConfigError::Target { number: place + 1, problem };
            let (name, url) = entry.split_once('=').ok_or_else(|| wrong("it has no ="))?;
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
            if name.is_empty() || !name.chars().all(fits) {
                return Err(wrong("its name has other characters"));
            }
            let url =
                Url::parse(url).ok().filter(is_web).ok_or_else(|| wrong("its URL is none of the web"))?;
            targets.extend(Self(BTreeMap::from([(name.to_owned(), Destination::new(url))])))?;
        }
        Ok(targets)
    }
}

impl fmt::Display for HttpTargets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.is_empty() {
            true => f.write_str("none"),
            false => f.write_str(&self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// Shows the names only: a URL may hold a password.
impl fmt::Debug for HttpTargets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Destination {
    fn new(mut url: Url) -> Self {
        let user = percent_decoded(url.username());
        let password = url.password().map(percent_decoded);
        let authorization = (!user.is_empty() || password.is_some()).then(|| {
            let pair = [user, vec![b':'], password.unwrap_or_default()].concat();
            let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
                .expect("base64 has no characters that a header forbids");
            value.set_sensitive(true);
            value
        });
        // Both fail only for URLs without a host, which were refused before.
        let _has_host = url.set_username("").and_then(|()| url.set_password(None));
        url.set_fragment(None);
        Self { url, authorization }
    }
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let pair = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(value) if byte == b'%' => {
                decoded.push(value);
                rest = &after[2..];
            }
            _ => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    decoded
}

impl HttpHosts {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds others.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    fn allow(&self, url: &Url) -> bool {
        // Parsed URLs have their host in lower case, and no port where it is the scheme's own.
        let host = url.host_str().unwrap_or_default();
        self.0.iter().any(|rule| {
            let fits = match rule.host.starts_with('.') {
                true => host.ends_with(rule.host.as_str()) && host.len() > rule.host.len(),
                false => host == rule.host,
            };
            fits && match rule.port {
                Some(port) => url.port_or_known_default() == Some(port),
                None => url.port().is_none(),
            }
        })
    }
}

impl FromStr for HttpHosts {
    type Err = HttpConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(host_rule).collect::<Result<_, _>>().map(Self)
    }
}

fn host_rule(entry: &str) -> Result<HostRule, HttpConfigError> {
    let wrong = || HttpConfigError::Host { host: entry.to_owned() };
    let (dot, rest) = match entry.strip_prefix("*.") {
        Some(rest) => (".", rest),
        None => ("", entry),
    };
    // As the host of a URL it is read in the same way as those it will be compared with.
    let url = Url::parse(&format!("http://{rest}/")).map_err(|_| wrong())?;
    let host = url.host_str().filter(|host| !host.is_empty() && !host.contains('*')).ok_or_else(wrong)?;
    let is_only_host = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !is_only_host || !url.username().is_empty() || url.password().is_some() || rest.contains('/') {
        return Err(wrong());
    }
    // A URL drops the port 80, which was meant here.
    let port = rest.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    Ok(HostRule { host: format!("{dot}{host}"), port })
}

impl fmt::Display for HttpHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |rule: &HostRule| {
            let star = if rule.host.starts_with('.') { "*" } else { "" };
            let port = rule.port.map(|port| format!(":{port}")).unwrap_or_default();
            format!("{star}{}{port}", rule.host)
        };
        match self.0.is_empty() {
            true => f.write_str("none"),
            false => f.write_str(&self.0.iter().map(shown).collect::<Vec<_>>().join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_never_show_their_urls() {
        let text = "orders=https://ann:s3%3Acret@orders.internal/tasks?x=1, mail=http://127.0.0.1:8000,";
        let targets: HttpTargets = text.parse().unwrap();
        assert_eq!(targets.to_string(), "mail, orders");
        assert!(!format!("{targets:?}").contains("internal"));
        let orders = &targets.0["orders"];
        assert_eq!(orders.url.as_str(), "https://orders.internal/tasks?x=1");
        let expected = format!("Basic {}", STANDARD.encode("ann:s3:cret"));
        assert_eq!(orders.authorization.as_ref().unwrap(), expected.as_str());
        assert!(targets.0["mail"].authorization.is_none());
        assert!("".parse::<HttpTargets>().unwrap().is_empty());
    }

    #[test]
    fn what_is_no_target_is_refused_without_showing_it() {
        for text in [
            "a",
            "=http://x",
            "A=http://x",
            "a b=http://x",
            "a=ftp://s3cret",
            "a=s3cret",
            "a=http://",
            "a=http://x,a=http://y",
        ] {
            let error = text.parse::<HttpTargets>().unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn only_hosts_that_are_allowed_may_be_named() {
        let hosts: HttpHosts = "api.example.com, *.Internal:8080 ,10.0.0.1,[::1]:80".parse().unwrap();
        assert_eq!(hosts.to_string(), "api.example.com, *.internal:8080, 10.0.0.1, [::1]:80");
        for url in [
            "https://api.example.com/x",
            "http://API.example.com:80/",
            "http://a.b.internal:8080/",
            "http://10.0.0.1/",
            "http://0x0a000001/",
            "http://[0:0::1]/",
        ] {
            assert!(named_by_task(&hosts, Some(url)).is_ok(), "{url}");
        }
        for url in [
            "https://api.example.com:444/",
            "https://api.example.com.evil.com/",
            "https://xapi.example.com/",
            "http://internal:8080/",
            "http://.internal:8080/",
            "http://a.internal/",
            "http://169.254.169.254/",
            "http://api.example.com@evil.com/",
            "http://ann@api.example.com/",
            "http://api.example.com\\@evil.com/x",
            "file:///etc/passwd",
            "gopher://api.example.com/",
            "",
            "//api.example.com/",
            "http:///",
        ] {
            let allowed = named_by_task(&hosts, Some(url));
            // A backslash ends the host of a web URL, in ours as in what asks with it.
            let is_ours = allowed.as_ref().is_ok_and(|to| to.url.host_str() == Some("api.example.com"));
            assert!(allowed.is_err() || url.contains('\\') && is_ours, "{url}");
        }
        assert!(named_by_task(&HttpHosts::default(), Some("http://api.example.com/")).is_err());
        for text in ["http://a", "a/b", "*", "*.*", "a:b", "a b", "u@a", "a?x"] {
            assert!(text.parse::<HttpHosts>().is_err(), "{text}");
        }
    }
}
