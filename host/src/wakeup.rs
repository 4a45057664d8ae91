//! The text that the agent reads about a background event, in hermes' wording (W24), and its length.
//! Pure text; the queue of events is in `session::ledger`.

use crate::process::WatchHit;
use crate::redact;
use protocol::{End, Exit, Process, ProcessId, Wakeup, WakeupKind};

/// Most characters of output a wakeup carries.
pub(crate) const TAIL: usize = 2_000;
/// Most characters of output all wakeups of one turn carry together (W06).
pub(crate) const TAILS: usize = 20_000;

/// Most characters of the result of one delegated task.
pub(crate) const RESULT: usize = 8_000;

const OUTPUT: &str = "\nOutput:\n";
const RESULT_MARK: &str = "\nResult:\n";
const MATCHED: &str = "\nMatched output:\n";

/// The wakeup for the end of a process. `output` is its last output, already plain and redacted.
pub(crate) fn exited(process: &ProcessId, command: &str, exit: &Exit, output: &str) -> Wakeup {
    let command = &*redact::secrets(command);
    let text = format!(
        "[IMPORTANT: Background process {process} {} (exit code {}{}).\nCommand: {command}{OUTPUT}{}]",
        status(exit),
        exit.code.map_or_else(|| "?".to_owned(), |c| c.to_string()),
        exit.signal.map(|s| format!(", {}", signal_name(s))).unwrap_or_default(),
        tail(output, TAIL, process),
    );
    Wakeup {
        process: process.clone(),
        kind: WakeupKind::Exit,
        ordinal: 0,
        command: command.to_owned(),
        exit: Some(exit.clone()),
        pattern: None,
        text,
    }
}

/// The wakeup for the end of a delegated task, with its result.
pub(crate) fn delegated(task: &ProcessId, goal: &str, exit: &Exit, result: &str) -> Wakeup {
    let goal = &*redact::secrets(goal);
    let result = redact::plain(result);
    let text = format!(
        "[IMPORTANT: Delegated task {task} {}.\nGoal: {goal}{RESULT_MARK}{}]",
        task_status(exit),
        both_ends(&redact::secrets(&result), RESULT, task),
    );
    Wakeup {
        process: task.clone(),
        kind: WakeupKind::Delegation,
        ordinal: 0,
        command: goal.to_owned(),
        exit: Some(exit.clone()),
        pattern: None,
        text,
    }
}

/// The wakeup for lines of a process that contain one of its patterns. `suppressed` lines before
/// them were counted and not delivered (P03).
pub(crate) fn matched(process: &Process, hit: &WatchHit, ordinal: u64, suppressed: u64) -> Wakeup {
    let (id, command) = (&process.id, redact::secrets(&process.command).into_owned());
    let earlier = match suppressed {
        0 => String::new(),
        n => format!("\n({n} earlier matches were suppressed by rate limit)"),
    };
    let text = format!(
        "[IMPORTANT: Background process {id} matched watch pattern \"{}\".\n\
         Command: {command}{MATCHED}{}{earlier}]",
        hit.pattern, hit.text,
    );
    Wakeup {
        process: id.clone(),
        kind: WakeupKind::Match,
        ordinal,
        command,
        exit: None,
        pattern: Some(hit.pattern.clone()),
        text,
    }
}

/// The wakeup that says that a watch was switched off; `suppressed` lines were not delivered.
pub(crate) fn watch_disabled(process: &Process, suppressed: u64) -> Wakeup {
    let (id, command) = (&process.id, redact::secrets(&process.command).into_owned());
    let text = format!(
        "[IMPORTANT: Watch patterns disabled for process {id}: its output matched too often, \
         again and again. No further match is told, only the end of the process.\n\
         Command: {command}\n({suppressed} earlier matches were suppressed by rate limit; \
         process log {id} shows them)]"
    );
    Wakeup {
        process: id.clone(),
        kind: WakeupKind::WatchDisabled,
        ordinal: 0,
        command,
        exit: None,
        pattern: None,
        text,
    }
}

/// How a delegated task ended.
pub(crate) fn task_status(exit: &Exit) -> &'static str {
    match (exit.end, exit.code) {
        (End::FailedStart, _) => "did not start",
        (End::Lost, _) => "was lost",
        (End::Killed, _) => "was stopped",
        (End::Exited, Some(0)) => "completed",
        (End::Exited, _) => "failed",
    }
}

/// How a process ended, in hermes' words.
pub(crate) fn status(exit: &Exit) -> &'static str {
    match (exit.end, exit.code) {
        (End::FailedStart, _) => "failed to start",
        (End::Lost, _) => "marked lost because the process backend disappeared",
        (End::Killed, _) => "terminated by request",
        (End::Exited, Some(0)) => "completed normally",
        (End::Exited, Some(_)) => "exited",
        (End::Exited, None) => "terminated by a signal",
    }
}

