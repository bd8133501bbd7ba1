//! Files as the tutorial has them, and what is wrong with others.

mod scheduler;
mod worker;
