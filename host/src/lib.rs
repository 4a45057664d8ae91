//! The agent host: sessions, turns, models, tools, background processes, wakeups and their store.
//!
//! A front end holds a [`Host`]; behind it stands the embedded host ([`local`]). Only
//! [`protocol`] types cross that seam.

pub mod approval;
mod aside;
mod compress;
mod goal;
pub mod local;
pub mod model;
pub mod process;
pub mod prompt;
pub mod redact;
pub mod remote;
pub mod serve;
mod session;
pub mod settings;
#[cfg(test)]
mod simulation;
pub mod store;
pub mod tool;
mod turn;
mod wakeup;
mod wire;
pub use protocol;
