//! The shop's services as handlers call them: one connection, deadlines passed on, short outages waited out.
//!
//! Every call of theirs may be repeated, so one that broke off is sent again for some seconds: a service that restarts
//! costs a task no attempt. Longer outages are for the task's retries.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::time::{Instant, sleep};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Response, Status};
use url::Url;

use super::shop_error::{ShopCallError, ShopTargetError};
use crate::rpc::order::v1 as order;
use crate::rpc::order::v1::order_service_client::OrderServiceClient;
use crate::rpc::trade::v1 as trade;
use crate::rpc::trade::v1::trade_service_client::TradeServiceClient;
use crate::worker::{Context, HandlerError};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection with a call on it that nothing is heard of for so long is asked, and given up when it does not answer
/// in time: a service that hangs, or whose machine is gone, would hold a task until its deadline.
const ASK_AFTER: Duration = Duration::from_secs(10);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How much longer than the attempt a call may last: that the attempt is over is for the worker to say.
const MARGIN: Duration = Duration::from_millis(100);
/// How long a call is tried again while nobody answers.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause before the first of those tries; doubled with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Where one of the shop's services is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceTarget {
    /// `http://host:port`, or `https://host:port` for TLS; of several, calls are spread over those that answer.
    pub urls: Vec<String>,
    /// How long one call may take; `None`: as long as the task may.
    pub timeout: Option<Duration>,
}

/// Where the shop's services are that handlers call.
#[derive(Clone, Debug, Default)]
pub struct ShopTarget {
    /// The orders.
    pub orders: ServiceTarget,
    /// Payments and earnings.
    pub trade: ServiceTarget,
    /// Certificate authorities to trust for `https://` instead of the public ones, in PEM.
    pub authorities: Option<Vec<u8>>,
}

impl ShopTarget {
    /// All services at one address.
    #[must_use]
    pub fn at(url: impl Into<String>) -> Self {
        let service = ServiceTarget { urls: vec![url.into()], timeout: None };
        Self { orders: service.clone(), trade: service, authorities: None }
    }
}

/// Calls the shop's services. Cheap to clone; clones share the connections, which are made at the first call.
#[derive(Clone)]
pub struct ShopClient {
    shared: Arc<Shared>,
}

struct Shared {
    orders: Service,
    trade: Service,
}

/// One service, as it is called.
struct Service {
    /// For errors.
    name: String,
    endpoints: Vec<Endpoint>,
    timeout: Option<Duration>,
    channel: OnceLock<Channel>,
}

impl Service {
    fn new(target: ServiceTarget, authorities: Option<&[u8]>) -> Result<Self, ShopTargetError> {
        let mut names = Vec::with_capacity(target.urls.len());
        let mut endpoints = Vec::with_capacity(target.urls.len());
        for url in &target.urls {
            let (name, endpoint) = endpoint(url, authorities)?;
            names.push(name);
            endpoints.push(endpoint);
        }
        if endpoints.is_empty() {
            return Err(ShopTargetError::Url);
        }
        Ok(Self { name: names.join(", "), endpoints, timeout: target.timeout, channel: OnceLock::new() })
    }

    fn channel(&self) -> Channel {
        // Made here because it needs the runtime that it will be used on.
        let made = self.channel.get_or_init(|| match self.endpoints.as_slice() {
            [only] => only.connect_lazy(),
            several => Channel::balance_list(several.iter().cloned()),
        });
        made.clone()
    }
}

fn endpoint(url: &str, authorities: Option<&[u8]>) -> Result<(String, Endpoint), ShopTargetError> {
    let url = Url::parse(url).ok().filter(is_target).ok_or(ShopTargetError::Url)?;
    let is_secure = url.scheme() == "https";
    let url = url.as_str().trim_end_matches('/').to_owned();
    let mut endpoint = Endpoint::from_shared(url.clone()).map_err(|_| ShopTargetError::Url)?;
    match authorities {
        Some(_) if !is_secure => return Err(ShopTargetError::NoTls),
        authorities if is_secure => endpoint = endpoint.tls_config(tls(authorities)?).map_err(refused)?,
        _ => {}
    }
    let agent = concat!("cronmill-worker/", env!("CARGO_PKG_VERSION"));
    let endpoint = endpoint.user_agent(agent).expect("a program's name is a header");
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(ASK_AFTER)
        .keep_alive_timeout(ANSWER_WITHIN);
    Ok((url, endpoint))
}

