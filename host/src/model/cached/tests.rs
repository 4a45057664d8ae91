use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::serve::tests::eventually;

const DAY: Millis = 24 * 60 * 60 * 1000;

fn model(base_url: Option<String>) -> settings::Model {
    settings::Model {
        provider: Provider::OpenAi,
        name: "mine".to_owned(),
        base_url,
        api_key: Some("key".to_owned()),
        context_length: None,
        max_tokens: None,
        retries: 0,
        stale: Duration::from_mins(3),
    }
}

fn auth(folder: &Path, text: &str) -> String {
    let path = folder.join("auth.json");
    fs::write(&path, text).unwrap();
    digest(&[folder.join("config.yaml"), path], &model(None))
}

const AUTH: &str = r#"{"providers": {"nous": {"access_token": "a", "refresh_token": "r",
    "expires_at": 1, "last_refresh": "x", "base_url": "https://one"}},
    "pool": [{"id": "k", "request_count": 3, "last_status": null}], "updated_at": 5}"#;

#[test]
fn what_only_rotates_does_not_count() {
    // S06
    let folder = tempfile::tempdir().unwrap();
    let before = auth(folder.path(), AUTH);
    for (old, new) in [
        (r#""access_token": "a""#, r#""access_token": "b""#),
        (r#""refresh_token": "r""#, r#""refresh_token": "s""#),
        (r#""expires_at": 1"#, r#""expires_at": 2"#),
        (r#""last_refresh": "x""#, r#""last_refresh": "y""#),
        (r#""request_count": 3"#, r#""request_count": 4"#),
        (r#""last_status": null"#, r#""last_status": "ok""#),
        (r#""updated_at": 5"#, r#""updated_at": 6"#),
    ] {
        assert!(AUTH.contains(old), "{old}");
        assert_eq!(auth(folder.path(), &AUTH.replace(old, new)), before, "{new}");
        assert_eq!(auth(folder.path(), &AUTH.replace(old, r#""tokens": {"z": 1}"#)), before);
    }
}

#[test]
fn what_is_not_known_to_rotate_counts() {
    // S06
    let folder = tempfile::tempdir().unwrap();
    let before = auth(folder.path(), AUTH);
    for (old, new) in [
        (r#""id": "k""#, r#""id": "l""#),
        ("https://one", "https://two"),
        (r#""pool""#, r#""pools""#),
        (r#""id": "k""#, r#""id": "k", "something_new": 1"#),
        (r#""id": "k""#, r#""id": "k", "max_models": 1"#),
        ("[{", "[{}, {"),
    ] {
        assert!(AUTH.contains(old), "{old}");
        assert_ne!(auth(folder.path(), &AUTH.replace(old, new)), before, "{new}");
    }
    fs::write(folder.path().join("config.yaml"), "model: x").unwrap();
    let with_config = auth(folder.path(), AUTH);
    assert_ne!(with_config, before);
    fs::write(folder.path().join("config.yaml"), "model: y").unwrap();
    assert_ne!(auth(folder.path(), AUTH), with_config);
}

#[test]
fn a_missing_file_an_empty_one_and_an_unreadable_one_differ() {
    // S06
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth.json");
    let of = || digest(std::slice::from_ref(&path), &model(None));
    let missing = of();
    fs::write(&path, "").unwrap();
    let empty = of();
    assert_ne!(missing, empty);
    // A folder cannot be read as a file, by nobody.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let unreadable = of();
    assert_ne!(unreadable, missing);
    assert_ne!(unreadable, empty);
    assert_eq!(of(), unreadable);
    let later = std::time::SystemTime::now() + Duration::from_secs(100);
    fs::File::open(&path).unwrap().set_modified(later).unwrap();
    assert_ne!(of(), unreadable, "its time counts");
}

#[test]
fn another_server_key_or_model_is_another_list() {
    // S06
    let one = digest(&[], &model(None));
    assert_ne!(digest(&[], &model(Some("http://x".to_owned()))), one);
    assert_ne!(digest(&[], &settings::Model { api_key: None, ..model(None) }), one);
    assert_eq!(digest(&[], &settings::Model { retries: 9, ..model(None) }), one);
}

/// A server that gives these bytes to each request, after `wait`; and how often it was asked.
async fn server(body: &'static str, wait: Duration) -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&request[..read]).to_lowercase();
                assert!(head.starts_with("get /v1/models "), "{head}");
                assert!(head.contains("authorization: bearer key"), "{head}");
                tokio::time::sleep(wait).await;
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.ok();
            });
        }
    });
    (url, asked)
}

const LIST: &str = r#"{"data": [{"id": "b-model"}, {"id": "mine"}, {"id": "a-model"}, {"x": 1}]}"#;

#[tokio::test]
async fn the_servers_list_is_kept_for_a_day() {
    // S06
    let folder = tempfile::tempdir().unwrap();
    let (url, asked) = server(LIST, Duration::ZERO).await;
    let cached = Cached::new(&StateDir::new(folder.path()), model(Some(url)), Vec::new());
    // A read before the list is there gets the built-in names.
    assert_eq!(cached.names(1_000), ["openai/mine", "demo"]);
    let expected = ["openai/mine", "openai/a-model", "openai/b-model", "demo"];
    eventually("the list", || cached.names(1_000) == expected).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let mode =
        fs::metadata(StateDir::new(folder.path()).model_list()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Also by the next host, and until the day is over.
    let next = Cached::new(&StateDir::new(folder.path()), cached.model.clone(), Vec::new());
    assert_eq!(next.names(1_000 + DAY - 1), expected);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // An old list is still given while the new one is made.
    assert_eq!(next.names(1_000 + DAY), expected);
    eventually("a second question", || asked.load(Ordering::SeqCst) == 2).await;
    // That of another configuration is not.
    let other = settings::Model { name: "other".to_owned(), ..cached.model.clone() };
    let other = Cached::new(&StateDir::new(folder.path()), other, Vec::new());
    assert_eq!(other.names(1_000), ["openai/other", "demo"]);
    Cached::forget(&StateDir::new(folder.path())).unwrap();
    Cached::forget(&StateDir::new(folder.path())).unwrap();
}

#[test]
fn each_listed_name_finds_the_model_it_stands_for() {
    // S06
    let gateway = settings::Model {
        name: "openai/gpt-oss-120b".to_owned(),
        ..model(Some("https://gateway.example/v1".to_owned()))
    };
    for id in ["openai/gpt-5", "anthropic/claude-sonnet-4", "someone/else", "bare"] {
        let name = named(&gateway, id).unwrap();
        assert_eq!(catalog::select(&gateway, &name).unwrap().name, id, "{name}");
    }
    assert_eq!(named(&model(None), "gpt-5"), Some("openai/gpt-5".to_owned()));
}

#[tokio::test]
async fn a_slow_server_is_asked_once_at_a_time_and_holds_nobody_up() {
    // S06
    let folder = tempfile::tempdir().unwrap();
    let (url, asked) = server(LIST, Duration::from_mins(10)).await;
    let cached = Cached::new(&StateDir::new(folder.path()), model(Some(url)), Vec::new());
    eventually("the question", || {
        cached.names(1_000);
        asked.load(Ordering::SeqCst) > 0
    })
    .await;
    for _ in 0..100 {
        assert_eq!(cached.names(1_000), ["openai/mine", "demo"]);
    }
    eventually("the end of the wait", || {
        let rebuild = cached.rebuild.lock().unwrap();
        !rebuild.running && rebuild.failed_at.is_some()
    })
    .await;
    // It failed a moment ago: not again at once.
    cached.names(1_000);
    assert!(!cached.rebuild.lock().unwrap().running);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_answer_that_is_no_list_is_not_kept() {
    // S06
    for body in ["<html>", "{}", r#"{"data": 3}"#] {
        let folder = tempfile::tempdir().unwrap();
        let (url, _) = server(body, Duration::ZERO).await;
        let cached = Cached::new(&StateDir::new(folder.path()), model(Some(url)), Vec::new());
        cached.names(1_000);
        let failed = || cached.rebuild.lock().unwrap().failed_at.is_some();
        eventually("the failure", failed).await;
        assert!(!StateDir::new(folder.path()).model_list().exists(), "{body}");
    }
}
