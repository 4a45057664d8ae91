//! What the host's events do to the interface, beyond the fold of the transcript.

use protocol::{
    Answer, Ask, Attachment, Body, Choice, Command, Event, Failure, GoalState, Link, News,
    QuestionId, Row, SessionId, SessionRow, Subject, Target,
};

use super::{App, Effect, Notice, Panel, ROWS, TakingBack};
use crate::clean::one_line;
use crate::goal;
use crate::numbers::count;
use crate::picker::Kind;
use crate::sessions::{Sessions, find};
use crate::transcript::wrap::fit;

/// Columns of the name of whoever answered.
const NAME: usize = 30;

/// How long what happened elsewhere is said.
const SAID: i64 = 3_000;

impl App {
    /// Another front end looks at that session. With `hermes_tui.follow` a view that nobody uses
    /// goes along; one that is used only hears of it (S04).
    fn on_switched(&mut self, session: &SessionId, name: &str) -> Option<Effect> {
        if !self.options.follow || *session == self.transcript.session {
            return None;
        }
        let used = self.transcript.running.is_some()
            || !self.transcript.questions.is_empty()
            || !self.composer.is_empty()
            || !self.sent.is_empty()
            || self.panel.is_some()
            || self.leaving.is_some();
        if used {
            let name = fit(&one_line(name), NAME);
            self.say(&format!("{name} was opened elsewhere"), SAID);
            return None;
        }
        Some(Effect::Send(Command::Open(Target::Id(session.clone()))))
    }

    pub(crate) fn on_event(&mut self, event: &Event, now: i64) -> Vec<Effect> {
        self.now = now;
        let mut effects = Vec::new();
        if let Event::QuestionResolved { id, answer, by } = event {
            self.on_resolved(id, answer, by.as_deref());
        }
        let before = self.transcript.rows.first().map(|row| row.n);
        let last = self.last_row();
        let session = self.transcript.session.clone();
        let removed = self.removed_by(event);
        let attachments = self.transcript.attachments.clone();
        self.transcript.apply(event);
        match event {
            Event::Attached { resynced, .. } => {
                if !self.attached || session != self.transcript.session {
                    self.on_session();
                } else {
                    if *resynced {
                        self.on_resynced(last);
                        effects.extend(self.on_lists_changed());
                    }
                    self.view.relay();
                    self.taken_back(&removed);
                }
                self.attached = true;
                self.elsewhere.on_attached();
                self.paging = false;
                // What has become of them meanwhile stands in the window (S05).
                self.uploading.clear();
                self.forget_taken();
            }
            Event::RowAdded { row } => self.on_row(row),
            Event::RowsRemoved { after } => {
                self.view.on_removed(*after, removed.len() as u64);
                self.paging = false;
                self.taken_back(&removed);
            }
            Event::PromptQueued { prompt } => self.sent.retain(|sent| sent.id != prompt.id),
            Event::Paged { .. } => {
                self.paging = false;
                if let Some(first) = before
                    && self.transcript.rows.first().is_some_and(|row| row.n < first)
                {
                    self.view.on_paged(first);
                }
            }
            Event::Toast(toast) => {
                if toast.news == News::Late {
                    // What was said of the answer does not hold.
                    self.flash = None;
                }
                self.toasts.push(toast, &self.transcript.session, now);
                // What changes in other sessions is heard of in no other way.
                effects.extend(self.on_processes_changed());
                effects.extend(self.ask_what_runs());
            }
            Event::ProcessTail { id, text } => {
                if let Some(Panel::Processes(panel)) = &mut self.panel {
                    panel.on_tail(id, text);
                }
            }
            Event::ProcessChanged { process } => {
                if let Some(Panel::Processes(panel)) = &mut self.panel {
                    if panel.tailed() == Some(&process.id) {
                        effects.push(Effect::Send(Command::Tail { id: process.id.clone() }));
                    }
                    effects.extend(panel.on_change().map(Effect::Send));
                }
            }
            Event::ProcessForgotten { .. } => effects.extend(self.on_processes_changed()),
            Event::ProcessesListed { processes } => {
                if let Some(Panel::Processes(panel)) = &mut self.panel {
                    effects.extend(panel.on_listed(processes).map(Effect::Send));
                }
                if let Some(quit) = &mut self.leaving {
                    quit.on_processes(processes);
                }
                effects.extend(self.quit_if_idle());
            }
            Event::SessionsListed { sessions } => {
                effects.extend(self.on_sessions(sessions));
                if let Some(quit) = &mut self.leaving {
                    quit.on_sessions(sessions);
                }
                effects.extend(self.quit_if_idle());
            }
            Event::Switched { session, name } => effects.extend(self.on_switched(session, name)),
            Event::SessionsChanged => effects.extend(self.on_lists_changed()),
            Event::InboxChanged { questions } => self.on_inbox(questions),
            Event::SessionsFound { query, found } => {
                if let Some(Panel::Sessions(panel)) = &mut self.panel {
                    panel.on_found(query, found);
                }
            }
            Event::ModelsListed { models } => {
                let current = self.transcript.model.clone();
                self.pick(Kind::Model, models, &current);
            }
            Event::WorkspacesListed { paths } => {
                let current = self.transcript.cwd.clone();
                self.pick(Kind::Workspace, paths, &current);
            }
            Event::ProfilesListed { names, active } => {
                self.pick(Kind::Profile, names, active);
            }
            Event::Exported { name, text } => {
                effects.extend(self.export.take().map(|path| Effect::Save {
                    path,
                    name: file_name(name),
                    text: text.clone(),
                }));
            }
            Event::AttachmentsChanged { attachments: now } => self.on_uploaded(&attachments, now),
            Event::GoalChanged { goal: Some(goal) } if goal.state == GoalState::Done => {
                self.tell(Notice::Info(goal::status(Some(goal))));
            }
            Event::CwdChanged { cwd } if self.moving.take().is_some() => {
                let cwd = one_line(cwd);
                self.tell(Notice::Info(format!("works in {cwd} from the next turn on")));
            }
            Event::Link { link } => self.on_link(link),
            Event::Failed(failure) => {
                self.on_failed(failure);
                if let Some(quit) = &mut self.leaving {
                    quit.on_failed();
                }
                effects.extend(self.quit_if_idle());
            }
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
            | Event::ToolsetsChanged { .. }
            | Event::ModelChanged { .. }
            | Event::TitleChanged { .. }
            | Event::CwdChanged { .. }
            | Event::YoloChanged { .. }
            | Event::ReasoningChanged { .. }
            | Event::GoalChanged { .. }
            | Event::StorageChanged { .. } => {}
        }
        self.card.follow(self.transcript.questions.first(), now);
        effects
    }

