//! Which lines are in view, and that streaming gives what the whole gives.

use protocol::{Event, Row, Transcript};

use super::markdown::{Stream, render};
use super::*;
use crate::app::App;
use crate::testing::*;
use crate::theme::{Palette, Theme};

fn theme() -> Theme {
    Theme::new(Palette::Ansi)
}

fn plain(lines: &[Line<'static>]) -> String {
    let line = |line: &Line<'static>| line.to_string().trim_end().to_owned();
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

const TEXT: &str = "Intro *text* over\ntwo lines.\n\n## Head\n\n- a\n- b\n  - c\n- d\n\n- e\n\n  more\n\n\
    1. x\n2. y\n3. z\n\nP\n\n1. x\n1. y\n1. z\n\n   q\n\n\
    ```rust\nfn a() {\n\n    b();\n}\n```\n\nMiddle `code`.\n\n~~~\nraw\n~~~\n> quote\n> more\n\n\
    | a | b |\n|---|--:|\n| 1 | 2 |\n\nEnd **bold**";

#[test]
fn a_text_streamed_in_any_pieces_looks_like_the_whole() {
    let mut whole = Stream::default();
    whole.update(TEXT, 0, 40, &theme());
    for step in [1, 2, 3, 7, 50] {
        let mut stream = Stream::default();
        let mut end = 0;
        while end < TEXT.len() {
            end = (end + step).min(TEXT.len());
            stream.update(&TEXT[..end], 0, 40, &theme());
        }
        assert_eq!(plain(stream.lines()), plain(whole.lines()), "in steps of {step}");
        assert_eq!(stream.lines(), whole.lines(), "in steps of {step}");
    }
    assert_eq!(plain(whole.lines()), plain(&render(TEXT, 40, &theme()).lines));
}

#[test]
fn finished_blocks_of_a_stream_are_not_rendered_again() {
    let mut stream = Stream::default();
    let mut text = String::new();
    for i in 0..2_000 {
        text += "Paragraph of the answer, ";
        text += &i.to_string();
        text += ".\n\n";
        stream.update(&text, 0, 80, &theme());
    }
    // Rendering all of it each time would take minutes.
    assert_eq!(stream.lines().len(), 3_999);
}

#[test]
fn finished_items_of_a_long_list_are_not_rendered_again() {
    let mut stream = Stream::default();
    let mut text = String::new();
    for i in 0..2_000 {
        text += "- an item of the list with *words* ";
        text += &i.to_string();
        text += "\n";
        stream.update(&text, 0, 80, &theme());
    }
    assert_eq!(stream.lines().len(), 2_000);
}

#[test]
fn a_huge_answer_shows_its_end_and_says_how_much_lies_above() {
    let text = "All work and no play.\n\n".repeat(1_000_000);
    let mut app = app(vec![user("write"), says(&text), says("the end")]);
    let shown = picture(&mut app, 80, 24);
    assert!(shown.contains("All work") && shown.contains("the end"), "{shown}");
    press(&mut app, "ctrl-home", T0);
    let shown = picture(&mut app, 80, 24);
    assert!(shown.contains("… 22") && shown.contains("kB above are not shown"), "{shown}");
}

fn scrolled() -> App {
    let mut app = app((1..=60).map(|i| user(&format!("prompt {i}"))).collect());
    picture(&mut app, 80, 24);
    press(&mut app, "pgup", T0);
    app
}

#[test]
fn text_that_comes_while_scrolled_up_does_not_move_the_view() {
    let mut app = scrolled();
    let before = picture(&mut app, 80, 20);
    let body = |picture: &str| picture.lines().take(17).map(str::to_owned).collect::<Vec<_>>();
    app.on_event(&started(), T0);
    for i in 0..200 {
        app.on_event(&delta(&format!("line {i}\n\n")), T0);
        assert_eq!(body(&picture(&mut app, 80, 20)), body(&before));
    }
    app.on_event(&Event::RowAdded { row: row(61, says("line")) }, T0);
    let after = picture(&mut app, 80, 20);
    assert_eq!(body(&after), body(&before));
    assert!(after.contains("↓ 1 new"), "{after}");
    press(&mut app, "end", T0);
    let end = picture(&mut app, 80, 20);
    assert!(end.contains("line") && !end.contains("new"), "{end}");
}

#[test]
fn the_view_stays_in_a_streamed_text_when_it_becomes_a_row() {
    let mut app = app(vec![user("go")]);
    app.on_event(&started(), T0);
    let text = (0..100).map(|i| format!("line {i}\n\n")).collect::<Vec<_>>().concat();
    app.on_event(&delta(&text), T0);
    picture(&mut app, 80, 24);
    app.on_wheel(-5, T0);
    let before = picture(&mut app, 80, 24);
    assert!(!before.contains("line 99"));
    app.on_event(&Event::RowAdded { row: row(2, says(&text)) }, T0);
    let after = picture(&mut app, 80, 24);
    let body = |picture: &str| picture.lines().take(20).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(body(&after), body(&before));
}

#[test]
fn scrolling_down_to_the_end_follows_again() {
    let mut app = scrolled();
    for _ in 0..20 {
        app.on_wheel(-1, T0);
    }
    for _ in 0..60 {
        app.on_wheel(1, T0);
    }
    assert!(picture(&mut app, 80, 24).contains("prompt 60"));
    assert!(app.view.is_following());
}

#[test]
fn scrolling_by_lines_shows_every_line_once() {
    let mut app = app((1..=30).map(|i| user(&format!("prompt {i}"))).collect());
    let first = picture(&mut app, 80, 10);
    assert!(first.contains("prompt 30"));
    press(&mut app, "ctrl-home", T0);
    assert!(picture(&mut app, 80, 10).contains("prompt 1\n"));
    let mut seen = String::new();
    for _ in 0..40 {
        seen += &picture(&mut app, 80, 10);
        app.on_wheel(1, T0);
    }
    for i in 1..=30 {
        assert!(seen.contains(&format!("❯ prompt {i}\n")), "{i}");
    }
}

#[test]
fn reaching_the_top_requests_older_rows_once() {
    let old = |n: u64| row(n, user(&format!("old {n}")));
    let transcript = Transcript {
        earlier: 500,
        rows: (501..=540).map(|n| Row { n, ..row(n, user(&format!("prompt {n}"))) }).collect(),
        ..window(vec![])
    };
    let mut app = attached(transcript);
    picture(&mut app, 80, 24);
    assert_eq!(app.on_drawn(), []);
    press(&mut app, "ctrl-home", T0);
    let (mut buffer, _) = paint(&mut app, 80, 24);
    buffer.reset();
    press(&mut app, "pgdn", T0);
    let before = picture(&mut app, 80, 24);
    assert_eq!(app.on_drawn(), [], "asked for already");
    app.on_event(&Event::Paged { rows: (301..=500).map(old).collect(), earlier: 300 }, T0);
    assert_eq!(picture(&mut app, 80, 24), before);
    for _ in 0..30 {
        app.on_wheel(-1, T0);
    }
    assert!(picture(&mut app, 80, 24).contains("old 4"));
}

#[test]
fn older_rows_appear_above_the_first_row() {
    let transcript = Transcript {
        earlier: 500,
        rows: (501..=540).map(|n| row(n, user(&format!("prompt {n}")))).collect(),
        ..window(vec![])
    };
    let mut app = attached(transcript);
    picture(&mut app, 80, 24);
    press(&mut app, "ctrl-home", T0);
    assert!(picture(&mut app, 80, 24).contains("↑ 500 earlier rows"));
    let rows = (301..=500).map(|n| row(n, user(&format!("old {n}")))).collect();
    app.on_event(&Event::Paged { rows, earlier: 300 }, T0);
    let shown = picture(&mut app, 80, 24);
    assert!(shown.starts_with("\n❯ prompt 501\n"), "{shown}");
}

#[test]
fn a_session_of_thousands_of_rows_lays_out_only_what_is_seen() {
    let rows = (0..4_000).map(|i| says(&format!("answer {i}\n\nwith *text*"))).collect();
    let mut app = app(rows);
    assert!(picture(&mut app, 80, 24).contains("answer 3999"));
    assert!(app.view.rows.len() < 20, "{}", app.view.rows.len());
}

#[test]
fn reasoning_is_shown_whole_on_request() {
    let mut answer = protocol::Assistant { text: "yes".into(), ..Default::default() };
    answer.reasoning = "deep thought".into();
    let mut app = app(vec![Body::Assistant(answer)]);
    assert!(!picture(&mut app, 80, 24).contains("deep thought"));
    press(&mut app, "ctrl-r", T0);
    assert!(picture(&mut app, 80, 24).contains("deep thought"));
}

#[test]
fn tables_fit_the_width() {
    let text = "| one | two |\n|---|---|\n| a rather long cell that must wrap | short |\n";
    for width in [10, 20, 40] {
        let lines = render(text, width, &theme()).lines;
        for line in &lines {
            assert!(crate::wrap::line_width(line) <= width, "{width}: {line}");
        }
        let letters = |text: &str| {
            let mut letters: Vec<char> = text.chars().filter(|c| c.is_alphabetic()).collect();
            letters.sort_unstable();
            letters
        };
        assert_eq!(letters(&plain(&lines)), letters(text), "at {width}");
    }
}

#[test]
fn the_output_of_a_live_call_is_shown_as_it_comes() {
    let mut app = app(vec![user("go")]);
    app.on_event(&started(), T0);
    let ask = row(2, calls(vec![call("1", "terminal", r#"{"command":"make"}"#)]));
    app.on_event(&Event::RowAdded { row: ask }, T0);
    let id = protocol::CallId("1".into());
    assert!(picture(&mut app, 80, 24).contains("terminal  make · waiting"));
    app.on_event(&Event::CallStarted { call: id.clone(), at: T0 }, T0);
    app.on_event(&Event::CallOutput { call: id, text: "compiling\n".into() }, T0);
    app.on_tick(T0 + 3_000);
    let shown = picture(&mut app, 80, 24);
    assert!(shown.contains("terminal  make · 3 s") && shown.contains("compiling"), "{shown}");
    let done = row(3, result("1", "terminal", r#"{"output":"compiling\ndone","exit_code":0}"#));
    app.on_event(&Event::RowAdded { row: done }, T0);
    assert!(picture(&mut app, 80, 24).contains("terminal  make · exit 0 · 1.2 s"));
}
