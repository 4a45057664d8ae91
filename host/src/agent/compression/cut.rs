//! What a compression replaces and what it leaves as it is. Pure: rows in, row numbers out.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::context;
use crate::settings::Compression;
use protocol::{Body, CallId, Row, Summary};

/// Below this many tokens no context is compressed by itself, if the model has more.
const LEAST: u64 = 64_000;
/// Windows below this are used up to three quarters at least.
const LARGE: u64 = 512_000;
/// Fewer tokens than a summary takes itself are not worth one.
const WORTH: u64 = 400;
/// Messages at the end that are kept also beyond the budget, as long as they leave room.
const LEAST_TAIL: usize = 3;

/// At how many tokens a context of that length is compressed.
pub(super) fn trigger(rules: &Compression, length: u64, max_tokens: u64) -> u64 {
    // The answer needs its room, too. One that would leave less than half is a mistake.
    let room = length.saturating_sub(max_tokens).max(length / 2);
    let threshold =
        if length < LARGE { rules.threshold.max(0.75) } else { rules.threshold }.clamp(0.0, 1.0);
    let wanted = part(room, threshold).max(LEAST);
    if wanted < room { wanted } else { room * 85 / 100 }
}

/// A part of a number of tokens.
pub(super) fn part(tokens: u64, ratio: f64) -> u64 {
    (tokens as f64 * ratio) as u64
}

/// About how many tokens a row costs in a request.
pub(super) fn tokens(row: &Row) -> u64 {
    let bytes = match &row.body {
        Body::Failure { .. } => return 0,
        Body::Assistant(answer) => {
            let call = |c: &protocol::ToolCall| c.name.len() + c.args.to_string().len();
            answer.text.len() + answer.calls.iter().map(call).sum::<usize>()
        }
        Body::User { .. }
        | Body::Wakeup(_)
        | Body::Summary(_)
        | Body::Note { .. }
        | Body::Tool(_) => row.text().len(),
    };
    // Four bytes a token, and the frame of a message.
    bytes as u64 / 4 + 4
}

/// Where a context is cut.
#[derive(Debug, PartialEq)]
pub(super) struct Cut {
    /// Rows up to this number stay as they are.
    pub(super) head: u64,
    /// Rows from this number on stay as they are.
    pub(super) tail: u64,
    /// The summary that stood for still older rows; the new one takes its place.
    pub(super) earlier: Option<Summary>,
    /// The rows that are replaced, oldest first.
    pub(super) replaced: Vec<Arc<Row>>,
    /// What the agent is working on, as it was asked, where no kept row says it.
    pub(super) asked: Vec<Arc<Row>>,
}

/// Decides what a compression of these rows replaces, `base` being the tokens that the budget of
/// the tail is a part of; `None` if nothing can be. Each `squeeze` halves what is kept.
///
/// The head is kept by the first compression only: later its wishes may be long done, and the
/// summary has taken them up.
pub(super) fn cut(rows: &[Arc<Row>], rules: &Compression, base: u64, squeeze: u32) -> Option<Cut> {
    let rows_now = context(rows);
    let at = rows_now.iter().position(|r| matches!(r.body, Body::Summary(_)));
    let earlier = at.and_then(|at| match &rows_now[at].body {
        Body::Summary(summary) => Some(summary.clone()),
        _ => None,
    });
    let budget = part(base, rules.target_ratio) >> squeeze;
    let seams = seams(&rows_now);
    let head = if at.is_some() { 0 } else { head(&rows_now, &seams, rules.protect_first, budget) };
    let first = at.map_or(head, |at| at + 1);
    let keep = Keep {
        budget,
        soft: budget + budget / 2,
        most: (base / 2) >> squeeze,
        count: rules.protect_last,
        least: if squeeze == 0 { LEAST_TAIL } else { 1 },
    };
    let tail = tail(&rows_now[first..], &seams[first..], keep) + first;
    if rows_now[first..tail].iter().map(|r| tokens(r)).sum::<u64>() < WORTH {
        return None;
    }
    let replaced: Vec<_> = rows_now[head..tail]
        .iter()
        .filter(|r| !matches!(r.body, Body::Summary(_)))
        .cloned()
        .collect();
    let head = if head == 0 { 0 } else { rows_now[head - 1].n };
    let tail = rows_now.get(tail).map_or_else(|| rows.last().map_or(0, |r| r.n) + 1, |r| r.n);
    let hidden = |r: &&Arc<Row>| r.n > head && r.n < tail;
    let asked = asked(rows).filter(hidden).cloned().collect();
    Some(Cut { head, tail, earlier, replaced, asked })
}

