//! The inbox: the questions of all sessions in a list, and the card of one of them, to answer it
//! without opening its session. The card follows the same rules as in its session (C11).

use protocol::{Answer, Ask, Asked, Millis, QuestionId, SessionId};
use ratatui::text::Line;

use crate::arming::Readiness;
use crate::card::{Card, CardContext, CardEvent, parse_answer};
use crate::clean::{head, one_line};
use crate::composer::Composer;
use crate::keymap::Action;
use crate::numbers::count;
use crate::select::SelectItem;
use crate::theme::Theme;
use crate::time::{between, span};
use crate::wrap::{columns, fit};

/// Bytes of a question that are read at most.
const MAX_BYTES: usize = 1_000;

/// Columns from which on a question stands beside the name of its session.
const WIDE: usize = 64;

/// Entries that PgUp and PgDn move by.
const PAGE: usize = 10;

/// The panel.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// The selected session: each has one question in the list.
    selected: Option<SessionId>,
    /// Its position, for when it is gone.
    at: usize,
    open: Option<OpenCard>,
}

/// The question whose card is on the screen.
#[derive(Debug)]
struct OpenCard {
    asked: Asked,
    card: Card,
    /// The answer that is being typed.
    input: Composer,
    typed_at: Millis,
    /// Opened without the list: closing the card closes the panel.
    direct: bool,
}

/// The data the list is drawn from.
pub(crate) struct InboxContext<'a> {
    pub(crate) questions: &'a [Asked],
    /// The ones answered here that the host has not confirmed.
    pub(crate) answered: &'a [(SessionId, QuestionId)],
    /// The session on the screen.
    pub(crate) here: &'a SessionId,
    pub(crate) now: Millis,
    pub(crate) theme: &'a Theme,
}

/// The result of a key.
#[derive(Debug, PartialEq)]
pub(crate) enum InboxEvent {
    /// The panel stays open.
    StayOpen,
    /// Close it.
    Close,
    /// Open this session, with the text typed for it.
    OpenSession(SessionId, String),
    /// Answer the question.
    Answered(Box<Asked>, Answer),
    /// The typed text was discarded.
    Discarded(String),
    /// Text cannot approve a command.
    TextRefused,
}

/// A card that was closed because its question is no longer pending.
#[derive(Debug, PartialEq)]
pub(crate) struct ClosedCard {
    pub(crate) asked: Asked,
    /// The text in its input.
    pub(crate) typed: String,
    /// There is no list to return to.
    pub(crate) direct: bool,
}

impl Inbox {
    /// An inbox that shows the card of this question at once.
    pub(crate) fn on(asked: &Asked, now: Millis) -> Self {
        let mut inbox = Self { selected: Some(asked.session.clone()), ..Self::default() };
        inbox.open(asked, true, now);
        inbox
    }

    fn open(&mut self, asked: &Asked, direct: bool, now: Millis) {
        let (asked, mut card) = (asked.clone(), Card::default());
        card.follow(Some(&asked.question), now);
        let input = Composer::default();
        self.open = Some(OpenCard { asked, card, input, typed_at: now, direct });
    }

    /// Whether a card is open.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The text that is typed and not sent.
    pub(crate) fn typed(&self) -> Option<String> {
        let open = self.open.as_ref().filter(|open| !open.input.is_empty())?;
        Some(open.input.expanded())
    }

    /// The question on the screen, returned once for each (C08).
    pub(crate) fn mark_shown(&mut self) -> Option<(SessionId, QuestionId)> {
        let open = self.open.as_mut()?;
        let Asked { session, question, .. } = &open.asked;
        open.card.mark_shown().then(|| (session.clone(), question.id.clone()))
    }

    /// When something here changes by itself.
    pub(crate) fn next_tick(&self, questions: &[Asked], now: Millis) -> Option<Millis> {
        let arms = self.open.as_ref().map(|open| open.card.arms_at(open.typed_at));
        let second = now + 1_000 - now.rem_euclid(1_000);
        let counts = !questions.is_empty() || self.is_open();
        arms.filter(|at| *at > now).into_iter().chain(counts.then_some(second)).min()
    }

