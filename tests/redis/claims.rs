//! Queues claimed for a TaskQueue: the first claim holds, and each step may be repeated.

use std::time::Duration;

use cronmill::broker::{CLAIM_LIFE, Claimant, QueueClaim};

use crate::yard::Yard;

const CLAIM: &str = "cronmill:{q}:claim";

fn claimant(cluster: &str, uid: &str) -> Claimant {
    Claimant { cluster: cluster.into(), uid: uid.into(), object: format!("shop/{uid}") }
}

impl Yard {
    async fn claimed(&self, who: &Claimant) -> QueueClaim {
        self.broker.claim_queue(&self.queue, who).await.expect("Redis answers")
    }

    async fn yielded(&self, who: &Claimant) -> bool {
        self.broker.yield_queue(&self.queue, &who.cluster, &who.uid).await.expect("Redis answers")
    }
}

#[tokio::test]
async fn the_first_claim_holds_and_names_its_holder() {
    let yard = Yard::new().await;
    let first = claimant("east", "a");
    assert_eq!(yard.claimed(&first).await, QueueClaim::Taken);
    assert_eq!(yard.claimed(&first).await, QueueClaim::Held);
    for other in [claimant("east", "b"), claimant("west", "a")] {
        let QueueClaim::Refused { holder, lapses } = yard.claimed(&other).await else {
            panic!("{other:?} has it too")
        };
        assert_eq!(holder, first);
        assert!(lapses <= CLAIM_LIFE && lapses > CLAIM_LIFE - Duration::from_secs(60), "{lapses:?}");
        assert!(!yard.yielded(&other).await, "it is not theirs to give back");
    }
    assert_eq!(yard.claimed(&first).await, QueueClaim::Held);
}

#[tokio::test]
async fn what_is_given_back_is_free_and_giving_it_back_again_takes_it_from_nobody() {
    let yard = Yard::new().await;
    let (first, second) = (claimant("east", "a"), claimant("west", "b"));
    yard.claimed(&first).await;
    assert!(yard.yielded(&first).await);
    assert!(!yard.yielded(&first).await);
    assert_eq!(yard.cli(&["EXISTS", CLAIM]), "0");
    assert_eq!(yard.claimed(&second).await, QueueClaim::Taken);
    assert!(!yard.yielded(&first).await);
    assert_eq!(yard.claimed(&second).await, QueueClaim::Held);
}

#[tokio::test]
async fn a_sign_of_life_keeps_a_claim_and_without_one_it_lapses() {
    let yard = Yard::new().await;
    let first = claimant("east", "a");
    yard.claimed(&first).await;
    yard.cli(&["PEXPIRE", CLAIM, "1000"]);
    yard.claimed(&first).await;
    let life: u64 = yard.cli(&["PTTL", CLAIM]).parse().expect("a number");
    assert!(life > 500_000, "{life} ms");
    // As when its time is over.
    yard.cli(&["DEL", CLAIM]);
    assert_eq!(yard.claimed(&claimant("west", "b")).await, QueueClaim::Taken);
}

#[tokio::test]
async fn a_claim_of_a_newer_format_is_left_alone() {
    let yard = Yard::new().await;
    let first = claimant("east", "a");
    yard.claimed(&first).await;
    yard.cli(&["HSET", CLAIM, "format", "2"]);
    assert_eq!(yard.claimed(&first).await, QueueClaim::Newer);
    assert_eq!(yard.cli(&["HGET", CLAIM, "format"]), "2");
}

#[tokio::test]
async fn a_sign_of_life_is_written_once_a_minute_and_read_meanwhile() {
    let yard = Yard::new().await;
    let first = claimant("east", "a");
    yard.claimed(&first).await;
    let life = |ms: u64| (CLAIM_LIFE - Duration::from_millis(ms)).as_millis().to_string();
    for (shown_before_ms, is_written) in [(50_000, false), (61_000, true)] {
        yard.cli(&["PEXPIRE", CLAIM, &life(shown_before_ms)]);
        assert_eq!(yard.claimed(&first).await, QueueClaim::Held);
        let left: u64 = yard.cli(&["PTTL", CLAIM]).parse().expect("a number");
        let is_whole = u128::from(left) > CLAIM_LIFE.as_millis() - 40_000;
        assert_eq!(is_whole, is_written, "{left} ms are left, {shown_before_ms} ms after the last sign");
    }
    // Its object has another name now.
    let renamed = Claimant { object: "shop/other".into(), ..first };
    assert_eq!(yard.claimed(&renamed).await, QueueClaim::Held);
    assert_eq!(yard.cli(&["HGET", CLAIM, "object"]), "shop/other");
}
