//! The card for a question of the agent (C13). Free text is typed into the input.

use protocol::{Answer, Ask, Question};
use ratatui::text::Line;

use crate::arming::{Readiness, hint};
use crate::clean::{clean, one_line};
use crate::theme::Theme;
use crate::wrap::{Break, fit, text};

pub(crate) fn lines(
    question: &Question,
    selected: usize,
    keys: Readiness,
    width: usize,
    height: usize,
    theme: &Theme,
) -> Vec<Line<'static>> {
    let Ask::Clarify { question, choices } = &question.ask else { return Vec::new() };
    let mut bottom: Vec<Line<'static>> = choices
        .iter()
        .enumerate()
        .map(|(i, choice)| {
            let style = if i == selected { theme.selected } else { theme.text };
            Line::styled(fit(&format!(" {} {} ", i + 1, one_line(choice)), width), style)
        })
        .collect();
    if choices.is_empty() {
        bottom.push(Line::styled(fit("type your answer, Enter sends it", width), theme.dim));
    } else if keys == Readiness::Typing {
        bottom.push(Line::styled(fit("Enter sends your text as the answer", width), theme.dim));
    } else {
        bottom.push(hint(keys, "↑↓ Enter or a digit · or type an answer", width, theme));
    }
    let room = height.saturating_sub(bottom.len()).max(1);
    let mut lines = text(&clean(question), theme.bold, width, Break::Word);
    if lines.len() > room {
        lines.truncate(room.saturating_sub(1));
        lines.push(Line::styled("…", theme.dim));
    }
    lines.extend(bottom);
    lines
}

/// A typed answer: the number of a choice is that choice.
pub(crate) fn parse_answer(ask: &Ask, text: String) -> Answer {
    let Ask::Clarify { choices, .. } = ask else { return Answer::Text(text) };
    let number = text.trim().parse::<usize>().ok();
    let chosen = number.and_then(|number| choices.get(number.checked_sub(1)?));
    Answer::Text(chosen.cloned().unwrap_or(text))
}
