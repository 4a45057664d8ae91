//! The server over real sockets.

mod bounds;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::routing::get;
use bytes::Bytes;
use futures::StreamExt as _;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::embedded::{EmbeddedHost, Role};
use crate::settings;
use crate::state_dir::socket_path;
use protocol::{Event, Outcome};

/// Generous bound for what must happen.
const LONG: Duration = Duration::from_secs(30);

/// A host with its server, in a directory of its own.
struct Site {
    dir: tempfile::TempDir,
    local: EmbeddedHost,
    server: Server,
    http: Client,
    uds: Client,
}

/// Waits until that is true.
pub(crate) async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let wait = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

pub(crate) fn settings_in(dir: &Path) -> Settings {
    for name in ["state", "work"] {
        std::fs::create_dir_all(dir.join(name)).unwrap();
    }
    Settings {
        state: dir.join("state"),
        exe: "/bin/false".into(),
        cwd: dir.join("work"),
        model: settings::Model {
            provider: settings::Provider::Demo,
            name: "demo".to_owned(),
            base_url: None,
            api_key: None,
            context_length: None,
            max_tokens: None,
            retries: 0,
            stale: Duration::from_mins(3),
        },
        agent: settings::Agent::default(),
        approvals: settings::Approvals {
            mode: settings::Mode::Manual,
            timeout: Duration::from_mins(1),
            deny: Vec::new(),
            allow: Vec::new(),
        },
        terminal: settings::Terminal {
            refused: None,
            shell: "/bin/bash".into(),
            timeout: Duration::from_mins(3),
            max_timeout: Duration::from_mins(10),
            env: Vec::new(),
            withheld: Vec::new(),
        },
        prompt: settings::Prompt { context_file_max_chars: 20_000, ..Default::default() },
        compression: settings::Compression::default(),
        delegation: settings::Delegation::default(),
        sources: Vec::new(),
        timing: settings::Timing::default(),
    }
}

impl Site {
    async fn start(password: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings_in(dir.path());
        let local = crate::embedded::start(settings.clone(), Role::Owner).unwrap();
        let socket = socket_path(&settings.state);
        let options = Options {
            tcp: Some("127.0.0.1:0".parse().unwrap()),
            sockets: vec![socket.clone()],
            password: password.map(str::to_owned),
            version: "test".to_owned(),
        };
        let server = start(local.handle(), &settings, options).await.unwrap();
        let http = Client::builder().no_proxy().build().unwrap();
        let uds = Client::builder().no_proxy().unix_socket(socket).build().unwrap();
        Self { dir, local, server, http, uds }
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(self.url(path))
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.http.post(self.url(path)).json(body)
    }

    /// Logs in: the line of the cookie.
    async fn login(&self, password: &str) -> String {
        let login = self.post("/api/auth/login", &json!({ "password": password }));
        let answer = login.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let cookie = answer.headers()[SET_COOKIE].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }

    /// Opens a view: its token and what comes after.
    async fn view(&self, client: &Client, session: &str) -> (String, Frames) {
        let url = self.url(&format!("/api/tui/v1/events?session={session}"));
        let mut frames = Frames::of(client.get(url).send().await.unwrap());
        let hello = frames.next().await.unwrap();
        let data = hello.strip_prefix("event: view\ndata: ").unwrap();
        let token =
            serde_json::from_str::<Value>(data).unwrap()["view"].as_str().unwrap().to_owned();
        assert!(token.len() >= 32);
        (token, frames)
    }

    /// Waits until the host has so many views.
    async fn until_views(&self, count: usize) {
        let end = Instant::now() + LONG;
        while self.local.handle().work().await.unwrap().views != count {
            assert!(Instant::now() < end, "never {count} views");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address().unwrap())
    }

    async fn end(self) {
        self.server.stop().await;
        self.local.end().await;
        assert!(!socket_path(&self.dir.path().join("state")).exists());
    }
}

