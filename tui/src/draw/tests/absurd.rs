//! What a host elsewhere says is drawn whatever numbers are in it: no sum of them may overflow.

use protocol::{
    Answer, Asked, Assistant, Attachment, Attention, Body, CallId, Choice, Delivery, End, Event,
    Exit, Goal, GoalState, Killer, Link, ListedTurn, News, Outcome, Part, ProcessId, PromptId,
    Queued, Row, Running, SessionId, SessionRow, Source, State, Storage, Summary, Toast,
    ToolResult, Transcript, TurnId, Usage, WakeupKind,
};
use serde_json::{Number, Value};

use crate::testing::*;

/// Numbers at the ends of what the wire can hold; for each place the first one that fits counts.
const EXTREMES: [[i128; 5]; 6] = [
    [u64::MAX as i128, i64::MAX as i128, u32::MAX as i128, i32::MAX as i128, 255],
    [i64::MIN as i128, i32::MIN as i128, 0, 0, 0],
    [i64::MAX as i128, u32::MAX as i128, i32::MAX as i128, 255, 0],
    [i64::MIN as i128 + 1, -1, 1, 1, 1],
    [0, 0, 0, 0, 0],
    [u64::MAX as i128 - 1, i64::MAX as i128 - 1, u32::MAX as i128, 1, 1],
];

fn toast(news: News) -> Event {
    Event::Toast(Toast {
        session: SessionId("other".into()),
        name: "other".into(),
        process: Some(ProcessId("proc_1".into())),
        news,
        text: "text".into(),
    })
}

fn added(n: u64, body: Body) -> Event {
    Event::RowAdded { row: Row { cut: 7, ..row(n, body) } }
}

/// One of each kind that holds a number, in an order that makes sense.
fn events() -> Vec<Event> {
    let session = SessionId("20260101_120000_abcdef".into());
    let usage = Usage { prompt: 1, completion: 2, cached: 3, reasoning: 4, written: 5 };
    let ended = exit(End::Exited, Some(2));
    let dead = Exit { signal: Some(9), ..exit(End::Exited, None) };
    let mut live = process("proc_1", State::Running, None);
    live.watch = vec!["ERROR".into()];
    let mut over = process("proc_2", State::Ended, Some(ended.clone()));
    over.killed_by = Some(Killer::User);
    over.delivery = Delivery::Waiting;
    let mut approval = approval("q1", "rm -r x", "rm -r x");
    approval.deadline = Some(T0 + 1);
    let mut clarify = clarify("q2", &["one", "two"]);
    clarify.deadline = Some(T0 + 1);
    let goal = |state| Event::GoalChanged {
        goal: Some(Goal {
            text: "g".into(),
            state,
            turns: 1,
            max_turns: 2,
            verdict: Some("v".into()),
        }),
    };
    let listed = |id: &str| SessionRow {
        id: SessionId(id.into()),
        title: id.into(),
        started_at: 1,
        active_at: 2,
        rows: 3,
        compressions: 4,
        attention: Some((Attention::Approval, 5)),
        turn: Some(ListedTurn {
            turn: TurnId(1),
            source: Source::User,
            started_at: 1,
            cancelling: false,
        }),
        running: true,
        ..SessionRow::default()
    };
    let file = Attachment { name: "a".into(), path: "/a".into(), mime: "x/y".into(), size: 1 };
    let calls = calls(vec![call("c1", "terminal", "{\"command\": \"x\", \"timeout\": 5}")]);
    let mut full =
        window(vec![user("a"), says("b"), wakeup(WakeupKind::Exit, Some(ended.clone()))]);
    full.earlier = 10;
    full.unattended = 3;
    full.running = Some(Running {
        turn: TurnId(2),
        source: Source::Wakeup,
        started_at: T0,
        n: 4,
        reasoning: "r".into(),
        text: "t".into(),
        calls: Vec::new(),
        status: None,
        cancelling: false,
    });
    let attached = |transcript: Transcript| Event::Attached {
        transcript: Box::new(transcript),
        resynced: true,
    };
    vec![
        attached(full),
        Event::Link { link: Link::Down { why: "w".into(), attempt: 1, retry_at: T0 + 2_600 } },
        Event::TurnEnded { turn: TurnId(2), outcome: Outcome::Limit, at: T0 },
        started(),
        added(4, user("again")),
        Event::Delta { turn: TurnId(1), n: 1, part: Part::Reasoning, text: "hm".into() },
        delta("words"),
        added(5, calls),
        Event::CallStarted { call: CallId("c1".into()), at: T0 },
        Event::ProcessChanged { process: live },
        Event::ProcessChanged { process: over.clone() },
        asked(approval),
        asked(clarify),
        Event::QuestionResolved {
            id: protocol::QuestionId("q1".into()),
            answer: Answer::Approval(Choice::Once),
            by: None,
        },
        added(
            6,
            Body::Tool(ToolResult {
                call: CallId("c1".into()),
                name: "terminal".into(),
                text: "{\"output\": \"x\", \"exit_code\": 3, \"total_count\": 9}".into(),
                failed: true,
                millis: 1,
                unanswered: false,
            }),
        ),
        added(7, wakeup(WakeupKind::Match, Some(dead))),
        added(
            8,
            Body::Summary(Summary {
                text: "s".into(),
                head: 1,
                tail: 2,
                rows: 3,
                before: 4,
                after: 5,
            }),
        ),
        added(9, Body::Assistant(Assistant { text: "end".into(), ..Assistant::default() })),
        Event::UsageReported { usage, context: Some(9) },
        Event::PromptQueued { prompt: Queued { id: PromptId("p".into()), text: "later".into() } },
        Event::Unattended { wakeups: 3 },
        Event::Held { reason: Some("3 wakeups wait".into()) },
        goal(GoalState::Active),
        goal(GoalState::Paused("why".into())),
        Event::AttachmentsChanged { attachments: vec![file] },
        Event::ModelChanged { model: "m".into(), context: Some(1) },
        Event::StorageChanged { storage: Storage::Failing("full".into()) },
        Event::Paged { rows: vec![row(1, user("old")), row(2, says("older"))], earlier: 3 },
        Event::SessionsListed { sessions: vec![listed("a"), listed("b")] },
        Event::ProcessesListed { processes: vec![over] },
        Event::InboxChanged {
            questions: vec![Asked {
                session,
                name: "n".into(),
                question: question_of("q9"),
                behind: 3,
            }],
        },
        toast(News::Ended { exit: ended, delivery: Delivery::Delivered }),
        toast(News::Released { dropped: 3 }),
        toast(News::Held { waiting: 3 }),
        toast(News::Working { elapsed: 3 }),
        Event::RowsRemoved { after: 3 },
        Event::TurnEnded { turn: TurnId(1), outcome: Outcome::Done, at: T0 },
    ]
}

