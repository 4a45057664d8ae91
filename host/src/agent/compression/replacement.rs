//! The choice of the rows that a compression replaces. Pure: rows in, row numbers out.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::budget::{part, tokens};
use super::context;
use crate::settings::Compression;
use protocol::{Body, CallId, Row, Summary};

/// Rows of fewer tokens are not worth a summary: it would take as many itself.
const WORTH: u64 = 400;
/// Messages at the end that are kept also beyond the budget, as long as they leave room.
const LEAST_TAIL: usize = 3;

/// The part of a context that a compression replaces by a summary.
#[derive(Debug, PartialEq)]
pub(super) struct Replacement {
    /// Rows up to this number stay as they are.
    pub(super) head: u64,
    /// Rows from this number on stay as they are.
    pub(super) tail: u64,
    /// The summary of still older rows, which the new one replaces, too.
    pub(super) earlier_summary: Option<Summary>,
    /// The rows that are replaced, oldest first.
    pub(super) rows: Vec<Arc<Row>>,
    /// The prompts and events that the agent is working on, if they are among the rows.
    pub(super) requests: Vec<Arc<Row>>,
}

/// Chooses what a compression of these rows replaces; `None` = nothing is worth it. The budget of
/// the tail is a part of `base`, in tokens. Each `squeeze` halves what is kept.
///
/// The head is kept by the first compression only: later its requests may be long done, and the
/// summary contains them.
pub(super) fn choose(
    rows: &[Arc<Row>],
    rules: &Compression,
    base: u64,
    squeeze: u32,
) -> Option<Replacement> {
    let context = context(rows);
    let at = context.iter().position(|r| matches!(r.body, Body::Summary(_)));
    let earlier_summary = at.and_then(|at| match &context[at].body {
        Body::Summary(summary) => Some(summary.clone()),
        _ => None,
    });
    let budget = part(base, rules.target_ratio) >> squeeze;
    let seams = seams(&context);
    let head = if at.is_some() { 0 } else { head(&context, &seams, rules.protect_first, budget) };
    let first = at.map_or(head, |at| at + 1);
    let keep = Keep {
        budget,
        soft: budget + budget / 2,
        most: (base / 2) >> squeeze,
        count: rules.protect_last,
        least: if squeeze == 0 { LEAST_TAIL } else { 1 },
    };
    let tail = tail(&context[first..], &seams[first..], keep) + first;
    if context[first..tail].iter().map(|r| tokens(r)).sum::<u64>() < WORTH {
        return None;
    }
    let replaced: Vec<_> = context[head..tail]
        .iter()
        .filter(|r| !matches!(r.body, Body::Summary(_)))
        .cloned()
        .collect();
    let head = if head == 0 { 0 } else { context[head - 1].n };
    let tail = context.get(tail).map_or_else(|| rows.last().map_or(0, |r| r.n) + 1, |r| r.n);
    let hidden = |r: &&Arc<Row>| r.n > head && r.n < tail;
    let requests = last_request(rows).filter(hidden).cloned().collect();
    Some(Replacement { head, tail, earlier_summary, rows: replaced, requests })
}

/// The prompts and events of the last turn that has any.
fn last_request(rows: &[Arc<Row>]) -> impl Iterator<Item = &Arc<Row>> {
    let is_request = |r: &&Arc<Row>| matches!(r.body, Body::User { .. } | Body::Wakeup(_));
    let turn = rows.iter().rev().find(is_request).map(|r| r.turn);
    rows.iter().filter(is_request).filter(move |r| Some(r.turn) == turn)
}

/// Whether the model gets the row as a message.
fn is_message(row: &Row) -> bool {
    !matches!(row.body, Body::Failure { .. })
}

/// Whether a context may be cut before each row: never between calls and their results.
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
                // Calls without a result before this answer get none any more.
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

/// The number of rows at the beginning that are kept.
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

/// The index of the first row that is kept at the end. Rows that are not answered yet are always
/// kept, and so is the last answer with its results.
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
