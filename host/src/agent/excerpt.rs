//! Rows as plain text of a bounded size: the record that the model reads when it summarises, judges
//! or titles a conversation.

use std::fmt::Write as _;
use std::sync::Arc;

use protocol::{Body, Row};

/// The lengths in bytes to which parts are shortened, tried in order until the whole fits.
const STEPS: [usize; 6] = [6_000, 3_000, 1_500, 700, 300, 120];

/// The rows as text of at most about that many bytes.
pub(super) fn excerpt(rows: &[Arc<Row>], bytes: usize) -> String {
    let mut text = String::new();
    for step in STEPS {
        text = rows.iter().filter_map(|row| entry(row, step)).collect();
        if text.len() <= bytes {
            return text;
        }
    }
    shorten(&text, bytes) + "\n"
}

/// One row as text. Results of tools are shortened most: they say least per byte.
fn entry(row: &Row, most: usize) -> Option<String> {
    let (role, most) = match &row.body {
        Body::User { .. } => ("USER", most),
        Body::Wakeup(_) => ("BACKGROUND EVENT", most),
        Body::Note { .. } => ("NOTE", most),
        Body::Assistant(_) => ("AGENT", most),
        Body::Tool(_) => ("RESULT", most / 3),
        Body::Summary(_) | Body::Failure { .. } => return None,
    };
    let mut text = format!("{role}: {}\n", shorten(row.text(), most));
    if let Body::Assistant(answer) = &row.body {
        for call in &answer.calls {
            let args = call.args.to_string();
            let _ = writeln!(text, "CALL: {} {}", call.name, shorten(&args, most / 3));
        }
    }
    Some(text)
}

/// The beginning and the end of a text within about that many bytes, two thirds of them for the
/// beginning.
pub(super) fn shorten(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(most * 2 / 3);
    let tail = text.ceil_char_boundary(text.len() - most / 3);
    format!("{} [… {} bytes left out …] {}", &text[..head], tail - head, &text[tail..])
}
