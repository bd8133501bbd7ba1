//! `cronmill.shop.resources.v1.ResourcesService`.

use tonic::{Request, Response, Status};

use super::answer::{self, refusal};
use super::input;
use super::store::{self, Store};
use crate::rpc::resources::v1::resources_service_server::ResourcesService;
use crate::rpc::resources::v1::{
    GetResourceRequest, GetResourceResponse, ListResourcesRequest, ListResourcesResponse, Resource,
};

const PAGE_DEFAULT: i64 = 1_000;
const PAGE_MAX: i64 = 10_000;

/// What is sold.
pub(super) struct Resources {
    pub(super) store: Store,
}

#[tonic::async_trait]
impl ResourcesService for Resources {
    async fn get_resource(
        &self,
        request: Request<GetResourceRequest>,
    ) -> Result<Response<GetResourceResponse>, Status> {
        let id = input::number("resource_id", request.into_inner().resource_id)?;
        let found = self.store.resource(id).await;
        let found = found.map_err(|error| refusal(format_args!("read resource {id}"), &error))?;
        Ok(Response::new(GetResourceResponse { resource: Some(resource(found)) }))
    }

    async fn list_resources(
        &self,
        request: Request<ListResourcesRequest>,
    ) -> Result<Response<ListResourcesResponse>, Status> {
        let request = request.into_inner();
        let after = input::after("after_resource_id", request.after_resource_id)?;
        let limit = input::limit("limit", request.limit, PAGE_DEFAULT, PAGE_MAX)?;
        let found = self.store.list_resources(after, limit).await;
        let found = found.map_err(|error| refusal("list resources", &error))?;
        Ok(Response::new(ListResourcesResponse { resources: found.into_iter().map(resource).collect() }))
    }
}

fn resource(found: store::Resource) -> Resource {
    Resource {
        id: found.id,
        title: found.title,
        price: Some(answer::money(found.price_minor, found.currency)),
        stock_start: found.stock_start,
        stock: found.stock,
    }
}
