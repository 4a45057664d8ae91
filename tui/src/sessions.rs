//! The list of sessions: what is where, what needs the user, and finding one by its name or by
//! what was said in it.

use protocol::{Attention, Command, Found, Millis, SessionId, SessionRow, Subject};
use ratatui::text::Line;

use crate::clean::{head, is_hidden, one_line};
use crate::composer::Composer;
use crate::keymap::Action;
use crate::numbers::count;
use crate::refresh::Refresh;
use crate::select::{self, Entry, Listed, Select};
use crate::theme::Theme;
use crate::time::{ago, between};
use crate::transcript::wrap::{columns, fit};

/// Characters from which on messages are searched too.
const WORTH_SEARCHING: usize = 3;

/// How long the keyboard must be quiet before they are.
const PAUSE: Millis = 400;

/// Bytes of an excerpt that are looked at.
const EXCERPT: usize = 1_000;

/// The panel.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    select: Select,
    rows: Vec<SessionRow>,
    /// The sessions behind the entries.
    ids: Vec<SessionId>,
    current: SessionId,
    now: Millis,
    archived: Archived,
    refresh: Refresh,
    search: Search,
    typed_at: Millis,
    renames: Option<Renames>,
}

/// A title that is being written.
#[derive(Debug)]
struct Renames {
    id: SessionId,
    title: Composer,
    /// What stood there at first.
    was: String,
}

/// Whether archived sessions are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Archived {
    #[default]
    Hidden,
    Listed,
}

/// The search in messages for what the filter says.
#[derive(Debug, Default, PartialEq, Eq)]
enum Search {
    /// Nothing is searched for, or not yet.
    #[default]
    Idle,
    /// The host is looking for these words.
    Asked(String),
    /// It has found these.
    Done(String, Vec<Found>),
    /// It cannot.
    Refused,
}

/// What a key did.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The list stays.
    Open,
    /// It is to be closed.
    Closed,
    /// This session is to be opened.
    Picked(SessionId),
    /// This session is to be deleted, if that is confirmed.
    Delete(SessionRow),
    /// This is to be asked of the host.
    Send(Command),
}

impl Sessions {
    pub(crate) fn new(rows: &[SessionRow], current: &SessionId, filter: &str, now: Millis) -> Self {
        let mut sessions = Self { current: current.clone(), typed_at: now, ..Self::default() };
        sessions.select = Select::new(Vec::new(), filter);
        sessions.set(rows, now);
        sessions
    }

    /// The list, which the host has been asked for.
    pub(crate) fn asking(current: &SessionId, now: Millis) -> Self {
        Self {
            current: current.clone(),
            typed_at: now,
            select: Select::asking(),
            refresh: Refresh::asked(),
            ..Self::default()
        }
    }

    /// Whether it has not come yet.
    pub(crate) fn is_asking(&self) -> bool {
        self.select.is_asking()
    }

    /// Something that the list shows has changed.
    pub(crate) fn on_change(&mut self) -> Option<Command> {
        self.refresh.on_change().then_some(Command::ListSessions)
    }

    /// The list came anew. Filter and selection stay.
    pub(crate) fn on_listed(&mut self, rows: &[SessionRow], now: Millis) -> Option<Command> {
        self.set(rows, now);
        self.refresh.on_answer().then_some(Command::ListSessions)
    }

    /// The host refused something, maybe the list or the search.
    pub(crate) fn on_failed(&mut self, about: &Subject) {
        if about.may_be(&Subject::Sessions) {
            self.refresh.on_refusal();
        }
        if about.may_be(&Subject::Search) && matches!(self.search, Search::Asked(_)) {
            self.search = Search::Refused;
        }
    }

    /// What was found in messages.
    pub(crate) fn on_found(&mut self, query: &str, found: &[Found]) {
        if query.trim() == self.select.filter() && !self.is_asking() {
            self.search = Search::Done(query.trim().to_owned(), found.to_vec());
            self.refill();
        }
    }

