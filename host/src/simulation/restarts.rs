//! Ends of a host: killed, or stopped; and the next one.

use super::coverage::Interleaving;
use super::disk::is_wakeup;
use super::world::{SimHost, World, process_id};
use crate::session::Input;
use crate::store::{Record, Stage};
use protocol::{Process, Storage, TurnId};

impl World<'_> {
    /// The host is killed.
    pub(super) fn crash(&mut self, commits: usize, ended: u8) {
        self.flush_some(commits);
        self.classify_crash();
        self.restart(ended);
    }

    fn flush_some(&mut self, commits: usize) {
        if commits > 0 && !self.host.broken {
            self.commit(commits);
        }
    }

    fn classify_crash(&mut self) {
        let lost = |is: fn(&Record) -> bool| {
            self.host.waiting.iter().any(|(_, batch)| batch.iter().any(is))
        };
        let ledger =
            |r: &Record, is: fn(&Stage) -> bool| matches!(r, Record::Ledger(e) if is(&e.state));
        let claim = lost(is_wakeup);
        let delivered = self
            .host
            .waiting
            .iter()
            .any(|(_, b)| b.iter().any(|r| ledger(r, |s| matches!(s, Stage::Delivered(_)))));
        let consumed = self
            .host
            .waiting
            .iter()
            .any(|(_, b)| b.iter().any(|r| ledger(r, |s| *s == Stage::Consumed)));
        let claimed = |s: usize, turn: TurnId| {
            self.stored
                .ledger
                .values()
                .any(|e| e.session == self.ids[s] && e.state == Stage::Claimed(turn))
        };
        let mut unstarted = false;
        let mut in_turn = false;
        let mut task = false;
        let mut unreported = false;
        for (s, live) in &self.host.live {
            task |= *s >= self.users && live.session.transcript().running.is_some();
            unreported |= *s >= self.users
                && live.session.task_end(self.now).is_some()
                && live.session.meta().task.as_ref().is_some_and(|t| {
                    self.stored.processes.get(&t.process).is_some_and(Process::is_live)
                });
            if let Some(running) = &live.session.transcript().running {
                in_turn = true;
                unstarted |= live.actor.is_none() && claimed(*s, running.turn);
            }
        }
        let unopened = self.procs.iter().enumerate().any(|(p, proc)| {
            proc.worker.is_some_and(|w| !self.host.live.contains_key(&w))
                && self.stored.processes.get(&process_id(p)).is_some_and(Process::is_live)
        });
        self.coverage.note_if(task, Interleaving::CrashInTask);
        self.coverage.note_if(unreported, Interleaving::CrashBeforeReport);
        self.coverage.note_if(unopened, Interleaving::CrashBeforeOpen);
        let unsent = !self.host.killing.is_empty();
        let unlaunched = !self.host.launching.is_empty();
        let finding = !self.host.finding.is_empty();
        let failing = self.host.storage != Storage::Ok;
        self.coverage.note_if(claim, Interleaving::CrashBeforeClaim);
        self.coverage.note_if(unstarted, Interleaving::CrashAfterClaim);
        self.coverage.note_if(delivered, Interleaving::CrashBeforeDelivered);
        self.coverage.note_if(consumed, Interleaving::CrashBeforeConsumed);
        self.coverage.note_if(in_turn, Interleaving::CrashInTurn);
        self.coverage.note_if(unsent, Interleaving::CrashBeforeKill);
        self.coverage.note_if(unlaunched, Interleaving::CrashBeforeLaunch);
        self.coverage.note_if(finding, Interleaving::CrashBeforeAdoption);
        self.coverage.note_if(failing, Interleaving::CrashFailing);
    }

    /// Another host takes up what is stored; the disk works for it.
    pub(super) fn restart(&mut self, ended: u8) {
        self.host = SimHost::default();
        self.now += std::mem::take(&mut self.away);
        self.generation += 1;
        self.tally.restarts += 1;
        self.note(|| "the host is gone".to_owned());
        for k in 0..ended {
            self.now += 5;
            let running: Vec<usize> = self.running().collect();
            if let Some(p) = running.get(usize::from(k) % running.len().max(1)) {
                self.ends(*p, Some(i32::from(k)), None);
            }
        }
        match self.db.unsettled() {
            Ok(sessions) => {
                for id in sessions {
                    match self.ids.iter().position(|known| *known == id) {
                        Some(s) => {
                            self.open(s);
                            self.confirm(s);
                        }
                        None => self.fail(format!("store: nobody made session {id}")),
                    }
                }
            }
            Err(error) => self.fail(format!("store: {error}")),
        }
    }

    /// From now on nothing starts; turns that run may come to their end.
    pub(super) fn drain(&mut self) {
        self.coverage.note(Interleaving::Drained);
        self.host.draining = true;
        for s in self.host.live.keys().copied().collect::<Vec<_>>() {
            self.feed(s, Input::Drain);
        }
    }

    /// The host stops of itself.
    pub(super) fn stop(&mut self, ended: u8) {
        let runs = |l: &super::world::LiveSession| l.session.transcript().running.is_some();
        self.coverage.note_if(self.host.live.values().any(runs), Interleaving::StopInTurn);
        self.coverage.note_if(self.host.draining, Interleaving::StopAfterDrain);
        // A host that stops while nothing ends may be followed at once.
        let hands_over = ended == 0;
        self.coverage
            .note_if(hands_over && self.host.live.values().any(runs), Interleaving::HandOver);
        self.host.is_stopping = true;
        for s in self.host.live.keys().copied().collect::<Vec<_>>() {
            self.feed(s, if hands_over { Input::HandOver } else { Input::Stop });
        }
        for live in self.host.live.values_mut() {
            live.actor = None;
        }
        while !self.host.launch_events.is_empty() {
            self.launch_event();
        }
        self.flush();
        self.commit(0);
        while !self.host.reports.is_empty() {
            self.report();
        }
        while !self.host.killing.is_empty() {
            self.die();
        }
        self.commit(0);
        self.restart(ended);
    }
}
