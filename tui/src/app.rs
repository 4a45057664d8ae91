//! The state of the interface: events and keys in, effects out. No I/O, no clock, no channel.
//!
//! Invariant: what is shown of a session is the fold of its events; nothing here repeats it.

mod commands;
mod events;
mod keys;
mod notices;
mod other_sessions;
pub(crate) mod pending_prompts;
mod quitting;

use protocol::{
    Answer, Ask, Command, Link, Millis, Process, ProcessId, Question, QuestionId, Subject,
    Transcript,
};
use ratatui::text::Line;

use crate::card::{Card, Keys};
use crate::composer::Composer;
use crate::confirm::Confirm;
use crate::inbox::Inbox;
use crate::link;
use crate::numbers::count;
use crate::picker::Picker;
use crate::processes::Processes;
use crate::quit::{Leaving, Quit};
use crate::run::Options;
use crate::sessions::Sessions;
use crate::theme::Theme;
use crate::toast::Toasts;
use crate::transcript::{Scene, View};
pub(crate) use notices::Notice;
use notices::Said;
use other_sessions::Elsewhere;
use pending_prompts::Sent;

/// Rows kept in memory; older ones are asked for again when they are scrolled to.
const ROWS: usize = 4_000;

/// Rows asked for at once.
const PAGE: u32 = 200;

/// Work for the loop.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Ask the host.
    Send(Command),
    /// Hand the host this file: [`App::on_unread`] if it cannot be read.
    Upload {
        /// As it was typed.
        path: String,
    },
    /// Write an export to a file: [`App::on_saved`] says what came of it.
    Save {
        /// Where to, as it was typed; empty = in the working directory.
        path: String,
        /// The name it gets where `path` names none.
        name: String,
        /// The document.
        text: String,
    },
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
    Picker(Picker),
    Inbox(Inbox),
}

/// What is being done to the last prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TakingBack {
    Undo,
    Retry,
}

impl TakingBack {
    /// What a failure of it is about.
    fn subject(self) -> Subject {
        match self {
            Self::Undo => Subject::Undo,
            Self::Retry => Subject::Retry,
        }
    }
}

/// The state of the interface.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) transcript: Transcript,
    pub(crate) view: View,
    pub(crate) composer: Composer,
    pub(crate) panel: Option<Panel>,
    pub(crate) leaving: Option<Quit>,
    pub(crate) confirm: Option<Confirm>,
    pub(crate) toasts: Toasts,
    pub(crate) notice: Option<Said>,
    pub(crate) theme: Theme,
    pub(crate) card: Card,
    pub(crate) completion: usize,
    options: Options,
    now: Millis,
    typed_at: Millis,
    /// When somebody else closed a card, or the last key came that may have been meant for it.
    gone_at: Option<Millis>,
    flash: Option<(String, Millis)>,
    quit_at: Option<Millis>,
    sent: Vec<Sent>,
    /// The last question answered here, and how; an interrupt withdraws it.
    answered: Option<(QuestionId, Answer)>,
    /// The rule that was granted here last, for longer than once.
    granted: Option<String>,
    /// The session that is to be opened, as the user names it.
    wanted: Option<String>,
    pub(crate) link: Link,
    /// Names of the files that the host has not confirmed yet (S05).
    pub(crate) uploading: Vec<String>,
    elsewhere: Elsewhere,
    taking_back: Option<TakingBack>,
    /// The folder that was asked for here.
    moving: Option<String>,
    /// It was said that rows up to this one were taken back, and none has come in their place.
    gone: Option<u64>,
    /// Where an export that was asked for goes, as it was typed; empty = under the host's name.
    export: Option<String>,
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
            confirm: None,
            toasts: Toasts::default(),
            notice: (!options.notes.is_empty())
                .then(|| Said::at_start(options.notes.join("\n"), now)),
            theme: Theme::new(options.palette),
            card: Card::default(),
            completion: 0,
            options,
            now,
            typed_at: 0,
            gone_at: None,
            flash: None,
            quit_at: None,
            sent: Vec::new(),
            answered: None,
            granted: None,
            wanted: None,
            link: Link::Up,
            uploading: Vec::new(),
            elsewhere: Elsewhere::default(),
            taking_back: None,
            moving: None,
            gone: None,
            export: None,
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

    /// How people call the host, if it is not this machine's.
    pub(crate) fn host(&self) -> Option<String> {
        let host = self.options.place.as_deref().map(crate::clean::one_line)?;
        let host = ["https://", "http://"]
            .iter()
            .find_map(|scheme| host.strip_prefix(scheme))
            .unwrap_or(&host);
        let host = Some(host.trim_end_matches('/').to_owned());
        host.filter(|host| !host.is_empty())
    }

    /// The list of sessions, if it is open.
    fn sessions(&self) -> Option<&Sessions> {
        match &self.panel {
            Some(Panel::Sessions(sessions)) => Some(sessions),
            Some(Panel::Help { .. } | Panel::Processes(_) | Panel::Picker(_) | Panel::Inbox(_))
            | None => None,
        }
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

    fn say(&mut self, text: &str, millis: Millis) {
        self.flash = Some((text.to_owned(), self.now + millis));
    }

    /// The time came that [`App::next_tick`] named, or later.
    pub(crate) fn on_tick(&mut self, now: Millis) -> Vec<Effect> {
        self.now = now;
        self.toasts.on_tick(now);
        self.flash.take_if(|(_, until)| *until <= now);
        self.quit_at.take_if(|until| *until <= now);
        let tail = self.tailed().map(|id| Command::Tail { id });
        let search = match &mut self.panel {
            Some(Panel::Sessions(sessions)) => sessions.on_tick(now),
            Some(Panel::Help { .. } | Panel::Processes(_) | Panel::Picker(_) | Panel::Inbox(_))
            | None => None,
        };
        tail.into_iter().chain(search).map(Effect::Send).collect()
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
            self.confirm.as_ref().and_then(|confirm| confirm.next_tick(self.now)),
            link::next_tick(&self.link, self.now),
            self.next_late(),
            self.sessions().and_then(Sessions::next_tick),
            self.next_inbox(),
            self.past_at().filter(|at| *at > self.now),
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
            && self.confirm.is_none()
            && let Some(id) = self.question().map(|question| question.id.clone())
            && self.card.tell()
        {
            effects.push(Effect::Send(Command::Shown { session: None, id }));
        }
        if self.leaving.is_none()
            && self.confirm.is_none()
            && let Some(Panel::Inbox(inbox)) = &mut self.panel
            && let Some((session, id)) = inbox.tell()
        {
            effects.push(Effect::Send(Command::Shown { session: Some(session), id }));
        }
        if self.view.is_at_top() && self.transcript.earlier > 0 && !self.paging {
            // Rows count from 1, so what lies before an empty window has these numbers too.
            let first = self.transcript.rows.first().map(|row| row.n);
            let before = first.unwrap_or(self.transcript.earlier.saturating_add(1));
            self.paging = true;
            effects.push(Effect::Send(Command::Page { before, limit: PAGE }));
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
        if let Some(host) = self.host() {
            lines.push(Line::styled(format!("  on {host}"), theme.dim));
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
        let (head, aside) = (self.head(), self.aside());
        let (transcript, theme) = (&self.transcript, &self.theme);
        let scene = Scene { transcript, theme, now: self.now, head, aside };
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
