//! What is said about the config, the installation and approvals, and that looking changes nothing.

use super::*;

#[test]
fn the_version_and_the_help_go_to_stdout() {
    let home = Home::new();
    let ran = home.run(&["--version"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert_eq!(ran.out, concat!("hermes-tui ", env!("CARGO_PKG_VERSION"), "\n"));
    let ran = home.run(&["--help"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    for word in ["chat", "sessions", "config", "doctor", "approvals", "--resume"] {
        assert!(ran.out.contains(word), "{word} is missing in {}", ran.out);
    }
    assert!(!ran.out.contains("__supervise"), "{}", ran.out);
}

#[test]
fn a_wrong_config_is_told_with_its_lines_and_stops_the_start() {
    let home = Home::with(
        "model: demo\nagent:\n  max_turns: many\nhermes_tui:\n  max_wakups: 3\napprovals: {mode: no}\n",
    );
    let config = home.config();
    let told = [
        format!("{}:3: agent.max_turns: expected a whole number", config.display()),
        format!("{}:5: hermes_tui.max_wakups: unknown key", config.display()),
    ];
    let ran = home.run(&["-z", "hello"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran:?}");
    assert!(told.iter().all(|line| ran.err.contains(line)), "{ran:?}");
    let ran = home.run(&["config", "check"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(told.iter().all(|line| ran.out.contains(line)), "{ran:?}");
    assert_eq!(home.run(&["sessions", "list"]).code, Some(2));
    home.configure("model: [1\n");
    let ran = home.run(&["-z", "hello"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains(&format!("{}:1: not valid YAML", config.display())), "{ran:?}");
    assert!(!home.state().exists(), "nothing is written");
}

#[test]
fn a_model_nobody_serves_stops_the_start_with_alternatives() {
    let home = Home::with("");
    for (args, said) in [
        (&["--provider", "nosuch"][..], "the provider nosuch is not known"),
        (&["--provider", "anthropic"], "set ANTHROPIC_API_KEY"),
        (&["--provider", "bedrock"], "cannot be used here"),
    ] {
        let ran = home.run(&[args, &["-z", "hello"]].concat());
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?}");
        assert!(ran.err.contains(said), "{ran:?}");
    }
    let mut command = home.command(&["--provider", "nosuch", "-z", "hello"]);
    let ran = Ran::of(command.env("OPENROUTER_API_KEY", "sk-or-0123456789").output().unwrap());
    assert!(ran.err.contains("--provider openrouter works"), "{ran:?}");
    assert!(!home.state().exists());
}

#[test]
fn config_says_where_things_are_and_what_is_in_effect() {
    let home = Home::with(
        "model: {default: m, base_url: 'http://127.0.0.1:9/v1', api_key: sk-0123456789abcdef}\n\
         agent: {max_turns: 7}\napprovals: {mode: off, deny: ['git push*']}\n",
    );
    let ran = home.run(&["config", "path"]);
    assert!(ran.out.contains(&format!("config  {}\n", home.config().display())), "{ran:?}");
    assert!(ran.out.contains(&home.state().display().to_string()), "{ran:?}");
    let get = |key: &str| home.run(&["config", "get", key]).out;
    assert_eq!(get("agent.max_turns"), "7\n");
    assert_eq!(get("approvals.mode"), "off\n");
    assert_eq!(get("terminal.timeout"), "180\n", "a default is in effect too");
    assert_eq!(home.run(&["--max-turns", "3", "config", "get", "agent.max_turns"]).out, "3\n");
    let ran = home.run(&["config", "get", "--json"]);
    let all: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(all["approvals"]["deny"][0], "git push*");
    assert!(!ran.out.contains("sk-0123456789abcdef"), "{ran:?}");
    assert_eq!(home.run(&["config", "get", "no.such"]).code, Some(1));
    let ran = home.run(&["config", "check"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("note    Approvals are off"), "{ran:?}");
    assert!(!home.state().exists(), "looking writes nothing");
}

#[test]
fn a_setting_without_effect_is_noted() {
    let home = Home::with(
        "model: demo\nmcp_servers: {a: {command: x}}\n\
         hermes_tui: {max_wakeups: 3, on_hangup: kill, unattended_wait: 60, follow: true}\n",
    );
    let ran = home.run(&["-z", "hello"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.contains("mcp_servers"), "ignored in silence: {ran:?}");
    for key in ["max_wakeups", "on_hangup", "unattended_wait", "follow"] {
        assert!(!ran.err.contains(key), "{key} has an effect: {ran:?}");
    }
}

#[test]
fn the_interface_shows_what_the_config_notes() {
    let home = Home::with("model: demo\napprovals: {mode: off}\nterminal: {backend: docker}\n");
    let (code, bytes) = home.in_terminal(&[], &["\u{4}"]);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert_eq!(code, 0, "{text:?}");
    for note in ["Approvals are off", "terminal.backend is docker"] {
        assert!(text.contains(note), "{note:?} is not on the screen: {text:?}");
    }
}

#[test]
fn the_doctor_finds_what_is_broken_and_writes_nothing() {
    let home = Home::new();
    let ran = home.run(&["doctor"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = home.run(&["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let state = |report: &serde_json::Value, name: &str| {
        let checks = report["checks"].as_array().unwrap().clone();
        let found = checks.into_iter().find(|c| c["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {report}"))["state"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    for name in ["config", "provider", "shell", "state"] {
        assert_eq!(state(&report, name), "ok", "{report}");
    }
    assert!(!home.state().exists());
    home.configure("agent: {max_turns: many}\n");
    let ran = home.run(&["doctor", "--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(state(&serde_json::from_str(&ran.out).unwrap(), "config"), "broken");
}

#[test]
fn the_doctor_counts_the_folders_of_processes() {
    let home = Home::new();
    let counts = |home: &Home| {
        let ran = home.run(&["doctor"]);
        let line = ran.out.lines().find(|line| line.starts_with("processes")).unwrap().to_owned();
        line.split_whitespace().skip(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(counts(&home), "0 folders");
    home.run(&["-z", "background 0"]);
    assert_eq!(counts(&home), "1 folder");
}

#[test]
fn the_doctor_says_that_there_is_no_config_file() {
    let home = Home::new();
    let said = |home: &Home| {
        let ran = home.run(&["doctor"]);
        ran.out.lines().find(|line| line.starts_with("config")).unwrap().to_owned()
    };
    assert!(!said(&home).contains(": everything is as by default"), "{}", said(&home));
    let file = home.config();
    fs::remove_file(&file).unwrap();
    let text = format!("no {}: everything is as by default", file.display());
    assert!(said(&home).contains(&text), "{}", said(&home));
}

#[test]
fn approvals_are_checked_without_running_anything() {
    let home = Home::with("model: demo\napprovals: {deny: ['git push*']}\n");
    let kept = home.work().join("kept");
    fs::create_dir(&kept).unwrap();
    for (command, verdict) in [
        (&["touch", "made"][..], "allow"),
        (&["rm", "-rf", "kept"], "ask"),
        (&["sudo", "ls"], "ask"),
        (&["rm -rf /"], "block"),
        (&["git push origin main"], "block"),
    ] {
        let ran = home.run(&[&["approvals", "check", "--"], command].concat());
        assert_eq!((ran.code, ran.out.lines().next()), (Some(0), Some(verdict)), "{command:?}");
        let ran = home.run(&[&["approvals", "check", "--json", "--"], command].concat());
        let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(json["verdict"], verdict, "{json}");
    }
    assert!(kept.exists() && !home.work().join("made").exists());
    assert!(!home.state().exists());
    assert_eq!(home.run(&["approvals", "check"]).code, Some(2));
}
