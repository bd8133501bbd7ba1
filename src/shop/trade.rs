//! `cronmill.shop.trade.v1.TradeService`.

use std::collections::BTreeSet;

use tonic::{Request, Response, Status};

use super::answer::{self, refusal};
use super::store::{self, NewPayment, Store, Total};
use super::{input, now};
use crate::rpc::trade::v1::trade_service_server::TradeService;
use crate::rpc::trade::v1::{
    CreditBatchRequest, CreditBatchResponse, GetEarningsRequest, GetEarningsResponse, GetPaymentRequest,
    GetPaymentResponse, ListEarningsRequest, ListEarningsResponse, PayOrderRequest, PayOrderResponse,
    Payment, UserAmount,
};

const PAGE_MAX: i64 = 10_000;
const TOTALS_MAX: usize = 200_000;

/// Payments and earnings.
pub(super) struct Trade {
    pub(super) store: Store,
}

#[tonic::async_trait]
impl TradeService for Trade {
    async fn pay_order(
        &self,
        request: Request<PayOrderRequest>,
    ) -> Result<Response<PayOrderResponse>, Status> {
        let request = request.into_inner();
        let (amount_minor, currency) = input::payment("amount", request.amount)?;
        let new = NewPayment {
            id: input::name("payment_id", request.payment_id)?,
            order: input::number("order_id", request.order_id)?,
            amount_minor,
            currency,
        };
        let taken = self.store.pay_order(&new, now()).await;
        let taken = taken.map_err(|error| refusal(format_args!("pay order {}", new.order), &error))?;
        Ok(Response::new(PayOrderResponse { payment: Some(payment(taken.payment)), paid: taken.is_new }))
    }

    async fn get_payment(
        &self,
        request: Request<GetPaymentRequest>,
    ) -> Result<Response<GetPaymentResponse>, Status> {
        let order = input::number("order_id", request.into_inner().order_id)?;
        let found = self.store.payment(order).await;
        let found =
            found.map_err(|error| refusal(format_args!("read the payment of order {order}"), &error))?;
        Ok(Response::new(GetPaymentResponse { payment: Some(payment(found)) }))
    }

    async fn credit_batch(
        &self,
        request: Request<CreditBatchRequest>,
    ) -> Result<Response<CreditBatchResponse>, Status> {
        let request = request.into_inner();
        let batch = input::name("batch_id", request.batch_id)?;
        let totals = totals(request.totals)?;
        let credited = self.store.credit_batch(&batch, &totals, now()).await;
        let credited = credited.map_err(|error| refusal(format_args!("credit batch {batch}"), &error))?;
        Ok(Response::new(CreditBatchResponse { credited }))
    }

    async fn get_earnings(
        &self,
        request: Request<GetEarningsRequest>,
    ) -> Result<Response<GetEarningsResponse>, Status> {
        let user = input::number("user_id", request.into_inner().user_id)?;
        let found = self.store.earnings(user).await;
        let found =
            found.map_err(|error| refusal(format_args!("read the earnings of user {user}"), &error))?;
        let earnings =
            found.into_iter().map(|total| answer::money(total.amount_minor, total.currency)).collect();
        Ok(Response::new(GetEarningsResponse { earnings }))
    }

    async fn list_earnings(
        &self,
        request: Request<ListEarningsRequest>,
    ) -> Result<Response<ListEarningsResponse>, Status> {
        let request = request.into_inner();
        let after = input::after("after_user_id", request.after_user_id)?;
        let currency = input::optional_name("after_currency", request.after_currency)?.unwrap_or_default();
        let limit = input::limit("limit", request.limit, PAGE_MAX, PAGE_MAX)?;
        let found = self.store.list_earnings((after, &currency), limit).await;
        let found = found.map_err(|error| refusal("list earnings", &error))?;
        let earnings = found.into_iter().map(|total| UserAmount {
            user_id: total.user,
            amount: Some(answer::money(total.amount_minor, total.currency)),
        });
        Ok(Response::new(ListEarningsResponse { earnings: earnings.collect() }))
    }
}

/// The totals of a batch, each user and currency once.
fn totals(given: Vec<UserAmount>) -> Result<Vec<Total>, Status> {
    if given.len() > TOTALS_MAX {
        return Err(Status::invalid_argument(format!(
            "totals has {} lines (allowed: at most {TOTALS_MAX})",
            given.len()
        )));
    }
    let mut totals = Vec::with_capacity(given.len());
    for line in given {
        let user = input::number("totals.user_id", line.user_id)?;
        let (amount_minor, currency) = input::amount("totals.amount", line.amount)?;
        totals.push(Total { user, currency, amount_minor });
    }
    let mut seen = BTreeSet::new();
    for total in &totals {
        if !seen.insert((total.user, total.currency.as_str())) {
            let Total { user, currency, .. } = total;
            let twice =
                format!("totals has user {user} in {currency} twice (allowed: each user and currency once)");
            return Err(Status::invalid_argument(twice));
        }
    }
    Ok(totals)
}

fn payment(found: store::Payment) -> Payment {
    Payment {
        id: found.id,
        order_id: found.order,
        amount: Some(answer::money(found.amount_minor, found.currency)),
        paid_at: Some(answer::timestamp(found.paid_at)),
    }
}
