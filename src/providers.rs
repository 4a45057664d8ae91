//! Who serves models: one table of providers with their keys, and the choice of one from what is
//! configured. Sends nothing, except to local servers ([`local`]).

use std::collections::BTreeMap;

use host::settings::Provider;

use crate::env::Env;

pub(crate) mod local;

/// A provider we can speak to.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its name in configs.
    pub(crate) name: &'static str,
    aliases: &'static [&'static str],
    kind: Provider,
    /// Its address; empty where the kind implies it.
    base: &'static str,
    base_env: &'static str,
    /// Variables that hold its key, best first; none: it needs no key.
    pub(crate) keys: &'static [&'static str],
    /// The model when none is named; empty: one must be named.
    model: &'static str,
}

const fn entry(
    name: &'static str,
    aliases: &'static [&'static str],
    base: &'static str,
    keys: &'static [&'static str],
    model: &'static str,
) -> Entry {
    Entry { name, aliases, kind: Provider::OpenAi, base, base_env: "", keys, model }
}

/// All of them. The order is the one keys are looked for in when nothing else decides.
#[rustfmt::skip]
pub(crate) const TABLE: &[Entry] = &[
    Entry { base_env: "OPENROUTER_BASE_URL",
        ..entry("openrouter", &["or"], "https://openrouter.ai/api/v1", &["OPENROUTER_API_KEY"], "anthropic/claude-sonnet-4.5") },
    Entry { kind: Provider::Anthropic, base_env: "ANTHROPIC_BASE_URL",
        ..entry("anthropic", &["claude"], "", &["ANTHROPIC_API_KEY"], "claude-sonnet-4-5") },
    Entry { base_env: "OPENAI_BASE_URL",
        ..entry("openai-api", &["openai"], "https://api.openai.com/v1", &["OPENAI_API_KEY"], "gpt-5") },
    Entry { kind: Provider::Gemini,
        ..entry("gemini", &["google", "google-gemini"], "", &["GEMINI_API_KEY", "GOOGLE_API_KEY"], "gemini-2.5-pro") },
    entry("deepseek", &[], "https://api.deepseek.com/v1", &["DEEPSEEK_API_KEY"], "deepseek-chat"),
    entry("xai", &["grok", "x-ai"], "https://api.x.ai/v1", &["XAI_API_KEY"], "grok-4"),
    entry("mistral", &[], "https://api.mistral.ai/v1", &["MISTRAL_API_KEY"], "mistral-large-latest"),
    entry("groq", &[], "https://api.groq.com/openai/v1", &["GROQ_API_KEY"], "openai/gpt-oss-120b"),
    entry("together", &["togetherai"], "https://api.together.xyz/v1", &["TOGETHER_API_KEY"], "openai/gpt-oss-120b"),
    entry("fireworks", &["fireworks-ai"], "https://api.fireworks.ai/inference/v1", &["FIREWORKS_API_KEY"], "accounts/fireworks/models/gpt-oss-120b"),
    entry("zai", &["glm", "z-ai", "zhipu"], "https://api.z.ai/api/paas/v4", &["GLM_API_KEY", "ZAI_API_KEY", "Z_AI_API_KEY"], "glm-4.6"),
    entry("kimi-coding", &["kimi", "moonshot"], "https://api.moonshot.ai/v1", &["KIMI_API_KEY", "MOONSHOT_API_KEY"], "kimi-k2-turbo-preview"),
    entry("kimi-coding-cn", &["kimi-cn", "moonshot-cn"], "https://api.moonshot.cn/v1", &["KIMI_CN_API_KEY"], "kimi-k2-turbo-preview"),
    entry("minimax", &[], "https://api.minimax.io/v1", &["MINIMAX_API_KEY"], "MiniMax-M2"),
    entry("minimax-cn", &[], "https://api.minimaxi.com/v1", &["MINIMAX_CN_API_KEY"], "MiniMax-M2"),
    entry("nvidia", &["nim"], "https://integrate.api.nvidia.com/v1", &["NVIDIA_API_KEY"], "openai/gpt-oss-120b"),
    entry("huggingface", &["hf"], "https://router.huggingface.co/v1", &["HF_TOKEN"], "openai/gpt-oss-120b"),
    entry("alibaba", &["dashscope", "qwen"], "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", &["DASHSCOPE_API_KEY"], "qwen3-coder-plus"),
    entry("deepinfra", &[], "https://api.deepinfra.com/v1/openai", &["DEEPINFRA_API_KEY"], "openai/gpt-oss-120b"),
    entry("novita", &[], "https://api.novita.ai/openai/v1", &["NOVITA_API_KEY"], ""),
    entry("upstage", &[], "https://api.upstage.ai/v1", &["UPSTAGE_API_KEY"], ""),
    entry("stepfun", &[], "https://api.stepfun.ai/v1", &["STEPFUN_API_KEY"], ""),
    entry("arcee", &[], "https://api.arcee.ai/api/v1", &["ARCEEAI_API_KEY", "ARCEE_API_KEY"], ""),
    entry("opencode-zen", &["zen"], "https://opencode.ai/zen/v1", &["OPENCODE_ZEN_API_KEY"], ""),
    entry("ollama-cloud", &[], "https://ollama.com/v1", &["OLLAMA_API_KEY"], "gpt-oss:120b"),
    Entry { kind: Provider::Ollama, ..entry("ollama", &[], "", &[], "") },
    Entry { base_env: "LM_BASE_URL",
        ..entry("lmstudio", &["lm-studio"], "http://127.0.0.1:1234/v1", &[], "") },
    entry("llamacpp", &["llama.cpp", "llama-cpp"], "http://127.0.0.1:8080/v1", &[], ""),
];

