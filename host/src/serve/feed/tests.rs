//! Feeds: the state alone with plain events, and their lifetime on a real host.

use serde_json::json;

use super::*;
use crate::embedded::{EmbeddedHost, Role};
use crate::serve::channel::ChannelReader;
use crate::serve::chat::TapeReader;
use crate::serve::questions::QuestionReader;
use crate::serve::tape::{Read, Tape};
use crate::serve::tests::eventually;
use crate::store::Lock;
use crate::wire::encode::frame::Frame;
use protocol::{
    Ask, Assistant, Body, CallId, Choice, End, Exit, LiveCall, Outcome, Part, Row, Running, Source,
    Stop, Target, Toast, ToolCall, ToolResult,
};

const SESSION: &str = "20260102_030405_abcdef";

fn id() -> SessionId {
    SessionId(SESSION.to_owned())
}

fn streams() -> SessionStreams {
    SessionStreams { session: "20260102030405abcdef".to_owned(), nonce: "0f0f".to_owned() }
}

fn window() -> Transcript {
    Transcript { session: id(), ..Transcript::default() }
}

fn opened(transcript: Transcript) -> State {
    let mut state = State::new(streams(), Instant::now());
    state.apply(&attached(transcript, false), 0);
    state
}

fn attached(transcript: Transcript, resynced: bool) -> Event {
    Event::Attached { transcript: Box::new(transcript), resynced }
}

fn started(turn: u64) -> Event {
    Event::TurnStarted { turn: TurnId(turn), source: Source::User, at: 1_000 }
}

fn delta(turn: u64, n: u64, text: &str) -> Event {
    Event::Delta { turn: TurnId(turn), n, part: Part::Text, text: text.to_owned() }
}

fn row(n: u64, turn: u64, body: Body) -> Event {
    Event::RowAdded { row: Row { n, turn: TurnId(turn), at: 1_000, cut: 0, body } }
}

fn call() -> ToolCall {
    let args = json!({ "command": "ls", "background": true });
    ToolCall { id: CallId("c1".to_owned()), name: "terminal".to_owned(), args }
}

/// A turn with text, a call, its result and text again.
fn turn() -> Vec<Event> {
    let answer = |text: &str, calls| {
        Body::Assistant(Assistant {
            text: text.to_owned(),
            calls,
            stop: Stop::End,
            ..Assistant::default()
        })
    };
    let result = ToolResult {
        call: call().id,
        name: "terminal".to_owned(),
        text: json!({ "output": "a b", "exit_code": 0 }).to_string(),
        failed: false,
        millis: 1500,
        unanswered: false,
    };
    vec![
        started(3),
        row(7, 3, Body::User { text: "go".to_owned() }),
        delta(3, 1, "I will "),
        delta(3, 2, "look."),
        row(8, 3, answer("I will look.", vec![call()])),
        Event::CallStarted { call: call().id, at: 1_100 },
        row(9, 3, Body::Tool(result)),
        delta(3, 3, "There "),
        delta(3, 4, "it is."),
        row(10, 3, answer("There it is.", Vec::new())),
        Event::TurnEnded { turn: TurnId(3), outcome: Outcome::Done, at: 2_000 },
    ]
}

fn apply_all(state: &mut State, events: &[Event]) {
    for event in events {
        state.apply(event, 1_000);
    }
}

fn fold(transcript: &mut Transcript, events: &[Event]) {
    for event in events {
        transcript.apply(event);
    }
}

/// All frames of a tape: names and data.
fn frames_of(tape: &Tape) -> Vec<(String, serde_json::Value)> {
    let mut text = String::new();
    let mut after = tape.start().expect("its beginning");
    while let Read::Frames(bytes, upto) = tape.read(after) {
        text += std::str::from_utf8(&bytes).unwrap();
        after = upto;
    }
    let field = |block: &str, name: &str| {
        block.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned()
    };
    let blocks = text.split("\n\n").filter(|block| !block.is_empty());
    let one = |b: &str| (field(b, "event:"), serde_json::from_str(&field(b, "data:")).unwrap());
    blocks.map(one).collect()
}

