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
use crate::quit::Leaving;
use crate::term::{Drawn, Kind, Screen, enter, leave};

/// Time between frames that no key asked for.
const FRAME: Duration = Duration::from_millis(16);

/// Events taken before a frame is drawn at the latest.
const BATCH: usize = 20_000;

/// What is left when the interface ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// The session in view, if it has rows: what to resume.
    pub session: Option<SessionId>,
    /// What the user wrote and nobody has taken; of a host elsewhere [`host::remote`] knows more.
    pub unsent: Vec<String>,
    /// What was written to the terminal.
    pub drawn: Drawn,
    /// The host stopped by itself.
    pub host_stopped: bool,
    /// What is to become of what runs.
    pub leaving: Leaving,
}

/// The interface: what it shows and what was typed outlive a [`Interface::run`], so that it can be
/// suspended, or go on with another host.
pub struct Interface {
    app: App,
    kind: Kind,
    inputs: Option<UnboundedReceiver<io::Result<Input>>>,
}

impl Interface {
    /// Shows nothing yet.
    pub fn new(options: Options) -> Self {
        let kind = Kind::of(&options.term);
        Self { app: App::new(options, now()), kind, inputs: None }
    }

    /// Takes the terminal, and gives it back when the user leaves or suspends, when the host stops
    /// or when this is dropped. A host that is not the one of the run before is to begin with a
    /// fresh window.
    pub async fn run(&mut self, host: &mut View) -> io::Result<Exit> {
        let terminal = Terminal::enter(self.kind)?;
        let (width, height) = crossterm::terminal::size().unwrap_or((80, 24));
        let screen = Screen::new(io::stdout(), self.kind, width, height);
        let inputs = self.inputs.get_or_insert_with(inputs);
        let inputs = futures::stream::poll_fn(|cx| inputs.poll_recv(cx));
        let exit = drive(host, &mut self.app, screen, inputs).await;
        drop(terminal);
        exit
    }

    /// The session in view, if it has rows: what to resume.
    pub fn session(&self) -> Option<SessionId> {
        self.app.stored_session().cloned()
    }

    /// What of the session in view goes on when nobody looks, in a sentence, where the host is
    /// another process.
    pub fn goes_on(&self) -> Option<String> {
        self.app.goes_on()
    }

    /// What was being written: see [`Options::drafts`].
    pub fn drafts(&self) -> BTreeMap<String, String> {
        self.app.drafts()
    }

    /// See [`Options::attached`].
    pub fn set_attached(&mut self, attached: bool) {
        self.app.set_attached(attached);
    }

