//! Commands that delete or empty files.

use super::super::paths;
use super::super::shell::{Call, HOLE};
use super::super::wrap;
use super::{has_option, is_precious, operands};

/// Programs that remove the files they are given.
const REMOVERS: [&str; 5] = ["rm", "unlink", "shred", "/bin/rm", "/usr/bin/rm"];
/// Tests of `find` that narrow down what it finds.
const NARROWING: [&str; 16] = [
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

pub(super) fn check(call: &Call, rules: &mut Vec<&'static str>) {
    match call.name() {
        "rm" => rm(call, rules),
        "find" | "fd" | "fdfind" => find(call, rules),
        "xargs" | "parallel" => {
            let removes = |arg: &String| {
                matches!(wrap::name(std::slice::from_ref(arg)), "rm" | "unlink" | "shred")
            };
            if call.args().iter().any(removes) {
                rules.push("find-delete");
            }
        }
        "truncate" => {
            let empties = |arg: &String| matches!(arg.as_str(), "-s0" | "--size=0" | "0");
            if call.args().iter().any(empties) {
                rules.push("truncate");
            }
        }
        _ => {}
    }
}

fn rm(call: &Call, rules: &mut Vec<&'static str>) {
    let args = call.args();
    let unknown = args.iter().any(|arg| arg.starts_with(HOLE));
    let recursive = has_option(args, "rR", "--recursive");
    let precious = operands(args).any(|path| is_precious(path, call));
    if args.iter().any(|arg| arg == "--no-preserve-root") || (recursive && precious) {
        rules.push("delete-root");
    }
    if (recursive && operands(args).any(|path| paths::is_open(path))) || (unknown && precious) {
        rules.push("delete-unknown");
    }
    if recursive {
        rules.push("recursive-delete");
    }
}

fn find(call: &Call, rules: &mut Vec<&'static str>) {
    let args = call.args();
    let runs = args.windows(2).any(|pair| match pair {
        [option, program] if REMOVERS.contains(&program.as_str()) => {
            option.trim_start_matches('-').starts_with("exec")
                || matches!(option.as_str(), "-x" | "-X" | "-ok" | "-okdir")
        }
        _ => false,
    });
    if !runs && !args.iter().any(|arg| arg == "-delete") {
        return;
    }
    rules.push("find-delete");
    let mut places =
        args.iter().take_while(|a| !a.starts_with('-') && *a != "(" && *a != "!").peekable();
    let here = places.peek().is_none() && call.cwd.as_deref().is_some_and(paths::is_precious);
    if !args.iter().any(|arg| NARROWING.contains(&arg.as_str()))
        && (here || places.any(|path| is_precious(path, call)))
    {
        rules.push("delete-root");
    }
}
