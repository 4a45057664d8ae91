//! What a real server said, whole and in pieces.

use std::path::PathBuf;

use super::*;

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/captures"))
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

fn stored(name: &str) -> decode::Session {
    let reply: decode::SessionReply = serde_json::from_slice(&read(name)).unwrap();
    reply.session
}

/// The names of all recorded streams that begin so.
fn streams(start: &str) -> Vec<String> {
    let names = std::fs::read_dir(folder()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names
        .filter(|n| {
            n.starts_with(start) && std::path::Path::new(n).extension().is_some_and(|e| e == "sse")
        })
        .collect();
    names.sort();
    assert!(!names.is_empty());
    names
}

/// The whole frames of a stream; what is cut off at its end is none.
fn frames(bytes: &[u8]) -> Vec<Frame> {
    placed(bytes).into_iter().map(|(_, frame)| frame).collect()
}

/// The same, each with the place of its end.
fn placed(bytes: &[u8]) -> Vec<(usize, Frame)> {
    let mut frames = Vec::new();
    let mut id = None;
    let mut rest = bytes;
    while let Some(end) = rest.windows(2).position(|two| two == b"\n\n") {
        let text = std::str::from_utf8(&rest[..end]).unwrap();
        rest = &rest[end + 2..];
        let (mut name, mut data) = (None, None);
        for line in text.lines() {
            match line.split_once(": ") {
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("event", value)) => name = Some(value.to_owned()),
                Some(("data", value)) => data = serde_json::from_str(value).ok(),
                _ => {}
            }
        }
        if let (Some(name), Some(data)) = (name, data) {
            frames.push((bytes.len() - rest.len(), Frame { id: id.clone(), name, data }));
        }
    }
    frames
}

fn seq(frame: &Frame) -> u64 {
    let id = frame.id.as_deref().unwrap_or_default();
    id.rsplit_once(':').map_or(0, |(_, seq)| seq.parse().unwrap())
}

/// What the server's journal holds of a turn: each number once, and the cancel, which goes out with
/// a number that is taken, with the next one.
fn journal(frames: &[Frame]) -> Vec<Frame> {
    let mut last = 0;
    let mut journal = Vec::new();
    for frame in frames {
        if seq(frame) > last {
            last = seq(frame);
            journal.push(frame.clone());
        } else if frame.name == "cancel" {
            let stream = frame.id.as_deref().unwrap().rsplit_once(':').unwrap().0;
            journal.push(Frame { id: Some(format!("{stream}:{}", last + 1)), ..frame.clone() });
        }
    }
    journal
}

/// The session as it was when the turn of that stream had begun, and as it was stored after it.
fn around(frames: &[Frame]) -> (decode::Session, decode::Session) {
    let after = frames.iter().find_map(|frame| match frame.name.as_str() {
        "done" | "cancel" | "apperror" => Some(frame.data["session"].clone()),
        _ => None,
    });
    let after: decode::Session = after.map_or_else(|| stored("session_after_crash.json"), session);
    let last = after.messages.iter().rposition(|message| message.role == "user").unwrap();
    let stream = frames[0].id.as_deref().unwrap().rsplit_once(':').unwrap().0;
    let take_requests = after.messages[last].clone();
    let before = decode::Session {
        active_stream_id: Some(stream.to_owned()),
        is_streaming: true,
        pending_user_message: Some(take_requests.content),
        pending_started_at: take_requests.timestamp,
        // A turn under way is stored in part: what is stored of it must not be told twice.
        messages: after.messages[..after.messages.len().min(last + 2)].to_vec(),
        ..after.clone()
    };
    (before, decode::Session { active_stream_id: None, is_streaming: false, ..after })
}

/// Feeds a view, and does for it what the server would.
fn play(view: &mut Harness, frames: &[Frame], after: &decode::Session) {
    for frame in frames {
        view.chat(frame);
    }
    if view.take_requests().contains(&Request::Load) {
        view.load(after);
    }
}

