//! The screen as a function of the state: who gets how many lines, and what they say.

use protocol::Link;
use ratatui::buffer::Buffer;
use ratatui::layout::Position;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::app::pending_prompts::Delay;
use crate::app::{App, Panel};
use crate::card::{Sight, boxed};
use crate::clean::{self, clean, one_line};
use crate::composer::Composer;
use crate::numbers::bytes;
use crate::processes::Scene;
use crate::quit::Left;
use crate::term::Frame;
use crate::theme::Theme;
use crate::transcript::wrap::{Break, columns, fit, text};
use crate::{goal, help, slash, status};

/// Lines of the menu of commands.
const MENU: usize = 7;

/// Lines of a panel from which on a card leaves some of it in view,
const ROOMY: usize = 16;

/// and how many.
const LIST: usize = 5;

/// Lines of the reason why wakeups are held.
const HELD: usize = 2;

/// Lines of a notice.
const NOTICE: usize = 6;

/// Bytes of a waiting prompt that are looked at.
const LOOKED_AT: usize = 2_000;

/// Columns of the name of a file.
const NAME: usize = 32;

/// What is drawn below the transcript, from the top down.
struct Plan {
    above: Vec<Line<'static>>,
    rule: bool,
    input: Vec<Line<'static>>,
    caret: Option<(usize, usize)>,
    status: Option<Line<'static>>,
    body: usize,
}

/// Draws the whole screen.
pub(crate) fn draw(app: &mut App, buffer: &mut Buffer) -> Frame {
    let area = buffer.area;
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    app.composer.set_width(width.saturating_sub(2));
    let plan = plan(app, width, height);
    app.with_view(|view, scene| view.arrange(scene, width, plan.body));
    paint(app, &plan, buffer)
}

fn plan(app: &mut App, width: usize, height: usize) -> Plan {
    let status = (height >= 2).then(|| status::line(app, width));
    let mut room = height - usize::from(status.is_some());
    let rule = height >= 8;
    room -= usize::from(rule);
    let hidden = app.panel.is_some();
    if hidden {
        let most = (height / 3).max(1).min(room);
        let (input, caret) = match &mut app.panel {
            Some(Panel::Inbox(inbox)) => match inbox.input(width.saturating_sub(2)) {
                Some(answer) => input(answer, &app.theme, width, most),
                None => (Vec::new(), None),
            },
            Some(_) | None => (Vec::new(), None),
        };
        let all = room + usize::from(rule) - input.len();
        // A panel hides all but what must be answered, and why something was refused.
        let list = if all >= ROOMY { LIST } else { 1 };
        let mut above = card(app, width, all.saturating_sub(list));
        if above.is_empty() {
            above = said(app, width);
            above.truncate(all / 3);
        }
        let body = all - above.len();
        return Plan { above, rule: false, input, caret, body, status };
    }
    let most = (height / 3).max(1).min(room);
    let (input, caret) = input(&app.composer, &app.theme, width, most);
    room = room.saturating_sub(input.len());
    // The transcript keeps a line as long as there is one to spare.
    let mut free = room.saturating_sub(usize::from(room > 3));
    let card = card(app, width, free);
    free = free.saturating_sub(card.len());
    let mut above = strip(app, width, free.min(6));
    free = free.saturating_sub(above.len());
    above.extend(card);
    above.extend(menu(app, width, free.min(MENU)));
    above.truncate(room);
    let body = room - above.len();
    Plan { above, rule, input, caret, status, body }
}

/// The question in view, or the one before quitting.
fn card(app: &mut App, width: usize, height: usize) -> Vec<Line<'static>> {
    let now = app.now();
    let mut lines = if let Some(quit) = app.leaving.as_ref().filter(|quit| quit.is_open()) {
        quit.lines(Left::of(&app.transcript, quit), width, &app.theme)
    } else if let Some(confirm) = &app.confirm {
        confirm.lines(app.now(), width, &app.theme)
    } else if let Some(panel) = &mut app.panel {
        let Panel::Inbox(inbox) = panel else { return Vec::new() };
        let Some(lines) = inbox.card(now, (width, height), &app.theme) else { return Vec::new() };
        lines
    } else if let Some(question) = app.question().cloned() {
        let total = app.transcript.questions.len();
        let (keys, now, size) = (app.card_keys(), app.now(), (width, height));
        let sight = Sight { name: None, total, keys, now, size, theme: &app.theme };
        app.card.lines(&question, &sight)
    } else {
        return Vec::new();
    };
    if lines.len() > height {
        // Too small for a box: what is asked and the choices are worth more than its edges.
        lines.pop();
        let excess = lines.len().saturating_sub(height);
        lines.drain(..excess.min(1));
        lines.truncate(height);
    }
    lines
}

