//! The terminal: entering and leaving it, and writing only what changed.
//!
//! Two buffers and a scroll region: when the transcript moves by some lines the terminal moves
//! what it has, and only the new lines are written. A frame is one write inside a synchronized
//! update. Nothing here queries the terminal.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::ops::Range;

use crossterm::{cursor, event, execute, queue, terminal};
use ratatui::backend::{Backend, ClearType, CrosstermBackend};
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::{Position, Rect};
use unicode_width::UnicodeWidthStr;

/// Buttons and the wheel, in the SGR encoding; not the moves, which would wake us for nothing.
const MOUSE_ON: &[u8] = b"\x1b[?1000h\x1b[?1006h";
const MOUSE_OFF: &[u8] = b"\x1b[?1006l\x1b[?1000l";

/// How much was written to the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrawStats {
    /// Frames that changed something.
    pub frames: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// The properties of a frame besides its cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The rows that may move as a whole.
    pub(crate) scrolls: Range<u16>,
    /// Where the caret stands, if it shows.
    pub(crate) cursor: Option<Position>,
}

/// The features a terminal is expected to have, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TerminalKind {
    /// All of it.
    Full,
    /// No scroll regions, no key protocol.
    Basic,
}

impl TerminalKind {
    /// By the value of `TERM`.
    pub(crate) fn of(term: &str) -> Self {
        match term {
            "" | "dumb" | "linux" | "unknown" | "vt52" => Self::Basic,
            _ => Self::Full,
        }
    }
}

/// Takes over the terminal.
pub(crate) fn enter(out: &mut impl Write, kind: TerminalKind) -> io::Result<()> {
    terminal::enable_raw_mode()?;
    // Text that the terminal takes to be wider than we do must not wrap into the next row.
    execute!(
        out,
        terminal::EnterAlternateScreen,
        terminal::DisableLineWrap,
        event::EnableBracketedPaste
    )?;
    out.write_all(MOUSE_ON)?;
    if kind == TerminalKind::Full {
        // Distinguishes Shift+Enter from Enter in terminals with the protocol; others ignore it.
        let flags = event::KeyboardEnhancementFlags::DISAMBIGUATE_ESCAPE_CODES;
        execute!(out, event::PushKeyboardEnhancementFlags(flags))?;
    }
    out.flush()
}

/// Restores the terminal. Errors are ignored: nobody could see them.
pub(crate) fn leave(out: &mut impl Write, kind: TerminalKind) {
    if kind == TerminalKind::Full {
        execute!(out, event::PopKeyboardEnhancementFlags).ok();
    }
    out.write_all(MOUSE_OFF).ok();
    execute!(
        out,
        event::DisableBracketedPaste,
        terminal::EnableLineWrap,
        cursor::Show,
        terminal::LeaveAlternateScreen
    )
    .ok();
    terminal::disable_raw_mode().ok();
}

/// The screen as it is shown, and the next frame.
#[derive(Debug)]
pub(crate) struct Screen<W> {
    out: W,
    kind: TerminalKind,
    shown: Buffer,
    next: Buffer,
    cursor: Option<Position>,
    fresh: bool,
    bytes: Vec<u8>,
    stats: DrawStats,
}

impl<W: Write> Screen<W> {
    pub(crate) fn new(out: W, kind: TerminalKind, width: u16, height: u16) -> Self {
        let buffer = Buffer::empty(Rect::new(0, 0, width, height));
        Self {
            out,
            kind,
            shown: buffer.clone(),
            next: buffer,
            cursor: None,
            fresh: true,
            bytes: Vec::new(),
            stats: DrawStats::default(),
        }
    }

    pub(crate) fn stats(&self) -> DrawStats {
        self.stats
    }

    /// The terminal has another size now.
    pub(crate) fn resize(&mut self, width: u16, height: u16) {
        let area = Rect::new(0, 0, width, height);
        if self.next.area != area {
            self.next = Buffer::empty(area);
            self.repaint();
        }
    }

    /// Redraws everything with the next frame.
    pub(crate) fn repaint(&mut self) {
        self.fresh = true;
    }