/// Providers of hermes we cannot speak to, and why.
const REFUSED: &[(&[&str], &str)] = &[
    (&["nous", "nous-portal"], "it is reached by a browser login only"),
    (&["openai-codex", "codex"], "it is reached by a browser login only"),
    (&["xai-oauth", "qwen-oauth", "minimax-oauth"], "it is reached by a browser login only"),
    (&["copilot", "github-copilot"], "it is reached by a GitHub login only"),
    (&["copilot-acp"], "it is a program of its own"),
    (&["bedrock", "aws-bedrock"], "it needs request signing by AWS"),
    (&["azure-foundry", "azure", "vertex"], "its addresses and keys differ for each deployment"),
    (&["moa"], "mixtures of models are not supported"),
];

/// Keys that are no provider's of the table but as secret.
const OTHER_KEYS: &[&str] = &[
    "ANTHROPIC_TOKEN",
    "AZURE_FOUNDRY_API_KEY",
    "AZURE_OPENAI_API_KEY",
    "CEREBRAS_API_KEY",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "COHERE_API_KEY",
    "COPILOT_GITHUB_TOKEN",
    "ELEVENLABS_API_KEY",
    "EXA_API_KEY",
    "FIRECRAWL_API_KEY",
    "HUGGINGFACE_API_KEY",
    "KILOCODE_API_KEY",
    "LM_API_KEY",
    "NOUS_API_KEY",
    "OPENCODE_GO_API_KEY",
    "PERPLEXITY_API_KEY",
    "TAVILY_API_KEY",
    "TOGETHERAI_API_KEY",
    "XIAOMI_API_KEY",
];

/// The names of all variables that hold a provider's key: what children never get by themselves.
pub(crate) fn key_names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().flat_map(|e| e.keys).chain(OTHER_KEYS).copied()
}

/// An endpoint of the user's own (`providers`, `custom_providers`).
#[derive(Clone, Debug, Default)]
pub(crate) struct Endpoint {
    /// What it is called.
    pub(crate) name: String,
    /// Its address.
    pub(crate) base_url: Option<String>,
    /// Its key.
    pub(crate) api_key: Option<String>,
    /// The variable that holds its key.
    pub(crate) key_env: Option<String>,
    /// The model when none is named.
    pub(crate) model: Option<String>,
    /// How it wants to be spoken to.
    pub(crate) api_mode: Option<String>,
    /// Its context length.
    pub(crate) context_length: Option<u64>,
}

