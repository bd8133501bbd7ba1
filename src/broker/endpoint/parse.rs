//! Taking URLs apart. Nothing of what is said about a wrong one may quote it: it may hold a password.

use redis::{ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

use super::{Place, SentinelPlace};

const SENTINEL_PORT: u16 = 26379;
const SINGLE: [&str; 5] = ["redis", "rediss", "unix", "redis+unix", "valkey"];

/// What a URL names, or what is wrong with it.
pub(super) fn place(text: &str) -> Result<Place, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err("it does not begin with a scheme such as redis://".to_owned());
    };
    match scheme {
        "redis-sentinel" => sentinel("redis", rest),
        "rediss-sentinel" => sentinel("rediss", rest),
        "redis-cluster" => cluster("redis", rest),
        "rediss-cluster" => cluster("rediss", rest),
        _ if SINGLE.contains(&scheme) => Ok(Place::Single(Box::new(single(text)?))),
        _ => Err(format!("scheme {scheme:?} is not one of Redis")),
    }
}

fn single(text: &str) -> Result<ConnectionInfo, String> {
    url::Url::parse(text).map_err(|error| error.to_string())?;
    let info =
        text.into_connection_info().map_err(|error| error.detail().unwrap_or(error.category()).to_owned())?;
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    Ok(info.set_tcp_settings(tcp))
}

fn sentinel(scheme: &str, rest: &str) -> Result<Place, String> {
    let parts = Parts::new(rest);
    let mut master = String::new();
    let (mut user, mut password) = (None, None);
    for (name, value) in url::form_urlencoded::parse(parts.query.as_bytes()) {
        match name.as_ref() {
            "master" => master = value.into_owned(),
            "sentinel-user" => user = Some(value.into_owned()),
            "sentinel-password" => password = Some(value.into_owned()),
            _ => {
                return Err(format!(
                    "{name:?} is unknown; known are master, sentinel-user, sentinel-password"
                ));
            }
        }
    }
    if master.is_empty() {
        return Err("it does not say which master: add ?master=name".to_owned());
    }
    if user.is_some() && password.is_none() {
        return Err("sentinel-user needs sentinel-password".to_owned());
    }
    let has_sentinel_login = password.is_some();
    let mut login = RedisConnectionInfo::default();
    if let Some(user) = user {
        login = login.set_username(user);
    }
    if let Some(password) = password {
        login = login.set_password(password);
    }
    let sentinels = parts.servers(scheme, SENTINEL_PORT)?;
    let node = sentinels[0].clone();
    let sentinels = sentinels.into_iter().map(|info| info.set_redis_settings(login.clone())).collect();
    Ok(Place::Sentinel(Box::new(SentinelPlace { sentinels, master, node, has_sentinel_login })))
}

fn cluster(scheme: &str, rest: &str) -> Result<Place, String> {
    let parts = Parts::new(rest);
    if !parts.query.is_empty() {
        return Err("a cluster's URL takes nothing after ?".to_owned());
    }
    if !matches!(parts.path, "" | "0") {
        return Err("a cluster has database 0 only".to_owned());
    }
    Ok(Place::Cluster(parts.servers(scheme, 6379)?))
}

/// A URL with several hosts, which URLs in general do not have.
struct Parts<'a> {
    login: &'a str,
    hosts: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn new(rest: &'a str) -> Self {
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        Self { login, hosts, path, query }
    }

    /// Each host with the login and the database, as a URL of its own would have them.
    fn servers(&self, scheme: &str, port: u16) -> Result<Vec<ConnectionInfo>, String> {
        let server = |host: &str| {
            let host = host.trim();
            if host.is_empty() {
                return Err("a host is missing".to_owned());
            }
            // A colon within brackets belongs to an IPv6 address.
            let has_port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
            let port = if has_port { String::new() } else { format!(":{port}") };
            let at = if self.login.is_empty() { "" } else { "@" };
            single(&format!("{scheme}://{}{at}{host}{port}/{}", self.login, self.path))
        };
        self.hosts.split(',').map(server).collect()
    }
}
