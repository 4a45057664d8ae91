//! The keys of config.yaml that are honoured, typed. Other keys of hermes are accepted; a wrong type
//! is an error, and so is an unknown key below `hermes_tui`.

use std::time::Duration;

use host::settings::Compression;

use super::yaml::{Node, Reader, Value};
use crate::providers::Endpoint;

/// The settings in the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct File {
    pub(crate) model: Option<String>,
    pub(crate) provider: Option<String>,
    pub(crate) base_url: Option<String>,
    pub(crate) api_key: Option<String>,
    pub(crate) api_mode: Option<String>,
    pub(crate) context_length: Option<u64>,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) max_turns: Option<u32>,
    pub(crate) retries: Option<u32>,
    pub(crate) clarify_timeout: Option<Duration>,
    pub(crate) local_stale: Option<Duration>,
    /// Zero = turns never resume by themselves.
    pub(crate) freshness: Option<Duration>,
    /// Zero = never.
    pub(crate) notify_interval: Option<Duration>,
    pub(crate) drain: Option<Duration>,
    pub(crate) disabled_toolsets: Vec<String>,
    pub(crate) backend: Option<String>,
    pub(crate) cwd: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) env_passthrough: Vec<String>,
    pub(crate) approvals: Option<ApprovalMode>,
    pub(crate) approval_timeout: Option<Duration>,
    pub(crate) deny: Vec<String>,
    pub(crate) allow: Vec<String>,
    pub(crate) context_file_max_chars: Option<usize>,
    pub(crate) max_iterations: Option<u32>,
    pub(crate) max_children: Option<usize>,
    pub(crate) compression: Compression,
    pub(crate) own: Own,
    /// Notes on settings that would change what runs and that we do not support.
    pub(crate) unsupported: Vec<String>,
}

/// `approvals.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApprovalMode {
    Manual,
    Smart,
    Off,
}

/// Our own keys, below `hermes_tui`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Own {
    /// `terminal: local`: run commands here whatever `terminal.backend` says.
    pub(crate) local_terminal: bool,
    /// `max_wakeups`: wakeup turns in a row without a user before further ones are held.
    pub(crate) max_wakeups: u32,
    /// `on_hangup`: what happens to the host when its terminal is gone.
    pub(crate) on_hangup: OnHangup,
    /// `unattended_wait`: how long a question waits that no client shows.
    pub(crate) unattended_wait: Duration,
    /// `follow`: idle views follow when another client switches the session.
    pub(crate) follow: bool,
}

/// `hermes_tui.on_hangup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnHangup {
    /// The host keeps running.
    Keep,
    /// The host stops, its processes keep running.
    Leave,
    /// The host and its processes stop.
    Kill,
}

impl OnHangup {
    /// The value in configs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Leave => "leave",
            Self::Kill => "kill",
        }
    }
}

impl Default for Own {
    fn default() -> Self {
        Self {
            local_terminal: false,
            max_wakeups: 20,
            on_hangup: OnHangup::Keep,
            unattended_wait: Duration::from_hours(24),
            follow: false,
        }
    }
}

const OWN_KEYS: [&str; 5] = ["follow", "max_wakeups", "on_hangup", "terminal", "unattended_wait"];

/// Keys that change what runs in hermes and have no effect here.
const UNSUPPORTED: [(&str, &str); 6] = [
    ("hooks", "hooks do not run"),
    ("mcp_servers", "MCP servers are not started"),
    ("fallback_providers", "there is no fallback to another provider"),
    ("quick_commands", "quick commands are not offered"),
    ("toolsets", "all tools of hermes-tui are offered"),
    ("platform_toolsets", "all tools of hermes-tui are offered"),
];

impl File {
    /// Reads the tree. What is wrong goes to the reader's problems.
    pub(crate) fn read(tree: &Node, reader: &mut Reader<'_>) -> Self {
        let mut file = Self::default();
        if !matches!(tree.value, Value::Map(_) | Value::Null) {
            reader.wrong(tree, "config", "expected a map of settings");
            return file;
        }
        file.read_model(tree, reader);
        file.read_endpoints(tree, reader);
        file.read_agent(tree, reader);
        file.read_terminal(tree, reader);
        file.read_approvals(tree, reader);
        file.read_delegation(tree, reader);
        file.read_compression(tree, reader);
        file.own = Own::read(tree, reader);
        file.context_file_max_chars =
            reader.number(tree, "context_file_max_chars", 1).and_then(|n| usize::try_from(n).ok());
        for (key, effect) in UNSUPPORTED {
            let usual = matches!(&tree.get(key).map(|n| &n.value), Some(Value::List(list))
                if matches!(list.as_slice(), [Node { value: Value::Text(t), .. }] if t == "hermes-cli"));
            if tree.get(key).is_some_and(|n| !n.is_empty()) && !usual {
                file.unsupported.push(format!("{key} is not supported: {effect}"));
            }
        }
        file
    }

