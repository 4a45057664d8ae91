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
    /// Compression of the context.
    pub compression: Compression,
    /// Delegated tasks.
    pub delegation: Delegation,
    /// The files that decide which models there are: config.yaml and auth.json, whether they exist
    /// or not (S06).
    pub sources: Vec<PathBuf>,
    /// How long the host and its clients wait where nothing but time decides.
    pub timing: Timing,
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
    /// How old the last row of an interrupted turn may be for the turn to go on by itself;
    /// `None` = it never does (`agent.gateway_auto_continue_freshness`, 3600 s; ≤ 0 = never; R01).
    pub freshness: Option<Duration>,
    /// After how long a running turn says that it still works, and again after as long each;
    /// `None` = never (`agent.gateway_notify_interval`, 180 s; 0 = off; R10).
    pub notify_interval: Option<Duration>,
    /// How long a graceful stop lets running turns finish (`agent.restart_drain_timeout`, 0; R05).
    pub drain: Duration,
    /// Wakeup turns in a row without a user; further ones are held (`hermes_tui.max_wakeups`, 20;
    /// W31).
    pub max_wakeups: u32,
    /// How long a question waits that no front end has shown (`hermes_tui.unattended_wait`, 24 h;
    /// C16).
    pub unattended_wait: Duration,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            max_turns: 90,
            clarify_timeout: Duration::from_hours(1),
            freshness: Some(Duration::from_hours(1)),
            notify_interval: Some(Duration::from_mins(3)),
            drain: Duration::ZERO,
            max_wakeups: 20,
            unattended_wait: Duration::from_hours(24),
        }
    }
}

/// When and how the model's context is compressed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compression {
    /// By itself, when the context fills up (`compression.enabled`, true).
    pub enabled: bool,
    /// At this part of the context (`compression.threshold`, 0.5; small windows 0.75 at least).
    pub threshold: f64,
    /// The tail that is kept, as a part of that (`compression.target_ratio`, 0.2).
    pub target_ratio: f64,
    /// Messages at the beginning that are kept as they are (`compression.protect_first_n`, 3).
    pub protect_first: usize,
    /// Messages at the end that are kept where they fit (`compression.protect_last_n`, 20).
    pub protect_last: usize,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            enabled: true,
            threshold: 0.5,
            target_ratio: 0.2,
            protect_first: 3,
            protect_last: 20,
        }
    }
}

/// Tasks that the agent gives to sessions of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// Most requests of one (`delegation.max_iterations`, 50).
    pub max_iterations: u32,
    /// How many of a session run at once (`delegation.max_concurrent_children`, 3).
    pub max_children: usize,
}

impl Default for Delegation {
    fn default() -> Self {
        Self { max_iterations: 50, max_children: 3 }
    }
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

/// Waiting times that no user can set. They are values, not constants, so that a test can shorten
/// a wait that its rule does not depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a cancelled turn may take to unwind before its session goes on without it (10 s;
    /// W23).
    pub unwind: Duration,
    /// Shortest time between two matches of one process that are reported (15 s; P03).
    pub match_gap: Duration,
    /// How long matches of all sessions are dropped once there were too many (30 s; P04).
    pub match_silence: Duration,
    /// Silence after which a stream of the server carries a comment (5 s; E07).
    pub keepalive: Duration,
    /// Pause of a client before it connects again for the first time (1.5 s; E08).
    pub reconnect: Duration,
    /// Longest pause between two tries of a client to connect (20 s; E08).
    pub reconnect_at_most: Duration,
    /// For how long a client uses an idle connection again (10 s). Less than a server keeps it
    /// (30 s), and less than the silence after which a stream counts as dead, so that no request
    /// goes into the dead link beside it.
    pub idle: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            unwind: Duration::from_secs(10),
            match_gap: Duration::from_secs(15),
            match_silence: Duration::from_secs(30),
            keepalive: Duration::from_secs(5),
            reconnect: Duration::from_millis(1500),
            reconnect_at_most: Duration::from_secs(20),
            idle: Duration::from_secs(10),
        }
    }
}

impl Timing {
    /// The time of that name, if there is one.
    pub fn by_name(&mut self, name: &str) -> Option<&mut Duration> {
        Some(match name {
            "unwind" => &mut self.unwind,
            "match_gap" => &mut self.match_gap,
            "match_silence" => &mut self.match_silence,
            "keepalive" => &mut self.keepalive,
            "reconnect" => &mut self.reconnect,
            "reconnect_at_most" => &mut self.reconnect_at_most,
            "idle" => &mut self.idle,
            _ => return None,
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    // P03 P04 E07 E08 W23
    #[test]
    fn the_built_in_waiting_times_are_the_rules() {
        let timing = Timing::default();
        assert_eq!(timing.unwind, Duration::from_secs(10));
        assert_eq!(timing.match_gap, Duration::from_secs(15));
        assert_eq!(timing.match_silence, Duration::from_secs(30));
        assert_eq!(timing.keepalive, Duration::from_secs(5));
        assert_eq!(timing.reconnect, Duration::from_millis(1500));
        assert_eq!(timing.reconnect_at_most, Duration::from_secs(20));
        assert_eq!(timing.idle, Duration::from_secs(10));
    }
}
