//! The list of sessions: their state, which of them need the user, and a search by title or by
//! the text of messages.

use protocol::{Attention, Command, Found, Millis, SessionId, SessionRow, Subject};
use ratatui::text::Line;

use crate::clean::{head, is_hidden, one_line};
use crate::composer::Composer;
use crate::keymap::Action;
use crate::numbers::count;
use crate::refresh::Refresh;
use crate::select::{Select, SelectEvent, SelectItem, Visibility};
use crate::theme::Theme;
use crate::time::{ago, between};
use crate::wrap::{columns, fit};

/// Characters from which on messages are searched too.
const WORTH_SEARCHING: usize = 3;

/// How long the keyboard must be quiet before they are.
const PAUSE: Millis = 400;

/// Bytes of a title or an excerpt that are read at most.
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
    title_edit: Option<TitleEdit>,
}

/// A title that is being edited.
#[derive(Debug)]
struct TitleEdit {
    id: SessionId,
    title: Composer,
    /// The title before the edit.
    before: String,
}

/// Whether archived sessions are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Archived {
    #[default]
    Hidden,
    Listed,
}

/// The search in messages for the text of the filter.
#[derive(Debug, Default, PartialEq, Eq)]
enum Search {
    /// No search was requested.
    #[default]
    Idle,
    /// The host is searching for this text.
    Asked(String),
    /// The hits for this text.
    Done(String, Vec<Found>),
    /// The host cannot search.
    Refused,
}

/// The result of a key.
#[derive(Debug, PartialEq)]
pub(crate) enum SessionsEvent {
    /// The list stays open.
    StayOpen,
    /// Close it.
    Close,
    /// Open this session.
    Picked(SessionId),
    /// Ask whether to delete this session.
    Delete(SessionRow),
    /// Send this command.
    Send(Command),
}

impl Sessions {
    pub(crate) fn new(rows: &[SessionRow], current: &SessionId, filter: &str, now: Millis) -> Self {
        let mut sessions = Self { current: current.clone(), typed_at: now, ..Self::default() };
        sessions.select = Select::new(Vec::new(), filter);
        sessions.set(rows, now);
        sessions
    }

    /// A list that was requested from the host.
    pub(crate) fn asking(current: &SessionId, now: Millis) -> Self {
        Self {
            current: current.clone(),
            typed_at: now,
            select: Select::asking(),
            refresh: Refresh::asked(),
            ..Self::default()
        }
    }

    /// Whether its entries are still awaited.
    pub(crate) fn is_asking(&self) -> bool {
        self.select.is_asking()
    }

    /// Something that the list shows has changed.
    pub(crate) fn on_change(&mut self) -> Option<Command> {
        self.refresh.on_change().then_some(Command::ListSessions)
    }

    /// A fresh list came. Filter and selection stay.
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

    /// The hits of a search in messages.
    pub(crate) fn on_found(&mut self, query: &str, hits: &[Found]) {
        if query.trim() == self.select.filter() && !self.is_asking() {
            self.search = Search::Done(query.trim().to_owned(), hits.to_vec());
            self.refill();
        }
    }

    /// When a search begins by itself.
    pub(crate) fn next_tick(&self) -> Option<Millis> {
        self.search_is_due().then_some(self.typed_at + PAUSE)
    }

    pub(crate) fn on_tick(&mut self, now: Millis) -> Option<Command> {
        if !self.search_is_due() || between(now, self.typed_at) < PAUSE.unsigned_abs() {
            return None;
        }
        let query = self.select.filter().to_owned();
        self.search = Search::Asked(query.clone());
        Some(Command::Search { query })
    }

    fn search_is_due(&self) -> bool {
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
        self.title_edit.take_if(|title_edit| !rows.iter().any(|row| row.id == title_edit.id));
        // The order among equals is the host's: newest first.
        self.rows.sort_by_key(|row| !row.pinned);
        self.now = now;
        self.refill();
    }

    /// The hits for the text of the filter.
    fn hits(&self) -> &[Found] {
        match &self.search {
            Search::Done(query, hits) if query == self.select.filter() => hits,
            Search::Idle | Search::Asked(_) | Search::Done(..) | Search::Refused => &[],
        }
    }

