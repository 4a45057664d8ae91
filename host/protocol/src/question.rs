//! Questions to the user: approvals of commands and the agent's own clarify questions.

use serde::{Deserialize, Serialize};

use crate::{CallId, Millis, QuestionId, TurnId};

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
    /// What is asked.
    pub ask: Ask,
    /// When it was asked.
    pub asked_at: Millis,
    /// How long it stays open once a front end has shown it, in milliseconds (C08).
    pub timeout: Millis,
    /// When it expires; set once a front end that can answer has shown it. With an answer: when
    /// that came.
    pub deadline: Option<Millis>,
    /// The answer, stored until the result that holds it is: what a user typed survives the host.
    /// A question with an answer is no longer pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Ask {
    /// May this command run?
    Approval {
        /// The whole command.
        command: String,
        /// The part of it that fired the rule.
        part: String,
        /// Id of the danger rule.
        rule: String,
        /// Why the rule exists, in a few words.
        reason: String,
        /// Whether a permanent grant may be given (C10).
        allow_always: bool,
    },
    /// A question of the agent's own (C13).
    Clarify {
        /// The question.
        question: String,
        /// None to four offered answers; free text is always possible.
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
    /// This rule, for ever.
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
