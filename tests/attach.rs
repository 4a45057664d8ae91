//! The client of a host elsewhere: over real sockets, against our own host and against ones that
//! do everything wrong.

mod around;
mod login;
mod proxy;

use std::time::Duration;

use futures::{StreamExt as _, stream};
use host::embedded::EmbeddedHost;
use host::remote::{self, Remote, Server};
use host::serve;
use host::settings;
use protocol::{Body, Command, Event, Link, PromptId, Row, Target, Transcript, TurnId};

use self::proxy::{Do, Fake, Fault, PAGE, Proxy};
use crate::support::{self, Gate, Home, Reply, TestView, demo, eventually, start};

/// A host in this process and what serves it.
pub(crate) struct Served {
    local: EmbeddedHost,
    server: serve::Server,
}

impl Served {
    pub(crate) async fn start(home: &Home, model: settings::Model) -> Self {
        Self::with_password(home, model, None).await
    }

    async fn with_password(home: &Home, model: settings::Model, password: Option<&str>) -> Self {
        let settings = home.settings(model);
        let local = start(settings.clone());
        let options = serve::Options {
            tcp: Some("127.0.0.1:0".parse().unwrap()),
            password: password.map(str::to_owned),
            ..serve::Options::default()
        };
        let server = serve::start(local.handle(), &settings, options).await.unwrap();
        Self { local, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.address().unwrap())
    }

    /// As a stop by signal does it.
    async fn stop(self) {
        self.server.stop().await;
        self.local.stop().await;
    }
}

/// What the client keeps lies below its own home.
fn server(url: &str, home: &Home) -> Server {
    support::client(url, &home.user())
}

async fn attach(url: &str, home: &Home, target: Target) -> (TestView, Remote) {
    let (host, remote) = remote::start(server(url, home), target);
    (TestView::over(host).await, remote)
}

fn prompts(rows: &[Row], wanted: &str) -> usize {
    rows.iter().filter(|row| matches!(&row.body, Body::User { text } if text == wanted)).count()
}

fn links(view: &TestView) -> Vec<&Link> {
    let links = view.events.iter().filter_map(|event| match event {
        Event::Link { link } => Some(link),
        _ => None,
    });
    links.collect()
}

async fn is_up(view: &mut TestView) {
    view.until("the link", |v| (links(v).last() == Some(&&Link::Up)).then_some(())).await;
}

async fn is_down(view: &mut TestView) {
    view.until("the loss of the link", |v| {
        matches!(links(v).last(), Some(Link::Down { .. } | Link::Stopped { .. })).then_some(())
    })
    .await;
}

async fn refusal(view: &mut TestView) -> String {
    view.until("a refusal", |v| match links(v).last() {
        Some(Link::Refused { message }) => Some(message.clone()),
        _ => None,
    })
    .await
}

/// That the view ends with what the host itself has.
async fn agrees(view: &mut TestView, local: &EmbeddedHost) {
    let own = TestView::attach(local, Target::Id(view.session())).await;
    view.until("the transcript of the host", |v| (v.transcript == own.transcript).then_some(()))
        .await;
}

fn pieces() -> Reply {
    let words = ["# Title\n\n", "One ", "**two** ", "→ three\n", "- é\n", "- last"];
    Reply::Slow(words.map(str::to_owned).to_vec(), Duration::from_millis(40))
}

// E01 E03
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_cut_at_any_byte_ends_with_the_hosts_transcript() {
    let model = support::Server::start(|_| pieces()).await;
    let home = Home::new();
    let served = Served::start(&home, model.model()).await;
    let (url, local, home) = (&served.url(), &served.local, &home);
    let cut_at = |position: usize| async move {
        let proxy = Proxy::start(url).await;
        proxy.events([Fault::Cut(position)]);
        let (mut view, _remote) = attach(&proxy.url, home, Target::New).await;
        view.prompt("Go.");
        view.until("the end", |v| {
            let t = &v.transcript;
            let is_answer =
                |row: &Row| matches!(&row.body, Body::Assistant(a) if a.text.ends_with("last"));
            (t.running.is_none() && t.rows.iter().any(is_answer)).then_some(())
        })
        .await;
        agrees(&mut view, local).await;
        let rows = &view.transcript.rows;
        assert_eq!(prompts(rows, "Go."), 1, "cut at {position}: {rows:#?}");
        let lost = links(&view).iter().any(|link| matches!(link, Link::Down { .. }));
        (lost, proxy.asked("/api/tui/v1/events"))
    };
    // Closer where the window ends and the prompt is on its way.
    let positions = (0..4000).step_by(31).chain((430..650).step_by(7));
    let runs: Vec<_> = stream::iter(positions).map(cut_at).buffer_unordered(32).collect().await;
    let cut = runs.iter().filter(|(lost, asked)| *lost && *asked == 2).count();
    assert!(cut > 60, "only {cut} were cut in the middle");
    served.stop().await;
}

