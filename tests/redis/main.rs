//! What needs a Redis: every operation of the broker, its atomicity and its answers to lost replies.

mod broker;
mod support;