    /// Rebuilds the entries: matches in titles first, then those in messages.
    fn refill(&mut self) {
        let chosen = self.chosen().cloned();
        let is_listed = |row: &&SessionRow| !row.archived || self.archived == Archived::Listed;
        let mut ids = Vec::new();
        let mut entries: Vec<SelectItem> = Vec::new();
        for row in self.rows.iter().filter(is_listed) {
            let mut entry = self.entry(row);
            if self.select.matches_filter(&entry) {
                let hits = self.hits().iter().find(|hits| hits.session == row.id);
                entry.below = hits.and_then(|hits| excerpt(hits, &entry.label));
            }
            ids.push(row.id.clone());
            entries.push(entry);
        }
        for hits in self.hits() {
            let at = ids.iter().position(|id| *id == hits.session);
            let matches_filter =
                at.and_then(|at| entries.get(at)).is_some_and(|e| self.select.matches_filter(e));
            if matches_filter {
                continue;
            }
            let row = self.rows.iter().find(|row| row.id == hits.session);
            let plain = || SelectItem {
                label: session_name(&hits.title, &hits.session),
                ..SelectItem::default()
            };
            let entry = row.map_or_else(plain, |row| self.entry(row));
            ids.push(hits.session.clone());
            let below = excerpt(hits, &entry.label);
            entries.push(SelectItem { below, visibility: Visibility::Always, ..entry });
        }
        self.ids = ids;
        self.select.refill(entries);
        // A session that only its messages match has two entries, of which one is listed.
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

    /// A session as an entry: branches and delegated sessions name their parent.
    fn entry(&self, row: &SessionRow) -> SelectItem {
        let mut label = String::new();
        if row.parent.is_some() {
            label.push_str("↳ ");
        }
        label.push_str(&session_name(&row.title, &row.id));
        if let Some(parent) = &row.parent {
            let of = self.rows.iter().find(|row| row.id == *parent);
            label.push_str(" · from ");
            label.push_str(&of.map_or_else(
                || "a deleted session".to_owned(),
                |row| session_name(&row.title, &row.id),
            ));
        }
        let mut facts = Vec::new();
        match row.attention {
            Some((Attention::Approval, _)) => facts.push("needs approval".to_owned()),
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
        let entry =
            SelectItem { marks, label, detail: facts.join(" · "), ..SelectItem::default() };
        match self.title_edit.as_ref().filter(|title_edit| title_edit.id == row.id) {
            None => entry,
            Some(title_edit) => {
                let (before, after) = title_edit.title.around_caret();
                let editing = Some((shown(before), shown(after)));
                SelectItem {
                    editing,
                    visibility: Visibility::Always,
                    detail: String::new(),
                    ..entry
                }
            }
        }
    }

    pub(crate) fn on_action(&mut self, action: Action, now: Millis) -> SessionsEvent {
        if self.title_edit.is_some() {
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
                return SessionsEvent::StayOpen;
            }
            Action::Delete | Action::EndOfInput => {
                return self
                    .chosen_row()
                    .map_or(SessionsEvent::StayOpen, |row| SessionsEvent::Delete(row.clone()));
            }
            Action::Pin | Action::Archive => {
                let Some(row) = self.chosen_row() else { return SessionsEvent::StayOpen };
                let session = Some(row.id.clone());
                return SessionsEvent::Send(if action == Action::Pin {
                    Command::Pin { session, pinned: !row.pinned }
                } else {
                    Command::Archive { session, archived: !row.archived }
                });
            }
            Action::Rename | Action::LineEnd => {
                let Some(row) = self.chosen_row() else { return SessionsEvent::StayOpen };
                let (id, mut title) = (row.id.clone(), Composer::default());
                let before = one_line(head(&row.title, EXCERPT)).trim().to_owned();
                title.set(&before);
                self.title_edit = Some(TitleEdit { id, title, before });
                self.refill();
                return SessionsEvent::StayOpen;
            }
            _ => {}
        }
        let filter = self.select.filter().to_owned();
        let outcome = self.select.on_action(action);
        if filter != self.select.filter() {
            self.typed_at = now;
            // The hits of another filter go, and the selection returns to the top.
            if !self.is_asking() {
                self.refill();
            }
            self.select.on_action(Action::First);
        }
        match outcome {
            SelectEvent::StayOpen => SessionsEvent::StayOpen,
            SelectEvent::Close => SessionsEvent::Close,
            SelectEvent::Pick(index) => {
                self.ids.get(index).cloned().map_or(SessionsEvent::StayOpen, SessionsEvent::Picked)
            }
        }
    }

    /// A key while a title is being edited. An empty or unchanged title is not sent.
    fn on_title(&mut self, action: Action) -> SessionsEvent {
        let Some(title_edit) = &mut self.title_edit else { return SessionsEvent::StayOpen };
        let mut outcome = SessionsEvent::StayOpen;
        match action {
            Action::Enter => {
                let title = title_edit.title.expanded().trim().to_owned();
                if !title.is_empty() && title != title_edit.before {
                    let session = Some(title_edit.id.clone());
                    outcome = SessionsEvent::Send(Command::SetTitle { session, title });
                }
                self.title_edit = None;
            }
            Action::Escape | Action::Interrupt => self.title_edit = None,
            Action::Up | Action::Down | Action::Newline => return SessionsEvent::StayOpen,
            _ => {
                title_edit.title.on_action(action);
            }
        }
        self.refill();
        outcome
    }

    /// Inserts pasted text into the filter or the title.
    pub(crate) fn on_paste(&mut self, text: &str, now: Millis) {
        if let Some(title_edit) = &mut self.title_edit {
            let text = head(text, EXCERPT);
            let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            title_edit.title.paste(&line);
            self.refill();
            return;
        }
        for c in text.chars().filter(|c| !c.is_control()) {
            self.on_action(Action::Text(c), now);
        }
    }

    /// Removes a session that is being deleted.
    pub(crate) fn remove(&mut self, id: &SessionId) {
        self.rows.retain(|row| row.id != *id);
        self.refill();
    }

    pub(crate) fn lines(&self, width: usize, height: usize, theme: &Theme) -> Vec<Line<'static>> {
        let mut lines = self.select.lines(&self.note(), width, height.saturating_sub(1), theme);
        lines.resize(height.saturating_sub(1), Line::default());
        let archived = self.rows.iter().filter(|row| row.archived).count();
        if self.title_edit.is_some() {
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
            keys.push(
                if row.archived { "Ctrl+X unarchives" } else { "Ctrl+X archives" }.to_owned(),
            );
        }
        while keys.len() > 1 && columns(&keys.join(" · ")) > width {
            keys.pop();
        }
        lines.push(Line::styled(fit(&keys.join(" · "), width), theme.dim));
        lines
    }

