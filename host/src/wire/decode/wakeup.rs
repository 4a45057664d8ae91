//! Wakeups by their text: a hermes-webui stores them as messages of the user, mostly unmarked.
//!
//! Two spellings are known, hermes' and the WebUI's. What only quotes such a text is not a wakeup:
//! the whole message must be one.

use super::session::WakeupMeta;
use protocol::{End, Exit, Millis, News, ProcessId, Wakeup, WakeupKind};

const OPEN: &str = "[IMPORTANT: ";
const PROCESS: &str = "Background process ";
const DELEGATED: &str = "[ASYNC DELEGATION COMPLETE — ";
const DELEGATED_BATCH: &str = "[ASYNC DELEGATION BATCH COMPLETE — ";

/// The wakeup that a message of the user is, if it is one.
pub(crate) fn wakeup(
    text: &str,
    at: Millis,
    meta: Option<&WakeupMeta>,
    marked: bool,
) -> Option<Wakeup> {
    if let Some(wakeup) = by_text(text, at) {
        return Some(wakeup);
    }
    if let Some(meta) = meta {
        return Some(by_meta(text, at, meta));
    }
    // The server says what it is, and no text of it is known: a card without details.
    marked.then(|| bare(WakeupKind::Exit, "", text))
}

fn by_meta(text: &str, at: Millis, meta: &WakeupMeta) -> Wakeup {
    let kind = match meta.kind.as_str() {
        "watch_match" => WakeupKind::Match,
        "watch_disabled" => WakeupKind::WatchDisabled,
        "async_delegation" => WakeupKind::Delegation,
        _ => WakeupKind::Exit,
    };
    let exit = matches!(kind, WakeupKind::Exit | WakeupKind::Delegation).then(|| Exit {
        end: End::Exited,
        code: meta.exit_code.as_i64().and_then(|code| i32::try_from(code).ok()),
        signal: None,
        at,
    });
    Wakeup {
        command: meta.command.clone(),
        exit,
        pattern: meta.pattern.clone(),
        ..bare(kind, &meta.task_id, text)
    }
}

fn bare(kind: WakeupKind, process: &str, text: &str) -> Wakeup {
    Wakeup {
        process: ProcessId(process.to_owned()),
        kind,
        ordinal: 0,
        command: String::new(),
        exit: None,
        pattern: None,
        text: text.to_owned(),
    }
}

fn by_text(text: &str, at: Millis) -> Option<Wakeup> {
    if let Some(wakeup) = delegated(text, at) {
        return Some(wakeup);
    }
    let inner = text.strip_prefix(OPEN)?.trim_end().strip_suffix(']')?;
    let (head, rest) = inner.split_once('\n').unwrap_or((inner, ""));
    match headline(head)? {
        Headline::Ended { process, end, code } => {
            let (command, _) = after_command(rest, "Output:")?;
            let exit = Some(Exit { end, code, signal: None, at });
            Some(Wakeup { command, exit, ..bare(WakeupKind::Exit, process, text) })
        }
        Headline::Matched { process, pattern } => {
            let (command, _) = after_command(rest, "Matched output:")?;
            let pattern = Some(pattern.to_owned());
            Some(Wakeup { command, pattern, ..bare(WakeupKind::Match, process, text) })
        }
        Headline::Task { process, end, code } => {
            let command = rest.strip_prefix("Goal: ")?.split_once("\nResult:")?.0.to_owned();
            let exit = Some(Exit { end, code, signal: None, at });
            Some(Wakeup { command, exit, ..bare(WakeupKind::Delegation, process, text) })
        }
        Headline::Disabled { process } => Some(bare(WakeupKind::WatchDisabled, process, text)),
        // What was dropped for all watches is no end and no match: the nearest kind there is.
        Headline::Overflow => Some(bare(WakeupKind::WatchDisabled, "", text)),
    }
}

/// `Command: …`, of one line or more, up to the line that follows it.
fn after_command<'a>(rest: &'a str, next: &str) -> Option<(String, &'a str)> {
    let rest = rest.strip_prefix("Command: ")?;
    let at = rest.find(&format!("\n{next}"))?;
    Some((rest[..at].to_owned(), &rest[at + 1 + next.len()..]))
}

fn delegated(text: &str, at: Millis) -> Option<Wakeup> {
    let rest = text.strip_prefix(DELEGATED).or_else(|| text.strip_prefix(DELEGATED_BATCH))?;
    let (head, body) = rest.split_once("]\n")?;
    let line = |name: &str| body.lines().find_map(|line| line.strip_prefix(name));
    let status = line("Status: ").and_then(|line| line.split_whitespace().next());
    let exit = status.map(|status| {
        let (end, code) = match status {
            "completed" | "success" => (End::Exited, Some(0)),
            "interrupted" => (End::Killed, None),
            _ => (End::Exited, Some(1)),
        };
        Exit { end, code, signal: None, at }
    });
    let command = line("Original goal: ").unwrap_or_default().to_owned();
    let id = head.split_whitespace().next().unwrap_or_default();
    Some(Wakeup { command, exit, ..bare(WakeupKind::Delegation, id, text) })
}