/// The prompts and events that the last turn with any was about.
fn asked(rows: &[Arc<Row>]) -> impl Iterator<Item = &Arc<Row>> {
    let asks = |r: &&Arc<Row>| matches!(r.body, Body::User { .. } | Body::Wakeup(_));
    let turn = rows.iter().rev().find(asks).map(|r| r.turn);
    rows.iter().filter(asks).filter(move |r| Some(r.turn) == turn)
}

/// Whether the model gets it as a message.
fn is_message(row: &Row) -> bool {
    !matches!(row.body, Body::Failure { .. })
}

/// Before which rows a context may be cut: never between calls and their results.
fn seams(rows: &[Arc<Row>]) -> Vec<bool> {
    let mut open: BTreeSet<&CallId> = BTreeSet::new();
    let mut seams = Vec::with_capacity(rows.len());
    for row in rows {
        match &row.body {
            Body::Tool(result) => {
                seams.push(false);
                open.remove(&result.call);
            }
            Body::Assistant(answer) => {
                // Calls that got no result before this answer get none any more.
                seams.push(true);
                open = answer.calls.iter().map(|c| &c.id).collect();
            }
            Body::User { .. }
            | Body::Wakeup(_)
            | Body::Summary(_)
            | Body::Note { .. }
            | Body::Failure { .. } => seams.push(open.is_empty()),
        }
    }
    seams
}

/// How many rows at the beginning are kept.
fn head(rows: &[Arc<Row>], seams: &[bool], most: usize, budget: u64) -> usize {
    let (mut kept, mut count, mut cost) = (0, 0, 0);
    for (i, row) in rows.iter().enumerate() {
        count += usize::from(is_message(row));
        cost += tokens(row);
        if count > most || cost > budget {
            break;
        }
        if seams.get(i + 1) == Some(&true) {
            kept = i + 1;
        }
    }
    kept
}

/// How much of the end is kept.
#[derive(Clone, Copy)]
struct Keep {
    /// Tokens that are kept whatever their number of messages.
    budget: u64,
    /// Tokens that up to `count` messages may take.
    soft: u64,
    /// Tokens that up to `least` messages may take.
    most: u64,
    count: usize,
    least: usize,
}

/// Where the rows that are kept at the end begin. What is not answered yet always is, and so is
/// the last answer with its results.
fn tail(rows: &[Arc<Row>], seams: &[bool], keep: Keep) -> usize {
    let answered = |r: &Arc<Row>| matches!(r.body, Body::Assistant(_) | Body::Tool(_));
    let unanswered = rows.iter().rposition(answered).map_or(0, |i| i + 1);
    let (mut from, mut kept) = (rows.len(), 0);
    let (mut count, mut cost) = (0, 0);
    for i in (0..rows.len()).rev() {
        count += usize::from(is_message(&rows[i]));
        cost += tokens(&rows[i]);
        if !seams[i] {
            continue;
        }
        let fits = cost <= keep.budget
            || (count <= keep.count && cost <= keep.soft)
            || (kept < keep.least && cost <= keep.most);
        if i < unanswered && kept > 0 && !fits {
            break;
        }
        (from, kept) = (i, count);
    }
    from
}
