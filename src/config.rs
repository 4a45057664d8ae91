//! Flags, environment and files put together: what the host is told ([`Settings`]) and what the
//! user is told about it. Reads files and writes none.
//!
//! Invariant: a setting that changes where or whether something runs is honoured, refused or
//! named in the notes; it is never ignored in silence.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use host::settings::{
    Agent, Approvals, Delegation, Mode, Model, Prompt, Provider, Settings, Terminal, Timing,
};

use crate::dirs::{Dirs, expand_user};
use crate::env::Env;
use crate::providers::{self, Choice, local};

mod file;
mod yaml;

pub(crate) use file::{File, OnHangup, Own};
pub(crate) use yaml::{Node, Problem};

use file::ApprovalMode;
use yaml::Reader;

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    /// `--model`.
    pub(crate) model: Option<String>,
    /// `--provider`.
    pub(crate) provider: Option<String>,
    /// `--max-turns`.
    pub(crate) max_turns: Option<u32>,
    /// The switches that are on.
    pub(crate) yolo: bool,
    /// `--local-terminal`.
    pub(crate) local_terminal: bool,
    /// `--ignore-rules`.
    pub(crate) ignore_rules: bool,
}

/// What a config is made from besides its files.
#[derive(Clone, Debug)]
pub(crate) struct Inputs<'a> {
    /// The command line.
    pub(crate) flags: &'a Flags,
    /// The process's environment.
    pub(crate) env: &'a Env,
    /// The folder the program was started in.
    pub(crate) cwd: &'a Path,
    /// The program itself.
    pub(crate) exe: &'a Path,
    /// Local model servers that are tried when nothing is configured.
    pub(crate) servers: &'a [local::Server],
}

/// A whole config.
#[derive(Debug)]
pub(crate) struct Config {
    /// For the host.
    pub(crate) settings: Settings,
    /// Our own keys.
    pub(crate) own: Own,
    /// What the user should be told.
    pub(crate) notes: Vec<String>,
    /// Why no model can be asked. Everything else works.
    pub(crate) refusal: Option<String>,
    /// The name of the provider, as configs have it.
    pub(crate) provider: String,
    /// Where its key was found.
    pub(crate) key_from: Option<String>,
    /// The config file as it is written.
    pub(crate) tree: Node,
}

/// Why a config cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) struct Error {
    /// All that is wrong, never empty.
    pub(crate) problems: Vec<Problem>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if n == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// All that was read, before it is joined.
struct Sources {
    env: Env,
    file: File,
    tree: Node,
    soul: Option<String>,
    stored: BTreeMap<String, providers::Stored>,
    secrets: BTreeSet<String>,
    notes: Vec<String>,
    cwd: PathBuf,
    limits: Limits,
    timing: Timing,
}

/// What the environment says in numbers.
struct Limits {
    max_turns: Option<u32>,
    timeout: Option<Duration>,
    max_timeout: Option<Duration>,
    stale: Option<Duration>,
}

impl Sources {
    fn read(dirs: &Dirs, from: &Inputs<'_>) -> Result<Self, Error> {
        let mut problems = Vec::new();
        let dotenv = read(&dirs.env_file(), &mut problems).unwrap_or_default();
        let env = from.env.clone().with_file(&dotenv);
        let path = dirs.config();
        let text = read(&path, &mut problems).unwrap_or_default();
        let tree = Node::parse(&path, &text).unwrap_or_else(|problem| {
            problems.push(problem);
            Node::empty()
        });
        let mut reader = Reader::new(&path, &env);
        let file = File::read(&tree, &mut reader);
        let Reader { problems: wrong, notes, secrets, .. } = reader;
        problems.extend(wrong);
        let stored = read(&dirs.auth(), &mut Vec::new()).unwrap_or_default();
        let soul = read(&dirs.soul(), &mut problems).filter(|s| !s.trim().is_empty());
        let limits = Limits::read(&env, &mut problems);
        let timing = env.timing().unwrap_or_else(|message| {
            problems.push(Problem { path: PathBuf::from("environment"), line: 0, message });
            Timing::default()
        });
        let cwd = match env.get("TERMINAL_CWD").or(file.cwd.as_deref()) {
            None | Some("." | "auto" | "cwd") => from.cwd.to_owned(),
            Some(dir) => from.cwd.join(expand_user(dir, &dirs.user)),
        };
        if !cwd.is_dir() {
            let line = tree.get("terminal.cwd").map_or(0, |n| n.line);
            let message = format!("terminal.cwd: {} is not a folder", cwd.display());
            problems.push(Problem { path, line, message });
        }
        if !problems.is_empty() {
            return Err(Error { problems });
        }
        let stored = providers::stored_keys(&stored);
        Ok(Self { env, file, tree, soul, stored, secrets, notes, cwd, limits, timing })
    }

