//! Standard input of the child: requests are queued, and a thread writes them.

use std::io::{self, Write};
use std::process::ChildStdin;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use super::super::wire::{INPUT_LIMIT, Report};
use super::Shared;

/// A request for standard input, with the connection and number to answer.
pub(super) struct Input {
    pub(super) connection: u64,
    pub(super) n: u64,
    pub(super) data: InputData,
}

pub(super) enum InputData {
    Bytes(Vec<u8>),
    End,
}

/// Standard input of the child.
pub(super) enum Stdin {
    Pipe(ChildStdin),
    Terminal { writer: Box<dyn Write + Send>, mid_line: bool },
    Closed,
}

/// Queues input: a child that does not read must not keep us from receiving a kill.
pub(super) fn queue(shared: &Shared, input: Input) {
    let (connection, n) = (input.connection, input.n);
    let refuse = |why: &str| shared.send(connection, Report::Refused { n, why: why.to_owned() });
    let Some(sender) = &shared.input else {
        return refuse("standard input of this process is not open");
    };
    let size = match &input.data {
        InputData::Bytes(bytes) => bytes.len(),
        InputData::End => 0,
    };
    if shared.pending.fetch_add(size, Ordering::Relaxed) + size > INPUT_LIMIT {
        shared.pending.fetch_sub(size, Ordering::Relaxed);
        return refuse("the process does not read its standard input");
    }
    if sender.send(input).is_err() {
        refuse("standard input is closed");
    }
}

/// Writes queued input until the process ends.
pub(super) fn feed(shared: &Shared, mut stdin: Stdin, inputs: Receiver<Input>) {
    for Input { connection, n, data } in inputs {
        let size = match &data {
            InputData::Bytes(bytes) => bytes.len(),
            InputData::End => 0,
        };
        let done = match data {
            InputData::Bytes(bytes) => stdin.write(&bytes),
            InputData::End => stdin.close(),
        };
        shared.pending.fetch_sub(size, Ordering::Relaxed);
        shared.send(
            connection,
            match done {
                Ok(()) => Report::Done { n },
                Err(error) => {
                    stdin = Stdin::Closed;
                    Report::Refused { n, why: format!("standard input is closed: {error}") }
                }
            },
        );
    }
}

impl Stdin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Pipe(pipe) => pipe.write_all(bytes),
            Self::Terminal { writer, mid_line } => {
                *mid_line = bytes.last().map_or(*mid_line, |last| !b"\n\r".contains(last));
                writer.write_all(bytes)?;
                writer.flush()
            }
            Self::Closed => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// A pipe is closed; a terminal gets its end-of-file key, twice if a line is unfinished.
    fn close(&mut self) -> io::Result<()> {
        match self {
            Self::Pipe(_) => {
                *self = Self::Closed;
                Ok(())
            }
            Self::Terminal { writer, mid_line } => {
                let keys: &[u8] = if *mid_line { &[4, 4] } else { &[4] };
                *mid_line = false;
                writer.write_all(keys)?;
                writer.flush()
            }
            Self::Closed => Ok(()),
        }
    }
}
