//! Robfig/cron v3, Kubernetes' and asynq's parser, judges what an expression means: `Skip` and `Both` are its
//! rules.

use std::collections::BTreeMap;

use cronmill::schedule::{Gap, Overlap, Timing, TimingSource};
use fastrand::Rng;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::generate::{Expression, spoilt, zone_and_start};
use crate::robfig::{Answer, Oracle, Question};
use crate::{source, timing};

const CASES: usize = 12_000;
const STEPS: usize = 8;

/// Where robfig leaves the wall clock. In each of them the clock is changed at or across midnight, at a
/// broken hour, or not by one hour, and robfig then leaves out times, in the worst case a whole day, fires
/// in an hour or on a day that the expression does not name, or goes backwards.
const ROBFIG_ERRS_IN: &[&str] = &[
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/El_Aaiun",
    "America/Asuncion",
    "America/Caracas",
    "America/Goose_Bay",
    "America/Havana",
    "America/Nuuk",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/Scoresbysund",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Amman",
    "Asia/Beirut",
    "Asia/Damascus",
    "Asia/Gaza",
    "Asia/Pyongyang",
    "Asia/Tehran",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
];

struct Case {
    expression: Expression,
    zone_name: &'static str,
    zone: TimeZone,
    afters: Vec<Timestamp>,
    nexts: Vec<Option<Timestamp>>,
}

impl Case {
    fn random(rng: &mut Rng) -> Self {
        let expression = Expression::random(rng, true);
        let (zone_name, zone, start) = zone_and_start(rng);
        let timing = timing(&expression.text(), zone_name, Gap::Skip, Overlap::Both);
        let mut afters = vec![start];
        let mut nexts = vec![timing.next_after(start)];
        while let Some(Some(last)) = nexts.last()
            && nexts.len() < STEPS
        {
            afters.push(*last);
            nexts.push(timing.next_after(*last));
        }
        Self { expression, zone_name, zone, afters, nexts }
    }

    fn question(&self) -> Question {
        let afters = self.afters.iter().map(|after| after.as_second()).collect();
        Question { spec: self.expression.text(), zone: self.zone_name, afters }
    }

    /// Compares each step. Adds up the steps where robfig errs; any other difference fails.
    fn judge(&self, answer: &Answer, errors: &mut BTreeMap<(&'static str, &'static str), usize>) {
        assert_eq!(answer.error, None, "{self:?}: robfig refuses what we accept");
        for (step, theirs) in answer.nexts.iter().enumerate() {
            let (after, ours) = (self.afters[step], self.nexts[step]);
            let theirs = theirs.map(|second| Timestamp::from_second(second).expect("in range"));
            if ours != theirs {
                let error = self.robfigs_error(after, ours, theirs);
                let error =
                    error.unwrap_or_else(|| panic!("{self:?} after {after}: {ours:?}, robfig {theirs:?}"));
                *errors.entry((self.zone_name, error)).or_default() += 1;
            }
        }
    }

    /// What robfig got wrong, going by the wall clock alone; `None` if it is right.
    fn robfigs_error(
        &self,
        after: Timestamp,
        ours: Option<Timestamp>,
        theirs: Option<Timestamp>,
    ) -> Option<&'static str> {
        let matches = |at: Timestamp| self.expression.matches(self.zone.to_datetime(at));
        let last = ours.max(theirs)?;
        // It begins its search at the first of the month, which can stand on the seam.
        let seams = self.zone.following(after - SignedDuration::from_hours(32 * 24));
        let is_awkward = |at: Timestamp| is_awkward_seam(&self.zone, at);
        if !seams.map(|seam| seam.timestamp()).take_while(|at| *at <= last).any(is_awkward) {
            return None;
        }
        match (ours, theirs) {
            (_, Some(theirs)) if theirs <= after => Some("goes backwards"),
            (Some(ours), Some(theirs)) if theirs < ours => {
                (!matches(theirs)).then_some("fires at a wrong time")
            }
            (Some(ours), _) => matches(ours).then_some("leaves a time out"),
            (None, _) => None,
        }
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} in {}", self.expression.text(), self.zone_name)
    }
}

