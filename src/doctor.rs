//! `doctor`: checks everything a run needs and reports problems. Repairs and writes nothing.

mod backlog;
mod running;

use std::io::{self, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use host::settings::{Model, Provider};
use nix::sys::statfs::{self, FsType};
use serde_json::json;

use crate::args::Doctor;
use crate::config::{Config, Error};
use crate::dirs::Dirs;
use crate::env::Env;
use crate::providers::mask;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ok,
    Note,
    Broken,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Broken => "broken",
        }
    }
}

struct Check {
    name: &'static str,
    state: State,
    text: String,
}

fn ok(name: &'static str, text: impl Into<String>) -> Check {
    Check { name, state: State::Ok, text: text.into() }
}

fn note(name: &'static str, text: impl Into<String>) -> Check {
    Check { name, state: State::Note, text: text.into() }
}

fn broken(name: &'static str, text: impl Into<String>) -> Check {
    Check { name, state: State::Broken, text: text.into() }
}

/// Runs all checks and prints them. Exit code 1 when something is broken.
pub(crate) fn run(
    args: &Doctor,
    dirs: &Dirs,
    env: &Env,
    config: Result<Config, Error>,
) -> anyhow::Result<ExitCode> {
    let mut checks = vec![ok("version", env!("CARGO_PKG_VERSION"))];
    match &config {
        Ok(config) => {
            let file = dirs.config();
            checks.push(if file.exists() {
                ok("config", file.display().to_string())
            } else {
                ok("config", format!("no {}: all settings have their defaults", file.display()))
            });
            checks.extend(config.notes.iter().map(|text| note("config", text)));
            checks.extend(provider(config, env));
            let shell = &config.settings.terminal.shell;
            checks.push(if shell.is_file() {
                ok("shell", shell.display().to_string())
            } else {
                broken("shell", format!("{} does not exist", shell.display()))
            });
        }
        Err(e) => checks.extend(e.problems.iter().map(|p| broken("config", p.to_string()))),
    }
    checks.extend(private(&dirs.env_file()));
    checks.extend(private(&dirs.auth()));
    checks.extend(state_dir(&dirs.state));
    let git = on_path("git", env);
    checks.push(if git { ok("git", "found") } else { note("git", "not found on PATH") });
    checks.push(terminal(env));
    checks.extend(running::checks(&dirs.state, Path::new("/")));
    let kept = subdirectories(&dirs.state.processes()).len() as u64;
    checks.push(ok("processes", count(kept, "directory")));
    checks.extend(backlog::checks(&dirs.state));
    print(&checks, args)?;
    let any = checks.iter().any(|c| c.state == State::Broken);
    Ok(if any { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(checks: &[Check], args: &Doctor) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        let rows: Vec<_> = checks
            .iter()
            .map(|c| json!({"name": c.name, "state": c.state.as_str(), "text": c.text}))
            .collect();
        return writeln!(out, "{}", json!({ "checks": rows }));
    }
    for check in checks {
        let text: String =
            check.text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        writeln!(out, "{:<11}{:<8}{text}", check.name, check.state.as_str())?;
    }
    Ok(())
}

fn provider(config: &Config, env: &Env) -> Vec<Check> {
    if let Some(why) = &config.refusal {
        return vec![broken("provider", why)];
    }
    let model = &config.settings.model;
    let key = match (&model.api_key, &config.key_from) {
        (Some(key), Some(from)) => format!("key {} from {from}", mask(key)),
        _ => "no key".to_owned(),
    };
    let mut checks = vec![ok("provider", format!("{}/{}, {key}", config.provider, model.name))];
    if let Some(address) = address(model) {
        let proxy = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"];
        checks.push(if proxy.iter().any(|name| env.get(name).is_some()) {
            note("reachable", format!("{address}: not checked, because a proxy is set"))
        } else {
            match reach(address.clone()) {
                Ok(()) => ok("reachable", address),
                Err(why) => broken("reachable", format!("{address}: {why}")),
            }
        });
    }
    checks
}

/// `host:port` of a model's server.
fn address(model: &Model) -> Option<String> {
    let url = model.base_url.as_deref().or(match model.provider {
        Provider::Anthropic => Some("https://api.anthropic.com"),
        Provider::Gemini => Some("https://generativelanguage.googleapis.com"),
        Provider::Ollama => Some("http://127.0.0.1:11434"),
        Provider::OpenAi | Provider::Demo => None,
    })?;
    let url = reqwest::Url::parse(url).ok()?;
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

/// Connects to `host:port` within three seconds, including name resolution.
fn reach(address: String) -> Result<(), String> {
    const LONGEST: Duration = Duration::from_secs(3);
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || {
        let connect = || {
            let mut error = io::Error::from(io::ErrorKind::NotFound);
            for at in address.to_socket_addrs()? {
                match TcpStream::connect_timeout(&at, LONGEST) {
                    Ok(_) => return Ok(()),
                    Err(e) => error = e,
                }
            }
            Err(error)
        };
        tx.send(connect()).ok();
    });
    match rx.recv_timeout(LONGEST) {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(_) => Err("no answer in 3 s".to_owned()),
    }
}

/// A note on a file with secrets that others can read.
fn private(path: &Path) -> Option<Check> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        note(
            "secrets",
            format!("{} can be read by others (mode {mode:o}): run chmod 600", path.display()),
        )
    })
}

