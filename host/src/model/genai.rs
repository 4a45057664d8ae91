//! A model behind a network: our requests and answers in terms of the client library, which
//! speaks the providers' dialects. Nothing is sent, resolved or even built before the first
//! request. Retries are not made here.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::{StreamExt, stream};
use genai::adapter::AdapterKind;
use genai::chat::{
    CacheControl, ChatMessage, ChatOptions, ChatRequest, ChatStream, ChatStreamEvent, ContentPart,
    MessageContent, ReasoningEffort, StopReason, StreamEnd, Tool, ToolCall as Call, ToolResponse,
};
use genai::resolver::{AuthData, Endpoint};
use genai::{ModelIden, ServiceTarget};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::Peer;
use super::{Answer, Chunk, Completion, Error, Message, Model, Request, catalog};
use crate::settings::{self, Provider};
use protocol::{CallId, Stop, ToolCall, Usage};

/// A tool call being written is reported again after this many bytes.
const CALLING_STEP: usize = 4 * 1024;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// A model of a provider.
pub(super) struct Remote {
    shared: Arc<RequestContext>,
    context: Option<u64>,
}

/// The settings and client of all requests, shared with the streams under way.
struct RequestContext {
    target: ServiceTarget,
    options: ChatOptions,
    provider: Provider,
    keyless: bool,
    official: bool,
    loopback: bool,
    peer: Peer,
    client: OnceLock<genai::Client>,
}

impl Remote {
    /// The model that the settings name. The error is for the user.
    pub(super) fn new(settings: &settings::Model) -> Result<Self, String> {
        let title = catalog::title(settings);
        let (kind, default) = match settings.provider {
            Provider::OpenAi => (AdapterKind::OpenAI, "https://api.openai.com/v1/"),
            Provider::Anthropic => (AdapterKind::Anthropic, "https://api.anthropic.com/v1/"),
            Provider::Gemini => {
                (AdapterKind::Gemini, "https://generativelanguage.googleapis.com/v1beta/")
            }
            Provider::Ollama => (AdapterKind::Ollama, "http://localhost:11434/"),
            Provider::Demo => return Err("The demo model is not a remote one.".to_owned()),
        };
        let name = settings.name.trim();
        if name.is_empty() {
            return Err("The model has no name. Set `model.default` in config.yaml, or name one \
                        with --model provider/name."
                .to_owned());
        }
        let base = settings.base_url.as_deref().map_or(default, str::trim);
        let (host, port) = server(base).ok_or_else(|| {
            format!("The base URL of {title} is not an http address: {base}. Correct it.")
        })?;
        let loopback = host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        let mut path = base.trim_end_matches('/');
        if settings.provider == Provider::Ollama {
            // Its own protocol lies beside the imitation of OpenAI's that others point to.
            path = path.trim_end_matches("/v1");
        }
        let key = settings.api_key.clone().filter(|key| !key.trim().is_empty());
        Ok(Self {
            context: settings.context_length.or_else(|| catalog::context_length(name)),
            shared: Arc::new(RequestContext {
                target: ServiceTarget {
                    endpoint: Endpoint::from_owned(format!("{path}/")),
                    // Servers without keys ignore the header; the library insists on one.
                    auth: AuthData::from_single(key.clone().unwrap_or_else(|| "none".to_owned())),
                    model: ModelIden::new(kind, name),
                },
                options: options(settings, name),
                provider: settings.provider,
                keyless: needs_key(settings) && key.is_none(),
                official: host == "api.openai.com",
                loopback,
                peer: Peer {
                    model: title,
                    address: format!("{host}{port}"),
                    key,
                    stale: settings.stale,
                },
                client: OnceLock::new(),
            }),
        })
    }
}

/// The host and the port (`:PORT` or nothing) of an http address.
fn server(base: &str) -> Option<(String, String)> {
    let url = reqwest::Url::parse(base).ok()?;
    let is_http = url.has_host() && matches!(url.scheme(), "http" | "https");
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    is_http.then_some((host, port))
}

/// Whether requests fail without a key.
fn needs_key(settings: &settings::Model) -> bool {
    match settings.provider {
        Provider::OpenAi => settings.base_url.is_none(),
        Provider::Anthropic | Provider::Gemini => true,
        Provider::Ollama | Provider::Demo => false,
    }
}