    /// Whether to ask about dangerous commands, with what to say about it.
    fn approvals(&self, flags: &Flags) -> (Mode, Option<&'static str>) {
        let yolo = flags.yolo || self.env.is_on("HERMES_YOLO_MODE");
        match self.file.approvals {
            _ if yolo => (Mode::Off, Some(APPROVALS_OFF)),
            Some(ApprovalMode::Off) => (Mode::Off, Some(APPROVALS_OFF)),
            Some(ApprovalMode::Smart) => (Mode::Manual, Some(APPROVALS_SMART)),
            Some(ApprovalMode::Manual) | None => (Mode::Manual, None),
        }
    }

    /// What children start from.
    fn child_env(&self) -> Vec<(String, String)> {
        self.env.for_children(&self.hidden(), &self.file.env_passthrough)
    }

    /// What children do not get either when their login shell sets it.
    fn withheld(&self) -> Vec<String> {
        let passed = &self.file.env_passthrough;
        let names = self.hidden().into_iter().chain(self.env.secret_names());
        names.filter(|name| !passed.contains(name)).collect()
    }

    /// The names of keys.
    fn hidden(&self) -> std::collections::BTreeSet<String> {
        let endpoints = self.file.endpoints.iter().filter_map(|e| e.key_env.clone());
        let passwords = crate::serve_cmd::PASSWORDS;
        let known = providers::key_names().chain(passwords).map(str::to_owned);
        known.chain(self.secrets.iter().cloned()).chain(endpoints).collect()
    }
}

const APPROVALS_OFF: &str = "Approvals are off: dangerous commands run without asking. Hard \
                             blocks and approvals.deny still hold";
const APPROVALS_SMART: &str =
    "approvals.mode smart is treated as manual: you are asked about dangerous commands";

impl Limits {
    fn read(env: &Env, problems: &mut Vec<Problem>) -> Self {
        let mut number = |name: &str| -> Option<u64> {
            let value = env.get(name)?;
            let number = value.parse().ok().filter(|n| *n > 0);
            if number.is_none() {
                let message = format!("{name}: expected a whole number from 1, found {value:?}");
                problems.push(Problem { path: PathBuf::from("environment"), line: 0, message });
            }
            number
        };
        Self {
            max_turns: number("HERMES_MAX_ITERATIONS").and_then(|n| u32::try_from(n).ok()),
            timeout: number("TERMINAL_TIMEOUT").map(Duration::from_secs),
            max_timeout: number("TERMINAL_MAX_FOREGROUND_TIMEOUT").map(Duration::from_secs),
            stale: number("HERMES_STREAM_STALE_TIMEOUT").map(Duration::from_secs),
        }
    }
}

