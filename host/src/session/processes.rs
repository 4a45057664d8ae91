//! Background processes of a session: spawn, exit, kill, and what becomes of their completions.

use super::{Ack, Effect, Out, Reply, Session, Settling};
use crate::redact;
use crate::store::{Entry, Record, Stage};
use crate::wakeup;
use protocol::{
    Delivery, End, Event, Exit, Killer, Millis, News, Process, ProcessId, State, Storage, TurnId,
    WakeupKind, Work,
};

/// Most background processes that may run at once (P12).
pub(crate) const LIVE: usize = 64;
/// Finished processes stay listed for at least this long (P12).
const KEPT: Millis = 1_800_000;
/// Finished processes listed beyond those whose completion still waits.
const LISTED: usize = 64;

impl Session {
    /// Writes a spawn down, with its flags, before the child can run (W27).
    pub(super) fn spawn(&mut self, process: Process, ack: Ack, now: Millis, out: &mut Out) {
        if let Storage::Failing(why) = &self.view.storage {
            let text = format!(
                "background processes need a working store, and it fails: {why}. \
                 Run the command in the foreground instead."
            );
            out.reply(ack, Reply::Refused(text));
            return;
        }
        let live = self.view.processes.iter().filter(|p| p.is_live());
        if let (Some(oldest), LIVE..) = (live.clone().next(), live.count()) {
            let text = format!(
                "{LIVE} background processes run already; the oldest is {} ({}). Kill or await one first.",
                oldest.id, oldest.command
            );
            out.reply(ack, Reply::Refused(text));
            return;
        }
        self.write_down(process, now, out);
        out.reply(ack, Reply::Go);
    }

    /// Writes down what will run in the background.
    pub(super) fn write_down(&mut self, process: Process, now: Millis, out: &mut Out) {
        if process.notify {
            self.expect_exit(&process, now, out);
        }
        self.change_process(process, out);
    }

    /// Its end is to wake the agent.
    pub(super) fn expect_exit(&self, process: &Process, now: Millis, out: &mut Out) {
        out.record(Record::Ledger(self.entry(process, Stage::Spawned, now)));
    }

    fn entry(&self, process: &Process, state: Stage, at: Millis) -> Entry {
        Entry {
            session: self.id(),
            process: process.id.clone(),
            kind: ending(process),
            ordinal: 0,
            state,
            wakeup: None,
            row: None,
            at,
        }
    }

    /// The child runs: after its spawn, or found again after a restart.
    pub(super) fn adopted(&mut self, process: &ProcessId, pid: Option<u32>, out: &mut Out) {
        let Some(mut process) = self.process(process).cloned() else { return };
        // The exit may have been reported first.
        if process.state == State::Ended {
            return;
        }
        // A kill that was written down but may not have been sent is sent again (W08).
        if process.killed_by.is_some() {
            out.effects.push(Effect::Kill(process.id.clone()));
        }
        if process.pid != pid || process.state != State::Running {
            process.state = State::Running;
            process.pid = pid.or(process.pid);
            self.change_process(process, out);
        }
    }

    /// The agent will kill: from here on the end is consumed (W08).
    pub(super) fn killing(&mut self, process: &ProcessId, ack: Ack, out: &mut Out) {
        // Also here, not by the tool alone: an interrupt must not part the mark from the kill.
        self.request_kill(process, Killer::Agent, out);
        out.reply(ack, Reply::Go);
    }

    /// Writes down that a process is to end, and asks for it.
    pub(super) fn request_kill(&mut self, id: &ProcessId, killer: Killer, out: &mut Out) {
        if let Some(mut process) = self.process(id).cloned()
            && process.is_live()
            && process.killed_by.is_none()
        {
            process.killed_by = Some(killer);
            self.change_process(process, out);
            out.effects.push(Effect::Kill(id.clone()));
        }
    }

    /// The user ends one process, or all (W09).
    pub(super) fn kill(&mut self, which: Option<ProcessId>, out: &mut Out) {
        // Its supervisor is gone, but the child may live.
        if let Some(id) = &which
            && self.process(id).and_then(|p| p.exit.as_ref()).is_some_and(|e| e.end == End::Lost)
        {
            out.effects.push(Effect::Kill(id.clone()));
        }
        let doomed: Vec<Process> = self
            .view
            .processes
            .iter()
            .filter(|p| p.is_live() && which.as_ref().is_none_or(|id| *id == p.id))
            .cloned()
            .collect();
        for mut process in doomed {
            let id = process.id.clone();
            if process.killed_by.is_none() {
                process.killed_by = Some(Killer::User);
                let what = match process.work {
                    Work::Command => "background process",
                    Work::Delegation { .. } => "delegated task",
                };
                let note = format!("[The user ended the {what} {id} ({}).]", process.command);
                self.meta.notes.push(note);
                out.record(Record::Session(self.meta.clone()));
                self.change_process(process, out);
            }
            out.effects.push(Effect::Kill(id));
        }
    }