/// What was said last, and that the host will not have us, which stays.
fn said(app: &App, width: usize) -> Vec<Line<'static>> {
    let theme = &app.theme;
    let mut lines = Vec::new();
    if let Link::Refused { message } = &app.link {
        lines.extend(marked("✗ ", message, theme.error, width, NOTICE));
    }
    if let Some((mark, message, style)) = app.news().map(|notice| notice.look(theme)) {
        lines.extend(marked(mark, message, style, width, NOTICE));
    }
    lines
}

/// The first lines of a text behind a mark.
fn marked(
    mark: &'static str,
    message: &str,
    style: Style,
    width: usize,
    most: usize,
) -> Vec<Line<'static>> {
    let all = text(&clean(message), style, width.saturating_sub(2), Break::Word);
    let mut lines: Vec<Line<'static>> = all.into_iter().take(most).collect();
    for (i, line) in lines.iter_mut().enumerate() {
        line.spans.insert(0, Span::styled(if i == 0 { mark } else { "  " }, style));
    }
    lines
}

/// What is said, and what waits. If not all of it fits, each gets its part.
fn strip(app: &App, width: usize, height: usize) -> Vec<Line<'static>> {
    let theme = &app.theme;
    let mut lines = said(app, width);
    if let Some(held) = &app.transcript.held {
        let held = one_line(held);
        let way = if held.contains("/wake") { "" } else { " · /wake" };
        let held = format!("wakeups held: {held}{way}");
        lines.extend(marked("⚑ ", &held, theme.warn, width, HELD));
    }
    let waiting = waiting(app, width, height.saturating_sub(lines.len()).max(height.div_ceil(2)));
    lines.truncate(height - waiting.len().min(height));
    lines.extend(waiting);
    lines
}

/// What the agent works on, what waits for it, and what goes along with the next prompt.
fn waiting(app: &App, width: usize, height: usize) -> Vec<Line<'static>> {
    let theme = &app.theme;
    let dim = |text: String| Line::styled(fit(&text, width), theme.dim);
    let mut lines = Vec::new();
    if let Some((goal, waits)) = app.transcript.goal.as_ref().and_then(goal::line) {
        lines.push(Line::styled(fit(&goal, width), if waits { theme.warn } else { theme.accent }));
    }
    let files = files(app, width);
    if let Some(steer) = &app.transcript.steer {
        lines.push(dim(format!("steering: {}", one_line(steer))));
    }
    let queued = app.transcript.queued.iter().map(|queued| (Delay::Queued, queued.text.as_str()));
    let queued: Vec<(Delay, &str)> = queued.chain(app.late()).collect();
    let room = height.saturating_sub(lines.len() + usize::from(files.is_some()));
    let hidden = if queued.len() > room { queued.len() + 1 - room.max(1) } else { 0 };
    if hidden > 0 {
        let what = queued.first().map_or("", |(delay, _)| delay.label());
        lines.push(dim(format!("{what}: {hidden} more")));
    }
    for (delay, text) in queued.iter().skip(hidden) {
        let line =
            fit(&format!("{}: {}", delay.label(), one_line(clean::head(text, LOOKED_AT))), width);
        let style = if *delay == Delay::NotSent { theme.warn } else { theme.dim };
        lines.push(Line::styled(line, style));
    }
    lines.extend(files);
    lines.truncate(height);
    lines
}

/// The files that go along with the next prompt, and those on their way (S05).
fn files(app: &App, width: usize) -> Option<Line<'static>> {
    let theme = &app.theme;
    let name = |name: &str| fit(&one_line(name), width.min(NAME));
    let uploading = app.uploading.iter();
    let uploading = uploading.map(|file| (format!("[uploading {} …]", name(file)), theme.warn));
    let attached = app
        .transcript
        .attachments
        .iter()
        .map(|file| (format!("[{} · {}]", name(&file.name), bytes(file.size)), theme.accent));
    let chips: Vec<(String, Style)> = uploading.chain(attached).collect();
    if chips.is_empty() {
        return None;
    }
    let mut spans: Vec<Span<'static>> = Vec::new();
    let mut used = 0;
    for (at, (chip, style)) in chips.iter().enumerate() {
        let left = chips.len() - at - 1;
        let more = if left > 0 { columns(&format!(" +{left} more")) } else { 0 };
        if at > 0 && used + 1 + columns(chip) + more > width {
            spans.push(Span::styled(fit(&format!("+{} more", left + 1), width), theme.dim));
            break;
        }
        used += 1 + columns(chip);
        spans.push(Span::styled(fit(chip, width), *style));
        spans.push(Span::raw(" "));
    }
    Some(Line::from(spans))
}

