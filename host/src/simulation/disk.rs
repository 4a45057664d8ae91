//! The store's thread: commits in order, one transaction a batch, or says that it cannot.

use super::Defect;
use super::coverage::Interleaving;
use super::world::World;
use crate::session::{Effect, Input};
use crate::store::{CommitNo, Record, Report, Stage};
use protocol::{Body, Storage};

impl World<'_> {
    /// Hands a batch to the store.
    pub(super) fn write(&mut self, batch: Vec<Record>) -> CommitNo {
        let user = |r: &Record| matches!(r, Record::Row { row, .. } if matches!(row.body, Body::User { .. }));
        let wakeups = batch.iter().filter(|r| is_wakeup(r)).count();
        self.coverage.note_if(wakeups > 0 && batch.iter().any(user), Interleaving::PromptWithExit);
        self.coverage.note_if(wakeups > 1, Interleaving::ExitsTogether);
        for part in self.distorted(batch) {
            self.host.last += 1;
            self.host.waiting.push_back((CommitNo(self.host.last), part));
        }
        CommitNo(self.host.last)
    }

    /// What a defect makes of a batch.
    fn distorted(&self, mut batch: Vec<Record>) -> Vec<Vec<Record>> {
        let ledger =
            |r: &Record, is: fn(&Stage) -> bool| matches!(r, Record::Ledger(e) if is(&e.state));
        let claimed = |s: &Stage| matches!(s, Stage::Claimed(_));
        let consumed = |s: &Stage| *s == Stage::Consumed;
        match self.defect {
            Some(Defect::ClaimApart) if batch.iter().any(|r| ledger(r, claimed)) => {
                let (claim, start) = batch.into_iter().partition(|r| {
                    is_wakeup(r) || matches!(r, Record::Ledger(_) | Record::Process(_))
                });
                vec![claim, start]
            }
            Some(Defect::ConsumedLater) if batch.iter().any(|r| ledger(r, consumed)) => {
                let (mark, result): (Vec<_>, _) = batch
                    .into_iter()
                    .partition(|r| ledger(r, consumed) || matches!(r, Record::Process(_)));
                vec![result, mark]
            }
            Some(Defect::KeyWithoutOrdinal) => {
                for record in &mut batch {
                    match record {
                        Record::Ledger(entry) => entry.ordinal = 0,
                        Record::Row { row, .. } => {
                            if let Body::Wakeup(wakeup) = &mut row.body {
                                wakeup.ordinal = 0;
                            }
                        }
                        _ => {}
                    }
                }
                vec![batch]
            }
            _ => vec![batch],
        }
    }

    /// The store's thread: commits up to `most` batches (0 = all), each in a transaction of its
    /// own, or says that it cannot.
    pub(super) fn commit(&mut self, most: usize) {
        let Some(last) = self.host.waiting.back().map(|(no, _)| no.0) else { return };
        if self.host.broken {
            if self.host.failing.is_none_or(|upto| upto < last) {
                self.host.failing = Some(last);
                let message = "disk full".to_owned();
                self.host.reports.push_back(Report::Failing { upto: CommitNo(last), message });
            }
            return;
        }
        let recovers = self.host.failing.take().is_some();
        let most = if most == 0 || recovers { usize::MAX } else { most };
        self.coverage.note_if(recovers, Interleaving::Recovered);
        let mut done = 0;
        while done < most
            && let Some((no, batch)) = self.host.waiting.pop_front()
        {
            done += 1;
            self.note(|| format!("committed {}: {}", no.0, batch.len()));
            match self.db.write(&batch) {
                Ok(refused) => {
                    for why in refused {
                        self.fail(format!("refused: {why}"));
                    }
                }
                Err(error) => self.fail(format!("store: {error}")),
            }
            for record in &batch {
                self.stored.apply(record);
            }
            if done == most || self.host.waiting.is_empty() {
                if recovers {
                    self.host.reports.push_back(Report::Recovered(no));
                    self.tally.recoveries += 1;
                }
                self.host.reports.push_back(Report::Committed(no));
            }
        }
        self.coverage.note_if(done > 1, Interleaving::Grouped);
    }

    /// The loop hears one report of the store.
    pub(super) fn report(&mut self) {
        match self.host.reports.pop_front() {
            Some(Report::Committed(no)) => self.release(no, true),
            Some(Report::Failing { upto, message }) => {
                self.set_storage(Storage::Failing(message));
                self.release(upto, false);
            }
            Some(Report::Recovered(no)) => {
                self.release(no, true);
                for s in self.host.live.keys().copied().collect::<Vec<_>>() {
                    let withheld = self.host.live.get_mut(&s).map(|l| l.outbox.take_withheld());
                    for process in withheld.unwrap_or_default() {
                        self.perform(s, Effect::Acknowledge(process), true);
                    }
                }
                self.set_storage(Storage::Ok);
            }
            None => {}
        }
    }

    fn set_storage(&mut self, storage: Storage) {
        if self.host.storage == storage {
            return;
        }
        self.host.storage = storage.clone();
        for s in self.host.live.keys().copied().collect::<Vec<_>>() {
            self.feed(s, Input::Storage(storage.clone()));
        }
    }

    pub(super) fn flush(&mut self) {
        let records: Vec<Record> =
            self.host.live.values_mut().flat_map(|l| l.outbox.take_journal()).collect();
        if !records.is_empty() {
            self.write(records);
        }
    }
}

pub(super) fn is_wakeup(record: &Record) -> bool {
    matches!(record, Record::Row { row, .. } if matches!(row.body, Body::Wakeup(_)))
}
