use super::*;

fn parsed(text: &str) -> String {
    match Server::parse(text, &StateDir::new("/s")) {
        Ok(server) => server.name(),
        Err(error) => format!("! {error}"),
    }
}

#[test]
fn a_server_is_named_by_url_by_host_and_port_or_by_socket() {
    let cases = [
        ("http://127.0.0.1:8787", "http://127.0.0.1:8787"),
        (" http://box:8787/ ", "http://box:8787"),
        ("https://box/agents/hermes/", "https://box/agents/hermes"),
        ("https://box/a?b=1#c", "https://box/a"),
        ("127.0.0.1:8787", "http://127.0.0.1:8787"),
        ("localhost:8787", "http://localhost:8787"),
        ("[::1]:8787/x/", "http://[::1]:8787/x"),
        ("box", "https://box"),
        ("box:80", "https://box:80"),
        ("box.example:8787/p", "https://box.example:8787/p"),
        ("/run/h.sock", "/run/h.sock"),
        ("unix:/run/h.sock", "/run/h.sock"),
    ];
    for (text, name) in cases {
        assert_eq!(parsed(text), name, "{text}");
    }
}

#[test]
fn text_that_is_not_an_address_is_refused() {
    for text in ["", "http://", "ftp://box", "http://user:secret@box", "a b", "http://box:99999"] {
        let said = parsed(text);
        assert!(said.starts_with("! "), "{text}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[test]
fn each_server_has_files_of_its_own() {
    let file = |text: &str| Server::parse(text, &StateDir::new("/s")).unwrap().file("cookie");
    assert_eq!(
        file("http://box:1/a"),
        std::path::Path::new("/s/remote/http_3a_2f_2fbox_3a1_2fa.cookie.json")
    );
    assert_ne!(file("http://box:1/a_2fb"), file("http://box:1/a/b"));
    let long = |end: &str| format!("http://box/{}{end}", "x".repeat(400));
    assert_ne!(file(&long("1")), file(&long("2")));
    assert!(file(&long("1")).file_name().unwrap().len() < 255);
}

use super::http::Error as HttpError;
use super::testing::{Fake, answer};

async fn got(status: u16, headers: &str, body: &str) -> Result<serde_json::Value, HttpError> {
    let fake = Fake::start(vec![answer(status, headers, body)]).await;
    let answer = fake.client.get("/health", &[("a", "b&c")]).await;
    let head = &fake.requests()[0];
    assert!(head.starts_with("get /pre/fix/health?a=b%26c http/1.1\r\n"), "{head}");
    answer
}

#[tokio::test]
async fn kinds_of_answers_are_told_apart() {
    assert_eq!(got(200, "", "{\"a\":1}").await.unwrap()["a"], 1);
    let html = got(200, "content-type: text/html\r\n", "\n<!doctype html><p>Hi").await;
    assert!(matches!(&html, Err(HttpError::NotWebui(said)) if said.contains("web page")));
    assert!(matches!(got(200, "", "OK").await, Err(HttpError::NotWebui(_))));
    let login = got(302, "location: login?next=/\r\n", "").await;
    assert!(matches!(&login, Err(HttpError::Redirected(said)) if said.contains("--cookie")));
    let moved = got(301, "location: https://other/\r\n", "").await;
    assert!(matches!(&moved, Err(HttpError::Redirected(said)) if said.contains("https://other/")));
    let unknown = got(401, "", "{\"error\":\"Authentication required\"}").await;
    assert!(matches!(&unknown, Err(HttpError::Auth(said)) if said.contains("log in")));
    let busy = got(409, "", "{\"error\":\"busy\",\"active_stream_id\":\"x\"}").await;
    let Err(HttpError::Status { code: 409, message, body, .. }) = busy else { panic!("{busy:?}") };
    assert_eq!((message.as_str(), body["active_stream_id"].as_str()), ("busy", Some("x")));
    let page = got(502, "content-type: text/html\r\n", "<html>").await.unwrap_err();
    assert!(page.is_passing() && page.to_string().contains("502"), "{page}");
}

#[tokio::test]
async fn unsent_requests_are_told_apart_from_doubtful_ones() {
    let fake = Fake::start(vec![vec![]]).await;
    let cut = fake.client.post("/x", &serde_json::json!({})).await.unwrap_err();
    assert!(matches!(cut, HttpError::Unreachable { sent: true, .. }), "{cut:?}");
    // The listener is gone with its last script.
    let refused = loop {
        match fake.client.get("/x", &[]).await.unwrap_err() {
            HttpError::Unreachable { sent: false, why } => break why,
            _ => tokio::task::yield_now().await,
        }
    };
    assert!(refused.to_lowercase().contains("refused"), "{refused}");
}

#[tokio::test]
async fn cookies_go_back_to_their_server_and_no_origin_is_sent() {
    let set = "set-cookie: sid=abc.def; HttpOnly; Path=/\r\n";
    let fake = Fake::start(vec![answer(200, set, "{}"), answer(200, "", "{}")]).await;
    fake.client.post("/api/auth/login", &serde_json::json!({"password": "x"})).await.unwrap();
    fake.client.post("/api/y", &serde_json::json!({})).await.unwrap();
    let requests = fake.requests();
    assert!(!requests[0].contains("cookie:") && requests[1].contains("cookie: sid=abc.def\r\n"));
    for head in requests {
        assert!(!head.contains("origin:") && !head.contains("referer:"), "{head}");
    }
}
