//! What is around an attach: the session that is meant, versions, a host that is stopped, the way
//! back.

use std::sync::Arc;

use host::embedded::EmbeddedHost;
use host::{remote, serve, settings, state_dir};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use protocol::{Command, Event, Link, SessionId, Target, Transcript};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::proxy::Proxy;
use super::{Served, attach, is_down, is_up, links, prompts, server};
use crate::support::{self, Gate, Home, Reply, Terminal, TestView, demo, eventually, start};

/// A host whose server can be started again, with a version of its own.
async fn listening(
    local: &EmbeddedHost,
    settings: &settings::Settings,
    version: &str,
) -> serve::Server {
    let options = serve::Options {
        tcp: Some("127.0.0.1:0".parse().unwrap()),
        sockets: vec![state_dir::socket_path(&settings.state)],
        version: version.to_owned(),
        ..serve::Options::default()
    };
    serve::start(local.handle(), settings, options).await.unwrap()
}

// E13
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_host_says_so_and_one_that_makes_way_does_not() {
    let home = Home::new();
    let settings = home.settings(demo());
    let local = start(settings.clone());
    let first = listening(&local, &settings, "1").await;
    let proxy = Proxy::start(&format!("http://{}", first.address().unwrap())).await;
    let (mut view, _remote) = attach(&proxy.url, &home, Target::New).await;
    view.ask(1, "hello").await;
    proxy.lead(None);
    first.hand_over().await;
    is_down(&mut view).await;
    assert!(!links(&view).iter().any(|link| matches!(link, Link::Stopped { .. })));
    let second = listening(&local, &settings, "1").await;
    proxy.lead(Some(&format!("http://{}", second.address().unwrap())));
    is_up(&mut view).await;
    let direct = format!("http://{}", second.address().unwrap());
    let (mut near, _remote) = attach(&direct, &home, Target::Latest).await;
    proxy.lead(None);
    second.stop().await;
    view.until("the stop", |v| {
        links(v).iter().any(|link| matches!(link, Link::Stopped { .. })).then_some(())
    })
    .await;
    // Where nobody answers it is told with each try, and each tells when the next one is.
    near.until("two tries", |v| {
        let tries = |l: &&&Link| matches!(l, Link::Stopped { retry_at: Some(_) });
        (links(v).iter().filter(tries).count() >= 2).then_some(())
    })
    .await;
    // What is typed meanwhile waits for the next one.
    view.prompt("and on");
    let third = listening(&local, &settings, "1").await;
    proxy.lead(Some(&format!("http://{}", third.address().unwrap())));
    view.turn(2).await;
    assert_eq!(prompts(&view.transcript.rows, "and on"), 1);
    assert_eq!(links(&view).last(), Some(&&Link::Up));
    third.stop().await;
    local.stop().await;
}

// E15
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_version_of_the_host_is_shown_also_when_it_changes() {
    let (home, here) = (Home::new(), Home::new());
    let own = env!("CARGO_PKG_VERSION");
    let settings = home.settings(demo());
    let local = start(settings.clone());
    // An interface on the same state folder.
    let server = listening(&local, &settings, "0.0.9").await;
    let mut terminal = Terminal::open(&home, &[]).await;
    let screen = terminal.shows(&format!("the host runs 0.0.9, this is {own}")).await;
    assert!(screen.contains("hermes-tui host stop"), "{screen}");
    // And one elsewhere.
    let url = format!("http://{}", server.address().unwrap());
    let mut terminal = Terminal::open(&here, &["attach", &url]).await;
    let screen = terminal.shows(&format!("the host runs 0.0.9, this is {own}")).await;
    assert!(!screen.contains("host stop"), "{screen}");
    server.hand_over().await;
    let server = listening(&local, &settings, own).await;
    let url = format!("http://{}", server.address().unwrap());
    let mut terminal = Terminal::open(&here, &["attach", &url]).await;
    terminal.send("hello");
    let screen = terminal.until("the end", |s| s.contains("1%") && !s.contains("Esc int")).await;
    assert!(!terminal.raw().contains("the host runs"), "{screen}");
    // It is replaced under the interface.
    let proxy = Proxy::start(&url).await;
    let mut terminal = Terminal::open(&here, &["attach", &proxy.url]).await;
    terminal.send("hello");
    terminal.until("the end", |s| s.contains("1%") && !s.contains("Esc int")).await;
    proxy.lead(None);
    server.hand_over().await;
    let server = listening(&local, &settings, "99.0.0").await;
    proxy.lead(Some(&format!("http://{}", server.address().unwrap())));
    terminal.shows("the host runs 99.0.0").await;
    server.stop().await;
    local.stop().await;
}

/// The sessions that a view had in sight, in order.
fn seen(view: &TestView) -> Vec<String> {
    let windows = view.events.iter().filter_map(|event| match event {
        Event::Attached { transcript, .. } => Some(transcript.session.0.clone()),
        _ => None,
    });
    windows.collect()
}

