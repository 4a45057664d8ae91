//! Which models there are and how a name becomes one. A small built-in table: nothing here asks
//! a server, so a wakeup starts without a network call of its own.

use std::sync::Arc;

use super::Model;
use super::demo::{self, Demo};
use super::genai::Remote;
use super::retry::Retry;
use crate::settings::{self, Provider};

/// A family of models, recognised by how their names begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Who serves it first of all; others serve it under the same names.
    pub provider: Provider,
    /// How the names of the family begin.
    pub prefix: &'static str,
    /// Context length in tokens.
    pub context: u64,
    /// A model of it worth offering, if any.
    pub offer: Option<&'static str>,
}

/// A row of the table.
const fn family(
    provider: Provider,
    prefix: &'static str,
    context: u64,
    offer: Option<&'static str>,
) -> Family {
    Family { provider, prefix, context, offer }
}

const FAMILIES: [Family; 30] = [
    family(Provider::OpenAi, "gpt-5", 400_000, Some("gpt-5")),
    family(Provider::OpenAi, "gpt-5-mini", 400_000, Some("gpt-5-mini")),
    family(Provider::OpenAi, "gpt-4.1", 1_047_576, Some("gpt-4.1")),
    family(Provider::OpenAi, "gpt-4o", 128_000, Some("gpt-4o")),
    family(Provider::OpenAi, "gpt-4-turbo", 128_000, None),
    family(Provider::OpenAi, "gpt-4", 8_192, None),
    family(Provider::OpenAi, "gpt-oss", 131_072, None),
    family(Provider::OpenAi, "o1", 200_000, None),
    family(Provider::OpenAi, "o3", 200_000, Some("o3")),
    family(Provider::OpenAi, "o4", 200_000, Some("o4-mini")),
    family(Provider::Anthropic, "claude-opus-4", 200_000, Some("claude-opus-4-1")),
    family(Provider::Anthropic, "claude-sonnet-4", 200_000, Some("claude-sonnet-4-5")),
    family(Provider::Anthropic, "claude-haiku-4", 200_000, Some("claude-haiku-4-5")),
    family(Provider::Anthropic, "claude", 200_000, None),
    family(Provider::Gemini, "gemini-2.5-pro", 1_048_576, Some("gemini-2.5-pro")),
    family(Provider::Gemini, "gemini-2.5-flash", 1_048_576, Some("gemini-2.5-flash")),
    family(Provider::Gemini, "gemini", 1_048_576, None),
    family(Provider::Ollama, "llama3", 131_072, Some("llama3.2")),
    family(Provider::Ollama, "llama-3", 131_072, None),
    family(Provider::Ollama, "qwen3-coder", 262_144, Some("qwen3-coder")),
    family(Provider::Ollama, "qwen3", 40_960, Some("qwen3")),
    family(Provider::Ollama, "qwen2.5", 32_768, None),
    family(Provider::Ollama, "deepseek", 131_072, Some("deepseek-r1")),
    family(Provider::Ollama, "mistral", 131_072, Some("mistral-nemo")),
    family(Provider::Ollama, "gemma3", 131_072, Some("gemma3")),
    family(Provider::OpenAi, "kimi-k2", 262_144, None),
    family(Provider::OpenAi, "glm-4", 131_072, None),
    family(Provider::OpenAi, "grok-4", 256_000, None),
    family(Provider::OpenAi, "hermes-4", 131_072, None),
    family(Provider::Demo, demo::NAME, 128_000, None),
];

/// Providers by name; the first name of each is the one it is shown by.
const PROVIDERS: [(&str, Provider); 7] = [
    ("openai", Provider::OpenAi),
    ("anthropic", Provider::Anthropic),
    ("gemini", Provider::Gemini),
    ("ollama", Provider::Ollama),
    ("demo", Provider::Demo),
    ("google", Provider::Gemini),
    ("custom", Provider::OpenAi),
];

/// The built-in table of models.
pub fn known() -> &'static [Family] {
    &FAMILIES
}

/// What a provider is called.
pub fn provider_name(provider: Provider) -> &'static str {
    match provider {
        Provider::OpenAi => "openai",
        Provider::Anthropic => "anthropic",
        Provider::Gemini => "gemini",
        Provider::Ollama => "ollama",
        Provider::Demo => "demo",
    }
}

/// What users call a model: `provider/name`, or `demo`.
pub fn title(settings: &settings::Model) -> String {
    match settings.provider {
        Provider::Demo => demo::NAME.to_owned(),
        Provider::OpenAi | Provider::Anthropic | Provider::Gemini | Provider::Ollama => {
            format!("{}/{}", provider_name(settings.provider), settings.name)
        }
    }
}