    fn on_row(&mut self, row: &Row) {
        self.view.on_row(row.n);
        if self.gone.take().is_some_and(|last| row.n <= last) {
            // They were not taken back, but told anew.
            self.unsay(|notice| matches!(notice, Notice::Info(_)));
        }
        if matches!(row.body, Body::Summary(_)) {
            // What was said while it was being made has come true.
            self.unsay(|notice| matches!(notice, Notice::Info(_)));
        }
        self.on_taken(row);
        if self.view.is_following() && self.transcript.rows.len() > 2 * ROWS {
            self.transcript.trim(ROWS);
            self.view.relay();
        }
    }

    /// Another session came into view.
    fn on_session(&mut self) {
        self.view.reset();
        self.toasts.on_session(&self.transcript.session);
        if let Some(Panel::Inbox(inbox)) = self.panel.take()
            && let Some(typed) = inbox.typed()
        {
            self.composer.remember(&typed);
        }
        self.confirm = None;
        self.taking_back = None;
        if self.attached {
            self.notice = None;
        } else {
            self.told_at_start();
        }
        self.take_draft();
        for row in &self.transcript.rows {
            if let Body::User { text } = &row.body {
                self.composer.remember(text);
            }
        }
    }

    /// A fresh window took the place of one that had missed something; `last` was the last row.
    fn on_resynced(&mut self, last: u64) {
        let now = self.last_row();
        let new = now.saturating_sub(last);
        self.view.on_resynced(new);
        let what = match new {
            0 if now < last => "rows were taken back".to_owned(),
            // Nothing was missed: that the link is back is said elsewhere.
            0 => return,
            n => count(n, "new row"),
        };
        let text = format!("resynced: {what} while you were away");
        match self.news() {
            // An error is worth more, and this is still to be seen.
            Some(Notice::Error(_)) => self.say(&text, 2 * SAID),
            Some(Notice::Info(_) | Notice::Waiting(_)) | None => {
                self.tell(Notice::Info(text));
            }
        }
    }

