//! Background processes of a session: spawn, exit, kill, and what becomes of their completions.

use super::{Ack, Effect, Effects, Reply, Session};
use crate::redact;
use crate::store::Record;
use crate::wakeup;
use protocol::{
    Delivery, End, Event, Exit, Killer, Millis, News, Process, ProcessId, State, Storage, TurnId,
    Wakeup, Work,
};

/// Most background processes that may run at once (P12).
pub(crate) const LIVE: usize = 64;
/// Finished processes stay listed for at least this long (P12).
const KEPT: Millis = 1_800_000;
/// Finished processes listed beyond those whose completion still waits.
const LISTED: usize = 64;

impl Session {
    /// Stores a spawn, with its flags, before the child can run (W27).
    pub(super) fn spawn(&mut self, process: Process, ack: Ack, now: Millis, out: &mut Effects) {
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
        self.store_spawn(process, now, out);
        out.reply(ack, Reply::Go);
    }

    /// Stores what will run in the background.
    pub(super) fn store_spawn(&mut self, process: Process, now: Millis, out: &mut Effects) {
        if process.notify {
            self.expect_exit(&process, now, out);
        }
        self.change_process(process, out);
    }

    /// The end of that process is to wake the agent.
    pub(super) fn expect_exit(&mut self, process: &Process, now: Millis, out: &mut Effects) {
        let expected = self.ledger.expect(process, now);
        self.apply_transition(expected, out);
    }

    /// The child runs: after its spawn, or found again after a restart.
    pub(super) fn process_runs(
        &mut self,
        process: &ProcessId,
        pid: Option<u32>,
        out: &mut Effects,
    ) {
        let Some(mut process) = self.process(process).cloned() else { return };
        // The exit may have been reported first.
        if process.state == State::Ended {
            return;
        }
        // A kill that was stored but may not have been sent is sent again (W08).
        if process.killed_by.is_some() {
            out.push(Effect::Kill(process.id.clone()));
        }
        if process.pid != pid || process.state != State::Running {
            process.state = State::Running;
            process.pid = pid.or(process.pid);
            self.change_process(process, out);
        }
    }

    /// The agent will kill: from here on the end is consumed (W08).
    pub(super) fn killing(&mut self, process: &ProcessId, ack: Ack, out: &mut Effects) {
        // Also here, not by the tool alone: an interrupt must not separate the mark from the kill.
        self.request_kill(process, Killer::Agent, out);
        out.reply(ack, Reply::Go);
    }

    /// Stores that a process is to end, and asks for it.
    pub(super) fn request_kill(&mut self, id: &ProcessId, killer: Killer, out: &mut Effects) {
        if let Some(mut process) = self.process(id).cloned()
            && process.is_live()
            && process.killed_by.is_none()
        {
            process.killed_by = Some(killer);
            self.change_process(process, out);
            out.push(Effect::Kill(id.clone()));
        }
    }

    /// The user ends one process, or all (W09).
    pub(super) fn kill(&mut self, which: Option<ProcessId>, out: &mut Effects) {
        // Its supervisor is gone, but the child may live.
        if let Some(id) = &which
            && self.process(id).and_then(|p| p.exit.as_ref()).is_some_and(|e| e.end == End::Lost)
        {
            out.push(Effect::Kill(id.clone()));
        }
        let live: Vec<Process> = self
            .view
            .processes
            .iter()
            .filter(|p| p.is_live() && which.as_ref().is_none_or(|id| *id == p.id))
            .cloned()
            .collect();
        for mut process in live {
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
            out.push(Effect::Kill(id));
        }
    }

    /// A process has ended. The second report of one end changes nothing (W10).
    pub(super) fn exited(
        &mut self,
        id: &ProcessId,
        exit: Exit,
        output: &str,
        now: Millis,
        out: &mut Effects,
    ) {
        let Some(mut process) = self.process(id).cloned() else { return };
        if process.state == State::Ended {
            out.push(Effect::Acknowledge(id.clone()));
            return;
        }
        let exit = Exit { end: true_end(&process, exit.end), ..exit };
        process.state = State::Ended;
        process.exit = Some(exit.clone());
        let wakes =
            process.notify && process.killed_by.is_none() && process.delivery != Delivery::Consumed;
        if process.notify {
            let moved = if wakes {
                let wakeup = end_wakeup(&process, &exit, output);
                self.ledger.finish(&process, wakeup, exit.at, now)
            } else {
                self.ledger.finish_consumed(&process, exit.at)
            };
            process.delivery = moved.delivery().unwrap_or(process.delivery);
            moved.store(out);
        }
        self.change_process(process.clone(), out);
        out.push(Effect::Acknowledge(id.clone()));
        self.reply_end(id, &exit, out);
        // A call that waits for it will show it: no toast for what the agent sees itself (W07).
        let awaited = self.turn.as_ref().is_some_and(|t| t.awaited.contains(id));
        if wakes && !awaited {
            self.announce(&process, out);
        }
        self.forget_old(now, out);
    }

    /// Tells every view of the host that a process has ended (W02).
    pub(super) fn announce(&self, process: &Process, out: &mut Effects) {
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
        out: &mut Effects,
    ) {
        if let Some(running) = &mut self.turn
            && running.id == turn
        {
            running.awaited.insert(process.clone());
        }
        self.withdraw_brief(process, out);
        self.exited(process, exit, "", now, out);
    }

    /// The agent has seen the end of that process: no wakeup for it (W07).
    pub(super) fn consume(&mut self, id: &ProcessId, out: &mut Effects) {
        let Some(process) = self.process(id) else { return };
        match process.delivery {
            // The end of a watched one wakes once its watch is switched off (P03).
            _ if !process.notify && !process.is_watched() => return,
            Delivery::Claimed(_)
            | Delivery::Delivered
            | Delivery::Consumed
            | Delivery::Orphaned => return,
            Delivery::Open | Delivery::Waiting | Delivery::Held(_) => {}
        }
        let process = process.clone();
        let consumed = self.ledger.consume(&process);
        self.apply_transition(consumed, out);
    }

    /// Keeps the list short: the oldest settled ones leave it.
    fn forget_old(&mut self, now: Millis, out: &mut Effects) {
        let settled = |p: &Process| {
            p.exit.as_ref().is_some_and(|e| e.at + KEPT < now)
                && matches!(p.delivery, Delivery::Open | Delivery::Delivered | Delivery::Consumed)
        };
        loop {
            let mut listed = self
                .view
                .processes
                .iter()
                .filter(|p| settled(p) && !self.ledger.has_news_of(&p.id));
            let Some(oldest) = listed.next() else { return };
            if listed.count() < LISTED {
                return;
            }
            let id = oldest.id.clone();
            self.publish(Event::ProcessForgotten { id }, out);
        }
    }
}

/// How a process ended, by what the session knows of it.
fn true_end(process: &Process, reported: End) -> End {
    let end = match reported {
        // Its directory is gone, but it did run: nobody knows how it ended, or whether it has.
        End::FailedStart if process.state == State::Running && process.worker().is_none() => {
            End::Lost
        }
        End::Exited | End::Killed | End::Lost | End::FailedStart => reported,
    };
    match (process.killed_by, end) {
        (Some(_), End::Exited) => End::Killed,
        (Some(_) | None, _) => end,
    }
}

/// The text that the agent reads about the end of a process.
fn end_wakeup(process: &Process, exit: &Exit, output: &str) -> Wakeup {
    match process.work {
        Work::Command => wakeup::exited(&process.id, &process.command, exit, output),
        Work::Delegation { .. } => wakeup::delegated(&process.id, &process.command, exit, output),
    }
}
