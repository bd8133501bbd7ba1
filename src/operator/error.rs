//! Why the operator cannot start, or go on.

/// The operator cannot start, or has to end. What is wrong with objects, with Redis or with a missing definition is no
/// such thing: it is told where it belongs, and the operator goes on.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// There is no way to the API server.
    #[error("find the API server: neither KUBECONFIG nor a pod's service account leads to one")]
    Config(#[source] Box<kube::config::InferConfigError>),
    /// The client cannot be made.
    #[error("prepare the client for the API server")]
    Client(#[source] Box<kube::Error>),
    /// The URL of the shared Redis cannot be used.
    #[error("use the shared Redis")]
    SharedRedis(#[source] crate::broker::BrokerError),
    /// The API server refused what retiring needs.
    #[error("{doing}; the same again goes on from here")]
    Retire {
        /// What was being done, and to what.
        doing: String,
        /// What it said.
        #[source]
        source: Box<kube::Error>,
    },
    /// Retiring was stopped, or the API server is too slow.
    #[error("retire the operator: it was stopped before all was done; the same again goes on from here")]
    RetireLate,
    /// Somebody else took the Lease while the operator was being retired, and may have put finalizers on.
    #[error("retire the operator: {holder:?} took its Lease meanwhile; do it again")]
    LeaseLost {
        /// Who holds it.
        holder: String,
    },
    /// One of our own loops ended.
    #[error("{part} ended by itself; this is a bug")]
    PartEnded {
        /// Which.
        part: &'static str,
    },
}

impl OperatorError {
    pub(super) fn retire(doing: String, source: kube::Error) -> Self {
        Self::Retire { doing, source: Box::new(source) }
    }

    /// A fixed name for logs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Config(_) => "NoCluster",
            Self::Client(_) => "NoClient",
            Self::SharedRedis(error) => error.reason(),
            Self::Retire { .. } => "RetireRefused",
            Self::RetireLate => "RetireLate",
            Self::LeaseLost { .. } => "LeaseLost",
            Self::PartEnded { .. } => "PartEnded",
        }
    }

    /// Whether the same may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Config(_) | Self::Client(_) | Self::SharedRedis(_) => false,
            Self::Retire { .. } | Self::RetireLate | Self::LeaseLost { .. } | Self::PartEnded { .. } => true,
        }
    }
}
