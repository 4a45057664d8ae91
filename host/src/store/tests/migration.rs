//! A file as an earlier release left it: everything in it is still there, and can be used.

use super::*;

/// What a host of the first schema left when it was killed: a turn under way that had spawned a
/// process and asked for an approval, a completion that waited, one that was delivered.
const LEFT: &str = r#"
    INSERT INTO sessions VALUES ('s', NULL, 'go', 1, 9, 3, 'demo', 'tui', '/w');
    INSERT INTO metas VALUES ('s', 1, '{"id":"s","source":"tui","started_at":1,"active_at":9,
        "preview":"go","model":"demo","system":"You are","cwd":"/w","grants":["r"],
        "notes":["a note"],"held":null,"wakeups_in_a_row":2}');
    INSERT INTO rows (id, session, n, turn, at, v, long_text, body) VALUES
        (1, 's', 1, 1, 1, 1, 0, '{"type":"user","text":"find the needle"}'),
        (2, 's', 2, 1, 2, 1, 12, '{"type":"assistant","text":"","reasoning":"","stop":"calls",
            "calls":[{"id":"c","name":"terminal","args":{}}]}'),
        (3, 's', 3, 1, 3, 1, 0, '{"type":"tool","call":"c","name":"terminal","text":"{}",
            "failed":false,"millis":1}');
    INSERT INTO chunks VALUES (2, 0, 0, 'long, '), (2, 0, 1, 'longer');
    INSERT INTO words (rowid, text) VALUES (1, 'find the needle');
    UPDATE indexed SET row = 3;
    INSERT INTO turns (session, turn, source, started_at) VALUES ('s', 1, 'user', 1);
    INSERT INTO journal VALUES ('s', 1, 1, 'text', 'half');
    INSERT INTO queued (session, id, v, body) VALUES ('s', 'p', 1, '{"id":"p","text":"later"}');
    INSERT INTO questions (session, id, v, body) VALUES ('s', 'q', 1, '{"id":"q","turn":1,
        "call":"c","ask":{"kind":"clarify","question":"Which?","choices":[]},"asked_at":3,
        "timeout":60000,"deadline":null}');
    INSERT INTO processes VALUES
        ('live', 's', 1, 0, 2, 1, '{"id":"live","session":"s","turn":1,"command":"make",
            "cwd":"/w","pid":7,"started_at":2,"state":"running","exit":null,"notify":false,
            "watch":["ERROR"],"pty":false,"killed_by":null,"delivery":{"is":"open"}}'),
        ('done', 's', 0, 1, 2, 1, '{"id":"done","session":"s","turn":1,"command":"make",
            "cwd":"/w","pid":7,"started_at":2,"state":"ended",
            "exit":{"end":"exited","code":2,"signal":null,"at":3},"notify":true,"watch":[],
            "pty":false,"killed_by":null,"delivery":{"is":"waiting"}}');
    INSERT INTO ledger VALUES
        ('done', 'exit', 0, 's', 'finished', NULL, NULL, '{"process":"done","kind":"exit",
            "ordinal":0,"command":"make","exit":{"end":"exited","code":2,"signal":null,"at":3},
            "pattern":null,"text":"[IMPORTANT: make]"}', NULL, 3),
        ('told', 'exit', 0, 's', 'delivered', 1, NULL, NULL, 1, 2);
    INSERT INTO told VALUES ('told', 'exit', 0, 's', 1);
    INSERT INTO grants VALUES ('always');
    PRAGMA user_version = 1;
"#;

#[test]
fn everything_in_a_file_of_the_first_schema_is_there_and_goes_on() {
    // R09 W15
    let dir = TempDir::new().unwrap();
    let conn = rusqlite::Connection::open(StateDir::new(dir.path()).database()).unwrap();
    conn.execute_batch(schema::STEPS[0]).unwrap();
    conn.execute_batch(LEFT).unwrap();
    drop(conn);
    let (store, reports) = open(dir.path());
    let reader = store.reader().unwrap();
    assert_eq!(reader.unsettled().unwrap(), [id("s")]);
    let loaded = reader.load(&id("s"), 9).unwrap().unwrap();
    assert_eq!(loaded.damage, Vec::<String>::new());
    assert_eq!(loaded.rows.len(), 3);
    assert_eq!(loaded.rows[1].text(), "long, longer");
    assert_eq!((loaded.meta.wakeups_in_a_row, loaded.meta.notes.len()), (2, 1));
    assert!(!loaded.meta.archived && loaded.meta.grants.contains("r"));
    let open_turn = loaded.open.clone().unwrap();
    assert_eq!((open_turn.text.as_str(), open_turn.attempts, open_turn.rows.len()), ("half", 0, 3));
    assert_eq!(loaded.queued[0].text, "later");
    assert_eq!((loaded.questions[0].id.0.as_str(), &loaded.questions[0].answer), ("q", &None));
    let [done, live] = <[Process; 2]>::try_from(loaded.processes.clone()).unwrap();
    assert!(live.is_watched() && live.worker().is_none());
    assert_eq!(done.exit.unwrap().code, Some(2));
    assert_eq!(loaded.ledger.len(), 1);
    assert_eq!(reader.sessions(9).unwrap()[0].title, "go");
    assert!(reader.granted().unwrap().contains("always"));
    until("the index", || reader.search("needle", 9).unwrap().len() == 1);
    // What the new schema knows can be written to it.
    let mut store = TestStore { dir, store, reports };
    let resumed = Record::Resumed { session: id("s"), turn: TurnId(1), attempt: 2, row: 3 };
    let claimed = Entry { state: Stage::Claimed(TurnId(1)), ..loaded.ledger[0].clone() };
    let archived = Meta { archived: true, pinned: true, ..loaded.meta };
    store.put(vec![resumed, Record::Ledger(claimed), Record::Session(archived)]);
    assert_eq!(store.store.refused(), 0);
    let again = reader.load(&id("s"), 9).unwrap().unwrap();
    assert_eq!(again.open.unwrap().attempts, 2);
    let listed = &reader.sessions(9).unwrap()[0];
    assert!(listed.archived && listed.pinned);
    store.put(vec![Record::Deleted { session: id("s") }]);
    assert_eq!(reader.search("needle", 9).unwrap().len(), 0);
    assert_eq!(reader.ledger_counts().unwrap()["delivered"], 1);
}
