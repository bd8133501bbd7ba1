//! A fleet becomes smaller, and nobody goes who runs a task.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cronmill::broker::Broker;
use cronmill::producer::{Client, Task as NewTask};
use cronmill::task::QueueName;
use cronmill::worker::{Context, HandlerError, Task};
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep};

use crate::field::{Field, LIMIT, queue};
use crate::kubelet::{Kubelet, Workers};
use crate::support::{full_size, until};

/// Workers of the fleet at its largest, and at its smallest.
const LARGE: usize = 8;
const SMALL: usize = 5;
/// Tasks that run until the round is over.
const LONG: usize = 4;

/// A fleet whose workers run tasks that last for a round, and at the same time many that are over at once.
struct Mill {
    field: Field,
    kubelet: Kubelet,
    client: Client,
    /// The number of the round; tasks of earlier ones end.
    round: watch::Sender<usize>,
}

impl Mill {
    async fn start() -> (Self, crate::field::Replica) {
        let field = Field::new();
        let operator = field.operator("a", &[]).await;
        field.apply(&queue("workers: {concurrency: 1, replicas: 0}"));
        field.ready("taskqueue", "main").await;
        let broker = Broker::connect(&field.redis.plain_url().parse().unwrap()).await.unwrap();
        let (round, current) = watch::channel(0);
        let handler = move |_: Context, task: Task| {
            let mut current = current.clone();
            async move {
                match task.kind() {
                    "long" => {
                        let begun = String::from_utf8_lossy(task.payload()).parse::<usize>().unwrap_or(0);
                        let _over = current.wait_for(|now| *now > begun).await;
                    }
                    _ => sleep(Duration::from_millis(15)).await,
                }
                Ok::<_, HandlerError>(())
            }
        };
        let queue = QueueName::new("default").unwrap();
        let kubelet = Kubelet::start(&field, Workers { broker: broker.clone(), queue, handler }).await;
        (Self { field, kubelet, client: Client::new(broker), round }, operator)
    }

    fn scale(&self, what: &str, replicas: usize) {
        let replicas = format!("--replicas={replicas}");
        self.field.api.kubectl(&["scale", "-n", &self.field.namespace, what, &replicas]);
    }

    fn interrupted(&self) -> u64 {
        self.kubelet.seen.interrupted.load(Ordering::Relaxed)
    }

    /// How many workers there are, and how many of them run tasks that last.
    fn running(&self) -> (usize, usize) {
        let running = self.kubelet.seen.running.lock().unwrap();
        (running.len(), running.values().filter(|tasks| **tasks > 0).count())
    }

    fn ended(&self) -> u64 {
        self.kubelet.seen.ended.load(Ordering::Relaxed)
    }

    /// Has the fleet become smaller while whoever is idle may get a task at any moment.
    async fn shrink(&self, what: &str, to: usize) {
        let (ended, fewer) = (self.ended(), (self.running().0 - to) as u64);
        let brief = async {
            loop {
                self.client.enqueue(NewTask::new("brief", None)).await.unwrap();
                sleep(Duration::from_millis(10)).await;
            }
        };
        self.scale(what, to);
        tokio::select! {
            () = until(LIMIT, "the others are gone", async || self.ended() - ended == fewer) => {}
            () = brief => {}
        }
    }

