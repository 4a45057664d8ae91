//! Commands that run other commands: finds what `sudo`, `env`, `xargs`, `bash -c` and the like
//! would run. Only words in, words or code out.

use super::shell::HOLE;

/// Something that a wrapper command runs or sets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Nested {
    /// A command.
    Words(Vec<String>),
    /// Shell text.
    Code(String),
    /// A variable of the environment it runs in.
    Variable(String, String),
}

/// How a wrapper's own arguments end.
struct Wrapper {
    name: &'static str,
    /// Options that take the next word.
    valued: &'static [&'static str],
    /// Positional words before the command.
    skip: usize,
}

const fn wrapper(name: &'static str, valued: &'static [&'static str], skip: usize) -> Wrapper {
    Wrapper { name, valued, skip }
}

const WRAPPERS: &[Wrapper] = &[
    wrapper(
        "sudo",
        &[
            "-u", "-g", "-h", "-p", "-C", "-r", "-t", "-T", "-U", "-D", "-R", "--user", "--group",
            "--host", "--prompt", "--chdir", "--chroot",
        ],
        0,
    ),
    wrapper("doas", &["-u", "-C"], 0),
    wrapper("env", &["-u", "-C", "--unset", "--chdir"], 0),
    wrapper("nohup", &[], 0),
    wrapper("nice", &["-n", "--adjustment"], 0),
    wrapper("ionice", &["-c", "-n", "-p", "--class", "--classdata"], 0),
    wrapper("time", &["-f", "-o", "--format", "--output"], 0),
    wrapper("timeout", &["-s", "-k", "--signal", "--kill-after"], 1),
    wrapper("gtimeout", &["-s", "-k", "--signal", "--kill-after"], 1),
    wrapper(
        "xargs",
        &["-I", "-n", "-P", "-L", "-d", "-s", "-a", "-E", "--max-args", "--max-procs"],
        0,
    ),
    wrapper("parallel", &["-j", "--jobs", "-I", "-a"], 0),
    wrapper("setsid", &[], 0),
    wrapper("stdbuf", &["-i", "-o", "-e"], 0),
    wrapper("chroot", &[], 1),
    wrapper("busybox", &[], 0),
    wrapper("toybox", &[], 0),
    wrapper("builtin", &[], 0),
    wrapper("exec", &["-a"], 0),
    wrapper("coproc", &[], 0),
    wrapper("watch", &["-n", "-d", "--interval"], 0),
    wrapper("strace", &["-e", "-o", "-p", "-s"], 0),
    wrapper("unshare", &[], 0),
    wrapper("taskset", &[], 1),
    wrapper("chrt", &[], 1),
    wrapper("systemd-run", &["-p", "--unit", "-u"], 0),
    wrapper("caffeinate", &["-t", "-w"], 0),
    wrapper("pkexec", &["--user"], 0),
    wrapper("runuser", &["-u", "-g", "-G", "-s"], 0),
    wrapper("flock", &["-w", "-E"], 1),
];

const SHELLS: &[&str] = &["sh", "bash", "zsh", "dash", "ksh", "ash", "fish", "mksh", "rbash"];

/// The program's name without its directory.
pub(super) fn name(words: &[String]) -> &str {
    let word = words.first().map_or("", String::as_str);
    word.rsplit('/').next().unwrap_or(word)
}

/// Whether a program is a shell.
pub(super) fn is_shell(name: &str) -> bool {
    SHELLS.contains(&name)
}

/// Whether a command runs the text of its standard input.
pub(super) fn reads_code(words: &[String]) -> bool {
    if matches!(name(words), "source" | ".") {
        let input = ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];
        return words.get(1).is_some_and(|word| input.contains(&word.as_str()));
    }
    is_shell(name(words))
        && words.iter().skip(1).all(|word| {
            word == "-" || (word.starts_with('-') && !short(word, 'c')) || word == "/dev/stdin"
        })
        || (is_shell(name(words)) && words.iter().any(|word| word == "-s"))
}

/// Whether a cluster of one-letter options holds a letter.
pub(super) fn short(word: &str, letter: char) -> bool {
    word.strip_prefix('-').is_some_and(|rest| !rest.starts_with('-') && rest.contains(letter))
}

/// The commands that a command runs in turn.
pub(super) fn nested(words: &[String]) -> Vec<Nested> {
    let name = name(words);
    let args = words.get(1..).unwrap_or_default();
    let join = |words: &[String]| Nested::Code(words.join(" "));
    match name {
        _ if is_shell(name) => dash_c(args),
        "su" | "script" => dash_c(args),
        "eval" => vec![join(args)],
        // `time { …; }` is parsed as a command whose arguments start with a reserved word.
        "{" | "!" | "if" | "then" | "else" | "elif" | "while" | "until" | "do" => rest(args),
        "coproc" if args.get(1).is_some_and(|word| word == "{") => {
            rest(args.get(2..).unwrap_or_default())
        }
        "trap" => {
            let code = args.first().filter(|a| !a.starts_with('-'));
            code.cloned().map(Nested::Code).into_iter().collect()
        }
        "alias" => {
            let values = args.iter().filter_map(|arg| arg.split_once('='));
            values.map(|(_, value)| Nested::Code(value.to_owned())).collect()
        }
        "command" => match args.first().map(String::as_str) {
            Some("-v" | "-V") => Vec::new(),
            Some("-p" | "--") => vec![Nested::Words(args.get(1..).unwrap_or_default().to_vec())],
            _ => rest(args),
        },
        "find" | "fd" | "fdfind" => find(args),
        "git" => git_alias(args),
        "env" => env(args),
        "watch" | "flock" | "runuser" | "parallel" => words_or_code(name, args),
        "xargs" => {
            let mut inner = wrapped(name, args);
            if !inner.is_empty() {
                inner.push(HOLE.to_string());
            }
            rest(&inner)
        }
        "sudo" | "doas" => {
            let inner = wrapped(name, args);
            let at = inner.iter().position(|w| !is_assignment(w)).unwrap_or(inner.len());
            rest(inner.get(at..).unwrap_or_default())
        }
        "uv" | "poetry" | "pipenv" | "bundle" | "rye" | "hatch" => project_run(args),
        _ => rest(&wrapped(name, args)),
    }
}