fn whole(frames: &[Frame]) -> Transcript {
    let (before, after) = around(frames);
    let mut view = Harness::on(&before);
    play(&mut view, frames, &after);
    view.fold
}

#[test]
fn each_recorded_turn_ends_in_the_transcript_that_was_stored() {
    // E10
    for name in streams("chat_stream_").into_iter().chain(streams("sessions_sid_")) {
        let frames = frames(&read(&name));
        let (_, after) = around(&frames);
        let mut fresh = Harness::on(&after);
        let view = whole(&frames);
        fresh.settle();
        assert!(view.running.is_none(), "{name}: the turn still runs");
        let texts = |rows: &[Row]| rows.iter().map(short).collect::<Vec<_>>();
        assert_eq!(texts(&view.rows), texts(&fresh.fold.rows), "{name}");
        assert!(view.rows.len() >= 2, "{name}");
    }
}

#[test]
fn a_turn_cut_at_any_byte_and_resumed_is_the_same_as_uncut() {
    // E03
    for name in streams("chat_stream_").into_iter().chain(streams("sessions_sid_")) {
        let bytes = read(&name);
        let all = frames(&bytes);
        let (before, after) = around(&all);
        let (uncut, journal) = (whole(&all), journal(&all));
        let places = placed(&bytes);
        let mut same = None;
        for cut in 0..=bytes.len() {
            let heads = places.iter().take_while(|(end, _)| *end <= cut).count();
            if same.replace(heads) == Some(heads) {
                // What is cut off is no frame: the same ones came as with the cut before.
                continue;
            }
            let head = &all[..heads];
            let mut view = Harness::on(&before);
            play(&mut view, head, &after);
            view.mirror.chat_opened();
            let cursor = head.iter().map(seq).max().unwrap_or(0);
            let rest: Vec<_> = journal.iter().filter(|f| seq(f) > cursor).cloned().collect();
            play(&mut view, &rest, &after);
            assert_eq!(view.fold, uncut, "{name} cut at {cut}");
        }
    }
}

#[test]
fn a_turn_replayed_from_its_start_repeats_nothing() {
    // E03: an unknown or foreign cursor is answered with everything.
    for name in streams("chat_stream_") {
        let all = frames(&read(&name));
        let (before, after) = around(&all);
        if seq(&all[0]) != 1 {
            continue;
        }
        let (uncut, journal) = (whole(&all), journal(&all));
        for cut in 0..all.len() {
            let mut view = Harness::on(&before);
            play(&mut view, &all[..cut], &after);
            view.mirror.chat_opened();
            play(&mut view, &journal, &after);
            assert_eq!(view.fold, uncut, "{name} cut after {cut} frames");
        }
    }
}

#[test]
fn what_no_server_has_said_yet_changes_nothing() {
    // E15
    for name in streams("chat_stream_") {
        let all = frames(&read(&name));
        let (before, after) = around(&all);
        let uncut = whole(&all);
        let mut view = Harness::on(&before);
        for one in &all {
            view.chat_event("brand_new_event", json!({"session_id": "other", "text": "x"}));
            view.chat_event("message", json!(["a", 1, null]));
            let mut newer = one.clone();
            if let Some(data) = newer.data.as_object_mut() {
                data.insert("zz_new".to_owned(), json!({"deep": [1, {"er": true}]}));
                if let Some(session) = data.get_mut("session").and_then(Value::as_object_mut) {
                    session.insert("zz_newer".to_owned(), json!("x"));
                }
            }
            view.chat(&newer);
        }
        if view.take_requests().contains(&Request::Load) {
            view.load(&after);
        }
        assert_eq!(view.fold, uncut, "{name}");
    }
}