// E08 E03
#[tokio::test]
async fn what_a_bad_network_answers_is_borne_and_each_try_is_shown() {
    let home = Home::new();
    let served = Served::start(&home, demo()).await;
    let proxy = Proxy::start(&served.url()).await;
    let (mut view, _remote) = attach(&proxy.url, &home, Target::New).await;
    view.ask(1, "hello").await;
    let html = ("content-type", "text/html");
    proxy.lead(None);
    // The open stream goes on; its end is what is noticed.
    let own = TestView::attach(&served.local, Target::Id(view.session())).await;
    drop(own);
    served.server.stop().await;
    is_down(&mut view).await;
    proxy.events([
        Fault::Answer(502, html, PAGE),
        Fault::Answer(200, html, PAGE),
        Fault::Answer(302, ("location", "/login"), ""),
    ]);
    let settings = home.settings(demo());
    let options =
        serve::Options { tcp: Some("127.0.0.1:0".parse().unwrap()), ..serve::Options::default() };
    let again = serve::start(served.local.handle(), &settings, options).await.unwrap();
    proxy.lead(Some(&format!("http://{}", again.address().unwrap())));
    view.until("four tries", |v| {
        links(v).iter().any(|link| matches!(link, Link::Down { attempt: 4, .. })).then_some(())
    })
    .await;
    let whys: Vec<_> = links(&view)
        .into_iter()
        .filter_map(|link| match link {
            Link::Down { why, attempt, .. } => Some(format!("{attempt} {why}")),
            _ => None,
        })
        .collect();
    assert!(whys.iter().any(|why| why.contains("502")), "{whys:?}");
    assert!(whys.iter().any(|why| why.contains("web page")), "{whys:?}");
    assert!(whys.iter().any(|why| why.contains("login")), "{whys:?}");
    // A key that sends something does not wait for the next try.
    view.prompt("and again");
    view.turn(2).await;
    agrees(&mut view, &served.local).await;
    again.stop().await;
    served.local.stop().await;
}

// E13
#[tokio::test]
async fn a_restarted_host_is_found_again_with_all_that_happened() {
    let home = Home::new();
    let served = Served::start(&home, demo()).await;
    let proxy = Proxy::start(&served.url()).await;
    let (mut view, _remote) = attach(&proxy.url, &home, Target::New).await;
    view.ask(1, "hello").await;
    proxy.lead(None);
    served.stop().await;
    is_down(&mut view).await;
    let served = Served::start(&home, demo()).await;
    let mut other = TestView::attach(&served.local, Target::Id(view.session())).await;
    other.ask(2, "from elsewhere").await;
    proxy.lead(Some(&served.url()));
    view.until("what happened meanwhile", |v| {
        (prompts(&v.transcript.rows, "from elsewhere") == 1).then_some(())
    })
    .await;
    let resynced = |event: &Event| matches!(event, Event::Attached { resynced: true, .. });
    assert!(view.events.iter().any(resynced), "the user sees that there was a gap");
    is_up(&mut view).await;
    view.ask(3, "hello again").await;
    agrees(&mut view, &served.local).await;
    served.stop().await;
}