/// The commands that complete what is typed.
fn menu(app: &App, width: usize, height: usize) -> Vec<Line<'static>> {
    let entries = slash::completions(app.composer.text());
    let selected = app.completion.min(entries.len().saturating_sub(1));
    // A line of them goes to the word that there are more.
    let cut = entries.len() > height && height > 1;
    let height = height - usize::from(cut);
    let start = (selected + 1).saturating_sub(height.max(1));
    let more = cut.then(|| {
        let text = format!("  {} of {} · ↑↓ shows more", selected + 1, entries.len());
        Line::styled(fit(&text, width), app.theme.dim)
    });
    entries
        .iter()
        .enumerate()
        .skip(start)
        .take(height)
        .map(|(at, entry)| {
            let name = format!("/{} {}", entry.name, entry.args);
            let style = if at == selected { app.theme.selected } else { Style::new() };
            let line = fit(&format!("  {name:<24}{}", entry.help), width);
            Line::styled(line, if at == selected { style } else { app.theme.dim })
        })
        .chain(more)
        .collect()
}

/// The lines of the input that are in view, and the caret in them.
fn input(
    composer: &Composer,
    theme: &Theme,
    width: usize,
    height: usize,
) -> (Vec<Line<'static>>, Option<(usize, usize)>) {
    let layout = composer.layout(width.saturating_sub(2));
    let (x, y) = layout.caret;
    let start = (y + 1).saturating_sub(height);
    let lines = layout
        .lines
        .into_iter()
        .enumerate()
        .skip(start)
        .take(height)
        .map(|(i, line)| {
            let mark = if i == 0 { "❯ " } else { "  " };
            Line::from(vec![Span::styled(mark, theme.accent), Span::styled(line, theme.text)])
        })
        .collect();
    (lines, Some((x + 2, y - start.min(y))))
}

fn paint(app: &App, plan: &Plan, buffer: &mut Buffer) -> Frame {
    let area = buffer.area;
    let mut y = 0;
    let mut put = |buffer: &mut Buffer, line: &Line<'_>| {
        put(buffer, 0, y, line);
        y += 1;
    };
    if let Some(panel) = &app.panel {
        for line in panel_lines(app, panel, usize::from(area.width), plan.body) {
            put(buffer, &line);
        }
    } else {
        for line in app.view.shown() {
            put(buffer, line);
        }
    }
    let mut y = plan.body;
    for line in &plan.above {
        self::put(buffer, 0, y, line);
        y += 1;
    }
    if plan.rule {
        let rule = Line::styled("─".repeat(usize::from(area.width)), app.theme.dim);
        self::put(buffer, 0, y, &rule);
        y += 1;
    }
    let input = y;
    for line in &plan.input {
        self::put(buffer, 0, y, line);
        y += 1;
    }
    if let Some(status) = &plan.status {
        self::put(buffer, 0, usize::from(area.height).saturating_sub(1), status);
    }
    toasts(app, plan, buffer);
    let cursor = plan.caret.map(|(x, y)| {
        let x = x.min(usize::from(area.width).saturating_sub(1));
        let y = (input + y).min(usize::from(area.height).saturating_sub(1));
        Position::new(x as u16, y as u16)
    });
    Frame { scrolls: 0..plan.body as u16, cursor }
}

/// News over the lower right corner of the transcript.
fn toasts(app: &App, plan: &Plan, buffer: &mut Buffer) {
    let width = usize::from(buffer.area.width);
    let asked = app.asking_elsewhere() > 0;
    let lines = app.toasts.lines(&app.transcript.session, asked, width, &app.theme);
    let count = lines.len().min(plan.body);
    for (i, line) in lines.iter().rev().take(count).enumerate() {
        let x = width.saturating_sub(crate::card::line_width(line));
        let y = plan.body - 1 - i;
        put(buffer, x, y, line);
    }
}

fn panel_lines(app: &App, panel: &Panel, width: usize, height: usize) -> Vec<Line<'static>> {
    let theme = &app.theme;
    let (inner, room) = (width.saturating_sub(4), height.saturating_sub(2));
    let (title, mut body) = match panel {
        Panel::Help { up } => {
            let lines = help::lines(inner, theme);
            let skip = (*up).min(lines.len().saturating_sub(room));
            ("Help · ↑↓ · Esc closes".to_owned(), lines.into_iter().skip(skip).collect())
        }
        Panel::Processes(panel) => {
            let transcript = &app.transcript;
            let (own, session) = (&transcript.processes, &transcript.session);
            panel.lines(&Scene { own, session, now: app.now(), theme }, (inner, room))
        }
        Panel::Sessions(sessions) => {
            ("Sessions · Enter opens · Esc".to_owned(), sessions.lines(inner, room, theme))
        }
        Panel::Inbox(inbox) => inbox.lines(&app.inbox(), (inner, room)),
        Panel::Picker(picker) => (picker.title().to_owned(), picker.lines(inner, room, theme)),
    };
    body.truncate(room);
    body.resize(room, Line::default());
    let mut lines = boxed(&title, body, width, theme.accent);
    lines.truncate(height);
    lines
}

/// A line at a place; what does not fit is cut off.
fn put(buffer: &mut Buffer, x: usize, y: usize, line: &Line<'_>) {
    let area = buffer.area;
    if x < usize::from(area.width) && y < usize::from(area.height) {
        buffer.set_line(x as u16, y as u16, line, area.width - x as u16);
    }
}

#[cfg(test)]
mod tests;
