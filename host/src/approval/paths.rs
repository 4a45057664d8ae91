//! What a path in a command stands for, judged by its text alone: symbolic links are not seen.

use super::shell::HOLE;

/// Directories whose recursive loss breaks the machine or the user's life.
const PRECIOUS: &[&str] = &[
    "etc",
    "usr",
    "bin",
    "sbin",
    "boot",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "var",
    "sys",
    "proc",
    "dev",
    "run",
    "home",
    "root",
    "Users",
    "System",
    "Library",
    "Applications",
    "private",
    "usr/bin",
    "usr/sbin",
    "usr/lib",
    "usr/lib64",
    "usr/share",
    "usr/local",
    "var/lib",
    "boot/efi",
    "private/etc",
    "private/var",
    "System/Library",
];

/// Top directories the system owns.
const SYSTEM: &[&str] = &[
    "etc", "usr", "bin", "sbin", "boot", "lib", "lib32", "lib64", "libx32", "sys", "proc", "System",
];

/// A path without `.`, `..`, `//`, made absolute where the directory is known.
pub(super) fn resolve(path: &str, cwd: Option<&str>) -> String {
    let joined = match cwd {
        Some(cwd) if !path.starts_with(['/', '~']) => format!("{cwd}/{path}"),
        _ => path.to_owned(),
    };
    let absolute = joined.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match (part, parts.last().copied()) {
            ("" | ".", _) => {}
            ("..", Some(home)) if home.starts_with('~') && parts.len() == 1 => {
                return "/home".to_owned();
            }
            ("..", Some(last)) if last != ".." => {
                parts.pop();
            }
            ("..", None) if absolute => {}
            _ => parts.push(part),
        }
    }
    let path = parts.join("/");
    match (absolute, path.is_empty()) {
        (true, _) => format!("/{path}"),
        (false, true) => ".".to_owned(),
        // A file of that name, not the home.
        (false, false) if path.starts_with('~') && !joined.starts_with('~') => format!("./{path}"),
        (false, false) => path,
    }
}

/// Whether losing a (resolved) path recursively is never wanted. Globs count for what they match.
pub(super) fn is_precious(path: &str) -> bool {
    if path == "/" || (path.starts_with('~') && !path.contains('/')) {
        return true;
    }
    if let Some((parent, last)) = path.rsplit_once('/')
        && is_everything(last)
    {
        return is_precious(if parent.is_empty() { "/" } else { parent });
    }
    let Some(inside) = path.strip_prefix('/') else { return false };
    let parts: Vec<&str> = inside.split('/').collect();
    let home = |part: &str| wild(part, "home") || wild(part, "Users");
    if matches!(parts.as_slice(), [top, _] if home(top)) {
        return true;
    }
    PRECIOUS.iter().any(|known| {
        let known: Vec<&str> = known.split('/').collect();
        known.len() == parts.len() && parts.iter().zip(&known).all(|(p, k)| wild(p, k))
    })
}

fn is_everything(part: &str) -> bool {
    part.contains("!(")
        || (part.contains('*')
            && part.chars().all(|c| matches!(c, '*' | '.' | '?' | '!' | '[' | ']' | '^')))
}

