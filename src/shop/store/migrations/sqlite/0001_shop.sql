-- Money is in integer minor units; times are Unix microseconds. STRICT refuses a sum that has overflowed into a real.
CREATE TABLE users (
    id INTEGER PRIMARY KEY CHECK (id > 0),
    name TEXT NOT NULL
) STRICT;

CREATE TABLE resources (
    id INTEGER PRIMARY KEY CHECK (id > 0),
    title TEXT NOT NULL,
    price_minor INTEGER NOT NULL CHECK (price_minor >= 0),
    currency TEXT NOT NULL CHECK (currency GLOB '[A-Z][A-Z][A-Z]'),
    stock_start INTEGER NOT NULL CHECK (stock_start >= 0),
    stock INTEGER NOT NULL CHECK (stock >= 0)
) STRICT;

CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    request_id TEXT UNIQUE,
    user_id INTEGER NOT NULL REFERENCES users (id),
    resource_id INTEGER NOT NULL REFERENCES resources (id),
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    amount_minor INTEGER NOT NULL CHECK (amount_minor >= 0),
    currency TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'paid', 'completed', 'closed', 'refunded')),
    pay_by_us INTEGER NOT NULL,
    created_at_us INTEGER NOT NULL,
    paid_at_us INTEGER,
    closed_at_us INTEGER
) STRICT;

CREATE TABLE payments (
    id TEXT PRIMARY KEY,
    order_id INTEGER NOT NULL UNIQUE REFERENCES orders (id),
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    paid_at_us INTEGER NOT NULL
) STRICT;

-- What orders add to earnings. Entries are written once, with what they tell of, and never change.
CREATE TABLE ledger (
    id INTEGER PRIMARY KEY,
    order_id INTEGER NOT NULL,
    user_id INTEGER NOT NULL,
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL
) STRICT;

-- Ranges of the ledger that are counted together. They follow each other without gap or overlap.
CREATE TABLE batches (
    id TEXT PRIMARY KEY,
    run TEXT NOT NULL,
    after_entry INTEGER NOT NULL UNIQUE,
    last_entry INTEGER NOT NULL UNIQUE CHECK (last_entry > after_entry),
    entries INTEGER NOT NULL CHECK (entries > 0),
    opened_at_us INTEGER NOT NULL,
    closed_at_us INTEGER
) STRICT;
CREATE INDEX batches_open ON batches (last_entry) WHERE closed_at_us IS NULL;

CREATE TABLE credited_batches (
    id TEXT PRIMARY KEY,
    credited_at_us INTEGER NOT NULL
) STRICT;

CREATE TABLE earnings (
    user_id INTEGER NOT NULL REFERENCES users (id),
    currency TEXT NOT NULL,
    amount_minor INTEGER NOT NULL,
    updated_at_us INTEGER NOT NULL,
    PRIMARY KEY (user_id, currency)
) STRICT;

-- Tasks that are still to be enqueued. A row comes with its order and goes once Redis has the task.
CREATE TABLE outbox (
    order_id INTEGER PRIMARY KEY,
    task_type TEXT NOT NULL,
    task_id TEXT NOT NULL,
    run_at_us INTEGER NOT NULL,
    payload TEXT NOT NULL
) STRICT;
