//! `hermes-tui attach` on the command line: what it says before the interface opens.

use std::io::Write as _;
use std::process::{Output, Stdio};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::{get, post};
use serde_json::json;

use super::Served;
use crate::support::{Home, Terminal, demo, run};

/// What the command says and that it gave up with 2.
fn refused(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// A server that answers as those routes do.
async fn listen(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // It ends with the runtime of the test.
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

async fn said_about(home: &Home, url: &str) -> String {
    refused(&home.run(&["attach", url]).await)
}

#[tokio::test]
async fn what_is_no_hermes_server_is_told_apart_in_words() {
    let home = Home::new();
    for odd in ["ftp://box", "http://", "http://me:secret@box"] {
        let said = said_about(&home, odd).await;
        assert!(said.contains("the address of a server"), "{odd}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
    // A port nobody listens on: bound and given back.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let said = said_about(&home, &free.to_string()).await;
    assert!(said.contains("cannot reach") && said.contains("refused"), "{said}");
    assert!(!said.contains("os error"), "{said}");
    let said = said_about(&home, "/nowhere/host.sock").await;
    assert!(said.contains("cannot reach /nowhere/host.sock"), "{said}");

    let html = || [(header::CONTENT_TYPE, "text/html")];
    let plain = listen(Router::new()).await.replace("http://", "https://");
    let said = said_about(&home, &plain).await;
    assert!(said.contains("is it http:// in place"), "{said}");
    let page = Router::new().fallback(move || async move { (html(), "<html>Hello</html>") });
    assert!(said_about(&home, &listen(page).await).await.contains("web page"));
    let other = Router::new().fallback(|| async { axum::Json(json!({"status": "UP"})) });
    assert!(said_about(&home, &listen(other).await).await.contains("not a hermes server"));
    let empty = Router::new();
    assert!(said_about(&home, &listen(empty).await).await.contains("no hermes server"));
    let login = || [(header::LOCATION, "https://sso.example/login")];
    let sso = Router::new().fallback(move || async move { (StatusCode::FOUND, login()) });
    assert!(said_about(&home, &listen(sso).await).await.contains("--cookie"));
    let gone =
        Router::new().fallback(move || async move { (StatusCode::BAD_GATEWAY, html(), "<p>") });
    assert!(said_about(&home, &listen(gone).await).await.contains("502"));
}

fn webui(status: serde_json::Value) -> Router {
    let health = json!({"status": "ok", "server_started_at": 1.5, "sessions": 0});
    Router::new()
        .route("/health", get(|| async { axum::Json(health) }))
        .route("/api/auth/status", get(|| async { axum::Json(status) }))
}

#[tokio::test]
async fn a_server_without_passwords_asks_for_a_cookie() {
    let home = Home::new();
    let oidc = json!({"auth_enabled": true, "oidc_enabled": true, "password_auth_enabled": false});
    let said = said_about(&home, &listen(webui(oidc)).await).await;
    assert!(said.contains("OIDC") && said.contains("--cookie NAME=VALUE"), "{said}");
    let key =
        json!({"auth_enabled": true, "passkeys_enabled": true, "password_auth_enabled": false});
    assert!(said_about(&home, &listen(webui(key)).await).await.contains("passkey"));
}

#[tokio::test]
async fn who_tries_too_often_is_told_when_to_come_back() {
    let home = Home::new();
    let locked = || async {
        let body = json!({"error": "Too many attempts. Try again in a minute."});
        (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "42")], axum::Json(body))
    };
    let app = webui(json!({"auth_enabled": true, "password_auth_enabled": true}));
    let url = listen(app.route("/api/auth/login", post(locked))).await;
    let mut command = home.command(&["attach", &url]);
    command.env("HERMES_TUI_PASSWORD", "x");
    let said = refused(&run(command).await);
    assert!(said.contains("Too many attempts") && said.contains("42 s"), "{said}");
}

/// Attaches with a password on standard input.
async fn with_password(home: &Home, url: &str, password: &str) -> Output {
    let mut command = home.command(&["attach", url, "--password-stdin"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
    tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_password_is_read_from_stdin_or_env_and_its_cookie_kept() {
    let (host, home) = (Home::new(), Home::new());
    let served = Served::with_password(&host, demo(), Some("open sesame")).await;
    let url = served.url();
    assert!(said_about(&home, &url).await.contains("needs a password"));
    let said = refused(&with_password(&home, &url, "wrong").await);
    assert!(said.contains("wrong password"), "{said}");
    // What is left to want is a terminal: the login is done.
    let said = refused(&with_password(&home, &url, "open sesame").await);
    assert!(said.contains("needs a terminal"), "{said}");
    assert!(said_about(&home, &url).await.contains("needs a terminal"), "the cookie is used");
    let other = Home::new();
    let mut command = other.command(&["attach", &url]);
    command.env("HERMES_TUI_PASSWORD", "open sesame");
    assert!(refused(&run(command).await).contains("needs a terminal"));
    let said = refused(&other.run(&["attach", &url, "--cookie", "nonsense"]).await);
    assert!(said.contains("NAME=VALUE"), "{said}");
    served.stop().await;
}

#[tokio::test]
async fn a_password_is_asked_for_without_showing_it() {
    let (host, home) = (Home::new(), Home::new());
    let served = Served::with_password(&host, demo(), Some("open sesame")).await;
    let mut terminal = Terminal::start(&home, &["attach", &served.url()]);
    terminal.shows("Password for").await;
    terminal.keys("close sesame\r");
    terminal.shows("wrong password").await;
    terminal.until("the second question", |s| s.matches("Password for").count() == 2).await;
    terminal.keys("open sesame\r");
    terminal.shows("❯").await;
    assert!(!terminal.raw().contains("sesame"));
    terminal.send("hello");
    terminal.shows("demo").await;
    crate::support::eventually("the turn in the store of the host", || {
        (host.latest().is_some() && host.is_settled()).then_some(())
    })
    .await;
    terminal.until("the end of the turn", |s| !s.contains("Esc interrupts")).await;
    terminal.keys("\x04");
    let screen = terminal.shows("Resume with: hermes-tui attach").await;
    assert!(screen.contains("--resume"), "{screen}");
    served.stop().await;
}

#[tokio::test]
async fn leaving_a_turn_on_a_server_says_that_it_goes_on() {
    let (host, home) = (Home::new(), Home::new());
    let served = Served::start(&host, demo()).await;
    let mut terminal = Terminal::start(&home, &["attach", &served.url()]);
    terminal.shows("❯").await;
    terminal.send("slow");
    terminal.shows("Esc interrupts").await;
    crate::support::eventually("the prompt in the store of the host", || host.latest()).await;
    terminal.keys("\x04");
    let screen = terminal.shows("Resume with: hermes-tui attach").await;
    assert!(screen.contains("Still running: a turn."), "{screen}");
    assert!(!host.is_settled(), "and so it does");
    served.stop().await;
}
