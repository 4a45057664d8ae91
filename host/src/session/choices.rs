//! Settings of a session that the user chooses: approvals, working directory, model, how hard it
//! thinks, title, its place in lists.

use super::{Effect, Effects, Session, Stored};
use crate::model::EFFORTS;
use crate::store::Record;
use crate::toolset;
use protocol::Subject;
use protocol::{Answer, Ask, Choice, Event, Failure, Millis, QuestionId};

/// Characters of a title that are kept.
const TITLE: usize = 200;

impl Session {
    /// Puts it on top of lists, or takes it from there. Not activity: it keeps its place by time.
    pub(super) fn pin(&mut self, pinned: bool, out: &mut Effects) {
        self.meta.pinned = pinned;
        self.store_meta(out);
        out.push(Effect::Announce(Event::SessionsChanged));
    }

    /// Switches approvals off or on, for this session and this run of the host. Pending ones
    /// are approved, once; hard blocks are never asked about.
    pub(super) fn choose_yolo(
        &mut self,
        yolo: bool,
        by: Option<String>,
        now: Millis,
        out: &mut Effects,
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

    /// Changes the working directory. A running turn stays where it is, and does not move the
    /// session back at its next command.
    pub(super) fn set_cwd(&mut self, cwd: String, out: &mut Effects) {
        if self.meta.cwd == cwd {
            return;
        }
        if let Some(turn) = &mut self.turn {
            turn.user_moved = true;
        }
        if self.stored == Stored::Yes {
            self.meta.notes.push(format!("[The user changed the working directory to {cwd}.]"));
        }
        self.meta.cwd.clone_from(&cwd);
        self.store_meta(out);
        self.publish(Event::CwdChanged { cwd }, out);
    }

    /// How hard its model thinks from the next turn on; `None` = as configured.
    pub(super) fn set_reasoning(&mut self, effort: Option<String>, out: &mut Effects) {
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
    pub(super) fn set_toolsets(&mut self, toolsets: Option<Vec<String>>, out: &mut Effects) {
        if let Err(message) = toolsets.as_deref().map_or(Ok(()), toolset::check) {
            let about = Subject::Toolsets;
            return self.publish(Event::Failed(Failure { about, message }), out);
        }
        self.meta.toolsets.clone_from(&toolsets);
        self.store_meta(out);
        self.publish(Event::ToolsetsChanged { toolsets }, out);
    }

    pub(super) fn archive(&mut self, archived: bool, now: Millis, out: &mut Effects) {
        self.meta.archived = archived;
        self.touch(now, out);
        out.push(Effect::Announce(Event::SessionsChanged));
    }

    pub(super) fn set_model(
        &mut self,
        model: String,
        context: Option<u64>,
        fingerprint: String,
        now: Millis,
        out: &mut Effects,
    ) {
        self.set_fingerprint(fingerprint, out);
        self.meta.model.clone_from(&model);
        self.touch(now, out);
        self.publish(Event::ModelChanged { model, context }, out);
    }

    pub(super) fn set_title(&mut self, title: &str, now: Millis, out: &mut Effects) {
        let title: String = title.chars().take(TITLE).collect();
        self.meta.title = Some(title.clone()).filter(|title| !title.is_empty());
        self.touch(now, out);
        self.publish(Event::TitleChanged { title }, out);
    }

    /// Stores the metadata as it is now; not activity.
    pub(super) fn store_meta(&self, out: &mut Effects) {
        if self.stored == Stored::Yes {
            out.record(Record::Session(self.meta.clone()));
        }
    }
}
