//! Counting earnings while orders are paid, and by several at once.

use std::collections::BTreeMap;

use cronmill::rpc::order::v1::{CloseBatchRequest, ListBatchRequest, OpenBatchRequest};
use cronmill::rpc::trade::v1::{CreditBatchRequest, UserAmount};

use crate::stage::{Clients, Shop, Sort, money};
use crate::truth;

on_both_databases!(entries_written_while_several_count_are_counted_once);

/// Counts until nothing is left, as a handler does; the number of entries that were credited by these very calls.
pub(crate) async fn settle(clients: &Clients, run: &str, max: i32) -> i64 {
    let mut clients = clients.clone();
    let mut counted = 0;
    loop {
        let open = OpenBatchRequest { run: run.to_owned(), max };
        let Some(batch) = clients.orders.open_batch(open).await.unwrap().into_inner().batch else {
            return counted;
        };
        let mut totals: BTreeMap<(i64, String), i64> = BTreeMap::new();
        let mut after_entry = 0;
        loop {
            let page = ListBatchRequest { batch_id: batch.id.clone(), after_entry, limit: 0 };
            let page = clients.orders.list_batch(page).await.unwrap().into_inner().entries;
            for entry in &page {
                let amount = entry.amount.clone().unwrap();
                *totals.entry((entry.user_id, amount.currency)).or_default() += amount.minor;
                after_entry = entry.id;
            }
            if page.len() < 10_000 {
                break;
            }
        }
        let totals = totals
            .into_iter()
            .map(|((user_id, currency), minor)| UserAmount { user_id, amount: money(minor, &currency) });
        let credit = CreditBatchRequest { batch_id: batch.id.clone(), totals: totals.collect() };
        if clients.trade.credit_batch(credit).await.unwrap().into_inner().credited {
            counted += batch.entries;
        }
        clients.orders.close_batch(CloseBatchRequest { batch_id: batch.id }).await.unwrap();
    }
}

async fn entries_written_while_several_count_are_counted_once(sort: Sort) {
    const PAYERS: i64 = 4;
    const EACH: i64 = 40;
    let shop = Shop::start(sort).await;
    let clients = shop.clients();
    let payers: Vec<_> = (1..=PAYERS)
        .map(|user| {
            let clients = clients.clone();
            tokio::spawn(async move {
                for _ in 0..EACH {
                    let order = clients.order("", user, 60).await.unwrap();
                    clients.pay(&order).await.unwrap();
                }
            })
        })
        .collect();
    let paying = futures::future::join_all(payers);
    let counting = async |run: &str| {
        let mut counted = 0;
        while shop.database.count("SELECT COUNT(*) FROM ledger") < PAYERS * EACH {
            counted += settle(&clients, run, 7).await;
        }
        counted + settle(&clients, run, 7).await
    };
    let (paid, one, two) = tokio::join!(paying, counting("one"), counting("two"));
    assert!(paid.into_iter().all(|payer| payer.is_ok()));
    assert_eq!(one + two, PAYERS * EACH);
    truth::assert_holds(&shop.database);
    assert_eq!(truth::uncounted(&shop.database), [""; 0]);
    assert!(shop.database.count("SELECT COUNT(*) FROM batches") > 20, "they were cut while others paid");
}
