//! The state of the interface: events and keys in, effects out. No I/O, no clock, no channel.
//!
//! Invariant: what is shown of a session is the fold of its events; nothing here repeats it.

mod keys;
mod leaving;

use host::protocol::{
    Answer, Ask, Body, Command, Event, Failure, Millis, Process, ProcessId, PromptId, Question,
    QuestionId, Row, SessionRow, Transcript,
};
use ratatui::text::Line;

use crate::card::{Card, Keys};
use crate::composer::Composer;
use crate::confirm::Deletion;
use crate::numbers::count;
use crate::processes::Processes;
use crate::quit::{Leaving, Quit};
use crate::run::Options;
use crate::select::{Entry, Select};
use crate::sessions::{Sessions, find};
use crate::theme::Theme;
use crate::toast::Toasts;
use crate::transcript::{Scene, View};

/// Rows kept in memory; older ones are asked for again when they are scrolled to.
const ROWS: usize = 4_000;

/// Rows asked for at once.
const PAGE: u32 = 200;

/// Work for the loop.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Ask the host.
    Send(Command),
    /// Draw the whole screen anew.
    Repaint,
    /// Leave; what is to become of what runs is said too.
    Quit(Leaving),
}

/// What lies over the transcript and takes all keys.
#[derive(Debug)]
pub(crate) enum Panel {
    Help { up: usize },
    Processes(Processes),
    Sessions(Sessions),
    Models { select: Select, names: Vec<String> },
}

/// A list that was asked for and what it is to be used for.
#[derive(Debug)]
enum Wanted {
    Sessions { filter: String },
    Session(String),
    Models,
}

/// Lines above the input that stay until the next prompt.
#[derive(Debug)]
pub(crate) enum Notice {
    Info(String),
    Error(String),
}

/// The state of the interface.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) transcript: Transcript,
    pub(crate) view: View,
    pub(crate) composer: Composer,
    pub(crate) panel: Option<Panel>,
    pub(crate) leaving: Option<Quit>,
    pub(crate) deletion: Option<Deletion>,
    pub(crate) toasts: Toasts,
    pub(crate) notice: Option<Notice>,
    pub(crate) theme: Theme,
    pub(crate) card: Card,
    pub(crate) completion: usize,
    options: Options,
    now: Millis,
    typed_at: Millis,
    flash: Option<(String, Millis)>,
    quit_at: Option<Millis>,
    sent: Vec<(PromptId, String)>,
    answered: Option<QuestionId>,
    wanted: Option<Wanted>,
    paging: bool,
    attached: bool,
    /// The last Esc or Ctrl+C found nothing to close, interrupt or clear.
    backed_out: bool,
}

impl App {
    pub(crate) fn new(options: Options, now: Millis) -> Self {
        Self {
            transcript: Transcript::default(),
            view: View::default(),
            composer: Composer::default(),
            panel: None,
            leaving: None,
            deletion: None,
            toasts: Toasts::default(),
            notice: (!options.notes.is_empty()).then(|| Notice::Info(options.notes.join("\n"))),
            theme: Theme::new(options.palette),
            card: Card::default(),
            completion: 0,
            options,
            now,
            typed_at: 0,
            flash: None,
            quit_at: None,
            sent: Vec::new(),
            answered: None,
            wanted: None,
            paging: false,
            attached: false,
            backed_out: false,
        }
    }

    pub(crate) fn now(&self) -> Millis {
        self.now
    }

    pub(crate) fn home(&self) -> Option<&str> {
        self.options.home.as_deref()
    }

    /// The line that for a moment takes the place of the status.
    pub(crate) fn flash(&self) -> Option<&str> {
        self.flash.as_ref().map(|(text, _)| text.as_str())
    }

    /// The question in view.
    pub(crate) fn question(&self) -> Option<&Question> {
        self.transcript.questions.first()
    }

    /// Whether the card takes keys.
    pub(crate) fn card_keys(&self) -> Keys {
        if !self.composer.is_empty() {
            Keys::Typing
        } else if self.card.is_armed(self.typed_at, self.now) {
            Keys::Armed
        } else {
            Keys::Quieting
        }
    }

