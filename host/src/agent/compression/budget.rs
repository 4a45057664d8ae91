//! Token counts: what rows cost, and at which size a context is compressed. Estimates, since only
//! the provider counts exactly.

use crate::settings::Compression;
use protocol::{Body, Row, ToolCall};

/// No context below this many tokens is compressed automatically, if the model has more.
const LEAST: u64 = 64_000;
/// Context lengths below this many tokens are used up to three quarters at least.
const LARGE: u64 = 512_000;

/// The number of tokens at which a context of that length is compressed.
pub(super) fn trigger(rules: &Compression, length: u64, max_tokens: u64) -> u64 {
    // The answer needs its room, too. A limit that would leave less than half is a mistake.
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
            let call = |c: &ToolCall| c.name.len() + c.args.to_string().len();
            answer.text.len() + answer.calls.iter().map(call).sum::<usize>()
        }
        Body::User { .. }
        | Body::Wakeup(_)
        | Body::Summary(_)
        | Body::Note { .. }
        | Body::Tool(_) => row.text().len(),
    };
    // Four bytes per token, and the frame of a message.
    bytes as u64 / 4 + 4
}
