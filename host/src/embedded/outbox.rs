//! Effects on their way out. Nothing but streamed text leaves before the commit it rests on: a
//! session's effects wait in its outbox, in order, until the store reports their commit number.
//! Pure: what an effect does when it leaves is not decided here.

use std::collections::VecDeque;

use crate::session::Effect;
use crate::store::{CommitNo, Record};
use protocol::{Event, ProcessId, SessionId, ViewId};

#[cfg(test)]
mod tests;

/// The effects of one session that may not leave yet, and the journal entries not written yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Entries that wait for their commit.
    queue: VecDeque<(CommitNo, Item)>,
    /// Journal entries that wait for the next write.
    journal: Vec<Record>,
    /// Processes whose end could not be stored yet: their supervisors may go when it is.
    withheld: Vec<ProcessId>,
}

/// An entry of an outbox.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all entries are effects")]
pub(crate) enum Item {
    Effect(Effect),
    /// A view's fresh window. It already contains what the effects before it will publish, so the
    /// view gets it in their place.
    Window {
        view: ViewId,
        session: SessionId,
        event: Event,
    },
    /// A view asked for a copy of the session, and it was written.
    Branch {
        view: ViewId,
        to: SessionId,
    },
}

impl Outbox {
    /// Whether nothing waits in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.journal.is_empty()
    }

    /// Whether journal entries wait for the next write.
    pub(crate) fn has_journal(&self) -> bool {
        !self.journal.is_empty()
    }

    /// Splits effects into the batch to write in one commit, if anything must be written before
    /// they leave, and the rest, which is handed to [`Outbox::put`] with that commit's number.
    /// Streamed text alone holds nothing back: it waits in the journal.
    pub(crate) fn split(&mut self, effects: Vec<Effect>) -> (Option<Vec<Record>>, Vec<Effect>) {
        let mut records = Vec::new();
        let mut rest = Vec::new();
        let mut barrier = false;
        for effect in effects {
            match effect {
                Effect::Record(record) => {
                    barrier |= !matches!(record, Record::Delta { .. });
                    records.push(record);
                }
                other => rest.push(other),
            }
        }
        self.journal.append(&mut records);
        (barrier.then(|| self.take_journal()), rest)
    }

    /// Queues effects behind their commit, or behind the entries that wait already; returns those
    /// that have nothing to wait for.
    #[must_use]
    pub(crate) fn put(&mut self, commit: Option<CommitNo>, effects: Vec<Effect>) -> Vec<Effect> {
        let Some(no) = commit.or_else(|| self.last()) else { return effects };
        self.queue.extend(effects.into_iter().map(|e| (no, Item::Effect(e))));
        Vec::new()
    }

    /// Queues a window behind the entries that wait already; returns it if there are none.
    #[must_use]
    pub(crate) fn put_window(
        &mut self,
        view: ViewId,
        session: SessionId,
        event: Event,
    ) -> Option<Event> {
        let Some(no) = self.last() else { return Some(event) };
        self.queue.push_back((no, Item::Window { view, session, event }));
        None
    }

    /// Queues the notice that a copy of the session was stored, behind its commit.
    pub(crate) fn put_branch(&mut self, commit: CommitNo, view: ViewId, to: SessionId) {
        self.queue.push_back((commit, Item::Branch { view, to }));
    }

    /// Takes the next entry that may leave when everything up to that commit is settled.
    pub(crate) fn next(&mut self, upto: CommitNo) -> Option<Item> {
        self.queue.pop_front_if(|(no, _)| *no <= upto).map(|(_, item)| item)
    }

    /// Whether [`Outbox::next`] has an entry.
    pub(crate) fn is_ready(&self, upto: CommitNo) -> bool {
        self.queue.front().is_some_and(|(no, _)| *no <= upto)
    }

    /// Takes the journal entries that wait for the next write.
    pub(crate) fn take_journal(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.journal)
    }

    /// Keeps back the acknowledgement of a process whose end could not be stored yet.
    pub(crate) fn withhold(&mut self, process: ProcessId) {
        self.withheld.push(process);
    }

    /// Takes the processes kept back by [`Outbox::withhold`]: their end is stored now.
    pub(crate) fn take_withheld(&mut self) -> Vec<ProcessId> {
        std::mem::take(&mut self.withheld)
    }

    fn last(&self) -> Option<CommitNo> {
        self.queue.back().map(|(no, _)| *no)
    }
}
