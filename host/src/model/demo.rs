//! The demo model: offline and deterministic, it says what it is and drives every feature with
//! plain words. Its scripts are in `assets/demo/`, one file per word; which one plays depends on
//! the conversation alone, so equal requests get equal answers.

use serde_json::Value;

use super::asset::{Asset, Values};
use super::script::{Step, play};
use super::{Answer, Class, Message, Model, Purpose, Request};

/// What the demo model is called.
pub const NAME: &str = "demo";

/// Every word with its script, in the order `help` lists them. The first one answers all that
/// is no word.
const SCRIPTS: [(&str, &str); 26] = [
    ("hello", include_str!("../../../assets/demo/hello.txt")),
    ("help", include_str!("../../../assets/demo/help.txt")),
    ("stream", include_str!("../../../assets/demo/stream.txt")),
    ("think", include_str!("../../../assets/demo/think.txt")),
    ("code", include_str!("../../../assets/demo/code.txt")),
    ("table", include_str!("../../../assets/demo/table.txt")),
    ("long", include_str!("../../../assets/demo/long.txt")),
    ("slow", include_str!("../../../assets/demo/slow.txt")),
    ("tool", include_str!("../../../assets/demo/tool.txt")),
    ("tools", include_str!("../../../assets/demo/tools.txt")),
    ("write", include_str!("../../../assets/demo/write.txt")),
    ("todo", include_str!("../../../assets/demo/todo.txt")),
    ("background", include_str!("../../../assets/demo/background.txt")),
    ("delegate", include_str!("../../../assets/demo/delegate.txt")),
    ("fail", include_str!("../../../assets/demo/fail.txt")),
    ("watch", include_str!("../../../assets/demo/watch.txt")),
    ("approval", include_str!("../../../assets/demo/approval.txt")),
    ("clarify", include_str!("../../../assets/demo/clarify.txt")),
    ("clarify open", include_str!("../../../assets/demo/clarify-open.txt")),
    ("loop", include_str!("../../../assets/demo/loop.txt")),
    ("evil", include_str!("../../../assets/demo/evil.txt")),
    ("error", include_str!("../../../assets/demo/error.txt")),
    ("error ratelimit", include_str!("../../../assets/demo/error-ratelimit.txt")),
    ("error cut", include_str!("../../../assets/demo/error-cut.txt")),
    ("error server", include_str!("../../../assets/demo/error-server.txt")),
    ("wakeup", include_str!("../../../assets/demo/wakeup.txt")),
];

/// Every word that `help` lists, in its order.
pub fn words() -> impl Iterator<Item = &'static str> {
    SCRIPTS.iter().map(|(word, _)| *word).filter(|word| *word != WAKEUP)
}

/// The script that answers background events; not a word.
const WAKEUP: &str = "wakeup";

/// How a message about a background process or a delegated task begins.
const WAKEUP_PREFIXES: [&str; 2] =
    ["[IMPORTANT: Background process ", "[IMPORTANT: Delegated task "];
/// What stands before the goal in the first prompt of a delegated task.
const GOAL: &str = "\n\nTask: ";

/// The demo model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demo;

impl Model for Demo {
    fn name(&self) -> &'static str {
        NAME
    }

    fn context_length(&self) -> Option<u64> {
        Some(128_000)
    }

    fn stream(&self, request: Request) -> Answer {
        if request.purpose == Purpose::GoalJudge {
            return play(vec![Step::text(judge(&request.messages))], &request);
        }
        let steps = answer(&request.messages).unwrap_or_else(|why| {
            vec![Step::fail(Class::Rejected, &format!("A demo script is broken: {why}."))]
        });
        play(steps, &request)
    }
}

/// Every goal takes two turns, so that one is seen to go on by itself.
fn judge(messages: &[Message]) -> &'static str {
    let early = |m: &Message| matches!(m, Message::User(text) if text.contains("so far: 1\n"));
    if messages.iter().any(early) {
        r#"{"done": false, "reason": "the demo model takes two turns for every goal"}"#
    } else {
        r#"{"done": true, "reason": "the demo model finds that two turns are enough"}"#
    }
}

/// The steps that answer a conversation.
fn answer(messages: &[Message]) -> Result<Vec<Step>, String> {
    let asked = messages.iter().rposition(|m| matches!(m, Message::User(_)));
    let (before, after) = messages.split_at(asked.map_or(0, |at| at + 1));
    let round = after.iter().filter(|m| matches!(m, Message::Assistant { .. })).count();
    // All user messages since the last answer: events come as rows of their own before a prompt.
    let unanswered = before.iter().rev().map_while(|m| match m {
        Message::User(text) => Some(text.as_str()),
        Message::Assistant { .. } | Message::Tool { .. } => None,
    });
    let mut prompt = None;
    let mut events = Vec::new();
    for text in unanswered {
        if WAKEUP_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
            events.push(event_line(text));
        } else if prompt.is_none() && events.is_empty() {
            prompt = Some(text);
        } else {
            break;
        }
    }
    events.reverse();
    let mut steps = Vec::new();
    if !events.is_empty() && round == 0 {
        let values = vec![("events", events.join("\n"))];
        steps.extend(script(WAKEUP).steps(0, &values)?);
        if prompt.is_some() {
            steps.push(Step::text("\n\n"));
        }
    }
    if let Some(prompt) = prompt {
        let (asset, mut values) = choose(prompt);
        values.push(("results", results(after)));
        values.push(("round", (round + 1).to_string()));
        values.push(("words", list()));
        steps.extend(asset.steps(round, &values)?);
    } else if round > 0 || steps.is_empty() {
        steps.push(Step::text("That is all I know about it."));
    }
    Ok(steps)
}

