//! Shared by the tests of several modules: a state to begin with, rows, keys, a picture.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use protocol::{
    Ask, Assistant, Body, CallId, Command, Delivery, End, Event, Exit, Gauge, Millis, Part,
    Process, ProcessId, Question, QuestionId, Row, SessionId, Source, State, Stop, ToolCall,
    ToolResult, Transcript, TurnId, Wakeup, WakeupKind,
};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::app::{App, Effect};
use crate::draw::draw;
use crate::options::Options;
use crate::term::Frame;

/// The moment at which tests begin.
pub(crate) const T0: Millis = 1_790_000_000_000;

pub(crate) fn options() -> Options {
    Options { version: "0.1.0".into(), home: Some("/home/ada".into()), ..Options::default() }
}

pub(crate) fn window(rows: Vec<Body>) -> Transcript {
    Transcript {
        session: SessionId("20260101_120000_abcdef".into()),
        model: "openai/gpt-5".into(),
        cwd: "/home/ada/src/engine".into(),
        rows: rows.into_iter().zip(1..).map(|(body, n)| row(n, body)).collect(),
        gauge: Gauge { used: Some(12_345), length: Some(200_000) },
        ..Transcript::default()
    }
}

pub(crate) fn app(rows: Vec<Body>) -> App {
    attached(window(rows))
}

pub(crate) fn attached(transcript: Transcript) -> App {
    let mut app = App::new(options(), T0);
    let event = Event::Attached { transcript: Box::new(transcript), resynced: false };
    app.on_event(&event, T0);
    app
}

pub(crate) fn row(n: u64, body: Body) -> Row {
    Row { n, turn: TurnId(1), at: T0, cut: 0, body }
}

pub(crate) fn user(text: &str) -> Body {
    Body::User { text: text.into() }
}

pub(crate) fn says(text: &str) -> Body {
    Body::Assistant(Assistant { text: text.into(), ..Assistant::default() })
}

pub(crate) fn call(id: &str, name: &str, args: &str) -> ToolCall {
    let args = serde_json::from_str(args).unwrap();
    ToolCall { id: CallId(id.into()), name: name.into(), args }
}

pub(crate) fn calls(calls: Vec<ToolCall>) -> Body {
    Body::Assistant(Assistant { calls, stop: Stop::Calls, ..Assistant::default() })
}

pub(crate) fn result(id: &str, name: &str, text: &str) -> Body {
    Body::Tool(ToolResult {
        call: CallId(id.into()),
        name: name.into(),
        text: text.into(),
        failed: false,
        millis: 1_234,
        unanswered: false,
    })
}

pub(crate) fn exit(end: End, code: Option<i32>) -> Exit {
    Exit { end, code, signal: None, at: T0 }
}

pub(crate) fn wakeup(kind: WakeupKind, exit: Option<Exit>) -> Body {
    Body::Wakeup(Wakeup {
        process: ProcessId("proc_0123456789ab".into()),
        kind,
        ordinal: 0,
        command: "cargo test --workspace".into(),
        exit,
        pattern: (kind == WakeupKind::Match).then(|| "ERROR".into()),
        text: "[IMPORTANT: Background process proc_0123456789ab completed normally (exit code 0)\
               .\nCommand: cargo test --workspace\nOutput:\nrunning 12 tests\ntest result: ok. 12 \
               passed; 0 failed]"
            .into(),
    })
}

pub(crate) fn process(id: &str, state: State, exit: Option<Exit>) -> Process {
    Process {
        id: ProcessId(id.into()),
        session: SessionId("20260101_120000_abcdef".into()),
        turn: TurnId(1),
        command: "cargo watch -x 'test --workspace'".into(),
        cwd: "/home/ada".into(),
        pid: Some(7),
        started_at: T0 - 65_000,
        state,
        exit,
        notify: true,
        watch: Vec::new(),
        watching: protocol::Watching::default(),
        work: protocol::Work::Command,
        pty: false,
        killed_by: None,
        delivery: Delivery::Open,
    }
}

pub(crate) fn approval(id: &str, command: &str, part: &str) -> Question {
    question(
        id,
        Ask::Approval {
            command: command.into(),
            part: part.into(),
            rule: "recursive_delete".into(),
            reason: "deletes a directory tree".into(),
            allow_always: true,
        },
    )
}

