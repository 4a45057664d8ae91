//! What really goes to the terminal: replayed on another terminal, counted, and searched for
//! bytes that must not be there.

use protocol::{Event, Toast, WakeupKind};

use super::*;
use crate::app::App;
use crate::draw::draw;
use crate::testing::*;

const BEGIN: &[u8] = b"\x1b[?2026h";
const END: &[u8] = b"\x1b[?2026l";

/// One frame as the terminal gets it.
fn frame(screen: &mut Screen<Vec<u8>>, app: &mut App) -> Vec<u8> {
    screen.draw(|buffer| draw(app, buffer)).unwrap();
    app.on_drawn();
    std::mem::take(&mut screen.out)
}

fn screen(width: u16, height: u16) -> Screen<Vec<u8>> {
    Screen::new(Vec::new(), Kind::Full, width, height)
}

/// The cells of a buffer that differ from what a terminal shows.
fn differences(terminal: &vt100::Parser, buffer: &Buffer) -> Vec<String> {
    let mut found = Vec::new();
    for y in 0..buffer.area.height {
        let mut x = 0;
        while x < buffer.area.width {
            let cell = &buffer[(x, y)];
            let shown = terminal.screen().cell(y, x).unwrap();
            let same = shown.contents() == cell.symbol()
                || (cell.symbol() == " " && shown.contents().is_empty());
            if !same {
                found.push(format!("{x},{y}: {:?} for {:?}", shown.contents(), cell.symbol()));
            }
            x += if shown.is_wide() { 2 } else { 1 };
        }
    }
    found
}

/// A realistic answer in 1200 pieces.
fn pieces() -> Vec<String> {
    let step = |n: usize| {
        format!(
            "## Step {n}\n\nThe pump in `src/pump.rs` is started **twice**, once by the engine and \
             once by the guard that watches it, so the second start fails and the log fills.\n\n\
             1. stop the pump before the guard\n2. check `is_on` under the lock\n\n```rust\nfn \
             start(&mut self) -> Result<(), Error> {{\n    if self.on {{\n        return \
             Ok(());\n    }}\n    self.on = true;\n    Ok(())\n}}\n```\n\n"
        )
    };
    let text = (1..=60).map(step).collect::<Vec<_>>().concat();
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(16).take(1_200).map(|piece| piece.iter().collect()).collect()
}

#[test]
fn a_stream_of_12_seconds_costs_less_than_150_kb_and_every_frame_is_synchronized() {
    let mut app = app(vec![user("why?")]);
    app.on_event(&started(), T0);
    let mut screen = screen(80, 24);
    let mut terminal = other_terminal(80, 24);
    let pieces = pieces();
    assert_eq!(pieces.len(), 1_200);
    let (mut total, mut given) = (0, 0);
    // 12 s at 60 frames and 100 deltas a second; the clock of the status line goes on.
    for n in 1..=720 {
        app.on_tick(T0 + n * 1_000 / 60);
        while given < n as usize * 1_200 / 720 {
            app.on_event(&delta(&pieces[given]), T0 + n * 1_000 / 60);
            given += 1;
        }
        let bytes = frame(&mut screen, &mut app);
        if !bytes.is_empty() {
            assert!(bytes.starts_with(BEGIN) && bytes.ends_with(END));
            assert_eq!(bytes.windows(BEGIN.len()).filter(|w| *w == BEGIN).count(), 1);
        }
        total += bytes.len();
        terminal.process(&bytes);
        assert_eq!(differences(&terminal, &screen.shown), [""; 0], "in frame {n}");
    }
    println!("{total} bytes, {:?}", screen.drawn());
    assert_eq!(screen.drawn().bytes, total as u64);
    assert!(total < 150_000, "{total} bytes");
    assert!(total > 20_000, "{total} bytes are too few to be true");
}

