//! What goes wrong between a client and its server, on both wires: however it goes, the transcript
//! ends as it does undisturbed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use host::embedded::EmbeddedHost;
use host::settings::Timing;
use host::{remote, serve};
use protocol::{Body, Event, Link, Row, Target};

use crate::support::{
    self, Asked, BAD_GATEWAY, Fault, Home, Proxy, Reply, Seen, Server, TO_LOGIN, TestView, quick,
    start,
};

/// Words of the answer.
const WORDS: usize = 60;

fn slowly(_: &Asked) -> Reply {
    let words = (0..WORDS).map(|n| format!("word{n} ")).collect();
    Reply::Slow(words, Duration::from_millis(50))
}

fn whole() -> String {
    (0..WORDS).map(|n| format!("word{n} ")).collect::<String>().trim().to_owned()
}

struct Rig {
    home: Home,
    model: Server,
    host: Option<(EmbeddedHost, serve::Server)>,
    address: Arc<Mutex<SocketAddr>>,
    proxy: Proxy,
}

impl Rig {
    async fn start(seen: Seen) -> Self {
        Self::with_timing(seen, quick()).await
    }

    async fn with_timing(seen: Seen, timing: Timing) -> Self {
        let home = Home::with_timing(timing);
        let model = Server::start(slowly).await;
        let address = Arc::new(Mutex::new("127.0.0.1:1".parse().unwrap()));
        let proxy = Proxy::before(address.clone(), seen).await;
        let mut rig = Self { home, model, host: None, address, proxy };
        rig.serve().await;
        rig
    }

    async fn serve(&mut self) {
        let settings = self.home.settings(self.model.model());
        let local = start(settings.clone());
        let options = serve::Options {
            tcp: Some("127.0.0.1:0".parse().unwrap()),
            sockets: Vec::new(),
            password: None,
            version: "0.0.0".to_owned(),
        };
        let server = serve::start(local.handle(), &settings, options).await.unwrap();
        *self.address.lock().unwrap() = server.address().unwrap();
        self.host = Some((local, server));
    }

    async fn stop(&mut self) {
        if let Some((local, server)) = self.host.take() {
            server.stop().await;
            local.stop().await;
        }
    }

    async fn view(&self, target: Target) -> TestView {
        let client = self.home.user().join("client");
        let mut server = support::client(&self.proxy.url(), &client);
        server.timing = self.home.timing();
        TestView::over(remote::connect(server, target)).await
    }
}

fn answer(rows: &[Row]) -> String {
    let texts = rows.iter().filter_map(|row| match &row.body {
        Body::Assistant(answer) => Some(answer.text.trim().to_owned()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("|")
}

async fn words(view: &mut TestView, word: usize) {
    view.until("words", |v| {
        let running = v.transcript.running.as_ref()?;
        running.text.contains(&format!("word{word} ")).then_some(())
    })
    .await;
}

async fn rest(view: &mut TestView) {
    view.until("the end of the turn", |v| {
        let over = v.transcript.running.is_none();
        (over && matches!(v.transcript.rows.last()?.body, Body::Assistant(_))).then_some(())
    })
    .await;
}

/// The link as the user sees it, whenever it changed.
fn links(view: &TestView) -> Vec<Link> {
    let links = view.events.iter().filter_map(|event| match event {
        Event::Link { link } => Some(link.clone()),
        _ => None,
    });
    links.collect()
}

/// Lets that go wrong for a while in the middle of an answer.
async fn disturbed(seen: Seen, fault: Fault) -> Rig {
    let rig = Rig::start(seen).await;
    let mut view = rig.view(Target::New).await;
    view.prompt("talk");
    words(&mut view, 5).await;
    rig.proxy.set(fault);
    tokio::time::sleep(Duration::from_millis(700)).await;
    rig.proxy.set(Fault::None);
    rest(&mut view).await;
    assert_eq!(answer(&view.transcript.rows), whole(), "{fault:?}");
    let undisturbed = rig.view(Target::Id(view.session())).await;
    assert_eq!(view.transcript.rows, undisturbed.transcript.rows, "{fault:?}");
    let lost = links(&view).iter().any(|link| !matches!(link, Link::Up | Link::Connecting));
    assert_eq!(lost, !matches!(fault, Fault::Delay(_)), "{fault:?}: {:?}", links(&view));
    assert_eq!(links(&view).last(), Some(&Link::Up), "{fault:?}");
    rig
}

async fn all(seen: Seen) {
    let faults = [
        Fault::Delay(Duration::from_millis(300)),
        Fault::Drop,
        Fault::Reset,
        Fault::Page(BAD_GATEWAY),
        // Whatever stands between may be restarting: it is borne for a while.
        Fault::Page(TO_LOGIN),
    ];
    for mut rig in futures::future::join_all(faults.map(|fault| disturbed(seen, fault))).await {
        rig.stop().await;
    }
}

// E03 E08
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disturbed_answer_on_the_seam_wire_ends_undisturbed() {
    all(Seen::Whole).await;
}

// E03 E08
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disturbed_answer_on_the_webui_wire_ends_undisturbed() {
    all(Seen::Webui).await;
}

/// The connection falls silent in the middle and nobody says so. Before that the client has seen
/// how often this server sends keepalives.
async fn silent(seen: Seen) {
    let (keepalive, idle) = (Duration::from_millis(300), Duration::from_millis(500));
    let mut rig = Rig::with_timing(seen, Timing { keepalive, idle, ..quick() }).await;
    let mut view = rig.view(Target::New).await;
    tokio::time::sleep(keepalive * 10).await;
    view.prompt("talk");
    words(&mut view, 5).await;
    let before = rig.proxy.connections();
    rig.proxy.set(Fault::HalfOpen);
    tokio::time::sleep(Duration::from_millis(100)).await;
    rig.proxy.set(Fault::None);
    rest(&mut view).await;
    assert_eq!(answer(&view.transcript.rows), whole());
    assert!(rig.proxy.connections() > before, "it connected again");
    rig.stop().await;
}

// E07
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_link_is_noticed_by_its_missing_keepalives() {
    tokio::join!(silent(Seen::Whole), silent(Seen::Webui));
}

/// The host stops in the middle and another one takes over.
async fn restarted(seen: Seen) {
    let mut rig = Rig::start(seen).await;
    let mut view = rig.view(Target::New).await;
    view.prompt("talk");
    words(&mut view, 5).await;
    rig.stop().await;
    rig.serve().await;
    view.until("the whole answer", |v| {
        answer(&v.transcript.rows).ends_with(&whole()).then_some(())
    })
    .await;
    rest(&mut view).await;
    let undisturbed = rig.view(Target::Id(view.session())).await;
    assert_eq!(view.transcript.rows, undisturbed.transcript.rows);
    let prompts = view.transcript.rows.iter().filter(|r| matches!(r.body, Body::User { .. }));
    assert_eq!(prompts.count(), 1);
    rig.stop().await;
}

// E13
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_server_is_noticed_and_its_transcript_taken() {
    tokio::join!(restarted(Seen::Whole), restarted(Seen::Webui));
}
