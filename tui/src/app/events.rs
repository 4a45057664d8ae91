//! The host's events: the fold into the transcript, and what the other parts make of them.

use protocol::{
    Body, Command, Event, Failure, GoalState, Millis, News, Row, SessionId, Subject, Target, Toast,
};

use super::pending::Rewind;
use super::{App, Effect, Notice, Panel, ROWS, last_row};
use crate::clean::one_line;
use crate::goal;
use crate::numbers::count;
use crate::picker::PickerKind;
use crate::wrap::fit;

/// Columns of the name of a session.
const NAME_WIDTH: usize = 30;

/// How long an event elsewhere is shown.
const ELSEWHERE: Millis = 3_000;

/// What an event is compared with once it is folded into the transcript.
pub(super) struct Before {
    pub(super) first_row: Option<u64>,
    pub(super) last_row: u64,
    /// The event is the window of another session.
    pub(super) is_other_session: bool,
    /// The rows that the event removes.
    pub(super) removed: Vec<Row>,
}

impl App {
    pub(crate) fn on_event(&mut self, event: &Event, now: Millis) -> Vec<Effect> {
        self.now = now;
        let before = self.before(event);
        self.transcript.apply(event);
        let effects = self.after(event, &before);
        self.questions.card.follow(self.transcript.questions.first(), now);
        effects
    }

    /// Handles what needs the transcript as it is before the event. Runs at every delta: it copies
    /// nothing but rows that are removed.
    pub(super) fn before(&mut self, event: &Event) -> Before {
        match event {
            Event::QuestionResolved { id, answer, by } => {
                self.on_resolved(id, answer, by.as_deref());
            }
            Event::AttachmentsChanged { attachments } => {
                self.pending.uploads.on_attachments(&self.transcript.attachments, attachments);
            }
            _ => {}
        }
        Before {
            first_row: self.transcript.rows.first().map(|row| row.n),
            last_row: last_row(&self.transcript),
            is_other_session: matches!(event, Event::Attached { transcript, .. }
                if transcript.session != self.transcript.session),
            removed: self.removed_by(event),
        }
    }

    /// Handles an event once it is folded into the transcript.
    fn after(&mut self, event: &Event, before: &Before) -> Vec<Effect> {
        match event {
            Event::Attached { resynced, .. } => return self.on_attached(*resynced, before),
            Event::Toast(toast) => return self.on_toast(toast),
            Event::ProcessChanged { process } => return self.overlays.on_process_changed(process),
            Event::ProcessesListed { processes } => return self.on_processes_listed(processes),
            Event::SessionsListed { sessions } => return self.on_sessions_listed(sessions),
            Event::Exported { name, text } => return self.on_exported(name, text),
            Event::Failed(failure) => return self.on_failed(failure),
            Event::Switched { session, name } => return self.on_switched(session, name),
            Event::ProcessForgotten { .. } => return one(self.overlays.on_processes_changed()),
            Event::SessionsChanged => return one(self.overlays.on_lists_changed()),
            Event::RowAdded { row } => self.on_row(row),
            Event::RowsRemoved { after } => self.on_rows_removed(*after, &before.removed),
            Event::PromptQueued { prompt } => self.pending.prompts.on_queued(&prompt.id),
            Event::Paged { .. } => self.on_paged(before.first_row),
            Event::ProcessTail { id, text } => self.overlays.on_tail(id, text),
            Event::InboxChanged { questions } => self.on_inbox_changed(questions),
            Event::SessionsFound { query, found } => self.overlays.on_found(query, found),
            Event::ModelsListed { models } => {
                self.overlays.fill_picker(PickerKind::Model, models, &self.transcript.model);
            }
            Event::WorkspacesListed { paths } => {
                self.overlays.fill_picker(PickerKind::Workspace, paths, &self.transcript.cwd);
            }
            Event::ProfilesListed { names, active } => {
                self.overlays.fill_picker(PickerKind::Profile, names, active);
            }
            Event::GoalChanged { goal: Some(goal) } if goal.state == GoalState::Done => {
                self.notify(Notice::Info(goal::describe(Some(goal))));
            }
            Event::CwdChanged { cwd } => self.on_cwd(cwd),
            Event::Link { link } => self.on_link(link),
            Event::TurnStarted { .. }
            | Event::Delta { .. }
            | Event::TurnStatus { .. }
            | Event::CallStarted { .. }
            | Event::CallOutput { .. }
            | Event::TurnCancelling { .. }
            | Event::TurnEnded { .. }
            | Event::PromptUnqueued { .. }
            | Event::Unattended { .. }
            | Event::Steered { .. }
            | Event::QuestionAsked { .. }
            | Event::QuestionResolved { .. }
            | Event::Held { .. }
            | Event::UsageReported { .. }
            | Event::TokensCounted { .. }
            | Event::AsideSaid { .. }
            | Event::AsideEnded { .. }
            | Event::AttachmentsChanged { .. }
            | Event::ToolsetsChanged { .. }
            | Event::ModelChanged { .. }
            | Event::TitleChanged { .. }
            | Event::YoloChanged { .. }
            | Event::ReasoningChanged { .. }
            | Event::GoalChanged { .. }
            | Event::StorageChanged { .. } => {}
        }
        Vec::new()
    }

