//! Where a Redis is and how to log in to it.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use super::BrokerError;

/// A Redis by URL: `redis://`, `rediss://` (TLS) or `unix://`, with user, password and database number.
///
/// Neither `Debug` nor `Display` shows the password or the user.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) info: ConnectionInfo,
    /// PEM of the certificate authority to trust instead of the public ones.
    pub(super) authority: Option<Vec<u8>>,
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
        self.info.redis_settings().username().unwrap_or("default")
    }
}

impl FromStr for Endpoint {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SCHEMES: [&str; 5] = ["redis", "rediss", "unix", "redis+unix", "valkey"];
        let parsed = url::Url::parse(text).map_err(|error| BrokerError::Url(error.to_string()))?;
        if !SCHEMES.contains(&parsed.scheme()) {
            return Err(BrokerError::Url(format!("scheme {:?} is not one of Redis", parsed.scheme())));
        }
        let info = text
            .into_connection_info()
            .map_err(|error| BrokerError::Url(error.detail().unwrap_or(error.category()).to_owned()))?;
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        Ok(Self { info: info.set_tcp_settings(tcp), authority: None })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = matches!(self.info.addr(), ConnectionAddr::TcpTls { .. });
        write!(f, "{}{}", self.info.addr(), if tls { " (TLS)" } else { "" })
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

    #[test]
    fn a_password_is_never_shown() {
        let endpoint: Endpoint = "redis://ann:s3cret@127.0.0.1:7000/2".parse().expect("valid");
        assert_eq!(format!("{endpoint} {endpoint:?}"), "127.0.0.1:7000 Endpoint(127.0.0.1:7000)");
        assert_eq!(endpoint.user(), "ann");
    }

    #[test]
    fn what_is_no_redis_url_is_refused() {
        for text in ["", "localhost:6379", "http://h", "redis://:pw@h:port"] {
            let error = text.parse::<Endpoint>().expect_err(text).to_string();
            assert!(error.contains("read the Redis URL") && !error.contains("pw"), "{error}");
        }
    }
}
