//! Questions to the user: approvals of commands and the agent's own clarify questions.

use serde::{Deserialize, Serialize};

use crate::id::{CallId, Millis, QuestionId, SessionId, TurnId};

/// A question that waits for an answer. The pending ones of a session are a queue (C01); what is
/// shown is its head (C02).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Its id. The same tool call asks under the same id (C05).
    pub id: QuestionId,
    /// The turn that asks.
    pub turn: TurnId,
    /// The tool call that waits for it.
    pub call: CallId,
    /// The content.
    pub ask: Ask,
    /// When it was asked.
    pub asked_at: Millis,
    /// How long it stays open once a view has shown it, in milliseconds (C08).
    pub timeout: Millis,
    /// When it expires; set once a view that can answer has shown it. With an answer: when the
    /// answer came.
    pub deadline: Option<Millis>,
    /// The answer, kept until the tool result that holds it is stored, so that what a user typed
    /// survives a killed host. A question with an answer is no longer pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
}

/// The content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Ask {
    /// May this command run?
    Approval {
        /// The whole command.
        command: String,
        /// The part of it that matched the rule.
        part: String,
        /// Id of the danger rule.
        rule: String,
        /// Why the rule exists, in a few words.
        reason: String,
        /// Whether a permanent grant may be given (C10).
        allow_always: bool,
    },
    /// A question that the agent asks (C13).
    Clarify {
        /// The question.
        question: String,
        /// Zero to four offered answers; free text is always possible.
        choices: Vec<String>,
    },
}

/// How an approval was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// This command, this time.
    Once,
    /// This rule, for the rest of the session.
    Session,
    /// This rule, permanently.
    Always,
    /// No.
    Deny,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum Answer {
    /// To an approval.
    Approval(Choice),
    /// To a clarify question.
    Text(String),
    /// Nobody answered in time.
    Expired,
    /// The turn was interrupted (C09).
    Withdrawn,
}

/// A pending question and the session it belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The session.
    pub session: SessionId,
    /// Its display name.
    pub name: String,
    /// The question.
    pub question: Question,
    /// The number of further questions pending in that session.
    #[serde(default)]
    pub behind: u32,
}

impl Asked {
    /// The sort key of an inbox: the oldest question first.
    pub fn order(&self) -> (Millis, &SessionId) {
        (self.question.asked_at, &self.session)
    }
}
