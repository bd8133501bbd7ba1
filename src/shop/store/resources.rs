//! What is sold.

use super::{Store, StoreError, reading};

/// Something that can be ordered.
#[derive(Clone, Debug)]
pub(in crate::shop) struct Resource {
    pub(in crate::shop) id: i64,
    pub(in crate::shop) title: String,
    pub(in crate::shop) price_minor: i64,
    pub(in crate::shop) currency: String,
    pub(in crate::shop) stock_start: i64,
    pub(in crate::shop) stock: i64,
}

type Row = (i64, String, i64, String, i64, i64);

const BY_ID: &str =
    "SELECT id, title, price_minor, currency, stock_start, stock FROM resources WHERE id = $1";
const PAGE: &str = "SELECT id, title, price_minor, currency, stock_start, stock FROM resources \
     WHERE id > $1 ORDER BY id LIMIT $2";

impl Store {
    /// One resource.
    pub(in crate::shop) async fn resource(&self, id: i64) -> Result<Resource, StoreError> {
        let row: Option<Row> =
            reading!(self, connection => sqlx::query_as(BY_ID).bind(id).fetch_optional(connection).await?);
        row.map(Resource::from).ok_or_else(|| StoreError::NotFound { what: "resource", id: id.to_string() })
    }

    /// A page of all.
    pub(in crate::shop) async fn list_resources(
        &self,
        after: i64,
        limit: i64,
    ) -> Result<Vec<Resource>, StoreError> {
        let rows: Vec<Row> = reading!(self, connection => {
            sqlx::query_as(PAGE).bind(after).bind(limit).fetch_all(connection).await?
        });
        Ok(rows.into_iter().map(Resource::from).collect())
    }
}

impl From<Row> for Resource {
    fn from((id, title, price_minor, currency, stock_start, stock): Row) -> Self {
        Self { id, title, price_minor, currency, stock_start, stock }
    }
}
