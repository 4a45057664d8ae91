//! End to end: the real binary, real processes, real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod attach;
mod badinput;
mod cli;
mod compression;
mod contract;
mod control;
mod crash;
mod delegations;
mod deletion;
mod fault;
mod features;
mod holds;
mod inbox;
mod interface;
mod keep;
mod process;
mod questions;
mod races;
mod recorded;
mod restart;
mod routes;
mod serve;
mod shells;
mod smoke;
mod streams;
mod support;
mod tidy;
mod torture;
mod wakeups;
mod watches;
