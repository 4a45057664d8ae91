//! One-shot runs: what they print, how they end, what they leave.

use std::net::TcpListener;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;

#[test]
fn the_answer_stands_alone_on_stdout() {
    let home = Home::new();
    let ran = home.run(&["-z", "hello"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.starts_with("Hello! I am the **demo model**"), "{ran:?}");
    assert!(ran.out.ends_with('\n') && !ran.out.ends_with("\n\n"), "{ran:?}");
    assert_eq!(ran.err, "");
    // Neither what was said before a tool call nor the call is the answer.
    let ran = home.run(&["-z", "tool"]);
    assert!(ran.out.starts_with("The command is done"), "{ran:?}");
    assert!(ran.out.contains("hello from the demo"), "{ran:?}");
    assert_eq!(ran.err, "");
}

#[test]
fn chat_tells_on_stderr_what_it_did_and_where() {
    let home = Home::new();
    let ran = home.run(&["chat", "-q", "tool"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.starts_with("The command is done"), "{ran:?}");
    assert!(ran.err.contains("hermes-tui: terminal done ("), "{ran:?}");
    assert!(ran.err.contains(&format!("session_id: {}\n", home.newest())), "{ran:?}");
    let ran = home.run(&["chat", "-Q", "-q", "tool"]);
    assert!(ran.out.starts_with("The command is done"), "{ran:?}");
    assert_eq!(ran.err, format!("session_id: {}\n", home.newest()));
}

#[test]
fn what_fails_is_said_on_stderr_with_1() {
    let home = Home::new();
    let ran = home.run(&["-z", "error"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.starts_with("hermes-tui: The demo model refused its key"), "{ran:?}");
    // C12: nobody can be asked.
    let ran = home.run(&["-z", "approval"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("needed an approval and was denied"), "{ran:?}");
}

#[test]
fn a_wrong_command_line_runs_nothing_and_ends_with_2() {
    let home = Home::new();
    for args in [
        &["--nosuch"][..],
        &["-z"],
        &["-z", "hi", "sessions", "list"],
        &["-c", "-r", "x", "-z", "hi"],
        &["--max-turns", "0", "-z", "hi"],
        // No terminal is there for the interface.
        &[],
    ] {
        let ran = home.run(args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?}");
        assert!(!ran.err.is_empty(), "{args:?}");
        assert!(!home.state().exists(), "{args:?}");
    }
}

#[test]
fn an_interrupt_ends_with_130_and_keeps_the_prompt() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let home = Home::new();
        let child = home.command(&["-z", "slow 600"]).spawn().unwrap();
        eventually("the turn", || home.sessions().first().cloned());
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        let ran = Ran::of(child.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.out.as_str()), (Some(130), ""), "{ran:?}");
        assert!(home.rows(&home.newest()).contains("slow 600"));
    }
}

#[test]
fn a_signal_ends_the_interface_and_gives_the_terminal_back() {
    let home = Home::new();
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        let mut on_screen = |pid| kill(Pid::from_raw(pid), signal).unwrap();
        let (code, bytes) = home.watched_in_terminal(&[], &mut on_screen);
        assert_eq!(code, 128 + signal as u32, "{signal}");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (_, after) = text.rsplit_once("\u{1b}[?1049h").unwrap();
        assert!(after.contains("\u{1b}[?1049l"), "{signal}: {after:?}");
        assert!(after.contains("\u{1b}[?25h"), "{signal}: the cursor is back: {after:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = Home::new();
    // More than a pipe holds.
    let mut child = home.command(&["-z", "long 500"]).spawn().unwrap();
    drop(child.stdout.take());
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let mut child = home.command(&["sessions", "show", &home.newest()]).spawn().unwrap();
    drop(child.stdout.take());
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
}

#[test]
fn an_answer_goes_unchanged_to_a_pipe_and_clean_to_a_terminal() {
    let home = Home::new();
    let ran = home.run(&["-z", "evil"]);
    for bytes in ["\u{1b}[31mred", "\u{1b}]0;pwned\u{7}", "\u{9b}31m", "\0", "\u{202e}"] {
        assert!(ran.out.contains(bytes), "{bytes:?} is missing: {:?}", ran.out);
    }
    let (code, bytes) = home.in_terminal(&["-z", "evil"], &[]);
    let text = String::from_utf8(bytes).unwrap().replace("\r\n", "\n");
    assert_eq!(code, 0, "{text:?}");
    assert!(text.contains("If this line looks like the others"), "{text:?}");
    assert!(!controls(&text), "{text:?}");
}

#[test]
fn a_session_is_resumed_by_id_by_prefix_and_by_title() {
    let home = Home::new();
    home.run(&["-z", "hello"]);
    let id = home.newest();
    // The title is set where titles are set.
    let (code, _) = home.in_terminal(&["-c"], &["/title first steps\r", "\u{4}", "\u{4}"]);
    assert_eq!(code, 0);
    home.run(&["-z", "help"]);
    for name in [id.as_str(), &id[..id.len() - 1], "first steps"] {
        let before = home.rows(&id).lines().count();
        let ran = home.run(&["--resume", name, "-z", "table"]);
        assert_eq!(ran.code, Some(0), "{name}: {ran:?}");
        assert!(ran.err.contains(&format!("Resumed session {id}")), "{name}: {ran:?}");
        assert_eq!(home.rows(&id).lines().count(), before + 2, "{name}");
        assert_eq!(home.newest(), id);
    }
    assert_eq!(home.sessions().len(), 2, "no run made a session of its own");
}

#[test]
fn continue_goes_on_with_the_newest_session() {
    let home = Home::new();
    let ran = home.run(&["-c", "-z", "hello"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.err.contains("no session to continue"), "{ran:?}");
    assert!(!home.state().join("hermes-tui.db").exists());
    home.run(&["-z", "hello"]);
    let first = home.newest();
    home.run(&["-z", "help"]);
    home.run(&["--resume", &first, "-z", "table"]);
    home.run(&["-c", "-z", "code"]);
    assert_eq!((home.newest(), home.sessions().len()), (first.clone(), 2));
    assert!(home.rows(&first).contains("\"code\""));
}

#[test]
fn a_session_that_is_not_there_is_said_with_1_and_none_is_made() {
    let home = Home::new();
    for args in [&["--resume", "nosuch", "-z", "hi"][..], &["sessions", "show", "nosuch"]] {
        let ran = home.run(args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{args:?}");
        assert!(ran.err.contains("Session not found: nosuch"), "{ran:?}");
    }
    let (code, bytes) = home.in_terminal(&["--resume", "nosuch"], &[]);
    assert_eq!(code, 1);
    assert!(String::from_utf8_lossy(&bytes).contains("Session not found: nosuch"));
    assert_eq!(home.sessions(), [] as [serde_json::Value; 0]);
}

#[test]
fn a_session_survives_a_restart_byte_for_byte() {
    let home = Home::new();
    for prompt in ["evil", "tools", "error cut", "think"] {
        let resumed = if prompt == "evil" { &["-z", prompt][..] } else { &["-c", "-z", prompt] };
        home.run(resumed);
    }
    let id = home.newest();
    let before = home.rows(&id);
    assert!(before.lines().count() > 8, "{before}");
    // The interface takes it up and leaves it.
    let (code, _) = home.in_terminal(&["-c"], &["\u{4}"]);
    assert_eq!(code, 0);
    assert_eq!(home.rows(&id), before);
}

#[test]
fn a_server_that_is_down_is_named_and_the_prompt_stays() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let home = Home::with(&format!(
        "model: {{base_url: 'http://127.0.0.1:{port}/v1', default: some-model}}\n\
         agent: {{api_max_retries: 0}}\n"
    ));
    let ran = home.run(&["-z", "what I asked"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    let said = format!("custom/some-model at 127.0.0.1:{port} cannot be reached");
    let also = format!("openai/some-model at 127.0.0.1:{port} cannot be reached");
    assert!(ran.err.contains(&said) || ran.err.contains(&also), "{ran:?}");
    assert!(home.rows(&home.newest()).contains("what I asked"));
}

#[test]
fn what_a_run_used_is_written_where_it_is_asked_for() {
    let home = Home::new();
    let file = home.work().join("usage.json");
    home.run(&["-z", "tool", "--usage-file", file.to_str().unwrap()]);
    let usage: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(usage["api_calls"], 2, "{usage}");
    assert_eq!(usage["completed"], true, "{usage}");
    assert_eq!(usage["session_id"].as_str().unwrap(), home.newest());
    assert!(usage["total_tokens"].as_u64().unwrap() > 0, "{usage}");
}

#[test]
fn a_state_folder_that_cannot_be_made_is_an_error_of_its_own() {
    let home = Home::new();
    fs::write(home.dir.path().join("file"), "").unwrap();
    let mut command = home.command(&["-z", "hello"]);
    command.env("HERMES_TUI_HOME", home.dir.path().join("file/state"));
    let ran = Ran::of(command.output().unwrap());
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.err.contains("file/state"), "{ran:?}");
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
}

#[test]
fn commands_of_another_backend_are_refused_until_allowed() {
    let home = Home::with("model: demo\nterminal: {backend: docker}\n");
    let ran = home.run(&["-z", "tool"]);
    assert!(!ran.out.contains("hello from the demo"), "{ran:?}");
    assert!(ran.err.contains("terminal.backend is docker"), "{ran:?}");
    let ran = home.run(&["--local-terminal", "-z", "tool"]);
    assert!(ran.out.contains("hello from the demo"), "{ran:?}");
    assert_eq!(ran.err, "");
    home.configure("model: demo\nterminal: {backend: docker}\nhermes_tui: {terminal: local}\n");
    assert!(home.run(&["-z", "tool"]).out.contains("hello from the demo"));
}