    /// When a search begins by itself.
    pub(crate) fn next_tick(&self) -> Option<Millis> {
        self.wants_search().then_some(self.typed_at + PAUSE)
    }

    pub(crate) fn on_tick(&mut self, now: Millis) -> Option<Command> {
        if !self.wants_search() || between(now, self.typed_at) < PAUSE.unsigned_abs() {
            return None;
        }
        let query = self.select.filter().to_owned();
        self.search = Search::Asked(query.clone());
        Some(Command::Search { query })
    }

    fn wants_search(&self) -> bool {
        let filter = self.select.filter();
        !self.is_asking()
            && filter.chars().count() >= WORTH_SEARCHING
            && match &self.search {
                Search::Idle => true,
                Search::Asked(query) | Search::Done(query, _) => query != filter,
                Search::Refused => false,
            }
    }

    fn set(&mut self, rows: &[SessionRow], now: Millis) {
        self.rows = rows.to_vec();
        self.renames.take_if(|renames| !rows.iter().any(|row| row.id == renames.id));
        // The order among equals is the host's: newest first.
        self.rows.sort_by_key(|row| !row.pinned);
        self.now = now;
        self.refill();
    }

    /// What was found for the words of the filter.
    fn found(&self) -> &[Found] {
        match &self.search {
            Search::Done(query, found) if query == self.select.filter() => found,
            Search::Idle | Search::Asked(_) | Search::Done(..) | Search::Refused => &[],
        }
    }

    /// Makes the entries anew: what the filter finds in titles first, then what is in messages.
    fn refill(&mut self) {
        let chosen = self.chosen().cloned();
        let is_listed = |row: &&SessionRow| !row.archived || self.archived == Archived::Listed;
        let mut ids = Vec::new();
        let mut entries: Vec<Entry> = Vec::new();
        for row in self.rows.iter().filter(is_listed) {
            let mut entry = self.entry(row);
            if self.select.has_words(&entry) {
                let found = self.found().iter().find(|found| found.session == row.id);
                entry.below = found.and_then(|found| excerpt(found, &entry.label));
            }
            ids.push(row.id.clone());
            entries.push(entry);
        }
        for found in self.found() {
            let at = ids.iter().position(|id| *id == found.session);
            let has_words =
                at.and_then(|at| entries.get(at)).is_some_and(|e| self.select.has_words(e));
            if has_words {
                continue;
            }
            let row = self.rows.iter().find(|row| row.id == found.session);
            let plain =
                || Entry { label: called(&found.title, &found.session), ..Entry::default() };
            let entry = row.map_or_else(plain, |row| self.entry(row));
            ids.push(found.session.clone());
            let below = excerpt(found, &entry.label);
            entries.push(Entry { below, listed: Listed::Always, ..entry });
        }
        self.ids = ids;
        self.select.refill(entries);
        // One that is found only by its messages stands there twice, and is listed once.
        for (at, _) in self.ids.iter().enumerate().filter(|(_, id)| Some(*id) == chosen.as_ref()) {
            self.select.choose(at);
        }
    }

    fn chosen(&self) -> Option<&SessionId> {
        self.select.chosen().and_then(|index| self.ids.get(index))
    }

    fn chosen_row(&self) -> Option<&SessionRow> {
        let id = self.chosen()?;
        self.rows.iter().find(|row| row.id == *id)
    }

