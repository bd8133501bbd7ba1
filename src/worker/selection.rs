//! Which queues are asked for how many tasks.

/// The queues' weights and what they mean.
#[derive(Debug)]
pub(super) struct Selection {
    weights: Vec<u32>,
    /// The queues' places, heaviest first; only used when weights are strict priorities.
    strict: Option<Vec<usize>>,
}

impl Selection {
    pub(super) fn new(weights: Vec<u32>, is_strict: bool) -> Self {
        let strict = is_strict.then(|| {
            let mut order: Vec<usize> = (0..weights.len()).collect();
            order.sort_by_key(|&queue| std::cmp::Reverse(weights[queue]));
            order
        });
        Self { weights, strict }
    }

    /// Shares free slots out over the eligible queues: (queue, slots), none with zero.
    ///
    /// Strict: all to the heaviest. Weighted: each slot is drawn on its own, with the weights as odds; whoever
    /// has nothing to give is then left out and the rest drawn again, so the odds hold among those that have.
    pub(super) fn shares(&self, slots: usize, is_eligible: impl Fn(usize) -> bool) -> Vec<(usize, usize)> {
        let eligible: Vec<usize> = match &self.strict {
            Some(order) => order.iter().copied().filter(|&queue| is_eligible(queue)).take(1).collect(),
            None => (0..self.weights.len()).filter(|&queue| is_eligible(queue)).collect(),
        };
        match eligible[..] {
            [] => Vec::new(),
            _ if slots == 0 => Vec::new(),
            [only] => vec![(only, slots)],
            _ => self.draw(slots, &eligible),
        }
    }

    /// The queues that have to be empty before any of the eligible ones is asked.
    pub(super) fn ahead_of_eligible(&self, is_eligible: impl Fn(usize) -> bool) -> Vec<usize> {
        let order = self.strict.iter().flatten().copied();
        order.take_while(|&queue| !is_eligible(queue)).collect()
    }

    fn draw(&self, slots: usize, eligible: &[usize]) -> Vec<(usize, usize)> {
        let sum: u64 = eligible.iter().map(|&queue| u64::from(self.weights[queue])).sum();
        let mut shares: Vec<(usize, usize)> = eligible.iter().map(|&queue| (queue, 0)).collect();
        for _ in 0..slots {
            let mut drawn = fastrand::u64(..sum);
            for share in &mut shares {
                let weight = u64::from(self.weights[share.0]);
                if drawn < weight {
                    share.1 += 1;
                    break;
                }
                drawn -= weight;
            }
        }
        shares.retain(|&(_, slots)| slots > 0);
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_gives_all_slots_to_the_heaviest_that_may_have_work() {
        let selection = Selection::new(vec![1, 6, 3], true);
        assert_eq!(selection.shares(10, |_| true), [(1, 10)]);
        assert_eq!(selection.shares(10, |queue| queue != 1), [(2, 10)]);
        assert_eq!(selection.shares(10, |_| false), []);
    }

    #[test]
    fn strictly_what_is_heavier_comes_first_even_if_it_had_nothing() {
        let selection = Selection::new(vec![1, 6, 3], true);
        assert_eq!(selection.ahead_of_eligible(|queue| queue == 0), [1, 2]);
        assert!(selection.ahead_of_eligible(|queue| queue == 1).is_empty());
        assert!(Selection::new(vec![1, 6, 3], false).ahead_of_eligible(|queue| queue == 0).is_empty());
    }

    #[test]
    fn weights_are_odds_per_slot() {
        let selection = Selection::new(vec![6, 3, 1], false);
        let mut totals = [0_usize; 3];
        for _ in 0..1_000 {
            for (queue, slots) in selection.shares(10, |_| true) {
                totals[queue] += slots;
            }
        }
        assert_eq!(totals.iter().sum::<usize>(), 10_000);
        // Six standard deviations to each side.
        for (total, expected, deviation) in
            [(totals[0], 6_000, 294), (totals[1], 3_000, 275), (totals[2], 1_000, 180)]
        {
            assert!(total.abs_diff(expected) < deviation, "{totals:?}");
        }
    }

    #[test]
    fn slots_go_only_to_queues_that_may_have_work() {
        let selection = Selection::new(vec![1_000_000, 1, 1], false);
        let shares = selection.shares(64, |queue| queue != 0);
        assert!(shares.iter().all(|&(queue, slots)| queue != 0 && slots > 0), "{shares:?}");
        assert_eq!(shares.iter().map(|share| share.1).sum::<usize>(), 64);
    }
}
