//! What a host and a supervisor say to each other: JSON lines with a version, additive for ever,
//! since a host meets supervisors of older and newer binaries.
//!
//! A line from the host may announce `bytes`; that many raw bytes follow it, whatever it asks.
//! Unknown asks are skipped together with their bytes, unknown tells are ignored.

use serde::{Deserialize, Serialize};

use protocol::Exit;

/// Version of the lines and of the files in the folder.
pub(super) const VERSION: u32 = 1;

/// Most bytes that may follow an ask, and most input a supervisor keeps for a child.
pub(super) const INPUT_LIMIT: usize = 1 << 20;

/// A line from the host.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    v: u32,
    /// Number that the answer repeats.
    #[serde(default)]
    pub n: u64,
    /// How many raw bytes follow the line.
    #[serde(default)]
    pub bytes: usize,
    /// What is asked.
    #[serde(flatten)]
    pub ask: Ask,
}

/// What a host asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum Ask {
    /// Write the bytes that follow to standard input.
    Write,
    /// End standard input.
    Close,
    /// End the whole tree.
    Kill,
    /// The exit is stored, the supervisor may go.
    Ack,
    /// Tell once, with [`Tell::Output`], when more than that many bytes of output are there.
    /// Supervisors of the first binaries refuse it.
    Watch {
        /// Bytes of output that the host has looked at.
        seen: u64,
    },
    /// Of a newer host.
    #[serde(other)]
    Unknown,
}

/// A line from the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    v: u32,
    /// What is told.
    #[serde(flatten)]
    pub tell: Tell,
}

/// What a supervisor tells.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Tell {
    /// First line of every connection: the child runs or has run.
    Started {
        /// Process id of the child.
        pid: u32,
        /// How it ended, if it has.
        exit: Option<Exit>,
    },
    /// The child could not be started.
    Failed {
        /// Why.
        error: String,
        /// The exit as recorded.
        exit: Exit,
    },
    /// The child has ended.
    Ended {
        /// How.
        exit: Exit,
    },
    /// There is output beyond what the host has looked at ([`Ask::Watch`]).
    Output {
        /// Bytes of output so far.
        seen: u64,
    },
    /// A request was done.
    Done {
        /// Number of the request.
        n: u64,
    },
    /// A request could not be done.
    Refused {
        /// Number of the request.
        n: u64,
        /// Why.
        why: String,
    },
    /// Of a newer supervisor.
    #[serde(other)]
    Unknown,
}

/// A request as a line, without the bytes that follow it.
pub(super) fn request(n: u64, bytes: usize, ask: Ask) -> Vec<u8> {
    line(&Request { v: VERSION, n, bytes, ask })
}

/// A reply as a line.
pub(super) fn reply(tell: Tell) -> Vec<u8> {
    line(&Reply { v: VERSION, tell })
}

fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_newer_version_are_understood_as_unknown() {
        let ask: Request =
            serde_json::from_str(r#"{"v":9,"do":"resize","rows":3,"n":4,"bytes":12}"#).unwrap();
        assert!(matches!(ask.ask, Ask::Unknown));
        assert_eq!((ask.n, ask.bytes), (4, 12));
        let tell: Reply = serde_json::from_str(r#"{"v":9,"is":"paused","x":1}"#).unwrap();
        assert!(matches!(tell.tell, Tell::Unknown));
    }

    #[test]
    fn lines_read_back() {
        let line = request(7, 3, Ask::Write);
        assert_eq!(line.last(), Some(&b'\n'));
        let back: Request = serde_json::from_slice(&line).unwrap();
        assert!(matches!(back.ask, Ask::Write));
        assert_eq!((back.n, back.bytes), (7, 3));
        let back: Reply =
            serde_json::from_slice(&reply(Tell::Started { pid: 5, exit: None })).unwrap();
        assert!(matches!(back.tell, Tell::Started { pid: 5, exit: None }));
        let back: Request = serde_json::from_slice(&request(8, 0, Ask::Watch { seen: 9 })).unwrap();
        assert!(matches!(back.ask, Ask::Watch { seen: 9 }));
    }
}
