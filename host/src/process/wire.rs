//! The protocol between a host and a supervisor: JSON lines with a version, which only ever gains
//! fields and variants, since a host meets supervisors of older and newer binaries.
//!
//! A line from the host may announce `bytes`; that many raw bytes follow it, whatever the request.
//! Unknown requests are skipped together with their bytes, unknown reports are ignored.

use serde::{Deserialize, Serialize};

use protocol::Exit;

/// Version of the lines and of the files in the directory.
pub(super) const VERSION: u32 = 1;

/// Most bytes that may follow a request, and most input a supervisor keeps for a child.
pub(super) const INPUT_LIMIT: usize = 1 << 20;

/// A line from the host.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RequestLine {
    v: u32,
    /// Number that the report of its result repeats.
    #[serde(default)]
    pub n: u64,
    /// How many raw bytes follow the line.
    #[serde(default)]
    pub bytes: usize,
    /// The request.
    #[serde(flatten)]
    pub request: Request,
}

/// A request of a host.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum Request {
    /// Write the bytes that follow to standard input.
    Write,
    /// End standard input.
    Close,
    /// End the whole tree.
    Kill,
    /// The exit is stored, the supervisor may end.
    Ack,
    /// Report once, by [`Report::Output`], when more than that many bytes of output are there.
    /// Supervisors of the first binaries refuse it.
    Watch {
        /// Bytes of output that the host has scanned.
        seen: u64,
    },
    /// Of a newer host.
    #[serde(other)]
    Unknown,
}

/// A line from the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ReportLine {
    v: u32,
    /// The report.
    #[serde(flatten)]
    pub report: Report,
}

/// A report of a supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Report {
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
    /// There is output beyond what the host has scanned ([`Request::Watch`]).
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
pub(super) fn request_line(n: u64, bytes: usize, request: Request) -> Vec<u8> {
    line(&RequestLine { v: VERSION, n, bytes, request })
}

/// A report as a line.
pub(super) fn report_line(report: Report) -> Vec<u8> {
    line(&ReportLine { v: VERSION, report })
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
    fn messages_of_a_newer_version_are_read_as_unknown() {
        let request: RequestLine =
            serde_json::from_str(r#"{"v":9,"do":"resize","rows":3,"n":4,"bytes":12}"#).unwrap();
        assert!(matches!(request.request, Request::Unknown));
        assert_eq!((request.n, request.bytes), (4, 12));
        let report: ReportLine = serde_json::from_str(r#"{"v":9,"is":"paused","x":1}"#).unwrap();
        assert!(matches!(report.report, Report::Unknown));
    }

    #[test]
    fn lines_read_back() {
        let line = request_line(7, 3, Request::Write);
        assert_eq!(line.last(), Some(&b'\n'));
        let back: RequestLine = serde_json::from_slice(&line).unwrap();
        assert!(matches!(back.request, Request::Write));
        assert_eq!((back.n, back.bytes), (7, 3));
        let back: ReportLine =
            serde_json::from_slice(&report_line(Report::Started { pid: 5, exit: None })).unwrap();
        assert!(matches!(back.report, Report::Started { pid: 5, exit: None }));
        let back: RequestLine =
            serde_json::from_slice(&request_line(8, 0, Request::Watch { seen: 9 })).unwrap();
        assert!(matches!(back.request, Request::Watch { seen: 9 }));
    }
}
