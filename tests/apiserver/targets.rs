//! Very many workloads that TaskQueues scale and do not own: what the leader asks for while nothing happens.

use std::time::{Duration, Instant};

use crate::field::{Field, LIMIT, on_queues};
use crate::figures::in_batches;
use crate::idle::millicores;
use crate::support::{full_size, until, until_seldom};

/// How often the scale of StatefulSets was read; nobody but the operator reads it here.
fn reads(field: &Field) -> u64 {
    let metrics = field.api.kubectl(&["get", "--raw", "/metrics"]);
    let is_of = |line: &&str| {
        line.starts_with("apiserver_request_total{")
            && ["resource=\"statefulsets\"", "subresource=\"scale\"", "verb=\"GET\""]
                .iter()
                .all(|label| line.contains(label))
    };
    let count = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
    metrics.lines().filter(is_of).filter_map(count).map(|count| count as u64).sum()
}

#[tokio::test]
async fn however_many_targets_there_are_ten_a_second_are_read_and_each_is_scaled_at_once() {
    let field = Field::alone();
    let count = full_size(150, 1_000);
    let operator = field.operator("a", &[]).await;
    let create = |manifests: &str| {
        let words = ["create", "-n", &field.namespace, "--validate=false", "-f", "-"];
        field.api.try_kubectl(&words, manifests).expect("objects that are right");
    };
    in_batches(count, |numbers| {
        for number in numbers.clone() {
            create(&crate::target::workload("StatefulSet", &format!("go-{number}"), 0));
        }
        let queue = |number: usize| {
            let name = format!("idle-{number}");
            let target =
                crate::target::target("StatefulSet", &format!("go-{number}"), "scaling: {stabilization: 0s}");
            on_queues(&name, &[&name], &target) + "---\n"
        };
        create(&numbers.map(queue).collect::<String>());
    });
    let are_ready = async || {
        let path = "-o=jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}";
        let told = field.api.kubectl(&["get", "taskqueues", "-n", &field.namespace, path]);
        told.split(' ').filter(|status| *status == "True").count() == count
    };
    until_seldom(Duration::from_secs(1), full_size(2 * LIMIT, 15 * LIMIT), "all are in force", are_ready)
        .await;
    // What was read as they were put into force is over.
    let over = Instant::now();
    until(LIMIT, "they rest", async || over.elapsed() > Duration::from_secs(10)).await;
    let (began, before) = (Instant::now(), reads(&field));
    let used = millicores(&operator).await;
    until(LIMIT, "it has had time", async || began.elapsed() > Duration::from_secs(15)).await;
    let rate = (reads(&field) - before) as f64 / began.elapsed().as_secs_f64();
    println!("{count} targets at rest: {rate:.1} reads a second, {used:.1} thousandths of a processor");
    assert!(rate > 5.0 && rate < 11.5, "{rate}");

    let mut took = Vec::new();
    for number in (0..count).step_by(count / 4) {
        let (name, pending) = (format!("go-{number}"), format!("asynq:{{idle-{number}}}:pending"));
        let arrived = Instant::now();
        field.cli(&["LPUSH", &pending, "task"]);
        until(LIMIT, "it is scaled", async || field.get("statefulset", &name)["spec"]["replicas"] == 1).await;
        took.push(arrived.elapsed());
    }
    println!("scaled after {took:?}");
    took.sort();
    // Asking costs kubectl's time too, and a busy machine may hold up one or the other.
    assert!(took[took.len() / 2] < Duration::from_secs(3), "{took:?}");
}
