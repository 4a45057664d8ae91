//! What the host needs to be told: plain values, read by the binary from flags, environment and
//! config.yaml. The host itself reads no environment variable and looks for no home.

use std::path::PathBuf;
use std::time::Duration;

/// All of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of our own state: database, host lock, process folders.
    pub state: PathBuf,
    /// The program that is started as a supervisor: our own binary.
    pub exe: PathBuf,
    /// Where new sessions work.
    pub cwd: PathBuf,
    /// The model.
    pub model: Model,
    /// The agent loop.
    pub agent: Agent,
    /// Approvals.
    pub approvals: Approvals,
    /// Commands.
    pub terminal: Terminal,
    /// The system prompt.
    pub prompt: Prompt,
}

impl Settings {
    /// The name of the configured model, as `/model` takes it.
    pub fn model_name(&self) -> String {
        match self.model.provider {
            Provider::Demo => "demo".to_owned(),
            Provider::OpenAi | Provider::Anthropic | Provider::Gemini | Provider::Ollama => {
                self.model.name.clone()
            }
        }
    }
}

/// Which model to use and how to reach it.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Who serves it.
    pub provider: Provider,
    /// Its name at the provider.
    pub name: String,
    /// Base URL, for `Provider::OpenAi` and others that can be moved (with `/v1` where the
    /// server wants it).
    pub base_url: Option<String>,
    /// The key.
    pub api_key: Option<String>,
    /// Context length in tokens, when configured.
    pub context_length: Option<u64>,
    /// Longest answer in tokens, when configured.
    pub max_tokens: Option<u32>,
    /// How often a request that fails in passing is sent again (`agent.api_max_retries`, 3).
    pub retries: u32,
    /// Longest silence of a stream before it counts as broken.
    pub stale: Duration,
}

/// Who serves a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Any server that speaks OpenAI's chat completions.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
    /// Google's Gemini.
    Gemini,
    /// A local Ollama.
    Ollama,
    /// The built-in demo model: offline, deterministic.
    Demo,
}

/// The agent loop.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Most requests per turn (`agent.max_turns`, 90).
    pub max_turns: u32,
    /// How long a clarify question stays open (`agent.clarify_timeout`, 3600 s).
    pub clarify_timeout: Duration,
}

/// Approvals.
#[derive(Clone, Debug)]
pub struct Approvals {
    /// Ask, or let everything pass that is not blocked.
    pub mode: Mode,
    /// How long an approval stays open (`approvals.timeout`, 60 s).
    pub timeout: Duration,
    /// Globs of commands that never run (`approvals.deny`).
    pub deny: Vec<String>,
    /// Ids of rules that are always granted (`command_allowlist`).
    pub allow: Vec<String>,
}

/// Whether dangerous commands are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Yes (`manual`; `smart` is treated the same).
    Manual,
    /// No (`off`, `--yolo`). Hard blocks and `deny` still hold.
    Off,
}

/// Commands.
#[derive(Clone, Debug)]
pub struct Terminal {
    /// Why commands may not run here, if they may not (`terminal.backend` is not `local`).
    pub refused: Option<String>,
    /// The shell.
    pub shell: PathBuf,
    /// Seconds a foreground command may run when the agent names no limit (180).
    pub timeout: Duration,
    /// The longest a foreground command may ask for (600 s).
    pub max_timeout: Duration,
    /// The environment children start from, already without provider keys and without
    /// `HERMES_SESSION_*` of an outer session.
    pub env: Vec<(String, String)>,
    /// Names of variables children never get, also when a login shell sets them.
    pub withheld: Vec<String>,
}

/// The system prompt's sources.
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    /// The text of SOUL.md, if there is one.
    pub soul: Option<String>,
    /// Leave out context files (`--ignore-rules`).
    pub no_context_files: bool,
    /// Most characters of a context file (`context_file_max_chars`; default 20 000).
    pub context_file_max_chars: usize,
}
