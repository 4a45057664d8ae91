//! The state folder of a host: what lies where in it.

use std::path::{Path, PathBuf};

use crate::process;

/// Longest socket path that every system takes.
const SOCKET_PATH: usize = 100;

/// Where the host of a state folder listens: beside its lock, or in a private folder below /tmp
/// if that path is too long for a socket.
pub fn socket_path(state: &Path) -> PathBuf {
    let near = state.join("host.sock");
    if near.as_os_str().len() <= SOCKET_PATH {
        return near;
    }
    process::private_socket("h", state)
}