    /// Draws a frame: `draw` fills the empty buffer. A frame that changes nothing writes nothing.
    pub(crate) fn draw(&mut self, draw: impl FnOnce(&mut Buffer) -> Frame) -> io::Result<()> {
        self.next.reset();
        let frame = draw(&mut self.next);
        self.bytes.clear();
        let mut backend = CrosstermBackend::new(&mut self.bytes);
        if self.fresh {
            self.shown = Buffer::empty(self.next.area);
            backend.clear_region(ClearType::All)?;
        } else if self.kind == TerminalKind::Full {
            let by = shift(&self.shown, &self.next, &frame.scrolls);
            if by > 0 {
                backend.scroll_region_up(frame.scrolls.clone(), by.unsigned_abs())?;
            } else if by < 0 {
                backend.scroll_region_down(frame.scrolls.clone(), by.unsigned_abs())?;
            }
            moved(&mut self.shown, &frame.scrolls, by);
        }
        let changes = self.shown.diff(&self.next);
        let (disputed, plain): (Vec<_>, Vec<_>) = changes.into_iter().partition(|(_, y, _)| {
            is_row_disputed(&self.shown, *y) || is_row_disputed(&self.next, *y)
        });
        let plain = bridged(plain, &self.next);
        if !plain.is_empty() {
            backend.draw(plain.into_iter())?;
        }
        let mut rows: Vec<u16> = disputed.iter().map(|(_, y, _)| *y).collect();
        rows.dedup();
        for y in rows {
            redraw(&mut backend, &self.next, y)?;
        }
        if self.bytes.is_empty() && frame.cursor == self.cursor {
            return Ok(());
        }
        let mut whole = Vec::with_capacity(self.bytes.len() + 64);
        queue!(whole, terminal::BeginSynchronizedUpdate)?;
        if self.cursor.is_some() || self.fresh {
            queue!(whole, cursor::Hide)?;
        }
        whole.extend_from_slice(&self.bytes);
        if let Some(Position { x, y }) = frame.cursor {
            queue!(whole, cursor::MoveTo(x, y), cursor::Show)?;
        }
        queue!(whole, terminal::EndSynchronizedUpdate)?;
        self.out.write_all(&whole)?;
        self.out.flush()?;
        self.stats.frames += 1;
        self.stats.bytes += whole.len() as u64;
        self.cursor = frame.cursor;
        self.fresh = false;
        std::mem::swap(&mut self.shown, &mut self.next);
        Ok(())
    }
}

/// Rewrites a row so that every terminal shows the same: the row is erased first, and after a
/// character of disputed width the cursor is positioned.
fn redraw<B: Backend>(backend: &mut B, next: &Buffer, y: u16) -> Result<(), B::Error> {
    backend.set_cursor_position(Position { x: 0, y })?;
    backend.clear_region(ClearType::CurrentLine)?;
    let mut run: Vec<(u16, u16, &Cell)> = Vec::new();
    let mut hidden = 0;
    for (x, cell) in (0..).zip(cells(next, y)) {
        if hidden > 0 {
            // The second half of a wide character.
            hidden -= 1;
            continue;
        }
        hidden = cell.symbol().width().saturating_sub(1);
        run.push((x, y, cell));
        if is_disputed(cell.symbol()) {
            backend.draw(run.drain(..))?;
        }
    }
    let blank = |cell: &Cell| *cell == Cell::default();
    let end = run.iter().rposition(|(_, _, cell)| !blank(cell)).map_or(0, |last| last + 1);
    run.truncate(end);
    if run.is_empty() { Ok(()) } else { backend.draw(run.into_iter()) }
}

fn is_row_disputed(buffer: &Buffer, y: u16) -> bool {
    cells(buffer, y).iter().any(|cell| is_disputed(cell.symbol()))
}

/// Whether terminals disagree on how many columns this takes: emoji and their modifiers, marks,
/// joined characters, what newer versions of Unicode have added. Most of text is beyond dispute.
fn is_disputed(symbol: &str) -> bool {
    let mut chars = symbol.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => !matches!(c,
            ' '..='~' | '\u{a0}'..='\u{ac}' | '\u{ae}'..='\u{2ff}' | '\u{391}'..='\u{3a1}'
            | '\u{3a3}'..='\u{3ff}' | '\u{400}'..='\u{482}' | '\u{48a}'..='\u{52f}'
            | '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205e}' | '\u{20a0}'..='\u{20bf}'
            | '\u{2190}'..='\u{2319}' | '\u{2460}'..='\u{25fc}' | '⚑' | '⚙' | '✓' | '✗' | '❯'
            | '\u{3001}'..='\u{3029}' | '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30ff}'
            | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{ff01}'..='\u{ff60}'
            | '\u{fffd}'),
        (None, _) => false,
        (Some(_), Some(_)) => true,
    }
}