    fn on_link(&mut self, link: &Link) {
        let was = std::mem::replace(&mut self.link, link.clone());
        if *link == Link::Up {
            self.unsay(|notice| matches!(notice, Notice::Waiting(_)));
        }
        let was_bad = match was {
            Link::Down { .. }
            | Link::Polling { .. }
            | Link::Refused { .. }
            | Link::Stopped { .. } => true,
            Link::Up | Link::Connecting => false,
        };
        if was_bad && *link == Link::Up {
            self.say("connected again", SAID);
        }
    }

    /// The rows that an event takes back.
    fn removed_by(&self, event: &Event) -> Vec<Row> {
        let after = match event {
            Event::RowsRemoved { after } => *after,
            // A host that cannot say it in a word hands out a shorter window.
            Event::Attached { transcript, .. }
                if self.taking_back.is_some() && transcript.session == self.transcript.session =>
            {
                transcript.rows.last().map_or(transcript.earlier, |row| row.n)
            }
            _ => return Vec::new(),
        };
        self.transcript.rows.iter().filter(|row| row.n > after).cloned().collect()
    }

    /// Rows are gone; if the user wanted that, it is said, and the prompt can be changed.
    fn taken_back(&mut self, removed: &[Row]) {
        if removed.is_empty() {
            return;
        }
        let rows = count(removed.len(), "row");
        let prompt = removed.iter().find_map(|row| match &row.body {
            Body::User { text } => Some(text),
            _ => None,
        });
        let text = match (self.taking_back.take(), prompt) {
            (Some(TakingBack::Undo), Some(prompt)) if self.composer.is_empty() => {
                self.composer.set(prompt);
                format!("{rows} taken back; the prompt is in the input")
            }
            (Some(TakingBack::Undo), Some(prompt)) => {
                self.composer.remember(prompt);
                format!("{rows} taken back; Up in an empty input brings the prompt")
            }
            (Some(TakingBack::Undo), None) => format!("{rows} taken back"),
            (Some(TakingBack::Retry), _) => {
                format!("{rows} taken back; the prompt runs again")
            }
            // The rows of a turn that runs are told anew; nobody takes them back.
            (None, _) if self.transcript.running.is_some() => return,
            (None, _) => {
                self.gone = removed.last().map(|row| row.n);
                let were = if removed.len() == 1 { "was" } else { "were" };
                format!("{rows} {were} taken back elsewhere")
            }
        };
        self.tell(Notice::Info(text));
    }

    fn on_resolved(&mut self, id: &QuestionId, answer: &Answer, by: Option<&str>) {
        let sent = self.answered.take_if(|(answered, _)| answered == id);
        // Somebody else may have been first, and with another answer: that is the one that counts.
        let ours = sent.is_some_and(|(_, sent)| by.is_none() || sent == *answer);
        let asked = self.transcript.questions.iter().find(|question| question.id == *id);
        let granted = match asked.map(|question| &question.ask) {
            Some(Ask::Approval { rule, .. }) => {
                self.granted.as_ref() == Some(rule) && *answer == Answer::Approval(Choice::Session)
            }
            Some(Ask::Clarify { .. }) | None => false,
        };
        if ours || granted || self.card.id() != Some(id) {
            return;
        }
        self.gone_at = Some(self.now);
        match answer {
            Answer::Approval(_) | Answer::Text(_) => {
                let by = by.map(one_line).filter(|by| !by.is_empty());
                let text = match by {
                    Some(by) => format!("answered by {}", fit(&by, NAME)),
                    None => "answered elsewhere".to_owned(),
                };
                self.say(&text, SAID);
            }
            Answer::Expired => self.say("nobody answered in time", SAID),
            Answer::Withdrawn => {}
        }
    }

    /// What goes along with the next prompt has changed: what is new was uploaded.
    fn on_uploaded(&mut self, before: &[Attachment], now: &[Attachment]) {
        for new in now.iter().filter(|attachment| !before.contains(attachment)) {
            let same = self.uploading.iter().position(|name| *name == new.name);
            // A host may give it another name: the oldest one is meant then.
            if !self.uploading.is_empty() {
                self.uploading.remove(same.unwrap_or(0));
            }
        }
        // The same file once more changes nothing that could be seen.
        self.uploading.retain(|name| !before.iter().chain(now).any(|known| known.name == *name));
    }

    /// Something about a process has changed, maybe in a session that is not in view.
    fn on_processes_changed(&mut self) -> Option<Effect> {
        let Some(Panel::Processes(panel)) = &mut self.panel else { return None };
        panel.on_change().map(Effect::Send)
    }

