//! Values that cannot be read cost themselves alone, and a line says so.

use super::*;

/// A session with two ended processes, and the SQL of some damage.
fn damaged(sql: &str) -> (TestStore, Loaded) {
    let mut store = TestStore::new();
    let finished = |name: &str, at| Entry {
        wakeup: Some(wakeup(name, WakeupKind::Exit, 0)),
        at,
        ..entry("s", name, Stage::Finished, None)
    };
    let prompt = |n: &str| Queued { id: PromptId(n.into()), text: format!("text {n}") };
    store.put(vec![
        session("s", 1),
        add("s", user(1, "hello")),
        Record::Process(process("s", "proc_1", State::Ended, Delivery::Waiting)),
        Record::Process(process("s", "proc_2", State::Running, Delivery::Open)),
        Record::Ledger(finished("proc_1", 5)),
        Record::Ledger(entry("s", "proc_2", Stage::Spawned, None)),
        Record::Queued { session: id("s"), prompt: prompt("a") },
        Record::Queued { session: id("s"), prompt: prompt("b") },
    ]);
    let conn = rusqlite::Connection::open(store.state().database()).unwrap();
    conn.execute_batch(sql).unwrap();
    let loaded = store.reader().load(&id("s"), 9).unwrap().unwrap();
    let lines = loaded.damage.iter().filter(|l| !l.contains("waiting prompt"));
    let known = store.reader().damage().unwrap();
    assert!(lines.clone().all(|line| known.contains(line)), "the doctor sees the same");
    (store, loaded)
}

#[test]
fn a_sound_store_has_no_damage() {
    let (_desk, loaded) = damaged("");
    assert_eq!(loaded.damage, [""; 0]);
    assert_eq!((loaded.ledger.len(), loaded.queued.len(), loaded.processes.len()), (2, 2, 2));
}

#[test]
fn an_unreadable_wakeup_is_told_as_such() {
    for wakeup in ["'{garbage'", "''", "NULL", "'{\"process\":5}'"] {
        let (_desk, loaded) =
            damaged(&format!("UPDATE ledger SET wakeup = {wakeup} WHERE process = 'proc_1'"));
        let told = loaded.ledger.iter().find(|e| e.process.0 == "proc_1").unwrap();
        assert_eq!(told.state, Stage::Finished);
        let text = &told.wakeup.as_ref().unwrap().text;
        assert!(text.contains("proc_1") && text.contains("cannot be read"), "{text}");
        assert_eq!(loaded.damage.len(), usize::from(wakeup != "NULL"), "{:?}", loaded.damage);
    }
}

#[test]
fn an_unknown_stage_is_held_or_still_to_come_and_named() {
    let (_desk, loaded) = damaged("UPDATE ledger SET stage = 'dreaming'");
    let state = |name: &str| {
        loaded.ledger.iter().find(|e| e.process.0 == name).map(|e| e.state.clone()).unwrap()
    };
    assert!(matches!(state("proc_1"), Stage::Held(reason) if reason.contains("dreaming")));
    // Its process still runs: its end will say so itself.
    assert_eq!(state("proc_2"), Stage::Spawned);
    assert_eq!(loaded.damage.len(), 2, "{:?}", loaded.damage);
}

#[test]
fn an_event_of_an_unknown_kind_is_left_alone_and_named() {
    let (mut store, loaded) =
        damaged("UPDATE ledger SET kind = 'telepathy' WHERE process = 'proc_1'");
    assert_eq!(loaded.ledger.len(), 1);
    assert!(loaded.damage[0].contains("telepathy"), "{:?}", loaded.damage);
    store.put(vec![session("s", 2)]);
    let counts = store.reader().ledger_counts().unwrap();
    assert_eq!(counts["finished"], 1, "nothing disappears");
}

#[test]
fn an_unreadable_process_keeps_its_end() {
    let (_desk, loaded) = damaged("UPDATE processes SET body = '{'");
    let [ended, live] = &loaded.processes[..] else { panic!("{:?}", loaded.processes) };
    assert!(!ended.is_live() && live.is_live() && live.notify);
    assert_eq!((&live.session, live.id.0.as_str()), (&id("s"), "proc_2"));
    assert_eq!(loaded.damage.len(), 2);
}

#[test]
fn an_unreadable_prompt_does_not_take_the_others_along() {
    let (_desk, loaded) = damaged("UPDATE queued SET body = 'x' WHERE id = 'a'");
    assert_eq!(loaded.queued.len(), 1);
    assert_eq!(loaded.damage.len(), 1);
}

#[test]
fn work_of_a_session_that_was_lost_is_named_and_not_taken_up() {
    let (store, _loaded) = damaged("");
    let conn = rusqlite::Connection::open(store.state().database()).unwrap();
    conn.execute("DELETE FROM sessions", []).unwrap();
    let reader = store.reader();
    assert_eq!(reader.lost_owners().unwrap(), [id("s")]);
    assert_eq!(reader.unsettled().unwrap(), []);
    assert_eq!(reader.orphans().unwrap().len(), 1);
}

#[test]
fn what_is_under_way_in_all_sessions_is_counted() {
    let (store, _loaded) = damaged("");
    let underway = store.reader().underway().unwrap();
    assert_eq!((underway.queued, underway.due), (2, 1), "{underway:?}");
    let conn = rusqlite::Connection::open(store.state().database()).unwrap();
    conn.execute_batch(
        "DELETE FROM turns; DELETE FROM questions;
         INSERT INTO turns (session, turn, source, started_at) VALUES ('s', 8, 'user', 1);
         INSERT INTO turns (session, turn, source, started_at, ended_at)
             VALUES ('s', 7, 'user', 1, 2);
         INSERT INTO questions (session, id, v, body) VALUES ('s', 'q', 1, '{}');",
    )
    .unwrap();
    let underway = store.reader().underway().unwrap();
    assert_eq!((underway.turns, underway.questions), (1, 1), "{underway:?}");
}

#[test]
fn held_and_paused_sessions_are_listed_with_their_reasons() {
    // W20 W22
    let mut store = TestStore::new();
    let meta = |name: &str| Meta { id: id(name), ..Meta::default() };
    let pause = Pause { reason: "key rejected".into(), fingerprint: String::new() };
    store.put(vec![
        Record::Session(meta("free")),
        Record::Session(Meta { held: Some("cancelled".into()), ..meta("held") }),
        Record::Session(Meta { pause: Some(pause), ..meta("paused") }),
        Record::Session(meta("one")),
        Record::Ledger(entry("held", "proc_1", Stage::Finished, None)),
        Record::Ledger(entry("one", "proc_2", Stage::Held("too many".into()), None)),
    ]);
    let mut held = store.reader().held().unwrap();
    held.sort_by(|a, b| a.session.cmp(&b.session));
    let seen: Vec<_> = held
        .iter()
        .map(|h| (h.session.0.as_str(), h.reason.as_str(), h.paused, h.waiting))
        .collect();
    assert_eq!(
        seen,
        [
            ("held", "cancelled", false, 1),
            ("one", "too many", false, 1),
            ("paused", "key rejected", true, 0)
        ]
    );
    assert_eq!(store.reader().underway().unwrap().due, 0, "nobody delivers these unasked");
    store.put(vec![Record::Ledger(entry("free", "proc_3", Stage::Finished, None))]);
    assert_eq!(store.reader().underway().unwrap().due, 1);
}