#[test]
fn a_frame_that_changes_nothing_writes_nothing() {
    let mut app = app(vec![user("go"), says("# done\n\nyes")]);
    let mut screen = screen(80, 24);
    assert!(!frame(&mut screen, &mut app).is_empty());
    let drawn = screen.drawn();
    for _ in 0..3 {
        assert_eq!(frame(&mut screen, &mut app), [0; 0]);
    }
    assert_eq!(screen.drawn(), drawn);
    screen.repaint();
    assert!(!frame(&mut screen, &mut app).is_empty());
}

#[test]
fn scrolling_panels_cards_and_resizes_leave_what_was_meant_on_the_screen() {
    let answer = "日本語 and ✅ and 🚀\n\n- one\n- two\n\n";
    let rows = (0..40).flat_map(|i| [user(&format!("prompt {i}")), says(answer)]).collect();
    let mut app = app(rows);
    let mut screen = screen(80, 24);
    let mut terminal = other_terminal(80, 24);
    let keys = [
        "pgup",
        "pgup",
        "pgdn",
        "ctrl-home",
        "pgdn",
        "end",
        "a",
        "alt-enter",
        "b",
        "ctrl-u",
        "bs",
        "ctrl-b",
        "esc",
        "/",
        "down",
        "bs",
        "pgup",
        "ctrl-r",
        "ctrl-end",
        "ctrl-c",
    ];
    for (i, key) in keys.iter().enumerate() {
        press(&mut app, key, T0 + 10 * i as i64);
        for turns in [-1, -1, 1] {
            app.on_wheel(turns, T0);
            terminal.process(&frame(&mut screen, &mut app));
            assert_eq!(differences(&terminal, &screen.shown), [""; 0], "after {key}");
        }
    }
    for (width, height) in [(40, 12), (100, 30), (13, 5)] {
        screen.resize(width, height);
        terminal = other_terminal(width, height);
        terminal.process(&frame(&mut screen, &mut app));
        assert_eq!(differences(&terminal, &screen.shown), [""; 0], "at {width}×{height}");
    }
}

#[test]
fn a_scroll_costs_a_region_move_and_the_new_lines_not_the_screen() {
    let mut app = app((0..60).map(|i| user(&format!("{i} {}", "word ".repeat(12)))).collect());
    let mut screen = screen(80, 24);
    let whole = frame(&mut screen, &mut app).len();
    app.on_wheel(-1, T0);
    let moved = frame(&mut screen, &mut app).len();
    assert!(moved * 3 < whole, "{moved} of {whole}");
}

#[test]
fn a_basic_terminal_gets_no_scroll_regions() {
    let mut app = app((0..60).map(|i| user(&format!("prompt number {i}"))).collect());
    let mut screen = Screen::new(Vec::new(), Kind::of("linux"), 80, 24);
    frame(&mut screen, &mut app);
    app.on_wheel(-1, T0);
    let bytes = frame(&mut screen, &mut app);
    assert!(!bytes.is_empty());
    assert!(!String::from_utf8(bytes).unwrap().contains('S'));
}

/// Everything hostile at once.
const HOSTILE: &str = "safe\u{1b}[2J\u{1b}]0;owned\u{7}\u{1b}]52;c;YQ==\u{7}\u{9b}31m\u{90}q\u{9c}\
    \u{85}\u{7f}\u{8}\u{7}\u{0}\r\u{202e}evil\u{2066}\u{200b}\u{feff}&#27;[31m&#x9b;5m\u{1b}";

