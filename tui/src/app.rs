//! The state of the interface: events and keys in, effects out. No I/O, no clock, no channel.
//!
//! Invariant: the session on the screen is the fold of its events ([`Transcript`]); nothing here
//! repeats it. Everything else belongs to one part: [`Input`], [`Overlays`], [`Questions`],
//! [`Pending`] or [`Feedback`].

mod banner;
mod commands;
mod drafts;
mod events;
mod feedback;
mod input;
mod keys;
mod notices;
mod other_sessions;
mod overlays;
mod pending;
mod pending_prompts;
mod questions;
mod quitting;

use protocol::{Command, Link, Millis, Process, Question, Transcript};

use crate::arming::Readiness;
use crate::link;
use crate::options::Options;
use crate::quit::ExitMode;
use crate::theme::Theme;
use crate::transcript::{Move, TranscriptContext, TranscriptView};
use feedback::Feedback;
use input::Input;
pub(crate) use notices::Notice;
use overlays::Overlays;
pub(crate) use overlays::Panel;
use pending::Pending;
pub(crate) use pending_prompts::Delay;
use questions::Questions;

/// Rows kept in memory; older ones are requested again when they are scrolled to.
const ROWS: usize = 4_000;

/// Rows per page that is requested.
const PAGE: u32 = 200;

/// Work for the event loop.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Send this command to the host.
    Send(Command),
    /// Upload this file to the host; [`App::on_unread`] reports that it cannot be read.
    Upload {
        /// As it was typed.
        path: String,
    },
    /// Write an export to a file; [`App::on_saved`] receives the result.
    Save {
        /// The target as it was typed; empty = the working directory.
        path: String,
        /// The file name where `path` names none.
        name: String,
        /// The document.
        text: String,
    },
    /// Redraw the whole screen.
    Repaint,
    /// Leave the interface, in this way.
    Quit(ExitMode),
}

/// The state of the interface.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) transcript: Transcript,
    pub(crate) view: TranscriptView,
    pub(crate) link: Link,
    pub(crate) input: Input,
    pub(crate) overlays: Overlays,
    pub(crate) questions: Questions,
    pub(crate) pending: Pending,
    pub(crate) feedback: Feedback,
    pub(crate) theme: Theme,
    options: Options,
    now: Millis,
    /// Whether a first window has been received.
    has_window: bool,
}

impl App {
    pub(crate) fn new(mut options: Options, now: Millis) -> Self {
        let notes = std::mem::take(&mut options.notes);
        let drafts = std::mem::take(&mut options.drafts);
        Self {
            transcript: Transcript::default(),
            view: TranscriptView::default(),
            link: Link::Up,
            input: Input::new(drafts),
            overlays: Overlays::default(),
            questions: Questions::default(),
            pending: Pending::default(),
            feedback: Feedback::new(&notes, now),
            theme: Theme::new(options.palette),
            options,
            now,
            has_window: false,
        }
    }

    pub(crate) fn now(&self) -> Millis {
        self.now
    }

    pub(crate) fn home(&self) -> Option<&str> {
        self.options.home.as_deref()
    }

    /// The name of the host for people, if it is not this machine's own.
    pub(crate) fn host_name(&self) -> Option<String> {
        let name = self.options.host_name.as_deref().map(crate::clean::one_line)?;
        let name = ["https://", "http://"]
            .iter()
            .find_map(|scheme| name.strip_prefix(scheme))
            .unwrap_or(&name);
        let name = Some(name.trim_end_matches('/').to_owned());
        name.filter(|name| !name.is_empty())
    }

    /// The first pending question of the session on the screen.
    pub(crate) fn question(&self) -> Option<&Question> {
        self.transcript.questions.first()
    }

    /// Whether the card takes keys.
    pub(crate) fn card_readiness(&self) -> Readiness {
        if !self.input.composer.is_empty() {
            Readiness::Typing
        } else if self.questions.card.is_armed(self.input.typed_at, self.now) {
            Readiness::Armed
        } else {
            Readiness::Quieting
        }
    }

    /// Shows a notice until the next prompt.
    pub(crate) fn notify(&mut self, notice: Notice) {
        self.feedback.post(notice, self.now, last_row(&self.transcript));
    }

