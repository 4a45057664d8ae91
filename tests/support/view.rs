//! A front end without a screen: the events of a view and the transcript they make.

use host::embedded::{self, Attendance, EmbeddedHost, Role};
use host::settings::Settings;
use protocol::View;
use protocol::{
    Body, Command, Delivery, Event, Exit, Outcome, Process, PromptId, Row, SessionId, Target,
    Transcript, TurnId, Wakeup,
};

/// A host in this process.
pub(crate) fn start(settings: Settings) -> EmbeddedHost {
    embedded::start(settings, Role::Owner).unwrap()
}

/// See the module.
pub(crate) struct TestView {
    host: View,
    pub(crate) transcript: Transcript,
    pub(crate) events: Vec<Event>,
}

impl TestView {
    /// A view on a new session.
    pub(crate) async fn new(local: &EmbeddedHost) -> Self {
        Self::attach(local, Target::New).await
    }

    pub(crate) async fn attach(local: &EmbeddedHost, target: Target) -> Self {
        Self::over(local.attach(target, Attendance::Attended)).await
    }

    /// A view over a host of any kind, once its window is there.
    pub(crate) async fn over(host: View) -> Self {
        let mut view = Self { host, transcript: Transcript::default(), events: Vec::new() };
        let window = |event: &Event| matches!(event, Event::Attached { .. });
        view.until("its window", |v| v.events.iter().any(window).then_some(())).await;
        view
    }

    pub(crate) fn session(&self) -> SessionId {
        self.transcript.session.clone()
    }

    pub(crate) fn send(&self, command: Command) {
        self.host.send(command);
    }

    pub(crate) fn prompt(&self, text: &str) {
        self.send(Command::Prompt { id: PromptId::fresh(), text: text.to_owned() });
    }

    /// Takes what has come.
    pub(crate) fn drain(&mut self) {
        while let Some(event) = self.host.try_next() {
            self.take(event);
        }
    }

    fn take(&mut self, event: Event) {
        self.transcript.apply(&event);
        self.events.push(event);
    }

    /// Takes events until there is something.
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&Self) -> Option<T>,
    ) -> T {
        let waiting = async {
            loop {
                self.drain();
                if let Some(found) = look(self) {
                    return found;
                }
                match self.host.next().await {
                    Some(event) => self.take(event),
                    None => panic!("the host ended before {what}"),
                }
            }
        };
        let found = tokio::time::timeout(super::LONG, waiting).await.ok();
        found.unwrap_or_else(|| panic!("waited in vain for {what}: {:#?}", self.transcript))
    }

    /// How that turn ended, once it has.
    pub(crate) async fn turn(&mut self, n: u64) -> Outcome {
        self.until(&format!("the end of turn {n}"), |v| {
            v.events.iter().find_map(|event| match event {
                Event::TurnEnded { turn, outcome, .. } if *turn == TurnId(n) => {
                    Some(outcome.clone())
                }
                _ => None,
            })
        })
        .await
    }

    /// Asks, and waits for the end of that turn; `n` is the number it must have.
    pub(crate) async fn ask(&mut self, n: u64, text: &str) {
        self.prompt(text);
        assert_eq!(self.turn(n).await, Outcome::Done, "{:#?}", self.transcript.rows);
    }

    /// What happens in the next moments, where nothing should.
    pub(crate) async fn quiet(&mut self) {
        tokio::time::sleep(super::QUIET).await;
        self.drain();
    }

    /// The numbers of the turns that began in view.
    pub(crate) fn turns(&self) -> Vec<u64> {
        let begun = self.events.iter().filter_map(|event| match event {
            Event::TurnStarted { turn, .. } => Some(turn.0),
            _ => None,
        });
        begun.collect()
    }

    /// The process that was started last.
    pub(crate) fn process(&self) -> Process {
        self.transcript.processes.last().expect("a process").clone()
    }

    /// Waits until the completion of the last process has that state.
    pub(crate) async fn delivery(&mut self, wanted: Delivery) {
        self.until(&format!("a completion that is {wanted:?}"), |v| {
            v.transcript.processes.last().filter(|p| p.delivery == wanted).map(|_| ())
        })
        .await;
    }

    /// The results of tools, as the model got them.
    pub(crate) fn results(&self) -> Vec<serde_json::Value> {
        let results = self.transcript.rows.iter().filter_map(|row| match &row.body {
            Body::Tool(result) => {
                let text = result.text.split("\n\n[The user says").next().unwrap_or_default();
                Some(serde_json::from_str(text).unwrap())
            }
            _ => None,
        });
        results.collect()
    }

    /// The number of toasts seen.
    pub(crate) fn toasts(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Toast(_))).count()
    }
}

/// What the agent was told of the background, in order.
pub(crate) fn wakeups(rows: &[Row]) -> Vec<Wakeup> {
    let told = rows.iter().filter_map(|row| match &row.body {
        Body::Wakeup(wakeup) => Some(wakeup.clone()),
        _ => None,
    });
    told.collect()
}

/// How the process of a wakeup ended.
pub(crate) fn exit_of(wakeup: &Wakeup) -> Exit {
    wakeup.exit.clone().expect("an exit")
}
