//! Whatever a row can hold comes back as it was, byte for byte.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Number, Value};

use super::*;
use protocol::ToolCall;

fn text() -> BoxedStrategy<String> {
    let short = vec(any::<char>(), 0..40).prop_map(String::from_iter);
    // Long ones cross the chunks at any byte.
    let long = (vec(any::<char>(), 1..8), 60_000..200_000_usize).prop_map(|(unit, len)| {
        unit.iter()
            .cycle()
            .scan(0, |n, c| {
                *n += c.len_utf8();
                Some((*n, c))
            })
            .take_while(|(n, _)| *n <= len)
            .map(|(_, c)| c)
            .collect()
    });
    prop_oneof![8 => short, 1 => Just("a\0b\u{feff}\u{202e}".to_owned()), 2 => long].boxed()
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter_map("finite", |f| Number::from_f64(f).map(Value::Number)),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("\\PC{0,6}", inner), 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn call() -> impl Strategy<Value = ToolCall> {
    ("\\PC{0,9}", "[a-z]{1,9}", value()).prop_map(|(id, name, args)| ToolCall {
        id: CallId(id),
        name,
        args,
    })
}

fn body() -> impl Strategy<Value = Body> {
    let stop =
        prop_oneof![Just(Stop::End), Just(Stop::Calls), Just(Stop::Length), Just(Stop::Partial)];
    let exit =
        proptest::option::of((any::<Option<i32>>(), any::<i64>()).prop_map(|(code, at)| Exit {
            end: End::Lost,
            code,
            signal: None,
            at,
        }));
    let kind = prop_oneof![
        Just(WakeupKind::Exit),
        Just(WakeupKind::Match),
        Just(WakeupKind::WatchDisabled),
        Just(WakeupKind::Delegation)
    ];
    prop_oneof![
        text().prop_map(|text| Body::User { text }),
        text().prop_map(|text| Body::Note { text }),
        text().prop_map(|message| Body::Failure { message }),
        (text(), text(), vec(call(), 0..3), stop, value()).prop_map(
            |(text, reasoning, calls, stop, opaque)| {
                Body::Assistant(Assistant { text, reasoning, calls, stop, opaque })
            }
        ),
        (text(), "\\PC{0,9}", any::<bool>(), any::<u64>()).prop_map(
            |(text, name, failed, millis)| {
                Body::Tool(ToolResult {
                    call: CallId(name.clone()),
                    name,
                    text,
                    failed,
                    millis,
                    unanswered: false,
                })
            }
        ),
        ("\\PC{0,9}", kind, any::<u64>(), text(), text(), exit).prop_map(
            |(process, kind, ordinal, command, text, exit)| {
                let (process, pattern) = (ProcessId(process), Some(command.clone()));
                Body::Wakeup(Wakeup { process, kind, ordinal, command, exit, pattern, text })
            }
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn rows_come_back_byte_for_byte(bodies in vec((body(), any::<i64>(), any::<u32>()), 1..6)) {
        let mut store = TestStore::new();
        let mut events = BTreeSet::new();
        let rows: Vec<Row> = bodies
            .into_iter()
            .filter(|(body, ..)| match body {
                Body::Wakeup(w) => events.insert((w.process.clone(), w.kind, w.ordinal)),
                _ => true,
            })
            .zip(1..)
            .map(|((body, at, turn), n)| Row { n, turn: TurnId(turn.into()), at, cut: 0, body })
            .collect();
        store.put(rows.iter().map(|row| add("s", row.clone())).collect());
        let back = store.reader().rows(&id("s")).unwrap();
        prop_assert_eq!(store.store.refused(), 0);
        let bytes = |rows: &[Row]| serde_json::to_string(rows).unwrap();
        prop_assert!(bytes(&back) == bytes(&rows));
        prop_assert!(back == rows);
        // The window holds the same, but for the beginnings of long texts.
        let window = store.reader().load(&id("s"), 99).unwrap().unwrap().rows;
        for (cut, row) in window.iter().zip(&rows) {
            prop_assert!(row.text().ends_with(cut.text()));
            prop_assert_eq!(cut.cut as usize + cut.text().len(), row.text().len());
            prop_assert!(cut.text().len() <= 64 * 1024);
            prop_assert!(cut.cut == 0 || cut.text().len() > 64 * 1024 - 4);
        }
    }
}

#[test]
fn numbers_of_a_tool_call_keep_every_digit() {
    // A digit lost here would change the prefix that a provider has cached.
    let mut store = TestStore::new();
    let floats = [0.1 + 0.2, 1.0 / 3.0, 5e-300, f64::MAX, 123_456.789_012_345_67]
        .into_iter()
        .flat_map(|f| std::iter::successors(Some(f), |f| Some(f.next_down())).take(100));
    let args: Vec<Value> = floats.map(Value::from).collect();
    let call =
        |args: &Value| ToolCall { id: CallId("c".into()), name: "t".into(), args: args.clone() };
    let calls = args.iter().map(call).collect();
    let body = Body::Assistant(Assistant { calls, ..Assistant::default() });
    let row = Row { n: 1, turn: TurnId(1), at: 1, cut: 0, body };
    store.put(vec![add("s", row.clone())]);
    assert_eq!(store.reader().rows(&id("s")).unwrap(), [row]);
}

#[test]
fn stages_and_kinds_are_spelt_as_on_the_wire() {
    for (stage, word) in [
        (Stage::Spawned, "spawned"),
        (Stage::Finished, "finished"),
        (Stage::Claimed(TurnId(2)), "claimed"),
        (Stage::Delivered(TurnId(3)), "delivered"),
        (Stage::Consumed, "consumed"),
        (Stage::Held("why".into()), "held"),
    ] {
        let (name, turn, reason) = value::stage_columns(&stage);
        assert_eq!(name, word);
        assert_eq!(serde_json::to_value(&stage).unwrap()["stage"], word);
        assert_eq!(value::stage(name, turn, reason.map(str::to_owned)), stage);
    }
    let kinds =
        [WakeupKind::Exit, WakeupKind::Match, WakeupKind::WatchDisabled, WakeupKind::Delegation];
    for kind in kinds {
        assert_eq!(value::from_word::<WakeupKind>(value::kind_word(kind), "").unwrap(), kind);
    }
    for part in [Part::Text, Part::Reasoning] {
        assert_eq!(value::from_word::<Part>(value::part_word(part), "").unwrap(), part);
    }
    for source in [Source::User, Source::Wakeup] {
        assert_eq!(value::from_word::<Source>(value::source_word(source), "").unwrap(), source);
    }
}
