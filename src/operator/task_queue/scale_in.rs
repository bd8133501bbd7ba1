//! Which workers go when there are to be fewer: a pure function of the pods, of what their workers hold, and of who
//! takes no more.

use std::collections::BTreeSet;

use super::worker_pod::{Start, WorkerPod};
use crate::broker::Owner;

/// A pod and what is known of the workers in it.
#[derive(Debug, Clone)]
pub(super) struct Worker {
    pub(super) pod: WorkerPod,
    /// Who runs in it, of those that can be told to take no more.
    pub(super) owners: Vec<Owner>,
    /// Tasks they hold; `None` while nobody can know.
    pub(super) held: Option<usize>,
    /// Whether they took no more already when it was read what they hold.
    pub(super) is_cordoned: bool,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Step {
    /// Pods whose workers are to take no more; those of all others may.
    pub(super) victims: BTreeSet<String>,
    /// Pods to be marked as those that go first.
    pub(super) mark: Vec<String>,
    /// Pods that are marked and shall not be.
    pub(super) unmark: Vec<String>,
    /// How many workers there may be from now on; as many as there are while nobody can go.
    pub(super) replicas: u32,
    /// Workers that are to go once they hold nothing.
    pub(super) awaited: u32,
}

/// What is held by workers that do not show themselves: nothing, unless they may have begun a moment ago.
pub(super) fn held_unseen(start: Start) -> Option<usize> {
    match start {
        Start::NotYet | Start::LongAgo => Some(0),
        Start::Lately => None,
    }
}

/// Chooses. Whoever goes holds nothing and takes nothing more, and Kubernetes, which chooses the pods to delete
/// by their rank, cannot choose another: so many go as are ahead of everyone who does not.
pub(super) fn choose(workers: &[Worker], wanted: u32) -> Step {
    let surplus = workers.len().saturating_sub(wanted as usize);
    let victims = victims(workers, surplus);
    let is_free =
        |worker: &Worker| victims.contains(&worker.pod.name) && worker.held == Some(0) && worker.is_cordoned;
    let mut in_order: Vec<_> = workers.iter().collect();
    in_order.sort_by_key(|worker| worker.pod.rank);
    let alike = in_order.chunk_by(|one, next| one.pod.rank == next.pod.rank);
    let ahead = alike.take_while(|alike| alike.iter().all(|worker| is_free(worker)));
    let going = ahead.map(<[_]>::len).sum::<usize>().min(surplus);
    let free = workers.iter().filter(|worker| is_free(worker)).count();
    let name = |worker: &Worker| worker.pod.name.clone();
    let unmarked = workers.iter().filter(|worker| is_free(worker) && !worker.pod.is_marked);
    let mark = if going < free { unmarked.map(name).collect() } else { Vec::new() };
    let unmark = workers.iter().filter(|worker| worker.pod.is_marked && !is_free(worker)).map(name).collect();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Step {
        mark,
        unmark,
        replicas: count(workers.len() - going).max(wanted),
        awaited: count(victims.len() - free),
        victims,
    }
}

/// Whoever is best missed: who would go first anyway, then who holds nothing, then who takes no more already, and then
/// who holds least.
fn victims(workers: &[Worker], number: usize) -> BTreeSet<String> {
    let mut workers: Vec<_> = workers.iter().collect();
    workers.sort_by_cached_key(|worker| {
        let held = worker.held.unwrap_or(usize::MAX);
        (worker.pod.rank.without_cost(), held > 0, !worker.is_cordoned, held, worker.pod.name.clone())
    });
    workers.iter().take(number).map(|worker| worker.pod.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::worker_pod::{MARKED, Rank};
    use super::*;

    fn worker(name: &str, held: usize) -> Worker {
        let pod = WorkerPod {
            name: name.into(),
            host: Some(name.into()),
            rank: Rank::ready(0),
            start: Start::LongAgo,
            template: "abc".into(),
            is_marked: false,
        };
        Worker { pod, owners: vec![Owner::new(name, 1, "x")], held: Some(held), is_cordoned: false }
    }

    fn cordoned(name: &str, held: usize) -> Worker {
        Worker { is_cordoned: true, ..worker(name, held) }
    }

    fn marked(mut worker: Worker) -> Worker {
        (worker.pod.rank, worker.pod.is_marked) = (Rank::ready(MARKED), true);
        worker
    }

    fn pending(name: &str) -> Worker {
        let mut worker = worker(name, 0);
        (worker.pod.rank, worker.owners, worker.is_cordoned) = (Rank::unassigned(), Vec::new(), true);
        worker
    }

    fn names(names: &BTreeSet<String>) -> Vec<&str> {
        names.iter().map(String::as_str).collect()
    }

    #[test]
    fn who_holds_least_is_cordoned_first_and_nobody_goes_yet() {
        let step = choose(&[worker("a", 3), worker("b", 0), worker("c", 1), worker("d", 0)], 2);
        assert_eq!(names(&step.victims), ["b", "d"]);
        assert_eq!((step.replicas, step.awaited), (4, 2), "they may have taken something since");
        assert!(step.mark.is_empty());
        let step = choose(&[worker("a", 3), worker("b", 2), worker("c", 1)], 1);
        assert_eq!(names(&step.victims), ["b", "c"], "busy ones where there are no others");
    }

    #[test]
    fn who_is_cordoned_and_holds_nothing_is_marked_and_goes_once_that_is_seen() {
        let busy = worker("a", 3);
        let step = choose(&[busy.clone(), cordoned("b", 0), cordoned("c", 1)], 1);
        assert_eq!((step.mark, step.replicas, step.awaited), (vec!["b".to_owned()], 3, 1));
        let step = choose(&[busy, marked(cordoned("b", 0)), cordoned("c", 1)], 1);
        assert_eq!((step.mark.len(), step.replicas, step.awaited), (0, 2, 1), "the other goes later");
    }

    #[test]
    fn another_is_chosen_while_the_first_choice_is_busy() {
        let step = choose(&[cordoned("a", 1), worker("b", 0), worker("c", 2)], 2);
        assert_eq!(names(&step.victims), ["b"]);
        let step = choose(&[cordoned("a", 1), worker("b", 1), worker("c", 2)], 2);
        assert_eq!(names(&step.victims), ["a"], "but not for one that is as busy");
    }

    #[test]
    fn nobody_goes_while_one_who_holds_something_is_ahead() {
        let mut unready = worker("a", 2);
        unready.pod.rank = Rank::unready();
        let step = choose(&[unready, marked(cordoned("b", 0)), worker("c", 1)], 2);
        assert_eq!(names(&step.victims), ["a"], "it would go first");
        assert_eq!((step.replicas, step.unmark), (3, vec!["b".to_owned()]));
    }

    #[test]
    fn a_mark_of_another_time_is_taken_away_before_anyone_goes() {
        let step = choose(&[marked(worker("a", 2)), cordoned("b", 0)], 1);
        assert_eq!((step.replicas, step.unmark), (2, vec!["a".to_owned()]));
    }

    #[test]
    fn who_has_never_run_goes_at_once_and_unmarked() {
        let step = choose(&[worker("a", 1), pending("b"), pending("c"), worker("d", 1)], 2);
        assert_eq!((step.replicas, step.mark.len(), step.awaited), (2, 0, 0));
        let step = choose(&[worker("a", 1), pending("b"), pending("c"), worker("d", 1)], 3);
        assert_eq!((step.replicas, step.mark), (4, vec!["b".to_owned()]), "the other is not cordoned");
    }

    #[test]
    fn all_go_unmarked_once_all_are_free() {
        let step = choose(&[cordoned("a", 0), cordoned("b", 0)], 0);
        assert_eq!((step.replicas, step.mark.len()), (0, 0));
        let step = choose(&[cordoned("a", 0), cordoned("b", 1)], 0);
        assert_eq!((step.replicas, step.mark), (2, vec!["a".to_owned()]));
    }

    #[test]
    fn nobody_goes_of_whom_it_is_not_known_what_it_holds() {
        let unknown = Worker { held: None, ..cordoned("a", 0) };
        let step = choose(&[unknown], 0);
        assert_eq!((names(&step.victims), step.replicas, step.awaited), (vec!["a"], 1, 1));
        assert_eq!([Start::NotYet, Start::Lately, Start::LongAgo].map(held_unseen), [Some(0), None, Some(0)]);
    }

    #[test]
    fn whatever_is_seen_kubernetes_can_only_choose_who_is_free() {
        for seed in 0..20_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut any = |n: usize| {
                let mut one = worker(&format!("w{n}"), random.usize(..3));
                one.is_cordoned = random.bool();
                let cost = [0, 0, MARKED][random.usize(..3)];
                one.pod.rank = [Rank::unassigned(), Rank::unready(), Rank::ready(cost)][random.usize(..3)];
                one.pod.is_marked = one.pod.rank == Rank::ready(MARKED);
                one.held = one.held.filter(|_| random.u8(..10) > 0);
                one
            };
            let workers: Vec<_> = (0..6).map(&mut any).collect();
            let wanted = fastrand::Rng::with_seed(seed).u32(..8);
            let step = choose(&workers, wanted);
            assert!(step.replicas >= wanted.min(6), "seed {seed}");
            // Kubernetes sorts by rank, and among those that are alike by what is not known here.
            let mut kept: Vec<_> = workers.iter().collect();
            fastrand::Rng::with_seed(seed).shuffle(&mut kept);
            kept.sort_by_key(|worker| worker.pod.rank);
            let deleted = &kept[..workers.len().saturating_sub(step.replicas as usize)];
            for worker in deleted {
                assert!(worker.held == Some(0) && worker.is_cordoned, "seed {seed}: {worker:?}");
            }
        }
    }
}