    /// A fresh window came: of another session, or of the same one.
    fn on_attached(&mut self, resynced: bool, before: &Before) -> Vec<Effect> {
        let mut effects = Vec::new();
        if !self.has_window || before.is_other_session {
            self.on_session();
        } else {
            if resynced {
                self.on_resynced(before.last_row);
                effects.extend(self.overlays.on_lists_changed());
            }
            self.view.invalidate();
            self.report_removed(&before.removed);
        }
        self.has_window = true;
        self.questions.others.on_attached();
        self.pending.on_window(&self.transcript);
        effects
    }

    /// Another session came to the screen.
    fn on_session(&mut self) {
        self.view.reset();
        self.feedback.toasts.on_session(&self.transcript.session);
        if let Some(Panel::Inbox(inbox)) = self.overlays.panel.take()
            && let Some(typed) = inbox.typed()
        {
            self.input.composer.remember(&typed);
        }
        self.overlays.confirm = None;
        self.pending.rewind = None;
        if self.has_window {
            self.feedback.take_notice();
        } else {
            self.feedback.on_first_window(&self.transcript);
        }
        self.restore_draft();
        for row in &self.transcript.rows {
            if let Body::User { text } = &row.body {
                self.input.composer.remember(text);
            }
        }
    }

    fn on_row(&mut self, row: &Row) {
        self.view.on_row(row.n);
        self.feedback.on_row(row);
        self.pending.prompts.on_row(row, &self.transcript.session);
        if self.view.is_following() && self.transcript.rows.len() > 2 * ROWS {
            self.transcript.trim(ROWS);
            self.view.invalidate();
        }
    }

    fn on_paged(&mut self, first_before: Option<u64>) {
        self.pending.page = false;
        if let Some(first) = first_before
            && self.transcript.rows.first().is_some_and(|row| row.n < first)
        {
            self.view.on_paged(first);
        }
    }

    fn on_rows_removed(&mut self, after: u64, removed: &[Row]) {
        self.view.on_removed(after, removed.len() as u64);
        self.pending.page = false;
        self.report_removed(removed);
    }

    /// The rows that an event removes.
    fn removed_by(&self, event: &Event) -> Vec<Row> {
        let after = match event {
            Event::RowsRemoved { after } => *after,
            // A host without that event sends a shorter window.
            Event::Attached { transcript, .. }
                if self.pending.rewind.is_some()
                    && transcript.session == self.transcript.session =>
            {
                last_row(transcript)
            }
            _ => return Vec::new(),
        };
        self.transcript.rows.iter().filter(|row| row.n > after).cloned().collect()
    }