fn question_of(id: &str) -> protocol::Question {
    let mut question = clarify(id, &["one"]);
    question.deadline = Some(T0 + 1);
    question
}

/// How many numbers there are in a value, and what it is with the `at`-th one replaced.
fn with(value: &Value, at: &mut usize, new: &Number) -> Value {
    match value {
        Value::Number(_) => {
            let hit = *at == 0;
            *at = at.wrapping_sub(1);
            if hit { Value::Number(new.clone()) } else { value.clone() }
        }
        Value::Array(list) => list.iter().map(|value| with(value, at, new)).collect(),
        Value::Object(map) => Value::Object(
            map.iter().map(|(key, value)| (key.clone(), with(value, at, new))).collect(),
        ),
        other => other.clone(),
    }
}

fn numbers(value: &Value) -> usize {
    match value {
        Value::Number(_) => 1,
        Value::Array(list) => list.iter().map(numbers).sum(),
        Value::Object(map) => map.values().map(numbers).sum(),
        Value::Null | Value::Bool(_) | Value::String(_) => 0,
    }
}

/// The event with all its numbers, or only that one, as far from what is usual as the wire lets.
fn absurd(event: &Event, extremes: &[i128; 5], only: Option<usize>) -> Event {
    let mut value = serde_json::to_value(event).unwrap();
    let all = numbers(&value);
    for place in (0..all).filter(|place| only.is_none_or(|only| only == *place)) {
        let fits = extremes.iter().find_map(|extreme| {
            let number = Number::from_i128(*extreme)?;
            let changed = with(&value, &mut { place }, &number);
            serde_json::from_value::<Event>(changed.clone()).is_ok().then_some(changed)
        });
        value = fits.unwrap_or(value);
    }
    serde_json::from_value(value).unwrap()
}

/// Looks at everything there is to look at.
fn look(app: &mut crate::app::App) {
    for (width, height) in [(100, 30), (24, 8), (1, 1)] {
        paint(app, width, height);
    }
    app.next_tick();
}

fn look_around(app: &mut crate::app::App) {
    look(app);
    for key in ["pgup", "end", "ctrl-b", "down", "esc", "ctrl-r", "ctrl-o", "down", "esc", "esc"] {
        press(app, key, T0 + 10_000);
        look(app);
    }
}

#[test]
fn no_number_of_a_hostile_host_stops_the_interface() {
    for extremes in &EXTREMES {
        let mut app = app(vec![user("hello")]);
        for event in events() {
            let event = absurd(&event, extremes, None);
            app.on_event(&event, T0);
            look(&mut app);
        }
        look_around(&mut app);
    }
}

#[test]
fn no_single_number_does_either_while_the_others_are_as_usual() {
    let events = events();
    for extremes in &EXTREMES[..2] {
        for (at, event) in events.iter().enumerate() {
            for place in 0..numbers(&serde_json::to_value(event).unwrap()) {
                let mut app = app(vec![user("hello")]);
                for (other, usual) in events.iter().enumerate() {
                    if other == at {
                        app.on_event(&absurd(event, extremes, Some(place)), T0);
                        look(&mut app);
                    } else {
                        app.on_event(usual, T0);
                    }
                }
                look(&mut app);
            }
        }
    }
}

#[test]
fn the_table_holds_numbers_that_are_replaced() {
    let event = Event::Delta { turn: TurnId(3), n: 4, part: Part::Text, text: String::new() };
    let Event::Delta { turn, n, .. } = absurd(&event, &EXTREMES[0], None) else { unreachable!() };
    assert_eq!((turn.0, n), (u64::MAX, u64::MAX));
    let Event::Delta { turn, n, .. } = absurd(&event, &EXTREMES[0], Some(1)) else {
        unreachable!()
    };
    assert!((turn.0 == u64::MAX) != (n == u64::MAX));
    let link = Event::Link { link: Link::Down { why: String::new(), attempt: 1, retry_at: 2 } };
    let Event::Link { link: Link::Down { attempt, retry_at, .. } } =
        absurd(&link, &EXTREMES[0], None)
    else {
        unreachable!()
    };
    assert_eq!((attempt, retry_at), (u32::MAX, i64::MAX));
}
