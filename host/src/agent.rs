//! The agent: the loop between model and tools, and the requests beside it. Its inputs are values;
//! its results are reported to the session over the turn's link.

mod completion;
pub(crate) mod compression;
mod excerpt;
mod goal_judge;
mod messages;
pub(crate) mod side_question;
pub mod system_prompt;
pub(crate) mod title;
pub(crate) mod turn;