/// The text and the tools, in order, however the text was cut into pieces.
fn gist(frames: &[(String, serde_json::Value)]) -> Vec<String> {
    let mut gist: Vec<String> = Vec::new();
    for (name, data) in frames {
        match (name.as_str(), gist.last_mut()) {
            ("token", Some(last)) if last.starts_with("token ") => {
                last.push_str(data["text"].as_str().unwrap());
            }
            ("token", _) => gist.push(format!("token {}", data["text"].as_str().unwrap())),
            ("tool" | "tool_complete", _) => gist.push(format!("{name} {}", data["tid"])),
            ("metering", _) => {}
            _ => gist.push(name.clone()),
        }
    }
    gist
}

#[test]
fn a_turn_is_encoded_as_text_and_tools_and_its_end() {
    let mut state = opened(window());
    apply_all(&mut state, &turn());
    let run = state.runs.back().unwrap();
    let frames = frames_of(&run.tape);
    assert_eq!(
        gist(&frames),
        [
            "context_status",
            "token I will look.",
            "tool \"c1\"",
            "tool_complete \"c1\"",
            "token \n\nThere it is.",
            "done",
            "stream_end"
        ]
    );
    let data = |name: &str| &frames.iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!(data("tool")["args"], json!({ "command": "ls", "background": "True" }));
    let complete = data("tool_complete");
    assert_eq!((&complete["preview"], &complete["duration"]), (&json!("a b"), &json!(1.5)));
    assert_eq!(data("done")["usage"]["duration_seconds"], 1.0);
    assert!(run.tape.is_ended() && run.outcome == Some(Outcome::Done));
    assert_eq!(run.tape.name(), "20260102030405abcdef000000030f0f");
}

// E01 E02
#[test]
fn a_feed_opened_at_any_moment_of_a_turn_encodes_all_of_it() {
    let mut whole = opened(window());
    apply_all(&mut whole, &turn());
    let wanted = gist(&frames_of(&whole.runs.back().unwrap().tape));
    for late in 1..turn().len() {
        let mut before = window();
        fold(&mut before, &turn()[..late]);
        let mut state = opened(before);
        apply_all(&mut state, &turn()[late..]);
        assert_eq!(
            gist(&frames_of(&state.runs.back().unwrap().tape)),
            wanted,
            "after {late} events"
        );
    }
}

// E04
#[test]
fn a_resync_restarts_a_tape_and_no_reader_skips_a_gap() {
    for gap in 2..turn().len() {
        let mut state = opened(window());
        apply_all(&mut state, &turn()[..gap - 1]);
        let last = state.runs.back().unwrap().tape.last();
        let mut missed = window();
        fold(&mut missed, &turn()[..gap]);
        let channel = state.channel.last();
        state.apply(&attached(missed, true), 1_000);
        assert!(state.channel.last() > channel, "clients reload the session");
        apply_all(&mut state, &turn()[gap..]);
        let tape = &state.runs.back().unwrap().tape;
        assert!((0..=last).all(|after| matches!(tape.read(after), Read::Behind(_))), "{gap}");
        let frames = gist(&frames_of(tape));
        assert_eq!(frames[1], "token I will look.", "{gap}: {frames:?}");
        assert_eq!(frames.last().unwrap(), "stream_end");
    }
}

#[test]
fn a_tape_that_cannot_end_asks_to_reload_the_session() {
    let mut state = opened(window());
    apply_all(&mut state, &turn()[..3]);
    state.apply(&attached(window(), true), 1_000);
    let check = |state: &State| {
        let tape = &state.runs.back().unwrap().tape;
        assert!(tape.is_ended());
        let frames = frames_of(tape);
        let (name, data) = frames.last().unwrap();
        assert_eq!((name.as_str(), &data["recovery_control"]), ("apperror", &json!(true)));
    };
    check(&state);
    let mut state = opened(window());
    apply_all(&mut state, &turn()[..3]);
    state.end();
    check(&state);
}