    /// The questions have changed. Returns the card that this closes.
    pub(crate) fn on_changed(&mut self, questions: &[Asked]) -> Option<ClosedCard> {
        self.at = self.position(questions);
        let open = self.open.as_mut()?;
        let same = |asked: &&Asked| {
            asked.session == open.asked.session && asked.question.id == open.asked.question.id
        };
        if let Some(asked) = questions.iter().find(same) {
            open.asked.clone_from(asked);
            return None;
        }
        let OpenCard { asked, input, direct, .. } = self.open.take()?;
        Some(ClosedCard { asked, typed: input.expanded(), direct })
    }

    /// The index of the selected entry.
    fn position(&self, questions: &[Asked]) -> usize {
        let selected = self.selected.as_ref();
        let found = questions.iter().position(|asked| Some(&asked.session) == selected);
        found.unwrap_or_else(|| self.at.min(questions.len().saturating_sub(1)))
    }

    pub(crate) fn on_action(
        &mut self,
        action: Action,
        questions: &[Asked],
        here: &SessionId,
        now: Millis,
    ) -> InboxEvent {
        if self.open.is_some() {
            return self.on_card(action, now);
        }
        let last = questions.len().saturating_sub(1);
        let at = self.position(questions);
        let to = match action {
            Action::Up => at.saturating_sub(1),
            Action::Down => (at + 1).min(last),
            Action::PageUp => at.saturating_sub(PAGE),
            Action::PageDown => (at + PAGE).min(last),
            Action::Home | Action::First => 0,
            Action::End | Action::Last => last,
            Action::Escape | Action::Interrupt => return InboxEvent::Close,
            Action::Enter | Action::Right | Action::Tab | Action::News => {
                let Some(asked) = questions.get(at) else { return InboxEvent::StayOpen };
                if asked.session == *here {
                    // Its card is below the panel.
                    return InboxEvent::Close;
                }
                if matches!(action, Action::Tab | Action::News) {
                    return InboxEvent::OpenSession(asked.session.clone(), String::new());
                }
                self.open(asked, false, now);
                at
            }
            _ => at,
        };
        self.at = to;
        self.selected = questions.get(to).map(|asked| asked.session.clone());
        InboxEvent::StayOpen
    }

    /// A key while a card is open, handled in the same order as in its session.
    fn on_card(&mut self, action: Action, now: Millis) -> InboxEvent {
        let Some(open) = &mut self.open else { return InboxEvent::StayOpen };
        let is_approval = matches!(open.asked.question.ask, Ask::Approval { .. });
        if open.input.is_empty() && open.card.is_armed(open.typed_at, now) {
            match open.card.on_action(&open.asked.question, action) {
                CardEvent::Ignored => {}
                CardEvent::Moved => return InboxEvent::StayOpen,
                CardEvent::Answered(answer) => return self.answered(answer),
            }
        }
        open.typed_at = now;
        match action {
            Action::Escape | Action::Interrupt if !open.input.is_empty() => {
                return InboxEvent::Discarded(open.input.take());
            }
            Action::Escape | Action::Interrupt => {
                let direct = open.direct;
                self.open = None;
                return if direct { InboxEvent::Close } else { InboxEvent::StayOpen };
            }
            Action::Tab | Action::News => {
                return InboxEvent::OpenSession(open.asked.session.clone(), open.input.expanded());
            }
            Action::Enter if open.input.continue_line() => {}
            Action::Enter if open.input.text().trim().is_empty() => {}
            Action::Enter if is_approval => return InboxEvent::TextRefused,
            Action::Enter => {
                if open.card.is_settled(now) {
                    let answer = parse_answer(&open.asked.question.ask, open.input.take());
                    return self.answered(answer);
                }
            }
            _ => {
                open.input.on_action(action);
            }
        }
        InboxEvent::StayOpen
    }

    fn answered(&mut self, answer: Answer) -> InboxEvent {
        let Some(open) = self.open.take() else { return InboxEvent::StayOpen };
        InboxEvent::Answered(Box::new(open.asked), answer)
    }

    /// A bracketed paste: into an answer.
    pub(crate) fn on_paste(&mut self, text: &str, now: Millis) {
        if let Some(open) = &mut self.open {
            open.typed_at = now;
            open.input.paste(text);
        }
    }

    /// The input below the card, if text can be typed.
    pub(crate) fn input(&mut self, width: usize) -> Option<&Composer> {
        let open = self.open.as_mut()?;
        open.input.set_width(width);
        let by_text = matches!(open.asked.question.ask, Ask::Clarify { .. });
        (by_text || !open.input.is_empty()).then_some(&open.input)
    }