    /// The state of the search.
    fn note(&self) -> String {
        match &self.search {
            Search::Asked(query) if query == self.select.filter() => {
                "searching messages …".to_owned()
            }
            Search::Done(query, hits) if query == self.select.filter() => match hits.len() {
                0 => "no message matches".to_owned(),
                n => format!("found in messages of {}", count(n, "session")),
            },
            Search::Refused => "titles only".to_owned(),
            Search::Idle | Search::Asked(_) | Search::Done(..) => String::new(),
        }
    }
}

/// The marks of a session: on the screen, pinned, needs the user.
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

/// A part of a title with hidden characters made visible.
fn shown(part: &str) -> String {
    part.chars().map(|c| if is_hidden(c) { '·' } else { c }).collect()
}

/// The title of a session, or its id.
fn session_name(title: &str, id: &SessionId) -> String {
    let title = one_line(head(title, EXCERPT));
    if title.is_empty() { one_line(&id.0) } else { title }
}

/// The text around a hit, unless it equals the `label`.
fn excerpt(hits: &Found, label: &str) -> Option<String> {
    let text = one_line(head(hits.excerpt.as_deref()?, EXCERPT));
    (!text.is_empty() && text != label).then_some(text)
}

/// The only session that this id, beginning of an id, or title names.
pub(crate) fn find_session<'a>(rows: &'a [SessionRow], name: &str) -> Option<&'a SessionId> {
    let lower = name.trim().to_lowercase();
    let only = |fits: &dyn Fn(&SessionRow) -> bool| {
        let mut hits = rows.iter().filter(|row| fits(row));
        let first = hits.next()?;
        hits.next().is_none().then_some(&first.id)
    };
    only(&|row| row.id.0 == name.trim())
        .or_else(|| only(&|row| row.title.to_lowercase() == lower))
        .or_else(|| only(&|row| row.id.0.starts_with(name.trim())))
        .or_else(|| only(&|row| row.title.to_lowercase().contains(&lower)))
}