#[test]
fn a_frame_with_nonsense_in_any_field_ends_nothing() {
    // E15
    for name in streams("chat_stream_") {
        let all = frames(&read(&name));
        let (before, after) = around(&all);
        for nonsense in [json!(null), json!(-1), json!([[]]), json!({"a": {}}), json!("\u{202e}")] {
            let mut view = Harness::on(&before);
            for one in &all {
                let keys: Vec<_> =
                    one.data.as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect();
                for key in keys {
                    let mut odd = one.clone();
                    odd.data[key] = nonsense.clone();
                    odd.id = None;
                    view.chat(&odd);
                }
                view.chat_event(&one.name, nonsense.clone());
                if view.take_requests().contains(&Request::Load) {
                    view.load(&after);
                }
            }
        }
    }
}

#[test]
fn a_channel_cut_anywhere_gives_the_same_transcript() {
    // E01
    for (name, file) in [
        ("session_stream_bg.sse", "session_after_wakeup.json"),
        ("session_stream_burst.sse", "session_after_burst.json"),
        ("session_stream_watch.sse", "session_after_watch.json"),
    ] {
        let (bytes, after) = (read(name), stored(file));
        let mut short = after.clone();
        short.messages.truncate(2);
        short.message_count = 2;
        let feed = |view: &mut Harness, frames: &[Frame]| {
            for frame in frames {
                view.channel(&frame.name, frame.data.clone());
                if view.take_requests().contains(&Request::Load) {
                    view.load(&after);
                }
            }
        };
        let mut uncut = Harness::on(&short);
        feed(&mut uncut, &frames(&bytes));
        assert_eq!(uncut.fold.rows.len(), after.messages.len(), "{name}");
        let (all, places) = (frames(&bytes), placed(&bytes));
        let mut same = None;
        for cut in 0..bytes.len() {
            let heads = places.iter().take_while(|(end, _)| *end <= cut).count();
            if same.replace(heads) == Some(heads) {
                continue;
            }
            let mut view = Harness::on(&short);
            feed(&mut view, &all[..heads]);
            // Subscribed again: a server that has more than is known says so.
            view.channel("initial", json!({"session_id": after.session_id}));
            if view.mirror.known_count() < after.message_count {
                let count = after.message_count;
                view.channel(
                    "session-updated",
                    json!({"session_id": after.session_id, "message_count": count}),
                );
                assert!(view.take_requests().contains(&Request::Load), "{name} cut at {cut}");
                view.load(&after);
            }
            assert_eq!(view.fold, uncut.fold, "{name} cut at {cut}");
        }
    }
}

