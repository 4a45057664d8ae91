//! Code that a command runs: piped into a shell or an interpreter, given inline, fetched first, or
//! SQL for a database client.

use super::super::shell::{Call, HOLE, Script};
use super::super::wrap;
use super::{RuleHit, has_option, operands, targets};

/// The commands whose output a call runs.
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

/// Shells and interpreters, and where their code comes from.
pub(super) fn check(call: &Call, script: &Script, rules: &mut Vec<&'static str>) {
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
            // A substituted file, not one in an unknown directory.
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
pub(super) fn sql(call: &Call, script: &Script, rules: &mut Vec<&'static str>) {
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
pub(super) fn downloaded(script: &Script) -> Option<RuleHit> {
    let mut files: Vec<String> = Vec::new();
    let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    for call in &script.calls {
        let runs_file = wrap::is_shell(call.name())
            || interpreter(call.name())
            || matches!(call.name(), "source" | ".");
        let run = if runs_file { operands(call.args()).next() } else { call.words.first() };
        if run.is_some_and(|run| files.contains(&base(run))) {
            return Some(RuleHit { rule: "remote-code", part: call.part.clone() });
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