    /// The card, if one is open.
    pub(crate) fn card(
        &mut self,
        now: Millis,
        size: (usize, usize),
        theme: &Theme,
    ) -> Option<Vec<Line<'static>>> {
        let open = self.open.as_mut()?;
        let keys = if !open.input.is_empty() {
            Readiness::Typing
        } else if open.card.is_armed(open.typed_at, now) {
            Readiness::Armed
        } else {
            Readiness::Quieting
        };
        let name = session_name(&open.asked);
        let total = count_of(&open.asked);
        let cx = CardContext { name: Some(&name), total, keys, now, size, theme };
        Some(open.card.lines(&open.asked.question, &cx))
    }

    /// Title and lines.
    pub(crate) fn lines(
        &self,
        cx: &InboxContext<'_>,
        size: (usize, usize),
    ) -> (String, Vec<Line<'static>>) {
        let (width, height) = size;
        let (questions, theme) = (cx.questions, cx.theme);
        let all: usize = questions.iter().map(count_of).sum();
        let title = match all {
            0 => "Inbox".to_owned(),
            n => format!("Inbox · {}", count(n, "question")),
        };
        let keys = match (self.is_open(), questions.is_empty()) {
            (true, _) => "Tab opens the session · Esc goes back",
            (false, true) => "Esc",
            (false, false) => "Enter shows it · Tab opens its session · Esc",
        };
        let room = height.saturating_sub(1).max(1);
        let mut lines = Vec::new();
        if questions.is_empty() {
            lines.push(Line::styled(fit("no questions are waiting", width), theme.dim));
        }
        let at = self.position(questions);
        let names = questions.iter().map(|asked| columns(&session_name(asked))).max().unwrap_or(0);
        let names = names.min(width / 3);
        let each = if width < WIDE { 2 } else { 1 };
        let start = (at + 1).saturating_sub((room / each).max(1));
        for (n, asked) in questions.iter().enumerate().skip(start) {
            if lines.len() >= room {
                break;
            }
            lines.extend(entry(asked, cx, names, width).lines(2, n == at, width, theme));
        }
        lines.truncate(room);
        lines.resize(room, Line::default());
        if height > 1 {
            lines.push(Line::styled(fit(keys, width), theme.dim));
        }
        (title, lines)
    }
}

/// How many questions its session has.
fn count_of(asked: &Asked) -> usize {
    usize::try_from(asked.behind).unwrap_or(usize::MAX).saturating_add(1)
}

/// The name of the session, or its id.
pub(crate) fn session_name(asked: &Asked) -> String {
    let name = one_line(head(&asked.name, MAX_BYTES));
    if name.is_empty() { one_line(&asked.session.0) } else { name }
}

/// A question as an entry: one line, or two where there is no room.
fn entry(asked: &Asked, cx: &InboxContext<'_>, names: usize, width: usize) -> SelectItem {
    let question = &asked.question;
    let here = if asked.session == *cx.here { '•' } else { ' ' };
    let (mark, text) = match &question.ask {
        Ask::Approval { command, .. } => ('!', format!("run: {}", short(command))),
        Ask::Clarify { question, .. } => ('?', format!("asks: {}", short(question))),
    };
    let is_answered =
        |(session, id): &(SessionId, QuestionId)| *session == asked.session && *id == question.id;
    let time = if cx.answered.iter().any(is_answered) {
        "answered …".to_owned()
    } else if let Some(deadline) = question.deadline {
        let left = u64::try_from(deadline - cx.now).unwrap_or(0).div_ceil(1_000);
        format!("{} left", span(left))
    } else {
        format!("waiting {}", span(between(cx.now, question.asked_at) / 1_000))
    };
    let detail = if asked.behind > 0 { format!("+{} · {time}", asked.behind) } else { time };
    let marks = format!("{here}{mark}");
    let name = session_name(asked);
    if width < WIDE {
        return SelectItem {
            marks,
            label: name,
            detail,
            below: Some(text),
            ..SelectItem::default()
        };
    }
    let name = fit(&name, names);
    let space = " ".repeat(names.saturating_sub(columns(&name)) + 2);
    SelectItem { marks, label: format!("{name}{space}{text}"), detail, ..SelectItem::default() }
}

fn short(text: &str) -> String {
    one_line(head(text, MAX_BYTES))
}