    fn read_model(&mut self, tree: &Node, reader: &mut Reader<'_>) {
        let Some(model) = tree.get("model") else { return };
        if !matches!(model.value, Value::Map(_)) {
            self.model = reader.text(tree, "model");
            return;
        }
        self.model = reader
            .text(model, "model.default")
            .or_else(|| reader.text(model, "model.model"))
            .or_else(|| reader.text(model, "model.name"));
        self.provider = reader.text(model, "model.provider");
        self.base_url = reader.text(model, "model.base_url");
        self.api_key = reader.secret(model, "model.api_key");
        self.api_mode = reader.text(model, "model.api_mode");
        self.context_length = reader.number(model, "model.context_length", 1);
        self.max_tokens = small(reader.number(model, "model.max_tokens", 1));
    }

    fn read_endpoints(&mut self, tree: &Node, reader: &mut Reader<'_>) {
        if let Some(providers) = reader.map(tree, "providers") {
            for (name, node) in providers.entries() {
                let key = format!("providers.{name}");
                if !matches!(node.value, Value::Map(_)) {
                    reader.wrong(node, &key, "expected a map with base_url");
                    continue;
                }
                let mut endpoint = endpoint(node, &key, reader);
                endpoint.name.clone_from(name);
                self.endpoints.push(endpoint);
            }
        }
        let Some(list) = tree.get("custom_providers") else { return };
        let Value::List(list) = &list.value else {
            reader.wrong(list, "custom_providers", "expected a list of maps");
            return;
        };
        for (n, node) in list.iter().enumerate() {
            let key = format!("custom_providers[{n}]");
            match node.value {
                Value::Map(_) => self.endpoints.push(endpoint(node, &key, reader)),
                _ => reader.wrong(node, &key, "expected a map with name and base_url"),
            }
        }
    }

    fn read_agent(&mut self, tree: &Node, reader: &mut Reader<'_>) {
        if let Some(clarify) = reader.map(tree, "clarify") {
            self.clarify_timeout = reader.seconds(clarify, "clarify.timeout");
        }
        let Some(agent) = reader.map(tree, "agent") else { return };
        self.max_turns = small(reader.number(agent, "agent.max_turns", 1));
        self.retries = small(reader.number(agent, "agent.api_max_retries", 0));
        let clarify = reader.seconds(agent, "agent.clarify_timeout");
        self.clarify_timeout = clarify.or(self.clarify_timeout);
        self.local_stale = reader.seconds(agent, "agent.local_stream_stale_timeout");
        self.freshness = reader.seconds_or_none(agent, "agent.gateway_auto_continue_freshness");
        self.notify_interval = reader.seconds_or_none(agent, "agent.gateway_notify_interval");
        self.drain = reader.seconds_or_none(agent, "agent.restart_drain_timeout");
        self.disabled_toolsets = reader.texts(agent, "agent.disabled_toolsets");
        for set in self.disabled_toolsets.iter().filter(|s| s.as_str() != "terminal") {
            self.unsupported.push(format!("agent.disabled_toolsets: {set} stays enabled"));
        }
    }

    fn read_terminal(&mut self, tree: &Node, reader: &mut Reader<'_>) {
        let Some(terminal) = reader.map(tree, "terminal") else { return };
        self.backend = reader.text(terminal, "terminal.backend");
        self.cwd = reader.text(terminal, "terminal.cwd");
        self.timeout = reader.seconds(terminal, "terminal.timeout");
        self.env_passthrough = reader.texts(terminal, "terminal.env_passthrough");
    }

    fn read_approvals(&mut self, tree: &Node, reader: &mut Reader<'_>) {
        self.allow = reader.texts(tree, "command_allowlist");
        let Some(approvals) = reader.map(tree, "approvals") else { return };
        self.approval_timeout = reader.seconds(approvals, "approvals.timeout");
        self.deny = reader.texts(approvals, "approvals.deny");
        let Some(mode) = approvals.get("mode") else { return };
        // YAML reads a bare `off` as false.
        self.approvals = match &mode.value {
            Value::Bool(false) => Some(ApprovalMode::Off),
            Value::Text(text) => match text.trim().to_lowercase().as_str() {
                "off" => Some(ApprovalMode::Off),
                "smart" => Some(ApprovalMode::Smart),
                "manual" => Some(ApprovalMode::Manual),
                _ => None,
            },
            _ => None,
        };
        if self.approvals.is_none() {
            reader.wrong(mode, "approvals.mode", "expected manual, smart or off");
        }
    }

