//! `config path`, `get` and `check`: the files, the settings in effect and the errors in them.
//! Changes nothing; no secret is ever shown whole.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use host::settings::{Mode, Provider};
use serde_json::{Map, Value, json};

use crate::args::ConfigCommand;
use crate::config::{Config, Error};
use crate::dirs::{Dirs, Owner};
use crate::providers::mask;

/// Runs the subcommand.
pub(crate) fn run(
    command: &ConfigCommand,
    dirs: &Dirs,
    config: Result<Config, Error>,
) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Path => paths(dirs),
        ConfigCommand::Get { key, json } => get(&config?, key.as_deref(), *json),
        ConfigCommand::Check => check(dirs, config),
    }
}

fn paths(dirs: &Dirs) -> anyhow::Result<ExitCode> {
    let places = [
        ("config", dirs.config()),
        ("env", dirs.env_file()),
        ("state", dirs.state.to_path_buf()),
        ("log", dirs.log()),
    ];
    let mut out = io::stdout().lock();
    for (name, path) in places {
        let missing = if path.exists() { "" } else { "  (missing)" };
        writeln!(out, "{name:<8}{}{missing}", path.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn check(dirs: &Dirs, config: Result<Config, Error>) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let config = match config {
        Ok(config) => config,
        Err(e) => {
            for problem in &e.problems {
                writeln!(out, "error   {problem}")?;
            }
            return Ok(ExitCode::from(2));
        }
    };
    let whose = match dirs.owner {
        Owner::Hermes => "of hermes",
        Owner::Own => "our own",
    };
    writeln!(out, "config  {} ({whose})", dirs.config().display())?;
    let name = &config.settings.model.name;
    match &config.refusal {
        None => writeln!(out, "model   {}/{name}", config.provider)?,
        Some(why) => writeln!(out, "error   {why}")?,
    }
    for note in &config.notes {
        writeln!(out, "note    {note}")?;
    }
    Ok(if config.refusal.is_some() { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

fn get(config: &Config, key: Option<&str>, as_json: bool) -> anyhow::Result<ExitCode> {
    let mut all = effective(config);
    redact(&mut all);
    let found = key.map_or(Some(&all), |key| key.split('.').try_fold(&all, |v, part| v.get(part)));
    let Some(found) = found.filter(|v| !v.is_null()) else {
        anyhow::bail!("{} is not set", key.unwrap_or("nothing"));
    };
    let mut out = io::stdout().lock();
    match found {
        Value::String(text) if !as_json => writeln!(out, "{text}")?,
        other if as_json => writeln!(out, "{other}")?,
        other => writeln!(out, "{other:#}")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The settings of the file, overridden by those in effect.
fn effective(config: &Config) -> Value {
    let (settings, own) = (&config.settings, &config.own);
    let model = &settings.model;
    let mut all = match config.tree.to_json() {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    let ours = json!({
        "model": {
            "default": model.name,
            "provider": config.provider,
            "base_url": model.base_url,
            "api_key": model.api_key,
            "api_mode": api_mode(model.provider),
            "context_length": model.context_length,
            "max_tokens": model.max_tokens,
        },
        "agent": {
            "max_turns": settings.agent.max_turns,
            "api_max_retries": model.retries,
            "clarify_timeout": seconds(settings.agent.clarify_timeout),
            "gateway_auto_continue_freshness":
                seconds(settings.agent.freshness.unwrap_or_default()),
            "gateway_notify_interval":
                seconds(settings.agent.notify_interval.unwrap_or_default()),
            "restart_drain_timeout": seconds(settings.agent.drain),
        },
        "terminal": {
            "cwd": settings.cwd,
            "timeout": seconds(settings.terminal.timeout),
            "shell": settings.terminal.shell,
        },
        "approvals": {
            "mode": approval_mode(settings.approvals.mode),
            "timeout": seconds(settings.approvals.timeout),
            "deny": settings.approvals.deny,
        },
        "command_allowlist": settings.approvals.allow,
        "context_file_max_chars": settings.prompt.context_file_max_chars,
        "hermes_tui": {
            "terminal": own.local_terminal.then_some("local"),
            "max_wakeups": own.max_wakeups,
            "on_hangup": own.on_hangup.as_str(),
            "unattended_wait": seconds(own.unattended_wait),
            "follow": own.follow,
        },
    });
    overlay(&mut all, ours);
    Value::Object(all)
}

/// The value of `model.api_mode` for a kind of provider.
fn api_mode(provider: Provider) -> &'static str {
    match provider {
        Provider::OpenAi => "chat_completions",
        Provider::Anthropic => "anthropic_messages",
        Provider::Gemini => "gemini",
        Provider::Ollama => "ollama",
        Provider::Demo => "demo",
    }
}

/// The value of `approvals.mode`.
fn approval_mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Manual => "manual",
        Mode::Off => "off",
    }
}

/// Replaces values of a map by those of another, recursively.
fn overlay(under: &mut Map<String, Value>, over: Value) {
    let Value::Object(over) = over else { return };
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Object(under)), value @ Value::Object(_)) => overlay(under, value),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

/// Seconds, as an integer where they are whole.
fn seconds(time: Duration) -> Value {
    match time.subsec_nanos() {
        0 => time.as_secs().into(),
        _ => time.as_secs_f64().into(),
    }
}

/// Masks all texts whose key says that they are secret, and keys within addresses.
fn redact(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if is_secret(key) && !text.contains("${") => {
                        *text = mask(text);
                    }
                    Value::String(text) => *text = without_login(text),
                    other => redact(other),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(redact),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_secret(key: &str) -> bool {
    const WORDS: [&str; 8] =
        ["key", "apikey", "token", "secret", "password", "passwd", "authorization", "cookie"];
    let key = key.to_lowercase();
    key.split(['_', '-', '.']).next_back().is_some_and(|word| WORDS.contains(&word))
}

/// An address without the name and password in it.
fn without_login(text: &str) -> String {
    let parts = text.split_once("://").and_then(|(scheme, rest)| {
        let end = rest.find('/').unwrap_or(rest.len());
        let at = rest.get(..end)?.rfind('@')?;
        Some(format!("{scheme}://…{}", rest.get(at..)?))
    });
    parts.unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_by_the_name_of_their_key() {
        let mut value = json!({
            "model": {"api_key": "sk-0123456789abcdefghij", "max_tokens": 5, "key_env": "NAME"},
            "mcp_servers": {"x": {"env": {"GITHUB_TOKEN": "ghp_short"}, "url": "https://u:p@h/x"}},
            "list": [{"password": "${FROM_ENV}"}],
        });
        redact(&mut value);
        assert_eq!(value["model"]["api_key"], "…ghij");
        assert_eq!(value["model"]["key_env"], "NAME");
        assert_eq!(value["model"]["max_tokens"], 5);
        assert_eq!(value["mcp_servers"]["x"]["env"]["GITHUB_TOKEN"], "…");
        assert_eq!(value["mcp_servers"]["x"]["url"], "https://…@h/x");
        assert_eq!(value["list"][0]["password"], "${FROM_ENV}");
    }
}