#[tokio::test]
async fn health_answers_on_every_listener_and_names_the_seam_wire() {
    let site = Site::start(None).await;
    for client in [&site.http, &site.uds] {
        let health: Value =
            client.get(site.url("/health")).send().await.unwrap().json().await.unwrap();
        assert_eq!((&health["status"], &health["tui"]), (&json!("ok"), &json!(1)));
        assert!(health["server_started_at"].as_f64().unwrap() > 1e9);
        let unknown = client.get(site.url("/api/nosuch")).send().await.unwrap();
        assert_eq!(unknown.status(), 404);
        assert_eq!(unknown.json::<Value>().await.unwrap(), json!({"error": "not found"}));
    }
    site.end().await;
}

/// The frames of a stream.
struct Frames {
    bytes: futures::stream::BoxStream<'static, reqwest::Result<Bytes>>,
    text: String,
}

impl Frames {
    fn of(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        let kind = response.headers()["content-type"].to_str().unwrap();
        assert!(kind.starts_with("text/event-stream"), "{kind}");
        Self { bytes: response.bytes_stream().boxed(), text: String::new() }
    }

    /// The next one without its blank line; `None` = a clean end.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((frame, rest)) = self.text.split_once("\n\n") {
                let frame = frame.to_owned();
                self.text = rest.to_owned();
                return Some(frame);
            }
            let next = tokio::time::timeout(LONG, self.bytes.next()).await.unwrap();
            self.text += std::str::from_utf8(&next?.unwrap()).unwrap();
        }
    }

    /// The next event of a view that fits.
    async fn event(&mut self, name: &str) -> Value {
        loop {
            let frame = self.next().await.expect("the stream continues");
            let Some((head, data)) = frame.split_once("\ndata: ") else { continue };
            assert!(head.starts_with("event: e\nid: "), "{head}");
            let event: Value = serde_json::from_str(data).unwrap();
            if event["event"] == name {
                return event;
            }
        }
    }
}

/// The paths of all routes, as the router itself knows them: none can be forgotten.
fn paths() -> Vec<String> {
    let text = format!("{:?}", routes());
    let (_, list) = text.split_once("paths: {").unwrap();
    let (list, _) = list.split_once("\"} }").or_else(|| list.split_once("\"}")).unwrap();
    let mut paths: Vec<_> =
        list.split('"').filter(|piece| piece.starts_with('/')).map(str::to_owned).collect();
    paths.sort();
    assert!(paths.iter().any(|path| path == "/health"), "{text}");
    assert!(paths.iter().any(|path| path == "/api/tui/v1/stop"), "{text}");
    paths
}

/// A request to a route whose path may have a place for a session.
fn request(site: &Site, method: &Method, path: &str) -> RequestBuilder {
    let path = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
    let url = site.url(&path.collect::<Vec<_>>().join("/"));
    let body = if *method == Method::POST { "{}" } else { "" };
    site.http.request(method.clone(), url).query(&[("session_id", "x")]).body(body)
}

async fn refused(request: RequestBuilder, status: StatusCode, what: &str) {
    let answer = tokio::time::timeout(LONG, request.send()).await.unwrap().unwrap();
    assert_eq!(answer.status(), status, "{what}");
    let body: Value = answer.json().await.unwrap();
    assert!(body["error"].is_string(), "{what}: {body}");
}

