//! Provider failures as a user reads them: a class, who failed, what happened and what to do.
//! Provider text is quoted, but short, plain and without keys. Retrying is not decided here.

use std::io;
use std::time::Duration;

use genai::webc::StreamTimeout;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::{Class, Error};

/// The first pause after a refused connection: nobody listens, so asking again costs nothing.
pub(super) const REFUSED_PAUSE: Duration = Duration::from_millis(500);

/// Most characters of provider text that are quoted.
const QUOTE: usize = 500;

impl Class {
    /// All of them.
    pub(super) const ALL: [Self; 9] = [
        Self::Auth,
        Self::Quota,
        Self::RateLimit,
        Self::ContextOverflow,
        Self::Unreachable,
        Self::Server,
        Self::Truncated,
        Self::UnknownModel,
        Self::Rejected,
    ];
}

/// The model and the server that requests go to, as errors name them.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The model, as users call it.
    pub(super) model: String,
    /// The address of the provider.
    pub(super) address: String,
    /// The key, so that it is never quoted.
    pub(super) key: Option<String>,
    /// Longest silence of a stream.
    pub(super) stale: Duration,
}

impl Peer {
    /// Converts a failure of the client library.
    pub(super) fn explain(&self, error: genai::Error) -> Error {
        if let (Some(status), headers) = (error.status(), error.headers()) {
            let after = headers.and_then(retry_after);
            return self.refusal(status, body_of(&error), after);
        }
        match error {
            genai::Error::WebStream { error, cause, .. } => {
                match error.downcast::<genai::Error>() {
                    Ok(inner) => self.explain(*inner),
                    Err(other) => self.broken(&*other, &cause),
                }
            }
            genai::Error::WebModelCall {
                webc_error: genai::webc::Error::Reqwest(error), ..
            } => {
                let cause = error.to_string();
                self.broken(&error, &cause)
            }
            genai::Error::ChatResponse { body, .. } => self.reported(&body),
            genai::Error::RequiresApiKey { .. }
            | genai::Error::NoAuthData { .. }
            | genai::Error::NoAuthResolver { .. } => self.no_key(),
            genai::Error::StreamParse { serde_error, .. } => self.error(
                Class::Server,
                &format!("sent something that cannot be read ({serde_error})"),
                "",
                "Check that the address speaks the provider's protocol.",
            ),
            other => self.error(
                Class::Rejected,
                "could not be asked",
                &other.to_string(),
                "Check the model's name and address in the configuration.",
            ),
        }
    }

    /// No key is configured: known without asking.
    pub(super) fn no_key(&self) -> Error {
        self.error(
            Class::Auth,
            "needs a key and none is configured",
            "",
            "Set the provider's key, or choose another model with /model.",
        )
    }

    /// The stream ended before the answer did.
    pub(super) fn truncated(&self) -> Error {
        self.error(Class::Truncated, "broke off its answer", "", "Send the prompt again.")
    }

    /// The provider's filter left nothing of the answer.
    pub(super) fn filtered(&self, reason: &str) -> Error {
        let what = format!("refused to answer ({})", self.plain(reason));
        self.error(Class::Rejected, &what, "", "Word the prompt differently.")
    }

    /// An HTTP status that is none of success.
    fn refusal(&self, status: StatusCode, body: &str, after: Option<Duration>) -> Error {
        let message = parse_message(body);
        let class = classify(Some(status.as_u16()), &message);
        let what = match class {
            Class::Auth => "did not accept the key",
            Class::Quota => "says that the account is out of credit",
            Class::RateLimit => "gets too many requests",
            Class::ContextOverflow => "says that the conversation is longer than its context",
            Class::Server | Class::Unreachable | Class::Truncated => "has a problem of its own",
            Class::UnknownModel => "is not known to the provider",
            Class::Rejected if status == StatusCode::NOT_FOUND => "is not at this address",
            Class::Rejected => "rejected the request",
        };
        let what = format!("{what} (status {})", status.as_u16());
        Error { retry_after: after, ..self.error(class, &what, &message.message, advice(class)) }
    }