pub(crate) fn clarify(id: &str, choices: &[&str]) -> Question {
    question(
        id,
        Ask::Clarify {
            question: "Which database should the service use?".into(),
            choices: choices.iter().map(|&choice| choice.into()).collect(),
        },
    )
}

fn question(id: &str, ask: Ask) -> Question {
    Question {
        answer: None,
        id: QuestionId(id.into()),
        turn: TurnId(1),
        call: CallId(id.into()),
        ask,
        asked_at: T0,
        timeout: 60_000,
        deadline: None,
    }
}

pub(crate) fn asked(question: Question) -> Event {
    Event::QuestionAsked { question }
}

pub(crate) fn started() -> Event {
    Event::TurnStarted { turn: TurnId(1), source: Source::User, at: T0 }
}

pub(crate) fn delta(text: &str) -> Event {
    Event::Delta { turn: TurnId(1), n: 1, part: Part::Text, text: text.into() }
}

/// Presses a key given as `a`, `enter`, `ctrl-c`, `alt-enter` …
pub(crate) fn press(app: &mut App, key: &str, at: Millis) -> Vec<Effect> {
    let mut modifiers = KeyModifiers::NONE;
    let mut name = key;
    for (prefix, modifier) in [
        ("ctrl-", KeyModifiers::CONTROL),
        ("alt-", KeyModifiers::ALT),
        ("shift-", KeyModifiers::SHIFT),
    ] {
        if let Some(rest) = name.strip_prefix(prefix) {
            modifiers |= modifier;
            name = rest;
        }
    }
    let code = match name {
        "enter" => KeyCode::Enter,
        "esc" => KeyCode::Esc,
        "up" => KeyCode::Up,
        "down" => KeyCode::Down,
        "left" => KeyCode::Left,
        "right" => KeyCode::Right,
        "home" => KeyCode::Home,
        "end" => KeyCode::End,
        "pgup" => KeyCode::PageUp,
        "pgdn" => KeyCode::PageDown,
        "tab" => KeyCode::Tab,
        "bs" => KeyCode::Backspace,
        "del" => KeyCode::Delete,
        "f2" => KeyCode::F(2),
        one => KeyCode::Char(one.chars().next().unwrap()),
    };
    app.on_key(KeyEvent::new(code, modifiers), at)
}

/// Types a text, key by key.
pub(crate) fn enter_text(app: &mut App, text: &str, at: Millis) {
    for c in text.chars() {
        app.on_key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE), at);
    }
}

/// The commands among effects.
pub(crate) fn sent(effects: Vec<Effect>) -> Vec<Command> {
    let command = |effect| match effect {
        Effect::Send(command) => Some(command),
        Effect::Upload { .. } | Effect::Save { .. } | Effect::Repaint | Effect::Quit(_) => None,
    };
    effects.into_iter().filter_map(command).collect()
}

pub(crate) fn paint(app: &mut App, width: u16, height: u16) -> (Buffer, Frame) {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    let frame = draw(app, &mut buffer);
    app.on_drawn();
    (buffer, frame)
}

/// The screen as text, the caret as `▮`.
pub(crate) fn picture(app: &mut App, width: u16, height: u16) -> String {
    let (buffer, frame) = paint(app, width, height);
    let mut out = String::new();
    for y in 0..height {
        let mut line = String::new();
        let mut skip = 0;
        for x in 0..width {
            if skip > 0 {
                skip -= 1;
                continue;
            }
            let symbol = buffer[(x, y)].symbol();
            skip = unicode_width::UnicodeWidthStr::width(symbol).saturating_sub(1);
            let here = frame.cursor.is_some_and(|cursor| (cursor.x, cursor.y) == (x, y));
            line.push_str(if here { "▮" } else { symbol });
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Another implementation of a terminal, to see what the bytes do.
pub(crate) fn other_terminal(width: u16, height: u16) -> vt100::Parser {
    let size = |n| std::num::NonZeroU16::new(n).unwrap();
    vt100::Parser::new(size(height), size(width), 0)
}