impl Config {
    /// Reads and joins everything.
    pub(crate) fn load(dirs: &Dirs, from: &Inputs<'_>) -> Result<Self, Error> {
        let mut sources = Sources::read(dirs, from)?;
        let mut notes = std::mem::take(&mut sources.notes);
        let (file, env, flags) = (&sources.file, &sources.env, from.flags);

        let wish = wish(file, flags, env, &sources.stored);
        let (choice, refusal) = match providers::choose(&wish, env, from.servers) {
            Ok(choice) => (choice, None),
            Err(why) => (nobody(&wish), Some(why)),
        };
        if choice.kind == Provider::Demo && wish.model.as_deref() != Some("demo") {
            notes.push("No provider is configured: this is the offline demo model".to_owned());
        }
        let (mode, about_mode) = sources.approvals(flags);
        let refused = refused(file, flags, env);
        notes.extend(about_mode.map(str::to_owned));
        notes.extend(refused.clone());
        notes.extend(file.unsupported.iter().cloned());
        if let Some(root) = env.get("HERMES_WRITE_SAFE_ROOT") {
            notes.push(format!("HERMES_WRITE_SAFE_ROOT={root} is not honoured"));
        }

        let limits = &sources.limits;
        let usual = Agent::default();
        let settings = Settings {
            state: dirs.state.clone(),
            exe: from.exe.to_owned(),
            cwd: sources.cwd.clone(),
            model: model(&choice, &sources, flags),
            agent: Agent {
                max_turns: flags.max_turns.or(limits.max_turns).or(file.max_turns).unwrap_or(90),
                clarify_timeout: file.clarify_timeout.unwrap_or(Duration::from_hours(1)),
                max_wakeups: file.own.max_wakeups,
                unattended_wait: file.own.unattended_wait,
                freshness: unless_zero(file.freshness, usual.freshness),
                notify_interval: unless_zero(file.notify_interval, usual.notify_interval),
                drain: file.drain.unwrap_or(usual.drain),
            },
            approvals: Approvals {
                mode,
                timeout: file.approval_timeout.unwrap_or(Duration::from_mins(1)),
                deny: file.deny.clone(),
                allow: file.allow.clone(),
            },
            terminal: Terminal {
                refused,
                shell: shell(env),
                timeout: limits.timeout.or(file.timeout).unwrap_or(Duration::from_mins(3)),
                max_timeout: limits.max_timeout.unwrap_or(Duration::from_mins(10)),
                env: sources.child_env(),
                withheld: sources.withheld(),
            },
            prompt: Prompt {
                soul: sources.soul.clone(),
                no_context_files: flags.ignore_rules || env.is_on("HERMES_IGNORE_RULES"),
                context_file_max_chars: file.context_file_max_chars.unwrap_or(20_000),
            },
            compression: file.compression,
            delegation: Delegation {
                max_iterations: file.max_iterations.unwrap_or(50),
                max_children: file.max_children.unwrap_or(3),
            },
            sources: vec![dirs.config(), dirs.auth()],
            timing: sources.timing,
        };
        let (provider, key_from, own) = (choice.provider, choice.key_from, file.own.clone());
        Ok(Self { settings, own, notes, refusal, provider, key_from, tree: sources.tree })
    }
}

/// The chosen model with what the file says of it.
/// A length of time where zero switches off.
fn unless_zero(wanted: Option<Duration>, usual: Option<Duration>) -> Option<Duration> {
    wanted.or(usual).filter(|time| !time.is_zero())
}

fn model(choice: &Choice, sources: &Sources, flags: &Flags) -> Model {
    let file = &sources.file;
    let kept = Kept::of(file, flags, &sources.env);
    let near = choice.kind == Provider::Ollama
        || choice.base_url.as_deref().is_some_and(providers::is_near);
    let stale = if near {
        file.local_stale.unwrap_or(Duration::from_mins(15))
    } else {
        Duration::from_mins(3)
    };
    Model {
        provider: choice.kind,
        name: choice.model.clone(),
        base_url: choice.base_url.clone(),
        api_key: choice.api_key.clone(),
        context_length: kept.context_length.or(choice.context_length),
        max_tokens: kept.max_tokens,
        retries: file.retries.unwrap_or(3),
        stale: sources.limits.stale.unwrap_or(stale),
    }
}

/// Reads a file that may be missing. Another failure is a problem.
fn read(path: &Path, problems: &mut Vec<Problem>) -> Option<String> {
    match std::fs::read(path) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => {
            let message = format!("cannot be read: {e}");
            problems.push(Problem { path: path.to_owned(), line: 0, message });
            None
        }
    }
}

