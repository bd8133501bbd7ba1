//! The way to the API server.

use kube::{Client, Config};

use super::OperatorError;

/// A client, and the namespace that the kubeconfig or the pod is in. Nothing is contacted yet.
///
/// # Errors
/// [`OperatorError::Config`] when nothing says where the API server is, [`OperatorError::Client`].
pub(super) async fn client() -> Result<(Client, String), OperatorError> {
    // Installing twice is refused, which is fine: one provider is all TLS needs.
    let _already = rustls::crypto::ring::default_provider().install_default();
    let mut config = Config::infer().await.map_err(|error| OperatorError::Config(Box::new(error)))?;
    let agent = concat!("cronmill-operator/", env!("CARGO_PKG_VERSION"));
    config.headers.push((http::header::USER_AGENT, http::HeaderValue::from_static(agent)));
    // Whoever fails here is tried again by its own loop, which knows how long it may take.
    config.default_retry = false;
    let namespace = config.default_namespace.clone();
    let client = Client::try_from(config).map_err(|error| OperatorError::Client(Box::new(error)))?;
    Ok((client, namespace))
}
