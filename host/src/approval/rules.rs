//! The rules as data: ids, reasons, severity, and the shapes of commands that are recognized by
//! their words alone. What needs code is in [`super::danger`].

use super::Finding;

/// The consequence of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Never runs.
    Block,
    /// Runs once approved.
    Ask,
}

/// A rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its stable id.
    pub id: &'static str,
    /// What it warns of, for the user; completes "this command …".
    pub reason: &'static str,
    /// Its consequence.
    pub severity: Severity,
    /// Whether it may be granted permanently.
    pub allow_always: bool,
}

impl Rule {
    pub(super) fn finding(&self, part: String) -> Finding {
        Finding {
            rule: self.id,
            reason: self.reason.to_owned(),
            part,
            allow_always: self.allow_always,
        }
    }
}

/// All rules, the most dangerous first.
pub fn rules() -> &'static [Rule] {
    RULES
}

pub(super) fn find(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id == id)
}

/// A rule's place in the order of danger.
pub(super) fn rank(rule: &Rule) -> usize {
    RULES.iter().position(|other| other.id == rule.id).unwrap_or(RULES.len())
}

const fn block(id: &'static str, reason: &'static str) -> Rule {
    Rule { id, reason, severity: Severity::Block, allow_always: false }
}

/// Asked each time, or granted for a session at most.
const fn careful(id: &'static str, reason: &'static str) -> Rule {
    Rule { id, reason, severity: Severity::Ask, allow_always: false }
}

const fn ask(id: &'static str, reason: &'static str) -> Rule {
    Rule { id, reason, severity: Severity::Ask, allow_always: true }
}

const RULES: &[Rule] = &[
    block("delete-root", "deletes the root, a home or a system directory recursively"),
    block("format-disk", "makes or wipes a file system"),
    block("raw-disk-write", "writes to a disk directly"),
    block("partition-table", "destroys or rewrites a partition table"),
    block("fork-bomb", "is a fork bomb"),
    block("kill-everything", "signals every process"),
    block("power-off", "shuts down or restarts the machine"),
    block("system-permissions", "changes permissions or owners of system directories recursively"),
    block("sudo-password-guess", "feeds a password to sudo"),
    block("denied", "denied by approvals.deny"),
    careful("remote-code", "runs code fetched from the network"),
    careful("decoded-code", "runs code it decodes first"),
    careful("reverse-shell", "connects a shell or file to the network"),
    careful("hermes-state", "changes the agent's own configuration or state, or stops it"),
    careful("unparsable", "cannot be read for sure"),
    careful("delete-unknown", "deletes recursively at a place that is not known beforehand"),
    careful("sudo", "runs as another user"),
    careful("dynamic-code", "runs shell text that is not known beforehand"),
    careful("dynamic-command", "runs a command whose name is not known beforehand"),
    careful("piped-shell", "pipes text into a shell"),
    careful("credentials-write", "changes keys or passwords"),
    ask("shell-startup-write", "changes what a shell runs at its start"),
    ask("system-write", "changes files of the system"),
    ask("device-write", "writes to a device"),
    ask("git-internals-write", "changes git's hooks or configuration file"),
    ask("env-file-write", "changes a file of secrets (.env)"),
    ask("find-delete", "deletes what a search or list yields"),
    ask("recursive-delete", "deletes recursively"),
    ask("shred", "destroys files beyond recovery"),
    ask("truncate", "empties files"),
    ask("rsync-delete", "deletes what the source does not have"),
    ask("world-writable", "makes files writable for everybody"),
    ask("setuid", "lets files run as their owner"),
    ask("chown-root", "gives files to root"),
    ask("inline-code", "runs inline code that deletes files or starts programs"),
    ask("preload", "loads a library into programs"),
    ask("sql-destroy", "destroys data of a database"),
    ask("kill-force", "kills processes"),
    ask("service-control", "stops, restarts or disables services"),
    ask("git-discard", "throws away uncommitted work"),
    ask("git-reset-hard", "throws away uncommitted work and moves the branch"),
    ask("git-clean", "deletes untracked files"),
    ask("git-push-force", "overwrites history on the remote"),
    ask("git-push-delete", "deletes a branch on the remote"),
    ask("git-branch-delete", "deletes a branch that may not be merged"),
    ask("git-stash-drop", "throws away stashed work"),
    ask("git-rewrite", "rewrites history"),
    ask("docker-remove", "removes containers, images or volumes"),
    ask("docker-stop", "stops containers"),
    ask("kubectl-delete", "deletes or drains in a cluster"),
    ask("terraform", "changes infrastructure without a question"),
    ask("cloud-delete", "deletes in the cloud"),
    ask("crontab", "replaces or removes scheduled jobs"),
    ask("firewall", "changes the firewall"),
    ask("users", "changes users or groups"),
    ask("package-remove", "removes packages"),
    ask("publish", "publishes to a registry"),
    ask("history-clear", "clears the shell's history"),
    ask("mount", "mounts or unmounts"),
    ask("kernel", "changes the running kernel"),
    ask("swap", "changes swap"),
    ask("repository-delete", "deletes a repository or release"),
];

