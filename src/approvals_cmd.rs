//! `approvals check`: whether a command would be allowed, asked about or blocked, without running
//! it.

use host::approval::{Decision, Finding, Grants, Policy};
use host::settings::Settings;
use host::store::Reader;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use crate::args;

/// Runs the subcommand with what is configured and what was always allowed.
pub(crate) fn run(settings: &Settings, command: &args::Approvals) -> anyhow::Result<ExitCode> {
    let args::Approvals::Check { json, command } = command;
    let granted = Reader::open(&settings.state)?.granted()?;
    let approvals = &settings.approvals;
    let policy = Policy {
        mode: approvals.mode,
        deny: approvals.deny.clone(),
        always: approvals.allow.iter().cloned().chain(granted).collect(),
    };
    check(command, *json, &policy)
}

/// Prints the verdict on a command, given as one word (a command line) or as several (its words).
/// The exit code is 0 for every verdict, 2 when there is no command.
fn check(command: &[String], json: bool, policy: &Policy) -> anyhow::Result<ExitCode> {
    let line = match command {
        [] => {
            write_all(
                &mut std::io::stderr().lock(),
                "approvals check: put the command after --\n",
            )?;
            return Ok(ExitCode::from(2));
        }
        [line] => line.clone(),
        words => words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" "),
    };
    let decision = host::approval::check(&line, policy, &Grants::default());
    let text = if json { as_json(&line, &decision) } else { as_text(&decision) };
    write_all(&mut std::io::stdout().lock(), &format!("{text}\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn as_json(command: &str, decision: &Decision) -> String {
    let (word, finding) = parts(decision);
    serde_json::json!({
        "command": command,
        "verdict": word,
        "rule": finding.map(|f| f.rule),
        "reason": finding.map(|f| f.reason.as_str()),
        "part": finding.map(|f| f.part.as_str()),
        "allow_always": finding.map(|f| f.allow_always),
    })
    .to_string()
}

fn as_text(decision: &Decision) -> String {
    let (word, finding) = parts(decision);
    let Some(finding) = finding else { return word.to_owned() };
    // The command may hold anything; a terminal is shown no control characters.
    let part: String = finding
        .part
        .chars()
        .map(|c| if c == '\n' || is_plain(c) { c } else { '\u{fffd}' })
        .collect();
    format!("{word}\nrule: {}\nreason: {}\npart: {part}", finding.rule, finding.reason)
}

fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn parts(decision: &Decision) -> (&'static str, Option<&Finding>) {
    match decision {
        Decision::Allow => ("allow", None),
        Decision::Ask(finding) => ("ask", Some(finding)),
        Decision::Block(finding) => ("block", Some(finding)),
    }
}

/// A word as a shell reads it back.
fn quote(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Writes text. A reader that closed the pipe early is no error.
fn write_all(out: &mut impl Write, text: &str) -> std::io::Result<()> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::settings::Mode;

    fn decision(command: &str) -> Decision {
        let policy = Policy { mode: Mode::Manual, deny: Vec::new(), always: Vec::new() };
        host::approval::check(command, &policy, &Grants::default())
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quote("ls"), "ls");
        assert_eq!(quote("rm -rf /"), "'rm -rf /'");
        assert_eq!(quote("it's"), "'it'\\''s'");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn the_report_names_verdict_rule_and_part() {
        assert_eq!(as_text(&decision("ls")), "allow");
        let text = as_text(&decision("ls; rm -rf /"));
        assert!(text.starts_with("block\nrule: delete-root\n"), "{text}");
        assert!(text.ends_with("\npart: rm -rf /"), "{text}");
        let json = as_json("sudo ls", &decision("sudo ls"));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["verdict"], &json["rule"]), (&"ask".into(), &"sudo".into()));
        assert_eq!(json["allow_always"], false);
    }

    #[test]
    fn no_control_character_reaches_a_terminal() {
        assert!(!as_text(&decision("ls \u{1b}]0;x\u{7}")).contains('\u{1b}'));
    }
}
