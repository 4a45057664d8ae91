//! End to end: the real binary, real processes, real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod crash;
mod interface;
mod process;
mod questions;
mod restart;
mod shells;
mod support;
mod wakeups;