impl ShopClient {
    /// A client for these services. Nothing is contacted.
    ///
    /// # Errors
    /// [`ShopTargetError`] when the URL or the authorities cannot be used.
    pub fn new(target: ShopTarget) -> Result<Self, ShopTargetError> {
        let authorities = target.authorities.as_deref();
        let orders = Service::new(target.orders, authorities)?;
        let trade = Service::new(target.trade, authorities)?;
        Ok(Self { shared: Arc::new(Shared { orders, trade }) })
    }

    /// The calls of one attempt.
    ///
    /// # Errors
    /// A failure when no time is left for any.
    pub(super) fn calls(&self, context: &Context) -> Result<Calls<'_>, HandlerError> {
        let left = context.deadline().duration_since(context.started());
        let left = Duration::try_from(left).unwrap_or(Duration::ZERO);
        // A deadline that no clock reaches is none.
        let until = Instant::now().checked_add(left + MARGIN).filter(|_| context.deadline() < Timestamp::MAX);
        if left.is_zero() {
            return Err(HandlerError::msg("call the shop: the deadline has passed"));
        }
        Ok(Calls { shop: self, until })
    }
}

impl fmt::Debug for ShopClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ShopClient").field(&self.shared.orders.name).field(&self.shared.trade.name).finish()
    }
}

fn is_target(url: &Url) -> bool {
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let is_open = url.username().is_empty() && url.password().is_none();
    matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some_and(|host| !host.is_empty())
        && is_bare
        && is_open
}

fn tls(authorities: Option<&[u8]>) -> Result<ClientTlsConfig, ShopTargetError> {
    let Some(pem) = authorities else { return Ok(ClientTlsConfig::new().with_webpki_roots()) };
    // What is no certificate is passed over in silence there.
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    if certificates.map_or(true, |found| found.is_empty()) {
        return Err(ShopTargetError::Authorities);
    }
    Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
}

fn refused(_: tonic::transport::Error) -> ShopTargetError {
    ShopTargetError::Authorities
}

/// The calls of one attempt: its deadline goes along with each.
pub(super) struct Calls<'a> {
    shop: &'a ShopClient,
    until: Option<Instant>,
}

