//! What must hold of a shop's tables at any time, by statements that share nothing with ours.

use crate::stage::Database;

const RULES: &[(&str, &str)] = &[
    (
        "stock = start - sold + returned",
        "SELECT r.id, r.stock, r.stock_start FROM resources r LEFT JOIN
             (SELECT resource_id, SUM(quantity) AS sum FROM orders WHERE status IN ('pending', 'paid', 'completed')
                 GROUP BY resource_id) o ON o.resource_id = r.id
             WHERE r.stock <> r.stock_start - COALESCE(o.sum, 0)",
    ),
    (
        "the ledger says of each order what it owes",
        "SELECT o.id, o.status FROM orders o LEFT JOIN
             (SELECT order_id, SUM(amount_minor) AS sum FROM ledger GROUP BY order_id) l ON l.order_id = o.id
             WHERE COALESCE(l.sum, 0) <> CASE WHEN o.status IN ('paid', 'completed') THEN o.amount_minor ELSE 0 END",
    ),
    (
        "who has paid has a payment, and nobody else",
        "SELECT o.id, o.status FROM orders o LEFT JOIN payments p ON p.order_id = o.id
             WHERE (p.id IS NOT NULL) <> (o.status IN ('paid', 'completed', 'refunded'))",
    ),
    (
        "a payment is its order's amount",
        "SELECT p.id FROM payments p JOIN orders o ON o.id = p.order_id
             WHERE p.amount_minor <> o.amount_minor OR p.currency <> o.currency",
    ),
    (
        "only what is credited is closed",
        "SELECT b.id FROM batches b WHERE b.closed_at_us IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM credited_batches c WHERE c.id = b.id)",
    ),
    (
        "batches follow each other",
        "SELECT b.id FROM batches b WHERE b.after_entry <>
             (SELECT COALESCE(MAX(a.last_entry), 0) FROM batches a WHERE a.last_entry < b.last_entry)",
    ),
    (
        "a batch has the entries it says",
        "SELECT b.id FROM batches b WHERE b.entries <>
             (SELECT COUNT(*) FROM ledger l WHERE l.id > b.after_entry AND l.id <= b.last_entry)",
    ),
    (
        "users earned what credited batches hold",
        "SELECT COALESCE(e.user_id, s.user_id), e.amount_minor, s.sum FROM earnings e FULL JOIN
             (SELECT l.user_id, l.currency, SUM(l.amount_minor) AS sum FROM ledger l JOIN batches b
                 ON l.id > b.after_entry AND l.id <= b.last_entry JOIN credited_batches c ON c.id = b.id
                 GROUP BY l.user_id, l.currency) s
             ON s.user_id = e.user_id AND s.currency = e.currency
             WHERE COALESCE(e.amount_minor, 0) <> COALESCE(s.sum, 0)",
    ),
];

/// Fails with every rule that the tables break.
pub(crate) fn assert_holds(database: &Database) {
    let broken: Vec<_> = RULES
        .iter()
        .map(|(rule, sql)| (rule, database.judge(sql)))
        .filter(|(_, rows)| !rows.is_empty())
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Users whose earnings are not the sum of their orders: none once all is counted.
pub(crate) fn uncounted(database: &Database) -> Vec<String> {
    database.judge(
        "SELECT COALESCE(e.user_id, s.user_id), e.amount_minor, s.sum FROM earnings e FULL JOIN
             (SELECT user_id, currency, SUM(amount_minor) AS sum FROM orders WHERE status IN ('paid', 'completed')
                 GROUP BY user_id, currency) s
             ON s.user_id = e.user_id AND s.currency = e.currency
             WHERE COALESCE(e.amount_minor, 0) <> COALESCE(s.sum, 0)",
    )
}
