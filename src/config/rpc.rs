//! go-zero's blocks of RPC clients, such as `OrderRpcConf`.

use std::time::Duration;

use serde_json::Value;

use super::error::ConfigFault;
use super::findings::Findings;
use super::section::Section;
use crate::document::FieldPath;

/// How long go-zero waits for an answer where the file says nothing.
const TIMEOUT_MS: i64 = 2000;

/// Where a service is that handlers call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcClient {
    /// The key of the block, as written.
    pub key: String,
    /// Its line, from 1.
    pub line: usize,
    /// `Endpoints`: addresses, each `host:port`.
    pub endpoints: Vec<String>,
    /// `Target`, as gRPC spells it.
    pub target: Option<String>,
    /// `NonBlock`: the program starts also while the service is away.
    pub non_block: bool,
    /// `Timeout` of one call; `None` for 0, no limit.
    pub timeout: Option<Duration>,
}

impl RpcClient {
    /// Whose client it is, by its key in lower case: `order` for `OrderRpcConf`.
    #[must_use]
    pub fn service(&self) -> String {
        let key = self.key.to_lowercase();
        key.trim_end_matches("conf").trim_end_matches("rpc").trim_end_matches(['_', '-']).to_owned()
    }

    /// The URLs of the service; `None` where it is to be found in a way that is not known here, such as etcd.
    #[must_use]
    pub fn urls(&self) -> Option<Vec<String>> {
        let addresses = match &self.target {
            None => self.endpoints.clone(),
            Some(target) => {
                let rest = target.strip_prefix("dns:///").or_else(|| target.strip_prefix("direct:///"));
                let bare = (!target.contains("://")).then_some(target.as_str());
                rest.or(bare)?.split(',').map(str::to_owned).collect()
            }
        };
        let urls: Vec<_> = addresses.iter().map(|address| format!("http://{address}")).collect();
        (!urls.is_empty()).then_some(urls)
    }
}

/// Whether a key, in lower case, is one of an RPC client.
fn is_client(key: &str) -> bool {
    key.ends_with("rpcconf") || key.ends_with("rpc")
}

/// Takes all such blocks.
pub(super) fn take(file: &mut Section<'_>, found: &mut Findings<'_>) -> Vec<RpcClient> {
    let blocks = file.take_all("…RpcConf", is_client);
    blocks.into_iter().filter_map(|(path, value)| client(path, value, found)).collect()
}

fn client(path: FieldPath, value: &Value, found: &mut Findings<'_>) -> Option<RpcClient> {
    let mut block = Section::open(value, path.clone(), found)?;
    let endpoints = block.texts("Endpoints", found);
    for (at, address) in &endpoints {
        let port = address.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then_some(port));
        if port.and_then(|port| port.parse::<u16>().ok()).is_none() {
            found.refuse(
                at,
                ConfigFault::InvalidValue,
                "is no address of a server",
                "host:port, as in order-rpc:2001",
            );
        }
    }
    let target = block.text("Target", found).map(|(_, target)| target.to_owned());
    let has_etcd = block.take("Etcd").is_some();
    if endpoints.is_empty() && target.is_none() && !has_etcd {
        found.refuse(&path, ConfigFault::InvalidValue, "names no server", "Endpoints, Target or Etcd");
    }
    let non_block = block.switch("NonBlock", found).unwrap_or(false);
    let timeout_ms = block.number("Timeout", 0, i64::from(u32::MAX), found).unwrap_or(TIMEOUT_MS);
    block.ignore(&["App", "Token", "KeepaliveTime", "Middlewares", "BalancerName"]);
    block.close(&[], "", found);
    Some(RpcClient {
        key: path.to_string(),
        line: found.line(&path),
        endpoints: endpoints.into_iter().map(|(_, address)| address.to_owned()).collect(),
        target,
        non_block,
        timeout: u64::try_from(timeout_ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis),
    })
}
