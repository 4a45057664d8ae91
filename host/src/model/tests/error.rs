//! Provider failures as users read them.

use std::time::Duration;

use genai::Error as Raw;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::json;

use crate::model::error::{Peer, retry_after};
use crate::model::{Class, Error};

const KEY: &str = "very-private-key-0123456789";

fn peer() -> Peer {
    Peer {
        model: "openai/gpt-5".to_owned(),
        address: "api.example".to_owned(),
        key: Some(KEY.to_owned()),
        stale: Duration::from_mins(3),
    }
}

fn refused(status: u16, body: &str) -> Error {
    peer().explain(Raw::HttpError {
        status: StatusCode::from_u16(status).unwrap(),
        canonical_reason: String::new(),
        body: body.to_owned(),
        headers: Box::default(),
    })
}

#[test]
fn what_providers_say_has_a_class() {
    for (status, body, class) in [
        (401, r#"{"error":{"message":"Incorrect API key provided"}}"#, Class::Auth),
        (403, r#"{"error":{"message":"no access"}}"#, Class::Auth),
        (400, r#"{"error":{"code":400,"message":"API key not valid."}}"#, Class::Auth),
        (402, "pay", Class::Quota),
        (429, r#"{"error":{"code":"insufficient_quota","message":"x"}}"#, Class::Quota),
        (400, r#"{"error":{"message":"Your credit balance is too low"}}"#, Class::Quota),
        (429, r#"{"error":{"message":"slow down"}}"#, Class::RateLimit),
        (
            429,
            r#"[{"error":{"status":"RESOURCE_EXHAUSTED","message":"Quota exceeded"}}]"#,
            Class::RateLimit,
        ),
        (400, r#"{"error":{"code":"context_length_exceeded"}}"#, Class::ContextOverflow),
        (400, r#"{"error":{"message":"prompt is too long: 9 > 8"}}"#, Class::ContextOverflow),
        (413, "", Class::ContextOverflow),
        (404, r#"{"error":{"message":"The model `x` does not exist"}}"#, Class::UnknownModel),
        (404, r#"{"error":"model 'x' not found, try pulling it first"}"#, Class::UnknownModel),
        (404, "404 page not found", Class::Rejected),
        (400, r#"{"error":{"message":"x is not a valid model ID"}}"#, Class::UnknownModel),
        (400, r#"{"error":{"message":"bad tools"}}"#, Class::Rejected),
        (500, "", Class::Server),
        (529, r#"{"type":"error","error":{"type":"overloaded_error"}}"#, Class::Server),
    ] {
        assert_eq!(refused(status, body).class, class, "{status} {body}");
    }
}

#[test]
fn errors_inside_a_stream_have_a_class_too() {
    let reported = |body: serde_json::Value| {
        let model_iden = genai::ModelIden::new(genai::adapter::AdapterKind::OpenAI, "x");
        peer().explain(Raw::ChatResponse { model_iden, body }).class
    };
    let nested = json!({"type": "error", "error": {"type": "overloaded_error", "message": "x"}});
    assert_eq!(reported(nested), Class::Server);
    assert_eq!(reported(json!({"message": "slow", "code": 429})), Class::RateLimit);
    assert_eq!(reported(json!({"message": "something"})), Class::Server);
    let long = json!({"message": "long", "code": "context_length_exceeded"});
    assert_eq!(reported(long), Class::ContextOverflow);
}

#[test]
fn a_message_says_who_what_and_what_to_do() {
    let error = refused(401, r#"{"error":{"message":"Incorrect API key."}}"#);
    assert_eq!(
        error.message,
        "openai/gpt-5 at api.example did not accept the key (status 401): Incorrect API key. \
         Check the provider's key, then send the prompt again."
    );
}

#[test]
fn provider_text_is_short_plain_and_without_keys() {
    let page = format!(
        "<!DOCTYPE html><html><style>p {{ x }}</style><body><h1>502 Bad\u{1b}[31m Gateway</h1>\
         <p>{KEY} and sk-abcdefghijklmnop1234 {}</p></body></html>",
        "very long ".repeat(500)
    );
    let message = refused(502, &page).message;
    assert!(message.contains("502 Bad"), "{message}");
    for bad in ["<", "\u{1b}", "{", KEY, "sk-abc"] {
        assert!(!message.contains(bad), "{bad}: {message}");
    }
    assert!(message.chars().count() < 700, "{}", message.len());
    let json = format!(r#"{{"error":{{"message":"{} {KEY}"}}}}"#, "x".repeat(100_000));
    assert!(refused(400, &json).message.chars().count() < 700);
}

#[test]
fn retry_after_is_read_as_seconds_milliseconds_or_a_date() {
    let read = |name: &'static str, value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        retry_after(&headers)
    };
    assert_eq!(read("retry-after", "7"), Some(Duration::from_secs(7)));
    assert_eq!(read("retry-after", "0.5"), Some(Duration::from_millis(500)));
    assert_eq!(read("retry-after-ms", "1500"), Some(Duration::from_millis(1_500)));
    assert_eq!(read("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
    let later = jiff::Timestamp::now() + Duration::from_mins(5);
    let date = later.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let pause = read("retry-after", &date).unwrap();
    assert!(pause > Duration::from_mins(3) && pause <= Duration::from_mins(5), "{pause:?}");
    assert_eq!(read("retry-after", "soon"), None);
    assert_eq!(read("retry-after", "-3"), None);
}