/// Whether the clock is changed at or across midnight, at a broken hour, or not by one hour.
fn is_awkward_seam(zone: &TimeZone, at: Timestamp) -> bool {
    let before = zone.to_offset(at - SignedDuration::from_secs(1));
    let (from, to) = (before.to_datetime(at), zone.to_datetime(at));
    let shift_s = zone.to_offset(at).seconds() - before.seconds();
    shift_s.abs() != 3_600
        || from.minute() != 0
        || from.date() != to.date()
        || [from, to].iter().any(|wall| wall.time() == Time::midnight())
}

#[test]
fn skip_and_both_is_what_robfig_does_where_robfig_keeps_to_the_clock() {
    let Some(oracle) = Oracle::build("times") else { return };
    let mut rng = crate::seeded();
    let cases: Vec<_> = (0..CASES).map(|_| Case::random(&mut rng)).collect();
    let answers = oracle.ask(&cases.iter().map(Case::question).collect::<Vec<_>>());
    let mut errors = BTreeMap::new();
    for (case, answer) in cases.iter().zip(&answers) {
        case.judge(answer, &mut errors);
    }
    let steps: usize = cases.iter().map(|case| case.nexts.len()).sum();
    let erring: usize = errors.values().sum();
    println!("{steps} steps, {erring} of them where robfig errs: {errors:#?}");
    for (zone, error) in errors.keys() {
        assert!(ROBFIG_ERRS_IN.contains(zone), "robfig {error} in {zone}, a zone not known for that");
    }
    assert!(steps > 5 * CASES, "hardly any step was compared: {steps}");
    assert!(
        erring * 100 < steps,
        "{erring} of {steps} steps differ, which is too many to put down to robfig"
    );
}

#[test]
fn robfig_refuses_and_accepts_the_same_expressions() {
    let Some(oracle) = Oracle::build("grammar") else { return };
    let mut rng = crate::seeded();
    let specs: Vec<_> = (0..CASES).map(|_| spoilt(&mut rng)).collect();
    let question = |spec: &String| Question { spec: spec.clone(), zone: "UTC", afters: vec![] };
    let answers = oracle.ask(&specs.iter().map(question).collect::<Vec<_>>());
    let mut accepted = 0;
    for (spec, answer) in specs.iter().zip(&answers) {
        let ours = Timing::parse(&source(spec, "UTC"));
        assert_eq!(
            ours.is_ok(),
            answer.error.is_none(),
            "{spec:?}: {:?}, robfig {:?}",
            ours.err(),
            answer.error
        );
        accepted += usize::from(ours.is_ok());
        if let Err(error) = ours {
            let picture = error.caret().expect("a spec has text to point at");
            assert_eq!(picture.lines().count(), 2, "{spec:?}: {picture}");
            assert_eq!(error.to_string().lines().count(), 1, "{spec:?}: {error}");
        }
    }
    println!("{accepted} accepted, {} refused by both", specs.len() - accepted);
    assert!(accepted > 500 && accepted + 500 < specs.len(), "one-sided: {accepted} of {}", specs.len());
}

#[test]
fn every_has_robfigs_period() {
    let Some(oracle) = Oracle::build("every") else { return };
    let mut rng = crate::seeded();
    let after = 1_700_000_000;
    let period = |_| {
        let units = ["s", "m", "h", ".5h", ".25m", "m30s", "h1m1s", "s999ms", "m.75s"];
        format!("{}{}", rng.u32(1..500), units[rng.usize(..units.len())])
    };
    let specs: Vec<_> = (0..500).map(period).map(|period| format!("@every {period}")).collect();
    let question = |spec: &String| Question { spec: spec.clone(), zone: "UTC", afters: vec![after] };
    let answers = oracle.ask(&specs.iter().map(question).collect::<Vec<_>>());
    for (spec, answer) in specs.iter().zip(&answers) {
        let anchor = Timestamp::from_second(after).expect("in range");
        let timing = Timing::parse(&TimingSource { anchor, ..source(spec, "UTC") }).expect("a period");
        let ours = timing.next_after(anchor).map(Timestamp::as_second);
        assert_eq!(Some(&ours), answer.nexts.first(), "{spec}");
    }
}