/// The options that all requests share.
fn options(settings: &settings::Model, name: &str) -> ChatOptions {
    let mut options = ChatOptions::default()
        .with_capture_usage(true)
        .with_capture_content(true)
        .with_capture_tool_calls(true)
        .with_capture_reasoning_content(wants_reasoning(settings.provider, name))
        .with_stream_header_timeout(settings.stale)
        .with_stream_read_timeout(settings.stale);
    if let Some(most) = settings.max_tokens {
        options = options.with_max_tokens(most);
    }
    if settings.provider == Provider::OpenAi && ReasoningEffort::from_model_name(name).0.is_some() {
        // The library takes `-max` and the like for an effort and sends the rest as the name. An
        // effort that has no keyword keeps it from looking, and is not sent.
        options = options.with_reasoning_effort(ReasoningEffort::Budget(0));
    }
    options
}

/// Gemini takes the wish for reasoning as an order and rejects it where there is none.
fn wants_reasoning(provider: Provider, name: &str) -> bool {
    match provider {
        Provider::Gemini => {
            !["gemini-1", "gemini-2.0", "gemma"].iter().any(|old| name.starts_with(old))
        }
        Provider::OpenAi | Provider::Anthropic | Provider::Ollama | Provider::Demo => true,
    }
}

impl Model for Remote {
    fn name(&self) -> &str {
        &self.shared.peer.model
    }

    fn context_length(&self) -> Option<u64> {
        self.context
    }

    fn stream(&self, request: Request) -> Answer {
        let state = State::Unsent(self.shared.clone(), Box::new(request));
        Box::pin(stream::unfold(state, |state| async move { state.next().await }))
    }
}

/// Where a request is.
enum State {
    Unsent(Arc<RequestContext>, Box<Request>),
    Streaming(Box<Streaming>),
    Over,
}

/// An answer under way.
struct Streaming {
    shared: Arc<RequestContext>,
    events: ChatStream,
    text: String,
    reasoning: String,
    /// Bytes of arguments last reported per call.
    calling: HashMap<String, usize>,
}

impl State {
    async fn next(self) -> Option<(Result<Chunk, Error>, Self)> {
        let mut streaming = match self {
            Self::Over => return None,
            Self::Streaming(streaming) => streaming,
            Self::Unsent(shared, request) => match shared.send(&request).await {
                Err(error) => return Some((Err(error), Self::Over)),
                Ok(events) => Box::new(Streaming {
                    shared,
                    events,
                    text: String::new(),
                    reasoning: String::new(),
                    calling: HashMap::new(),
                }),
            },
        };
        let last = loop {
            match streaming.events.next().await {
                None => break Err(streaming.shared.peer.truncated()),
                Some(Err(error)) => break Err(streaming.shared.peer.explain(error)),
                Some(Ok(ChatStreamEvent::End(end))) => break streaming.finish(end),
                Some(Ok(event)) => {
                    if let Some(chunk) = streaming.chunk(event) {
                        return Some((Ok(chunk), Self::Streaming(streaming)));
                    }
                }
            }
        };
        Some((last.map(Chunk::Done), Self::Over))
    }
}

impl Streaming {
    fn chunk(&mut self, event: ChatStreamEvent) -> Option<Chunk> {
        match event {
            ChatStreamEvent::Chunk(chunk) => {
                self.text.push_str(&chunk.content);
                (!chunk.content.is_empty()).then_some(Chunk::Text(chunk.content))
            }
            ChatStreamEvent::ReasoningChunk(chunk) => {
                self.reasoning.push_str(&chunk.content);
                (!chunk.content.is_empty()).then_some(Chunk::Reasoning(chunk.content))
            }
            ChatStreamEvent::ToolCallChunk(chunk) => {
                let call = chunk.tool_call;
                let bytes = match &call.fn_arguments {
                    Value::String(text) => text.len(),
                    other => other.to_string().len(),
                };
                let reported = self.calling.get(&call.call_id).copied();
                if reported.is_some_and(|before| bytes < before + CALLING_STEP)
                    || call.fn_name.is_empty()
                {
                    return None;
                }
                self.calling.insert(call.call_id, bytes);
                Some(Chunk::Calling { name: call.fn_name, bytes })
            }
            ChatStreamEvent::Start
            | ChatStreamEvent::ThoughtSignatureChunk(_)
            | ChatStreamEvent::Heartbeat
            | ChatStreamEvent::End(_) => None,
        }
    }

