use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::*;

fn wish(model: &str, provider: &str) -> Wish {
    Wish { model: some(model), provider: some(provider), ..Wish::default() }
}

fn chosen(wish: &Wish, env: &[(&str, &str)]) -> Choice {
    choose(wish, &Env::of(env), &[]).unwrap()
}

fn refused(wish: &Wish, env: &[(&str, &str)]) -> String {
    choose(wish, &Env::of(env), &[]).unwrap_err()
}

/// Answers one request with `body` and says where it listens.
fn serve(body: &'static str) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 512];
        let n = stream.read(&mut request).unwrap();
        assert!(request[..n].starts_with(b"GET /v1/models "));
        write!(stream, "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{body}").unwrap();
    });
    at
}

#[test]
fn names_and_aliases_are_unique_and_every_remote_provider_has_a_key() {
    let mut names: Vec<_> = TABLE.iter().flat_map(|e| e.aliases.iter().chain([&e.name])).collect();
    names.extend(REFUSED.iter().flat_map(|(names, _)| *names));
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
    for entry in TABLE {
        assert!(!entry.keys.is_empty() || entry.kind == Provider::Ollama || is_near(entry.base));
    }
}

#[test]
fn nothing_configured_is_the_first_key_then_a_local_server_then_the_demo() {
    let none = Wish::default();
    let both = [("OPENAI_API_KEY", "a"), ("ANTHROPIC_API_KEY", "b")];
    assert_eq!(chosen(&none, &both).provider, "anthropic");
    assert_eq!(chosen(&none, &both[..1]).provider, "openai-api");
    let at = serve(r#"{"object":"list","data":[{"id":"small-model"}]}"#);
    let servers = [local::Server { name: "llamacpp", at }];
    let found = choose(&none, &Env::default(), &servers).unwrap();
    assert_eq!((found.provider.as_str(), found.model.as_str()), ("llamacpp", "small-model"));
    assert_eq!(found.base_url, Some(format!("http://{at}/v1")));
    assert_eq!(chosen(&none, &[]).kind, Provider::Demo);
}

#[test]
fn a_server_without_models_or_a_silent_one_is_not_used_and_costs_little() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let servers = [
        local::Server { name: "ollama", at: silent.local_addr().unwrap() },
        local::Server { name: "llamacpp", at: serve(r#"{"data":[]}"#) },
    ];
    let start = std::time::Instant::now();
    let found = choose(&Wish::default(), &Env::default(), &servers).unwrap();
    assert_eq!(found.kind, Provider::Demo);
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn an_ollama_elsewhere_keeps_its_address() {
    let at = serve(r#"{"data":[{"id":"llama3:8b"}]}"#);
    let servers = [local::Server { name: "ollama", at }];
    let found = choose(&Wish::default(), &Env::default(), &servers).unwrap();
    assert_eq!((found.kind, found.model.as_str()), (Provider::Ollama, "llama3:8b"));
    assert_eq!(found.base_url, Some(format!("http://{at}")));
}

#[test]
fn the_demo_is_used_by_name_and_never_when_something_is_configured() {
    let key = [("OPENAI_API_KEY", "a")];
    assert_eq!(chosen(&wish("demo", "openai"), &key).kind, Provider::Demo);
    assert!(refused(&wish("some-model", ""), &[]).contains("nobody serves the model some-model"));
    // A server that is down stays the one that is used.
    let down = Wish { base_url: some("http://127.0.0.1:9/v1"), ..wish("m", "custom") };
    let choice = chosen(&down, &key);
    assert_eq!((choice.kind, choice.api_key), (Provider::OpenAi, None));
}

#[test]
fn a_known_provider_without_its_key_says_which_variable() {
    let why = refused(&wish("", "gemini"), &[]);
    assert!(why.contains("GEMINI_API_KEY or GOOGLE_API_KEY"), "{why}");
    let choice = chosen(&wish("", "Google"), &[("GOOGLE_API_KEY", "k")]);
    assert_eq!((choice.kind, choice.base_url), (Provider::Gemini, None));
    assert_eq!(choice.key_from.as_deref(), Some("GOOGLE_API_KEY"));
}

#[test]
fn a_provider_we_cannot_speak_is_refused_by_name_with_what_works() {
    let why = refused(&wish("m", "openai-codex"), &[]);
    assert!(why.contains("openai-codex") && why.contains("login") && why.contains("--model demo"));
    let why = refused(&wish("m", "acme"), &[("GROQ_API_KEY", "k")]);
    assert!(why.contains("acme is not known") && why.contains("--provider groq works"), "{why}");
    let codex = Wish {
        api_mode: some("codex_responses"),
        base_url: some("http://x"),
        ..wish("m", "custom")
    };
    assert!(refused(&codex, &[]).contains("codex_responses"));
}

#[test]
fn a_model_name_leads_to_its_provider_when_none_is_named() {
    let keys = [("OPENAI_API_KEY", "a"), ("ANTHROPIC_API_KEY", "b"), ("DEEPSEEK_API_KEY", "c")];
    let by_name = |model: &str| {
        let choice = chosen(&wish(model, "auto"), &keys);
        (choice.provider, choice.model)
    };
    let own = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(by_name("gpt-9-mini"), own("openai-api", "gpt-9-mini"));
    assert_eq!(by_name("claude-x"), own("anthropic", "claude-x"));
    assert_eq!(by_name("deepseek/chat"), own("deepseek", "chat"));
    assert_eq!(by_name("openai:o9"), own("openai-api", "o9"));
    let router = [keys[0], ("OPENROUTER_API_KEY", "r")];
    assert_eq!(chosen(&wish("openai/o9", ""), &router).model, "openai/o9");
    // A tag of a local model is not a provider.
    let local = chosen(&wish("mistral:7b", "ollama"), &[("MISTRAL_API_KEY", "k")]);
    assert_eq!((local.kind, local.model.as_str()), (Provider::Ollama, "mistral:7b"));
}

#[test]
fn a_named_endpoint_brings_its_address_key_and_model() {
    let endpoint = Endpoint {
        name: "My Lab".to_owned(),
        base_url: some("https://lab.example/v1/"),
        key_env: some("LAB_KEY"),
        model: some("big"),
        context_length: Some(9),
        ..Endpoint::default()
    };
    for name in ["my-lab", "custom:My Lab", "My Lab"] {
        let wish = Wish { endpoints: vec![endpoint.clone()], ..wish("", name) };
        let choice = chosen(&wish, &[("LAB_KEY", "k"), ("OPENAI_API_KEY", "other")]);
        assert_eq!(choice.base_url.as_deref(), Some("https://lab.example/v1"));
        assert_eq!((choice.model.as_str(), choice.api_key.as_deref()), ("big", Some("k")));
        assert_eq!(choice.context_length, Some(9));
    }
    let bad = Endpoint { base_url: some("lab.example"), ..endpoint };
    let wish = Wish { endpoints: vec![bad], ..wish("", "my-lab") };
    assert!(refused(&wish, &[]).contains("not an http or https address"));
}

#[test]
fn a_key_goes_only_to_the_host_it_belongs_to() {
    let at = |url: &str| Wish { base_url: some(url), ..wish("m", "custom") };
    let keys = [("OPENROUTER_API_KEY", "r"), ("OPENAI_API_KEY", "o")];
    assert_eq!(chosen(&at("https://openrouter.ai/api/v1"), &keys).api_key.as_deref(), Some("r"));
    assert_eq!(chosen(&at("https://openrouter.ai.evil.example/v1"), &keys).api_key, None);
    assert_eq!(chosen(&at("https://x@evil.example/api.openai.com"), &keys).api_key, None);
}

#[test]
fn stored_api_keys_count_and_logins_do_not() {
    let text = r#"{"version":1,"credential_pool":{
        "openrouter":[
            {"auth_type":"oauth","access_token":"no","priority":0},
            {"auth_type":"api_key","access_token":"second","priority":2},
            {"auth_type":"api_key","access_token":"first","priority":1}],
        "nous":[{"auth_type":"oauth","access_token":"x"}],
        "custom:lab":[{"auth_type":"api-key","access_token":"lab","base_url":"http://l/v1"}]}}"#;
    let stored = stored_keys(text);
    assert_eq!(stored.keys().collect::<Vec<_>>(), ["custom:lab", "openrouter"]);
    let wish = Wish { stored, ..Wish::default() };
    let choice = chosen(&wish, &[]);
    assert_eq!(
        (choice.provider.as_str(), choice.api_key.as_deref()),
        ("openrouter", Some("first"))
    );
    assert_eq!(choice.key_from.as_deref(), Some("auth.json"));
    assert!(stored_keys("not json").is_empty() && stored_keys("[]").is_empty());
}

#[test]
fn secrets_are_shown_by_their_end_only() {
    assert_eq!(mask("sk-0123456789abcdef"), "…cdef");
    assert_eq!(mask("short"), "…");
}

#[test]
fn near_is_this_machine_or_its_private_network() {
    for url in
        ["http://localhost:1/v1", "http://127.0.0.1:8080", "http://[::1]:1/", "http://10.0.0.3"]
    {
        assert!(is_near(url), "{url}");
    }
    assert!(!is_near("https://api.openai.com/v1") && !is_near("http://localhost.example"));
}