// E06
#[test]
fn toasts_and_windows_of_another_session_change_nothing_here() {
    let mut state = opened(window());
    let (channel, tapes) = (state.channel.last(), state.runs.len());
    let toast = |session: &str| {
        Event::Toast(Toast {
            session: SessionId(session.to_owned()),
            name: String::new(),
            process: Some(protocol::ProcessId("proc_1".to_owned())),
            news: protocol::News::Ended {
                exit: Exit { end: End::Exited, code: Some(3), signal: None, at: 5_000 },
                delivery: protocol::Delivery::Waiting,
            },
            text: "make".to_owned(),
        })
    };
    assert!(!state.apply(&toast("20260102_030405_000000"), 0).unwrap().channel);
    let other = Transcript { session: SessionId("other".to_owned()), ..Transcript::default() };
    assert_eq!(state.apply(&attached(other, false), 0), None);
    assert_eq!((state.channel.last(), state.runs.len()), (channel, tapes));
    assert_eq!(state.transcript.session, id());
    assert!(state.apply(&toast(SESSION), 0).unwrap().channel);
    assert_eq!(state.channel.last(), channel + 2, "under both names");
    let Read::Frames(bytes, _) = state.channel.read(channel) else { panic!() };
    let text = std::str::from_utf8(&bytes).unwrap();
    assert!(text.contains("Background process proc_1 completed (exit_code=3)."), "{text}");
}

fn question_asked(n: usize, kind: &str) -> Event {
    let ask = match kind {
        "approval" => Ask::Approval {
            command: format!("rm {n}"),
            part: String::new(),
            rule: "delete".to_owned(),
            reason: "deletes".to_owned(),
            allow_always: true,
        },
        _ => Ask::Clarify { question: format!("{n}?"), choices: Vec::new() },
    };
    Event::QuestionAsked {
        question: Question {
            id: QuestionId(format!("q{n}")),
            turn: TurnId(3),
            call: CallId(format!("c{n}")),
            ask,
            asked_at: 0,
            timeout: 60_000,
            deadline: None,
            answer: None,
        },
    }
}

// C01 C02
#[test]
fn a_turns_stream_shows_each_new_head_and_number_of_a_kind() {
    let mut state = opened(window());
    state.apply(&started(3), 0);
    state.apply(&question_asked(1, "approval"), 0);
    state.apply(&question_asked(2, "approval"), 0);
    state.apply(&question_asked(3, "clarify"), 0);
    // Its clock starts: the same head, nothing new.
    state.apply(&question_asked(1, "approval"), 0);
    let gone = Event::QuestionResolved {
        id: QuestionId("q1".to_owned()),
        answer: Answer::Approval(Choice::Deny),
        by: None,
    };
    state.apply(&gone, 0);
    let frames = frames_of(&state.runs.back().unwrap().tape);
    let shown: Vec<_> = frames
        .iter()
        .filter(|(name, _)| name == "approval" || name == "clarify")
        .map(|(_, d)| {
            let id = if d["kind"] == "clarify" { &d["clarify_id"] } else { &d["approval_id"] };
            format!("{} of {}", id.as_str().unwrap(), d["pending_count"])
        })
        .collect();
    assert_eq!(shown, ["q1 of 1", "q1 of 2", "q3 of 1", "q2 of 1"]);
}

