//! Addresses to listen on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// Where to listen, or nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

/// An address that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address (allowed: ip:port, :port for all of IPv4, or nothing for none)")]
pub struct ListenError;

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let addr = match text.strip_prefix(':') {
            Some(port) => {
                let port = port.parse().map_err(|_| ListenError)?;
                SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
            }
            None => text.parse().map_err(|_| ListenError)?,
        };
        Ok(Self(Some(addr)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_a_port_or_nothing_is_read() {
        for (text, addr) in [
            ("", None),
            (":9090", Some("0.0.0.0:9090")),
            ("127.0.0.1:0", Some("127.0.0.1:0")),
            ("[::]:9090", Some("[::]:9090")),
        ] {
            assert_eq!(text.parse(), Ok(Listen(addr.map(|addr| addr.parse().unwrap()))), "{text}");
        }
        for text in ["9090", "localhost:9090", ":", ":99999", "1.2.3.4"] {
            assert_eq!(text.parse::<Listen>(), Err(ListenError), "{text}");
        }
    }
}