    /// A session in a line: branches and delegated children name where they come from.
    fn entry(&self, row: &SessionRow) -> Entry {
        let mut label = String::new();
        if row.parent.is_some() {
            label.push_str("↳ ");
        }
        label.push_str(&called(&row.title, &row.id));
        if let Some(parent) = &row.parent {
            let of = self.rows.iter().find(|row| row.id == *parent);
            label.push_str(" · from ");
            label.push_str(&of.map_or_else(
                || "a session that is gone".to_owned(),
                |row| called(&row.title, &row.id),
            ));
        }
        let mut facts = Vec::new();
        match row.attention {
            Some((Attention::Approval, _)) => facts.push("wants an approval".to_owned()),
            Some((Attention::Clarify, _)) => facts.push("asks you".to_owned()),
            None if row.running => facts.push("running".to_owned()),
            None => facts.push(ago(between(self.now, row.active_at))),
        }
        facts.push(count(row.rows, "row"));
        if row.compressions > 0 {
            facts.push(format!("compressed {}×", row.compressions));
        }
        if row.archived {
            facts.push("archived".to_owned());
        }
        facts.push(one_line(&row.model));
        facts.retain(|fact| !fact.is_empty());
        let marks = marks(row, row.id == self.current);
        let entry = Entry { marks, label, detail: facts.join(" · "), ..Entry::default() };
        match self.renames.as_ref().filter(|renames| renames.id == row.id) {
            None => entry,
            Some(renames) => {
                let (before, after) = renames.title.around_caret();
                let writes = Some((shown(before), shown(after)));
                Entry { writes, listed: Listed::Always, detail: String::new(), ..entry }
            }
        }
    }

    pub(crate) fn on_action(&mut self, action: Action, now: Millis) -> Outcome {
        if self.renames.is_some() {
            return self.on_title(action);
        }
        match action {
            Action::Tab => {
                self.archived = match self.archived {
                    Archived::Hidden => Archived::Listed,
                    Archived::Listed => Archived::Hidden,
                };
                if !self.is_asking() {
                    self.refill();
                }
                return Outcome::Open;
            }
            Action::Delete | Action::EndOfInput => {
                return self.chosen_row().map_or(Outcome::Open, |row| Outcome::Delete(row.clone()));
            }
            Action::Pin | Action::Archive => {
                let Some(row) = self.chosen_row() else { return Outcome::Open };
                let session = Some(row.id.clone());
                return Outcome::Send(if action == Action::Pin {
                    Command::Pin { session, pinned: !row.pinned }
                } else {
                    Command::Archive { session, archived: !row.archived }
                });
            }
            Action::Rename | Action::LineEnd => {
                let Some(row) = self.chosen_row() else { return Outcome::Open };
                let (id, mut title) = (row.id.clone(), Composer::default());
                let was = one_line(head(&row.title, EXCERPT)).trim().to_owned();
                title.set(&was);
                self.renames = Some(Renames { id, title, was });
                self.refill();
                return Outcome::Open;
            }
            _ => {}
        }
        let filter = self.select.filter().to_owned();
        let outcome = self.select.on_action(action);
        if filter != self.select.filter() {
            self.typed_at = now;
            // What was found for other words goes with them, and the selection is at the top.
            if !self.is_asking() {
                self.refill();
            }
            self.select.on_action(Action::First);
        }
        match outcome {
            select::Outcome::Open => Outcome::Open,
            select::Outcome::Closed => Outcome::Closed,
            select::Outcome::Picked(index) => {
                self.ids.get(index).cloned().map_or(Outcome::Open, Outcome::Picked)
            }
        }
    }

    /// A key while a title is being written. One that is empty, or as it was, is not sent.
    fn on_title(&mut self, action: Action) -> Outcome {
        let Some(renames) = &mut self.renames else { return Outcome::Open };
        let mut outcome = Outcome::Open;
        match action {
            Action::Enter => {
                let title = renames.title.expanded().trim().to_owned();
                if !title.is_empty() && title != renames.was {
                    let session = Some(renames.id.clone());
                    outcome = Outcome::Send(Command::SetTitle { session, title });
                }
                self.renames = None;
            }
            Action::Escape | Action::Interrupt => self.renames = None,
            Action::Up | Action::Down | Action::Newline => return Outcome::Open,
            _ => {
                renames.title.on_action(action);
            }
        }
        self.refill();
        outcome
    }

    /// Text that was pasted into the filter, or into a title.
    pub(crate) fn on_paste(&mut self, text: &str, now: Millis) {
        if let Some(renames) = &mut self.renames {
            let text = head(text, EXCERPT);
            let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            renames.title.paste(&line);
            self.refill();
            return;
        }
        for c in text.chars().filter(|c| !c.is_control()) {
            self.on_action(Action::Text(c), now);
        }
    }