/// The context length of a model by its name, if its family is known. A gateway's prefix
/// (`vendor/`) is skipped; the longest matching family decides.
pub fn context_length(name: &str) -> Option<u64> {
    let name = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    FAMILIES
        .iter()
        .filter(|family| name.starts_with(family.prefix))
        .max_by_key(|family| family.prefix.len())
        .map(|family| family.context)
}

/// Makes the model that the settings name. Asks nobody; the error says what to do.
pub fn open(settings: &settings::Model) -> Result<Arc<dyn Model>, String> {
    match settings.provider {
        Provider::Demo => Ok(Arc::new(Demo)),
        Provider::OpenAi | Provider::Anthropic | Provider::Gemini | Provider::Ollama => {
            let remote = Remote::new(settings)?;
            Ok(Arc::new(Retry::new(Arc::new(remote), settings.retries)))
        }
    }
}

/// The settings for `/model NAME`, from the configured ones: `demo`, `provider/name`, or a bare
/// name at the configured provider. A key and an address stay with the provider they belong to.
pub fn select(current: &settings::Model, name: &str) -> Result<settings::Model, String> {
    let name = name.trim();
    if name.is_empty() {
        return Err("Name a model: `demo`, `provider/name`, or a name at the configured \
                    provider."
            .to_owned());
    }
    // First of all: a configured name may look like anything, `openai/gpt-oss-120b` at a gateway.
    if name == current.name || name == title(current) {
        return Ok(current.clone());
    }
    if name == demo::NAME {
        return Ok(at(current, Provider::Demo, demo::NAME));
    }
    let prefix = name.split_once('/').map(|(prefix, rest)| (prefix.to_lowercase(), rest));
    let Some((prefix, rest)) = prefix else {
        return match current.provider {
            Provider::Demo => Err(format!(
                "No provider is configured for the model {name}; write `provider/{name}` with \
                 one of: {}.",
                providers()
            )),
            Provider::OpenAi | Provider::Anthropic | Provider::Gemini | Provider::Ollama => {
                Ok(at(current, current.provider, name))
            }
        };
    };
    let named = PROVIDERS.iter().find(|(known, _)| *known == prefix).map(|(_, p)| *p);
    match named {
        Some(Provider::Demo) => Ok(at(current, Provider::Demo, demo::NAME)),
        Some(provider) if rest.is_empty() => {
            Err(format!("Name a model of {0}: `{0}/name`.", provider_name(provider)))
        }
        // A gateway has names of its own with a vendor in front, `openai/` too if it serves many.
        Some(Provider::OpenAi) if is_gateway(current) && current.name.contains('/') => {
            Ok(at(current, current.provider, name))
        }
        Some(Provider::Anthropic | Provider::Gemini) | None if is_gateway(current) => {
            Ok(at(current, current.provider, name))
        }
        Some(provider) => Ok(at(current, provider, rest)),
        None => Err(format!("Unknown provider {prefix}; known are: {}.", providers())),
    }
}

/// What to offer for `/model`: the configured model first, the demo model last.
pub fn names(current: &settings::Model) -> Vec<String> {
    let mut names = vec![title(current)];
    if !is_gateway(current) {
        let offers = FAMILIES
            .iter()
            .filter(|family| family.provider == current.provider)
            .filter_map(|family| family.offer)
            .map(|name| title(&at(current, current.provider, name)));
        names.extend(offers);
    }
    names.push(demo::NAME.to_owned());
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// Whether its server has names of its own.
fn is_gateway(settings: &settings::Model) -> bool {
    let own = |url: &str| url.starts_with("https://api.openai.com/");
    settings.provider == Provider::OpenAi && settings.base_url.as_deref().is_some_and(|u| !own(u))
}

/// `current` with another model; what belongs to the old provider or model is left behind.
fn at(current: &settings::Model, provider: Provider, name: &str) -> settings::Model {
    let mut model = current.clone();
    if provider != current.provider {
        model.base_url = None;
        model.api_key = None;
    }
    if provider != current.provider || name != current.name {
        model.context_length = None;
        model.max_tokens = None;
    }
    model.provider = provider;
    name.clone_into(&mut model.name);
    model
}

fn providers() -> String {
    let names: Vec<&str> = PROVIDERS.iter().take(5).map(|(name, _)| *name).collect();
    names.join(", ")
}