    /// An error that the provider reported inside the stream.
    fn reported(&self, body: &Value) -> Error {
        let message = parse_message(&body.to_string());
        let class = match classify(message.status, &message) {
            Class::Rejected if message.status.is_none() && message.kind.is_empty() => Class::Server,
            class => class,
        };
        self.error(class, "reported an error in its answer", &message.message, advice(class))
    }

    /// A connection that could not be made, or that broke.
    fn broken(&self, error: &(dyn std::error::Error + 'static), cause: &str) -> Error {
        if error.downcast_ref::<StreamTimeout>().is_some() {
            let what = format!("was silent for {:?}", self.stale);
            let advice = "Check the server, then try again.";
            return self.error(Class::Unreachable, &what, "", advice);
        }
        let Some(web) = error.downcast_ref::<reqwest::Error>() else {
            return self.error(Class::Truncated, "broke off its answer", cause, "");
        };
        if web.is_builder() {
            let root = root(error);
            let what = "has an address that cannot be used";
            return self.error(Class::Rejected, what, &root, "Correct the base URL.");
        }
        if web.is_connect() && refused(error) {
            return Error {
                retry_after: Some(REFUSED_PAUSE),
                ..self.error(
                    Class::Unreachable,
                    "cannot be reached: connection refused",
                    "",
                    "Check that the server runs and that the address is right.",
                )
            };
        }
        if web.is_connect() || web.is_timeout() || web.is_request() {
            return self.error(
                Class::Unreachable,
                "cannot be reached",
                &root(error),
                "Check the network and the address.",
            );
        }
        self.error(Class::Truncated, "broke off its answer", &root(error), "Try again.")
    }

    fn error(&self, class: Class, what: &str, quote: &str, advice: &str) -> Error {
        let quote = self.plain(quote);
        let mut message = format!("{} at {} {what}", self.model, self.address);
        if !quote.is_empty() {
            message.push_str(": ");
            message.push_str(quote.trim_end_matches('.'));
        }
        message.push('.');
        if !advice.is_empty() {
            message.push(' ');
            message.push_str(advice);
        }
        Error { class, message, retry_after: None }
    }

    /// Provider text as it may be shown.
    fn plain(&self, text: &str) -> String {
        let mut text = without_markup(text);
        if let Some(key) = self.key.as_deref().filter(|key| key.len() >= 4) {
            text = text.replace(key, "***");
        }
        let words: Vec<&str> = text
            .split(|c: char| c.is_whitespace() || c.is_control())
            .filter(|word| !word.is_empty())
            .map(|word| if looks_secret(word) { "***" } else { word })
            .collect();
        let text = words.join(" ");
        match text.char_indices().nth(QUOTE) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }
}

/// The error that a provider reported.
#[derive(Debug, Default)]
struct ProviderMessage {
    message: String,
    /// Its type and code, in lower case.
    kind: String,
    status: Option<u16>,
}

/// Finds the message in the error formats of the providers; other bodies are the message.
fn parse_message(body: &str) -> ProviderMessage {
    let Ok(json) = serde_json::from_str::<Value>(body) else {
        return ProviderMessage { message: body.to_owned(), ..ProviderMessage::default() };
    };
    let json = if let Value::Array(list) = json {
        list.into_iter().next().unwrap_or(Value::Null)
    } else {
        json
    };
    let error = json.get("error").filter(|e| !e.is_null()).unwrap_or(&json);
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    };
    let message = text(error)
        .or_else(|| text(&error["message"]))
        .or_else(|| text(&json["message"]))
        .or_else(|| text(&json["detail"]))
        .unwrap_or_else(|| error.to_string());
    let kinds: Vec<String> =
        ["type", "code", "status"].iter().filter_map(|name| text(&error[*name])).collect();
    let status = error["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    ProviderMessage { message, kind: kinds.join(" ").to_lowercase(), status }
}

/// The class of a failure, by its status and the message of the provider.
fn classify(status: Option<u16>, message: &ProviderMessage) -> Class {
    let text = format!("{} {}", message.kind, message.message.to_lowercase());
    let says = |patterns: &[&str]| patterns.iter().any(|pattern| text.contains(pattern));
    let overflow = || {
        says(&[
            "context_length",
            "context length",
            "context window",
            "context size",
            "exceed_context",
            "prompt is too long",
            "input is too long",
            "input token count",
            "maximum number of tokens",
            "too many tokens",
        ])
    };
    let unknown = || {
        says(&["model_not_found", "no such model", "unknown model", "invalid model"])
            || (text.contains("model")
                && says(&["not found", "not_found", "does not exist", "not exist", "not a valid"]))
    };
    let credit = || {
        says(&[
            "insufficient_quota",
            "billing",
            "credit balance",
            "insufficient credit",
            "insufficient balance",
            "out of credit",
            "payment",
        ])
    };
    let key =
        || says(&["api key not valid", "api_key_invalid", "invalid api key", "authentication"]);
    match status {
        Some(402) => Class::Quota,
        Some(400 | 403 | 429) | None if credit() => Class::Quota,
        Some(401 | 403) => Class::Auth,
        Some(429) => Class::RateLimit,
        None if says(&["rate_limit", "rate limit", "too many requests"]) => Class::RateLimit,
        Some(413) => Class::ContextOverflow,
        Some(408 | 500..) => Class::Server,
        None if says(&["overloaded", "server_error", "api_error", "internal", "unavailable"]) => {
            Class::Server
        }
        Some(404) if !unknown() => Class::Rejected,
        _ if overflow() => Class::ContextOverflow,
        _ if key() => Class::Auth,
        None if says(&["permission"]) => Class::Auth,
        _ if unknown() => Class::UnknownModel,
        _ => Class::Rejected,
    }
}

fn advice(class: Class) -> &'static str {
    match class {
        Class::Auth => "Check the provider's key, then send the prompt again.",
        Class::Quota => "Add credit there, or choose another model with /model.",
        Class::RateLimit | Class::Server => "Try again in a while.",
        Class::ContextOverflow => "Compress the conversation or begin a new one.",
        Class::Unreachable => "Check the network and the address.",
        Class::Truncated => "Send the prompt again.",
        Class::UnknownModel => "Choose another model with /model.",
        Class::Rejected => "Check the model's settings: its name and address.",
    }
}

