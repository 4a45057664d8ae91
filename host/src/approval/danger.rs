//! Finds in a read script what the rules are about. It names rules; what follows from them is
//! decided in [`super::check`].

use super::paths::{self, Place};
use super::rules::{SHAPES, Shape, VALUED};
use super::shell::{Call, HOLE, Script};
use super::wrap;

/// A rule that fired, and where.
#[derive(Debug)]
pub(super) struct Hit {
    /// The rule's id.
    pub(super) rule: &'static str,
    /// The part of the command.
    pub(super) part: String,
}

/// Everything dangerous in a script.
pub(super) fn hits(script: &Script) -> Vec<Hit> {
    let mut hits: Vec<Hit> =
        script.bombs.iter().map(|part| Hit { rule: "fork-bomb", part: part.clone() }).collect();
    for call in &script.calls {
        let mut rules = Vec::new();
        words(call, &mut rules);
        deletes(call, &mut rules);
        permissions(call, &mut rules);
        written(call, &mut rules);
        signals(call, &mut rules);
        code(call, script, &mut rules);
        data(call, script, &mut rules);
        hits.extend(rules.into_iter().map(|rule| Hit { rule, part: call.part.clone() }));
    }
    hits.extend(downloaded(script));
    hits
}

/// Looks for hard blocks in text that cannot be parsed. Coarse on purpose.
pub(super) fn scan(command: &str) -> Vec<Hit> {
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
            Some(Hit { rule, part: found.as_str().trim().to_owned() })
        })
        .collect()
}