/// A command recognized by its words: the program, then words in order and options anywhere.
pub(super) struct Shape {
    /// The rule it fires.
    pub(super) rule: &'static str,
    /// Tokens separated by blanks, alternatives by `|`. The first is the program. A token that starts
    /// with `-` (or `+`) is an option; a first plain token must be the first plain argument, later
    /// ones may have others between. A final `*` matches any rest.
    pub(super) tokens: &'static str,
}

const fn shape(rule: &'static str, tokens: &'static str) -> Shape {
    Shape { rule, tokens }
}

/// Options that take the next word, by program, so that it does not count as a plain argument.
pub(super) const VALUED: &[(&str, &[&str])] = &[
    ("git", &["-C", "-c", "--git-dir", "--work-tree", "--namespace"]),
    ("docker", &["-H", "--host", "--context", "-c", "--config", "-l"]),
    ("podman", &["--url", "--connection", "-c"]),
    ("docker-compose", &["-f", "--file", "-p", "--project-name", "--profile"]),
    ("kubectl", &["-n", "--namespace", "--context", "--kubeconfig", "--cluster"]),
    ("helm", &["-n", "--namespace", "--kube-context"]),
    ("systemctl", &["-H", "-M", "--root", "-t", "--type"]),
    ("npm", &["--prefix", "-C", "-w"]),
    ("pnpm", &["-C", "--filter"]),
    ("apt", &["-o", "-c"]),
    ("apt-get", &["-o", "-c"]),
    ("cargo", &["-C", "--config", "-Z"]),
    ("aws", &["--profile", "--region", "--output"]),
];