// E17
#[tokio::test]
async fn no_route_is_reached_without_login_or_from_another_origin() {
    let open = Site::start(None).await;
    let locked = Site::start(Some("secret")).await;
    let cookie = locked.login("secret").await;
    let own = format!("http://{}", locked.server.address().unwrap());
    // Also unknown paths: the response does not show which routes exist.
    for path in paths().into_iter().chain(["/api/nosuch".to_owned()]) {
        for method in [Method::GET, Method::POST] {
            let what = format!("{method} {path}");
            let foreign = [
                ("origin", "http://evil.example"),
                ("origin", "null"),
                ("referer", "http://evil.example/page"),
                ("sec-fetch-site", "cross-site"),
            ];
            for (name, value) in foreign {
                let plain = request(&open, &method, &path).header(name, value);
                refused(plain, StatusCode::FORBIDDEN, &what).await;
                let known = request(&locked, &method, &path).header(name, value);
                refused(known.header("cookie", &cookie), StatusCode::FORBIDDEN, &what).await;
            }
            let rebound = request(&open, &method, &path).header("host", "evil.example");
            refused(rebound, StatusCode::FORBIDDEN, &what).await;
            if guard::PUBLIC.contains(&path.as_str()) {
                continue;
            }
            refused(request(&locked, &method, &path), StatusCode::UNAUTHORIZED, &what).await;
            let rebound = request(&locked, &method, &path).header("host", "evil.example");
            refused(rebound, StatusCode::UNAUTHORIZED, &what).await;
            let guess = request(&locked, &method, &path).header("cookie", "hermes_session=a.b");
            refused(guess, StatusCode::UNAUTHORIZED, &what).await;
            let bearer = request(&locked, &method, &path).bearer_auth("secret");
            refused(bearer, StatusCode::UNAUTHORIZED, &what).await;
            if method == Method::POST {
                let page = request(&locked, &method, &path).header("origin", &own);
                refused(page.header("cookie", &cookie), StatusCode::FORBIDDEN, &what).await;
            }
        }
    }
    // Following a link must not cancel a turn.
    let cancel = open.get("/api/chat/cancel?stream_id=x").header("sec-fetch-site", "none");
    refused(cancel, StatusCode::FORBIDDEN, "a followed link").await;
    // The page of a hermes-webui sends no token with it.
    let page = locked.get("/api/chat/cancel?stream_id=x").header("sec-fetch-site", "same-origin");
    let page = page.header("cookie", &cookie).header("referer", format!("{own}/"));
    assert_ne!(page.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    // A proxy in front of the socket may forward requests of pages.
    for (name, value) in [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")] {
        let carried = open.uds.get(open.url("/api/sessions")).header(name, value);
        refused(carried, StatusCode::FORBIDDEN, "over the socket").await;
    }
    let plain = open.get("/api/sessions").send().await.unwrap();
    assert_eq!(plain.headers()["x-content-type-options"], "nosniff");
    open.until_views(0).await;
    open.end().await;
    locked.end().await;
}

#[tokio::test]
async fn the_password_opens_a_session_that_a_logout_ends() {
    let site = Site::start(Some("secret")).await;
    let status = site.get("/api/auth/status").send().await.unwrap();
    let status: Value = status.json().await.unwrap();
    assert_eq!((&status["auth_enabled"], &status["logged_in"]), (&json!(true), &json!(false)));
    let wrong = site.post("/api/auth/login", &json!({"password": "Secret"})).send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    assert_eq!(wrong.json::<Value>().await.unwrap(), json!({"error": "Invalid password"}));
    let login = site.post("/api/auth/login", &json!({"password": "secret"})).send().await.unwrap();
    let line = login.headers()[SET_COOKIE].to_str().unwrap();
    assert!(line.starts_with("hermes_session="), "{line}");
    assert!(line.ends_with("; HttpOnly; Max-Age=2592000; Path=/; SameSite=Lax"), "{line}");
    let cookie = site.login("secret").await;
    let known = |path: &str| site.get(path).header("cookie", &cookie);
    assert_eq!(known("/api/tui/v1/status").send().await.unwrap().status(), 200);
    assert_eq!(known("/api/nosuch").send().await.unwrap().status(), 404);
    // A page of our own origin needs the session's token to change something.
    let origin = format!("http://{}", site.server.address().unwrap());
    let status: Value = known("/api/auth/status").send().await.unwrap().json().await.unwrap();
    assert_eq!(status["logged_in"], true);
    let token = status["csrf_token"].as_str().unwrap();
    let logout = || {
        let post = site.post("/api/auth/logout", &json!({}));
        post.header("cookie", &cookie).header("origin", &origin)
    };
    let refused = logout().send().await.unwrap();
    assert_eq!(refused.status(), 403);
    let words = json!({"error": "Session expired - reload the page"});
    assert_eq!(refused.json::<Value>().await.unwrap(), words);
    assert_eq!(logout().header("x-hermes-csrf-token", "x").send().await.unwrap().status(), 403);
    assert_eq!(logout().header("x-csrf-token", token).send().await.unwrap().status(), 200);
    assert_eq!(known("/api/tui/v1/status").send().await.unwrap().status(), 401);
    // Our own user needs no password over the socket.
    let local = site.uds.get(site.url("/api/tui/v1/status")).send().await.unwrap();
    assert_eq!(local.status(), 200);
    site.end().await;
}

#[tokio::test]
async fn a_reachable_address_is_not_opened_without_a_password() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings_in(dir.path());
    let local = crate::embedded::start(settings.clone(), Role::Owner).unwrap();
    for password in [None, Some(String::new())] {
        let tcp = Some("0.0.0.0:0".parse().unwrap());
        let options = Options { tcp, password, ..Options::default() };
        let started = start(local.handle(), &settings, options).await;
        assert!(matches!(started, Err(Error::PasswordRequired(_))), "{started:?}");
    }
    local.end().await;
}

