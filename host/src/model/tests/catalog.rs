//! Names of models and what becomes of them.

use std::time::Duration;

use crate::model::catalog::{context_length, known, names, open, select, title};
use crate::settings::{self, Provider};

/// Settings for a model of a provider, with a key and an address of its own if any is given.
fn configured(provider: Provider, name: &str, base_url: Option<&str>) -> settings::Model {
    settings::Model {
        provider,
        name: name.to_owned(),
        base_url: base_url.map(str::to_owned),
        api_key: Some("sk-configured-key".to_owned()),
        context_length: Some(64_000),
        max_tokens: Some(1_000),
        retries: 3,
        stale: Duration::from_mins(3),
    }
}

#[test]
fn the_longest_known_prefix_gives_the_context_length() {
    for (name, length) in [
        ("gpt-4o-mini", Some(128_000)),
        ("gpt-4.1-nano", Some(1_047_576)),
        ("gpt-5.1-codex", Some(400_000)),
        ("gpt-4", Some(8_192)),
        ("o3-mini", Some(200_000)),
        ("claude-sonnet-4-5", Some(200_000)),
        ("anthropic/claude-3.7", Some(200_000)),
        ("gemini-2.5-pro", Some(1_048_576)),
        ("meta-llama/Llama-3.3-70B", Some(131_072)),
        ("qwen3-coder:30b", Some(262_144)),
        ("my-own-model", None),
    ] {
        assert_eq!(context_length(name), length, "{name}");
    }
    assert!(known().iter().all(|family| family.context >= 8_192));
}

#[test]
fn a_bare_name_stays_at_the_provider_with_its_key_and_address() {
    let current = configured(Provider::OpenAi, "a", Some("http://localhost:1234/v1"));
    let model = select(&current, " b ").unwrap();
    assert_eq!((model.provider, model.name.as_str()), (Provider::OpenAi, "b"));
    assert_eq!(model.base_url, current.base_url);
    assert_eq!(model.api_key, current.api_key);
    assert_eq!(model.context_length, None);
    assert_eq!(select(&current, "a").unwrap(), current);
    assert_eq!(select(&current, &title(&current)).unwrap(), current);
}

#[test]
fn a_key_never_follows_to_another_provider() {
    let current = configured(Provider::OpenAi, "gpt-5", None);
    for name in ["anthropic/claude-sonnet-4-5", "google/gemini-2.5-pro", "ollama/qwen3", "demo"] {
        let model = select(&current, name).unwrap();
        assert_ne!(model.provider, Provider::OpenAi);
        assert_eq!((model.api_key, model.base_url), (None, None), "{name}");
    }
    assert_eq!(title(&select(&current, "ollama/a/b").unwrap()), "ollama/a/b");
}

#[test]
fn an_unknown_provider_is_refused_with_the_known_ones() {
    let current = configured(Provider::Anthropic, "claude", None);
    let error = select(&current, "acme/one").unwrap_err();
    for part in ["acme", "openai", "anthropic", "gemini", "ollama", "demo"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(select(&current, "").is_err());
    assert!(select(&current, "openai/").unwrap_err().contains("openai/name"));
    assert!(select(&configured(Provider::Demo, "demo", None), "x").unwrap_err().contains("ollama"));
}

#[test]
fn a_gateway_keeps_names_with_a_vendor_in_front() {
    let current = configured(Provider::OpenAi, "a", Some("https://gateway.example/v1"));
    for name in ["mistralai/devstral", "anthropic/claude-sonnet-4-5"] {
        let model = select(&current, name).unwrap();
        assert_eq!((model.provider, model.name.as_str()), (Provider::OpenAi, name));
        assert_eq!(select(&current, &title(&model)).unwrap(), model);
    }
}

#[test]
fn the_configured_name_always_means_the_configured_model() {
    let gateway = Some("https://gateway.example/v1");
    for current in [
        configured(Provider::OpenAi, "openai/gpt-oss-120b", gateway),
        configured(Provider::OpenAi, "anthropic/claude-sonnet-4.5", gateway),
        configured(Provider::OpenAi, "demo/x", gateway),
        configured(Provider::Ollama, "hf.co/acme/model-GGUF:Q4_K_M", None),
    ] {
        assert_eq!(select(&current, &current.name).unwrap(), current);
        assert_eq!(select(&current, &title(&current)).unwrap(), current);
    }
}

#[test]
fn a_gateway_keeps_a_vendor_that_is_named_like_a_provider() {
    let current =
        configured(Provider::OpenAi, "mistralai/devstral", Some("https://gateway.example/v1"));
    for name in ["openai/gpt-5", "google/gemini-2.5-pro"] {
        let model = select(&current, name).unwrap();
        assert_eq!((model.provider, model.name.as_str()), (Provider::OpenAi, name));
        assert_eq!(model.api_key, current.api_key);
    }
}

#[test]
fn the_address_of_the_provider_itself_is_no_gateway() {
    let current = configured(Provider::OpenAi, "gpt-5", Some("https://api.openai.com/v1"));
    let model = select(&current, "anthropic/claude-sonnet-4-5").unwrap();
    assert_eq!((model.provider, model.base_url, model.api_key), (Provider::Anthropic, None, None));
    assert!(names(&current).contains(&"openai/gpt-5-mini".to_owned()));
}

#[test]
fn every_offered_name_can_be_selected_and_opened() {
    for provider in
        [Provider::OpenAi, Provider::Anthropic, Provider::Gemini, Provider::Ollama, Provider::Demo]
    {
        let name = if provider == Provider::Demo { "demo" } else { "some-model" };
        let current = configured(provider, name, None);
        let names = names(&current);
        assert_eq!(names.first(), Some(&title(&current)));
        assert_eq!(names.last().map(String::as_str), Some("demo"));
        for name in names {
            let model = open(&select(&current, &name).unwrap()).unwrap();
            assert_eq!(model.name(), name);
        }
    }
}

// S01
#[test]
fn a_configured_context_length_overrides_the_catalog() {
    let mut settings = configured(Provider::OpenAi, "gpt-5", None);
    assert_eq!(open(&settings).unwrap().context_length(), Some(64_000));
    settings.context_length = None;
    assert_eq!(open(&settings).unwrap().context_length(), Some(400_000));
}

#[test]
fn settings_that_cannot_work_are_refused_with_what_to_correct() {
    let error = |settings: &settings::Model| open(settings).err().unwrap();
    assert!(error(&configured(Provider::OpenAi, " ", None)).contains("model.default"));
    let bad = configured(Provider::OpenAi, "a", Some("localhost:1234/v1"));
    assert!(error(&bad).contains("localhost:1234/v1"), "{}", error(&bad));
}
