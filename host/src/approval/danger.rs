//! Finds the rules that a script fires. What follows from them is decided in [`super::check`].

mod code;
mod deletes;

use super::paths::{self, WriteTarget};
use super::rules::{SHAPES, Shape, VALUED};
use super::shell::{Call, HOLE, Script};
use super::wrap;

/// A rule that fired, and where.
#[derive(Debug)]
pub(super) struct RuleHit {
    /// The rule's id.
    pub(super) rule: &'static str,
    /// The part of the command.
    pub(super) part: String,
}

/// All rules that a script fires.
pub(super) fn hits(script: &Script) -> Vec<RuleHit> {
    let mut hits: Vec<RuleHit> =
        script.bombs.iter().map(|part| RuleHit { rule: "fork-bomb", part: part.clone() }).collect();
    for call in &script.calls {
        let mut rules = Vec::new();
        check_words(call, &mut rules);
        deletes::check(call, &mut rules);
        check_permissions(call, &mut rules);
        check_writes(call, &mut rules);
        check_signals(call, &mut rules);
        code::check(call, script, &mut rules);
        code::sql(call, script, &mut rules);
        hits.extend(rules.into_iter().map(|rule| RuleHit { rule, part: call.part.clone() }));
    }
    hits.extend(code::downloaded(script));
    hits
}

/// Searches text that cannot be parsed for hard blocks. Coarse on purpose.
pub(super) fn scan(command: &str) -> Vec<RuleHit> {
    const PATTERNS: &[(&str, &str)] = &[
        (
            "delete-root",
            r#"(?i)\brm\s+(?:-\S+\s+)*-\S*r\S*\s+(?:-\S+\s+)*["']?(?:/|~|\$HOME|\$\{HOME\}|/(?:etc|usr|bin|sbin|boot|lib|lib64|var|sys|proc|dev|home|root))["']?/?\*?["']?(?:[\s;&|)]|$)"#,
        ),
        ("format-disk", r"(?:^|[\s;&|(])mkfs(?:\.\w+)?\s"),
        ("raw-disk-write", r"(?:of=|>\s*)/dev/(?:sd[a-z]|hd[a-z]|vd[a-z]|nvme|mmcblk|disk)"),
        ("fork-bomb", r":\s*\(\s*\)\s*\{\s*:\s*\|\s*:"),
        ("power-off", r"(?:^|[;&|(\n]\s*|sudo\s+)(?:shutdown|reboot|halt|poweroff)\b"),
    ];
    PATTERNS
        .iter()
        .filter_map(|(rule, pattern)| {
            let found = regex::Regex::new(pattern).ok()?.find(command)?;
            Some(RuleHit { rule, part: found.as_str().trim().to_owned() })
        })
        .collect()
}

/// Rules that the words alone fire.
fn check_words(call: &Call, rules: &mut Vec<&'static str>) {
    let name = call.name();
    let Some(word) = call.words.first() else { return };
    let globbed = word.contains(['*', '?']) || (word.contains('[') && word.contains(']'));
    if name.contains(HOLE) || (globbed && !matches!(word.as_str(), "[" | "[[")) {
        rules.push("dynamic-command");
    }
    if matches!(call.args(), [only] if only == "--help" || only == "--version") {
        return;
    }
    if matches!(name, "sudo" | "doas" | "su" | "pkexec" | "runuser") {
        rules.push("sudo");
        let fed = !call.io.feeds.is_empty() || call.io.text.is_some();
        if name == "sudo" && fed && sudo_stdin(call.args()) {
            rules.push("sudo-password-guess");
        }
    }
    rules.extend(SHAPES.iter().filter(|s| fits(s, name, call.args())).map(|s| s.rule));
    if call.part.contains("LD_PRELOAD=") || call.part.contains("DYLD_INSERT_LIBRARIES=") {
        let sets = |w: &String| w.starts_with("LD_PRELOAD=") || w.starts_with("DYLD_INSERT");
        let first = call.part.split_whitespace().next().unwrap_or_default();
        if call.words.iter().any(sets) || sets(&first.to_owned()) {
            rules.push("preload");
        }
    }
}

