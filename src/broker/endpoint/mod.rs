//! Where a Redis is and how to log in to it.

mod parse;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use redis::{Client, ConnectionAddr, ConnectionInfo, RedisResult, TlsCertificates};

use super::BrokerError;

/// A Redis by URL. Each form has one with `rediss` for TLS.
///
/// - `redis://[user:password@]host[:port][/db]`, or `unix:///path`: one server.
/// - `redis-sentinel://[user:password@]host[:port],…[/db]?master=name`: the master that Sentinels name. The login
///   is that of the Redis servers; `sentinel-user` and `sentinel-password` in the query are for the Sentinels.
/// - `redis-cluster://[user:password@]host[:port],…`: a Redis Cluster; any of its nodes.
///
/// Neither `Debug` nor `Display` shows a password or a user.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) place: Place,
    /// PEM of the certificate authority to trust instead of the public ones.
    authority: Option<Vec<u8>>,
}

/// What stands behind a URL.
#[derive(Clone)]
pub(super) enum Place {
    Single(Box<ConnectionInfo>),
    Sentinel(Box<SentinelPlace>),
    /// Nodes of a cluster to ask for all others.
    Cluster(Vec<ConnectionInfo>),
}

/// A master known to Sentinels.
#[derive(Clone)]
pub(super) struct SentinelPlace {
    pub(super) sentinels: Vec<ConnectionInfo>,
    pub(super) master: String,
    /// Login, database and TLS of the Redis servers; its address stands for nothing.
    pub(super) node: ConnectionInfo,
    /// The URL says how to log in to the Sentinels. If not, they get the servers' login when they ask for one.
    pub(super) has_sentinel_login: bool,
}

impl SentinelPlace {
    /// Whether the one password of the URL may be that of the Sentinels, as in asynq's.
    pub(super) fn may_be_sentinels_login(&self) -> bool {
        !self.has_sentinel_login && self.node.redis_settings().username().is_none()
    }
}

impl Endpoint {
    /// Trusts the certificate authorities in a PEM file instead of the public ones.
    ///
    /// # Errors
    /// [`BrokerError::Authority`] when the file cannot be read.
    pub fn with_authority(mut self, file: &Path) -> Result<Self, BrokerError> {
        let pem = std::fs::read(file)
            .map_err(|source| BrokerError::Authority { path: file.display().to_string(), source })?;
        self.authority = Some(pem);
        Ok(self)
    }

    /// The ACL user it logs in as; `default` when the URL names none.
    #[must_use]
    pub fn user(&self) -> &str {
        self.servers().redis_settings().username().unwrap_or("default")
    }

    /// The hosts that its URL names; `None` for a socket in this machine's file system.
    #[must_use]
    pub fn hosts(&self) -> Option<Vec<&str>> {
        let infos = match &self.place {
            Place::Single(info) => std::slice::from_ref(&**info),
            Place::Sentinel(place) => &place.sentinels,
            Place::Cluster(seeds) => seeds,
        };
        infos.iter().map(|info| host(info.addr())).collect()
    }

    /// The number of the database on its servers.
    #[must_use]
    pub fn database(&self) -> i64 {
        self.servers().redis_settings().db()
    }

    /// Whether the conversation is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.servers().addr(), ConnectionAddr::TcpTls { .. })
    }

    /// How to log in to the servers that hold the data.
    pub(super) fn servers(&self) -> &ConnectionInfo {
        match &self.place {
            Place::Single(info) => info,
            Place::Sentinel(place) => &place.node,
            Place::Cluster(seeds) => &seeds[0],
        }
    }

    /// How to reach a server at another address with the same login.
    pub(super) fn server_at(&self, host: &str, port: u16) -> ConnectionInfo {
        let address = match self.is_tls() {
            true => ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: false, tls_params: None },
            false => ConnectionAddr::Tcp(host.to_owned(), port),
        };
        self.servers().clone().set_addr(address)
    }

    /// A client for one server, with the authority to trust.
    pub(super) fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        // Installing twice is refused, which is fine: one provider is all TLS needs.
        let _already = rustls::crypto::ring::default_provider().install_default();
        match &self.authority {
            None => Client::open(info),
            Some(pem) => Client::build_with_tls(
                info,
                TlsCertificates { client_tls: None, root_cert: Some(pem.clone()) },
            ),
        }
    }
}

fn host(address: &ConnectionAddr) -> Option<&str> {
    match address {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => Some(host),
        _ => None,
    }
}