// C07
#[test]
fn a_question_is_claimed_once_and_without_an_id_only_if_alone() {
    let mut state = opened(window());
    let claim = |state: &mut State, id: Option<&str>| {
        state.claim(Kind::Approval, id, "me".to_owned()).map(|q| q.id.0)
    };
    assert_eq!(claim(&mut state, None), Err(0));
    state.apply(&question_asked(1, "approval"), 0);
    state.apply(&question_asked(2, "clarify"), 0);
    state.apply(&question_asked(3, "approval"), 0);
    assert_eq!(claim(&mut state, None), Err(2), "it is ambiguous");
    assert_eq!(claim(&mut state, Some("q2")), Err(2), "another kind");
    assert_eq!(claim(&mut state, Some("q3")), Ok("q3".to_owned()));
    assert_eq!(claim(&mut state, Some("q3")), Err(1), "it is claimed");
    assert_eq!(claim(&mut state, None), Err(1), "an answer sent twice is not the next one's");
    let answer = Answer::Approval(Choice::Once);
    let id = QuestionId("q3".to_owned());
    state.apply(&Event::QuestionResolved { id, answer, by: None }, 0);
    assert_eq!(claim(&mut state, None), Ok("q1".to_owned()));
    state.release(&QuestionId("q1".to_owned()));
    assert_eq!(claim(&mut state, Some("q1")), Ok("q1".to_owned()));
}

#[test]
fn tapes_of_many_turns_do_not_pile_up() {
    let mut state = opened(window());
    for turn in 1..=50 {
        state.apply(&started(turn), 0);
        state.apply(&delta(turn, 1, &"x".repeat(1_000_000)), 0);
        let outcome = Outcome::Done;
        state.apply(&Event::TurnEnded { turn: TurnId(turn), outcome, at: 0 }, 0);
    }
    let turns: Vec<u64> = state.runs.iter().map(|run| run.turn.0).collect();
    assert_eq!(turns, (43..=50).collect::<Vec<_>>());
    assert!(state.runs.iter().map(|run| run.tape.bytes()).sum::<usize>() < 17 * 1024 * 1024);
}

// E03
#[test]
fn a_reader_without_a_cursor_continues_where_the_last_one_left() {
    let mut state = opened(window());
    state.apply(&started(3), 0);
    state.apply(&delta(3, 1, "a"), 0);
    assert_eq!(state.join(TurnId(3)), Some(0), "the first one misses nothing");
    state.enter_tape(TurnId(3));
    let now = state.runs.back().unwrap().tape.last();
    assert_eq!(state.join(TurnId(3)), Some(now), "a second one joins");
    state.leave_tape(TurnId(3), 1);
    assert_eq!(state.join(TurnId(3)), Some(1));
    let outcome = Outcome::Done;
    state.apply(&Event::TurnEnded { turn: TurnId(3), outcome, at: 0 }, 0);
    assert_eq!(state.join(TurnId(3)), Some(0), "what has ended is replayed");
}

#[test]
fn a_call_running_in_the_first_window_has_its_name() {
    let running = Running {
        turn: TurnId(3),
        source: Source::Wakeup,
        started_at: 1_000,
        n: 2,
        reasoning: "hm".to_owned(),
        text: "so".to_owned(),
        calls: vec![LiveCall { call: call(), started_at: Some(5), output: String::new() }],
        status: None,
        cancelling: false,
    };
    let state = opened(Transcript { running: Some(running), ..window() });
    let frames = frames_of(&state.runs.back().unwrap().tape);
    assert_eq!(gist(&frames), ["context_status", "reasoning", "token so", "tool \"c1\""]);
}

fn host(dir: &std::path::Path) -> EmbeddedHost {
    crate::embedded::start(crate::serve::tests::settings_in(dir), Role::Owner).unwrap()
}

/// A stored session without views.
async fn session(local: &EmbeddedHost) -> SessionId {
    let mut view = local.attach(Target::New, Attendance::Attended);
    let id = protocol::PromptId::fresh();
    view.send(Command::Prompt { id, text: "hello".to_owned() });
    let mut transcript = Transcript::default();
    while let Some(event) = view.next().await {
        transcript.apply(&event);
        if matches!(event, Event::TurnEnded { .. }) {
            return transcript.session;
        }
    }
    panic!("the host ended");
}

