//! Queues in which there is nothing to see to: found out for very many at once, with one `EXISTS` for some of them.

use redis::{Cmd, Pipeline, Value};

use super::keys::QueueKeys;
use super::{Broker, BrokerError};
use crate::task::QueueName;

/// Queues asked about in one round trip.
const QUEUES_PER_TRIP: usize = 512;
/// Queues asked about in one command: some 250 keys, looked up in well under a tenth of a millisecond.
const QUEUES_TOGETHER: usize = 32;

/// What a queue may hold that somebody has to see to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Concern {
    /// What asks for workers now or later: tasks that did not end, and schedules.
    Workers,
    /// What keeping is to be in time for: tasks that did not end, and a pause, which may end.
    Keeping,
    /// What goes when it is old enough: tasks that ended.
    Ended,
    /// Types that workers met in vain.
    Unserved,
}

impl Concern {
    /// The keys of which one is there when the queue holds something of the kind.
    fn keys(self, queue: &QueueName) -> Vec<String> {
        let keys = QueueKeys::new(queue);
        let unended =
            [keys.pending(), keys.active(), keys.scheduled(), keys.retry(), keys.aggregation_sets()];
        let (unended, more) = match self {
            Self::Workers => (Some(unended), vec![keys.groups(), keys.due()]),
            Self::Keeping => {
                (Some(unended), vec![keys.lease(), keys.expiring(), keys.locks(), keys.paused()])
            }
            Self::Ended => (None, vec![keys.completed(), keys.archived()]),
            Self::Unserved => (None, vec![keys.unserved()]),
        };
        unended.into_iter().flatten().chain(more).collect()
    }
}

/// What is asked of some queues again and again.
#[derive(Debug)]
pub(crate) struct Question {
    concern: Concern,
    queues: Vec<QueueName>,
    /// Of [`QUEUES_TOGETHER`] queues each, in their order; none where keys of several queues make no command.
    parts: Vec<Part>,
}

/// Queues that are asked about with one command, as long as none of them holds anything.
#[derive(Debug)]
struct Part {
    asked: Cmd,
    may_hold: bool,
}

impl Question {
    /// The queues it is about.
    pub(crate) fn queues(&self) -> &[QueueName] {
        &self.queues
    }

    /// Which of the queues are to be asked about one by one.
    fn doubtful(&self) -> Vec<usize> {
        let is_doubtful = |at: &usize| self.parts.get(at / QUEUES_TOGETHER).is_none_or(|part| part.may_hold);
        (0..self.queues.len()).filter(is_doubtful).collect()
    }
}

fn exists<'a>(concern: Concern, queues: impl IntoIterator<Item = &'a QueueName>) -> Cmd {
    let mut exists = redis::cmd("EXISTS");
    for queue in queues {
        exists.arg(concern.keys(queue));
    }
    exists
}

impl Broker {
    /// To be asked whether these queues hold anything of that concern.
    pub(crate) fn question(&self, concern: Concern, queues: Vec<QueueName>) -> Question {
        let part = |queues: &[QueueName]| Part { asked: exists(concern, queues), may_hold: false };
        let parts = match self.is_cluster() {
            true => Vec::new(),
            false => queues.chunks(QUEUES_TOGETHER).map(part).collect(),
        };
        Question { concern, queues, parts }
    }

    /// Whether each of the queues of a question holds anything. One that cannot be asked about may hold something.
    ///
    /// # Errors
    /// [`BrokerError::Command`] where Redis does not answer.
    pub(crate) async fn which_hold(&self, question: &mut Question) -> Result<Vec<bool>, BrokerError> {
        let mut parts: Vec<_> = question.parts.iter_mut().filter(|part| !part.may_hold).collect();
        for parts in parts.chunks_mut(QUEUES_PER_TRIP / QUEUES_TOGETHER) {
            let hold = self.ask(parts.iter().map(|part| part.asked.clone())).await?;
            parts.iter_mut().zip(hold).for_each(|(part, holds)| part.may_hold = holds);
        }
        let mut hold = vec![false; question.queues.len()];
        for some in question.doubtful().chunks(QUEUES_PER_TRIP) {
            let asked = some.iter().map(|at| exists(question.concern, [&question.queues[*at]]));
            let answers = self.ask(asked).await?;
            some.iter().zip(answers).for_each(|(at, holds)| hold[*at] = holds);
        }
        for (part, hold) in question.parts.iter_mut().zip(hold.chunks(QUEUES_TOGETHER)) {
            part.may_hold = hold.contains(&true);
        }
        Ok(hold)
    }

    /// Whether any key of each command is there.
    async fn ask(&self, commands: impl ExactSizeIterator<Item = Cmd>) -> Result<Vec<bool>, BrokerError> {
        let mut trip = Pipeline::with_capacity(commands.len());
        for command in commands {
            trip.add_command(command);
        }
        let answers = self.pipe_each("see which queues hold anything", &trip).await?;
        Ok(answers.iter().map(|answer| !matches!(answer, Ok(Value::Int(0)))).collect())
    }
}