/// The script a prompt asks for, with the numbers after its word.
fn choose(prompt: &str) -> (Asset, Values) {
    let prompt = prompt.split_once(GOAL).map_or(prompt, |(_, goal)| goal);
    let lower = prompt.to_lowercase();
    let words: Vec<&str> = lower.split_whitespace().collect();
    let two = words.get(..2).map(|pair| pair.join(" "));
    let known = |name: &str| words_and_scripts().any(|(word, _)| word == name);
    let name = match (two.as_deref(), words.first()) {
        (Some(two), _) if known(two) => two,
        (_, Some(one)) if known(one) => one,
        (_, _) => "hello",
    };
    let asset = script(name);
    let values = asset.values(words.get(1..).unwrap_or_default());
    (asset, values)
}

fn words_and_scripts() -> impl Iterator<Item = (&'static str, &'static str)> {
    SCRIPTS.into_iter().filter(|(word, _)| *word != WAKEUP)
}

fn script(name: &str) -> Asset {
    let (_, file) = SCRIPTS.into_iter().find(|(word, _)| *word == name).unwrap_or(SCRIPTS[0]);
    Asset::parse(file)
}

/// The list of words for `help`.
fn list() -> String {
    words_and_scripts()
        .map(|(word, file)| {
            let asset = Asset::parse(file);
            let (args, help) = asset.help.split_once(" - ").unwrap_or(("", asset.help));
            let gap = if args.is_empty() { "" } else { " " };
            format!("- `{word}{gap}{args}`: {help}")
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Summarizes a message about a background process in one line.
fn event_line(message: &str) -> String {
    let known = WAKEUP_PREFIXES.iter().find_map(|prefix| message.strip_prefix(prefix));
    let rest = known.unwrap_or(message);
    let id = rest.split_whitespace().next().unwrap_or("?");
    let head = rest.lines().next().unwrap_or_default();
    let code = head
        .split_once("exit code ")
        .or_else(|| head.split_once("exit_code="))
        .and_then(|(_, code)| code.split([',', ')']).next());
    let last = rest
        .split_once("utput:\n")
        .or_else(|| rest.split_once("Result:\n"))
        .and_then(|(_, output)| {
            output.trim_end().trim_end_matches(']').lines().rfind(|l| !l.trim().is_empty())
        })
        .unwrap_or("nothing");
    match code {
        Some(code) => format!("- `{id}` ended with exit code {code}; its last line: `{last}`"),
        None => format!("- `{id}`: {}; its last line: `{last}`", event(head, id)),
    }
}

/// The event in words, if it is not an exit.
fn event<'a>(head: &'a str, id: &str) -> &'a str {
    head.strip_prefix(id).unwrap_or(head).trim().trim_end_matches(['.', ']'])
}

/// The outcomes of the last tool calls, one line each.
fn results(after: &[Message]) -> String {
    let start = after.iter().rposition(|m| matches!(m, Message::Assistant { .. })).unwrap_or(0);
    let lines: Vec<String> = after
        .iter()
        .skip(start)
        .filter_map(|message| match message {
            Message::Tool { name, text, .. } => Some(format!("- `{name}`: {}", result_line(text))),
            Message::User(_) | Message::Assistant { .. } => None,
        })
        .collect();
    lines.join("\n")
}

/// Summarizes a tool result in one line.
fn result_line(text: &str) -> String {
    let result: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    let field = |name: &str| match &result[name] {
        Value::String(text) if !text.trim().is_empty() => Some(line(text)),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    };
    let told: Vec<String> = [
        ("session_id", "runs as"),
        ("exit_code", "exit code"),
        ("user_response", "you answered"),
        ("status", "status"),
        ("error", "error"),
        ("total_lines", "lines"),
        ("output", "output"),
        ("note", "note"),
    ]
    .into_iter()
    .filter_map(|(name, label)| Some(format!("{label} {}", field(name)?)))
    .collect();
    if told.is_empty() { line(text) } else { told.join(", ") }
}

/// The first line of a text, shortened and marked as code.
fn line(text: &str) -> String {
    let first = text.trim().lines().next().unwrap_or_default();
    let short: String = first.chars().take(100).filter(|c| *c != '`').collect();
    let more = if short.len() < text.trim().len() { " …" } else { "" };
    format!("`{short}`{more}")
}
