//! The agent host: sessions, turns, models, tools, background processes, wakeups and their store.
//!
//! A client holds a [`protocol::View`]; behind it is the embedded host ([`embedded`]). Only
//! [`protocol`] types cross that seam.

pub mod agent;
pub mod approval;
pub mod clock;
mod digest;
pub mod embedded;
pub mod model;
pub mod process;
pub mod redact;
pub mod remote;
pub mod serve;
mod session;
pub mod settings;
#[cfg(test)]
mod simulation;
pub mod state_dir;
pub mod store;
pub mod tool;
mod toolset;
mod turn_link;
mod wakeup;
mod wire;
pub use protocol;