/// The command of wrappers that hand a single word, blanks included, to a shell.
fn words_or_code(name: &str, args: &[String]) -> Vec<Nested> {
    let code = dash_c(args);
    if !code.is_empty() {
        return code;
    }
    match wrapped(name, args).as_slice() {
        [code] => vec![Nested::Code(code.clone())],
        words => rest(words),
    }
}

/// The command behind `run` or `exec` of a project tool.
fn project_run(args: &[String]) -> Vec<Nested> {
    match args {
        [run, inner @ ..] if run == "run" || run == "exec" => {
            let at = inner.iter().position(|w| !w.starts_with('-')).unwrap_or(inner.len());
            rest(inner.get(at..).unwrap_or_default())
        }
        _ => Vec::new(),
    }
}

fn rest(words: &[String]) -> Vec<Nested> {
    if words.is_empty() { Vec::new() } else { vec![Nested::Words(words.to_vec())] }
}

/// The words behind a wrapper's own.
fn wrapped(name: &str, args: &[String]) -> Vec<String> {
    let Some(wrapper) = WRAPPERS.iter().find(|w| w.name == name) else { return Vec::new() };
    let mut skip = wrapper.skip;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--" {
            return args.skip(skip).cloned().collect();
        }
        if arg.starts_with('-') && arg.len() > 1 {
            if takes_next(wrapper.valued, arg) {
                args.next();
            }
        } else if skip > 0 {
            skip -= 1;
        } else {
            return std::iter::once(arg).chain(args).cloned().collect();
        }
    }
    Vec::new()
}

/// Whether an option's value is the next word: in `-iu root` it is, in `-uroot` it is not.
fn takes_next(valued: &[&str], arg: &str) -> bool {
    if arg.starts_with("--") {
        return valued.contains(&arg);
    }
    let letters = arg.trim_start_matches('-');
    let first = letters.char_indices().find(|(_, c)| valued.contains(&format!("-{c}").as_str()));
    first.is_some_and(|(at, c)| at + c.len_utf8() == letters.len())
}

/// The text behind `-c`.
fn dash_c(args: &[String]) -> Vec<Nested> {
    let is_c = |arg: &String| {
        arg == "--command" || (short(arg, 'c') && arg.len() < 8) || arg == "--session-command"
    };
    if let Some(code) = args.iter().find_map(|arg| arg.strip_prefix("--command=")) {
        return vec![Nested::Code(code.to_owned())];
    }
    let Some(at) = args.iter().position(is_c) else { return Vec::new() };
    let code = args.iter().skip(at + 1).find(|arg| !arg.starts_with('-'));
    code.cloned().map(Nested::Code).into_iter().collect()
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

fn env(args: &[String]) -> Vec<Nested> {
    if let Some(at) =
        args.iter().position(|a| a.starts_with("-S") || a.starts_with("--split-string"))
    {
        let own = args.get(at).map_or("", String::as_str);
        let own = own.trim_start_matches("--split-string").trim_start_matches("-S");
        let words: Vec<&str> = std::iter::once(own.trim_start_matches('='))
            .chain(args.iter().skip(at + 1).map(String::as_str))
            .collect();
        return vec![Nested::Code(words.join(" "))];
    }
    let words = wrapped("env", args);
    let at = words.iter().position(|w| !is_assignment(w)).unwrap_or(words.len());
    let (set, inner) = words.split_at(at);
    let mut found: Vec<Nested> = set
        .iter()
        .filter_map(|w| w.split_once('='))
        .map(|(name, value)| Nested::Variable(name.to_owned(), value.to_owned()))
        .collect();
    found.extend(rest(inner));
    found
}

/// The commands of `-exec` and its kin, each with an unknown file.
fn find(args: &[String]) -> Vec<Nested> {
    let runs = |arg: &String| {
        matches!(arg.as_str(), "-exec" | "-execdir" | "-ok" | "-okdir" | "-x" | "-X")
            || arg == "--exec"
            || arg == "--exec-batch"
    };
    let mut found = Vec::new();
    for (at, _) in args.iter().enumerate().filter(|(_, arg)| runs(arg)) {
        let words = args.iter().skip(at + 1).take_while(|w| !matches!(w.as_str(), ";" | "+"));
        let words = words.map(|w| w.replace("{}", &HOLE.to_string())).collect::<Vec<_>>();
        found.extend(rest(&words));
    }
    found
}

/// `git -c alias.x='!command'` runs a shell.
fn git_alias(args: &[String]) -> Vec<Nested> {
    args.iter()
        .filter(|arg| arg.starts_with("alias."))
        .filter_map(|arg| arg.split_once("=!"))
        .map(|(_, code)| Nested::Code(code.to_owned()))
        .collect()
}