/// A line for people: `finished`, `failed (exit 3)`, `killed by SIGKILL` …
pub(crate) fn summary(exit: &Exit) -> String {
    match (exit.end, exit.code, exit.signal) {
        (End::FailedStart, _, _) => "failed to start".to_owned(),
        (End::Lost, _, _) => "lost: its supervisor is gone, the exit code is unknown".to_owned(),
        (End::Killed, _, _) => "killed".to_owned(),
        (End::Exited, Some(0), _) => "finished".to_owned(),
        (End::Exited, Some(code), _) => format!("failed (exit {code})"),
        (End::Exited, None, Some(signal)) => format!("killed by {}", signal_name(signal)),
        (End::Exited, None, None) => "ended, exit code unknown".to_owned(),
    }
}

/// Shrinks the longest outputs until all of them fit into [`TAILS`] together. No wakeup is left
/// out, and a shortened one names where the rest is.
pub(crate) fn fit(wakeups: &mut [Wakeup]) {
    fit_into(wakeups, TAILS);
}

fn fit_into(wakeups: &mut [Wakeup], budget: usize) {
    let lengths: Vec<usize> = wakeups.iter().map(|w| output_of(w).chars().count()).collect();
    if lengths.iter().sum::<usize>() <= budget {
        return;
    }
    // The largest cap under which everything fits: shorter outputs keep all they have.
    let mut sorted = lengths.clone();
    sorted.sort_unstable();
    let mut left = budget;
    let mut cap = 0;
    for (i, length) in sorted.iter().enumerate() {
        let share = left / (sorted.len() - i);
        if *length > share {
            cap = share;
            break;
        }
        left -= length;
        cap = *length;
    }
    for (wakeup, length) in wakeups.iter_mut().zip(lengths) {
        if length > cap {
            let output = output_of(wakeup);
            let head = wakeup.text.len() - output.len() - usize::from(wakeup.text.ends_with(']'));
            let shorter = match wakeup.kind {
                WakeupKind::Delegation => both_ends(output, cap, &wakeup.process),
                WakeupKind::Exit | WakeupKind::Match | WakeupKind::WatchDisabled => {
                    tail(output, cap, &wakeup.process)
                }
            };
            wakeup.text = format!("{}{shorter}]", &wakeup.text[..head]);
        }
    }
}

/// The beginning and the end of a result, at most `max` characters, with a mark between if cut.
pub(crate) fn both_ends(result: &str, max: usize, task: &ProcessId) -> String {
    let result = result.trim();
    let count = result.chars().count();
    if count <= max {
        return result.to_owned();
    }
    let mark = format!("\n[the middle is left out: process log {task}]\n");
    let room = max.saturating_sub(mark.chars().count());
    let (head, tail) = (room - room / 2, room / 2);
    let start: String = result.chars().take(head).collect();
    let end: String = result.chars().skip(count - tail).collect();
    format!("{start}{mark}{end}")
}

/// The part of a wakeup that may shrink.
fn output_of(wakeup: &Wakeup) -> &str {
    let Some(at) = output_at(wakeup) else { return "" };
    let output = &wakeup.text[at..];
    output.strip_suffix(']').unwrap_or(output)
}

/// Where the output begins in a wakeup that has some.
fn output_at(wakeup: &Wakeup) -> Option<usize> {
    let mark = match wakeup.kind {
        WakeupKind::Exit => OUTPUT,
        WakeupKind::Delegation => RESULT_MARK,
        WakeupKind::Match => MATCHED,
        WakeupKind::WatchDisabled => return None,
    };
    wakeup.text.find(mark).map(|at| at + mark.len())
}

/// The last `max` characters of `output`, from the beginning of a line, with a mark if cut.
fn tail(output: &str, max: usize, process: &ProcessId) -> String {
    let output = output.trim_end();
    let count = output.chars().count();
    if count <= max {
        return output.to_owned();
    }
    let mark = format!("[earlier output left out: process log {process}]\n");
    let room = max.saturating_sub(mark.chars().count());
    let start = output.char_indices().nth(count - room).map_or(output.len(), |(i, _)| i);
    let kept = &output[start..];
    let whole_lines = match kept.find('\n') {
        Some(i) if !output[..start].ends_with('\n') => &kept[i + 1..],
        Some(_) | None => kept,
    };
    format!("{mark}{whole_lines}")
}