/// The changes, with the few blanks between two of them: they cost less than moving the cursor.
fn bridged<'a>(changes: Vec<(u16, u16, &'a Cell)>, next: &'a Buffer) -> Vec<(u16, u16, &'a Cell)> {
    /// Columns; a move takes up to eight bytes.
    const GAP: u16 = 7;
    let mut all: Vec<(u16, u16, &'a Cell)> = Vec::with_capacity(changes.len());
    for change in changes {
        if let Some((x, y, last)) = all.last().copied()
            && y == change.1
            && change.0 > x + 1
            && change.0 - x <= GAP + 1
            && last.symbol().is_ascii()
        {
            let gap = (x + 1..change.0).filter_map(|x| Some((x, y, next.cell((x, y))?)));
            if gap.clone().all(|(_, _, cell)| cell.symbol() == " " && same_style(cell, last)) {
                all.extend(gap);
            }
        }
        all.push(change);
    }
    all
}

fn same_style(a: &Cell, b: &Cell) -> bool {
    (a.fg, a.bg, a.modifier) == (b.fg, b.bg, b.modifier)
}

/// By how many lines to scroll `rows` of the old screen up (negative: down) so that it is most like
/// the new one; 0 when that saves nothing.
fn shift(old: &Buffer, new: &Buffer, rows: &Range<u16>) -> i16 {
    /// Cells that must be saved, since moving costs bytes too.
    const WORTH: usize = 12;
    if old.area != new.area || rows.len() < 2 {
        return 0;
    }
    let changed = rows.clone().filter(|y| cells(old, *y) != cells(new, *y)).count();
    if changed < 3 {
        return 0;
    }
    let before: Vec<(u64, usize)> = rows.clone().map(|y| row_hash(old, y)).collect();
    let after: Vec<(u64, usize)> = rows.clone().map(|y| row_hash(new, y)).collect();
    let height = before.len() as i16;
    // What need not be written: inked cells of rows that already stand where they belong.
    let kept = |by: i16| -> usize {
        after
            .iter()
            .enumerate()
            .filter_map(|(y, row)| {
                let from = usize::try_from(y as i16 + by).ok()?;
                (before.get(from)? == row).then_some(row.1)
            })
            .sum()
    };
    let still = kept(0);
    let candidates = (1 - height..height).filter(|by| *by != 0);
    let best = candidates.map(|by| (kept(by), by)).max_by_key(|(kept, by)| (*kept, -by.abs()));
    match best {
        Some((kept, by)) if kept > still + WORTH => by,
        Some(_) | None => 0,
    }
}

/// The cells of a row.
fn cells(buffer: &Buffer, y: u16) -> &[Cell] {
    let width = usize::from(buffer.area.width);
    let start = usize::from(y) * width;
    buffer.content.get(start..start + width).unwrap_or_default()
}

/// A hash of a row, and how many of its cells are not blank.
fn row_hash(buffer: &Buffer, y: u16) -> (u64, usize) {
    let row = cells(buffer, y);
    let mut hasher = DefaultHasher::new();
    row.hash(&mut hasher);
    (hasher.finish(), row.iter().filter(|cell| cell.symbol() != " ").count())
}

/// Scrolls rows of a buffer as the terminal does.
fn moved(buffer: &mut Buffer, rows: &Range<u16>, by: i16) {
    if by == 0 {
        return;
    }
    let old = buffer.clone();
    for y in rows.clone() {
        let from = i32::from(y) + i32::from(by);
        let from = u16::try_from(from).ok().filter(|from| rows.contains(from));
        for x in 0..buffer.area.width {
            let cell = from.and_then(|from| old.cell((x, from))).cloned().unwrap_or_default();
            if let Some(target) = buffer.cell_mut((x, y)) {
                *target = cell;
            }
        }
    }
}

#[cfg(test)]
mod tests;