/// Commands recognized by their words alone.
pub(super) const SHAPES: &[Shape] = &[
    shape("format-disk", "mkfs|mkfs.*|mke2fs|mkswap|mkdosfs|newfs"),
    shape("format-disk", "wipefs -a|--all"),
    shape("format-disk", "blkdiscard"),
    shape("format-disk", "cryptsetup luksFormat|erase|luksErase"),
    shape("format-disk", "diskutil eraseDisk|eraseVolume|reformat|partitionDisk"),
    shape("partition-table", "sgdisk -Z|-z|-o|--zap-all|--zap|--clear"),
    shape("partition-table", "parted|partprobe mklabel|mktable|*/dev/* mklabel|mktable|rm|mkpart"),
    shape("partition-table", "sfdisk --delete"),
    shape("power-off", "shutdown|reboot|halt|poweroff"),
    shape("power-off", "init|telinit 0|6"),
    shape(
        "power-off",
        "systemctl|loginctl poweroff|reboot|halt|kexec|soft-reboot|rescue|emergency",
    ),
    shape("shred", "shred|wipe|srm"),
    shape("rsync-delete", "rsync --delete*|--remove-source-files"),
    shape("kill-force", "killall|pkill|skill|killall5"),
    shape("kill-force", "kill -9|-KILL|-SIGKILL|-1"),
    shape("kill-force", "kill -s KILL|SIGKILL|9"),
    shape("kill-force", "fuser -k"),
    shape(
        "service-control",
        "systemctl stop|restart|disable|mask|kill|try-restart|reload-or-restart|isolate|daemon-reexec",
    ),
    shape("service-control", "service * stop|restart"),
    shape("service-control", "launchctl unload|bootout|remove|disable|stop|kickstart"),
    shape("service-control", "rc-service|brew * stop|restart"),
    shape("service-control", "brew services stop|restart"),
    shape("git-reset-hard", "git reset --hard"),
    shape("git-clean", "git clean -f|--force"),
    shape("git-push-force", "git push -f|--force|--force-with-lease*|--mirror|+*"),
    shape("git-push-delete", "git push -d|--delete|--prune"),
    shape("git-push-delete", "git push :*"),
    shape("git-branch-delete", "git branch -D"),
    shape("git-branch-delete", "git branch -d|--delete -f|--force"),
    shape("git-discard", "git checkout -f|--force"),
    shape("git-discard", "git checkout .|:/|./"),
    shape("git-discard", "git restore .|:/|./"),
    shape("git-discard", "git switch -f|--force|--discard-changes"),
    shape("git-discard", "git worktree remove -f|--force"),
    shape("git-discard", "git rm -f|--force|-r"),
    shape("git-stash-drop", "git stash drop|clear"),
    shape("git-rewrite", "git filter-branch|filter-repo|update-ref"),
    shape("git-rewrite", "git reflog expire|delete"),
    shape("git-rewrite", "git gc --prune=now|--prune=all"),
    shape("docker-remove", "docker|podman rm|rmi -f|--force"),
    shape(
        "docker-remove",
        "docker|podman container|image|volume|network|system|builder|buildx rm|remove|prune",
    ),
    shape("docker-remove", "docker|podman compose rm|down -v|--volumes"),
    shape("docker-stop", "docker|podman stop|kill|restart"),
    shape("docker-stop", "docker|podman container stop|kill|restart"),
    shape("docker-stop", "docker|podman compose down|stop|kill|restart|rm"),
    shape("docker-stop", "docker-compose|podman-compose down|stop|kill|restart|rm"),
    shape("kubectl-delete", "kubectl|oc delete|drain|cordon"),
    shape("kubectl-delete", "kubectl replace --force"),
    shape("kubectl-delete", "helm uninstall|delete|rollback"),
    shape("terraform", "terraform|tofu|terragrunt destroy"),
    shape("terraform", "terraform|tofu|terragrunt apply -auto-approve|--auto-approve"),
    shape("terraform", "terraform|tofu state rm"),
    shape("terraform", "pulumi destroy|up -y|--yes"),
    shape("cloud-delete", "aws s3 rb|rm"),
    shape("cloud-delete", "aws * delete-*|terminate-*|deregister-*"),
    shape("cloud-delete", "gcloud|az|doctl|flyctl|fly|heroku * delete|destroy"),
    shape("cloud-delete", "gsutil rm|rb"),
    shape("crontab", "crontab -r|-i"),
    shape("crontab", "crontab *"),
    shape("firewall", "iptables|ip6tables -F|-X|-P|-D|--flush"),
    shape("firewall", "nft flush|delete"),
    shape("firewall", "ufw disable|reset|delete"),
    shape(
        "users",
        "userdel|usermod|useradd|adduser|deluser|passwd|chpasswd|groupdel|groupmod|gpasswd|visudo|vipw|chsh",
    ),
    shape("package-remove", "apt|apt-get|aptitude remove|purge|autoremove"),
    shape("package-remove", "dnf|yum|zypper remove|erase|autoremove|rm"),
    shape("package-remove", "pacman -R|--remove"),
    shape("package-remove", "dpkg -r|-P|--purge|--remove"),
    shape("package-remove", "rpm -e|--erase"),
    shape("package-remove", "brew|snap|flatpak|pip|pip3|pipx|apk|conda uninstall|remove|rm|del"),
    shape("package-remove", "npm|pnpm|yarn uninstall|remove|rm -g|--global"),
    shape("publish", "npm|pnpm|yarn|cargo|poetry|uv|bun|flit|hatch publish"),
    shape("publish", "npm unpublish|deprecate"),
    shape("publish", "cargo yank"),
    shape("publish", "twine upload"),
    shape("publish", "gem push|yank"),
    shape("publish", "docker|podman push"),
    shape("history-clear", "history -c|-w|-d"),
    shape("mount", "mount *"),
    shape("mount", "mount -a|--all"),
    shape("mount", "umount|losetup|pvremove|vgremove|lvremove"),
    shape("kernel", "sysctl -w|-p|--write"),
    shape("kernel", "modprobe|insmod|rmmod|kexec"),
    shape("swap", "swapoff|swapon"),
    shape("repository-delete", "gh repo|release|secret|gist|issue|run delete"),
    shape("repository-delete", "gh repo archive"),
    shape("hermes-state", "hermes update|uninstall|gateway|config|reset"),
    shape("sql-destroy", "dropdb|dropuser"),
    shape("sql-destroy", "mysqladmin drop"),
    shape("sql-destroy", "redis-cli flushall|flushdb|FLUSHALL|FLUSHDB"),
];