impl FromStr for Endpoint {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self { place: parse::place(text).map_err(BrokerError::Url)?, authority: None })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |infos: &[ConnectionInfo]| {
            infos.iter().map(|info| info.addr().to_string()).collect::<Vec<_>>().join(",")
        };
        match &self.place {
            Place::Single(info) => write!(f, "{}", info.addr())?,
            Place::Sentinel(place) => {
                write!(f, "{}, master {:?} by Sentinel", list(&place.sentinels), place.master)?;
            }
            Place::Cluster(seeds) => write!(f, "{} (cluster)", list(seeds))?,
        }
        if self.is_tls() { f.write_str(" (TLS)") } else { Ok(()) }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn sentinel(text: &str) -> SentinelPlace {
        match endpoint(text).place {
            Place::Sentinel(place) => *place,
            _ => panic!("{text} is no Sentinel"),
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for (text, shown) in [
            ("redis://ann:s3cret@127.0.0.1:7000/2", "127.0.0.1:7000"),
            ("rediss://ann:s3cret@h", "h:6379 (TLS)"),
            (
                "redis-sentinel://ann:s3cret@a,b:1/2?master=m&sentinel-user=bob&sentinel-password=s3cret",
                "a:26379,b:1, master \"m\" by Sentinel",
            ),
            ("rediss-cluster://ann:s3cret@a,b:1", "a:6379,b:1 (cluster) (TLS)"),
        ] {
            let endpoint = endpoint(text);
            assert_eq!(format!("{endpoint}|{endpoint:?}"), format!("{shown}|Endpoint({shown})"));
            assert_eq!(endpoint.user(), if text.contains("ann") { "ann" } else { "default" });
        }
    }

    #[test]
    fn what_is_no_redis_url_is_refused() {
        for text in [
            "",
            "localhost:6379",
            "http://h",
            "redis://:pw@h:port",
            "redis-sentinel://:pw@h",
            "redis-sentinel://:pw@h?master=",
            "redis-sentinel://:pw@?master=m",
            "redis-sentinel://:pw@h,?master=m",
            "redis-sentinel://:pw@h:99999?master=m",
            "redis-sentinel://:pw@h/x?master=m",
            "redis-sentinel://:pw@h?master=m&masters=n",
            "redis-sentinel://:pw@h?master=m&sentinel-user=u",
            "redis-cluster://:pw@h/1",
            "redis-cluster://:pw@h?master=m",
            "redis-cluster://:pw@",
            "redis-sentinels://:pw@h?master=m",
        ] {
            let error = text.parse::<Endpoint>().expect_err(text).to_string();
            assert!(error.contains("read the Redis URL") && !error.contains("pw"), "{error}");
            assert!(error.contains("allowed are redis://"), "{error}");
        }
    }

    #[test]
    fn a_sentinel_url_holds_two_logins() {
        let place =
            sentinel("redis-sentinel://ann:p%40w@a:1,[::1],b/3?master=my%20m&sentinel-password=x%26y");
        assert_eq!(place.master, "my m");
        let servers = place.node.redis_settings();
        assert_eq!((servers.username(), servers.password(), servers.db()), (Some("ann"), Some("p@w"), 3));
        let addresses: Vec<_> = place.sentinels.iter().map(|info| info.addr().to_string()).collect();
        assert_eq!(addresses, ["a:1", "::1:26379", "b:26379"]);
        for info in &place.sentinels {
            let login = info.redis_settings();
            assert_eq!((login.username(), login.password(), login.db()), (None, Some("x&y"), 0));
        }
        assert!(place.has_sentinel_login);
    }

    #[test]
    fn asynqs_own_sentinel_urls_are_read() {
        let place =
            sentinel("redis-sentinel://:pw@localhost:5000,localhost:5001,localhost:5002/3?master=mymaster");
        assert_eq!((place.sentinels.len(), place.master.as_str()), (3, "mymaster"));
        assert_eq!(
            (place.node.redis_settings().password(), place.node.redis_settings().db()),
            (Some("pw"), 3)
        );
        assert!(!place.has_sentinel_login, "the Sentinels get the same password if they ask for one");
    }

    #[test]
    fn tls_holds_for_every_server_of_a_url() {
        for text in ["rediss-sentinel://a,b?master=m", "rediss-cluster://a,b"] {
            let endpoint = endpoint(text);
            assert!(endpoint.is_tls());
            assert!(matches!(
                endpoint.server_at("c", 1).addr(),
                ConnectionAddr::TcpTls { insecure: false, .. }
            ));
        }
        let place = sentinel("rediss-sentinel://a,b?master=m");
        assert!(place.sentinels.iter().all(|info| matches!(info.addr(), ConnectionAddr::TcpTls { .. })));
    }
}