/// What is configured about the model, flags first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// The model.
    pub(crate) model: Option<String>,
    /// The provider.
    pub(crate) provider: Option<String>,
    /// An address.
    pub(crate) base_url: Option<String>,
    /// A key.
    pub(crate) api_key: Option<String>,
    /// How the address wants to be spoken to.
    pub(crate) api_mode: Option<String>,
    /// Named endpoints.
    pub(crate) endpoints: Vec<Endpoint>,
    /// API keys stored by `hermes auth`, by provider.
    pub(crate) stored: BTreeMap<String, Stored>,
}

/// A stored key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The key.
    pub(crate) key: String,
    /// The address it belongs to, when not the usual one.
    pub(crate) base_url: Option<String>,
}

/// The provider that is used.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Choice {
    /// Its name.
    pub(crate) provider: String,
    /// How it is spoken to.
    pub(crate) kind: Provider,
    /// The model.
    pub(crate) model: String,
    /// Its address.
    pub(crate) base_url: Option<String>,
    /// Its key.
    pub(crate) api_key: Option<String>,
    /// Where the key was found.
    pub(crate) key_from: Option<String>,
    /// The context length of a named endpoint.
    pub(crate) context_length: Option<u64>,
}

/// Chooses who is asked: what is configured, else a key that is there, else a server on this
/// machine, else the demo. The error says what is wrong and what works instead.
pub(crate) fn choose(wish: &Wish, env: &Env, servers: &[local::Server]) -> Result<Choice, String> {
    if wish.model.as_deref() == Some("demo") {
        return Ok(demo());
    }
    let Some(name) = wish.provider.as_deref().filter(|p| *p != "auto") else {
        return choose_freely(wish, env, servers);
    };
    let plain = name.strip_prefix("custom:").unwrap_or(name);
    if let Some(endpoint) = wish.endpoints.iter().find(|e| slug(&e.name) == slug(plain)) {
        return endpoint.choice(wish, env);
    }
    if name == "custom" {
        return match (&wish.base_url, wish.endpoints.first()) {
            (None, Some(endpoint)) => endpoint.choice(wish, env),
            _ => addressed(wish).choice(wish, env),
        };
    }
    if name == "demo" {
        return Ok(demo());
    }
    if let Some(entry) = find(name) {
        return entry.choice(wish, env);
    }
    let refused = REFUSED.iter().find(|(names, _)| names.contains(&slug(name).as_str()));
    let why = match refused {
        Some((_, why)) => format!("the provider {name} cannot be used here: {why}"),
        None => format!("the provider {name} is not known"),
    };
    Err(format!("{why}. {}", instead(wish, env)))
}

/// The choice when no provider is named.
fn choose_freely(wish: &Wish, env: &Env, servers: &[local::Server]) -> Result<Choice, String> {
    if wish.base_url.is_some() {
        return addressed(wish).choice(wish, env);
    }
    let ready = || TABLE.iter().filter(|e| e.is_ready(wish, env));
    if let Some(model) = &wish.model {
        // `-m anthropic:claude-…`: names the provider too, unless one of several routes.
        if let Some((first, rest)) = model.split_once([':', '/'])
            && let Some(entry) = ready().find(|e| e.is_called(first))
            && (model.contains(':') || !ready().any(|e| e.name == "openrouter"))
        {
            let wish = Wish { model: Some(rest.to_owned()), ..wish.clone() };
            return entry.choice(&wish, env);
        }
        let family = |name: &str| name.split('-').next().map(str::to_owned);
        if let Some(entry) = ready().find(|e| family(e.model) == family(model)) {
            return entry.choice(wish, env);
        }
    }
    if let Some(entry) = ready().next() {
        return entry.choice(wish, env);
    }
    if let Some(endpoint) = wish.endpoints.first() {
        return endpoint.choice(wish, env);
    }
    if let Some(found) = local::find(servers) {
        let entry = find(found.name).ok_or("a local server of no known kind")?;
        let model = wish.model.clone().or(found.model);
        let base_url = (entry.kind == Provider::OpenAi).then(|| format!("{}/v1", found.url));
        let moved = entry.kind == Provider::Ollama && !local::is_usual(found.name, &found.url);
        let base_url = base_url.or_else(|| moved.then_some(found.url));
        return entry.choice(&Wish { model, base_url, ..wish.clone() }, env);
    }
    match &wish.model {
        Some(model) => Err(format!("nobody serves the model {model}. {}", instead(wish, env))),
        None => Ok(demo()),
    }
}