    /// A session is being deleted.
    pub(crate) fn remove(&mut self, id: &SessionId) {
        self.rows.retain(|row| row.id != *id);
        self.refill();
    }

    pub(crate) fn lines(&self, width: usize, height: usize, theme: &Theme) -> Vec<Line<'static>> {
        let mut lines = self.select.lines(&self.note(), width, height.saturating_sub(1), theme);
        lines.resize(height.saturating_sub(1), Line::default());
        let archived = self.rows.iter().filter(|row| row.archived).count();
        if self.renames.is_some() {
            let keys = fit("Enter saves · Esc keeps the old title", width);
            lines.push(Line::styled(keys, theme.dim));
            return lines;
        }
        let mut keys = Vec::new();
        match (self.archived, archived) {
            (_, 0) => {}
            (Archived::Hidden, n) => keys.push(format!("Tab {n} archived")),
            (Archived::Listed, _) => keys.push("Tab hides them".to_owned()),
        }
        if let Some(row) = self.chosen_row() {
            keys.extend(["F2 renames", "Del deletes"].map(str::to_owned));
            keys.push(if row.pinned { "Ctrl+T unpins" } else { "Ctrl+T pins" }.to_owned());
            keys.push(if row.archived { "Ctrl+X lists it" } else { "Ctrl+X archives" }.to_owned());
        }
        while keys.len() > 1 && columns(&keys.join(" · ")) > width {
            keys.pop();
        }
        lines.push(Line::styled(fit(&keys.join(" · "), width), theme.dim));
        lines
    }

    /// How the search stands.
    fn note(&self) -> String {
        match &self.search {
            Search::Asked(query) if query == self.select.filter() => {
                "searching messages …".to_owned()
            }
            Search::Done(query, found) if query == self.select.filter() => match found.len() {
                0 => "in no message".to_owned(),
                n => format!("in messages of {}", count(n, "session")),
            },
            Search::Refused => "titles only".to_owned(),
            Search::Idle | Search::Asked(_) | Search::Done(..) => String::new(),
        }
    }
}

/// What is to be seen first: the one in view, pinned ones, and those that need the user.
fn marks(row: &SessionRow, is_current: bool) -> String {
    let mut marks = String::new();
    marks.push(if is_current { '•' } else { ' ' });
    marks.push(if row.pinned { '*' } else { ' ' });
    if let Some((attention, pending)) = row.attention {
        marks.push(match attention {
            Attention::Approval => '!',
            Attention::Clarify => '?',
        });
        if pending > 1 {
            marks.push_str(&pending.min(99).to_string());
        }
    }
    marks.trim_end().to_owned()
}

/// A part of a title, spaces at its ends included.
fn shown(part: &str) -> String {
    part.chars().map(|c| if is_hidden(c) { '·' } else { c }).collect()
}

/// What people call a session.
fn called(title: &str, id: &SessionId) -> String {
    let title = one_line(head(title, EXCERPT));
    if title.is_empty() { one_line(&id.0) } else { title }
}

/// The text around a find, unless the `label` says as much.
fn excerpt(found: &Found, label: &str) -> Option<String> {
    let text = one_line(head(found.excerpt.as_deref()?, EXCERPT));
    (!text.is_empty() && text != label).then_some(text)
}

/// The one session that is meant by an id, the beginning of one, or a title.
pub(crate) fn find<'a>(rows: &'a [SessionRow], name: &str) -> Option<&'a SessionId> {
    let lower = name.trim().to_lowercase();
    let only = |fits: &dyn Fn(&SessionRow) -> bool| {
        let mut found = rows.iter().filter(|row| fits(row));
        let first = found.next()?;
        found.next().is_none().then_some(&first.id)
    };
    only(&|row| row.id.0 == name.trim())
        .or_else(|| only(&|row| row.title.to_lowercase() == lower))
        .or_else(|| only(&|row| row.id.0.starts_with(name.trim())))
        .or_else(|| only(&|row| row.title.to_lowercase().contains(&lower)))
}