/// Whether a shell glob may match a name; a bracket stands for any character.
fn wild(pattern: &str, name: &str) -> bool {
    let mut pieces: Vec<char> = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c == '[' && chars.as_str().contains(']') {
            let inside = chars.as_str().find(']').unwrap_or_default();
            chars = chars.as_str().get(inside + 1..).unwrap_or_default().chars();
            pieces.push('?');
        } else {
            pieces.push(c);
        }
    }
    let name: Vec<char> = name.chars().collect();
    // One row of the usual table: which prefixes of the name the pattern so far can match.
    let mut row = vec![false; name.len() + 1];
    if let Some(first) = row.first_mut() {
        *first = true;
    }
    for piece in pieces {
        let mut next = vec![false; name.len() + 1];
        let mut open = false;
        for (at, slot) in next.iter_mut().enumerate() {
            let here = row.get(at).copied().unwrap_or_default();
            let before = at > 0 && row.get(at - 1).copied().unwrap_or_default();
            let same = at > 0 && name.get(at - 1) == Some(&piece);
            open |= here;
            *slot = match piece {
                '*' => open,
                '?' => before,
                _ => before && same,
            };
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// What a write to a path would touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing special.
    Ordinary,
    /// A whole disk or the machine's memory.
    Disk,
    /// Another device.
    Device,
    /// A connection opened by the shell.
    Network,
    /// Our own or hermes' configuration and state.
    Hermes,
    /// Keys and passwords.
    Credentials,
    /// What a shell runs at its start.
    ShellStart,
    /// A project's secrets.
    EnvFile,
    /// What git runs or obeys.
    GitInternals,
    /// The system's own files.
    System,
}

/// Judges where a write to a (resolved) path goes.
pub(super) fn place(path: &str) -> Place {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let last = parts.last().copied().unwrap_or_default();
    let within = |dir: &str| format!("/{path}/").contains(&format!("/{dir}/"));
    let absolute = path.starts_with('/');
    let top = if absolute { parts.first().copied().unwrap_or_default() } else { "" };
    if top == "dev" {
        return device(parts.get(1).copied().unwrap_or_default());
    }
    let hermes =
        [".hermes", ".local/share/hermes-tui", ".local/state/hermes-tui", ".config/hermes-tui"];
    if hermes.iter().any(|dir| within(dir)) {
        return Place::Hermes;
    }
    let credential_dirs = [".ssh", ".aws", ".gnupg", ".config/gcloud", ".config/gh", ".azure"];
    let credential_files = [
        ".netrc",
        ".pgpass",
        ".npmrc",
        ".pypirc",
        ".git-credentials",
        "authorized_keys",
        "id_rsa",
        "id_ed25519",
        "id_ecdsa",
    ];
    if credential_dirs.iter().any(|dir| within(dir))
        || credential_files.contains(&last)
        || path.ends_with(".kube/config")
        || path.ends_with(".docker/config.json")
        || path.ends_with(".cargo/credentials.toml")
    {
        return Place::Credentials;
    }
    let starts = [
        ".bashrc",
        ".zshrc",
        ".profile",
        ".bash_profile",
        ".bash_login",
        ".bash_logout",
        ".zprofile",
        ".zshenv",
        ".zlogin",
        ".kshrc",
        ".cshrc",
        ".tcshrc",
        "config.fish",
    ];
    if starts.contains(&last) {
        return Place::ShellStart;
    }
    if within(".git/hooks")
        || path == ".git/config"
        || path.ends_with("/.git/config")
        || last == ".gitconfig"
    {
        return Place::GitInternals;
    }
    let template = [".example", ".sample", ".template", ".dist"].iter().any(|t| last.ends_with(t));
    if (last == ".env" || last.starts_with(".env.") || last == ".envrc") && !template {
        return Place::EnvFile;
    }
    let system_var = ["/var/lib", "/var/spool", "/var/www", "/Library", "/private/etc"];
    if SYSTEM.contains(&top)
        || path == "/"
        || system_var.iter().any(|dir| path == *dir || path.starts_with(&format!("{dir}/")))
        || (absolute && is_precious(path))
    {
        return Place::System;
    }
    Place::Ordinary
}

fn device(name: &str) -> Place {
    let harmless =
        ["null", "stdout", "stderr", "stdin", "tty", "fd", "shm", "zero", "full", "pts", "ptmx"];
    let disks = [
        "sd", "hd", "vd", "xvd", "nvme", "mmcblk", "disk", "rdisk", "md", "dm-", "mapper", "mem",
        "kmem", "port", "loop", "nbd", "sr",
    ];
    if harmless.contains(&name) {
        Place::Ordinary
    } else if name == "tcp" || name == "udp" {
        Place::Network
    } else if disks.iter().any(|disk| name.starts_with(disk)) {
        Place::Disk
    } else {
        Place::Device
    }
}

/// Whether an unknown part could make a path mean far more than it says: `$X/`, `/$X`, `$X/*`.
pub(super) fn is_open(path: &str) -> bool {
    path.starts_with(HOLE)
        || path.strip_prefix("/").or(path.strip_prefix("~/")).is_some_and(|p| p.starts_with(HOLE))
}
