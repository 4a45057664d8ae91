//! The state of a session as the host and every view hold it: the fold of its events over a window
//! of its rows.

use serde::{Deserialize, Serialize};

use crate::id::SessionId;
use crate::process::Process;
use crate::question::Question;
use crate::row::Row;
use crate::session::{Attachment, Gauge, Goal, Storage};
use crate::turn::{Queued, Running, Tokens};

/// A window on a session: its last rows and everything live.
///
/// Invariant: applying the published events to any earlier window gives the session's own
/// transcript (for the rows both hold).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    /// The session.
    pub session: SessionId,
    /// Its title, if it has one.
    pub title: Option<String>,
    /// The model of its next turn.
    pub model: String,
    /// Its working directory.
    pub cwd: String,
    /// The number of rows before the window.
    pub earlier: u64,
    /// The rows of the window, oldest first.
    pub rows: Vec<Row>,
    /// The running turn.
    pub running: Option<Running>,
    /// Prompts queued behind the running turn, oldest first.
    pub queued: Vec<Queued>,
    /// A steering remark that will be added to the next tool result.
    pub steer: Option<String>,
    /// Pending questions, oldest first. Views show the head.
    pub questions: Vec<Question>,
    /// Background processes of this session, oldest first.
    pub processes: Vec<Process>,
    /// Why wakeups are held, if they are.
    pub held: Option<String>,
    /// Wakeup turns since the last user turn; from 3 on the session needs attention (W31).
    #[serde(default)]
    pub unattended: u32,
    /// The session it was branched from or that delegated it.
    #[serde(default)]
    pub parent: Option<SessionId>,
    /// The fill level of the model's context.
    pub gauge: Gauge,
    /// Approvals are off (`approvals.mode: off`, `--yolo`).
    pub yolo: bool,
    /// Whether events are being stored.
    pub storage: Storage,
    /// The reasoning effort, if the session sets one.
    #[serde(default)]
    pub reasoning: Option<String>,
    /// The goal the agent works on turn by turn (S08).
    #[serde(default)]
    pub goal: Option<Goal>,
    /// Files attached to the next prompt.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    /// The token counts of all its requests.
    #[serde(default)]
    pub tokens: Tokens,
    /// The toolsets available to its turns; `None` = all.
    #[serde(default)]
    pub toolsets: Option<Vec<String>>,
}

impl Transcript {
    /// Drops the oldest rows beyond `rows`; they are counted in `earlier`.
    pub fn trim(&mut self, rows: usize) {
        let excess = self.rows.len().saturating_sub(rows);
        self.rows.drain(..excess);
        self.earlier = self.earlier.saturating_add(excess as u64);
    }
}
