//! End to end: the real binary, real processes, real sockets.

mod cli;
mod process;
mod smoke;
mod tidy;