/// What the words alone tell.
fn words(call: &Call, rules: &mut Vec<&'static str>) {
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

/// Arguments that are no options.
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

fn deletes(call: &Call, rules: &mut Vec<&'static str>) {
    let args = call.args();
    match call.name() {
        "rm" => {
            let unknown = args.iter().any(|arg| arg.starts_with(HOLE));
            let recursive = has_option(args, "rR", "--recursive");
            let precious = operands(args).any(|path| is_precious(path, call));
            if args.iter().any(|arg| arg == "--no-preserve-root") || (recursive && precious) {
                rules.push("delete-root");
            }
            if (recursive && operands(args).any(|path| paths::is_open(path)))
                || (unknown && precious)
            {
                rules.push("delete-unknown");
            }
            if recursive {
                rules.push("recursive-delete");
            }
        }
        "find" | "fd" | "fdfind" => {
            let removes = ["rm", "unlink", "shred", "/bin/rm", "/usr/bin/rm"];
            let runs = args.windows(2).any(|pair| match pair {
                [option, program] => {
                    option.trim_start_matches('-').starts_with("exec")
                        && removes.contains(&program.as_str())
                        || matches!(option.as_str(), "-x" | "-X" | "-ok" | "-okdir")
                            && removes.contains(&program.as_str())
                }
                _ => false,
            });
            if !runs && !args.iter().any(|arg| arg == "-delete") {
                return;
            }
            rules.push("find-delete");
            let narrow = [
                "-name",
                "-iname",
                "-path",
                "-ipath",
                "-wholename",
                "-regex",
                "-iregex",
                "-mtime",
                "-mmin",
                "-newer",
                "-size",
                "-empty",
                "-user",
                "-atime",
                "-ctime",
                "-samefile",
            ];
            let mut places = args
                .iter()
                .take_while(|a| !a.starts_with('-') && *a != "(" && *a != "!")
                .peekable();
            let here =
                places.peek().is_none() && call.cwd.as_deref().is_some_and(paths::is_precious);
            if !args.iter().any(|arg| narrow.contains(&arg.as_str()))
                && (here || places.any(|path| is_precious(path, call)))
            {
                rules.push("delete-root");
            }
        }
        "xargs" | "parallel" => {
            let removes = |arg: &String| {
                matches!(wrap::name(std::slice::from_ref(arg)), "rm" | "unlink" | "shred")
            };
            if args.iter().any(removes) {
                rules.push("find-delete");
            }
        }
        "truncate" if args.iter().any(|arg| matches!(arg.as_str(), "-s0" | "--size=0" | "0")) => {
            rules.push("truncate");
        }
        _ => {}
    }
}

fn permissions(call: &Call, rules: &mut Vec<&'static str>) {
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

/// The files a command would change, besides its redirections.
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
            let folder = target.ends_with(['/', '.']) || target == "~";
            let mut found: Vec<String> =
                if folder { paths.iter().map(base).collect() } else { Vec::new() };
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

fn written(call: &Call, rules: &mut Vec<&'static str>) {
    for path in call.io.writes.iter().chain(&targets(call)) {
        let path = paths::resolve(path, call.cwd.as_deref());
        match paths::place(&path) {
            Place::Ordinary => {}
            Place::Disk => rules.push("raw-disk-write"),
            Place::Device => rules.push("device-write"),
            Place::Network => rules.push("reverse-shell"),
            Place::Hermes => rules.push("hermes-state"),
            Place::Credentials => rules.push("credentials-write"),
            Place::ShellStart => rules.push("shell-startup-write"),
            Place::EnvFile => rules.push("env-file-write"),
            Place::GitInternals => rules.push("git-internals-write"),
            Place::System => rules.push("system-write"),
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

fn signals(call: &Call, rules: &mut Vec<&'static str>) {
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

/// The commands a call runs the output of.
fn sources<'s>(call: &Call, script: &'s Script) -> Vec<&'s Call> {
    let at = |range: &std::ops::Range<usize>| script.calls.get(range.clone()).unwrap_or_default();
    at(&call.io.feeds).iter().chain(at(&call.inner)).collect()
}

fn fetches(call: &Call) -> bool {
    matches!(
        call.name(),
        "curl" | "wget" | "fetch" | "aria2c" | "http" | "https" | "xh" | "nc" | "ncat"
    )
}

fn decodes(call: &Call) -> bool {
    let args = call.args();
    match call.name() {
        "base64" | "base32" | "gbase64" => has_option(args, "dD", "--decode"),
        "xxd" => has_option(args, "r", "--reverse") || args.iter().any(|arg| arg == "-r"),
        "openssl" => args.iter().any(|arg| arg == "-d"),
        "rev" | "tr" | "gunzip" | "zcat" | "uudecode" | "gpg" => true,
        "gzip" | "xz" | "bzip2" | "zstd" => has_option(args, "d", "--decompress"),
        _ => false,
    }
}

const INTERPRETERS: &[&str] = &[
    "python",
    "python2",
    "python3",
    "pypy3",
    "perl",
    "ruby",
    "node",
    "nodejs",
    "deno",
    "bun",
    "php",
    "lua",
    "osascript",
    "Rscript",
    "awk",
    "gawk",
];

fn interpreter(name: &str) -> bool {
    INTERPRETERS.contains(&name) || name.starts_with("python3.") || name.starts_with("python2.")
}

fn code(call: &Call, script: &Script, rules: &mut Vec<&'static str>) {
    let name = call.name();
    let shell = wrap::is_shell(name);
    let runs_shell = shell || matches!(name, "eval" | "source" | "." | "su");
    let bare = call.args().iter().all(|arg| arg.starts_with('-'));
    let runs_text = runs_shell || (interpreter(name) && !matches!(name, "awk" | "gawk"));
    if runs_text {
        let from = sources(call, script);
        let fed = wrap::reads_code(&call.words) || (bare && interpreter(name));
        let piped = fed && !call.io.feeds.is_empty();
        let inner = !call.inner.is_empty() && program(call).any(|word| word.contains(HOLE));
        let literal = from.iter().all(|c| matches!(c.name(), "echo" | "printf"))
            && !from.iter().any(|c| c.words.iter().any(|w| w.contains(HOLE)));
        if (piped || inner) && from.iter().any(|c| fetches(c)) {
            rules.push("remote-code");
        } else if (piped || inner) && from.iter().any(|c| decodes(c)) {
            rules.push("decoded-code");
        } else if piped && runs_shell && !literal {
            rules.push("piped-shell");
        }
        let open = match name {
            "eval" => program(call).any(|word| word.trim_start().starts_with(HOLE)),
            // A substituted file, not one in an unknown folder.
            "source" | "." => inner && program(call).any(|word| word.chars().eq([HOLE])),
            _ => shell && inner && program(call).any(|word| word.trim_start().starts_with(HOLE)),
        };
        if open || (fed && call.io.text.as_deref().is_some_and(|t| t.contains(HOLE))) {
            rules.push("dynamic-code");
        }
    }
    if interpreter(name) {
        let text = inline(name, call.args()).or(call.io.text.clone().filter(|_| bare_script(call)));
        if text.is_some_and(|text| calls_out(name, &text)) {
            rules.push("inline-code");
        }
    }
}

/// The words that are a program or name its file, not its arguments.
fn program(call: &Call) -> impl Iterator<Item = &String> {
    let args = call.args();
    let inline = args.iter().any(|arg| ['c', 'e'].iter().any(|c| wrap::short(arg, *c)));
    let all = call.name() == "eval" || inline;
    operands(args).take(if all { args.len() } else { 1 })
}

/// Whether an interpreter reads its program from its input.
fn bare_script(call: &Call) -> bool {
    operands(call.args()).all(|arg| arg == "-")
}

/// The program in an interpreter's arguments.
fn inline(name: &str, args: &[String]) -> Option<String> {
    if matches!(name, "awk" | "gawk") {
        return operands(args).next().cloned();
    }
    let letters: &[char] = match name {
        "perl" | "ruby" | "lua" | "osascript" | "Rscript" => &['e', 'E'],
        "node" | "nodejs" | "bun" => &['e', 'p'],
        "php" => &['r'],
        "deno" => return args.first().filter(|a| *a == "eval").and_then(|_| args.last()).cloned(),
        _ => &['c'],
    };
    let marks = |arg: &String| {
        matches!(arg.as_str(), "--eval" | "--print")
            || (arg.starts_with('-') && !arg.starts_with("--") && arg.ends_with(letters))
    };
    let at = args.iter().position(marks)?;
    Some(args.get(at + 1..)?.join("\n"))
}

fn calls_out(name: &str, text: &str) -> bool {
    const CALLS: &[&str] = &[
        "os.system",
        "subprocess",
        "shutil.rmtree",
        "rmtree",
        "os.remove",
        "os.unlink",
        ".unlink(",
        "os.rmdir",
        "os.popen",
        "os.exec",
        "os.spawn",
        "pty.spawn",
        "os.kill",
        "__import__",
        "child_process",
        "execSync",
        "spawnSync",
        "rmSync",
        "unlinkSync",
        "rmdirSync",
        "fs.rm",
        "fs.unlink",
        "Deno.remove",
        "Deno.Command",
        "system(",
        "shell_exec",
        "passthru",
        "proc_open",
        "FileUtils.rm",
        "FileUtils.remove",
        "rm_rf",
        "File.delete",
        "Dir.rmdir",
        "os.execute",
        "do shell script",
        "exec(",
        "fork while",
        "urlopen(",
    ];
    CALLS.iter().any(|call| text.contains(call))
        || (matches!(name, "perl" | "ruby")
            && ["system ", "exec ", "unlink ", "unlink(", "`", "qx"]
                .iter()
                .any(|c| text.contains(c)))
}

/// SQL given to a database client.
fn data(call: &Call, script: &Script, rules: &mut Vec<&'static str>) {
    let clients = [
        "psql",
        "mysql",
        "mariadb",
        "sqlite3",
        "duckdb",
        "clickhouse-client",
        "sqlcmd",
        "cockroach",
        "mongosh",
        "mongo",
        "pgcli",
        "mycli",
        "litecli",
    ];
    if !clients.contains(&call.name()) {
        return;
    }
    let mut text = call.args().join(" ; ");
    for more in call.io.text.iter().cloned().chain(
        sources(call, script)
            .iter()
            .filter(|c| matches!(c.name(), "echo" | "printf" | "cat"))
            .map(|c| c.io.text.clone().unwrap_or_else(|| c.args().join(" "))),
    ) {
        text.push(';');
        text.push_str(&more);
    }
    let text = text.to_uppercase();
    let destroys = text.split(';').any(|statement| {
        let words: Vec<&str> = statement.split_whitespace().map(|w| w.trim_matches('"')).collect();
        let objects = ["TABLE", "DATABASE", "SCHEMA", "INDEX", "VIEW", "USER", "ROLE", "COLUMN"];
        words.windows(2).any(|pair| match pair {
            ["DROP", object] => objects.contains(object),
            ["DELETE", "FROM"] => !words.contains(&"WHERE"),
            _ => false,
        }) || words.first() == Some(&"TRUNCATE")
            || statement.contains("DROPDATABASE(")
            || statement.contains(".DROP(")
    });
    if destroys {
        rules.push("sql-destroy");
    }
}

/// A file that is fetched and then run.
fn downloaded(script: &Script) -> Option<Hit> {
    let mut files: Vec<String> = Vec::new();
    let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    for call in &script.calls {
        let runs_file = wrap::is_shell(call.name())
            || interpreter(call.name())
            || matches!(call.name(), "source" | ".");
        let run = if runs_file { operands(call.args()).next() } else { call.words.first() };
        if run.is_some_and(|run| files.contains(&base(run))) {
            return Some(Hit { rule: "remote-code", part: call.part.clone() });
        }
        if fetches(call) {
            files.extend(targets(call).iter().chain(&call.io.writes).map(|path| base(path)));
            let keeps_name = call.name() == "wget" || has_option(call.args(), "O", "--remote-name");
            if keeps_name {
                files.extend(operands(call.args()).map(|url| base(url)));
            }
            files.retain(|file| !file.is_empty() && file != "-");
        }
    }
    None
}