    /// Shows a line until the next prompt.
    pub fn note(&mut self, text: String) {
        self.app.tell(Notice::Info(text));
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interface").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Runs the interface once.
pub async fn run(mut host: View, options: Options) -> io::Result<Exit> {
    Interface::new(options).run(&mut host).await
}

/// What the terminal sends, read by a thread that waits for it. The thread ends with the program:
/// nothing can wake it from its wait.
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

/// The terminal while it is ours. Dropping it gives it back; so does a panic, before its message.
struct Terminal {
    kind: Kind,
    hook: Arc<PanicHook>,
}

impl Terminal {
    fn enter(kind: Kind) -> io::Result<Self> {
        let hook = Arc::new(std::panic::take_hook());
        let inner = hook.clone();
        let ours = std::thread::current().id();
        std::panic::set_hook(Box::new(move |info| {
            // A task of the host that breaks elsewhere is its own affair: the interface goes on.
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
    host: &mut View,
    app: &mut App,
    screen: Screen<W>,
    mut inputs: S,
) -> io::Result<Exit>
where
    W: Write,
    S: Stream<Item = io::Result<Input>> + Unpin,
{
    let (changed, next_frame, done) = (Changed::AtOnce, Instant::now(), None);
    let mut front = Front { app, screen, changed, next_frame, done };
    let mut host_stopped = false;
    while front.done.is_none() {
        for _ in 0..BATCH {
            let Some(event) = host.try_next() else { break };
            front.on_event(&event, host);
        }
        while front.done.is_none()
            && let Poll::Ready(input) = peek(&mut inputs).await
        {
            front.on_input(input.transpose()?, host);
        }
        front.draw_if_due(host)?;
        if front.done.is_some() {
            break;
        }
        let (frame, tick) = front.wakes();
        let wake = frame.into_iter().chain(tick).min();
        tokio::select! {
            input = inputs.next() => front.on_input(input.transpose()?, host),
            event = host.next() => if let Some(event) = event {
                front.on_event(&event, host);
            } else {
                host_stopped = true;
                front.done = Some(Leaving::Plain);
            },
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                if tick.is_some_and(|at| at <= Instant::now()) {
                    front.on_tick(host);
                }
            }
        }
    }
    Ok(Exit {
        session: front.app.stored_session().cloned(),
        unsent: front.app.unsent_here(),
        drawn: front.screen.drawn(),
        host_stopped,
        leaving: front.done.unwrap_or_default(),
    })
}

/// What waits already. It is polled as this task, so that a stream which keeps the waker it is
/// given wakes this task.
async fn peek<S: Stream + Unpin>(inputs: &mut S) -> Poll<Option<S::Item>> {
    poll_fn(|cx| Poll::Ready(inputs.poll_next_unpin(cx))).await
}

/// Whether the screen is to be drawn again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Changed {
    /// Nothing has changed.
    No,
    /// With the next frame.
    Soon,
    /// Now: somebody pressed a key or opened a session.
    AtOnce,
}

/// The state, the screen, and when it is drawn.
struct Front<'a, W> {
    app: &'a mut App,
    screen: Screen<W>,
    changed: Changed,
    next_frame: Instant,
    done: Option<Leaving>,
}

impl<W: Write> Front<'_, W> {
    fn on_event(&mut self, event: &Event, host: &View) {
        let effects = self.app.on_event(event, now());
        self.apply(effects, host);
        self.change(match event {
            // Somebody waits for the session to show.
            Event::Attached { .. } => Changed::AtOnce,
            _ => Changed::Soon,
        });
    }

    /// A key, a paste, the mouse, a new size; `None` = the terminal is gone.
    fn on_input(&mut self, input: Option<Input>, host: &View) {
        let Some(input) = input else {
            self.done = Some(Leaving::Plain);
            return;
        };
        self.change(match input {
            Input::Key(_) => Changed::AtOnce,
            _ => Changed::Soon,
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
        self.apply(effects, host);
    }

    fn on_tick(&mut self, host: &View) {
        let effects = self.app.on_tick(now());
        self.apply(effects, host);
        self.change(Changed::Soon);
    }

    fn change(&mut self, changed: Changed) {
        if self.changed != Changed::AtOnce {
            self.changed = changed;
        }
    }

    fn apply(&mut self, effects: Vec<Effect>, host: &View) {
        for effect in effects {
            match effect {
                Effect::Send(command) => host.send(command),
                Effect::Upload { path } => match files::read(&path, self.app.home()) {
                    Ok((name, data)) => host.send(Command::Upload { name, data: Data(data) }),
                    Err(why) => self.app.on_unread(&path, &why),
                },
                Effect::Save { path, name, text } => {
                    let saved = files::save(&path, &name, &text, self.app.home());
                    self.app.on_saved(saved);
                }
                Effect::Repaint => self.screen.repaint(),
                Effect::Quit(leaving) => self.done = Some(leaving),
            }
        }
    }

    fn draw_if_due(&mut self, host: &View) -> io::Result<()> {
        let begun = Instant::now();
        let due = match self.changed {
            Changed::No => false,
            Changed::Soon => begun >= self.next_frame,
            Changed::AtOnce => true,
        };
        if !due || self.done.is_some() {
            return Ok(());
        }
        self.changed = Changed::No;
        self.screen.draw(|buffer| draw(self.app, buffer))?;
        // A frame that is dear to draw is drawn less often.
        self.next_frame = begun + FRAME.max(begun.elapsed() * 3);
        let effects = self.app.on_drawn();
        self.apply(effects, host);
        Ok(())
    }

    /// When the next frame is due, and when something changes by itself.
    fn wakes(&self) -> (Option<Instant>, Option<Instant>) {
        let frame = (self.changed != Changed::No).then_some(self.next_frame);
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