#[tokio::test]
async fn five_wrong_passwords_block_also_the_right_one() {
    let site = Site::start(Some("secret")).await;
    let attempt = |password: &str| {
        let login = site.post("/api/auth/login", &json!({ "password": password }));
        async move { login.send().await.unwrap() }
    };
    for _ in 0..5 {
        assert_eq!(attempt("guess").await.status(), 401);
    }
    for password in ["guess", "secret"] {
        let late = attempt(password).await;
        assert_eq!(late.status(), 429);
        let words = json!({"error": "Too many attempts. Try again in a minute."});
        assert_eq!(late.json::<Value>().await.unwrap(), words);
    }
    site.end().await;
}

#[tokio::test]
async fn a_body_may_not_be_too_long_and_reads_as_empty_if_not_json() {
    let site = Site::start(Some("secret")).await;
    let login = |body: Vec<u8>| site.http.post(site.url("/api/auth/login")).body(body).send();
    assert_eq!(login(b"{\"password\": ".to_vec()).await.unwrap().status(), 401);
    assert_eq!(login(b"[1]".to_vec()).await.unwrap().status(), 401);
    let late = login(vec![b' '; MAX_BODY + 1]).await.unwrap();
    assert_eq!(late.status(), 413);
    assert!(late.json::<Value>().await.unwrap()["error"].is_string());
    site.end().await;
}

#[tokio::test]
async fn a_view_takes_commands_sends_events_and_ends_with_its_stream() {
    let site = Site::start(None).await;
    for client in [&site.http, &site.uds] {
        let (token, mut frames) = site.view(client, "new").await;
        let window = frames.event("attached").await;
        let session = window["transcript"]["session"].as_str().unwrap().to_owned();
        let post = |view: &str, body: &Value| {
            let url = site.url(&format!("/api/tui/v1/commands?view={view}"));
            let request = client.post(url).json(body);
            async move { request.send().await.unwrap() }
        };
        let prompt = json!({"command": "prompt", "id": "p1", "text": "hello"});
        let newer = json!({"command": "dance", "how": "well"});
        let answer = post(&token, &json!([newer, prompt])).await;
        assert_eq!(answer.status(), 200);
        let expected = json!({"ok": true, "unknown": ["dance"]});
        assert_eq!(answer.json::<Value>().await.unwrap(), expected);
        let end = frames.event("turn_ended").await;
        let end: Event = serde_json::from_value(end).unwrap();
        assert!(matches!(end, Event::TurnEnded { outcome: Outcome::Done, .. }), "{end:?}");
        assert_eq!(post("nonsense", &prompt).await.status(), 404);
        let url = site.url(&format!("/api/tui/v1/commands?view={token}"));
        let broken = client.post(url).body("{").send().await.unwrap();
        assert_eq!(broken.status(), 400);
        site.until_views(1).await;
        drop(frames);
        // The view goes with its client, not only from the table.
        site.until_views(0).await;
        assert_eq!(post(&token, &prompt).await.status(), 404);
        let (_, mut again) = site.view(client, &session).await;
        let window = again.event("attached").await;
        assert_eq!(window["transcript"]["rows"].as_array().unwrap().len(), 2);
        drop(again);
        site.until_views(0).await;
        // The beginning of an id is enough if only one session's begins so.
        let (_, mut named) = site.view(client, &session[..session.len() - 1]).await;
        let window = named.event("attached").await;
        assert_eq!(window["transcript"]["session"], session);
        drop(named);
        site.until_views(0).await;
    }
    let nosuch = site.get("/api/tui/v1/events?session=20200101_000000_abcdef").send();
    let nosuch = nosuch.await.unwrap();
    assert_eq!(nosuch.status(), 404);
    assert!(nosuch.json::<Value>().await.unwrap()["error"].is_string());
    site.end().await;
}

