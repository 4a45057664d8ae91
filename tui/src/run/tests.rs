//! The loop, with a host and a terminal that are made up.

use std::sync::{Arc, Mutex};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use futures::channel::mpsc as keys;
use protocol::{Command, Row};
use protocol::{Pushed, Signal, ViewId, ViewSink, pair};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::testing::*;

/// A terminal that keeps what it is sent.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<Vec<u8>>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn writes(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn screen(&self) -> String {
        let mut terminal = other_terminal(80, 24);
        for bytes in self.0.lock().unwrap().iter() {
            terminal.process(bytes);
        }
        terminal.screen().contents()
    }
}

struct Rig {
    backend: ViewSink,
    signals: mpsc::UnboundedReceiver<(ViewId, Signal)>,
    keys: keys::UnboundedSender<io::Result<Input>>,
    sink: Sink,
    task: JoinHandle<io::Result<Exit>>,
}

impl Rig {
    fn new() -> Self {
        let (tx, signals) = mpsc::unbounded_channel();
        let (mut host, backend) = pair(ViewId(1), tx);
        let (keys, inputs) = keys::unbounded();
        let sink = Sink::default();
        let screen = Screen::new(sink.clone(), TerminalKind::Full, 80, 24);
        let mut app = App::new(options(), now());
        let task = tokio::spawn(async move { drive(&mut host, &mut app, screen, inputs).await });
        Self { backend, signals, keys, sink, task }
    }

    fn push(&self, event: Event) {
        assert_eq!(self.backend.push(event), Pushed::Queued);
    }

    fn attach(&self, rows: Vec<protocol::Body>) {
        let transcript = Box::new(window(rows));
        self.push(Event::Attached { transcript, resynced: false });
    }

    fn key(&self, code: KeyCode, modifiers: KeyModifiers) {
        let input = Input::Key(KeyEvent::new(code, modifiers));
        self.keys.unbounded_send(Ok(input)).unwrap();
    }

