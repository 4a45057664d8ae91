//! End to end: the real binary, real processes, real sockets.

mod process;
mod smoke;
mod tidy;
