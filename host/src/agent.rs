//! The agent: the loop between model and tools, and the requests beside it. What it needs comes in
//! as values, what it learns goes to its session over the turn's link.

pub(crate) mod completion;
pub(crate) mod compression;
pub(crate) mod goal_judge;
pub(crate) mod messages;
pub(crate) mod side_question;
pub mod system_prompt;
pub(crate) mod title;
pub(crate) mod turn;