    async fn shows(&self, text: &str) {
        let shown = async {
            while !self.sink.screen().contains(text) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let limit = tokio::time::timeout(Duration::from_secs(20), shown).await;
        assert!(limit.is_ok(), "{text} is not on the screen:\n{}", self.sink.screen());
    }

    async fn command(&mut self) -> Command {
        match self.signals.recv().await {
            Some((_, Signal::Command(command))) => command,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_prompt_goes_out_and_its_answer_appears() {
    let mut rig = Rig::new();
    rig.shows("hermes-tui 0.1.0").await;
    rig.attach(vec![]);
    for c in "hi".chars() {
        rig.key(KeyCode::Char(c), KeyModifiers::NONE);
    }
    rig.key(KeyCode::Enter, KeyModifiers::NONE);
    let Command::Prompt { text, .. } = rig.command().await else { panic!("a prompt") };
    assert_eq!(text, "hi");
    rig.push(started());
    rig.push(Event::RowAdded { row: row(1, user("hi")) });
    rig.push(delta("hello **there**"));
    rig.shows("hello there").await;
    let answer: Row = row(2, says("hello **there**"));
    rig.push(Event::RowAdded { row: answer });
    let turn = protocol::TurnId(1);
    rig.push(Event::TurnEnded { turn, outcome: protocol::Outcome::Done, at: now() });
    rig.shows("src/engine").await;
    rig.key(KeyCode::Char('d'), KeyModifiers::CONTROL);
    assert_eq!(rig.command().await, Command::ListProcesses);
    rig.push(Event::ProcessesListed { processes: vec![] });
    rig.push(Event::SessionsListed { sessions: vec![] });
    let exit = rig.task.await.unwrap().unwrap();
    assert_eq!(exit.session.map(|id| id.0), Some("20260101_120000_abcdef".into()));
    assert_eq!(exit.unsent, [""; 0]);
    assert!(!exit.host_stopped);
    assert_eq!(exit.draw_stats.frames as usize, rig.sink.writes(), "one write a frame");
}

#[tokio::test]
async fn an_idle_screen_is_left_alone() {
    let rig = Rig::new();
    rig.attach(vec![user("go"), says("done")]);
    rig.shows("done").await;
    let writes = rig.sink.writes();
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(rig.sink.writes(), writes);
}

#[tokio::test]
async fn what_was_typed_is_handed_back_when_the_host_stops() {
    let Rig { backend, keys, sink, task, .. } = {
        let rig = Rig::new();
        for c in "draft".chars() {
            rig.key(KeyCode::Char(c), KeyModifiers::NONE);
        }
        rig.shows("draft").await;
        rig
    };
    drop(backend);
    let exit = task.await.unwrap().unwrap();
    drop((keys, sink));
    assert!(exit.host_stopped);
    assert_eq!(exit.unsent, ["draft"]);
    assert_eq!(exit.session, None);
}

#[tokio::test]
async fn a_burst_is_drawn_in_few_frames() {
    let rig = Rig::new();
    rig.attach(vec![user("go")]);
    rig.shows("❯ go").await;
    let before = rig.sink.writes();
    rig.push(started());
    for i in 0..4_000 {
        rig.push(delta(&format!("Line {i} of the burst, some fifty characters.\n\n")));
    }
    rig.shows("Line 3999").await;
    assert!(rig.sink.writes() - before < 100, "{}", rig.sink.writes() - before);
}

// S05
#[tokio::test]
async fn a_file_is_read_and_handed_over_and_an_export_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("notes.md"), [0, 159, 255]).unwrap();
    let mut rig = Rig::new();
    rig.attach(vec![]);
    let line = |text: &str| {
        for c in text.chars() {
            rig.key(KeyCode::Char(c), KeyModifiers::NONE);
        }
        rig.key(KeyCode::Enter, KeyModifiers::NONE);
    };
    line(&format!("/upload {}", path("none.md")));
    rig.shows("no such file or directory").await;
    line(&format!("/upload {}", path("notes.md")));
    line(&format!("/export {}", path("session.md")));
    let upload = Command::Upload { name: "notes.md".into(), data: Data(vec![0, 159, 255]) };
    assert_eq!(rig.command().await, upload);
    assert_eq!(rig.command().await, Command::Export);
    rig.shows("[uploading notes.md …]").await;
    rig.push(Event::Exported { name: "x.md".into(), text: "# Pump".into() });
    rig.shows("saved as").await;
    assert_eq!(std::fs::read_to_string(path("session.md")).unwrap(), "# Pump");
}

/// Input like the terminal's: it wakes the first waker it was polled with, and no other.
#[derive(Clone, Default)]
struct FirstWaker(Arc<Mutex<(Vec<Input>, Option<std::task::Waker>)>>);

impl Stream for FirstWaker {
    type Item = io::Result<Input>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Self::Item>> {
        let mut state = self.0.lock().unwrap();
        if let Some(input) = state.0.pop() {
            return Poll::Ready(Some(Ok(input)));
        }
        state.1.get_or_insert_with(|| cx.waker().clone());
        Poll::Pending
    }
}

#[tokio::test]
async fn a_source_that_keeps_only_its_first_waker_is_polled() {
    let (tx, _signals) = mpsc::unbounded_channel();
    let (mut host, _backend) = pair(ViewId(1), tx);
    let source = FirstWaker::default();
    let screen = Screen::new(Sink::default(), TerminalKind::Full, 80, 24);
    let (mut app, inputs) = (App::new(options(), now()), source.clone());
    let task = tokio::spawn(async move { drive(&mut host, &mut app, screen, inputs).await });
    while source.0.lock().unwrap().1.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let key = Input::Key(KeyEvent::new(KeyCode::Char('d'), KeyModifiers::CONTROL));
    source.0.lock().unwrap().0.push(key);
    let waker = source.0.lock().unwrap().1.clone();
    waker.unwrap().wake();
    let end = tokio::time::timeout(Duration::from_secs(20), task).await;
    assert!(end.is_ok(), "the key was not heard");
}

#[tokio::test]
async fn the_end_of_input_ends_the_interface() {
    let Rig { keys, task, .. } = Rig::new();
    drop(keys);
    assert!(task.await.unwrap().is_ok());
}