fn state_dir(path: &Path) -> Vec<Check> {
    let shown = path.display();
    let Ok(meta) = std::fs::metadata(path) else {
        return vec![ok("state", format!("{shown} (created by the first session)"))];
    };
    if !meta.is_dir() {
        return vec![broken("state", format!("{shown} is not a directory"))];
    }
    let writable = nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok();
    let mode = meta.permissions().mode() & 0o777;
    let mut checks = vec![match (writable, mode & 0o077) {
        (false, _) => broken("state", format!("{shown} is not writable")),
        (true, 0) => ok("state", shown.to_string()),
        (true, _) => {
            note("state", format!("{shown} is accessible to others (mode {mode:o}): run chmod 700"))
        }
    }];
    if let Some(kind) = network_filesystem(path) {
        let why = "processes and sockets need a local disk: set HERMES_TUI_HOME";
        checks.push(note("state", format!("{shown} is on {kind}; {why}")));
    }
    checks
}

/// The name of the network file system a directory is on, if it is on one.
fn network_filesystem(path: &Path) -> Option<&'static str> {
    const CIFS: FsType = FsType(0xFF53_4D42);
    const SMB2: FsType = FsType(0xFE53_4D42);
    const FUSE: FsType = FsType(0x6573_5546);
    const V9FS: FsType = FsType(0x0102_1997);
    let kind = statfs::statfs(path).ok()?.filesystem_type();
    let known = [
        (statfs::NFS_SUPER_MAGIC, "NFS"),
        (CIFS, "CIFS"),
        (SMB2, "SMB"),
        (statfs::SMB_SUPER_MAGIC, "SMB"),
        (FUSE, "FUSE (perhaps remote)"),
        (V9FS, "9P"),
    ];
    known.into_iter().find(|(magic, _)| *magic == kind).map(|(_, name)| name)
}

fn on_path(program: &str, env: &Env) -> bool {
    let path = env.get("PATH").unwrap_or_default();
    std::env::split_paths(path).any(|dir| dir.join(program).is_file())
}

fn terminal(env: &Env) -> Check {
    let colour = match (env.get("NO_COLOR"), env.get("COLORTERM")) {
        (Some(_), _) => "no colour (NO_COLOR)",
        (None, Some("truecolor" | "24bit")) => "true colour",
        (None, _) => "256 colours or fewer",
    };
    match env.get("TERM") {
        None => note("terminal", "TERM is not set: only one-shot runs work"),
        Some("dumb") => note("terminal", "TERM is dumb: only one-shot runs work"),
        Some(term) => ok("terminal", format!("{term}, {colour}")),
    }
}

/// The plural of a noun.
fn plural(noun: &str) -> String {
    noun.strip_suffix('y').map_or_else(|| format!("{noun}s"), |stem| format!("{stem}ies"))
}

/// A number and a noun, in the plural unless it is 1.
fn count(n: u64, noun: &str) -> String {
    format!("{n} {}", if n == 1 { noun.to_owned() } else { plural(noun) })
}

fn subdirectories(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let dirs = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    dirs.filter_map(|e| e.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_or_unusable_state_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let open = |mode| {
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            state_dir(dir.path())[0].state
        };
        assert_eq!(open(0o755), State::Note);
        assert_eq!(open(0o700), State::Ok);
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(state_dir(&file)[0].state, State::Broken);
        assert_eq!(state_dir(&dir.path().join("new"))[0].state, State::Ok);
    }

    #[test]
    fn a_secret_that_others_can_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".env");
        assert!(private(&file).is_none());
        std::fs::write(&file, "A=1").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(private(&file).is_some());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(private(&file).is_none());
    }

    #[test]
    fn a_server_that_is_not_there_is_not_reachable() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap().to_string();
        assert_eq!(reach(at.clone()), Ok(()));
        drop(listener);
        assert!(reach(at).is_err());
    }
}