#[tokio::test]
async fn only_the_socket_can_request_a_stop() {
    let site = Site::start(None).await;
    let over_tcp = site.post("/api/tui/v1/stop", &json!({})).send().await.unwrap();
    assert_eq!(over_tcp.status(), 403);
    let requested =
        tokio::time::timeout(Duration::from_millis(50), site.server.stop_requested()).await;
    assert!(requested.is_err());
    let stop = site.uds.post(site.url("/api/tui/v1/stop")).send().await.unwrap();
    assert_eq!(stop.status(), 200);
    tokio::time::timeout(LONG, site.server.stop_requested()).await.unwrap();
    site.end().await;
}

#[tokio::test]
async fn a_stop_ends_streams_between_two_events() {
    let site = Site::start(None).await;
    let (_, mut tcp) = site.view(&site.http, "new").await;
    let (_, mut uds) = site.view(&site.uds, "new").await;
    let Site { dir: _dir, local, server, .. } = site;
    let stopping = tokio::spawn(server.stop());
    for frames in [&mut tcp, &mut uds] {
        while frames.next().await.is_some() {}
        assert_eq!(frames.text, "");
    }
    tokio::time::timeout(LONG, stopping).await.unwrap().unwrap();
    local.end().await;
}

// E04
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_kernel_ends_connections_of_clients_that_are_gone() {
    use axum::serve::Listener as _;
    use nix::sys::socket::{getsockopt, sockopt};
    let tcp = listen::Tcp::bind("127.0.0.1:0".parse().unwrap(), WRITE_TIMEOUT).await;
    let mut tcp = tcp.unwrap();
    let _client = tokio::net::TcpStream::connect(tcp.address()).await.unwrap();
    let (accepted, _) = tcp.accept().await;
    assert_eq!(getsockopt(&accepted.stream, sockopt::TcpUserTimeout), Ok(20_000));
    assert_eq!(getsockopt(&accepted.stream, sockopt::KeepAlive), Ok(true));
}

// E04
#[tokio::test]
async fn a_client_that_accepts_no_bytes_is_disconnected() {
    struct Gone(Option<tokio::sync::oneshot::Sender<()>>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.take().map(|gone| gone.send(()));
        }
    }
    let (gone, is_gone) = tokio::sync::oneshot::channel();
    let gone = Arc::new(std::sync::Mutex::new(Some(gone)));
    let chunk = Bytes::from(vec![b'x'; 65536]);
    let flood = get(move || {
        let chunk = chunk.clone();
        let gone = Gone(gone.lock().unwrap().take());
        let body = futures::stream::repeat_with(move || {
            let _held = &gone;
            Ok::<_, std::convert::Infallible>(chunk.clone())
        });
        async { axum::body::Body::from_stream(body) }
    });
    let deadline = Duration::from_millis(300);
    // Over TCP the kernel has a deadline of its own.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let (socket, _file) = listen::Unix::bind(&path, deadline).unwrap();
    let (stop, stopping) = watch::channel(Shutdown::Running);
    let server = tokio::spawn(listen::serve(socket, Router::new().route("/", flood), stopping));
    let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    tokio::time::timeout(LONG, is_gone).await.unwrap().unwrap();
    stop.send_replace(Shutdown::Stop);
    tokio::time::timeout(LONG, server).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stale_socket_is_replaced_but_no_other_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let (first, file) = listen::Unix::bind(&path, LONG).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (_second, later) = listen::Unix::bind(&path, LONG).unwrap();
    drop((first, file));
    assert!(path.exists(), "it is the second one's now");
    drop(later);
    assert!(!path.exists());
    std::fs::write(&path, "mine").unwrap();
    assert!(listen::Unix::bind(&path, LONG).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[tokio::test]
async fn a_directory_with_a_long_name_has_its_socket_in_a_private_one() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("x".repeat(100));
    let path = socket_path(&state);
    assert!(path.as_os_str().len() <= 100 && !path.starts_with(dir.path()));
    assert_ne!(path, socket_path(&dir.path().join("y".repeat(100))));
    let (_socket, _file) = listen::Unix::bind(&path, LONG).unwrap();
    let parent = std::fs::metadata(path.parent().unwrap()).unwrap();
    assert_eq!(parent.permissions().mode() & 0o777, 0o700);
}