/// Who is asked for, flags first. What the file says of one provider does not follow to another.
fn wish(
    file: &File,
    flags: &Flags,
    env: &Env,
    stored: &BTreeMap<String, providers::Stored>,
) -> providers::Wish {
    let model = named_model(flags, env);
    let provider = named_provider(flags, env);
    let same = is_same_provider(file, provider.as_deref());
    // A model the file ties to nobody goes with any provider.
    let free = is_unnamed(file.provider.as_deref()) && file.base_url.is_none();
    let of_file = |value: &Option<String>| value.clone().filter(|_| same);
    providers::Wish {
        model: model.or_else(|| file.model.clone().filter(|_| same || free)),
        provider: provider.or_else(|| file.provider.clone()),
        base_url: of_file(&file.base_url),
        api_key: of_file(&file.api_key),
        api_mode: of_file(&file.api_mode),
        endpoints: file.endpoints.clone(),
        stored: stored.clone(),
    }
}

fn named_model(flags: &Flags, env: &Env) -> Option<String> {
    let named = env.get("HERMES_INFERENCE_MODEL").or_else(|| env.get("HERMES_MODEL"));
    flags.model.clone().or_else(|| named.map(str::to_owned))
}

fn named_provider(flags: &Flags, env: &Env) -> Option<String> {
    flags.provider.clone().or_else(|| env.get("HERMES_INFERENCE_PROVIDER").map(str::to_owned))
}

fn is_unnamed(provider: Option<&str>) -> bool {
    matches!(provider, None | Some("auto"))
}

/// Whether the provider named outside the file is the one the file is about.
fn is_same_provider(file: &File, named: Option<&str>) -> bool {
    let Some(named) = named.filter(|n| *n != "auto") else { return true };
    let of_file = file.provider.as_deref().unwrap_or("auto");
    let full = |name: &str| match providers::find(name) {
        Some(entry) => entry.name.to_owned(),
        None => name.strip_prefix("custom:").unwrap_or(name).to_lowercase(),
    };
    full(named) == full(of_file) || (is_unnamed(Some(of_file)) && named == "custom")
}

/// What the file says of its own model alone.
struct Kept {
    context_length: Option<u64>,
    max_tokens: Option<u32>,
}

impl Kept {
    fn of(file: &File, flags: &Flags, env: &Env) -> Self {
        let same = is_same_provider(file, named_provider(flags, env).as_deref())
            && named_model(flags, env).is_none_or(|m| file.model.as_deref() == Some(m.as_str()));
        if same {
            Self { context_length: file.context_length, max_tokens: file.max_tokens }
        } else {
            Self { context_length: None, max_tokens: None }
        }
    }
}

/// What stands for a model that cannot be asked.
fn nobody(wish: &providers::Wish) -> Choice {
    Choice {
        provider: wish.provider.clone().unwrap_or_else(|| "none".to_owned()),
        kind: Provider::OpenAi,
        model: wish.model.clone().unwrap_or_default(),
        base_url: None,
        api_key: None,
        key_from: None,
        context_length: None,
    }
}

/// Why commands may not run here, if they may not.
fn refused(file: &File, flags: &Flags, env: &Env) -> Option<String> {
    if let Some(set) = file.disabled_toolsets.iter().find(|s| s.as_str() == "terminal") {
        return Some(format!("agent.disabled_toolsets lists {set}: commands do not run"));
    }
    let backend = env.get("TERMINAL_ENV").or(file.backend.as_deref()).unwrap_or("local");
    let allowed = flags.local_terminal || file.own.local_terminal;
    (backend != "local" && !allowed).then(|| {
        format!(
            "terminal.backend is {backend}, which hermes-tui does not have: commands do not run. \
             To run them on this machine set hermes_tui.terminal: local or pass --local-terminal"
        )
    })
}

/// The user's shell if it understands what agents write, else the system's.
fn shell(env: &Env) -> PathBuf {
    const KNOWN: [&str; 5] = ["bash", "zsh", "sh", "dash", "ksh"];
    let own = env.get("SHELL").map(PathBuf::from).filter(|path| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        path.is_absolute() && KNOWN.contains(&name) && path.is_file()
    });
    let bash = || Some(PathBuf::from("/bin/bash")).filter(|path| path.is_file());
    own.or_else(bash).unwrap_or_else(|| PathBuf::from("/bin/sh"))
}

#[cfg(test)]
mod tests;
