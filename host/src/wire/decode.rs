//! What a hermes-webui sends, as plain values: tolerant of what is missing or new (E15).
//!
//! Every field may be absent, and one of the wrong type counts as absent; unknown fields are
//! ignored. So reading never fails as a whole: what is not understood is not there.

#[expect(clippy::struct_field_names, reason = "the names are the server's")]
mod catalog;
mod frame;
#[expect(
    clippy::struct_field_names,
    clippy::struct_excessive_bools,
    reason = "names and shapes are the server's"
)]
mod session;
mod wakeup;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use protocol::Millis;

pub(crate) use catalog::{
    Approval, Clarify, Goal, GoalReply, Health, Models, Pending, Profiles, Reasoning, Responded,
    Retried, Started, Steered, Uploaded, Workspaces, Yolo,
};
pub(crate) use frame::{
    AppError, Background, Cancelled, Compressed, Done, Interim, Metering, SessionUpdated,
    TextFrame, Title, ToolFrame, TurnStarted, UsageNumbers,
};
pub(crate) use session::{Call, Message, Session, SessionList, SessionReply, Status, SummaryMeta};
pub(crate) use wakeup::{news, wakeup};

/// The largest count: what JavaScript has whole numbers for.
const MOST: u64 = 1 << 53;
/// The end of the year 9999: differences and sums of times must be times too.
const LAST: Millis = 253_402_300_799_999;

/// Reads what is there of a value.
pub(crate) fn read<T: DeserializeOwned + Default>(value: Value) -> T {
    serde_json::from_value(value).unwrap_or_default()
}

/// Takes a field of the wrong type for an absent one.
fn ok<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    Ok(read(Value::deserialize(deserializer)?))
}

/// A list. An item that cannot be read keeps its place, empty: places are numbers of rows.
fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    match Value::deserialize(deserializer)? {
        Value::Array(items) => Ok(items.into_iter().map(read).collect()),
        _ => Ok(Vec::new()),
    }
}

/// Seconds since the epoch, whole or not, as milliseconds; 0 = unknown.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Millis, D::Error> {
    Ok(millis(&Value::deserialize(deserializer)?))
}

#[expect(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
fn millis(value: &Value) -> Millis {
    value
        .as_f64()
        .filter(|seconds| *seconds > 0.0)
        .map_or(0, |seconds| ((seconds * 1000.0) as Millis).min(LAST))
}

/// A count; 0 = unknown. Sums and successors of counts must be numbers too.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(known_count(deserializer)?.unwrap_or(0))
}

/// A count that may be missing.
fn known_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_u64().map(|count| count.min(MOST)))
}

/// A text: a string, or the text parts of a list of parts.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str));
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_of_the_wrong_type_is_missing_and_the_rest_is_read() {
        // E15
        let session: Session = read(json!({
            "session_id": "abc", "title": 7, "message_count": -1, "created_at": "yesterday",
            "pinned": "yes", "brand_new": {"x": 1}, "model": "m", "last_prompt_tokens": 2.5,
            "messages": [{"role": "user", "content": "hi"}, "nonsense", {"role": "assistant",
                "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"text": "b"}]}],
        }));
        assert_eq!((session.session_id.as_str(), session.model.as_str()), ("abc", "m"));
        assert_eq!((session.title.as_str(), session.message_count, session.pinned), ("", 0, false));
        assert_eq!((session.created_at, session.last_prompt_tokens), (0, None));
        let texts: Vec<_> = session.messages.iter().map(|m| m.content.as_str()).collect();
        assert_eq!(texts, ["hi", "", "a\nb"]);
    }

    #[test]
    fn nonsense_for_a_whole_is_an_empty_one() {
        // E15
        for nonsense in [json!(null), json!("<html>"), json!([1, 2]), json!(-3)] {
            assert_eq!(read::<Session>(nonsense.clone()), Session::default());
            assert_eq!(read::<Pending<Approval>>(nonsense), Pending::default());
        }
    }

    #[test]
    fn seconds_become_milliseconds_and_what_is_no_time_is_unknown() {
        for (given, expected) in [
            (json!(1_795_251_862.598_436_6), 1_795_251_862_598),
            (json!(1_795_251_908), 1_795_251_908_000),
            (json!(-5.0), 0),
            (json!(1e300), LAST),
            (json!("x"), 0),
            (json!(null), 0),
        ] {
            assert_eq!(millis(&given), expected, "{given}");
        }
    }
}