/// Not a test of its own: another user who tries the socket.
#[test]
fn stranger() {
    use std::io::{Read as _, Write as _};
    let Ok(path) = std::env::var("HERMES_TEST_SOCKET") else { return };
    nix::unistd::setuid(nix::unistd::Uid::from_raw(65534)).unwrap();
    let mut socket = std::os::unix::net::UnixStream::connect(path).unwrap();
    let _ = socket.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut byte = [0];
    let count = socket.read(&mut byte).unwrap_or(0);
    println!("\nreceived {count}");
}

#[tokio::test]
async fn another_user_is_refused_even_if_the_socket_can_be_reached() {
    if !nix::unistd::getuid().is_root() {
        return;
    }
    let site = Site::start(None).await;
    let socket = socket_path(&site.dir.path().join("state"));
    for (path, mode) in [
        (site.dir.path(), 0o755),
        (&site.dir.path().join("state"), 0o755),
        (socket.as_path(), 0o666),
    ] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "serve::tests::stranger", "--nocapture", "--test-threads=1"]);
    let ran = command.env("HERMES_TEST_SOCKET", &socket).output().await.unwrap();
    let out = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(out.contains("\nreceived 0\n"), "{out}");
    // The same works for us.
    let own = site.uds.get(site.url("/health")).send().await.unwrap();
    assert_eq!(own.status(), 200);
    site.end().await;
}

// E14, E07: every route that streams, over a real socket, for more than ten seconds.
#[tokio::test]
async fn every_stream_stays_open_and_sends_comments() {
    let site = Site::start(None).await;
    // A turn that waits for an answer: its stream is open and silent.
    let (token, mut frames) = site.view(&site.http, "new").await;
    let window = frames.event("attached").await;
    let session = window["transcript"]["session"].as_str().unwrap().to_owned();
    let prompt = json!({"command": "prompt", "id": "p1", "text": "clarify open"});
    site.post(&format!("/api/tui/v1/commands?view={token}"), &prompt).send().await.unwrap();
    frames.event("question_asked").await;
    let status = site.get(&format!("/api/session/status?session_id={session}")).send();
    let status: Value = status.await.unwrap().json().await.unwrap();
    let stream = status["active_stream_id"].as_str().unwrap_or("none").to_owned();

    let mut streams = Vec::new();
    // A cancel by GET would end the turn whose stream is watched here.
    for path in paths().into_iter().filter(|path| path != "/api/chat/cancel") {
        let named: Vec<_> = path
            .split('/')
            .map(|part| if part.starts_with('{') { session.as_str() } else { part })
            .collect();
        let query = [("session", &session), ("session_id", &session), ("stream_id", &stream)];
        let request = site.get(&named.join("/")).query(&query);
        let answer = tokio::time::timeout(LONG, request.send()).await.unwrap().unwrap();
        let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap());
        let is_stream = kind.is_some_and(|kind| kind.starts_with("text/event-stream"));
        // The gateway's has no events and refuses.
        let named = (path.ends_with("/stream") || path.ends_with("/events"))
            && path != "/api/sessions/gateway/stream";
        assert_eq!(is_stream, named, "{path}: {} {kind:?}", answer.status());
        if is_stream {
            streams.push((path, Frames::of(answer)));
        }
    }
    assert!(streams.iter().any(|(path, _)| path == "/api/tui/v1/events"));
    let started = Instant::now();
    let comments = streams.into_iter().map(|(path, mut frames)| async move {
        let mut comments = 0;
        while comments < 2 {
            let frame = frames.next().await.unwrap_or_else(|| panic!("{path} has ended"));
            comments += usize::from(frame.starts_with(": "));
        }
    });
    futures::future::join_all(comments).await;
    assert!(started.elapsed() > Duration::from_millis(9_500), "{:?}", started.elapsed());
    site.end().await;
}
