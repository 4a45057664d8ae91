//! Ends of a host: killed, or stopped; and the next one.

use super::disk::is_wakeup;
use super::met::Class;
use super::world::{Host, World};
use crate::protocol::{Storage, TurnId};
use crate::session::Input;
use crate::store::{Record, Stage};

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
        for (s, live) in &self.host.live {
            if let Some(running) = &live.session.transcript().running {
                in_turn = true;
                unstarted |= live.actor.is_none() && claimed(*s, running.turn);
            }
        }
        let unsent = !self.host.killing.is_empty();
        let unlaunched = !self.host.launching.is_empty();
        let finding = !self.host.finding.is_empty();
        let failing = self.host.storage != Storage::Ok;
        self.met.note_if(claim, Class::CrashBeforeClaim);
        self.met.note_if(unstarted, Class::CrashAfterClaim);
        self.met.note_if(delivered, Class::CrashBeforeDelivered);
        self.met.note_if(consumed, Class::CrashBeforeConsumed);
        self.met.note_if(in_turn, Class::CrashInTurn);
        self.met.note_if(unsent, Class::CrashBeforeKill);
        self.met.note_if(unlaunched, Class::CrashBeforeLaunch);
        self.met.note_if(finding, Class::CrashBeforeAdoption);
        self.met.note_if(failing, Class::CrashFailing);
    }

    /// Another host takes up what is stored; the disk works for it.
    pub(super) fn restart(&mut self, ended: u8) {
        self.host = Host::default();
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
                        Some(s) => self.open(s),
                        None => self.fail(format!("store: nobody made session {id}")),
                    }
                }
            }
            Err(error) => self.fail(format!("store: {error}")),
        }
    }

    /// The host stops of itself.
    pub(super) fn stop(&mut self, ended: u8) {
        let runs = |l: &super::world::Live| l.session.transcript().running.is_some();
        self.met.note_if(self.host.live.values().any(runs), Class::StopInTurn);
        self.host.stopping = true;
        for s in self.host.live.keys().copied().collect::<Vec<_>>() {
            self.feed(s, Input::Stop);
        }
        for live in self.host.live.values_mut() {
            live.actor = None;
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