/// Whether the host has the session in memory: it holds its lease then.
fn is_loaded(dir: &std::path::Path, session: &SessionId) -> bool {
    Lock::take(&dir.join("state/leases").join(&session.0)).is_err()
}

// E05
#[tokio::test]
async fn a_session_leaves_memory_a_while_after_its_last_reader() {
    let dir = tempfile::tempdir().unwrap();
    let local = host(dir.path());
    let id = session(&local).await;
    eventually("it is unloaded", || !is_loaded(dir.path(), &id)).await;
    let linger = Duration::from_millis(150);
    let feeds = Feeds::with_linger(&local.handle(), linger);
    let one = feeds.lease(&id).await.unwrap();
    let two = feeds.lease(&id).await.unwrap();
    assert!(Arc::ptr_eq(&one.feed, &two.feed), "one view for all");
    drop(one);
    tokio::time::sleep(linger * 3).await;
    assert!(feeds.holds(&id) && is_loaded(dir.path(), &id), "it has a reader");
    drop(two);
    assert!(feeds.holds(&id), "not at once");
    eventually("the feed goes", || !feeds.holds(&id)).await;
    eventually("the session goes", || !is_loaded(dir.path(), &id)).await;
    // And it comes again, as it was.
    let again = feeds.lease(&id).await.unwrap();
    assert!(again.read(|t| t.rows.len()) >= 2);
    drop(again);
    let unknown = feeds.lease(&SessionId("20200101_000000_000000".to_owned())).await;
    assert!(unknown.is_err());
    // Names that clients invent cost nothing.
    for n in 0..100 {
        assert!(feeds.lease(&SessionId(format!("no such {n}"))).await.is_err());
    }
    assert_eq!(feeds.0.stream_ids.hashed().len(), 0);
    local.end().await;
}

// E05
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_taken_while_a_feed_closes_gets_one_that_works() {
    let dir = tempfile::tempdir().unwrap();
    let local = host(dir.path());
    let id = session(&local).await;
    let feeds = Feeds::with_linger(&local.handle(), Duration::from_micros(300));
    for round in 0..300_u64 {
        let lease = feeds.lease(&id).await.unwrap();
        let title = format!("title {round}");
        lease.send(Command::SetTitle { session: None, title: title.clone() });
        let mut changes = lease.channel_changes();
        while lease.read(|t| t.title.as_ref() != Some(&title)) {
            let changed = tokio::time::timeout(Duration::from_secs(30), changes.changed()).await;
            changed.expect("the feed lives").unwrap();
        }
        drop(lease);
        tokio::time::sleep(Duration::from_micros(round * 7 % 600)).await;
    }
    local.end().await;
}

#[tokio::test]
async fn a_feed_ends_with_its_session_and_with_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let local = host(dir.path());
    let (gone, stays) = (session(&local).await, session(&local).await);
    let feeds = Feeds::with_linger(&local.handle(), LINGER);
    let (one, two) = (feeds.lease(&gone).await.unwrap(), feeds.lease(&stays).await.unwrap());
    one.send(Command::Delete { session: gone.clone() });
    tokio::time::timeout(Duration::from_secs(30), one.closed()).await.expect("it ends");
    assert!(feeds.lease(&gone).await.is_err());
    local.end().await;
    tokio::time::timeout(Duration::from_secs(30), two.closed()).await.expect("it ends");
    assert!(feeds.lease(&stays).await.is_err());
}

