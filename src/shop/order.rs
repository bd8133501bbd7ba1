//! `cronmill.shop.order.v1.OrderService`.

use std::sync::Arc;

use tokio::sync::Notify;
use tonic::{Request, Response, Status};

use super::answer::{self, refusal};
use super::store::{NewOrder, Store};
use super::{EXPIRY_TASK, input, now};
use crate::rpc::order::v1::order_service_server::OrderService;
use crate::rpc::order::v1::{
    Batch, CloseBatchRequest, CloseBatchResponse, CloseUnpaidOrderRequest, CloseUnpaidOrderResponse,
    CompleteOrderRequest, CompleteOrderResponse, CreateOrderRequest, CreateOrderResponse, GetOrderRequest,
    GetOrderResponse, LedgerEntry, ListBatchRequest, ListBatchResponse, OpenBatchRequest, OpenBatchResponse,
    RefundOrderRequest, RefundOrderResponse,
};

const BATCH_DEFAULT: i64 = 20_000;
const BATCH_MAX: i64 = 100_000;
const PAGE_MAX: i64 = 10_000;

/// Orders, and the ledger by which they are counted.
pub(super) struct Orders {
    pub(super) store: Store,
    /// Woken when there is a task to enqueue.
    pub(super) placed: Arc<Notify>,
}

#[tonic::async_trait]
impl OrderService for Orders {
    async fn create_order(
        &self,
        request: Request<CreateOrderRequest>,
    ) -> Result<Response<CreateOrderResponse>, Status> {
        let request = request.into_inner();
        let new = NewOrder {
            request: input::optional_name("request_id", request.request_id)?,
            user: input::number("user_id", request.user_id)?,
            resource: input::number("resource_id", request.resource_id)?,
            quantity: input::number("quantity", request.quantity)?,
            pay_within: input::pay_within(request.pay_within)?,
            expiry_task: EXPIRY_TASK,
        };
        let placed = self.store.create_order(&new, now()).await;
        let placed =
            placed.map_err(|error| refusal(format_args!("create an order of user {}", new.user), &error))?;
        if placed.is_new {
            self.placed.notify_one();
        }
        Ok(Response::new(CreateOrderResponse {
            order: Some(answer::order(placed.order)),
            created: placed.is_new,
        }))
    }

    async fn get_order(
        &self,
        request: Request<GetOrderRequest>,
    ) -> Result<Response<GetOrderResponse>, Status> {
        let id = input::number("order_id", request.into_inner().order_id)?;
        let order = self.store.order(id).await;
        let order = order.map_err(|error| refusal(format_args!("read order {id}"), &error))?;
        Ok(Response::new(GetOrderResponse { order: Some(answer::order(order)) }))
    }

    async fn complete_order(
        &self,
        request: Request<CompleteOrderRequest>,
    ) -> Result<Response<CompleteOrderResponse>, Status> {
        let id = input::number("order_id", request.into_inner().order_id)?;
        let done = self.store.complete_order(id).await;
        let done = done.map_err(|error| refusal(format_args!("complete order {id}"), &error))?;
        Ok(Response::new(CompleteOrderResponse {
            order: Some(answer::order(done.order)),
            completed: done.is_changed,
        }))
    }

    async fn close_unpaid_order(
        &self,
        request: Request<CloseUnpaidOrderRequest>,
    ) -> Result<Response<CloseUnpaidOrderResponse>, Status> {
        let id = input::number("order_id", request.into_inner().order_id)?;
        let done = self.store.close_unpaid_order(id, now()).await;
        let done = done.map_err(|error| refusal(format_args!("close order {id}"), &error))?;
        Ok(Response::new(CloseUnpaidOrderResponse {
            order: Some(answer::order(done.order)),
            closed: done.is_changed,
        }))
    }

    async fn refund_order(
        &self,
        request: Request<RefundOrderRequest>,
    ) -> Result<Response<RefundOrderResponse>, Status> {
        let id = input::number("order_id", request.into_inner().order_id)?;
        let done = self.store.refund_order(id, now()).await;
        let done = done.map_err(|error| refusal(format_args!("refund order {id}"), &error))?;
        Ok(Response::new(RefundOrderResponse {
            order: Some(answer::order(done.order)),
            refunded: done.is_changed,
        }))
    }

    async fn open_batch(
        &self,
        request: Request<OpenBatchRequest>,
    ) -> Result<Response<OpenBatchResponse>, Status> {
        let request = request.into_inner();
        let max = input::limit("max", request.max, BATCH_DEFAULT, BATCH_MAX)?;
        let run = input::name("run", request.run)?;
        let batch = self.store.open_batch(&run, max, now()).await;
        let batch = batch.map_err(|error| refusal(format_args!("open a batch for run {run}"), &error))?;
        let batch = batch.map(|batch| Batch { id: batch.id, entries: batch.entries });
        Ok(Response::new(OpenBatchResponse { batch }))
    }

    async fn list_batch(
        &self,
        request: Request<ListBatchRequest>,
    ) -> Result<Response<ListBatchResponse>, Status> {
        let request = request.into_inner();
        let id = input::name("batch_id", request.batch_id)?;
        let after = input::after("after_entry", request.after_entry)?;
        let limit = input::limit("limit", request.limit, PAGE_MAX, PAGE_MAX)?;
        let entries = self.store.list_batch(&id, after, limit).await;
        let entries = entries.map_err(|error| refusal(format_args!("list batch {id}"), &error))?;
        let entries = entries.into_iter().map(|entry| LedgerEntry {
            id: entry.id,
            order_id: entry.order,
            user_id: entry.user,
            amount: Some(answer::money(entry.amount_minor, entry.currency)),
        });
        Ok(Response::new(ListBatchResponse { entries: entries.collect() }))
    }

    async fn close_batch(
        &self,
        request: Request<CloseBatchRequest>,
    ) -> Result<Response<CloseBatchResponse>, Status> {
        let id = input::name("batch_id", request.into_inner().batch_id)?;
        let closed = self.store.close_batch(&id, now()).await;
        let closed = closed.map_err(|error| refusal(format_args!("close batch {id}"), &error))?;
        Ok(Response::new(CloseBatchResponse { closed }))
    }
}