    /// Something that an open list shows has changed, maybe by another front end (S04).
    fn on_lists_changed(&mut self) -> Option<Effect> {
        let asks = match &mut self.panel {
            Some(Panel::Sessions(panel)) => panel.on_change(),
            Some(Panel::Processes(panel)) => panel.on_sessions_changed(),
            Some(Panel::Help { .. } | Panel::Picker(_) | Panel::Inbox(_)) | None => None,
        };
        asks.map(Effect::Send)
    }

    fn on_sessions(&mut self, rows: &[SessionRow]) -> Option<Effect> {
        match &mut self.panel {
            Some(Panel::Processes(panel)) => panel.on_sessions(rows),
            Some(Panel::Sessions(panel)) => {
                return panel.on_listed(rows, self.now).map(Effect::Send);
            }
            Some(Panel::Help { .. } | Panel::Picker(_) | Panel::Inbox(_)) | None => {}
        }
        let name = self.wanted.take()?;
        if let Some(id) = find(rows, &name) {
            return Some(Effect::Send(Command::Open(Target::Id(id.clone()))));
        }
        let sessions = Sessions::new(rows, &self.transcript.session, &name, self.now);
        self.panel = Some(Panel::Sessions(sessions));
        None
    }

    /// Fills the picker that waits for these values, if it is still open.
    fn pick(&mut self, kind: Kind, values: &[String], current: &str) {
        if let Some(Panel::Picker(picker)) = &mut self.panel
            && picker.asks_for() == Some(kind)
        {
            picker.fill(values, current);
        }
    }

    fn on_failed(&mut self, failure: &Failure) {
        let about = &failure.about;
        // Only what this failure answers is given up; what else was asked for may still come.
        self.wanted.take_if(|_| about.may_be(&Subject::Sessions));
        if about.may_be(&Subject::Answer) {
            self.elsewhere.on_failed();
        }
        self.taking_back.take_if(|taking_back| about.may_be(&taking_back.subject()));
        self.moving.take_if(|_| about.may_be(&Subject::Cwd));
        self.export.take_if(|_| about.may_be(&Subject::Export));
        match &mut self.panel {
            Some(Panel::Processes(panel)) => {
                if panel.on_failed(failure) {
                    // The panel says it where the list would be.
                    return;
                }
            }
            Some(Panel::Sessions(panel)) => panel.on_failed(&failure.about),
            Some(Panel::Help { .. } | Panel::Picker(_) | Panel::Inbox(_)) | None => {}
        }
        // What was to be listed will not come.
        self.panel.take_if(|panel| match panel {
            Panel::Sessions(panel) => panel.is_asking() && about.may_be(&Subject::Sessions),
            Panel::Picker(panel) => {
                panel.asks_for().is_some_and(|kind| about.may_be(&kind.subject()))
            }
            Panel::Help { .. } | Panel::Processes(_) | Panel::Inbox(_) => false,
        });
        // A host that knows no uploads says so of the command.
        if about.may_be(&Subject::Upload) && !self.uploading.is_empty() {
            let named = self.uploading.iter().position(|name| failure.message.contains(name));
            self.uploading.remove(named.unwrap_or(0));
        }
        let refused = match about {
            Subject::NamedPrompt(id) => self.sent.iter().position(|sent| sent.id == *id),
            Subject::Prompt => self.sent.len().checked_sub(1),
            _ => None,
        };
        if let Some(at) = refused {
            let text = self.sent.remove(at).text;
            if self.composer.is_empty() {
                self.composer.set(&text);
            } else {
                self.composer.remember(&text);
            }
        }
        let message = failure.message.clone();
        // A session that was deleted under the view is no failure of anything that was asked.
        let is_news = *about == Subject::Session;
        self.tell(if is_news { Notice::Info(message) } else { Notice::Error(message) });
    }
}

/// A name for a file, made of one that a host gives: no folder, nothing hidden, nothing odd.
fn file_name(name: &str) -> String {
    let name = one_line(name);
    let name: String =
        name.chars().map(|c| if matches!(c, '/' | '\\' | ':') { '-' } else { c }).collect();
    let name = name.trim_start_matches(['.', '-', ' ']);
    let name = crate::clean::head(name, 120);
    if name.is_empty() { "session.md".to_owned() } else { name.to_owned() }
}