/// The name of a signal, as far as it is a usual one.
fn signal_name(signal: i32) -> String {
    nix::sys::signal::Signal::try_from(signal)
        .map_or_else(|_| format!("signal {signal}"), |s| s.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Delivery, SessionId, State, TurnId, Watching, Work};

    fn id() -> ProcessId {
        ProcessId("proc_0123456789ab".to_owned())
    }

    fn exit(end: End, code: Option<i32>, signal: Option<i32>) -> Exit {
        Exit { end, code, signal, at: 0 }
    }

    #[test]
    fn a_wakeup_has_hermes_text_form() {
        // W24
        let wakeup = exited(&id(), "make", &exit(End::Exited, Some(2), None), "a\nb\n");
        assert_eq!(
            wakeup.text,
            "[IMPORTANT: Background process proc_0123456789ab exited (exit code 2).\n\
             Command: make\nOutput:\na\nb]"
        );
    }

    #[test]
    fn a_secret_in_a_command_is_redacted() {
        // W24
        let command = "curl -H 'Authorization: Bearer abcdefghijklmnop1234567890ABCD' x";
        let text = exited(&id(), command, &exit(End::Exited, Some(0), None), "").text;
        assert!(!text.contains("ghijklmnop1234567890"), "{text}");
    }

    fn task() -> ProcessId {
        ProcessId("deleg_0123456789ab".to_owned())
    }

    #[test]
    fn the_end_of_a_delegated_task_has_status_goal_and_result() {
        // W24
        for (end, code, status) in [
            (End::Exited, Some(0), "completed"),
            (End::Exited, Some(1), "failed"),
            (End::Killed, Some(1), "was stopped"),
            (End::Lost, None, "was lost"),
            (End::FailedStart, None, "did not start"),
        ] {
            let text = delegated(&task(), "Count it", &exit(end, code, None), "Three.\n").text;
            let expected = format!(
                "[IMPORTANT: Delegated task deleg_0123456789ab {status}.\nGoal: Count it\n\
                 Result:\nThree.]"
            );
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn a_long_result_keeps_both_ends_and_names_where_the_rest_is() {
        // W24
        let result = format!("first {} last", "ä".repeat(20_000));
        let wakeup = delegated(&task(), "x", &exit(End::Exited, Some(0), None), &result);
        let shown = output_of(&wakeup);
        assert_eq!(shown.chars().count(), RESULT);
        assert!(shown.starts_with("first ä") && shown.ends_with("ä last"));
        assert!(shown.contains("process log deleg_0123456789ab"));
    }

    #[test]
    fn long_results_and_outputs_share_one_budget() {
        // W06
        let long = format!("first {} last", "word\n".repeat(4_000));
        let done = exit(End::Exited, Some(0), None);
        let mut wakeups: Vec<_> = (0..3).map(|_| delegated(&task(), "x", &done, &long)).collect();
        wakeups.push(exited(&id(), "x", &done, "short"));
        fit(&mut wakeups);
        let total: usize = wakeups.iter().map(|w| output_of(w).chars().count()).sum();
        assert!(total <= TAILS, "{total}");
        for wakeup in &wakeups[..3] {
            let shown = output_of(wakeup);
            assert!(shown.starts_with("first word") && shown.ends_with(" last"), "{shown}");
            assert!(wakeup.text.ends_with(" last]"));
        }
        assert_eq!(output_of(&wakeups[3]), "short");
    }

    fn watched() -> Process {
        Process {
            id: id(),
            session: SessionId("s".to_owned()),
            turn: TurnId(1),
            work: Work::Command,
            command: "make\nOutput:\nnone".to_owned(),
            cwd: "/".to_owned(),
            pid: None,
            started_at: 0,
            state: State::Running,
            exit: None,
            notify: false,
            watch: vec!["ERROR".to_owned()],
            watching: Watching::default(),
            pty: false,
            killed_by: None,
            delivery: Delivery::Open,
        }
    }

    fn hit(text: &str) -> WatchHit {
        WatchHit { pattern: "ERROR".to_owned(), text: text.to_owned(), lines: 1, upto: 9, at: 0 }
    }

    #[test]
    fn a_match_has_hermes_text_form_and_says_what_was_suppressed() {
        // W24, P01, P03
        let head = "[IMPORTANT: Background process proc_0123456789ab matched watch pattern \
                    \"ERROR\".\nCommand: make\nOutput:\nnone\nMatched output:\nan ERROR";
        let wakeup = matched(&watched(), &hit("an ERROR"), 4, 0);
        assert_eq!(wakeup.text, format!("{head}]"));
        assert_eq!((wakeup.kind, wakeup.ordinal), (WakeupKind::Match, 4));
        let wakeup = matched(&watched(), &hit("an ERROR"), 4, 7);
        assert_eq!(
            wakeup.text,
            format!("{head}\n(7 earlier matches were suppressed by rate limit)]")
        );
    }

    #[test]
    fn matches_share_the_room_of_a_turn_with_the_ends() {
        // W06, P01
        let mut wakeups: Vec<_> =
            (0..20).map(|n| matched(&watched(), &hit(&"ERROR 1\n".repeat(250)), n, 0)).collect();
        wakeups.push(watch_disabled(&watched(), 3));
        let disabled = wakeups[20].text.clone();
        fit(&mut wakeups);
        let total: usize = wakeups.iter().map(|w| output_of(w).chars().count()).sum();
        assert!(total <= TAILS && total > TAILS / 2, "{total}");
        assert_eq!(wakeups[20].text, disabled);
        assert!(wakeups[0].text.contains("none\nMatched output:\n[earlier output left out"));
    }

    #[test]
    fn an_unknown_exit_code_is_a_question_mark_and_never_zero() {
        // W12, W24
        for (end, signal) in [(End::Lost, None), (End::FailedStart, None), (End::Exited, Some(9))] {
            let text = exited(&id(), "x", &exit(end, None, signal), "").text;
            assert!(text.contains("(exit code ?"), "{text}");
        }
        let text = exited(&id(), "x", &exit(End::Exited, None, Some(9)), "").text;
        assert!(text.contains("(exit code ?, SIGKILL)"), "{text}");
    }

    #[test]
    fn a_long_output_starts_at_a_line_and_says_that_it_is_cut() {
        // W24
        let output: String = (0..1000).map(|i| format!("line {i}\n")).collect();
        let wakeup = exited(&id(), "x", &exit(End::Exited, Some(0), None), &output);
        let shown = output_of(&wakeup);
        assert!(shown.chars().count() <= TAIL);
        let mut lines = shown.lines();
        assert_eq!(lines.next(), Some("[earlier output left out: process log proc_0123456789ab]"));
        assert!(lines.all(|l| l.starts_with("line ")));
        assert!(shown.ends_with("line 999"));
    }

    #[test]
    fn many_outputs_fit_together_and_the_longest_shrink_first() {
        // W06
        let long = "word\n".repeat(400);
        let mut wakeups: Vec<_> = (0..20)
            .map(|i| {
                let output = if i == 0 { "short" } else { &long };
                exited(&id(), "x", &exit(End::Exited, Some(0), None), output)
            })
            .collect();
        fit(&mut wakeups);
        let total: usize = wakeups.iter().map(|w| output_of(w).chars().count()).sum();
        assert!(total <= TAILS, "{total}");
        assert_eq!(output_of(&wakeups[0]), "short");
        assert!(wakeups[1].text.contains("process log proc_"));
        assert!(wakeups[19].text.ends_with("word]"));
    }

    #[test]
    fn a_cut_falls_on_a_line_and_never_takes_a_whole_one_with_it() {
        // W24
        let mark = "[earlier output left out: process log proc_0123456789ab]\n";
        let cut = |room: usize| {
            let output = format!("{}\nbbb\nccc", "a".repeat(100));
            let shown = tail(&output, mark.len() + room, &id());
            shown.strip_prefix(mark).unwrap().to_owned()
        };
        assert_eq!(cut(7), "bbb\nccc");
        assert_eq!(cut(6), "ccc");
        assert_eq!(cut(2), "cc", "a line that is longer than the room");
    }

    #[test]
    fn the_room_that_short_outputs_leave_goes_to_the_long_ones() {
        // W06
        let done = exit(End::Exited, Some(0), None);
        let fitted = |lengths: &[usize], budget| {
            let wakeups = lengths.iter().map(|n| exited(&id(), "x", &done, &"a".repeat(*n)));
            let mut wakeups: Vec<_> = wakeups.collect();
            fit_into(&mut wakeups, budget);
            wakeups.iter().map(|w| output_of(w).chars().count()).collect::<Vec<_>>()
        };
        assert_eq!(fitted(&[1_500, 100, 1_500], 2_100), [1_000, 100, 1_000]);
        assert_eq!(fitted(&[2_000, 1_000], 2_001), [1_001, 1_000], "to the last character");
        assert_eq!(fitted(&[1_000, 1_000], 2_000), [1_000, 1_000]);
    }

    #[test]
    fn each_kind_of_end_has_a_line_for_people() {
        // W12
        for (end, code, signal, line) in [
            (End::Exited, Some(0), None, "finished"),
            (End::Exited, Some(3), None, "failed (exit 3)"),
            (End::Exited, None, Some(9), "killed by SIGKILL"),
            (End::Exited, None, None, "ended, exit code unknown"),
            (End::Killed, Some(0), None, "killed"),
            (End::Lost, None, None, "lost: its supervisor is gone, the exit code is unknown"),
            (End::FailedStart, None, None, "failed to start"),
        ] {
            assert_eq!(summary(&exit(end, code, signal)), line);
        }
    }
}