#[tokio::test]
async fn the_id_of_a_stream_names_its_turn_and_the_run_of_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let local = host(dir.path());
    let feeds = Feeds::with_linger(&local.handle(), LINGER);
    let ids = [SESSION, "20260102_030405_abcdef12", "x", "00000000_000000_ffffff", "ßßßß"];
    for id in ids.map(|id| SessionId(id.to_owned())) {
        let stream = feeds.stream_id(&id, TurnId(0x1234));
        assert!(stream.len() == 32 && stream.bytes().all(|b| b.is_ascii_hexdigit()), "{stream}");
        let parsed = feeds.parse(&stream).unwrap();
        assert_eq!(parsed, StreamId { session: id, turn: TurnId(0x1234), is_current: true });
    }
    let id = id();
    let stream = feeds.stream_id(&id, TurnId(7));
    let another = Feeds::with_linger(&local.handle(), LINGER);
    let foreign = another.parse(&stream).unwrap();
    let same_nonce = feeds.0.stream_ids.nonce == another.0.stream_ids.nonce;
    assert_eq!((foreign.session, foreign.turn, foreign.is_current), (id, TurnId(7), same_nonce));
    for nonsense in ["", "deadbeef", &"g".repeat(32), &"ä".repeat(16)] {
        assert_eq!(feeds.parse(nonsense), None, "{nonsense}");
    }
    local.end().await;
}

// E01, E02
#[tokio::test]
async fn a_subscriber_gets_a_running_turn_once_unless_cancelling() {
    let dir = tempfile::tempdir().unwrap();
    let local = host(dir.path());
    let id = session(&local).await;
    let feeds = Feeds::with_linger(&local.handle(), LINGER);
    let lease = feeds.lease(&id).await.unwrap();
    // The events of a new subscriber up to the one with the title `end`.
    let received = async |end: &str| {
        let initial = Frame::new("initial", json!({}));
        let mut one =
            ChannelReader::new(feeds.lease(&id).await.unwrap(), &feeds, &initial, None, None);
        assert!(lease.feed.apply(&Event::TitleChanged { title: end.to_owned() }, 0));
        let mut text = String::new();
        while !text.contains(end) {
            let next = tokio::time::timeout(Duration::from_secs(30), one.next()).await;
            text += std::str::from_utf8(&next.unwrap().unwrap()).unwrap();
        }
        text.lines().filter_map(|line| Some(line.strip_prefix("event: ")?.to_owned())).collect()
    };
    assert!(lease.feed.apply(&started(70), 0));
    let names: Vec<String> = received("one").await;
    assert_eq!(names, ["initial", "server_turn_started", "title"]);
    assert_eq!(lease.read(|t| feeds.active(t)), Some(feeds.stream_id(&id, TurnId(70))));
    assert!(lease.feed.apply(&Event::TurnCancelling { turn: TurnId(70) }, 0));
    let names: Vec<String> = received("two").await;
    assert_eq!(names, ["initial", "title"]);
    assert_eq!(lease.read(|t| feeds.active(t)), None, "nothing to attach to");
    drop(lease);
    local.end().await;
}

// E04
#[tokio::test]
async fn a_slow_channel_reader_reloads_the_session_and_continues() {
    let dir = tempfile::tempdir().unwrap();
    let local = host(dir.path());
    let id = session(&local).await;
    let feeds = Feeds::with_linger(&local.handle(), LINGER);
    let lease = feeds.lease(&id).await.unwrap();
    let initial = Frame::new("initial", json!({}));
    let mut slow =
        ChannelReader::new(feeds.lease(&id).await.unwrap(), &feeds, &initial, None, None);
    let title = |title: String| Event::TitleChanged { title };
    for n in 0..100 {
        assert!(lease.feed.apply(&title(format!("{n}{}", "x".repeat(10_000))), 0));
    }
    let mut receive = async || {
        let next = tokio::time::timeout(Duration::from_secs(30), slow.next()).await;
        String::from_utf8(next.expect("a frame").unwrap().to_vec()).unwrap()
    };
    assert!(receive().await.contains("event: initial"));
    let text = receive().await;
    assert!(text.contains("event: session-updated") && text.contains("resync"), "{text}");
    assert!(lease.feed.apply(&title("after".to_owned()), 0));
    let text = receive().await;
    assert!(text.matches("event: ").count() == 1 && text.contains("after"), "{text}");
    drop(lease);
    local.end().await;
}