    /// The complete answer.
    fn finish(&mut self, end: StreamEnd) -> Result<Completion, Error> {
        let parts = end.captured_content.map(MessageContent::into_parts).unwrap_or_default();
        let mut calls = Vec::new();
        let mut kept = Opaque { provider: provider_of(&self.shared), ..Opaque::default() };
        for part in parts {
            match part {
                ContentPart::ToolCall(call) => calls.push(call),
                ContentPart::ThoughtSignature(_)
                | ContentPart::ReasoningContent(_)
                | ContentPart::Custom(_) => kept.parts.push(part),
                ContentPart::Text(_) | ContentPart::Binary(_) | ContentPart::ToolResponse(_) => {}
            }
        }
        let reason = end.captured_stop_reason;
        if matches!(reason, Some(StopReason::MaxTokens(_))) {
            // The last call is cut, and the rest may depend on it: none of them is to be run.
            calls.clear();
        }
        if let Some(StopReason::ContentFilter(reason)) = &reason
            && self.text.is_empty()
            && calls.is_empty()
        {
            return Err(self.shared.peer.filtered(reason));
        }
        let calls = self.calls(calls, &mut kept);
        kept.reasoning = self.shared.provider == Provider::OpenAi
            && !calls.is_empty()
            && !self.reasoning.is_empty();
        let stop = match reason {
            Some(StopReason::MaxTokens(_)) => Stop::Length,
            _ if calls.is_empty() => Stop::End,
            _ => Stop::Calls,
        };
        Ok(Completion {
            text: std::mem::take(&mut self.text),
            reasoning: std::mem::take(&mut self.reasoning),
            calls,
            stop,
            usage: end.captured_usage.map(usage),
            opaque: if kept.is_empty() {
                Value::Null
            } else {
                serde_json::to_value(kept).unwrap_or_default()
            },
        })
    }

    /// The calls with ids that are unique in the conversation and arguments that are JSON.
    fn calls(&self, calls: Vec<Call>, kept: &mut Opaque) -> Vec<ToolCall> {
        let mut list: Vec<ToolCall> = Vec::new();
        for call in calls {
            let id = if counted(&call.call_id) {
                format!("call_{}", uuid::Uuid::new_v4().simple())
            } else {
                call.call_id
            };
            if self.shared.provider == Provider::Gemini
                && let Some(signatures) = call.thought_signatures
            {
                kept.signatures.insert(id.clone(), signatures);
            }
            let args = match call.fn_arguments {
                Value::Null => Value::Object(Map::new()),
                Value::String(text) if text.trim().is_empty() => Value::Object(Map::new()),
                args => args,
            };
            // The library repeats a call whose index leaves a gap; the last one is whole.
            list.retain(|known| known.id.0 != id);
            list.push(ToolCall { id: CallId(id), name: call.fn_name, args });
        }
        list
    }
}

/// Whether an id is missing or a mere number: such ids return in the next answer.
fn counted(id: &str) -> bool {
    let number = id.strip_prefix("call_").unwrap_or(id);
    number.len() <= 3 && number.bytes().all(|b| b.is_ascii_digit())
}

fn provider_of(shared: &RequestContext) -> String {
    format!("{}/{}", catalog::provider_name(shared.provider), shared.peer.address)
}

/// The opaque part of an answer, which goes back unchanged to the provider it came from.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Opaque {
    provider: String,
    /// Signed reasoning, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<ContentPart>,
    /// Signatures of calls.
    #[serde(default, skip_serializing_if = "HashMap::is_empty")]
    signatures: HashMap<String, Vec<String>>,
    /// The plain reasoning goes back too.
    #[serde(default)]
    reasoning: bool,
}

impl Opaque {
    fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.signatures.is_empty() && !self.reasoning
    }
}

impl RequestContext {
    async fn send(&self, request: &Request) -> Result<ChatStream, Error> {
        if self.keyless {
            return Err(self.peer.no_key());
        }
        let client = self.client().map_err(|error| self.peer.explain(error))?;
        let mut options = self.options.clone();
        if self.official && !request.session.is_empty() {
            options = options.with_prompt_cache_key(&request.session);
        }
        let effort = request.reasoning.as_deref().and_then(ReasoningEffort::from_keyword);
        if let Some(effort) = effort {
            options = options.with_reasoning_effort(effort);
        }
        let request = self.request(request);
        match client.exec_chat_stream(self.target.clone(), request, Some(&options)).await {
            Ok(response) => Ok(response.stream),
            Err(error) => Err(self.peer.explain(error)),
        }
    }