fn demo() -> Choice {
    Choice {
        provider: "demo".to_owned(),
        kind: Provider::Demo,
        model: "demo".to_owned(),
        base_url: None,
        api_key: None,
        key_from: None,
        context_length: None,
    }
}

/// The entry of a name or alias.
pub(crate) fn find(name: &str) -> Option<&'static Entry> {
    TABLE.iter().find(|e| e.is_called(name))
}

fn slug(name: &str) -> String {
    name.trim().to_lowercase().replace([' ', '_'], "-")
}

/// What the user can do when a provider cannot be used.
fn instead(wish: &Wish, env: &Env) -> String {
    match TABLE.iter().find(|e| e.is_ready(wish, env)) {
        Some(entry) => format!("--provider {} works: its key is there", entry.name),
        None => "Set a key such as OPENROUTER_API_KEY, ANTHROPIC_API_KEY or OPENAI_API_KEY, \
                 name an OpenAI-compatible server as model.base_url, or try --model demo"
            .to_owned(),
    }
}

impl Entry {
    fn is_called(&self, name: &str) -> bool {
        let name = slug(name);
        self.name == name || self.aliases.contains(&name.as_str())
    }

    /// Whether its key, or an address in place of its own, is there.
    fn is_ready(&self, wish: &Wish, env: &Env) -> bool {
        let moved = !self.base_env.is_empty() && env.get(self.base_env).is_some();
        moved || self.key(wish, env).is_some()
    }

    /// Its key and where it was found.
    fn key(&self, wish: &Wish, env: &Env) -> Option<(String, String)> {
        let name = self.keys.iter().find(|name| env.get(name).is_some());
        let from_env = name.and_then(|name| Some((env.get(name)?, name))).map(|(key, name)| {
            let from = if env.is_from_file(name) { " in .env" } else { "" };
            (key.to_owned(), format!("{name}{from}"))
        });
        from_env.or_else(|| {
            let (_, stored) = wish.stored.iter().find(|(name, _)| self.is_called(name))?;
            Some((stored.key.clone(), "auth.json".to_owned()))
        })
    }

    fn choice(&self, wish: &Wish, env: &Env) -> Result<Choice, String> {
        let stored = wish.stored.iter().find(|(name, _)| self.is_called(name)).map(|(_, s)| s);
        let moved = (!self.base_env.is_empty()).then(|| env.get(self.base_env)).flatten();
        let base_url = wish
            .base_url
            .clone()
            .or_else(|| moved.map(str::to_owned))
            .or_else(|| stored.and_then(|s| s.base_url.clone()))
            .or_else(|| (!self.base.is_empty()).then(|| self.base.to_owned()))
            .map(|url| url.trim_end_matches('/').to_owned());
        let configured = wish.api_key.clone().map(|key| (key, "config.yaml".to_owned()));
        let key = configured.or_else(|| self.key(wish, env));
        let at_home = wish.base_url.is_none() && moved.is_none();
        if key.is_none() && at_home && !self.keys.is_empty() {
            let name = self.name;
            return Err(format!(
                "the provider {name} needs a key: set {} in the environment or in .env",
                self.keys.join(" or ")
            ));
        }
        let model = wish.model.clone().or_else(|| some(self.model));
        let (api_key, key_from) = key.unzip();
        Ok(Choice {
            provider: self.name.to_owned(),
            kind: match &wish.api_mode {
                Some(mode) => spoken(mode, self.name)?,
                None => self.kind,
            },
            model: model.ok_or_else(|| no_model(self.name))?,
            base_url,
            api_key,
            key_from,
            context_length: None,
        })
    }
}

