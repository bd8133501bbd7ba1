//! Data to try the shop on: users, resources, and orders in every state.

use fastrand::Rng;
use jiff::Timestamp;

use super::EXPIRY_TASK;
use super::store::{Cell, Status, Store, StoreError, expiry_payload, expiry_task_id};

/// Orders that are written at once.
const CHUNK: u64 = 10_000;
/// What is sold.
const RESOURCES: i64 = 100;
/// 2026-01-01T00:00:00Z in microseconds. Fixed, so that the same seed gives the same rows on any day.
const FIRST_ORDER_AT_US: i64 = 1_767_225_600_000_000;
/// Orders are spread over 90 days.
const ORDER_SPAN_US: i64 = 90 * 86_400 * 1_000_000;
/// How long generated orders had to be paid.
const PAY_WITHIN_US: i64 = 30 * 60 * 1_000_000;

/// What to generate. The same values give the same rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// How many orders.
    pub orders: u64,
    /// How many users they belong to.
    pub users: u64,
    /// Chooses everything else.
    pub seed: u64,
}

/// Whether a database was filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generated {
    /// It was empty, and has the data now.
    Filled,
    /// Somebody is in it already; it stayed as it was.
    Occupied,
}

const ORDER: &[&str] = &[
    "id",
    "user_id",
    "resource_id",
    "quantity",
    "amount_minor",
    "currency",
    "status",
    "pay_by_us",
    "created_at_us",
    "paid_at_us",
    "closed_at_us",
];
const PAYMENT: &[&str] = &["id", "order_id", "amount_minor", "currency", "paid_at_us"];
const ENTRY: &[&str] = &["order_id", "user_id", "amount_minor", "currency"];
const TASK: &[&str] = &["order_id", "task_type", "task_id", "run_at_us", "payload"];
const USER: &[&str] = &["id", "name"];
const RESOURCE: &[&str] = &["id", "title", "price_minor", "currency", "stock_start", "stock"];

/// Fills an empty database, all or nothing; makes its tables first.
///
/// Of the orders 60 % are paid, 20 % completed, 10 % refunded, 9 % closed and 1 % pending: those are past their time
/// to pay, and the service enqueues the tasks that close them. One resource of ten is sold in USD, the others in CNY.
///
/// # Errors
///
/// [`StoreError::Invalid`] for orders of no users, and whatever the database says.
pub async fn generate(store: &Store, size: Size) -> Result<Generated, StoreError> {
    let numbers = (i64::try_from(size.orders), i64::try_from(size.users));
    let (Ok(_), Ok(users)) = numbers else {
        return Err(StoreError::Invalid("that many do not fit into a database".to_owned()));
    };
    if users == 0 {
        return Err(StoreError::Invalid(
            "a shop without users has no orders; let there be 1 user or more".to_owned(),
        ));
    }
    store.prepare().await?;
    if !store.is_empty().await? {
        return Ok(Generated::Occupied);
    }
    let mut filling = store.fill().await?;
    let mut rng = Rng::with_seed(size.seed);
    for first in (1..=users).step_by(CHUNK as usize) {
        let last = users.min(first + CHUNK as i64 - 1);
        let rows: Vec<_> =
            (first..=last).map(|id| vec![Cell::Number(id), Cell::Text(format!("user {id}"))]).collect();
        filling.add("users", USER, &rows).await?;
    }
    let mut shelves: Vec<Shelf> = (1..=RESOURCES).map(|id| Shelf::new(id, &mut rng)).collect();
    let rows: Vec<_> = shelves.iter().map(Shelf::row).collect();
    filling.add("resources", RESOURCE, &rows).await?;
    let mut first = 1;
    while first <= size.orders {
        let last = size.orders.min(first + CHUNK - 1);
        let mut chunk = Chunk::default();
        for id in first..=last {
            let at = FIRST_ORDER_AT_US + share(ORDER_SPAN_US, id - 1, size.orders);
            chunk.order(id as i64, at, rng.i64(1..=users), &mut shelves, &mut rng);
        }
        filling.add("orders", ORDER, &chunk.orders).await?;
        filling.add("payments", PAYMENT, &chunk.payments).await?;
        filling.add("ledger", ENTRY, &chunk.entries).await?;
        filling.add("outbox", TASK, &chunk.tasks).await?;
        first = last + 1;
    }
    for shelf in &shelves {
        let left = rng.i64(1_000..=2_000);
        filling.stock(shelf.id, shelf.sold + left, left).await?;
    }
    filling.finish(size.orders as i64).await?;
    Ok(Generated::Filled)
}