    /// The notice below the transcript.
    pub(crate) fn current_notice(&self) -> Option<&Notice> {
        self.feedback.current_notice(&self.transcript, self.now)
    }

    /// Shows a text in the status line for so long.
    fn flash(&mut self, text: &str, millis: Millis) {
        self.feedback.flash(text, self.now + millis);
    }

    /// Handles the passing of time: the moment [`App::next_tick`] named, or a later one.
    pub(crate) fn on_tick(&mut self, now: Millis) -> Vec<Effect> {
        self.now = now;
        self.feedback.on_tick(now);
        self.input.on_tick(now);
        let tail = self.overlays.tailed(&self.transcript).map(|id| Command::Tail { id });
        let search = self.overlays.sessions().and_then(|sessions| sessions.on_tick(now));
        tail.into_iter().chain(search).map(Effect::Send).collect()
    }

    /// When something on the screen changes by itself; `None` = nothing will.
    pub(crate) fn next_tick(&self) -> Option<Millis> {
        let second = self.now + 1_000 - self.now.rem_euclid(1_000);
        let after_now = |at: &Millis| *at > self.now;
        [
            self.shows_a_clock().then_some(second),
            self.questions.card_arms_at(self.input.typed_at).filter(after_now),
            self.feedback.next_tick(),
            self.feedback.notice_moves_at(&self.transcript).filter(after_now),
            self.input.next_tick(),
            self.overlays.next_tick(&self.questions.others, self.now),
            link::next_tick(&self.link, self.now),
            self.pending.prompts.next_overdue(self.now),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether seconds count on the screen.
    fn shows_a_clock(&self) -> bool {
        self.transcript.running.is_some()
            || self.question().is_some_and(|question| question.deadline.is_some())
            || self.overlays.tailed(&self.transcript).is_some()
            || matches!(&self.overlays.panel, Some(Panel::Processes(panel))
                if panel.listed(&self.transcript.processes).iter().any(Process::is_live))
    }

    /// Handles that a frame was drawn: reports questions as shown and requests earlier rows.
    pub(crate) fn on_drawn(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.overlays.is_closed()
            && let Some(question) = self.transcript.questions.first()
            && self.questions.card.mark_shown()
        {
            let id = question.id.clone();
            effects.push(Effect::Send(Command::Shown { session: None, id }));
        }
        if let Some((session, id)) = self.overlays.question_shown() {
            effects.push(Effect::Send(Command::Shown { session: Some(session), id }));
        }
        if self.view.is_at_top() && self.transcript.earlier > 0 && !self.pending.page {
            // Rows count from 1, so what lies before an empty window has these numbers too.
            let first = self.transcript.rows.first().map(|row| row.n);
            let before = first.unwrap_or(self.transcript.earlier.saturating_add(1));
            self.pending.page = true;
            effects.push(Effect::Send(Command::Page { before, limit: PAGE }));
        }
        effects
    }

    /// Lays the transcript out for this size.
    pub(crate) fn arrange(&mut self, width: usize, height: usize) {
        let (head, notice) = (self.banner(), self.inline_notice());
        let (transcript, theme) = (&self.transcript, &self.theme);
        let cx = TranscriptContext { transcript, theme, now: self.now, head, notice };
        self.view.arrange(cx, width, height);
    }

    /// Scrolls the transcript.
    fn scroll(&mut self, to: Move) -> Vec<Effect> {
        if matches!(to, Move::Top | Move::Pages(..=-1)) {
            // A page that was requested in vain may be requested again.
            self.pending.page = false;
        }
        let (head, notice) = (self.banner(), self.inline_notice());
        let (transcript, theme) = (&self.transcript, &self.theme);
        let cx = TranscriptContext { transcript, theme, now: self.now, head, notice };
        self.view.scroll(to, &cx);
        Vec::new()
    }
}

/// The number of the last row of a transcript.
fn last_row(transcript: &Transcript) -> u64 {
    transcript.rows.last().map_or(transcript.earlier, |row| row.n)
}

#[cfg(test)]
mod tests;