#[tokio::test]
async fn prompts_typed_offline_arrive_exactly_once_and_in_order() {
    let model = support::Server::start(|_| Reply::Text("Yes.".to_owned())).await;
    let home = Home::new();
    let served = Served::start(&home, model.model()).await;
    let proxy = Proxy::start(&served.url()).await;
    let (mut view, _remote) = attach(&proxy.url, &home, Target::New).await;
    view.ask(1, "first").await;
    let url = served.url();
    let Served { local, server } = served;
    proxy.lead(None);
    server.stop().await;
    is_down(&mut view).await;
    view.prompt("second");
    view.send(Command::SetTitle { session: None, title: "Named offline".to_owned() });
    view.prompt("third");
    let settings = home.settings(model.model());
    let options =
        serve::Options { tcp: Some("127.0.0.1:0".parse().unwrap()), ..serve::Options::default() };
    let again = serve::start(local.handle(), &settings, options).await.unwrap();
    assert_ne!(url, format!("http://{}", again.address().unwrap()));
    // The first request that brings them is done and its answer is lost: they come again.
    proxy.commands([Fault::Forgotten]);
    proxy.lead(Some(&format!("http://{}", again.address().unwrap())));
    view.until("both turns", |v| {
        let t = &v.transcript;
        (prompts(&t.rows, "third") == 1 && t.running.is_none() && t.queued.is_empty()).then_some(())
    })
    .await;
    agrees(&mut view, &local).await;
    let typed: Vec<_> = view
        .transcript
        .rows
        .iter()
        .filter_map(|row| match &row.body {
            Body::User { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(typed, ["first", "second", "third"]);
    assert_eq!(view.transcript.title.as_deref(), Some("Named offline"));
    let again_sent = || (proxy.asked("/api/tui/v1/commands") >= 3).then_some(());
    eventually("the second request with them", again_sent).await;
    model.stays_at(3).await;
    again.stop().await;
    local.stop().await;
}

#[tokio::test]
async fn prompts_typed_offline_survive_a_restart_of_the_client() {
    let model = support::Server::start(|_| Reply::Text("Yes.".to_owned())).await;
    let home = Home::new();
    let served = Served::start(&home, model.model()).await;
    let proxy = Proxy::start(&served.url()).await;
    let (mut view, client) = attach(&proxy.url, &home, Target::New).await;
    view.ask(1, "first").await;
    let session = view.session();
    proxy.lead(None);
    proxy.events([Fault::Cut(0)]);
    let Served { local, server } = served;
    server.stop().await;
    is_down(&mut view).await;
    view.prompt("typed offline");
    drop(view);
    assert_eq!(client.end().await, ["typed offline"]);
    let settings = home.settings(model.model());
    let options =
        serve::Options { tcp: Some("127.0.0.1:0".parse().unwrap()), ..serve::Options::default() };
    let again = serve::start(local.handle(), &settings, options).await.unwrap();
    proxy.lead(Some(&format!("http://{}", again.address().unwrap())));
    // Another session is in view: it still goes where it was typed.
    let (view, client) = attach(&proxy.url, &home, Target::New).await;
    assert_ne!(view.session(), session);
    let mut own = TestView::attach(&local, Target::Id(session)).await;
    own.until("the prompt", |v| {
        (prompts(&v.transcript.rows, "typed offline") == 1 && v.transcript.running.is_none())
            .then_some(())
    })
    .await;
    assert_eq!(prompts(&view.transcript.rows, "typed offline"), 0);
    let folder = home.user().join("remote");
    let files = || {
        let names = std::fs::read_dir(&folder).unwrap().map(|f| f.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().contains("unsent")).count()
    };
    eventually("nothing left to send", || (files() == 0).then_some(())).await;
    drop(view);
    assert_eq!(client.end().await, [""; 0]);
    let (view, _client) = attach(&proxy.url, &home, Target::Latest).await;
    model.stays_at(2).await;
    drop(view);
    again.stop().await;
    local.stop().await;
}

#[tokio::test]
async fn a_session_that_is_gone_is_reported_with_its_lost_prompts() {
    let home = Home::new();
    let served = Served::start(&home, demo()).await;
    let proxy = Proxy::start(&served.url()).await;
    let (mut view, client) = attach(&proxy.url, &home, Target::New).await;
    view.ask(1, "hello").await;
    let session = view.session();
    proxy.lead(None);
    let Served { local, server } = served;
    server.stop().await;
    is_down(&mut view).await;
    view.prompt("for nobody");
    drop(view);
    client.end().await;
    let mut own = TestView::new(&local).await;
    own.ask(1, "other").await;
    own.send(Command::Delete { session: session.clone() });
    let gone = || home.reader().load(&session, 1).unwrap().is_none().then_some(());
    eventually("the deletion", gone).await;
    let settings = home.settings(demo());
    let options =
        serve::Options { tcp: Some("127.0.0.1:0".parse().unwrap()), ..serve::Options::default() };
    let again = serve::start(local.handle(), &settings, options).await.unwrap();
    proxy.lead(Some(&format!("http://{}", again.address().unwrap())));
    // By a name that is none, or no more: a new session, and word about it.
    let (mut view, client) = attach(&proxy.url, &home, Target::Id(session.clone())).await;
    let said = |v: &TestView, text: &str| {
        let told = |e: &Event| matches!(e, Event::Failed(f) if f.message.contains(text));
        v.events.iter().any(told).then_some(())
    };
    view.until("word about the session", |v| said(v, session.0.as_str())).await;
    view.until("word about the prompt", |v| said(v, "gone: for nobody")).await;
    view.ask(1, "still usable").await;
    drop(view);
    assert_eq!(client.end().await, [""; 0]);
    // By the beginning of its title, which only the host can look up.
    let other = own.session();
    let (mut view, _client) =
        attach(&proxy.url, &home, Target::Id(protocol::SessionId("other".to_owned()))).await;
    view.until("the other session", |v| (v.session() == other).then_some(())).await;
    again.stop().await;
    local.stop().await;
}

#[tokio::test]
async fn a_unix_socket_is_a_way_to_a_host_without_a_login() {
    let (host, home) = (Home::new(), Home::new());
    let settings = host.settings(demo());
    let local = start(settings.clone());
    let socket = host.path().join("h.sock");
    let options = serve::Options {
        sockets: vec![socket.clone()],
        password: Some("only over the network".to_owned()),
        ..serve::Options::default()
    };
    let served = serve::start(local.handle(), &settings, options).await.unwrap();
    let (mut view, remote) = attach(&socket.display().to_string(), &home, Target::New).await;
    view.ask(1, "hello").await;
    agrees(&mut view, &local).await;
    // What is asked in the last moment still goes out.
    let session = view.session();
    view.prompt("and goodbye");
    drop(view);
    assert_eq!(remote.end().await, [""; 0]);
    let mut own = TestView::attach(&local, Target::Id(session)).await;
    own.until("the prompt", |v| {
        (prompts(&v.transcript.rows, "and goodbye") == 1 && v.transcript.running.is_none())
            .then_some(())
    })
    .await;
    served.stop().await;
    local.stop().await;
}

// E09
#[tokio::test]
async fn a_thousand_switches_leave_one_stream() {
    let home = Home::new();
    let served = Served::start(&home, demo()).await;
    let proxy = Proxy::start(&served.url()).await;
    let mut ids = Vec::new();
    for n in 0..2 {
        let mut view = TestView::new(&served.local).await;
        view.ask(1, &format!("hello {n}")).await;
        ids.push(view.session());
    }
    let (mut view, _remote) = attach(&proxy.url, &home, Target::Id(ids[0].clone())).await;
    for n in 0..1000 {
        view.send(Command::Open(Target::Id(ids[n % 2].clone())));
        if n % 100 == 99 {
            let wanted = ids[n % 2].clone();
            view.until("the session", |v| (v.session() == wanted).then_some(())).await;
        }
    }
    view.send(Command::Open(Target::Id(ids[0].clone())));
    view.until("the first session", |v| (v.session() == ids[0]).then_some(())).await;
    view.ask(2, "still here").await;
    agrees(&mut view, &served.local).await;
    assert_eq!(proxy.asked("/api/tui/v1/events"), 1);
    served.stop().await;
}

// E08
#[tokio::test]
async fn refusals_end_the_tries_and_say_what_to_do() {
    let home = Home::new();
    let json = ("content-type", "application/json");
    for (status, told) in [(401, "log in"), (403, "not for you"), (410, "not for you")] {
        let served = Served::start(&home, demo()).await;
        let proxy = Proxy::start(&served.url()).await;
        let (mut view, _remote) = attach(&proxy.url, &home, Target::New).await;
        proxy.events([Fault::Answer(status, json, "{\"error\":\"not for you\"}")]);
        served.stop().await;
        let said = refusal(&mut view).await;
        assert!(said.contains(told), "{status}: {said}");
        view.prompt("too late");
        view.until("word about what was typed", |v| {
            v.events.iter().find_map(|event| match event {
                Event::Failed(failure) if failure.message.contains("kept") => Some(()),
                _ => None,
            })
        })
        .await;
        assert_eq!(proxy.asked("/api/tui/v1/events"), 2, "no further try");
    }
}

// E08
#[tokio::test]
async fn a_proxy_page_with_404_does_not_mean_that_the_session_is_gone() {
    let home = Home::new();
    let served = Served::start(&home, demo()).await;
    let proxy = Proxy::start(&served.url()).await;
    let (mut view, _remote) = attach(&proxy.url, &home, Target::New).await;
    view.ask(1, "hello").await;
    let session = view.session();
    proxy.shows(404);
    proxy.lead(None);
    let Served { local, server } = served;
    server.stop().await;
    is_down(&mut view).await;
    view.until("a second try", |v| {
        let second = |link: &&&Link| matches!(link, Link::Down { attempt: 2, why, .. } if why.contains("no hermes server"));
        links(v).iter().find(second).map(|_| ())
    })
    .await;
    view.prompt("and again");
    let settings = home.settings(demo());
    let options =
        serve::Options { tcp: Some("127.0.0.1:0".parse().unwrap()), ..serve::Options::default() };
    let again = serve::start(local.handle(), &settings, options).await.unwrap();
    proxy.lead(Some(&format!("http://{}", again.address().unwrap())));
    view.turn(2).await;
    assert_eq!(view.session(), session);
    assert_eq!(prompts(&view.transcript.rows, "and again"), 1);
    assert!(!view.events.iter().any(|event| matches!(event, Event::Failed(_))));
    assert!(proxy.asked("/api/tui/v1/events") < 10, "it waits between its tries");
    agrees(&mut view, &local).await;
    // For good, it is said. Who types does not wait for the next try.
    proxy.lead(None);
    again.stop().await;
    let said = loop {
        view.prompt("anybody there?");
        let said = tokio::time::timeout(Duration::from_millis(300), refusal(&mut view)).await;
        if let Ok(said) = said {
            break said;
        }
    };
    assert!(said.contains("no hermes server"), "{said}");
    local.stop().await;
}

// E08
#[tokio::test]
async fn a_login_that_ends_is_said_with_what_to_do() {
    let home = Home::new();
    let served = Served::with_password(&home, demo(), Some("one")).await;
    let proxy = Proxy::start(&served.url()).await;
    remote::login(&server(&proxy.url, &home), "one").await.unwrap();
    let (mut view, _remote) = attach(&proxy.url, &home, Target::New).await;
    view.ask(1, "hello").await;
    proxy.lead(None);
    served.stop().await;
    is_down(&mut view).await;
    // Another password: who knew the old one must log in again.
    let served = Served::with_password(&home, demo(), Some("two")).await;
    proxy.lead(Some(&served.url()));
    let said = refusal(&mut view).await;
    assert!(said.contains("quit and attach again"), "for who is in attach already: {said}");
    served.stop().await;
}

fn frame(event: &Event) -> Vec<u8> {
    let data = serde_json::to_string(event).unwrap();
    format!("event: e\nid: 1\ndata: {data}\n\n").into_bytes()
}

fn window(rows: Vec<Row>) -> Vec<u8> {
    let session = protocol::SessionId("20260101_000000_abcdef".to_owned());
    let transcript = Transcript { session, rows, ..Transcript::default() };
    let mut bytes = b"event: view\ndata: {\"view\":\"t1\"}\n\n".to_vec();
    bytes.extend(frame(&Event::Attached { transcript: Box::new(transcript), resynced: false }));
    bytes
}

fn row(n: u64, text: &str) -> Row {
    let body = Body::User { text: text.to_owned() };
    Row { n, turn: TurnId(1), at: 0, cut: 0, body }
}

// E07
#[tokio::test]
async fn a_half_open_link_is_left_and_missed_events_are_shown() {
    let mut first = vec![Do::Say(window(vec![row(1, "one")]))];
    for _ in 0..3 {
        first.extend([Do::Wait(Duration::from_millis(200)), Do::Say(b": keepalive\n\n".to_vec())]);
    }
    first.push(Do::Hold);
    let second = vec![Do::Say(window(vec![row(1, "one"), row(2, "missed")])), Do::Hold];
    let fake = Fake::start(vec![first, second]).await;
    let home = Home::new();
    let (mut view, _remote) = attach(&fake.url, &home, Target::New).await;
    view.until("what was missed", |v| (v.transcript.rows.len() == 2).then_some(())).await;
    let silent = |link: &&&Link| matches!(link, Link::Down { why, .. } if why.contains("nothing was received"));
    assert_eq!(links(&view).iter().filter(silent).count(), 1, "{:?}", links(&view));
    is_up(&mut view).await;
    let windows: Vec<_> = view
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Attached { resynced, .. } => Some(*resynced),
            _ => None,
        })
        .collect();
    assert_eq!(windows, [false, true]);
}

// E15
#[tokio::test]
async fn what_cannot_be_read_is_left_out_and_the_rest_arrives() {
    let large = "x".repeat(5 * 1024 * 1024);
    let mut script = window(Vec::new());
    script.extend_from_slice(b"event: e\n\nevent: later\ndata: {}\n\nodd: field\n\n: comment\n\n");
    script.extend_from_slice(b"event: e\ndata: {\"event\":\"of_a_newer_host\",\"a\":1}\n\n");
    script.extend_from_slice(b"event: e\ndata: {\"event\":\"row_added\",\"row\":-1}\n\n");
    script.extend_from_slice(b"event: e\ndata: not json\n\nevent: e\ndata: \xff\xfe\n\n");
    script.extend(frame(&Event::RowAdded { row: row(1, &large) }));
    let mut broken = frame(&Event::RowAdded { row: row(2, "a~b") });
    let at = broken.iter().position(|b| *b == b'~').unwrap();
    broken[at] = 0xff;
    script.extend(broken);
    script.extend_from_slice(b"event: e\ndata: {\"event\":\"sessions_changed\",\"more\":[1]}\n\n");
    let fake = Fake::start(vec![vec![Do::Say(script), Do::Hold]]).await;
    let home = Home::new();
    let (mut view, _remote) = attach(&fake.url, &home, Target::New).await;
    view.until("the last event", |v| v.events.contains(&Event::SessionsChanged).then_some(()))
        .await;
    let texts: Vec<_> = view.transcript.rows.iter().map(Row::text).collect();
    assert_eq!(texts, [large.as_str(), "a\u{fffd}b"]);
    assert!(!links(&view).iter().any(|link| matches!(link, Link::Down { .. })));
}

#[tokio::test]
async fn a_link_that_breaks_while_idle_changes_nothing_on_screen() {
    let same = || vec![Do::Say(window(vec![row(1, "one")]))];
    let mut last = same();
    last.push(Do::Hold);
    let fake = Fake::start(vec![same(), last]).await;
    let home = Home::new();
    let (mut view, _remote) = attach(&fake.url, &home, Target::New).await;
    is_down(&mut view).await;
    is_up(&mut view).await;
    let windows = |event: &&Event| matches!(event, Event::Attached { .. });
    assert_eq!(view.events.iter().filter(windows).count(), 1);
    let id = PromptId("p1".to_owned());
    view.send(Command::Prompt { id, text: "hi".to_owned() });
    let sent = eventually("the prompt", || fake.commands().pop()).await;
    assert_eq!(sent[0]["id"], "p1");
}

#[tokio::test]
async fn an_interrupt_pressed_offline_meets_no_later_turn() {
    let gate = Gate::closed();
    let held = gate.clone();
    let model = support::Server::start(move |asked| match asked.last_user() {
        "long" => Reply::After(held.clone(), Box::new(Reply::Text("Done.".to_owned()))),
        _ => Reply::Text("Done.".to_owned()),
    })
    .await;
    let home = Home::new();
    let served = Served::start(&home, model.model()).await;
    let proxy = Proxy::start(&served.url()).await;
    let (mut view, _remote) = attach(&proxy.url, &home, Target::New).await;
    view.ask(1, "short").await;
    let Served { local, server } = served;
    proxy.lead(None);
    server.stop().await;
    is_down(&mut view).await;
    view.send(Command::Cancel);
    let mut own = TestView::attach(&local, Target::Id(view.session())).await;
    own.prompt("long");
    own.until("the turn", |v| v.turns().contains(&2).then_some(())).await;
    let settings = home.settings(model.model());
    let options =
        serve::Options { tcp: Some("127.0.0.1:0".parse().unwrap()), ..serve::Options::default() };
    let again = serve::start(local.handle(), &settings, options).await.unwrap();
    proxy.lead(Some(&format!("http://{}", again.address().unwrap())));
    is_up(&mut view).await;
    view.send(Command::SetTitle { session: None, title: "after".to_owned() });
    view.until("the title", |v| v.transcript.title.clone()).await;
    gate.open();
    assert_eq!(own.turn(2).await, protocol::Outcome::Done);
    again.stop().await;
    local.stop().await;
}