    /// Has the fleet grow, with at least three busy workers and three idle ones, and then become smaller by three.
    async fn round(&self, shrink: &str) {
        self.scale("taskqueue/main", LARGE);
        until(LIMIT, "all workers run", async || self.running().0 == LARGE).await;
        let number = *self.round.borrow();
        for _ in 0..LONG {
            self.client.enqueue(NewTask::new("long", Some(number.to_string().into()))).await.unwrap();
        }
        until(LIMIT, "three are busy and three idle", async || {
            let (all, busy) = self.running();
            busy >= 3 && all - busy >= 3
        })
        .await;
        let ended = self.kubelet.seen.ended.load(Ordering::Relaxed);
        let small =
            async || self.kubelet.seen.ended.load(Ordering::Relaxed) - ended == (LARGE - SMALL) as u64;
        // Whoever is idle may get a task at any moment.
        let brief = async {
            loop {
                self.client.enqueue(NewTask::new("brief", None)).await.unwrap();
                sleep(Duration::from_millis(10)).await;
            }
        };
        self.scale(shrink, SMALL);
        tokio::select! {
            () = until(LIMIT, "three workers are gone", small) => {}
            () = brief => {}
        }
        self.round.send_replace(number + 1);
        until(LIMIT, "all is done", async || self.running().1 == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attempt_is_broken_off_when_a_fleet_becomes_smaller() {
    let (mill, operator) = Mill::start().await;
    let rounds = full_size(10, 100);
    for _ in 0..rounds {
        mill.round("taskqueue/main").await;
    }
    let ended = mill.ended();
    println!(
        "{rounds} times {LARGE} workers became {SMALL}: {ended} went, {} attempts broken off",
        mill.interrupted()
    );
    assert_eq!((ended, mill.interrupted()), (rounds as u64 * (LARGE - SMALL) as u64, 0));
    mill.shrink("taskqueue/main", 0).await;
    assert_eq!((mill.ended() - ended, mill.interrupted()), (SMALL as u64, 0));
    // What Kubernetes chooses by itself is seen to break off some.
    drop(operator);
    let mut tries = 0;
    while mill.interrupted() == 0 && tries < 10 {
        tries += 1;
        mill.scale("deployment/main-worker", LARGE);
        mill.round("deployment/main-worker").await;
    }
    println!("without asking them first: {} attempts broken off in {tries} rounds", mill.interrupted());
    assert!(mill.interrupted() > 0, "this test sees nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_to_go_and_is_busy_is_waited_for_and_takes_work_again_when_it_may_stay() {
    let (mill, _operator) = Mill::start().await;
    mill.scale("taskqueue/main", 3);
    until(LIMIT, "all workers run", async || mill.running().0 == 3).await;
    for _ in 0..3 {
        mill.client.enqueue(NewTask::new("long", Some("0".into()))).await.unwrap();
    }
    until(LIMIT, "all are busy", async || mill.running().1 == 3).await;
    let cordons = || mill.field.redis.cli_lines(["KEYS", "cronmill:{default}:cordon:*"]).len();
    mill.scale("taskqueue/main", 1);
    until(LIMIT, "two are to go", async || cordons() == 2).await;
    until(LIMIT, "status says so", async || {
        let status = mill.field.get("taskqueue", "main")["status"].clone();
        let message = status["workers"]["message"].as_str().unwrap_or_default().to_owned();
        message.ends_with("; 2 workers are to go and finish what they hold")
    })
    .await;
    assert_eq!(mill.field.replicas("main"), Some(3), "they hold a task each");
    mill.scale("taskqueue/main", 3);
    until(LIMIT, "nobody is to go", async || cordons() == 0).await;
    mill.round.send_replace(1);
    until(LIMIT, "they are idle", async || mill.running().1 == 0).await;
    for _ in 0..3 {
        mill.client.enqueue(NewTask::new("long", Some("1".into()))).await.unwrap();
    }
    until(LIMIT, "all take work again", async || mill.running().1 == 3).await;
    mill.round.send_replace(2);
    mill.scale("taskqueue/main", 0);
    until(LIMIT, "all are gone", async || mill.running().0 == 0).await;
    assert_eq!(mill.interrupted(), 0);
}

/// How long a pod must have run until an operator no longer waits for its worker's first sign, and a little more.
const SHOWN_LONG_AGO: Duration = Duration::from_secs(35);

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_no_sign_for_a_while_is_not_taken_for_idle() {
    let (mill, _operator) = Mill::start().await;
    mill.scale("taskqueue/main", 3);
    until(LIMIT, "all workers run", async || mill.running().0 == 3).await;
    let begun = Instant::now();
    for _ in 0..3 {
        mill.client.enqueue(NewTask::new("long", Some("0".into()))).await.unwrap();
    }
    until(LIMIT, "all are busy", async || mill.running().1 == 3).await;
    let silent = async {
        let mut interval = interval(Duration::from_millis(50));
        loop {
            interval.tick().await;
            mill.field.cli(&["DEL", "asynq:servers"]);
        }
    };
    let waited = async {
        mill.scale("taskqueue/main", 1);
        until(SHOWN_LONG_AGO + LIMIT, "they ran for long", async || begun.elapsed() > SHOWN_LONG_AGO).await;
        assert_eq!((mill.field.replicas("main"), mill.interrupted()), (Some(3), 0));
        mill.round.send_replace(1);
        until(LIMIT, "two are gone", async || mill.running().0 == 1).await;
        assert_eq!(mill.interrupted(), 0);
    };
    tokio::select! {
        () = waited => {}
        () = silent => {}
    }
}