// E04
#[tokio::test]
async fn a_slow_tape_reader_is_asked_to_reload_before_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let local = host(dir.path());
    let id = session(&local).await;
    let feeds = Feeds::with_linger(&local.handle(), LINGER);
    let lease = feeds.lease(&id).await.unwrap();
    assert!(lease.feed.apply(&started(70), 0));
    let mut slow = TapeReader::new(feeds.lease(&id).await.unwrap(), TurnId(70), 0);
    let missed = lease.read(Transcript::clone);
    assert!(lease.feed.apply(&attached(missed, true), 0));
    let mut receive =
        async || tokio::time::timeout(Duration::from_secs(30), slow.next()).await.expect("a frame");
    let text = String::from_utf8(receive().await.expect("not a bare end").to_vec()).unwrap();
    assert!(text.contains("event: apperror"), "{text}");
    assert!(text.contains("recovery_control") && text.contains("offline_dropped_events"), "{text}");
    assert_eq!(receive().await, None);
    drop(lease);
    local.end().await;
}

// E05
#[test]
fn a_feed_without_readers_stays_as_long_as_its_turn_runs() {
    let mut state = opened(window());
    assert!(state.idle_until(LINGER).is_some());
    apply_all(&mut state, &turn()[..1]);
    assert_eq!(state.idle_until(LINGER), None);
    apply_all(&mut state, &turn()[1..]);
    assert!(state.idle_until(LINGER).is_some());
    state.users = 1;
    assert_eq!(state.idle_until(LINGER), None, "it has a reader");
}

// S04
#[test]
fn a_new_title_and_removed_rows_are_announced_on_the_channel() {
    let mut state = opened(window());
    apply_all(&mut state, &turn());
    let announced = |state: &mut State, event: &Event| {
        let before = state.channel.last();
        assert!(state.apply(event, 0).unwrap().channel);
        let Read::Frames(bytes, _) = state.channel.read(before) else {
            panic!("nothing is announced")
        };
        String::from_utf8(bytes.to_vec()).unwrap()
    };
    let text = announced(&mut state, &Event::TitleChanged { title: "another".to_owned() });
    assert!(text.contains("event: title\n") && text.contains("another"), "{text}");
    let text = announced(&mut state, &Event::RowsRemoved { after: 6 });
    assert!(text.contains("event: session-updated\n"), "{text}");
}

// C01 C06
#[tokio::test]
async fn a_question_resolved_behind_the_head_changes_the_count() {
    let dir = tempfile::tempdir().unwrap();
    let local = host(dir.path());
    let id = session(&local).await;
    let feeds = Feeds::with_linger(&local.handle(), LINGER);
    let lease = feeds.lease(&id).await.unwrap();
    for event in [started(70), question_asked(1, "approval"), question_asked(2, "approval")] {
        assert!(lease.feed.apply(&event, 0));
    }
    let mut shown = QuestionReader::new(feeds.lease(&id).await.unwrap(), Kind::Approval);
    let mut receive = async || {
        let next = tokio::time::timeout(Duration::from_secs(30), shown.next()).await;
        String::from_utf8(next.expect("a frame").unwrap().to_vec()).unwrap()
    };
    let text = receive().await;
    assert!(text.contains("\"q1\"") && text.contains("\"pending_count\":2"), "{text}");
    let id = QuestionId("q2".to_owned());
    let answer = Answer::Approval(Choice::Deny);
    assert!(lease.feed.apply(&Event::QuestionResolved { id, answer, by: None }, 0));
    let text = receive().await;
    let text = text.split("event: approval\n").nth(1).expect(&text);
    assert!(text.contains("\"q1\"") && text.contains("\"pending_count\":1"), "{text}");
    drop(lease);
    local.end().await;
}