// No control byte of foreign text reaches the terminal, wherever it appears.
#[test]
fn foreign_text_brings_no_control_byte_to_the_terminal() {
    let json = serde_json::json!({
        "output": HOSTILE, "error": HOSTILE, "diff": HOSTILE, "exit_code": 1, "status": HOSTILE
    });
    let args = serde_json::json!({ "command": HOSTILE }).to_string();
    let mut transcript = window(vec![
        user(HOSTILE),
        says(&format!(
            "# {HOSTILE}\n\n`{HOSTILE}` [{HOSTILE}](http://{HOSTILE})\n\n```{HOSTILE}\n{HOSTILE}\n\
             ```\n\n| {HOSTILE} | b |\n|---|---|\n| {HOSTILE} | c |\n\n<b>{HOSTILE}</b>\n\n\
             ![{HOSTILE}](x)"
        )),
        calls(vec![call("1", "terminal", &args)]),
        result("1", HOSTILE, &json.to_string()),
        result("1", "terminal", HOSTILE),
        result(
            "1",
            "todo",
            &serde_json::json!({"todos": [{"content": HOSTILE, "status": "pending"}]}).to_string(),
        ),
        protocol::Body::Note { text: HOSTILE.into() },
        protocol::Body::Failure { message: HOSTILE.into() },
    ]);
    if let protocol::Body::Wakeup(mut wakeup) = wakeup(WakeupKind::Match, None) {
        wakeup.command = HOSTILE.into();
        wakeup.pattern = Some(HOSTILE.into());
        wakeup.text = format!("x\nOutput:\n{HOSTILE}\n{HOSTILE}]");
        wakeup.process.0 = HOSTILE.into();
        transcript.rows.push(row(9, protocol::Body::Wakeup(wakeup)));
    }
    transcript.title = Some(HOSTILE.into());
    transcript.model = HOSTILE.into();
    transcript.held = Some(HOSTILE.into());
    transcript.steer = Some(HOSTILE.into());
    transcript.storage = protocol::Storage::Failing(HOSTILE.into());
    transcript.queued =
        vec![protocol::Queued { id: protocol::PromptId("p".into()), text: HOSTILE.into() }];
    let mut process = process(HOSTILE, protocol::State::Running, None);
    process.command = HOSTILE.into();
    process.delivery = protocol::Delivery::Held(HOSTILE.into());
    transcript.processes = vec![process];
    let mut app = attached(transcript);
    app.on_event(&started(), T0);
    let running = app.transcript.running.as_mut().unwrap();
    running.reasoning = HOSTILE.into();
    running.calls.push(protocol::LiveCall {
        call: call("2", "terminal", &args),
        started_at: None,
        output: HOSTILE.into(),
    });
    let mut screen = screen(80, 400);
    let mut bytes = frame(&mut screen, &mut app);
    app.on_event(&delta(&format!("{HOSTILE}\n\n```\n{HOSTILE}")), T0);
    app.on_event(
        &Event::TurnStatus {
            turn: protocol::TurnId(1),
            text: Some(HOSTILE.into()),
            activity: protocol::Activity::Other,
        },
        T0,
    );
    app.on_event(
        &Event::Toast(Toast {
            session: protocol::SessionId("other".into()),
            name: HOSTILE.into(),
            process: Some(protocol::ProcessId(HOSTILE.into())),
            news: protocol::News::Ended {
                exit: exit(protocol::End::Lost, None),
                delivery: protocol::Delivery::Open,
            },
            text: HOSTILE.into(),
        }),
        T0,
    );
    let failure = protocol::Failure {
        about: protocol::Subject::Unknown(HOSTILE.into()),
        message: HOSTILE.into(),
    };
    app.on_event(&Event::Failed(failure), T0);
    app.on_paste(HOSTILE, T0);
    app.on_event(&asked(approval("q", HOSTILE, HOSTILE)), T0);
    bytes.extend(frame(&mut screen, &mut app));
    app.transcript.questions = vec![clarify("r", &[HOSTILE])];
    bytes.extend(frame(&mut screen, &mut app));
    press(&mut app, "ctrl-b", T0);
    bytes.extend(frame(&mut screen, &mut app));
    press(&mut app, "k", T0);
    bytes.extend(frame(&mut screen, &mut app));
    press(&mut app, "enter", T0);
    let id = protocol::ProcessId(HOSTILE.into());
    app.on_event(&Event::ProcessTail { id, text: HOSTILE.into() }, T0);
    bytes.extend(frame(&mut screen, &mut app));
    app.panel = Some(crate::app::Panel::Sessions(crate::sessions::Sessions::new(
        &[protocol::SessionRow {
            parent: None,
            compressions: 0,
            archived: false,
            id: protocol::SessionId(HOSTILE.into()),
            title: HOSTILE.into(),
            started_at: T0,
            active_at: T0,
            rows: 1,
            model: HOSTILE.into(),
            source: HOSTILE.into(),
            cwd: HOSTILE.into(),
            ..protocol::SessionRow::default()
        }],
        &protocol::SessionId("x".into()),
        HOSTILE,
        T0,
    )));
    bytes.extend(frame(&mut screen, &mut app));
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("safe"));
    let foreign = [
        "\u{1b}]",
        "\u{1b}[2J\u{1b}]",
        "\u{1b}P",
        "\u{7}",
        "\u{8}",
        "\u{7f}",
        "\u{0}",
        "\r",
        "\n",
        "\t",
    ];
    for needle in foreign {
        assert!(!text.contains(needle), "{needle:?}");
    }
    let hidden = text.chars().find(|c| *c != '\u{1b}' && crate::clean::is_hidden(*c));
    assert_eq!(hidden, None);
    // What is left of ESC are our own sequences: CSI only, and of these only the kinds we send.
    for sequence in text.split('\u{1b}').skip(1) {
        let end = sequence.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(0);
        let kind = &sequence[end..=end];
        assert!(sequence.starts_with('['), "{sequence:?}");
        assert!("HJmhlrST".contains(kind), "{sequence:?}");
    }
    assert_eq!(text.matches("\u{1b}[2J").count(), 1, "only the first frame clears");
}

