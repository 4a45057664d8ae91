//! Classifies paths in commands by their text alone: symbolic links are not followed.

use super::shell::HOLE;

/// Directories whose recursive deletion breaks the machine or loses the user's data.
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

/// Normalizes a path: without `.`, `..` and `//`, absolute where the directory is known.
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

/// Whether a (resolved) path must never be deleted recursively. Globs count as what they match.
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

/// The kind of file that a write to a path changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteTarget {
    /// Nothing special.
    Ordinary,
    /// A whole disk or the machine's memory.
    Disk,
    /// Another device.
    Device,
    /// A connection opened by the shell.
    Network,
    /// The configuration and state of this program or of hermes.
    Hermes,
    /// Keys and passwords.
    Credentials,
    /// Files that a shell runs at its start.
    ShellStart,
    /// A project's secrets.
    EnvFile,
    /// Hooks and configuration of git.
    GitInternals,
    /// The system's own files.
    System,
}

const HERMES_DIRS: [&str; 4] =
    [".hermes", ".local/share/hermes-tui", ".local/state/hermes-tui", ".config/hermes-tui"];
const CREDENTIAL_DIRS: [&str; 6] =
    [".ssh", ".aws", ".gnupg", ".config/gcloud", ".config/gh", ".azure"];
const CREDENTIAL_FILES: [&str; 9] = [
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
/// Credential files whose name alone does not show it.
const CREDENTIAL_PATHS: [&str; 3] =
    [".kube/config", ".docker/config.json", ".cargo/credentials.toml"];
const SHELL_STARTS: [&str; 13] = [
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
const TEMPLATE_ENDS: [&str; 4] = [".example", ".sample", ".template", ".dist"];
const SYSTEM_DIRS: [&str; 5] = ["/var/lib", "/var/spool", "/var/www", "/Library", "/private/etc"];

/// Classifies the (resolved) path of a write.
pub(super) fn write_target(path: &str) -> WriteTarget {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let last = parts.last().copied().unwrap_or_default();
    let within = |dir: &str| format!("/{path}/").contains(&format!("/{dir}/"));
    let absolute = path.starts_with('/');
    let top = if absolute { parts.first().copied().unwrap_or_default() } else { "" };
    if top == "dev" {
        return device(parts.get(1).copied().unwrap_or_default());
    }
    if HERMES_DIRS.iter().any(|dir| within(dir)) {
        return WriteTarget::Hermes;
    }
    if CREDENTIAL_DIRS.iter().any(|dir| within(dir))
        || CREDENTIAL_FILES.contains(&last)
        || CREDENTIAL_PATHS.iter().any(|end| path.ends_with(end))
    {
        return WriteTarget::Credentials;
    }
    if SHELL_STARTS.contains(&last) {
        return WriteTarget::ShellStart;
    }
    if within(".git/hooks")
        || path == ".git/config"
        || path.ends_with("/.git/config")
        || last == ".gitconfig"
    {
        return WriteTarget::GitInternals;
    }
    let is_template = TEMPLATE_ENDS.iter().any(|end| last.ends_with(end));
    if (last == ".env" || last.starts_with(".env.") || last == ".envrc") && !is_template {
        return WriteTarget::EnvFile;
    }
    if SYSTEM.contains(&top)
        || path == "/"
        || SYSTEM_DIRS.iter().any(|dir| path == *dir || path.starts_with(&format!("{dir}/")))
        || (absolute && is_precious(path))
    {
        return WriteTarget::System;
    }
    WriteTarget::Ordinary
}

fn device(name: &str) -> WriteTarget {
    let harmless =
        ["null", "stdout", "stderr", "stdin", "tty", "fd", "shm", "zero", "full", "pts", "ptmx"];
    let disks = [
        "sd", "hd", "vd", "xvd", "nvme", "mmcblk", "disk", "rdisk", "md", "dm-", "mapper", "mem",
        "kmem", "port", "loop", "nbd", "sr",
    ];
    if harmless.contains(&name) {
        WriteTarget::Ordinary
    } else if name == "tcp" || name == "udp" {
        WriteTarget::Network
    } else if disks.iter().any(|disk| name.starts_with(disk)) {
        WriteTarget::Disk
    } else {
        WriteTarget::Device
    }
}

/// Whether an unknown part could make a path mean far more than intended: `$X/`, `/$X`, `$X/*`.
pub(super) fn is_open(path: &str) -> bool {
    path.starts_with(HOLE)
        || path.strip_prefix("/").or(path.strip_prefix("~/")).is_some_and(|p| p.starts_with(HOLE))
}