/// `whole * part / parts`, without overflow.
fn share(whole: i64, part: u64, parts: u64) -> i64 {
    (i128::from(whole) * i128::from(part) / i128::from(parts.max(1))) as i64
}

/// A resource while it is being ordered.
struct Shelf {
    id: i64,
    price_minor: i64,
    currency: &'static str,
    /// How many are gone for now.
    sold: i64,
}

impl Shelf {
    fn new(id: i64, rng: &mut Rng) -> Self {
        let currency = if id % 10 == 0 { "USD" } else { "CNY" };
        Self { id, price_minor: rng.i64(100..=50_000), currency, sold: 0 }
    }

    fn row(&self) -> Vec<Cell> {
        vec![
            Cell::Number(self.id),
            Cell::Text(format!("resource {}", self.id)),
            Cell::Number(self.price_minor),
            Cell::Text(self.currency.to_owned()),
            Cell::Number(0),
            Cell::Number(0),
        ]
    }
}

/// Orders that are written together, with what belongs to them.
#[derive(Default)]
struct Chunk {
    orders: Vec<Vec<Cell>>,
    payments: Vec<Vec<Cell>>,
    entries: Vec<Vec<Cell>>,
    tasks: Vec<Vec<Cell>>,
}

impl Chunk {
    fn order(&mut self, id: i64, created_at: i64, user: i64, shelves: &mut [Shelf], rng: &mut Rng) {
        let shelf = &mut shelves[rng.usize(0..RESOURCES as usize)];
        let quantity = rng.i64(1..=3);
        let amount = shelf.price_minor * quantity;
        let currency = || Cell::Text(shelf.currency.to_owned());
        let status = match rng.u32(0..100) {
            0..60 => Status::Paid,
            60..80 => Status::Completed,
            80..90 => Status::Refunded,
            90..99 => Status::Closed,
            _ => Status::Pending,
        };
        let is_paid = matches!(status, Status::Paid | Status::Completed | Status::Refunded);
        let is_returned = matches!(status, Status::Closed | Status::Refunded);
        let paid_at = created_at + rng.i64(0..PAY_WITHIN_US);
        let ended_at = created_at + PAY_WITHIN_US + rng.i64(0..PAY_WITHIN_US);
        let number_if = |condition, number| if condition { Cell::Number(number) } else { Cell::Null };
        self.orders.push(vec![
            Cell::Number(id),
            Cell::Number(user),
            Cell::Number(shelf.id),
            Cell::Number(quantity),
            Cell::Number(amount),
            currency(),
            Cell::Text(status.word().to_owned()),
            Cell::Number(created_at + PAY_WITHIN_US),
            Cell::Number(created_at),
            number_if(is_paid, paid_at),
            number_if(is_returned, ended_at),
        ]);
        if is_paid {
            let payment = Cell::Text(format!("payment-{id}"));
            self.payments.push(vec![
                payment,
                Cell::Number(id),
                Cell::Number(amount),
                currency(),
                Cell::Number(paid_at),
            ]);
            let mut enter = |amount| {
                self.entries.push(vec![
                    Cell::Number(id),
                    Cell::Number(user),
                    Cell::Number(amount),
                    currency(),
                ]);
            };
            enter(amount);
            if is_returned {
                enter(-amount);
            }
        }
        if status == Status::Pending {
            self.tasks.push(vec![
                Cell::Number(id),
                Cell::Text(EXPIRY_TASK.to_owned()),
                Cell::Text(expiry_task_id(id)),
                Cell::Number(created_at + PAY_WITHIN_US),
                Cell::Text(expiry_payload(id)),
            ]);
        }
        if !is_returned {
            shelf.sold += quantity;
        }
    }
}

/// A seed when none was given.
#[must_use]
pub fn seed_of(now: Timestamp) -> u64 {
    now.as_microsecond().unsigned_abs()
}