    pub(crate) fn on_event(&mut self, event: &Event, now: Millis) -> Vec<Effect> {
        self.now = now;
        let mut effects = Vec::new();
        if let Event::QuestionResolved { id, answer, .. } = event {
            self.on_resolved(id, answer);
        }
        let before = self.transcript.rows.first().map(|row| row.n);
        let session = self.transcript.session.clone();
        self.transcript.apply(event);
        match event {
            Event::Attached { .. } => {
                if !self.attached || session != self.transcript.session {
                    self.on_session();
                } else {
                    self.view.relay();
                }
                self.attached = true;
                self.paging = false;
                self.forget_taken();
            }
            Event::RowAdded { row } => self.on_row(row),
            Event::PromptQueued { prompt } => self.sent.retain(|(id, _)| *id != prompt.id),
            Event::Paged { .. } => {
                self.paging = false;
                if let Some(first) = before
                    && self.transcript.rows.first().is_some_and(|row| row.n < first)
                {
                    self.view.on_paged(first);
                }
            }
            Event::Toast(toast) => {
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
            Event::ModelsListed { models } => self.on_models(models),
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
            | Event::ModelChanged { .. }
            | Event::TitleChanged { .. }
            | Event::CwdChanged { .. }
            | Event::RowsRemoved { .. }
            | Event::YoloChanged { .. }
            | Event::ReasoningChanged { .. }
            | Event::GoalChanged { .. }
            | Event::AttachmentsChanged { .. }
            | Event::SessionsChanged
            | Event::Link { .. }
            | Event::SessionsFound { .. }
            | Event::WorkspacesListed { .. }
            | Event::ProfilesListed { .. }
            | Event::Exported { .. }
            | Event::StorageChanged { .. } => {}
        }
        self.card.follow(self.transcript.questions.first(), now);
        effects
    }

    fn on_row(&mut self, row: &Row) {
        self.view.on_row(row.n);
        if matches!(row.body, Body::Summary(_)) {
            // What was said while it was being made has come true.
            self.notice.take_if(|notice| matches!(notice, Notice::Info(_)));
        }
        if let Body::User { text } = &row.body
            && let Some(at) = self.sent.iter().position(|(_, sent)| sent == text)
        {
            self.sent.remove(at);
        }
        if self.view.is_following() && self.transcript.rows.len() > 2 * ROWS {
            self.transcript.trim(ROWS);
            self.view.relay();
        }
    }

    /// Prompts that stand in the window were taken, whatever events were missed.
    fn forget_taken(&mut self) {
        let transcript = &self.transcript;
        self.sent.retain(|(id, text)| {
            let queued = transcript.queued.iter().any(|queued| queued.id == *id);
            let stored = transcript
                .rows
                .iter()
                .any(|row| matches!(&row.body, Body::User { text: taken } if taken == text));
            !queued && !stored
        });
    }

    /// Another session came into view.
    fn on_session(&mut self) {
        self.view.reset();
        self.toasts.on_session(&self.transcript.session);
        self.panel = None;
        self.deletion = None;
        if self.attached {
            self.notice = None;
        }
        self.take_draft();
        for row in &self.transcript.rows {
            if let Body::User { text } = &row.body {
                self.composer.remember(text);
            }
        }
    }

    fn on_resolved(&mut self, id: &QuestionId, answer: &Answer) {
        let ours = self.answered.take_if(|answered| answered == id).is_some();
        if ours || self.card.id() != Some(id) {
            return;
        }
        match answer {
            Answer::Approval(_) | Answer::Text(_) => self.say("answered elsewhere", 3_000),
            Answer::Expired => self.say("nobody answered in time", 3_000),
            Answer::Withdrawn => {}
        }
    }

    /// Something about a process has changed, maybe in a session that is not in view.
    fn on_processes_changed(&mut self) -> Option<Effect> {
        let Some(Panel::Processes(panel)) = &mut self.panel else { return None };
        panel.on_change().map(Effect::Send)
    }

    fn on_sessions(&mut self, rows: &[SessionRow]) -> Option<Effect> {
        if let Some(Panel::Processes(panel)) = &mut self.panel {
            panel.on_sessions(rows);
        }
        match self.wanted.take()? {
            Wanted::Session(name) => match find(rows, &name) {
                Some(id) => {
                    let target = host::protocol::Target::Id(id.clone());
                    return Some(Effect::Send(Command::Open(target)));
                }
                None => self.open_sessions(rows, &name),
            },
            Wanted::Sessions { filter } => self.open_sessions(rows, &filter),
            Wanted::Models => self.wanted = Some(Wanted::Models),
        }
        None
    }

    fn open_sessions(&mut self, rows: &[SessionRow], filter: &str) {
        let sessions = Sessions::new(rows, &self.transcript.session, filter, self.now);
        self.panel = Some(Panel::Sessions(sessions));
    }

    fn on_models(&mut self, names: &[String]) {
        if self.wanted.take_if(|wanted| matches!(wanted, Wanted::Models)).is_none() {
            return;
        }
        let current = &self.transcript.model;
        let entry = |name: &String| Entry {
            label: crate::clean::one_line(name),
            detail: if name == current { "in use".to_owned() } else { String::new() },
        };
        let select = Select::new(names.iter().map(entry).collect(), "");
        self.panel = Some(Panel::Models { select, names: names.to_vec() });
    }

    fn on_failed(&mut self, failure: &Failure) {
        self.wanted = None;
        if let Some(Panel::Processes(panel)) = &mut self.panel {
            panel.on_failed();
        }
        let refused =
            self.sent.iter().position(|(id, _)| failure.about.contains(&id.0)).or_else(|| {
                failure.about.starts_with("prompt").then(|| self.sent.len().checked_sub(1))?
            });
        if let Some(at) = refused {
            let (_, text) = self.sent.remove(at);
            if self.composer.is_empty() {
                self.composer.set(&text);
            } else {
                self.composer.remember(&text);
            }
        }
        self.notice = Some(Notice::Error(failure.message.clone()));
    }

    fn say(&mut self, text: &str, millis: Millis) {
        self.flash = Some((text.to_owned(), self.now + millis));
    }

    /// The time came that [`App::next_tick`] named, or later.
    pub(crate) fn on_tick(&mut self, now: Millis) -> Vec<Effect> {
        self.now = now;
        self.toasts.on_tick(now);
        self.flash.take_if(|(_, until)| *until <= now);
        self.quit_at.take_if(|until| *until <= now);
        match self.tailed() {
            Some(id) => vec![Effect::Send(Command::Tail { id })],
            None => Vec::new(),
        }
    }

    /// The live process whose output is in view.
    fn tailed(&self) -> Option<ProcessId> {
        let Some(Panel::Processes(panel)) = &self.panel else { return None };
        let id = panel.tailed()?;
        let listed = panel.listed(&self.transcript.processes);
        let process = listed.iter().find(|process| process.id == *id)?;
        process.is_live().then(|| id.clone())
    }

    /// When something changes by itself; `None` = nothing will.
    pub(crate) fn next_tick(&self) -> Option<Millis> {
        let second = self.now + 1_000 - self.now.rem_euclid(1_000);
        let counts = self.transcript.running.is_some()
            || self.question().is_some_and(|question| question.deadline.is_some())
            || self.tailed().is_some()
            || matches!(&self.panel, Some(Panel::Processes(panel))
                if panel.listed(&self.transcript.processes).iter().any(Process::is_live));
        let arms = self.card.id().map(|_| self.card.arms_at(self.typed_at));
        [
            counts.then_some(second),
            arms.filter(|at| *at > self.now),
            self.toasts.next_tick(),
            self.flash.as_ref().map(|(_, until)| *until),
            self.quit_at,
            self.deletion.as_ref().and_then(|deletion| deletion.next_tick(self.now)),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// A frame was drawn: what follows from its being seen.
    pub(crate) fn on_drawn(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.panel.is_none()
            && self.leaving.is_none()
            && self.deletion.is_none()
            && let Some(id) = self.question().map(|question| question.id.clone())
            && self.card.tell()
        {
            effects.push(Effect::Send(Command::Shown { id }));
        }
        if self.view.is_at_top()
            && self.transcript.earlier > 0
            && !self.paging
            && let Some(row) = self.transcript.rows.first()
        {
            self.paging = true;
            effects.push(Effect::Send(Command::Page { before: row.n, limit: PAGE }));
        }
        effects
    }

    /// What stands above the first row.
    fn head(&self) -> Vec<Line<'static>> {
        let theme = &self.theme;
        if self.transcript.earlier > 0 {
            let text = format!("↑ {}", count(self.transcript.earlier, "earlier row"));
            return vec![Line::styled(text, theme.dim)];
        }
        if !self.transcript.rows.is_empty() || self.transcript.running.is_some() {
            return Vec::new();
        }
        let mut lines = vec![
            Line::default(),
            Line::styled(format!("  hermes-tui {}", self.options.version), theme.bold),
        ];
        let model = crate::clean::one_line(&self.transcript.model);
        if model == "demo" || model.starts_with("demo/") {
            lines.push(Line::styled("  demo model: offline, plays every feature", theme.warn));
            lines.push(Line::styled("  type help to see what it can show", theme.dim));
        } else if !model.is_empty() {
            lines.push(Line::styled(format!("  {model}"), theme.dim));
        }
        lines.push(Line::default());
        for hint in [
            "  /help      keys and commands",
            "  /resume    open an earlier session",
            "  Ctrl+B     background processes",
        ] {
            lines.push(Line::styled(hint, theme.dim));
        }
        lines
    }

    /// Runs `work` on the view with what it needs to see of the rest.
    pub(crate) fn with_view<T>(&mut self, work: impl FnOnce(&mut View, Scene<'_>) -> T) -> T {
        let head = self.head();
        let scene = Scene { transcript: &self.transcript, theme: &self.theme, now: self.now, head };
        work(&mut self.view, scene)
    }

    /// Whether the head of the queue is a clarify question the user can have read.
    fn answers_by_text(&self) -> Option<&Question> {
        let question = self.question()?;
        (matches!(question.ask, Ask::Clarify { .. }) && self.card.is_settled(self.now))
            .then_some(question)
    }
}

#[cfg(test)]
mod tests;
