//! What a user sets for a session: whether it asks, where it works, how hard it thinks, its place
//! in lists.

use super::{Effect, Out, Session, Stored};
use crate::model::EFFORTS;
use crate::store::Record;
use crate::toolset;
use protocol::Subject;
use protocol::{Answer, Ask, Choice, Event, Failure, Millis, QuestionId};

impl Session {
    /// Puts it on top of lists, or takes it from there. Not activity: it keeps its place by time.
    pub(super) fn pin(&mut self, pinned: bool, out: &mut Out) {
        self.meta.pinned = pinned;
        self.store_meta(out);
        out.effects.push(Effect::Announce(Event::SessionsChanged));
    }

    /// Switches approvals off or on, for this session and this run of the host. What is being
    /// asked is approved, once; hard blocks are never asked about.
    pub(super) fn choose_yolo(
        &mut self,
        yolo: bool,
        by: Option<String>,
        now: Millis,
        out: &mut Out,
    ) {
        if self.view.yolo != yolo {
            self.publish(Event::YoloChanged { yolo }, out);
        }
        if !yolo {
            return;
        }
        let asks = |ask: &Ask| matches!(ask, Ask::Approval { .. });
        let open = self.view.questions.iter().filter(|q| asks(&q.ask));
        for id in open.map(|q| q.id.clone()).collect::<Vec<QuestionId>>() {
            self.resolve(&id, &Answer::Approval(Choice::Once), by.clone(), now, out);
        }
    }

    /// It works elsewhere from now on. A running turn stays where it is, and does not move the
    /// session back at its next command.
    pub(super) fn set_cwd(&mut self, cwd: String, out: &mut Out) {
        if self.meta.cwd == cwd {
            return;
        }
        if let Some(turn) = &mut self.turn {
            turn.moved = true;
        }
        if self.stored == Stored::Yes {
            self.meta.notes.push(format!("[The user changed the working directory to {cwd}.]"));
        }
        self.meta.cwd.clone_from(&cwd);
        self.store_meta(out);
        self.publish(Event::CwdChanged { cwd }, out);
    }

    /// How hard its model thinks from the next turn on; `None` = as configured.
    pub(super) fn set_reasoning(&mut self, effort: Option<String>, out: &mut Out) {
        let effort = effort.map(|word| word.trim().to_lowercase()).filter(|w| !w.is_empty());
        if let Some(word) = effort.as_ref().filter(|word| !EFFORTS.contains(&word.as_str())) {
            let message = format!("there is no effort `{word}`; choose {}", EFFORTS.join(", "));
            let about = Subject::Reasoning;
            return self.publish(Event::Failed(Failure { about, message }), out);
        }
        self.meta.reasoning.clone_from(&effort);
        self.store_meta(out);
        self.publish(Event::ReasoningChanged { effort }, out);
    }

    /// Which tools its turns have from the next one on; `None` = all.
    pub(super) fn set_toolsets(&mut self, toolsets: Option<Vec<String>>, out: &mut Out) {
        if let Err(message) = toolsets.as_deref().map_or(Ok(()), toolset::check) {
            let about = Subject::Toolsets;
            return self.publish(Event::Failed(Failure { about, message }), out);
        }
        self.meta.toolsets.clone_from(&toolsets);
        self.store_meta(out);
        self.publish(Event::ToolsetsChanged { toolsets }, out);
    }

    /// Stores the metadata as it is now; not activity.
    pub(super) fn store_meta(&self, out: &mut Out) {
        if self.stored == Stored::Yes {
            out.record(Record::Session(self.meta.clone()));
        }
    }
}
