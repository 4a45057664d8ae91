//! What outlives turns: the channel of a session, its relay, the news of the list.

use super::*;

// E06 E11 E12 W02
#[tokio::test]
async fn a_completion_is_sent_once_per_name_where_it_belongs() {
    let site = Site::new(Server::obedient().await).await;
    let (a, b) = (site.session().await, site.session().await);
    let mut channel = site.open(&format!("/api/session/stream?session_id={a}")).await;
    let mut other = site.open(&format!("/api/session/stream?session_id={b}")).await;
    assert_eq!(other.next().await.unwrap().event, "initial");
    let order: Vec<String> = (0..5).map(|n| background(&format!("echo task{n}"))).collect();
    let stream = site.prompt(&a, &order.join("\n")).await;
    assert_eq!(names(&site.replay(&stream).await.rest().await).last(), Some(&"stream_end"));

    let mut seen: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut turns = BTreeSet::new();
    let mut last = None;
    while seen.values().map(Vec::len).sum::<usize>() < 10 || turns.len() < 2 {
        let frame = channel.next().await.unwrap();
        last = frame.id.clone().or(last);
        match frame.event.as_str() {
            "bg_task_complete" => seen.entry("canonical").or_default().push(frame.data),
            "process_complete" => seen.entry("alias").or_default().push(frame.data),
            "server_turn_started" => {
                turns.insert(frame.data["stream_id"].to_string());
            }
            _ => {}
        }
    }
    assert_eq!(seen["canonical"], seen["alias"], "one event under two names");
    let ids: BTreeSet<_> = seen["canonical"].iter().map(|d| d["event_id"].to_string()).collect();
    let tasks: BTreeSet<_> = seen["canonical"].iter().map(|d| d["task_id"].to_string()).collect();
    assert_eq!((ids.len(), tasks.len()), (5, 5));
    for data in &seen["canonical"] {
        let (task, summary) =
            (data["task_id"].as_str().unwrap(), data["summary"].as_str().unwrap());
        let said = format!("IMPORTANT: Background process {task} completed (exit_code=0).");
        assert_eq!(summary, said);
    }
    // What the channel has told is told again to who comes back with its cursor, and no more.
    let path = format!("/api/session/stream?session_id={a}");
    let first = channel.text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    let mut again = site.open_after(&path, Some(&first)).await;
    assert_eq!(again.next().await.unwrap().event, "initial");
    let mut repeated = Vec::new();
    while repeated.last().and_then(|f: &Frame| f.id.clone()) != last {
        repeated.push(again.next().await.unwrap());
    }
    let all = parsed(&channel.text);
    let from = all.iter().position(|frame| frame.id.as_ref() == Some(&first)).unwrap();
    let upto = all.iter().position(|frame| frame.id == last).unwrap();
    assert_eq!(repeated, all[from + 1..=upto]);

    // Nothing of this was said in the other session.
    let stream = site.prompt(&b, "hello").await;
    let turn = other.next().await.unwrap();
    assert_eq!(turn.event, "server_turn_started");
    assert_eq!(turn.data["stream_id"], stream);
    assert!(!other.text.contains(&a));
    site.end().await;
}

// W05
#[tokio::test]
async fn a_prompt_takes_all_that_waits_along_as_rows_of_its_own() {
    let site = Site::new(slow(1, 1).await).await;
    let session = site.session().await;
    // Both end while a turn hangs that is then cancelled: their wakeups are held.
    let wait = "while [ ! -e go ]; do sleep 0.02; done";
    let order = [background(wait), background(&format!("{wait}; echo b"))].join("\n");
    let stream = site.prompt(&session, &order).await;
    site.replay(&stream).await.rest().await;
    let hang = site.prompt(&session, "hang").await;
    site.replay(&hang).await.until("token").await;
    std::fs::write(site.home.work().join("go"), "").unwrap();
    let mut reading = site.replay(&hang).await;
    let mut ended = BTreeSet::new();
    while ended.len() < 2 {
        // The turn that runs is told of them too, under both names (E11).
        ended.insert(reading.until("bg_task_complete").await.data["task_id"].to_string());
    }
    site.get(&format!("/api/chat/cancel?stream_id={hang}")).await;
    reading.until("cancel").await;
    let next = site.prompt(&session, "and now?").await;
    let end = site.replay(&next).await.rest().await;
    assert_eq!(names(&end).last(), Some(&"stream_end"));
    let view = site.view(&session).await;
    let turn = view.transcript.rows.last().unwrap().turn;
    let rows: Vec<_> =
        view.transcript.rows.iter().filter(|row| row.turn == turn).cloned().collect();
    let told = wakeups(&rows);
    assert_eq!(told.len(), 2, "{rows:#?}");
    assert!(told.iter().all(|wakeup| wakeup.kind == WakeupKind::Exit));
    let user = rows.iter().position(|row| matches!(row.body, Body::User { .. })).unwrap();
    let last = rows.iter().rposition(|row| matches!(row.body, Body::Wakeup(_))).unwrap();
    assert!(last < user, "they come before the prompt");
    site.end().await;
}