    fn read_delegation(&mut self, tree: &Node, reader: &mut Reader<'_>) {
        let Some(delegation) = reader.map(tree, "delegation") else { return };
        self.max_iterations = small(reader.number(delegation, "delegation.max_iterations", 1));
        let children = reader.number(delegation, "delegation.max_concurrent_children", 1);
        self.max_children = children.and_then(|n| usize::try_from(n).ok());
        let deeper = reader.number(delegation, "delegation.max_spawn_depth", 0);
        if deeper.is_some_and(|depth| depth != 1) {
            let note = "delegation.max_spawn_depth is always 1: a delegated task does not delegate";
            self.unsupported.push(note.to_owned());
        }
        if reader.switch(delegation, "delegation.subagent_auto_approve") == Some(true) {
            let note = "delegation.subagent_auto_approve is not supported: what needs an approval \
                        is denied in delegated tasks";
            self.unsupported.push(note.to_owned());
        }
        for key in ["model", "provider", "base_url"] {
            if delegation.get(key).is_some_and(|n| !n.is_empty()) {
                let note = format!(
                    "delegation.{key} is not supported: delegated tasks use their session's model"
                );
                self.unsupported.push(note);
            }
        }
    }

    fn read_compression(&mut self, tree: &Node, reader: &mut Reader<'_>) {
        let Some(node) = reader.map(tree, "compression") else { return };
        let own = &mut self.compression;
        if let Some(on) = reader.switch(node, "compression.enabled") {
            own.enabled = on;
        }
        if let Some(part) = reader.part(node, "compression.threshold") {
            own.threshold = part;
        }
        if let Some(part) = reader.part(node, "compression.target_ratio") {
            own.target_ratio = part;
        }
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        if let Some(n) = reader.number(node, "compression.protect_first_n", 0) {
            own.protect_first = count(n);
        }
        if let Some(n) = reader.number(node, "compression.protect_last_n", 0) {
            own.protect_last = count(n);
        }
    }
}

impl Own {
    /// Reads the keys below `hermes_tui`. What is wrong goes to the reader's problems.
    pub(super) fn read(tree: &Node, reader: &mut Reader<'_>) -> Self {
        let mut own = Self::default();
        let Some(map) = reader.map(tree, "hermes_tui") else { return own };
        for (name, node) in map.entries() {
            if !OWN_KEYS.contains(&name.as_str()) {
                let known = format!("unknown key; known are {}", OWN_KEYS.join(", "));
                reader.wrong(node, &format!("hermes_tui.{name}"), &known);
            }
        }
        if let Some(number) = small(reader.number(map, "hermes_tui.max_wakeups", 1)) {
            own.max_wakeups = number;
        }
        if let Some(time) = reader.seconds(map, "hermes_tui.unattended_wait") {
            own.unattended_wait = time;
        }
        if let Some(follow) = reader.switch(map, "hermes_tui.follow") {
            own.follow = follow;
        }
        match reader.text(map, "hermes_tui.terminal").as_deref() {
            None => {}
            Some("local") => own.local_terminal = true,
            Some(_) => wrong_at(map, "hermes_tui.terminal", "expected local", reader),
        }
        match reader.text(map, "hermes_tui.on_hangup").as_deref() {
            None => {}
            Some("keep") => own.on_hangup = OnHangup::Keep,
            Some("leave") => own.on_hangup = OnHangup::Leave,
            Some("kill") => own.on_hangup = OnHangup::Kill,
            Some(_) => {
                wrong_at(map, "hermes_tui.on_hangup", "expected keep, leave or kill", reader);
            }
        }
        own
    }
}

impl Node {
    fn is_empty(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::List(list) => list.is_empty(),
            Value::Map(map) => map.is_empty(),
            Value::Bool(on) => !on,
            Value::Text(text) => text.is_empty(),
            Value::Int(_) | Value::Float(_) => false,
        }
    }
}

fn wrong_at(own: &Node, key: &str, message: &str, reader: &mut Reader<'_>) {
    let at = key.rsplit_once('.').and_then(|(_, name)| own.get(name)).unwrap_or(own);
    reader.wrong(at, key, message);
}

fn small(number: Option<u64>) -> Option<u32> {
    number.map(|n| u32::try_from(n).unwrap_or(u32::MAX))
}

fn endpoint(node: &Node, key: &str, reader: &mut Reader<'_>) -> Endpoint {
    let mut text =
        |names: &[&str]| names.iter().find_map(|name| reader.text(node, &format!("{key}.{name}")));
    let name = text(&["name"]).unwrap_or_default();
    let base_url = text(&["base_url", "url", "api"]);
    let key_env = text(&["key_env", "api_key_env"]);
    let model = text(&["model", "default_model"]);
    let api_mode = text(&["api_mode", "transport"]);
    let api_key = reader.secret(node, &format!("{key}.api_key"));
    let context_length = reader.number(node, &format!("{key}.context_length"), 1);
    Endpoint { name, base_url, api_key, key_env, model, api_mode, context_length }
}