fn sudo_stdin(args: &[String]) -> bool {
    args.iter()
        .take_while(|arg| arg.starts_with('-'))
        .any(|arg| arg == "--stdin" || wrap::short(arg, 'S'))
}

/// Whether a command has a shape.
fn fits(shape: &Shape, name: &str, args: &[String]) -> bool {
    let mut tokens = shape.tokens.split_whitespace();
    if !tokens.next().is_some_and(|programs| any_of(programs, name)) {
        return false;
    }
    let valued = VALUED.iter().find(|(program, _)| *program == name).map_or(&[][..], |(_, v)| *v);
    let (mut plain, mut options) = (Vec::new(), Vec::new());
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if (arg.starts_with('-') || arg.starts_with('+')) && arg.len() > 1 {
            options.push(arg.as_str());
            if plain.is_empty() && valued.contains(&arg.as_str()) {
                rest.next();
            }
        } else {
            plain.push(arg.as_str());
        }
    }
    let mut at = 0;
    tokens.all(|token| {
        if token.starts_with(['-', '+']) {
            return token.split('|').any(|wanted| options.iter().any(|has| option(wanted, has)));
        }
        let found = plain.iter().skip(at).position(|word| any_of(token, word));
        let found = found.filter(|offset| at > 0 || *offset == 0);
        at += found.map_or(0, |offset| offset + 1);
        found.is_some()
    })
}

fn any_of(alternatives: &str, word: &str) -> bool {
    alternatives.split('|').any(|wanted| match wanted.split_once('*') {
        None => wanted == word,
        Some((head, "")) => word.starts_with(head),
        Some((head, tail)) => word.starts_with(head) && word.contains(tail.trim_end_matches('*')),
    })
}

fn option(wanted: &str, has: &str) -> bool {
    if let Some(head) = wanted.strip_suffix('*') {
        return has.starts_with(head);
    }
    let letter = wanted.strip_prefix('-').filter(|w| w.chars().count() == 1);
    match letter.and_then(|w| w.chars().next()) {
        Some(letter) if letter.is_alphabetic() => wrap::short(has, letter),
        _ => has == wanted || has.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('=')),
    }
}

/// Arguments that are not options.
fn operands(args: &[String]) -> impl Iterator<Item = &String> {
    let end = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
    args.iter()
        .enumerate()
        .filter(move |(at, arg)| *at != end && (*at > end || !arg.starts_with('-') || *arg == "-"))
        .map(|(_, arg)| arg)
}

/// An option by its letter or by its long name, abbreviated or not.
fn has_option(args: &[String], letters: &str, long: &str) -> bool {
    args.iter().take_while(|arg| *arg != "--").any(|arg| {
        letters.chars().any(|letter| wrap::short(arg, letter))
            || (arg.len() > 2 && arg.starts_with("--") && long.starts_with(arg.as_str()))
    })
}

fn is_precious(path: &str, call: &Call) -> bool {
    paths::is_precious(&paths::resolve(path, call.cwd.as_deref()))
}
fn check_permissions(call: &Call, rules: &mut Vec<&'static str>) {
    let args = call.args();
    let name = call.name();
    if !matches!(name, "chmod" | "chown" | "chgrp") {
        return;
    }
    if has_option(args, "R", "--recursive") && operands(args).any(|path| is_precious(path, call)) {
        rules.push("system-permissions");
    }
    let first = args.iter().find(|arg| !arg.starts_with("--") && !is_option(arg));
    let mode = first.map_or("", String::as_str);
    if name == "chown"
        && (mode == "root" || mode.starts_with("root:") || mode == "0" || mode.starts_with("0:"))
    {
        rules.push("chown-root");
    }
    if name == "chmod" {
        let octal = mode.len() >= 3 && mode.chars().all(|c| c.is_digit(8));
        let last = mode.chars().last().and_then(|c| c.to_digit(8)).unwrap_or_default();
        let clause = |who: &[char], what: char| {
            mode.split(',').any(|clause| {
                clause.split_once(['+', '=']).is_some_and(|(to, bits)| {
                    (to.is_empty() || to.contains(who)) && bits.contains(what)
                })
            })
        };
        if (octal && last & 2 != 0) || clause(&['o', 'a'], 'w') {
            rules.push("world-writable");
        }
        let special = octal && mode.len() == 4 && mode.starts_with(['2', '4', '6', '7']);
        if special || clause(&['u', 'g', 'a'], 's') {
            rules.push("setuid");
        }
    }
}

