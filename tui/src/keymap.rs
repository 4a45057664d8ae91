//! Key bindings. Widgets receive actions, never key codes.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// The meaning of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Text(char),
    Enter,
    Newline,
    Left,
    Right,
    Up,
    Down,
    WordLeft,
    WordRight,
    Home,
    End,
    LineStart,
    LineEnd,
    First,
    Last,
    PageUp,
    PageDown,
    Backspace,
    Delete,
    DeleteWord,
    DeleteToStart,
    DeleteToEnd,
    Yank,
    Tab,
    Escape,
    Interrupt,
    EndOfInput,
    Processes,
    Reasoning,
    News,
    Pin,
    Archive,
    Rename,
    Repaint,
    Suspend,
}

/// The keys as the help shows them.
pub(crate) const KEYS: &[(&str, &str)] = &[
    ("Enter", "send, or queue while a turn runs"),
    ("Alt+Enter, Ctrl+J, \\ Enter", "new line (also Shift+Enter in most terminals)"),
    ("Up, Down", "prompt history; Up in an empty input edits a queued one"),
    ("Esc, Ctrl+C", "close card, interrupt, clear input; Ctrl+C twice quits"),
    ("Ctrl+D", "quit, if the input is empty"),
    ("PgUp, PgDn, wheel", "scroll; Ctrl+Home and Ctrl+End jump; End follows"),
    ("Tab", "complete a command"),
    ("Ctrl+B", "background processes"),
    ("Ctrl+O", "questions of other sessions, else the latest news"),
    ("Ctrl+R", "show or hide reasoning and summaries"),
    ("Ctrl+A E U K W Y", "edit; Ctrl or Alt with arrows moves by words"),
    ("Ctrl+L", "redraw the screen"),
    ("Ctrl+Z", "suspend to the shell; running work continues"),
    ("in the inbox", "Enter shows a question, Tab opens its session"),
    (
        "in the session list",
        "F2 or Ctrl+E renames, Del deletes, Ctrl+T pins, Ctrl+X archives, Tab shows archived ones",
    ),
    ("Shift+drag", "select text with the mouse"),
];

/// The action of a key.
pub(crate) fn action(key: KeyEvent) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    let alt = key.modifiers.contains(KeyModifiers::ALT);
    let shift = key.modifiers.contains(KeyModifiers::SHIFT);
    Some(match key.code {
        KeyCode::Enter if alt || shift || ctrl => Action::Newline,
        KeyCode::Enter => Action::Enter,
        KeyCode::Left if ctrl || alt => Action::WordLeft,
        KeyCode::Right if ctrl || alt => Action::WordRight,
        KeyCode::Left => Action::Left,
        KeyCode::Right => Action::Right,
        KeyCode::Up => Action::Up,
        KeyCode::Down => Action::Down,
        KeyCode::Home if ctrl => Action::First,
        KeyCode::End if ctrl => Action::Last,
        KeyCode::Home => Action::Home,
        KeyCode::End => Action::End,
        KeyCode::PageUp => Action::PageUp,
        KeyCode::PageDown => Action::PageDown,
        KeyCode::Backspace if ctrl || alt => Action::DeleteWord,
        KeyCode::Backspace => Action::Backspace,
        KeyCode::Delete => Action::Delete,
        KeyCode::Tab => Action::Tab,
        KeyCode::Esc => Action::Escape,
        KeyCode::F(2) => Action::Rename,
        KeyCode::Char(c) if ctrl && !alt => match c.to_ascii_lowercase() {
            'a' => Action::LineStart,
            'b' => Action::Processes,
            'c' => Action::Interrupt,
            'd' => Action::EndOfInput,
            'e' => Action::LineEnd,
            'h' => Action::Backspace,
            'j' => Action::Newline,
            'k' => Action::DeleteToEnd,
            'l' => Action::Repaint,
            'n' => Action::Down,
            'o' => Action::News,
            'p' => Action::Up,
            'r' => Action::Reasoning,
            't' => Action::Pin,
            'u' => Action::DeleteToStart,
            'w' => Action::DeleteWord,
            'x' => Action::Archive,
            'y' => Action::Yank,
            'z' => Action::Suspend,
            _ => return None,
        },
        KeyCode::Char(c) if alt && !ctrl => match c {
            'b' => Action::WordLeft,
            'f' => Action::WordRight,
            _ => return None,
        },
        KeyCode::Char(c) => Action::Text(c),
        _ => return None,
    })
}