fn body_of(error: &genai::Error) -> &str {
    match error {
        genai::Error::HttpError { body, .. }
        | genai::Error::WebModelCall {
            webc_error: genai::webc::Error::ResponseFailedStatus { body, .. },
            ..
        } => body,
        _ => "",
    }
}

/// The pause a provider asks for, in any of its spellings.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let header = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let seconds = |text: &str| text.parse().ok().and_then(|n| Duration::try_from_secs_f64(n).ok());
    if let Some(pause) = header("retry-after-ms").and_then(seconds) {
        return Some(pause / 1_000);
    }
    let text = header("retry-after")?;
    seconds(text).or_else(|| {
        let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Some(Duration::try_from(date.duration_since(jiff::Timestamp::now())).unwrap_or_default())
    })
}

/// Whether the connection was refused.
fn refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && io.kind() == io::ErrorKind::ConnectionRefused
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// The innermost cause: the outer ones repeat the address.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(inner) = last.source() {
        last = inner;
    }
    last.to_string()
}

/// The text of an HTML page, roughly; other text as it is.
fn without_markup(text: &str) -> String {
    let start: String = text.trim_start().chars().take(200).collect::<String>().to_lowercase();
    if !(start.starts_with('<') && (start.contains("<html") || start.contains("<!doctype"))) {
        return text.chars().take(QUOTE * 8).collect();
    }
    let mut plain = String::new();
    let mut hidden = false;
    for piece in text.split('<') {
        let (tag, rest) = piece.split_once('>').unwrap_or(("", piece));
        let tag = tag.to_lowercase();
        if tag.starts_with("style") || tag.starts_with("script") {
            hidden = true;
        } else if tag.starts_with("/style") || tag.starts_with("/script") {
            hidden = false;
        }
        if !hidden {
            plain.push_str(rest);
            plain.push(' ');
        }
    }
    plain
}

/// Whether a word looks like a key.
fn looks_secret(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let known = ["sk-", "pk-", "AIza", "gsk_", "hf_", "xai-", "ghp_"];
    word.len() >= 16 && known.iter().any(|prefix| word.starts_with(prefix))
}