impl Calls<'_> {
    pub(super) async fn order(&self, order_id: i64) -> Result<order::Order, ShopCallError> {
        let message = order::GetOrderRequest { order_id };
        let send =
            |channel, request| async move { OrderServiceClient::new(channel).get_order(request).await };
        let doing = "read an order";
        self.call(&self.shop.shared.orders, doing, message, send)
            .await?
            .order
            .ok_or(ShopCallError::Incomplete { doing })
    }

    pub(super) async fn complete(
        &self,
        order_id: i64,
    ) -> Result<order::CompleteOrderResponse, ShopCallError> {
        let message = order::CompleteOrderRequest { order_id };
        let send =
            |channel, request| async move { OrderServiceClient::new(channel).complete_order(request).await };
        self.call(&self.shop.shared.orders, "complete an order", message, send).await
    }

    pub(super) async fn close_unpaid(
        &self,
        order_id: i64,
    ) -> Result<order::CloseUnpaidOrderResponse, ShopCallError> {
        let message = order::CloseUnpaidOrderRequest { order_id };
        let send = |channel, request| async move {
            OrderServiceClient::new(channel).close_unpaid_order(request).await
        };
        self.call(&self.shop.shared.orders, "close an unpaid order", message, send).await
    }

    /// Whether the order's payment is known.
    pub(super) async fn has_payment(&self, order_id: i64) -> Result<bool, ShopCallError> {
        let message = trade::GetPaymentRequest { order_id };
        let send =
            |channel, request| async move { TradeServiceClient::new(channel).get_payment(request).await };
        match self.call(&self.shop.shared.trade, "read a payment", message, send).await {
            Ok(answer) => Ok(answer.payment.is_some()),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn open_batch(
        &self,
        run: &str,
        max: i32,
    ) -> Result<Option<order::Batch>, ShopCallError> {
        let message = order::OpenBatchRequest { run: run.to_owned(), max };
        let send =
            |channel, request| async move { OrderServiceClient::new(channel).open_batch(request).await };
        Ok(self.call(&self.shop.shared.orders, "open a batch", message, send).await?.batch)
    }

    pub(super) async fn list_batch(
        &self,
        batch_id: &str,
        after_entry: i64,
        limit: i32,
    ) -> Result<Vec<order::LedgerEntry>, ShopCallError> {
        let message = order::ListBatchRequest { batch_id: batch_id.to_owned(), after_entry, limit };
        let send =
            |channel, request| async move { OrderServiceClient::new(channel).list_batch(request).await };
        Ok(self.call(&self.shop.shared.orders, "read a batch", message, send).await?.entries)
    }

    /// Answers whether this call credited it, and not an earlier one.
    pub(super) async fn credit_batch(
        &self,
        batch_id: &str,
        totals: Vec<trade::UserAmount>,
    ) -> Result<bool, ShopCallError> {
        let message = trade::CreditBatchRequest { batch_id: batch_id.to_owned(), totals };
        let send =
            |channel, request| async move { TradeServiceClient::new(channel).credit_batch(request).await };
        Ok(self.call(&self.shop.shared.trade, "credit a batch", message, send).await?.credited)
    }

    pub(super) async fn close_batch(&self, batch_id: &str) -> Result<(), ShopCallError> {
        let message = order::CloseBatchRequest { batch_id: batch_id.to_owned() };
        let send =
            |channel, request| async move { OrderServiceClient::new(channel).close_batch(request).await };
        self.call(&self.shop.shared.orders, "close a batch", message, send).await.map(drop)
    }

    async fn call<T, R, F>(
        &self,
        service: &Service,
        doing: &'static str,
        message: T,
        send: impl Fn(Channel, Request<T>) -> F,
    ) -> Result<R, ShopCallError>
    where
        T: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let give_up = Instant::now() + PATIENCE;
        let mut pause = PAUSE_MIN;
        loop {
            let mut request = Request::new(message.clone());
            let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
            if let Some(limit) = left.into_iter().chain(service.timeout).min() {
                request.set_timeout(limit);
            }
            let status = match send(service.channel(), request).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            let error = ShopCallError::answered(doing, &service.name, status);
            let next = Instant::now() + pause;
            let is_in_time = next < give_up && self.until.is_none_or(|until| next < until);
            if !error.may_pass_soon() || !is_in_time {
                return Err(error);
            }
            tracing::debug!(reason = error.reason(), "a call of the shop is sent again: {error}");
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str, authorities: Option<&str>) -> Result<String, String> {
        let authorities = authorities.map(|text| text.as_bytes().to_vec());
        ShopClient::new(ShopTarget { authorities, ..ShopTarget::at(url) })
            .map(|client| client.shared.trade.name.clone())
            .map_err(|error| error.reason().to_owned())
    }

    #[test]
    fn a_target_is_scheme_host_and_port_and_nothing_else() {
        for (given, kept) in [
            ("http://127.0.0.1:8081", "http://127.0.0.1:8081"),
            ("http://shop:8081/", "http://shop:8081"),
            ("https://shop.internal", "https://shop.internal"),
            ("http://[::1]:8081", "http://[::1]:8081"),
        ] {
            assert_eq!(target(given, None), Ok(kept.to_owned()));
        }
        for url in [
            "",
            "shop:8081",
            "127.0.0.1:8081",
            "grpc://shop",
            "http://",
            "http://ann:s3cret@shop",
            "http://shop/x",
            "http://shop?x",
        ] {
            assert_eq!(target(url, None), Err("BadTarget".to_owned()), "{url}");
        }
    }

    #[test]
    fn authorities_are_certificates_and_for_tls() {
        assert_eq!(target("https://shop", Some("no certificate")), Err("BadAuthorities".to_owned()));
        assert_eq!(target("https://shop", Some("")), Err("BadAuthorities".to_owned()));
        assert_eq!(target("http://shop", Some("any")), Err("NoTls".to_owned()));
    }
}
