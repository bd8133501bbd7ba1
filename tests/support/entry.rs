//! Schedule entries as manifests without options would make them.

use std::collections::BTreeMap;

use bytes::Bytes;
use cronmill::schedule::{CatchUp, Concurrency, Entry, Revision, Template, TimingSource};
use jiff::Timestamp;

/// An entry of that uid and name in the namespace `shop`, whose ticks become tasks of type `t` in the queue `q`.
pub fn entry(uid: &str, schedule: &str) -> Entry {
    let entry = Entry {
        format: 1,
        uid: uid.into(),
        namespace: "shop".into(),
        name: uid.into(),
        cluster: "test".into(),
        revision: Revision { epoch: 0, generation: 1, hash: String::new() },
        timing: TimingSource {
            schedules: vec![schedule.into()],
            anchor: Timestamp::UNIX_EPOCH,
            hash_key: format!("shop/{uid}"),
            ..TimingSource::default()
        },
        concurrency: Concurrency::Allow,
        suspend: false,
        starting_deadline_s: None,
        catch_up: CatchUp::Latest,
        template: Template {
            kind: "t".into(),
            queue: "q".into(),
            payload: Bytes::from_static(b"{}"),
            headers: BTreeMap::new(),
            max_retry: 3,
            timeout_s: None,
            deadline_s: None,
            retention_s: 0,
            unique_s: None,
            group: String::new(),
        },
    };
    changed(entry, |_| {})
}

/// The entry with a change, and the hash that belongs to it.
pub fn changed(mut entry: Entry, change: impl FnOnce(&mut Entry)) -> Entry {
    change(&mut entry);
    entry.revision.hash = entry.content_hash();
    entry
}