/// What the first line of a wakeup says.
enum Headline<'a> {
    Ended { process: &'a str, end: End, code: Option<i32> },
    Task { process: &'a str, end: End, code: Option<i32> },
    Matched { process: &'a str, pattern: &'a str },
    Disabled { process: &'a str },
    Overflow,
}

fn headline(head: &str) -> Option<Headline<'_>> {
    if let Some(rest) = head.strip_prefix("Watch patterns disabled for process ") {
        let process = rest.split([' ', ':']).next()?;
        return Some(Headline::Disabled { process });
    }
    if head.starts_with("Watch-pattern ") {
        return Some(Headline::Overflow);
    }
    if let Some(rest) = head.strip_prefix("Delegated task ") {
        let (process, said) = rest.split_once(' ')?;
        let (end, code) = match said.strip_suffix('.')? {
            "completed" => (End::Exited, Some(0)),
            "failed" => (End::Exited, Some(1)),
            "was stopped" => (End::Killed, None),
            "was lost" => (End::Lost, None),
            "did not start" => (End::FailedStart, None),
            _ => return None,
        };
        return Some(Headline::Task { process, end, code });
    }
    let (process, said) = head.strip_prefix(PROCESS)?.split_once(' ')?;
    if let Some(pattern) = said.strip_prefix("matched watch pattern \"") {
        return Some(Headline::Matched { process, pattern: pattern.strip_suffix("\".")? });
    }
    let (status, code) = said.strip_suffix(").")?.rsplit_once(" (")?;
    let code = code.strip_prefix("exit_code=").or_else(|| code.strip_prefix("exit code "))?;
    // `143, SIGTERM`: the name follows from the number.
    let code = code.split(',').next().unwrap_or_default().trim();
    let known = code.parse().ok();
    if known.is_none() && code != "?" && code != "None" {
        return None;
    }
    let end = match status {
        "completed" | "completed normally" | "exited" | "terminated by a signal" => End::Exited,
        "failed to start" => End::FailedStart,
        _ if status.starts_with("marked lost") => End::Lost,
        _ if status.starts_with("terminated by") => End::Killed,
        _ => return None,
    };
    Some(Headline::Ended { process, end, code: known })
}

/// What a toast tells, from the summary of a background event: its payload has no kind (P11).
pub(crate) fn news(summary: &str, at: Millis) -> (News, String) {
    use protocol::Delivery;
    let head = summary.strip_prefix(OPEN).or_else(|| summary.strip_prefix("IMPORTANT: "));
    let head = head.unwrap_or(summary).trim_end_matches(']').trim();
    let ended = |end, code| {
        let exit = Exit { end, code, signal: None, at };
        let text = crate::wakeup::summary(&exit);
        (News::Ended { exit, delivery: Delivery::Waiting }, text)
    };
    match headline(head) {
        Some(Headline::Ended { end, code, .. } | Headline::Task { end, code, .. }) => {
            ended(end, code)
        }
        Some(Headline::Matched { pattern, .. }) => {
            (News::Matched { pattern: pattern.to_owned() }, format!("matched {pattern:?}"))
        }
        Some(Headline::Disabled { .. }) => {
            (News::WatchDisabled, "watch switched off: it matched too often".to_owned())
        }
        Some(Headline::Overflow) if head.contains("released") || head.contains("resumed") => {
            (News::Released { dropped: 0 }, head.to_owned())
        }
        Some(Headline::Overflow) => (News::Tripped, head.to_owned()),
        None if head.is_empty() => (News::Unknown, "has news".to_owned()),
        None => (News::Unknown, head.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    type Parsed = (String, WakeupKind, String, Option<(End, Option<i32>)>);

    fn parsed(text: &str) -> Option<Parsed> {
        by_text(text, 5).map(|w| {
            assert_eq!(w.text, text);
            (w.process.0, w.kind, w.command, w.exit.map(|e| (e.end, e.code)))
        })
    }

    #[test]
    fn both_spellings_of_an_end_are_recognised() {
        // W24
        let ended = |status: &str| {
            format!("[IMPORTANT: Background process p1 {status}.\nCommand: make\nOutput:\nx\n]")
        };
        for (status, end, code) in [
            ("completed (exit_code=0)", End::Exited, Some(0)),
            ("completed (exit_code=-9)", End::Exited, Some(-9)),
            ("completed (exit_code=?)", End::Exited, None),
            ("completed (exit_code=None)", End::Exited, None),
            ("completed normally (exit code 0)", End::Exited, Some(0)),
            ("exited (exit code 7)", End::Exited, Some(7)),
            ("exited (exit code ?)", End::Exited, None),
            ("terminated by a signal (exit code ?, SIGKILL)", End::Exited, None),
            ("terminated by request (exit code 143, SIGTERM)", End::Killed, Some(143)),
            ("terminated by Hermes (exit code -15, SIGTERM)", End::Killed, Some(-15)),
            ("failed to start (exit code ?)", End::FailedStart, None),
            ("marked lost because the process backend disappeared (exit code ?)", End::Lost, None),
        ] {
            let expected =
                ("p1".to_owned(), WakeupKind::Exit, "make".to_owned(), Some((end, code)));
            assert_eq!(parsed(&ended(status)), Some(expected), "{status}");
        }
    }

    #[test]
    fn what_our_own_host_tells_is_recognised() {
        // W24
        let process = ProcessId("proc_0123456789ab".to_owned());
        let exit = Exit { end: End::Exited, code: Some(2), signal: None, at: 5 };
        let headline = crate::wakeup::exited(&process, "make\nall", &exit, "a\nb");
        assert_eq!(by_text(&headline.text, 5), Some(headline));
        let lost = Exit { end: End::Lost, code: None, signal: None, at: 5 };
        let headline = crate::wakeup::delegated(&process, "Count it", &lost, "Three.");
        assert_eq!(by_text(&headline.text, 5), Some(headline));
    }

    #[test]
    fn matches_switched_off_watches_and_overflows_are_recognised() {
        // W24
        let matched = "[IMPORTANT: Background process p1 matched watch pattern \"a \"b\" c\".\n\
                       Command: make\nMatched output:\nREADY\n(2 earlier matches were suppressed]";
        let wakeup = by_text(matched, 5).expect("a match");
        assert_eq!(
            (wakeup.kind, wakeup.pattern.as_deref()),
            (WakeupKind::Match, Some("a \"b\" c"))
        );
        for (text, process) in [
            ("[IMPORTANT: Watch patterns disabled for process p1 — too many.]", "p1"),
            ("[IMPORTANT: Watch-pattern overflow: >15 matches.]", ""),
        ] {
            let wakeup = by_text(text, 5).expect("a note");
            assert_eq!(
                (wakeup.kind, wakeup.process.0.as_str()),
                (WakeupKind::WatchDisabled, process)
            );
        }
        let task = "[ASYNC DELEGATION COMPLETE — deleg_1]\nA background subagent …\n\n\
                    Original goal: Count\nStatus: failed   API calls: 3\n--- RESULT ---\nno";
        let wakeup = by_text(task, 5).expect("a task");
        assert_eq!((wakeup.kind, wakeup.command.as_str()), (WakeupKind::Delegation, "Count"));
        assert_eq!(wakeup.exit.and_then(|e| e.code), Some(1));
    }

    #[test]
    fn what_only_quotes_a_wakeup_is_none() {
        // W24
        let real =
            "[IMPORTANT: Background process p1 completed (exit_code=0).\nCommand: x\nOutput:\ny]";
        for text in [
            format!("Why did you say {real}"),
            format!("{real}\nWhat does that mean?"),
            format!(" {real}"),
            "[IMPORTANT: Background process p1 completed (exit_code=0).]".to_owned(),
            "[IMPORTANT: Background process p1 completed (exit_code=zero).\nCommand: x\nOutput:\ny]"
                .to_owned(),
            "[IMPORTANT: read this first]".to_owned(),
            "[IMPORTANT: ".to_owned(),
            String::new(),
        ] {
            assert_eq!(parsed(&text), None, "{text}");
        }
    }

    #[test]
    fn metadata_tells_what_a_text_does_not() {
        // W24
        let meta = super::super::read(json!({
            "type": "watch_match", "task_id": "p9", "command": "make", "pattern": "READY",
        }));
        let wakeup = wakeup("a new wording", 5, Some(&meta), true).expect("marked");
        assert_eq!((wakeup.process.0.as_str(), wakeup.kind), ("p9", WakeupKind::Match));
        assert_eq!(wakeup.pattern.as_deref(), Some("READY"));
        let meta =
            super::super::read(json!({"type": "completion", "task_id": "p9", "exit_code": "?"}));
        let wakeup = super::wakeup("new", 5, Some(&meta), false).expect("marked");
        assert_eq!(wakeup.exit.map(|e| e.code), Some(None));
        assert!(super::wakeup("new", 5, None, true).is_some());
        assert!(super::wakeup("new", 5, None, false).is_none());
    }

    #[test]
    fn a_toast_gets_its_kind_from_the_summary() {
        // P11
        let is = |summary: &str| news(summary, 5);
        let code = |news: News| match news {
            News::Ended { exit, .. } => exit.code,
            other => panic!("{other:?}"),
        };
        let (ended, text) = is("IMPORTANT: Background process p1 completed (exit_code=7).");
        assert_eq!((code(ended), text.as_str()), (Some(7), "failed (exit 7)"));
        let (ended, text) = is("IMPORTANT: Background process p1 completed (exit_code=0).");
        assert_eq!((code(ended), text.as_str()), (Some(0), "finished"));
        let (matched, _) = is("IMPORTANT: Background process p1 matched watch pattern \"R\".");
        assert_eq!(matched, News::Matched { pattern: "R".to_owned() });
        assert_eq!(is("Watch patterns disabled for process p1 — x").0, News::WatchDisabled);
        assert_eq!(is("Watch-pattern overflow: >15").0, News::Tripped);
        assert_eq!(is("something new"), (News::Unknown, "something new".to_owned()));
        assert_eq!(is("").0, News::Unknown);
    }
}
