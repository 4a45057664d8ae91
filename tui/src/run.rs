//! The loop: keys and events in, frames out. It owns the terminal, the clock and all waiting.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, Write};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossterm::event::{self, Event as Input, MouseEventKind};
use futures::{Stream, StreamExt};
use protocol::View;
use protocol::{Command, Data, Event, Millis, SessionId};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};

use crate::app::{App, Effect, Notice};
use crate::draw::draw;
use crate::files;
use crate::options::Options;
use crate::quit::ExitMode;
use crate::term::{DrawStats, Screen, TerminalKind, enter, leave};

/// Time between frames that no key requested.
const FRAME: Duration = Duration::from_millis(16);

/// Events handled at most before a frame is drawn.
const BATCH: usize = 20_000;

/// The result of running the interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// The session on the screen, if it has rows: the one to resume.
    pub session: Option<SessionId>,
    /// The texts that no host has accepted. Prompts sent to a remote host are kept by its client.
    pub unsent: Vec<String>,
    /// How much was written to the terminal.
    pub draw_stats: DrawStats,
    /// The host stopped by itself.
    pub host_stopped: bool,
    /// What becomes of the work that still runs.
    pub mode: ExitMode,
}

/// The interface: its state outlives a [`Interface::run`], so that it can be suspended, or continue
/// with another host.
pub struct Interface {
    app: App,
    kind: TerminalKind,
    inputs: Option<UnboundedReceiver<io::Result<Input>>>,
}

impl Interface {
    /// An interface that shows nothing yet.
    pub fn new(options: Options) -> Self {
        let kind = TerminalKind::of(&options.term);
        Self { app: App::new(options, now()), kind, inputs: None }
    }

    /// Takes the terminal, and gives it back when the user leaves or suspends, when the host stops
    /// or when this is dropped. A host other than the one of the run before must begin with a fresh
    /// window.
    pub async fn run(&mut self, view: &mut View) -> io::Result<Exit> {
        let terminal = Terminal::enter(self.kind)?;
        let (width, height) = crossterm::terminal::size().unwrap_or((80, 24));
        let screen = Screen::new(io::stdout(), self.kind, width, height);
        let inputs = self.inputs.get_or_insert_with(inputs);
        let inputs = futures::stream::poll_fn(|cx| inputs.poll_recv(cx));
        let exit = drive(view, &mut self.app, screen, inputs).await;
        drop(terminal);
        exit
    }

    /// The session on the screen, if it has rows: the one to resume.
    pub fn session(&self) -> Option<SessionId> {
        self.app.stored_session().cloned()
    }

    /// One sentence on the work of the session on the screen that keeps running, if the host is
    /// another process.
    pub fn still_running(&self) -> Option<String> {
        self.app.still_running()
    }

    /// The texts in the input: see [`Options::drafts`].
    pub fn drafts(&self) -> BTreeMap<String, String> {
        self.app.drafts()
    }

    /// See [`Options::attached`].
    pub fn set_attached(&mut self, attached: bool) {
        self.app.set_attached(attached);
    }

    /// Shows a notice until the next prompt.
    pub fn note(&mut self, text: String) {
        self.app.notify(Notice::Info(text));
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interface").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Runs the interface once.
pub async fn run(mut view: View, options: Options) -> io::Result<Exit> {
    Interface::new(options).run(&mut view).await
}

/// The input of the terminal, read by a thread. The thread ends with the program: nothing can wake it
/// from its wait.
fn inputs() -> UnboundedReceiver<io::Result<Input>> {
    let (tx, rx) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        loop {
            let input = event::read();
            let over = input.is_err();
            if tx.send(input).is_err() || over {
                return;
            }
        }
    });
    rx
}

type PanicHook = Box<dyn Fn(&std::panic::PanicHookInfo<'_>) + Send + Sync>;

/// The terminal while it is ours. Dropping it restores it; so does a panic, before its message.
struct Terminal {
    kind: TerminalKind,
    hook: Arc<PanicHook>,
}

impl Terminal {
    fn enter(kind: TerminalKind) -> io::Result<Self> {
        let hook = Arc::new(std::panic::take_hook());
        let inner = hook.clone();
        let ours = std::thread::current().id();
        std::panic::set_hook(Box::new(move |info| {
            // A panic in a task of the host does not end the interface.
            if std::thread::current().id() == ours {
                leave(&mut io::stdout(), kind);
            }
            inner(info);
        }));
        let terminal = Self { kind, hook };
        enter(&mut io::stdout(), kind)?;
        Ok(terminal)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // After a panic the hook has done it, and a hook cannot be changed then.
        if !std::thread::panicking() {
            leave(&mut io::stdout(), self.kind);
            let hook = self.hook.clone();
            std::panic::set_hook(Box::new(move |info| hook(info)));
        }
    }
}

/// The loop itself, over any writer and any source of input.
pub(crate) async fn drive<W, S>(
    view: &mut View,
    app: &mut App,
    screen: Screen<W>,
    mut inputs: S,
) -> io::Result<Exit>
where
    W: Write,
    S: Stream<Item = io::Result<Input>> + Unpin,
{
    let (redraw, next_frame, done) = (Redraw::AtOnce, Instant::now(), None);
    let mut driver = Driver { app, screen, redraw, next_frame, done };
    let mut host_stopped = false;
    while driver.done.is_none() {
        for _ in 0..BATCH {
            let Some(event) = view.try_next() else { break };
            driver.on_event(&event, view);
        }
        while driver.done.is_none()
            && let Poll::Ready(input) = peek(&mut inputs).await
        {
            driver.on_input(input.transpose()?, view);
        }
        driver.draw_if_due(view)?;
        if driver.done.is_some() {
            break;
        }
        let (frame, tick) = driver.wakes();
        let wake = frame.into_iter().chain(tick).min();
        tokio::select! {
            input = inputs.next() => driver.on_input(input.transpose()?, view),
            event = view.next() => if let Some(event) = event {
                driver.on_event(&event, view);
            } else {
                host_stopped = true;
                driver.done = Some(ExitMode::Plain);
            },
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                if tick.is_some_and(|at| at <= Instant::now()) {
                    driver.on_tick(view);
                }
            }
        }
    }
    Ok(Exit {
        session: driver.app.stored_session().cloned(),
        unsent: driver.app.unsent_here(),
        draw_stats: driver.screen.stats(),
        host_stopped,
        mode: driver.done.unwrap_or_default(),
    })
}