// E01
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_attached_by_title_is_the_only_one_that_shows() {
    let home = Home::new();
    let settings = home.settings(demo());
    let local = start(settings.clone());
    let ours = listening(&local, &settings, "1").await;
    let (mut own, _remote) =
        attach(&format!("http://{}", ours.address().unwrap()), &home, Target::New).await;
    own.ask(1, "hello").await;
    let title = "Fix: a/b & c?";
    own.send(Command::SetTitle { session: None, title: title.to_owned() });
    own.until("the title", |v| v.transcript.title.clone()).await;
    let wanted = own.session();
    let address = std::sync::Arc::new(std::sync::Mutex::new(ours.address().unwrap()));
    let webui = support::Proxy::before(address, support::Seen::Webui).await;
    let seam = format!("http://{}", ours.address().unwrap());
    for (url, tui) in [(seam.as_str(), true), (webui.url().as_str(), false)] {
        let server = server(url, &home);
        assert_eq!(remote::probe(&server).await.unwrap().tui, tui);
        for name in [title, &wanted.0, &wanted.0[..wanted.0.len() - 1]] {
            let found = remote::find(&server, tui, name).await.unwrap();
            assert_eq!(found.as_ref(), Some(&wanted), "{name} at {url}");
            let (mut view, _remote) = attach(url, &home, Target::Id(wanted.clone())).await;
            view.until("the session", |v| (v.session() == wanted).then_some(())).await;
            view.quiet().await;
            assert!(seen(&view).iter().all(|id| *id == wanted.0), "{:?}", seen(&view));
        }
        assert_eq!(remote::find(&server, tui, "no such").await.unwrap(), None, "{url}");
    }
    // The program: a wrong name is said where it was typed, before the interface opens.
    let here = Home::new();
    let mut terminal = Terminal::start(&here, &["attach", &seam, "-r", "no such"]);
    assert_eq!(terminal.exit().await, 1);
    assert!(terminal.raw().contains("has no session no such"), "{}", terminal.raw());
    assert!(!terminal.raw().contains("\x1b[?1049h"), "the interface did not open");
    let mut terminal = Terminal::open(&here, &["attach", &seam, "-r", title]).await;
    terminal.shows("hello").await;
    ours.stop().await;
    local.stop().await;
}

// P13
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_a_remote_host_shows_the_way_back() {
    let gate = Gate::closed();
    let held = gate.clone();
    let model = support::Server::start(move |asked| match asked.last_user() {
        "long" => Reply::After(held.clone(), Box::new(Reply::Text("Done.".to_owned()))),
        _ => Reply::Text("Done.".to_owned()),
    })
    .await;
    let (there, here) = (Home::new(), Home::new());
    let served = Served::start(&there, model.model()).await;
    let url = served.url();
    let way = |session: &str| format!("Go on with: hermes-tui attach {url} --resume {session}");
    let mut terminal = Terminal::open(&here, &["attach", &url]).await;
    terminal.send("long");
    terminal.shows("Esc interrupts").await;
    let session = eventually("the session", || there.latest()).await.0;
    let end = Pid::from_raw(terminal.pid() as i32);
    nix::sys::signal::kill(end, Signal::SIGTERM).unwrap();
    assert_eq!(terminal.exit().await, 143);
    let said = terminal.raw();
    assert!(said.contains(&way(&session)), "{said}");
    assert!(said.contains("Still running: a turn."), "{said}");
    let mut terminal = Terminal::open(&here, &["attach", &url, "-r", &session]).await;
    terminal.shows("Esc interrupts").await;
    terminal.keys("\x04");
    assert_eq!(terminal.exit().await, 0);
    let said = terminal.raw();
    assert!(said.contains(&way(&session)) && said.contains("Still running: a turn."), "{said}");
    gate.open();
    let mut terminal = Terminal::open(&here, &["attach", &url, "-r", &session]).await;
    terminal.shows("Done.").await;
    terminal.until("the end", |s| !s.contains("Esc interrupts")).await;
    terminal.keys("\x04");
    assert_eq!(terminal.exit().await, 0);
    assert!(!terminal.raw().contains("What runs there"), "nothing does");
    served.stop().await;
}

/// Answers as a host of ours which is asked to stop when a command comes: it takes none any more.
/// True once its last word is said.
async fn stops_at_a_command(mut socket: TcpStream, asked: Arc<Notify>) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = socket.read_u8().await else { return false };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let whole = |status: &str, body: &str| {
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    };
    if head.contains("/api/tui/v1/events") {
        let transcript =
            Box::new(Transcript { session: SessionId("s".to_owned()), ..Transcript::default() });
        let window = Event::Attached { transcript, resynced: false };
        let window = serde_json::to_string(&window).unwrap();
        let begin = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n\
             event: view\ndata: {{\"view\":\"v\"}}\n\nevent: e\nid: 1\ndata: {window}\n\n"
        );
        socket.write_all(begin.as_bytes()).await.unwrap();
        asked.notified().await;
        socket.write_all(b"event: stopped\ndata: {}\n\n").await.unwrap();
        return true;
    }
    let said = if head.contains("/api/tui/v1/commands") {
        asked.notify_one();
        whole("503 Service Unavailable", "{\"error\":\"it stops\"}")
    } else if head.contains("/health") {
        whole("200 OK", "{\"status\":\"ok\",\"tui\":1}")
    } else {
        whole("404 Not Found", "{}")
    };
    socket.write_all(said.as_bytes()).await.unwrap();
    socket.shutdown().await.ok();
    false
}

// P10
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_sent_during_a_stop_wants_another_host() {
    let home = Home::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let host = tokio::spawn(async move {
        let asked = Arc::new(Notify::new());
        let mut open = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                taken = listener.accept() => {
                    open.spawn(stops_at_a_command(taken.unwrap().0, asked.clone()));
                }
                Some(last) = open.join_next() => if last.unwrap() { break },
            }
        }
    });
    let (mut view, remote) = attach(&url, &home, Target::New).await;
    assert!(!remote.take_prompt_waiting(), "nothing was sent yet");
    view.prompt("half a thought");
    view.until("the stop", |v| {
        links(v).iter().any(|link| matches!(link, Link::Stopped { .. })).then_some(())
    })
    .await;
    assert!(remote.take_prompt_waiting(), "the user has sent something that nobody has taken");
    assert!(!remote.take_prompt_waiting(), "once");
    host.await.unwrap();
    drop(view);
    assert_eq!(remote.end().await, ["half a thought"]);
}