#[test]
fn recorded_channels_report_each_background_event_once() {
    // E11 E12
    for name in streams("session_stream_") {
        let all = frames(&read(&name));
        let id = all[0].data["session_id"].as_str().unwrap();
        let mut ids: Vec<_> = all.iter().filter_map(|f| f.data["event_id"].as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut view = Harness::on(&decode::Session { session_id: id.to_owned(), ..at_rest(&[]) });
        for one in all.iter().chain(&all) {
            view.channel(&one.name, one.data.clone());
        }
        let take_events = view.take_events();
        let toasts = take_events.iter().filter(|event| matches!(event, Event::Toast(_)));
        assert_eq!(toasts.count(), ids.len(), "{name}");
    }
}

#[test]
fn the_recorded_list_can_be_read() {
    let list: decode::SessionList = serde_json::from_slice(&read("sessions_list.json")).unwrap();
    let rows = rows::list(&list.sessions);
    assert_eq!(rows.len(), list.sessions.len());
    assert!(rows.iter().all(|row| !row.title.is_empty() && row.active_at > 1_795_000_000_000));
    assert_eq!(rows.iter().filter(|row| row.running).count(), 1);
}

#[test]
fn a_wakeup_that_was_stored_as_a_message_is_a_card() {
    // W24
    let view = Harness::on(&stored("session_after_wakeup.json"));
    assert_eq!(view.rows()[4], "wakeup proc_1ef076545957");
    let view = Harness::on(&stored("session_after_watch.json"));
    assert!(view.rows().iter().any(|row| row.starts_with("wakeup proc_")), "{:?}", view.rows());
}

/// The questions in view after a frame of a stream of questions.
fn asked_by(view: &mut Harness, name: &str, frame: &Frame) -> Vec<String> {
    if name.contains("approval") {
        let head: decode::Pending<decode::Approval> = decode::read(frame.data.clone());
        view.mirror.approval(head.pending, frame.name != "initial", NOW);
    } else {
        let head: decode::Pending<decode::Clarify> = decode::read(frame.data.clone());
        view.mirror.clarify(head.pending, NOW);
    }
    view.settle();
    view.fold.questions.iter().map(|question| question.id.0.clone()).collect()
}

#[test]
fn a_stream_of_questions_cut_anywhere_shows_the_same_heads() {
    // E03 C04
    for name in [
        "approval_stream.sse",
        "clarify_stream.sse",
        "keepalive_approval.sse",
        "keepalive_clarify.sse",
    ] {
        let (bytes, session) = (read(name), busy(&[], "go", "s"));
        let (all, places) = (frames(&bytes), placed(&bytes));
        let mut uncut = Harness::on(&session);
        let shown: Vec<_> = all.iter().map(|frame| asked_by(&mut uncut, name, frame)).collect();
        let asks = all.iter().any(|frame| !frame.data["pending"].is_null());
        assert_eq!(shown.iter().any(|ids| !ids.is_empty()), asks, "{name}");
        let mut same = None;
        for cut in 0..=bytes.len() {
            let heads = places.iter().take_while(|(end, _)| *end <= cut).count();
            if heads == 0 || same.replace(heads) == Some(heads) {
                continue;
            }
            let mut view = Harness::on(&session);
            for frame in &all[..heads] {
                asked_by(&mut view, name, frame);
            }
            // Whoever comes back is told the head as it is now.
            let now = Frame { name: "initial".to_owned(), ..all[heads - 1].clone() };
            assert_eq!(asked_by(&mut view, name, &now), shown[heads - 1], "{name} cut at {cut}");
            for (frame, shown) in all[heads..].iter().zip(&shown[heads..]) {
                assert_eq!(asked_by(&mut view, name, frame), *shown, "{name} cut at {cut}");
            }
        }
    }
}

#[test]
fn streams_that_only_signal_change_nothing_in_view() {
    // E15: the list is asked for anew; the stream of other gateways is not followed.
    for name in [
        "sessions_events_bg.sse",
        "keepalive_sessions_events.sse",
        "keepalive_session_stream.sse",
        "gateway_stream.sse",
    ] {
        let mut view = Harness::on(&at_rest(&[user("hello"), assistant("hi")]));
        let before = view.fold.clone();
        for frame in frames(&read(name)) {
            view.channel(&frame.name, frame.data);
        }
        assert_eq!(view.fold, before, "{name}");
    }
}

#[test]
fn a_turn_with_silences_replayed_after_any_cut_is_the_same() {
    // E02 E07
    let bytes = read("keepalive_chat_stream.sse");
    let (all, places) = (frames(&bytes), placed(&bytes));
    let stream = all[0].id.as_deref().unwrap().rsplit_once(':').unwrap().0;
    let session = busy(&[], "go", stream);
    let mut uncut = Harness::on(&session);
    play(&mut uncut, &all, &session);
    let mut same = None;
    for cut in 0..=bytes.len() {
        let heads = places.iter().take_while(|(end, _)| *end <= cut).count();
        if same.replace(heads) == Some(heads) {
            continue;
        }
        let mut view = Harness::on(&session);
        play(&mut view, &all[..heads], &session);
        view.mirror.chat_opened();
        play(&mut view, &all, &session);
        assert_eq!(view.fold, uncut.fold, "cut at {cut}");
    }
}