/// The next item, if it is ready. It is polled as this task, so that a stream which keeps the waker
/// it is given wakes this task.
async fn peek<S: Stream + Unpin>(inputs: &mut S) -> Poll<Option<S::Item>> {
    poll_fn(|cx| Poll::Ready(inputs.poll_next_unpin(cx))).await
}

/// Whether and when the screen is drawn again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Redraw {
    /// Not: nothing has changed.
    No,
    /// With the next frame.
    Soon,
    /// Now: a key was pressed or a session opened.
    AtOnce,
}

/// The state, the screen, and when it is drawn.
struct Driver<'a, W> {
    app: &'a mut App,
    screen: Screen<W>,
    redraw: Redraw,
    next_frame: Instant,
    done: Option<ExitMode>,
}

impl<W: Write> Driver<'_, W> {
    fn on_event(&mut self, event: &Event, view: &View) {
        let effects = self.app.on_event(event, now());
        self.apply(effects, view);
        self.request(match event {
            // The user waits for the session.
            Event::Attached { .. } => Redraw::AtOnce,
            _ => Redraw::Soon,
        });
    }

    /// A key, a paste, the mouse, a new size; `None` = the terminal is gone.
    fn on_input(&mut self, input: Option<Input>, view: &View) {
        let Some(input) = input else {
            self.done = Some(ExitMode::Plain);
            return;
        };
        self.request(match input {
            Input::Key(_) => Redraw::AtOnce,
            _ => Redraw::Soon,
        });
        let app = &mut *self.app;
        let effects = match input {
            Input::Key(key) => app.on_key(key, now()),
            Input::Paste(text) => app.on_paste(&text, now()),
            Input::Mouse(mouse) => match mouse.kind {
                MouseEventKind::ScrollUp => app.on_wheel(-1, now()),
                MouseEventKind::ScrollDown => app.on_wheel(1, now()),
                _ => Vec::new(),
            },
            Input::Resize(width, height) => {
                self.screen.resize(width, height);
                Vec::new()
            }
            Input::FocusGained | Input::FocusLost => Vec::new(),
        };
        self.apply(effects, view);
    }

    fn on_tick(&mut self, view: &View) {
        let effects = self.app.on_tick(now());
        self.apply(effects, view);
        self.request(Redraw::Soon);
    }

    fn request(&mut self, redraw: Redraw) {
        if self.redraw != Redraw::AtOnce {
            self.redraw = redraw;
        }
    }

    fn apply(&mut self, effects: Vec<Effect>, view: &View) {
        for effect in effects {
            match effect {
                Effect::Send(command) => view.send(command),
                Effect::Upload { path } => match files::read(&path, self.app.home()) {
                    Ok((name, data)) => view.send(Command::Upload { name, data: Data(data) }),
                    Err(why) => self.app.on_unread(&path, &why),
                },
                Effect::Save { path, name, text } => {
                    let saved = files::save(&path, &name, &text, self.app.home());
                    self.app.on_saved(saved);
                }
                Effect::Repaint => self.screen.repaint(),
                Effect::Quit(mode) => self.done = Some(mode),
            }
        }
    }

    fn draw_if_due(&mut self, view: &View) -> io::Result<()> {
        let started = Instant::now();
        let due = match self.redraw {
            Redraw::No => false,
            Redraw::Soon => started >= self.next_frame,
            Redraw::AtOnce => true,
        };
        if !due || self.done.is_some() {
            return Ok(());
        }
        self.redraw = Redraw::No;
        self.screen.draw(|buffer| draw(self.app, buffer))?;
        // A frame that is expensive to draw is drawn less often.
        self.next_frame = started + FRAME.max(started.elapsed() * 3);
        let effects = self.app.on_drawn();
        self.apply(effects, view);
        Ok(())
    }

    /// When the next frame is due, and when something changes by itself.
    fn wakes(&self) -> (Option<Instant>, Option<Instant>) {
        let frame = (self.redraw != Redraw::No).then_some(self.next_frame);
        let tick = self.app.next_tick().map(|at| {
            let wait = u64::try_from(at.saturating_sub(now())).unwrap_or(0);
            Instant::now() + Duration::from_millis(wait)
        });
        (frame, tick)
    }
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}

#[cfg(test)]
mod tests;
