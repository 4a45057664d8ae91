//! `serve`, `host status|stop` and the seam wire: real processes and real sockets.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use host::serve::{self, Options};
use host::state_dir::socket_path;
use host::store::Lock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::{Command, Event, Outcome, PromptId, SessionId, Transcript};
use serde_json::{Value, json};

use crate::support::{Home, LONG, TestView, demo, eventually, is_alive, start};

/// A running `hermes-tui serve`, killed at the end.
pub(crate) struct Serve {
    child: Child,
    /// What it said until it listened.
    said: String,
}

impl Serve {
    /// Starts it with the demo model and waits until it listens.
    fn start(home: &Home, args: &[&str]) -> Self {
        let args = [&["serve"], args].concat();
        Self::of(home.command(&args).env("HERMES_MODEL", "demo"))
    }

    /// One with the model of that home, at any free port.
    pub(crate) fn configured(home: &Home) -> Self {
        Self::of(&mut home.command(&["serve", "--port", "0"]))
    }

    fn of(command: &mut std::process::Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("host.sock\n") {
            if out.read_line(&mut said).unwrap() == 0 {
                let mut error = String::new();
                child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
                panic!("it does not listen: {said}{error}");
            }
        }
        Self { child, said }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its address, `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        self.said.split("http://").nth(1).unwrap().lines().next().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).unwrap();
    }

    async fn exit(&mut self) -> ExitStatus {
        eventually("its end", || self.child.try_wait().unwrap()).await
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A home whose model is the demo.
fn home() -> Home {
    let home = Home::new();
    let hermes = home.path().join("hermes");
    std::fs::create_dir(&hermes).unwrap();
    std::fs::write(hermes.join("config.yaml"), "model: demo\n").unwrap();
    home
}

fn client(socket: Option<PathBuf>) -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy();
    match socket {
        Some(socket) => builder.unix_socket(socket).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

/// A front end at the other end of the seam wire.
struct Far {
    client: reqwest::Client,
    base: String,
    token: String,
    bytes: futures::stream::BoxStream<'static, reqwest::Result<Vec<u8>>>,
    text: String,
    transcript: Transcript,
    last: u64,
}

impl Far {
    async fn open(client: &reqwest::Client, base: &str, session: &str) -> Self {
        let url = format!("{base}/api/tui/v1/events?session={session}");
        let answer = client.get(url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut far = Self {
            client: client.clone(),
            base: base.to_owned(),
            token: String::new(),
            bytes: answer.bytes_stream().map(|bytes| bytes.map(Vec::from)).boxed(),
            text: String::new(),
            transcript: Transcript::default(),
            last: 0,
        };
        let hello = far.frame().await;
        let hello: Value = serde_json::from_str(&hello["event: view\ndata: ".len()..]).unwrap();
        hello["view"].as_str().unwrap().clone_into(&mut far.token);
        far.until(|event| matches!(event, Event::Attached { .. })).await;
        far
    }

    async fn frame(&mut self) -> String {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let rest = self.text.split_off(end + 2);
                let mut frame = std::mem::replace(&mut self.text, rest);
                frame.truncate(end);
                return frame;
            }
            let next = tokio::time::timeout(LONG, self.bytes.next()).await.unwrap();
            self.text += std::str::from_utf8(&next.unwrap().unwrap()).unwrap();
        }
    }

    /// Folds events up to the first that fits.
    async fn until(&mut self, fits: impl Fn(&Event) -> bool) -> Event {
        loop {
            let frame = self.frame().await;
            let Some(rest) = frame.strip_prefix("event: e\nid: ") else { continue };
            let (id, data) = rest.split_once("\ndata: ").unwrap();
            self.last += 1;
            assert_eq!(id, self.last.to_string(), "ids count events");
            let event: Event = serde_json::from_str(data).unwrap();
            self.transcript.apply(&event);
            if fits(&event) {
                return event;
            }
        }
    }

    async fn send(&self, command: &Command) {
        let url = format!("{}/api/tui/v1/commands?view={}", self.base, self.token);
        let answer = self.client.post(url).json(command).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }

    async fn ask(&mut self, text: &str) {
        self.send(&Command::Prompt { id: PromptId::fresh(), text: text.to_owned() }).await;
        let end = self.until(|event| matches!(event, Event::TurnEnded { .. })).await;
        assert!(matches!(end, Event::TurnEnded { outcome: Outcome::Done, .. }), "{end:?}");
    }
}

#[tokio::test]
async fn views_over_tcp_and_socket_fold_to_the_embedded_view() {
    let home = Home::new();
    let settings = home.settings(demo());
    let local = start(settings.clone());
    let socket = socket_path(&settings.state);
    let options = Options {
        tcp: Some("127.0.0.1:0".parse().unwrap()),
        sockets: vec![socket.clone()],
        ..Options::default()
    };
    let server = serve::start(local.handle(), &settings, options).await.unwrap();
    let base = format!("http://{}", server.address().unwrap());
    let mut near = TestView::new(&local).await;
    near.ask(1, "tool").await;
    let session = near.session().0;
    let mut over_tcp = Far::open(&client(None), &base, &session).await;
    let mut over_uds = Far::open(&client(Some(socket)), "http://localhost", &session).await;
    for (turn, command_sender) in [(2, 0), (3, 1)] {
        let far = if command_sender == 0 { &mut over_tcp } else { &mut over_uds };
        far.ask("tools").await;
        let other = if command_sender == 0 { &mut over_uds } else { &mut over_tcp };
        other.until(|event| matches!(event, Event::TurnEnded { .. })).await;
        assert_eq!(near.turn(turn).await, Outcome::Done);
        near.quiet().await;
        for far in [&over_tcp, &over_uds] {
            assert!(far.transcript.rows.len() > 4);
            assert_eq!(far.transcript, near.transcript);
        }
    }
    drop((over_tcp, over_uds));
    server.stop().await;
    local.stop().await;
}

#[tokio::test]
async fn an_address_that_others_reach_needs_a_password() {
    let home = home();
    for host in ["0.0.0.0", "::", "192.0.2.1"] {
        let ran = home.run(&["serve", "--host", host, "--port", "0"]).await;
        let error = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(2), "{error}");
        assert!(error.contains("--password-file"), "{error}");
    }
    let empty = home.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    let file = empty.to_str().unwrap();
    let ran = home.run(&["serve", "--host", "0.0.0.0", "--password-file", file]).await;
    assert_eq!(ran.status.code(), Some(2), "an empty password is none");
    assert!(!home.state().join("host.lock").exists(), "nothing was started");

    let secret = home.path().join("secret");
    std::fs::write(&secret, "pass word\nmore\n").unwrap();
    let file = secret.to_str().unwrap();
    let args = ["--host", "0.0.0.0", "--port", "0", "--password-file", file];
    let serving = Serve::start(&home, &args);
    let port = serving.address().rsplit(':').next().unwrap().to_owned();
    let base = format!("http://127.0.0.1:{port}");
    let status = |cookie: String| {
        client(None).get(format!("{base}/api/tui/v1/status")).header("cookie", cookie).send()
    };
    assert_eq!(status(String::new()).await.unwrap().status(), 401);
    let login = client(None).post(format!("{base}/api/auth/login"));
    let login = login.json(&json!({"password": "pass word"})).send().await.unwrap();
    let cookie = login.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap();
    assert_eq!(status(cookie.to_owned()).await.unwrap().status(), 200);
    // The login survives the server, and nobody else can read it.
    drop(serving);
    let args = ["--host", "0.0.0.0", "--port", &port, "--password-file", file];
    let _serving = Serve::start(&home, &args);
    assert_eq!(status(cookie.to_owned()).await.unwrap().status(), 200);
    let kept = std::fs::metadata(home.state().join("web-sessions.json")).unwrap();
    assert_eq!(kept.permissions().mode() & 0o777, 0o600);
}

// S07
#[tokio::test]
async fn a_second_host_is_refused_and_names_the_first() {
    let home = home();
    let first = Serve::start(&home, &["--no-tcp"]);
    for args in [&["serve", "--no-tcp"][..], &["serve", "--no-tcp", "--detach"]] {
        let ran = home.run(args).await;
        let error = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(1), "{error}");
        assert!(error.contains(&format!("process {}", first.pid())), "{error}");
    }
    assert!(socket_path(&home.state()).exists(), "the first one's socket is untouched");
}

#[tokio::test]
async fn a_killed_host_leaves_a_socket_that_the_next_one_replaces() {
    let home = home();
    let socket = socket_path(&home.state());
    let mut first = Serve::start(&home, &["--no-tcp"]);
    first.signal(Signal::SIGKILL);
    first.exit().await;
    assert!(socket.exists());
    let status = home.run(&["host", "status"]).await;
    assert_eq!(status.status.code(), Some(1));
    let second = Serve::start(&home, &["--no-tcp"]);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let answer = client(Some(socket.clone())).get("http://localhost/health").send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["tui"], 1);
    assert_eq!(Lock::place(&home.state().join("host.lock")), Some(socket.clone()));
    let mut second = second;
    second.signal(Signal::SIGTERM);
    assert_eq!(second.exit().await.code(), Some(0));
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_server_outlives_a_hang_up_and_ends_by_an_interrupt() {
    let home = home();
    let mut serving = Serve::start(&home, &["--port", "0", "--socket", "more.sock"]);
    let other = Home::new();
    let more = home.work().join("more.sock");
    let args = ["serve", "--no-tcp", "--socket", more.to_str().unwrap()];
    let ran = other.run(&args).await;
    assert_eq!(ran.status.code(), Some(2), "it is in use");
    serving.signal(Signal::SIGHUP);
    let health = client(Some(more)).get("http://localhost/health").send().await.unwrap();
    assert_eq!(health.status(), 200);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", serving.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<_> = files["Max open files".len()..].split_whitespace().collect();
    assert_eq!(numbers[0], numbers[1], "{files}");
    serving.signal(Signal::SIGINT);
    assert_eq!(serving.exit().await.code(), Some(0));
    assert!(!home.work().join("more.sock").exists());
}

#[tokio::test]
async fn host_tells_what_runs_and_ends_it() {
    let home = home();
    let run = |args: &'static [&'static str]| {
        let home = &home;
        async move {
            let ran = home.run(args).await;
            let text = String::from_utf8_lossy(&ran.stdout).into_owned();
            (ran.status.code(), text + &String::from_utf8_lossy(&ran.stderr))
        }
    };
    let (code, text) = run(&["host", "status"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with("No host runs"), "{text}");
    let (code, text) = run(&["host", "status", "--json"]).await;
    let none: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &none["running"]), (Some(1), &json!(false)));
    assert_eq!(run(&["host", "stop"]).await.0, Some(0));

    let mut serving = Serve::start(&home, &["--port", "0"]);
    let socket = client(Some(socket_path(&home.state())));
    let far = Far::open(&socket, "http://localhost", "new").await;
    let prompt = Command::Prompt { id: PromptId::fresh(), text: "clarify open".to_owned() };
    far.send(&prompt).await;
    let mut far = far;
    far.until(|event| matches!(event, Event::QuestionAsked { .. })).await;
    let (code, text) = run(&["host", "status", "--json"]).await;
    let status: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &status["running"]), (Some(0), &json!(true)));
    assert_eq!(status["pid"], serving.pid());
    assert_eq!((&status["turns"], &status["views"]), (&json!(1), &json!(1)));
    assert_eq!(status["address"], serving.address());
    let (code, text) = run(&["host", "status"]).await;
    assert_eq!(code, Some(0));
    assert!(text.contains(&format!("process {}, 1 turn, 0 background", serving.pid())), "{text}");
    let (code, text) = run(&["host", "stop"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(Lock::holder(&home.state().join("host.lock")).is_none(), "it waits for the end");
    assert_eq!(serving.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_background_host_has_no_terminal_and_listens_at_once() {
    let home = home();
    let ran = home.run(&["serve", "--port", "0", "--detach"]).await;
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(ran.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&ran.stderr));
    let pid = Lock::holder(&home.state().join("host.lock")).unwrap();
    assert!(text.contains(&format!("process {pid}")), "{text}");
    let proc = PathBuf::from(format!("/proc/{pid}"));
    assert_eq!(std::fs::read_link(proc.join("cwd")).unwrap(), PathBuf::from("/"));
    assert_eq!(std::fs::read_link(proc.join("fd/0")).unwrap(), PathBuf::from("/dev/null"));
    let log = home.state().join("logs/serve.log");
    for fd in ["fd/1", "fd/2"] {
        assert_eq!(std::fs::read_link(proc.join(fd)).unwrap(), log);
    }
    let stat = std::fs::read_to_string(proc.join("stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let (session, terminal) = (fields[3], fields[4]);
    assert_eq!((session, terminal), (pid.to_string().as_str(), "0"));
    // New sessions work where it was started.
    let socket = client(Some(socket_path(&home.state())));
    let mut far = Far::open(&socket, "http://localhost", "new").await;
    assert_eq!(far.transcript.cwd, home.work().display().to_string());
    far.ask("hello").await;
    kill(Pid::from_raw(pid as i32), Signal::SIGHUP).unwrap();
    let session = far.transcript.session.clone();
    drop(far);
    assert_eq!(home.run(&["host", "stop"]).await.status.code(), Some(0));
    eventually("its end", || (!is_alive(pid)).then_some(())).await;
    assert_eq!(home.stored(&session).rows.len(), 2);
}

#[tokio::test]
async fn a_background_host_waits_for_its_starter_to_make_way() {
    let home = home();
    let lock = home.state().join("host.lock");
    let first = Lock::take(&lock).unwrap();
    let mut next = home.command(&["__detached", "serve", "--no-tcp"]).spawn().unwrap();
    let pid = next.id();
    let session_of = |pid: u32| nix::unistd::getsid(Some(Pid::from_raw(pid as i32)));
    eventually("a session of its own", || {
        (session_of(pid) == Ok(Pid::from_raw(pid as i32))).then_some(())
    })
    .await;
    assert_eq!(Lock::holder(&lock), Some(std::process::id()));
    drop(first);
    eventually("the next one", || Lock::holder(&lock).filter(|holder| *holder == pid)).await;
    let stopped = eventually("an answer", || socket_path(&home.state()).exists().then_some(()));
    stopped.await;
    assert_eq!(home.run(&["host", "stop"]).await.status.code(), Some(0));
    assert_eq!(next.wait().unwrap().code(), Some(0));
}

// S07
#[tokio::test]
async fn a_host_in_the_background_waits_for_nobody_else() {
    let home = home();
    let mut first = Serve::start(&home, &["--no-tcp"]);
    // A third of the time it would wait for who started it.
    let late = home.run(&["__detached", "serve", "--no-tcp"]);
    let ran = tokio::time::timeout(Duration::from_secs(10), late).await.expect("it gives up");
    let error = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(1), "{error}");
    assert!(error.contains(&format!("process {} holds the state", first.pid())), "{error}");
    assert_eq!(home.run(&["host", "stop"]).await.status.code(), Some(0));
    first.exit().await;
    assert_eq!(home.run(&["host", "status"]).await.status.code(), Some(1));
}

#[tokio::test]
async fn a_host_that_cannot_start_in_the_background_says_why() {
    let home = home();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let begun = Instant::now();
    let ran = home.run(&["serve", "--port", &port, "--detach"]).await;
    let error = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(1), "{error}");
    assert!(error.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{error}");
    assert!(begun.elapsed() < LONG);
    assert_eq!(home.run(&["host", "status"]).await.status.code(), Some(1));
}

#[tokio::test]
async fn a_session_goes_on_in_the_view_of_a_client_that_reconnects() {
    let home = home();
    let serving = Serve::start(&home, &["--port", "0"]);
    let base = format!("http://{}", serving.address());
    let mut first = Far::open(&client(None), &base, "new").await;
    let SessionId(session) = first.transcript.session.clone();
    let prompt = Command::Prompt { id: PromptId::fresh(), text: "clarify open".to_owned() };
    first.send(&prompt).await;
    first.until(|event| matches!(event, Event::QuestionAsked { .. })).await;
    let seen = first.transcript.clone();
    drop(first);
    let mut second = Far::open(&client(None), &base, &session).await;
    assert_eq!(second.transcript.rows, seen.rows);
    assert_eq!(second.transcript.questions, seen.questions);
    // The same prompt again is no second one.
    second.send(&prompt).await;
    second.send(&Command::Cancel).await;
    second.until(|event| matches!(event, Event::TurnEnded { .. })).await;
    let third = Far::open(&client(None), &base, "latest").await;
    assert_eq!(third.transcript, second.transcript);
    let user = third.transcript.rows.iter().filter(|row| row.text() == "clarify open").count();
    assert_eq!(user, 1);
}