    /// The client, built when first needed: that takes longer than a first frame may.
    fn client(&self) -> Result<&genai::Client, genai::Error> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .user_agent(concat!("hermes-tui/", env!("CARGO_PKG_VERSION")));
        if self.loopback {
            builder = builder.no_proxy();
        }
        let web = builder
            .build()
            .map_err(|error| genai::Error::ClientBuildFail { cause: error.to_string() })?;
        let client = genai::Client::builder().with_reqwest(web).build()?;
        Ok(self.client.get_or_init(|| client))
    }

    /// A request in the library's terms. A conversation that grows keeps its bytes: nothing here
    /// depends on how long it is, but the cache marks that Anthropic does not count.
    fn request(&self, request: &Request) -> ChatRequest {
        let mut messages: Vec<ChatMessage> = Vec::with_capacity(request.messages.len() + 1);
        let mut results: Vec<ToolResponse> = Vec::new();
        // What the user, the host and the background said since the last answer is one message:
        // templates of local servers insist on alternating roles.
        let mut prompts: Vec<&str> = Vec::new();
        if !request.system.is_empty() {
            messages.push(ChatMessage::system(request.system.as_str()));
        }
        for message in &request.messages {
            if let Message::User(text) = message {
                prompts.push(text);
                if !results.is_empty() {
                    messages.push(ChatMessage::from(std::mem::take(&mut results)));
                }
                continue;
            }
            if !prompts.is_empty() {
                messages.push(ChatMessage::user(std::mem::take(&mut prompts).join("\n\n")));
            }
            if let Message::Tool { call, name, text } = message {
                results.push(ToolResponse::new(call, text).with_fn_name(name));
                continue;
            }
            // The results of one answer belong together.
            if !results.is_empty() {
                messages.push(ChatMessage::from(std::mem::take(&mut results)));
            }
            match message {
                Message::Assistant { text, reasoning, calls, opaque } => {
                    let parts = self.parts(text, reasoning, calls, opaque);
                    if !parts.is_empty() {
                        messages.push(ChatMessage::assistant(MessageContent::from_parts(parts)));
                    }
                }
                Message::User(_) | Message::Tool { .. } => {}
            }
        }
        if !results.is_empty() {
            messages.push(ChatMessage::from(results));
        }
        if !prompts.is_empty() {
            messages.push(ChatMessage::user(prompts.join("\n\n")));
        }
        if self.provider == Provider::Anthropic {
            mark(&mut messages);
        }
        let tools = request.tools.iter().map(|tool| {
            Tool::new(tool.name)
                .with_description(tool.description)
                .with_schema(tool.parameters.clone())
        });
        let list = ChatRequest::from_messages(messages);
        if request.tools.is_empty() { list } else { list.with_tools(tools.collect::<Vec<_>>()) }
    }

    fn parts(
        &self,
        text: &str,
        reasoning: &str,
        calls: &[ToolCall],
        opaque: &Value,
    ) -> Vec<ContentPart> {
        let mut kept = Opaque::deserialize(opaque).unwrap_or_default();
        if kept.provider != provider_of(self) {
            kept = Opaque::default();
        }
        let mut parts = kept.parts;
        if kept.reasoning && !reasoning.is_empty() {
            parts.push(ContentPart::ReasoningContent(reasoning.to_owned()));
        }
        if !text.is_empty() {
            parts.push(ContentPart::Text(text.to_owned()));
        }
        parts.extend(calls.iter().map(|call| {
            // No provider takes back arguments that are no object.
            let args = match &call.args {
                args @ Value::Object(_) => args.clone(),
                other => serde_json::json!({ "invalid_arguments": other }),
            };
            ContentPart::ToolCall(Call {
                call_id: call.id.0.clone(),
                fn_name: call.name.clone(),
                fn_arguments: args,
                thought_signatures: kept.signatures.remove(&call.id.0),
            })
        }));
        parts
    }
}

/// Marks what Anthropic shall cache: the system prompt with the tools, and the conversation.
fn mark(messages: &mut [ChatMessage]) {
    let last = messages.len().saturating_sub(1);
    for (at, message) in messages.iter_mut().enumerate() {
        if at == 0 || at == last {
            message.options = Some(CacheControl::Ephemeral.into());
        }
    }
}

fn usage(usage: genai::chat::Usage) -> Usage {
    let count = |n: Option<i32>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
    let details = usage.prompt_tokens_details.as_ref();
    Usage {
        prompt: count(usage.prompt_tokens),
        completion: count(usage.completion_tokens),
        cached: count(details.and_then(|d| d.cached_tokens)),
        written: count(details.and_then(|d| d.cache_creation_tokens)),
        reasoning: count(usage.completion_tokens_details.and_then(|d| d.reasoning_tokens)),
    }
}
