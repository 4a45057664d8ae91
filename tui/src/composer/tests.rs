//! Editing, history, pastes.

use super::*;

fn typed(text: &str) -> Composer {
    let mut composer = Composer::default();
    composer.set_width(80);
    for c in text.chars() {
        composer.on_action(if c == '\n' { Action::Newline } else { Action::Text(c) });
    }
    composer
}

fn act(composer: &mut Composer, actions: &[Action]) {
    for action in actions {
        composer.on_action(*action);
    }
}

#[test]
fn keys_edit_by_graphemes_words_and_lines() {
    let mut c = typed("one two👩\u{200d}👧");
    act(&mut c, &[Action::Backspace]);
    assert_eq!(c.text(), "one two");
    act(&mut c, &[Action::DeleteWord]);
    assert_eq!(c.text(), "one ");
    act(&mut c, &[Action::Yank, Action::LineStart, Action::Text('>'), Action::WordRight]);
    act(&mut c, &[Action::DeleteToEnd]);
    assert_eq!(c.text(), ">one");
    act(&mut c, &[Action::Newline, Action::Text('x'), Action::DeleteToStart]);
    assert_eq!(c.text(), ">one\n");
    act(&mut c, &[Action::Left, Action::Delete]);
    assert_eq!(c.text(), ">one");
}

#[test]
fn up_and_down_move_by_lines_then_through_the_history() {
    let mut c = typed("");
    c.remember("first");
    c.remember("second");
    act(&mut c, &[Action::Text('d'), Action::Newline, Action::Text('e')]);
    act(&mut c, &[Action::Up]);
    assert_eq!(c.text(), "d\ne");
    act(&mut c, &[Action::Up]);
    assert_eq!(c.text(), "second");
    act(&mut c, &[Action::Up, Action::Up]);
    assert_eq!(c.text(), "first");
    act(&mut c, &[Action::Down, Action::Down]);
    assert_eq!(c.text(), "d\ne", "the draft is the newest entry");
}

#[test]
fn a_huge_paste_is_folded_until_it_is_sent() {
    let mut c = typed("see ");
    c.paste("a\r\n\tb\rc");
    assert_eq!(c.text(), "see a\n\tb\nc");
    c.clear();
    let huge = "line\n".repeat(500);
    c.paste(&huge);
    c.on_action(Action::Text('!'));
    assert_eq!(c.text(), "[Pasted text #1: 500 lines]!");
    assert_eq!(c.expanded(), format!("{huge}!"));
    act(&mut c, &[Action::Backspace, Action::Backspace]);
    assert!(c.is_empty(), "a placeholder goes as a whole");
    c.paste(&huge);
    assert_eq!(c.take(), huge);
    act(&mut c, &[Action::Up]);
    c.clear();
    let tricky = format!("{}[Pasted text #2: 500 lines]", "x".repeat(2_000));
    c.paste(&tricky);
    c.paste(&huge);
    assert_eq!(c.expanded(), format!("{tricky}{huge}"), "a placeholder inside a paste is text");
    c.clear();
    act(&mut c, &[Action::Up]);
    assert_eq!(c.expanded(), huge, "the history knows what was sent");
}

#[test]
fn the_caret_stands_where_the_next_character_goes() {
    let c = typed("hello world 日本");
    let layout = c.layout(10);
    assert_eq!(layout.lines, ["hello ", "world ", "日本"]);
    assert_eq!(layout.caret, (4, 2));
    let c = typed("aaaaaaaaa");
    assert_eq!(c.layout(10).caret, (9, 0));
    let c = typed("a\n");
    assert_eq!(c.layout(10).caret, (0, 1));
    assert_eq!(typed("").layout(0).lines, [""]);
}

#[test]
fn control_bytes_in_a_paste_are_kept_but_shown_as_dots() {
    let mut c = typed("");
    c.paste("a\u{1b}[31mb\u{202e}");
    assert_eq!(c.expanded(), "a\u{1b}[31mb\u{202e}");
    assert!(!c.layout(40).lines.concat().contains(['\u{1b}', '\u{202e}']));
}