#[test]
fn a_move_is_found_only_when_it_saves_something() {
    let lines = |texts: &[&str]| Buffer::with_lines(texts.iter().copied());
    let old = lines(&["one one one one one", "two two two two two", "three three three", "x"]);
    let new = lines(&["two two two two two", "three three three  ", "four               ", "x"]);
    assert_eq!(shift(&old, &new, &(0..3)), 1);
    assert_eq!(shift(&new, &old, &(0..3)), -1);
    assert_eq!(shift(&old, &old, &(0..3)), 0);
    assert_eq!(shift(&old, &lines(&["a", "b", "c", "d"]), &(0..3)), 0);
    let mut buffer = old.clone();
    moved(&mut buffer, &(0..3), 1);
    assert_eq!(buffer[(0, 0)].symbol(), "t");
    assert_eq!(buffer[(0, 2)], Cell::default());
    assert_eq!(buffer[(0, 3)].symbol(), "x");
}

/// Terminals that do not join a skin tone with its hand show four columns where others show two.
#[test]
fn what_a_terminal_takes_for_wider_leaves_nothing_behind() {
    let text = |text: &'static str| {
        move |buffer: &mut Buffer| {
            buffer.set_string(0, 1, text, ratatui::style::Style::new());
            Frame { scrolls: 0..3, cursor: None }
        }
    };
    let mut screen = screen(20, 3);
    let mut terminal = other_terminal(20, 3);
    let row = |terminal: &vt100::Parser| -> Vec<String> {
        terminal.screen().rows(0, 20).map(|row| row.trim_end().to_owned()).collect()
    };
    terminal.process(b"\x1b[?7l");
    for (shown, wanted) in [
        ("before 👍🏽👍🏽 and…", Some(" and…")),
        ("before 👍🏽👍🏽 xnd…", Some(" xnd…")),
        ("before 👍🏽👍🏽 👍🏽👍🏽👍🏽", None),
        ("x", None),
    ] {
        screen.draw(text(shown)).unwrap();
        terminal.process(&std::mem::take(&mut screen.out));
        let row = row(&terminal);
        assert!(row[1].starts_with(&shown[..1]), "{row:?}");
        assert!(wanted.is_none_or(|end| row[1].ends_with(end)), "{row:?}");
        assert_eq!((row[0].as_str(), row[2].as_str()), ("", ""), "{row:?}");
    }
    assert_eq!(row(&terminal)[1], "x");
}
