//! go-zero's `Redis`: which one, and how to log in.

use super::error::ConfigFault;
use super::findings::Findings;
use super::section::Section;
use crate::broker::Endpoint;

/// Takes the block `Redis`, if it is there and right.
pub(super) fn take(file: &mut Section<'_>, found: &mut Findings<'_>) -> Option<Endpoint> {
    let mut redis = file.section("Redis", found)?;
    let host = redis.text("Host", found);
    let is_cluster = redis.choice("Type", &["node", "cluster"], found) == Some("cluster");
    let mut login = |name| redis.text(name, found).map(|(_, text)| text).filter(|text| !text.is_empty());
    let (user, password) = (login("User"), login("Pass"));
    let is_tls = redis.switch("Tls", found).unwrap_or(false);
    if redis.switch("NonBlock", found) == Some(false) {
        let path = redis.place("NonBlock");
        found.idle(&path, "a Redis that is away is waited for");
    }
    redis.idle(&["PingTimeout"], "", found);
    let path = redis.path().clone();
    redis.close(&[], "", found);
    let Some((at, host)) = host else {
        found.refuse(&path.key("Host"), ConfigFault::InvalidValue, "is missing", allowed(is_cluster));
        return None;
    };
    // What stands there is never shown: whoever writes a whole URL there writes its password too.
    let message = if host.contains("://") {
        "is a URL; a whole URL goes to --redis-url or CRONMILL_REDIS_URL"
    } else if !is_cluster && host.contains(',') {
        "names several servers; those of a cluster need Type: cluster"
    } else if user.is_some() && password.is_none() {
        found.refuse(
            &path.key("User"),
            ConfigFault::InvalidValue,
            "stands there without a Pass",
            "both, or a Pass alone",
        );
        return None;
    } else {
        match endpoint(host, is_cluster, is_tls, user, password) {
            Some(endpoint) => return Some(endpoint),
            None => "is no address of a server",
        }
    };
    found.refuse(&at, ConfigFault::InvalidValue, message, allowed(is_cluster));
    None
}

fn allowed(is_cluster: bool) -> &'static str {
    if is_cluster { "host:port,host:port,… of its nodes" } else { "host:port, as in redis:6379" }
}

fn endpoint(
    host: &str,
    is_cluster: bool,
    is_tls: bool,
    user: Option<&str>,
    password: Option<&str>,
) -> Option<Endpoint> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || ".-_:[],".contains(c);
    if host.is_empty() || !host.chars().all(is_part) {
        return None;
    }
    let scheme = match (is_cluster, is_tls) {
        (false, false) => "redis",
        (false, true) => "rediss",
        (true, false) => "redis-cluster",
        (true, true) => "rediss-cluster",
    };
    let login = match password {
        Some(password) => format!("{}:{}@", escaped(user.unwrap_or_default()), escaped(password)),
        None => String::new(),
    };
    format!("{scheme}://{login}{host}").parse().ok()
}

/// A text as a URL takes it as a user or a password.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