/// `-x` is a mode for chmod, `-R` an option.
fn is_option(arg: &str) -> bool {
    arg.strip_prefix('-').is_some_and(|rest| rest.chars().all(|c| "RvfcHLPh".contains(c)))
}

/// The files a command would change, apart from its redirections.
fn targets(call: &Call) -> Vec<String> {
    let args = call.args();
    let all = || operands(args).cloned().collect::<Vec<_>>();
    let after = |options: &[&str]| {
        let at = args.iter().position(|arg| options.contains(&arg.as_str()));
        at.and_then(|at| args.get(at + 1)).cloned()
    };
    match call.name() {
        "rm" | "unlink" | "tee" | "sponge" | "truncate" | "shred" | "chattr" => all(),
        "dd" => args.iter().filter_map(|arg| arg.strip_prefix("of=")).map(str::to_owned).collect(),
        "cp" | "install" | "ln" | "mv" | "rsync" | "scp" => {
            let mut paths = all();
            let target = after(&["-t", "--target-directory"]).or_else(|| paths.pop());
            let Some(target) = target else { return Vec::new() };
            let base = |path: &String| {
                let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                format!("{target}/{name}")
            };
            let is_dir = target.ends_with(['/', '.']) || target == "~";
            let mut found: Vec<String> =
                if is_dir { paths.iter().map(base).collect() } else { Vec::new() };
            found.push(target.clone());
            if call.name() == "mv" {
                found.extend(paths);
            }
            found
        }
        "sed" | "gsed" | "perl" | "ruby" if in_place(args) => {
            let given = args.iter().any(|arg| arg.starts_with("-e") || arg.starts_with("-f"));
            all().into_iter().skip(usize::from(!given)).collect()
        }
        "curl" => after(&["-o", "--output"]).into_iter().collect(),
        "wget" => after(&["-O", "--output-document"]).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn in_place(args: &[String]) -> bool {
    args.iter().any(|arg| {
        arg.starts_with("--in-place")
            || arg.starts_with("-i")
            || (arg.len() < 6 && wrap::short(arg, 'i') && !arg.starts_with("-e"))
    })
}

fn check_writes(call: &Call, rules: &mut Vec<&'static str>) {
    for path in call.io.writes.iter().chain(&targets(call)) {
        let path = paths::resolve(path, call.cwd.as_deref());
        match paths::write_target(&path) {
            WriteTarget::Ordinary => {}
            WriteTarget::Disk => rules.push("raw-disk-write"),
            WriteTarget::Device => rules.push("device-write"),
            WriteTarget::Network => rules.push("reverse-shell"),
            WriteTarget::Hermes => rules.push("hermes-state"),
            WriteTarget::Credentials => rules.push("credentials-write"),
            WriteTarget::ShellStart => rules.push("shell-startup-write"),
            WriteTarget::EnvFile => rules.push("env-file-write"),
            WriteTarget::GitInternals => rules.push("git-internals-write"),
            WriteTarget::System => rules.push("system-write"),
        }
    }
    let connects = matches!(call.name(), "nc" | "ncat" | "netcat" | "socat");
    let runs = |arg: &String| {
        matches!(arg.as_str(), "-e" | "-c" | "--exec" | "--sh-exec")
            || arg.to_lowercase().contains("exec:")
    };
    if connects && call.args().iter().any(runs) {
        rules.push("reverse-shell");
    }
}

fn check_signals(call: &Call, rules: &mut Vec<&'static str>) {
    if call.name() != "kill" {
        if matches!(call.name(), "pkill" | "killall")
            && call.args().iter().any(|arg| arg.contains("hermes"))
        {
            rules.push("hermes-state");
        }
        return;
    }
    let args = call.args();
    let everyone = match args {
        [only] => only == "-1",
        _ => args.iter().skip(1).any(|arg| arg == "-1"),
    };
    if everyone {
        rules.push("kill-everything");
    }
}