impl Endpoint {
    fn choice(&self, wish: &Wish, env: &Env) -> Result<Choice, String> {
        let name = if self.name.is_empty() { "custom" } else { &self.name };
        let base = self.base_url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
        let base = base.ok_or_else(|| format!("the provider {name} has no base_url"))?;
        if !(base.starts_with("http://") || base.starts_with("https://")) {
            return Err(format!("the provider {name}: {base:?} is not an http or https address"));
        }
        let own = self.api_key.clone().map(|key| (key, "config.yaml".to_owned()));
        let named = || {
            let name = self.key_env.as_deref()?;
            Some((env.get(name)?.to_owned(), name.to_owned()))
        };
        let stored = || {
            let name = format!("custom:{}", slug(name));
            Some((wish.stored.get(&name)?.key.clone(), "auth.json".to_owned()))
        };
        // A key goes only to the host it belongs to.
        let same_host = || {
            let entry = TABLE.iter().find(|e| !e.base.is_empty() && host(e.base) == host(&base))?;
            entry.key(wish, env)
        };
        let key = own.or_else(named).or_else(stored).or_else(same_host);
        let model = wish.model.clone().or_else(|| self.model.clone());
        let (api_key, key_from) = key.unzip();
        Ok(Choice {
            provider: name.to_owned(),
            kind: match &self.api_mode {
                Some(mode) => spoken(mode, name)?,
                None if base.ends_with("/anthropic") => Provider::Anthropic,
                None => Provider::OpenAi,
            },
            model: model.ok_or_else(|| no_model(name))?,
            base_url: Some(base),
            api_key,
            key_from,
            context_length: self.context_length,
        })
    }
}

/// The endpoint that is written straight into `model`.
fn addressed(wish: &Wish) -> Endpoint {
    Endpoint {
        base_url: wish.base_url.clone(),
        api_key: wish.api_key.clone(),
        api_mode: wish.api_mode.clone(),
        ..Endpoint::default()
    }
}

fn spoken(mode: &str, name: &str) -> Result<Provider, String> {
    match mode {
        "chat_completions" | "openai" | "openai_chat" => Ok(Provider::OpenAi),
        "anthropic_messages" | "anthropic" => Ok(Provider::Anthropic),
        _ => Err(format!(
            "the provider {name} wants api_mode {mode}, which hermes-tui does not speak; \
             chat_completions and anthropic_messages work"
        )),
    }
}

fn no_model(name: &str) -> String {
    format!("the provider {name} needs a model: name one with --model or as model.default")
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The host of an address, without its port.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.starts_with('[') {
        return host.split_once(']').map_or(host, |(h, _)| h).trim_start_matches('[');
    }
    host.split_once(':').map_or(host, |(h, _)| h)
}

/// Whether an address is on this machine or its private network.
pub(crate) fn is_near(url: &str) -> bool {
    let host = host(url);
    match host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private(),
        Ok(std::net::IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        Err(_) => host == "localhost" || host.rsplit('.').next() == Some("local"),
    }
}

/// The API keys of `auth.json`. What cannot be read holds none.
pub(crate) fn stored_keys(text: &str) -> BTreeMap<String, Stored> {
    let Ok(auth) = serde_json::from_str::<serde_json::Value>(text) else { return BTreeMap::new() };
    let Some(pool) = auth["credential_pool"].as_object() else { return BTreeMap::new() };
    let first = |(name, entries): (&String, &serde_json::Value)| {
        let is_key = |e: &&serde_json::Value| {
            matches!(e["auth_type"].as_str(), Some("api_key" | "api-key"))
                && e["access_token"].as_str().is_some_and(|t| !t.is_empty())
        };
        let best = entries.as_array()?.iter().filter(is_key);
        let best = best.min_by_key(|e| e["priority"].as_i64().unwrap_or(i64::MAX))?;
        let base_url = best["base_url"].as_str().and_then(some);
        Some((slug(name), Stored { key: best["access_token"].as_str()?.to_owned(), base_url }))
    };
    pool.iter().filter_map(first).collect()
}

/// A secret as it may be shown.
pub(crate) fn mask(secret: &str) -> String {
    let tail: String = secret.chars().rev().take(4).collect();
    match secret.chars().count() {
        0..16 => "…".to_owned(),
        _ => format!("…{}", tail.chars().rev().collect::<String>()),
    }
}

#[cfg(test)]
mod tests;