    /// Reports that rows were removed. An undo returns their prompt to the input.
    fn report_removed(&mut self, removed: &[Row]) {
        if removed.is_empty() {
            return;
        }
        let rows = count(removed.len(), "row");
        let prompt = removed.iter().find_map(|row| match &row.body {
            Body::User { text } => Some(text),
            _ => None,
        });
        let text = match (self.pending.rewind.take(), prompt) {
            (Some(Rewind::Undo), Some(prompt)) => {
                let is_empty = self.input.composer.is_empty();
                self.input.put_back(prompt);
                if is_empty {
                    format!("removed {rows}; the prompt is back in the input")
                } else {
                    format!("removed {rows}; Up in an empty input recalls the prompt")
                }
            }
            (Some(Rewind::Undo), None) => format!("removed {rows}"),
            (Some(Rewind::Retry), _) => format!("removed {rows}; running the prompt again"),
            // The rows of a running turn are sent anew; they are not removed for good.
            (None, _) if self.transcript.running.is_some() => return,
            (None, _) => {
                self.feedback.removed_elsewhere = removed.last().map(|row| row.n);
                let were = if removed.len() == 1 { "was" } else { "were" };
                format!("{rows} {were} removed in another client")
            }
        };
        self.notify(Notice::Info(text));
    }

    fn on_toast(&mut self, toast: &Toast) -> Vec<Effect> {
        if toast.news == News::Late {
            // The flash says that the answer was given.
            self.feedback.clear_flash();
        }
        self.feedback.toasts.push(toast, &self.transcript.session, self.now);
        // Changes in other sessions are reported in no other way.
        let refresh = self.overlays.on_processes_changed();
        refresh.into_iter().chain(self.request_running_work()).collect()
    }

    /// Another client opened that session. With `hermes_tui.follow` an idle interface follows it;
    /// one that is in use only reports it (S04).
    fn on_switched(&mut self, session: &SessionId, name: &str) -> Vec<Effect> {
        if !self.options.follow || *session == self.transcript.session {
            return Vec::new();
        }
        let is_used = self.transcript.running.is_some()
            || !self.transcript.questions.is_empty()
            || !self.input.composer.is_empty()
            || !self.pending.prompts.is_empty()
            || self.overlays.panel.is_some()
            || self.overlays.quit.is_some();
        if is_used {
            let name = fit(&one_line(name), NAME_WIDTH);
            self.flash(&format!("{name} was opened in another client"), ELSEWHERE);
            return Vec::new();
        }
        vec![Effect::Send(Command::Open(Target::Id(session.clone())))]
    }

    fn on_cwd(&mut self, cwd: &str) {
        if std::mem::take(&mut self.pending.workspace) {
            let text = format!("working directory from the next turn on: {}", one_line(cwd));
            self.notify(Notice::Info(text));
        }
    }

    /// The host refused something.
    fn on_failed(&mut self, failure: &Failure) -> Vec<Effect> {
        self.pending.on_failed(&failure.about);
        if failure.about.may_be(&Subject::Answer) {
            self.questions.others.on_failed();
        }
        if !self.overlays.on_failed(failure) {
            self.report_failure(failure);
        }
        if let Some(quit) = &mut self.overlays.quit {
            quit.on_failed();
        }
        one(self.quit_if_idle())
    }

    fn report_failure(&mut self, failure: &Failure) {
        self.pending.uploads.on_failed(failure);
        if let Some(text) = self.pending.prompts.take_refused(&failure.about) {
            self.input.put_back(&text);
        }
        let message = failure.message.clone();
        // That the session on the screen was deleted is no failure of a request.
        let is_news = failure.about == Subject::Session;
        self.notify(if is_news { Notice::Info(message) } else { Notice::Error(message) });
    }
}

fn one(effect: Option<Effect>) -> Vec<Effect> {
    effect.into_iter().collect()
}
