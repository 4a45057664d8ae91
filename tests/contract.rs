//! One contract for every host that a front end can hold: the embedded one, the program's `serve` on
//! TCP and on a Unix socket, each by the seam wire and by the WebUI's, and a running hermes-webui:
//!
//! `HERMES_TUI_CONTRACT_URL=http://127.0.0.1:8787 HERMES_TUI_CONTRACT_MODEL=127.0.0.1:18082`
//!
//! where the second is the address at which that server expects its model: the tests listen there.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use host::embedded::EmbeddedHost;
use host::{remote, state_dir};
use protocol::{Answer, Ask, Body, Choice, Command, Event, Question, Row, Stop, Target};
use serde_json::json;

use crate::serve::Serve;
use crate::support::{
    self, Asked, Gate, Home, Proxy, Reply, Seen, Server, TestView, obey, start, wakeups,
};

/// How a front end reaches the host.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Way {
    Embedded,
    Seam(Over),
    Webui(Over),
    /// Somebody else's server.
    Running(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Over {
    Tcp,
    Socket,
}

pub(crate) struct Rig {
    way: Way,
    pub(crate) home: Home,
    local: Option<EmbeddedHost>,
    /// The program itself.
    serving: Option<Serve>,
    /// Hides that the server is ours, where the WebUI wire is to be spoken.
    proxy: Option<Proxy>,
    model: Server,
    /// Behind it is the second half of a long answer.
    half: Gate,
}

/// What the model does: what the prompt says, and a long answer that stops half-way if it asks for
/// one.
fn script(asked: &Asked, half: &Gate) -> Reply {
    let order = asked.last_user();
    if order.contains("at length") && asked.body["tools"].is_array() {
        let words = |range: std::ops::Range<u32>| range.map(|n| format!("word{n} ")).collect();
        return Reply::Halves(words(0..30), half.clone(), words(30..60));
    }
    // A hermes-webui puts a line of its own before it.
    if order.lines().any(|line| line.starts_with("[IMPORTANT: Background process ")) {
        return Reply::Text("I was woken.".to_owned());
    }
    obey(asked)
}

impl Rig {
    pub(crate) async fn start(way: Way) -> Self {
        let home = Home::new();
        let half = Gate::closed();
        let behind = half.clone();
        let script = move |asked: &Asked| script(asked, &behind);
        let model = match (&way, std::env::var("HERMES_TUI_CONTRACT_MODEL")) {
            (Way::Running(_), Ok(address)) => Server::at(&address, script).await,
            _ => Server::start(script).await,
        };
        let mut rig = Self { way, home, local: None, serving: None, proxy: None, model, half };
        if let Way::Running(_) = rig.way {
            return rig;
        }
        if rig.way == Way::Embedded {
            rig.local = Some(start(rig.home.settings(rig.model.model())));
            return rig;
        }
        rig.home.configure(rig.model.url());
        let serving = Serve::configured(&rig.home);
        rig.proxy = match rig.way {
            Way::Webui(Over::Tcp) => {
                let address = Arc::new(Mutex::new(serving.address().parse().unwrap()));
                Some(Proxy::before(address, Seen::Webui).await)
            }
            Way::Webui(Over::Socket) => {
                let socket = state_dir::socket_path(&rig.home.state());
                Some(Proxy::on_socket(rig.hiding(), socket, Seen::Webui))
            }
            Way::Embedded | Way::Seam(_) | Way::Running(_) => None,
        };
        rig.serving = Some(serving);
        // Or one wire would be tested twice.
        let speaks = remote::probe(&rig.server()).await.unwrap();
        assert_eq!(speaks.tui, matches!(rig.way, Way::Seam(_)), "{:?}", rig.way);
        rig
    }

    pub(crate) async fn view(&self, target: Target) -> TestView {
        match &self.way {
            Way::Embedded => TestView::attach(self.local.as_ref().unwrap(), target).await,
            _ => TestView::over(remote::connect(self.server(), target)).await,
        }
    }

    fn server(&self) -> remote::Server {
        let client = self.home.user().join("client");
        let place = match (&self.way, &self.proxy) {
            (Way::Embedded, _) => unreachable!("it has no address"),
            (Way::Running(url), _) => url.clone(),
            (Way::Webui(Over::Tcp), Some(proxy)) => proxy.url(),
            (Way::Webui(_), _) => self.hiding().display().to_string(),
            (Way::Seam(Over::Tcp), _) => {
                format!("http://{}", self.serving.as_ref().unwrap().address())
            }
            (Way::Seam(Over::Socket), _) => {
                state_dir::socket_path(&self.home.state()).display().to_string()
            }
        };
        support::client(&place, &client)
    }

    /// The socket behind which the host's own stands.
    fn hiding(&self) -> PathBuf {
        self.home.user().join("hiding.sock")
    }

    pub(crate) async fn stop(self) {
        if let Some(local) = self.local {
            local.stop().await;
        }
    }
}

/// What a user reads of the rows: who says what.
fn told(rows: &[Row]) -> Vec<(&'static str, String)> {
    let lines = rows.iter().filter_map(|row| match &row.body {
        Body::User { text } => Some(("user", text.trim().to_owned())),
        Body::Wakeup(wakeup) => Some(("wakeup", wakeup.command.clone())),
        Body::Assistant(answer) if answer.text.trim().is_empty() => None,
        Body::Assistant(answer) => Some(("agent", answer.text.trim().to_owned())),
        Body::Tool(result) => Some(("tool", result.name.clone())),
        Body::Summary(_) | Body::Note { .. } | Body::Failure { .. } => None,
    });
    lines.collect()
}

/// Waits until nothing runs and the agent has said that, so many times in all.
pub(crate) async fn said(view: &mut TestView, text: &str, times: usize) {
    view.until(&format!("{times} × {text:?} and rest"), |v| {
        let found = told(&v.transcript.rows).iter().filter(|(_, t)| t.ends_with(text)).count();
        (found >= times && v.transcript.running.is_none()).then_some(())
    })
    .await;
}

async fn question(view: &mut TestView) -> Question {
    view.until("a question", |v| v.transcript.questions.first().cloned()).await
}

pub(crate) async fn no_question(view: &mut TestView) {
    view.until("no question", |v| v.transcript.questions.is_empty().then_some(())).await;
}

pub(crate) fn removal(folder: &Path) -> String {
    format!("call terminal {}", json!({ "command": format!("rm -rf {}", folder.display()) }))
}

async fn a_prompt_is_answered(rig: &Rig) {
    let mut view = rig.view(Target::New).await;
    view.prompt("hello");
    said(&mut view, "As you say.", 1).await;
    let wanted = [("user", "hello".to_owned()), ("agent", "As you say.".to_owned())];
    assert_eq!(told(&view.transcript.rows), wanted);
    // What another front end finds is the same.
    let again = rig.view(Target::Id(view.session())).await;
    assert_eq!(told(&again.transcript.rows), wanted);
}

async fn a_tool_runs_and_its_result_is_seen(rig: &Rig) {
    let mut view = rig.view(Target::New).await;
    view.prompt("call terminal {\"command\":\"echo it-is-here\"}");
    said(&mut view, "As you say.", 1).await;
    let result = view.transcript.rows.iter().find_map(|row| match &row.body {
        Body::Tool(result) => Some(result.clone()),
        _ => None,
    });
    let result = result.expect("a result");
    assert_eq!((result.name.as_str(), result.failed), ("terminal", false));
    assert!(result.text.contains("it-is-here"), "{}", result.text);
}

async fn an_approval_is_asked_for_and_both_answers_count(rig: &Rig) {
    let folder = rig.home.work().join("to-be-removed");
    std::fs::create_dir(&folder).unwrap();
    let mut view = rig.view(Target::New).await;
    view.prompt(&removal(&folder));
    let asked = question(&mut view).await;
    let Ask::Approval { command, .. } = &asked.ask else { panic!("{asked:?}") };
    assert!(command.contains("to-be-removed"));
    view.send(Command::Answer {
        session: None,
        id: asked.id,
        answer: Answer::Approval(Choice::Deny),
    });
    said(&mut view, "As you say.", 1).await;
    assert!(view.transcript.questions.is_empty() && folder.exists());

    view.prompt(&removal(&folder));
    let asked = question(&mut view).await;
    view.send(Command::Answer {
        session: None,
        id: asked.id,
        answer: Answer::Approval(Choice::Once),
    });
    said(&mut view, "As you say.", 2).await;
    assert!(view.transcript.questions.is_empty() && !folder.exists());
}

async fn a_clarify_question_is_answered_in_words(rig: &Rig) {
    let mut view = rig.view(Target::New).await;
    view.prompt("call clarify {\"question\":\"Which colour?\",\"choices\":[\"red\",\"blue\"]}");
    let asked = question(&mut view).await;
    let Ask::Clarify { question, choices } = &asked.ask else { panic!("{asked:?}") };
    assert_eq!(
        (question.as_str(), choices.as_slice()),
        ("Which colour?", &["red".to_owned(), "blue".to_owned()][..])
    );
    let answer = Answer::Text("green,\nbut pale".to_owned());
    view.send(Command::Answer { session: None, id: asked.id, answer });
    said(&mut view, "As you say.", 1).await;
    let seen = view.transcript.rows.iter().any(|row| row.text().contains("but pale"));
    assert!(seen && view.transcript.questions.is_empty(), "{:#?}", view.transcript.rows);
}

async fn a_turn_is_cancelled_and_keeps_what_was_said(rig: &Rig) {
    let mut view = rig.view(Target::New).await;
    view.prompt("talk at length");
    view.until("the first words", |v| {
        v.transcript.running.as_ref().filter(|r| r.text.contains("word3")).map(|_| ())
    })
    .await;
    view.send(Command::Cancel);
    view.until("the end of the turn", |v| v.transcript.running.is_none().then_some(())).await;
    let partial = |v: &TestView| {
        v.transcript.rows.iter().any(|row| {
            matches!(&row.body, Body::Assistant(a)
                if a.stop == Stop::Partial && a.text.contains("word3"))
        })
    };
    view.until("what was said", |v| partial(v).then_some(())).await;
    // And it can be talked to again.
    view.prompt("hello");
    said(&mut view, "As you say.", 1).await;
}

async fn a_background_command_wakes_the_agent_once(rig: &Rig) {
    let mut view = rig.view(Target::New).await;
    let args = json!({ "command": "sleep 0.3; echo far-away", "background": true,
        "notify_on_complete": true });
    view.prompt(&format!("call terminal {args}"));
    said(&mut view, "I was woken.", 1).await;
    view.quiet().await;
    let rows = wakeups(&view.transcript.rows);
    let [wakeup] = rows.as_slice() else { panic!("{rows:#?}") };
    assert_eq!(wakeup.exit.as_ref().and_then(|exit| exit.code), Some(0));
    assert!(wakeup.command.contains("far-away"));
    // Whoever comes later finds it once.
    let late = rig.view(Target::Id(view.session())).await;
    assert_eq!(wakeups(&late.transcript.rows).len(), 1);
    assert_eq!(told(&late.transcript.rows), told(&view.transcript.rows));
}

// E02
async fn a_front_end_that_comes_back_in_the_middle_misses_nothing(rig: &Rig) {
    let mut first = rig.view(Target::New).await;
    first.prompt("talk at length");
    first
        .until("the first words", |v| {
            v.transcript.running.as_ref().filter(|r| r.text.contains("word5")).map(|_| ())
        })
        .await;
    let session = first.session();
    drop(first);
    let mut back = rig.view(Target::Id(session.clone())).await;
    back.until("the words so far", |v| {
        v.transcript.running.as_ref().filter(|r| r.text.starts_with("word0 word1")).map(|_| ())
    })
    .await;
    rig.half.open();
    said(&mut back, "word58 word59", 1).await;
    let whole: String = (0..60).map(|n| format!("word{n} ")).collect();
    let wanted = [("user", "talk at length".to_owned()), ("agent", whole.trim().to_owned())];
    assert_eq!(told(&back.transcript.rows), wanted);
    let late = rig.view(Target::Id(session)).await;
    assert_eq!(told(&late.transcript.rows), wanted);
}

// C07 S04
async fn two_front_ends_see_one_session(rig: &Rig) {
    let folder = rig.home.work().join("shared");
    std::fs::create_dir(&folder).unwrap();
    let mut one = rig.view(Target::New).await;
    one.prompt("hello");
    said(&mut one, "As you say.", 1).await;
    let mut two = rig.view(Target::Id(one.session())).await;
    one.prompt(&removal(&folder));
    let asked = question(&mut two).await;
    question(&mut one).await;
    two.send(Command::Answer {
        session: None,
        id: asked.id.clone(),
        answer: Answer::Approval(Choice::Deny),
    });
    no_question(&mut one).await;
    // Too late: no error box, and nothing changes.
    one.send(Command::Answer {
        session: None,
        id: asked.id,
        answer: Answer::Approval(Choice::Once),
    });
    said(&mut one, "As you say.", 2).await;
    said(&mut two, "As you say.", 2).await;
    assert!(folder.exists());
    assert!(!one.events.iter().any(|e| matches!(e, Event::Failed(_))), "{:#?}", one.events);
    one.send(Command::SetTitle { session: None, title: "Both of us".to_owned() });
    for view in [&mut one, &mut two] {
        view.until("the title", |v| {
            (v.transcript.title.as_deref() == Some("Both of us")).then_some(())
        })
        .await;
    }
    assert_eq!(told(&one.transcript.rows), told(&two.transcript.rows));
}

async fn contract(way: Way) {
    let rig = Rig::start(way).await;
    a_prompt_is_answered(&rig).await;
    a_tool_runs_and_its_result_is_seen(&rig).await;
    an_approval_is_asked_for_and_both_answers_count(&rig).await;
    a_clarify_question_is_answered_in_words(&rig).await;
    a_turn_is_cancelled_and_keeps_what_was_said(&rig).await;
    a_background_command_wakes_the_agent_once(&rig).await;
    a_front_end_that_comes_back_in_the_middle_misses_nothing(&rig).await;
    two_front_ends_see_one_session(&rig).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_for_the_embedded_host() {
    contract(Way::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_over_the_seam_wire_on_tcp() {
    contract(Way::Seam(Over::Tcp)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_over_the_seam_wire_on_a_socket() {
    contract(Way::Seam(Over::Socket)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_over_the_webui_wire_on_tcp() {
    contract(Way::Webui(Over::Tcp)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_over_the_webui_wire_on_a_socket() {
    contract(Way::Webui(Over::Socket)).await;
}

/// See the module for what it needs; without that there is nothing to run against.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a running hermes-webui"]
async fn the_contract_holds_for_a_running_webui() {
    let url = std::env::var("HERMES_TUI_CONTRACT_URL").expect("HERMES_TUI_CONTRACT_URL");
    contract(Way::Running(url)).await;
}