// W02
#[tokio::test]
async fn a_wakeup_is_announced_and_streamed_from_its_first_word() {
    let site = Site::new(Server::obedient().await).await;
    let session = site.session().await;
    let mut channel = site.open(&format!("/api/session/stream?session_id={session}")).await;
    let stream = site.prompt(&session, &background("while [ ! -e go ]; do sleep 0.02; done")).await;
    site.replay(&stream).await.rest().await;
    channel.until("server_turn_started").await;
    std::fs::write(site.home.work().join("go"), "").unwrap();
    let turn = channel.until("server_turn_started").await;
    assert_eq!(turn.data["source"], "process_wakeup");
    let wake = turn.data["stream_id"].as_str().unwrap();
    let frames = site.open(&format!("/api/chat/stream?stream_id={wake}")).await.rest().await;
    assert_eq!(said(&frames), "I was woken.");
    assert_eq!(numbers(&frames)[0], 1);
    site.end().await;
}

// E16
#[tokio::test]
async fn an_acknowledgement_changes_nothing_and_its_old_name_is_gone() {
    let site = Site::new(Server::obedient().await).await;
    let session = site.session().await;
    let ack = |body: Value| site.post("/api/bg-task-complete-ack", body);
    let noop = json!({ "ok": true, "session_id": session, "task_id": "proc_1", "noop": true });
    assert_eq!(
        ack(json!({ "session_id": session, "task_id": "proc_1" })).await,
        (200, noop.clone())
    );
    assert_eq!(ack(json!({ "session_id": session, "process_id": "proc_1" })).await, (200, noop));
    assert_eq!(ack(json!({ "session_id": "no such", "task_id": "proc_1" })).await.0, 404);
    assert_eq!(ack(json!({ "task_id": "proc_1" })).await.0, 400);
    let old =
        site.http.post(site.url("/api/process-complete-ack")).body("{}").send().await.unwrap();
    assert_eq!(old.status(), 410);
    assert_eq!(old.headers()["x-replaced-by"], "/api/bg-task-complete-ack");
    site.end().await;
}

// S04
#[tokio::test]
async fn a_change_of_the_list_is_said_to_who_shows_it() {
    let site = Site::new(Server::obedient().await).await;
    let mut lists = site.open("/api/sessions/events").await;
    let session = site.session().await;
    let first = lists.until("sessions_changed").await.data;
    assert_eq!(first["type"], "sessions_changed");
    site.view(&session).await.send(Command::SetTitle { session: None, title: "Other".to_owned() });
    let next = lists.until("sessions_changed").await.data;
    assert!(next["version"].as_u64() > first["version"].as_u64());
    site.end().await;
}

#[tokio::test]
async fn the_relay_of_a_session_tells_its_turns_one_after_the_other() {
    let site = Site::new(Server::obedient().await).await;
    let session = site.session().await;
    let mut relay = site.open(&format!("/api/sessions/{session}/events")).await;
    let mut all = Vec::new();
    for _ in 0..3 {
        let stream = site.prompt(&session, "hello").await;
        let turn = site.replay(&stream).await.rest().await;
        all.extend(turn);
    }
    let mut got = Vec::new();
    while got.len() < all.len() {
        got.push(relay.next().await.unwrap());
    }
    assert_eq!(got, all);
    // Resumed in the middle of the second turn.
    let cut = all.iter().position(|f| f.event == "stream_end").unwrap() + 2;
    let path = format!("/api/sessions/{session}/events");
    let mut resumed = site.open_after(&path, all[cut].id.as_deref()).await;
    for wanted in &all[cut + 1..] {
        assert_eq!(resumed.next().await.as_ref(), Some(wanted));
    }
    let mut lost = site.open_after(&path, Some("0000:7")).await;
    let snapshot = lost.next().await.unwrap();
    assert_eq!(snapshot.event, "session_snapshot");
    assert_eq!(snapshot.data["session"]["session_id"], json!(session));
    site.end().await;
}

// E01
#[tokio::test]
async fn a_client_whose_messages_are_too_few_is_told_so_and_no_other() {
    let site = Site::new(Server::obedient().await).await;
    for (known, told) in [(0, true), (1, true), (2, false), (3, false)] {
        let session = site.session().await;
        let path = format!("/api/session/stream?session_id={session}&known_count={known}");
        let mut channel = site.open(&path).await;
        assert_eq!(channel.next().await.unwrap().event, "initial");
        // Something follows in any case.
        site.prompt(&session, "hello").await;
        let next = channel.next().await.unwrap();
        assert_eq!(next.event == "session-updated", told, "known {known}: {next:?}");
        if told {
            let counts = (&next.data["message_count"], &next.data["known_count"]);
            assert_eq!(counts, (&json!(2), &json!(known)));
        }
    }
    site.end().await;
}
