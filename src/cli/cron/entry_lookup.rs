//! Finding schedule entries by their object's name. Redis knows them by queue and uid only.

use std::collections::BTreeMap;

use anyhow::Error;

use crate::broker::{Broker, BrokerError, Page, StoredEntry};
use crate::cli::args::ObjectName;
use crate::cli::exit::Failure;
use crate::cli::output::known;
use crate::schedule::Entry;
use crate::task::QueueName;

/// Entries read at once.
const PAGE: usize = 500;
/// How far apart pages begin. They overlap, since entries that fire while we read move towards the end and
/// those behind them move up.
const STEP: usize = 250;

/// An entry in force and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) queue: QueueName,
    pub(super) stored: StoredEntry,
}

/// All entries in force, over all queues.
pub(super) async fn all(broker: &Broker) -> Result<Vec<Placed>, BrokerError> {
    let mut found = Vec::new();
    for queue in broker.scheduled_queues().await? {
        let mut by_uid = BTreeMap::new();
        for offset in (0..).step_by(STEP) {
            let page = broker.entries(&queue, Page { offset, limit: PAGE }).await?;
            let is_last = page.len() < PAGE;
            by_uid.extend(page.into_iter().map(|stored| (stored.uid.clone(), stored)));
            if is_last {
                break;
            }
        }
        let placed = by_uid.into_values().filter(|stored| !stored.retired);
        found.extend(placed.map(|stored| Placed { queue: queue.clone(), stored }));
    }
    Ok(found)
}

/// The one entry of that name.
///
/// # Errors
///
/// [`Failure::Negative`] when there is none, [`Failure::Usage`] when the name fits several.
pub(super) async fn find(broker: &Broker, wanted: &ObjectName) -> Result<(Placed, Entry), Failure> {
    let all = all(broker).await?;
    let mut fitting = Vec::new();
    let mut names = Vec::new();
    for placed in &all {
        if let Ok(entry) = &placed.stored.entry {
            names.push(entry.key());
            if wanted.fits(&entry.namespace, &entry.name) {
                fitting.push((placed, entry));
            }
        }
    }
    match fitting.as_slice() {
        [] => Err(Failure::negative(format!("no schedule named {wanted}; known: {}", known(names)))),
        [(placed, entry)] => Ok(((*placed).clone(), (*entry).clone())),
        several => {
            let places: Vec<String> = several
                .iter()
                .map(|(placed, entry)| {
                    format!("{} of cluster {} in queue {}", entry.key(), entry.cluster, placed.queue)
                })
                .collect();
            let places = known(places);
            let problem = format!("{wanted} fits {} schedules: {places}; give namespace/name", several.len());
            Err(Failure::Usage(Error::msg(problem)))
        }
    }
}
