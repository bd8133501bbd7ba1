//! What is known of one fleet: the work there is for it, what was learned of it, what was decided last.
//!
//! What was learned is written down in Redis, beside the queues, so that who decides next knows it: another leader,
//! another run, or a person who asks why. Whether anybody acts on what is decided is not said here.

mod record;
mod watch;
mod work;

pub use record::FleetRecord;
pub use watch::{FleetName, FleetWatch, read_records, write_records};
pub use work::Work;