    /// A process has ended. The second report of one end changes nothing (W10).
    pub(super) fn exited(
        &mut self,
        id: &ProcessId,
        exit: Exit,
        output: &str,
        now: Millis,
        out: &mut Out,
    ) {
        let Some(mut process) = self.process(id).cloned() else { return };
        if process.state == State::Ended {
            out.effects.push(Effect::Acknowledge(id.clone()));
            return;
        }
        let exit = match exit.end {
            // Its folder is gone, but it did run: nobody knows how it ended, or whether it has.
            End::FailedStart if process.state == State::Running && process.worker().is_none() => {
                Exit { end: End::Lost, ..exit }
            }
            End::Exited | End::Killed | End::Lost | End::FailedStart => exit,
        };
        let exit = match process.killed_by {
            Some(_) if exit.end == End::Exited => Exit { end: End::Killed, ..exit },
            Some(_) | None => exit,
        };
        process.state = State::Ended;
        process.exit = Some(exit.clone());
        let wakes =
            process.notify && process.killed_by.is_none() && process.delivery != Delivery::Consumed;
        if process.notify {
            // What matched was printed before it ended, whenever that was found (W06).
            let before = self.waiting.iter().filter(|e| e.process == *id).map(|e| e.at).max();
            let at = before.map_or(exit.at, |last| exit.at.max(last.saturating_add(1)));
            let mut entry = self.entry(&process, Stage::Consumed, at);
            if wakes {
                entry.state = Stage::Finished;
                entry.wakeup = Some(match process.work {
                    Work::Command => wakeup::exited(id, &process.command, &exit, output),
                    Work::Delegation { .. } => {
                        wakeup::delegated(id, &process.command, &exit, output)
                    }
                });
                out.record(Record::Ledger(entry.clone()));
                self.waiting.push(entry);
                process.delivery = Delivery::Waiting;
                let first = self.settling.map_or(now, |s| s.first);
                self.settling = Some(Settling { first, last: now });
            } else {
                process.delivery = Delivery::Consumed;
                out.record(Record::Ledger(entry));
            }
        }
        self.change_process(process.clone(), out);
        out.effects.push(Effect::Acknowledge(id.clone()));
        self.tell_end(id, &exit, out);
        // A call that waits for it will show it: no toast for what the agent sees itself (W07).
        let awaited = self.turn.as_ref().is_some_and(|t| t.awaited.contains(id));
        if wakes && !awaited {
            self.announce(&process, out);
        }
        self.forget_old(now, out);
    }

    /// Tells every view of the host that a process has ended (W02).
    pub(super) fn announce(&self, process: &Process, out: &mut Out) {
        let Some(exit) = process.exit.clone() else { return };
        let news = News::Ended { exit, delivery: process.delivery.clone() };
        let text = redact::secrets(&process.command).into_owned();
        self.toast(Some(&process.id), news, text, out);
    }

    /// A child never ran. The result of the call that spawned it says so, if its turn goes on.
    pub(super) fn failed_start(
        &mut self,
        turn: TurnId,
        process: &ProcessId,
        exit: Exit,
        now: Millis,
        out: &mut Out,
    ) {
        if let Some(running) = &mut self.turn
            && running.id == turn
        {
            running.awaited.insert(process.clone());
        }
        self.withdraw_brief(process, out);
        self.exited(process, exit, "", now, out);
    }

    /// The agent has seen the end: no wakeup for it (W07).
    pub(super) fn consume(&mut self, id: &ProcessId, out: &mut Out) {
        let Some(process) = self.process(id) else { return };
        let kind = ending(process);
        match process.delivery {
            // The end of a watched one is told once its watch is switched off (P03).
            _ if !process.notify && !process.is_watched() => return,
            Delivery::Claimed(_)
            | Delivery::Delivered
            | Delivery::Consumed
            | Delivery::Orphaned => return,
            Delivery::Open | Delivery::Waiting | Delivery::Held(_) => {}
        }
        // The report of the end may still be under way; it will find the mark.
        let at = process.exit.as_ref().map_or(process.started_at, |e| e.at);
        let mut entry = self.entry(process, Stage::Consumed, at);
        let is_it = |e: &Entry| e.process == *id && e.kind == kind;
        if let Some(known) = self.waiting.iter().position(is_it) {
            entry = Entry { state: Stage::Consumed, ..self.waiting.remove(known) };
        }
        out.record(Record::Ledger(entry.clone()));
        if !self.waiting.iter().any(|e| e.state == Stage::Finished) {
            self.settling = None;
        }
        self.set_delivery(&entry, Delivery::Consumed, out);
    }

    /// Notes what becomes of an end. A match is not one: it never touches the completion (P01).
    pub(super) fn set_delivery(&mut self, entry: &Entry, delivery: Delivery, out: &mut Out) {
        let is_end = match entry.kind {
            WakeupKind::Exit | WakeupKind::Delegation => true,
            WakeupKind::Match | WakeupKind::WatchDisabled => false,
        };
        if let Some(mut process) = self.process(&entry.process).cloned()
            && is_end
            && process.delivery != delivery
        {
            process.delivery = delivery;
            self.change_process(process, out);
        }
    }

    /// Keeps the list short: the oldest settled ones leave it.
    fn forget_old(&mut self, now: Millis, out: &mut Out) {
        let settled = |p: &Process| {
            p.exit.as_ref().is_some_and(|e| e.at + KEPT < now)
                && matches!(p.delivery, Delivery::Open | Delivery::Delivered | Delivery::Consumed)
        };
        loop {
            let mut listed =
                self.view.processes.iter().filter(|p| settled(p) && !self.has_untold(&p.id));
            let Some(oldest) = listed.next() else { return };
            if listed.count() < LISTED {
                return;
            }
            let id = oldest.id.clone();
            self.publish(Event::ProcessForgotten { id }, out);
        }
    }
}

/// What the end of a process is in the ledger.
fn ending(process: &Process) -> WakeupKind {
    match process.work {
        Work::Command => WakeupKind::Exit,
        Work::Delegation { .. } => WakeupKind::Delegation,
    }
}
