//! The loop: keys and events in, frames out. It owns the terminal, the clock and all waiting.

use std::future::poll_fn;
use std::io::{self, Write};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossterm::event::{Event as Input, EventStream, MouseEventKind};
use futures::{Stream, StreamExt};
use host::Host;
use host::protocol::{Millis, SessionId};
use tokio::time::{Instant, sleep_until};

use crate::app::{App, Effect};
use crate::draw::draw;
use crate::term::{Drawn, Kind, Screen, enter, leave};
use crate::theme::Palette;

/// Time between frames that no key asked for.
const FRAME: Duration = Duration::from_millis(16);

/// Events taken before a frame is drawn at the latest.
const BATCH: usize = 20_000;

/// What the interface is told about where it runs.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Our version, for the banner.
    pub version: String,
    /// The home directory, shown as `~`.
    pub home: Option<String>,
    /// Colours; [`Palette::Plain`] under `NO_COLOR`.
    pub palette: Palette,
    /// The value of `TERM`.
    pub term: String,
}

/// What is left when the interface ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// The session in view, if it has rows: what to resume.
    pub session: Option<SessionId>,
    /// What the user wrote and no host has taken.
    pub unsent: Vec<String>,
    /// What was written to the terminal.
    pub drawn: Drawn,
    /// The host stopped by itself.
    pub host_stopped: bool,
}

/// Runs the interface on the terminal until the user leaves or the host stops.
pub async fn run(host: Host, options: Options) -> io::Result<Exit> {
    let kind = Kind::of(&options.term);
    let terminal = Terminal::enter(kind)?;
    let (width, height) = crossterm::terminal::size().unwrap_or((80, 24));
    let screen = Screen::new(io::stdout(), kind, width, height);
    let exit = drive(host, App::new(options, now()), screen, EventStream::new()).await;
    drop(terminal);
    exit
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
    mut host: Host,
    mut app: App,
    mut screen: Screen<W>,
    mut inputs: S,
) -> io::Result<Exit>
where
    W: Write,
    S: Stream<Item = io::Result<Input>> + Unpin,
{
    let mut host_stopped = false;
    let mut dirty = true;
    let mut at_once = true;
    let mut next_frame = Instant::now();
    'run: loop {
        let mut effects = Vec::new();
        for _ in 0..BATCH {
            let Some(event) = host.try_next() else { break };
            effects.extend(app.on_event(&event, now()));
            dirty = true;
        }
        while let Poll::Ready(input) = peek(&mut inputs).await {
            let Some(input) = input else { break 'run };
            let input = input?;
            dirty = true;
            at_once |= matches!(input, Input::Key(_));
            effects.extend(on_input(&mut app, &mut screen, input));
        }
        if apply(effects, &host, &mut screen) == Going::Out {
            break;
        }
        if dirty && (at_once || Instant::now() >= next_frame) {
            let begun = Instant::now();
            screen.draw(|buffer| draw(&mut app, buffer))?;
            // A frame that is dear to draw is drawn less often.
            next_frame =
                Instant::now() + FRAME.max(begun.elapsed() * 3).saturating_sub(begun.elapsed());
            (dirty, at_once) = (false, false);
            if apply(app.on_drawn(), &host, &mut screen) == Going::Out {
                break;
            }
        }
        let tick = app.next_tick().map(|at| {
            let wait = u64::try_from(at - now()).unwrap_or(0);
            Instant::now() + Duration::from_millis(wait)
        });
        let wake = match (dirty.then_some(next_frame), tick) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        tokio::select! {
            input = inputs.next() => {
                let Some(input) = input else { break };
                let input = input?;
                dirty = true;
                at_once |= matches!(input, Input::Key(_));
                let effects = on_input(&mut app, &mut screen, input);
                if apply(effects, &host, &mut screen) == Going::Out {
                    break;
                }
            }
            event = host.next() => {
                let Some(event) = event else {
                    host_stopped = true;
                    break;
                };
                let effects = app.on_event(&event, now());
                dirty = true;
                if apply(effects, &host, &mut screen) == Going::Out {
                    break;
                }
            }
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                if tick.is_some_and(|at| at <= Instant::now()) {
                    let effects = app.on_tick(now());
                    dirty = true;
                    if apply(effects, &host, &mut screen) == Going::Out {
                        break;
                    }
                }
            }
        }
    }
    let stored = app.transcript.earlier > 0 || !app.transcript.rows.is_empty();
    Ok(Exit {
        session: stored.then(|| app.transcript.session.clone()),
        unsent: app.unsent(),
        drawn: screen.drawn(),
        host_stopped,
    })
}

/// What waits already. It is polled as this task: the terminal's stream keeps the first waker it
/// meets, and one that wakes nobody would silence it for good.
async fn peek<S: Stream + Unpin>(inputs: &mut S) -> Poll<Option<S::Item>> {
    poll_fn(|cx| Poll::Ready(inputs.poll_next_unpin(cx))).await
}

#[derive(PartialEq, Eq)]
enum Going {
    On,
    Out,
}

fn apply<W: Write>(effects: Vec<Effect>, host: &Host, screen: &mut Screen<W>) -> Going {
    for effect in effects {
        match effect {
            Effect::Send(command) => host.send(command),
            Effect::Repaint => screen.repaint(),
            Effect::Quit => return Going::Out,
        }
    }
    Going::On
}

fn on_input<W: Write>(app: &mut App, screen: &mut Screen<W>, input: Input) -> Vec<Effect> {
    match input {
        Input::Key(key) => app.on_key(key, now()),
        Input::Paste(text) => app.on_paste(&text, now()),
        Input::Mouse(mouse) => match mouse.kind {
            MouseEventKind::ScrollUp => app.on_wheel(-1, now()),
            MouseEventKind::ScrollDown => app.on_wheel(1, now()),
            _ => Vec::new(),
        },
        Input::Resize(width, height) => {
            screen.resize(width, height);
            Vec::new()
        }
        Input::FocusGained | Input::FocusLost => Vec::new(),
    }
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}

#[cfg(test)]
mod tests;
