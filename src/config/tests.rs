use super::file::OnHangup;
use super::*;
use host::settings::Compression;
use tempfile::TempDir;

/// A home with files in it.
struct Home {
    tmp: TempDir,
}

impl Home {
    fn new(config: &str) -> Self {
        let home = Self { tmp: tempfile::tempdir().unwrap() };
        home.write("config.yaml", config);
        home
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.tmp.path().join(name), text).unwrap();
    }

    fn load_with(&self, flags: &Flags, env: &[(&str, &str)]) -> Result<Config, Error> {
        let dir = self.tmp.path();
        let mut pairs = vec![("HERMES_HOME", dir.to_str().unwrap()), ("HOME", "/nonexistent")];
        let state = dir.join("state");
        pairs.push(("HERMES_TUI_HOME", state.to_str().unwrap()));
        pairs.extend_from_slice(env);
        let env = Env::of(&pairs);
        let dirs = Dirs::find(&env).unwrap();
        let exe = Path::new("/bin/true");
        Config::load(&dirs, &Inputs { flags, env: &env, cwd: dir, exe, servers: &[] })
    }

    fn load(&self) -> Config {
        self.load_with(&Flags::default(), &[]).unwrap()
    }

    /// What is wrong, with the line it is on.
    fn problems(&self) -> Vec<(u64, String)> {
        let error = self.load_with(&Flags::default(), &[]).unwrap_err();
        error.problems.into_iter().map(|p| (p.line, p.message)).collect()
    }
}

fn flags(model: &str) -> Flags {
    Flags { model: Some(model.to_owned()), ..Flags::default() }
}

#[test]
fn every_honoured_key_reaches_the_settings() {
    let home = Home::new(include_str!("../../tests/data/config.yaml"));
    home.write("SOUL.md", "I am Ada.\n");
    std::fs::create_dir(home.tmp.path().join("work")).unwrap();
    let config = home
        .load_with(&Flags::default(), &[("LAB_KEY", "k-lab"), ("SHELL", "/bin/sh"), ("X", "1")])
        .unwrap();
    let s = &config.settings;
    assert_eq!(s.model.provider, Provider::OpenAi);
    assert_eq!(s.model.name, "qwen3-coder");
    assert_eq!(s.model.base_url.as_deref(), Some("http://lab.example:8000/v1"));
    assert_eq!(s.model.api_key.as_deref(), Some("k-lab"));
    assert_eq!((s.model.context_length, s.model.max_tokens), (Some(131_072), Some(8192)));
    assert_eq!((s.model.retries, s.model.stale), (5, Duration::from_mins(3)));
    assert_eq!((s.agent.max_turns, s.agent.clarify_timeout), (40, Duration::from_mins(10)));
    assert_eq!(s.approvals.mode, Mode::Manual);
    assert_eq!(s.approvals.timeout, Duration::from_secs(30));
    assert_eq!(s.approvals.deny, ["git push*", "kubectl delete *"]);
    assert_eq!(s.approvals.allow, ["git-reset-hard"]);
    assert_eq!(s.terminal.timeout, Duration::from_mins(2));
    assert_eq!(s.terminal.max_timeout, Duration::from_mins(10));
    assert_eq!(s.terminal.refused, None);
    assert_eq!(s.terminal.shell, Path::new("/bin/sh"));
    assert_eq!(s.cwd, home.tmp.path().join("work"));
    assert_eq!(*s.state, home.tmp.path().join("state"));
    assert_eq!(s.prompt.soul.as_deref(), Some("I am Ada.\n"));
    assert_eq!(s.prompt.context_file_max_chars, 12_000);
    let compression = Compression {
        enabled: false,
        threshold: 0.6,
        target_ratio: 0.25,
        protect_first: 2,
        protect_last: 9,
    };
    assert_eq!(s.compression, compression);
    assert!(s.terminal.env.contains(&("X".to_owned(), "1".to_owned())));
    assert!(!s.terminal.env.iter().any(|(name, _)| name == "LAB_KEY"), "a key is no child's");
    let own = Own {
        local_terminal: false,
        max_wakeups: 7,
        on_hangup: OnHangup::Leave,
        unattended_wait: Duration::from_hours(1),
        follow: true,
    };
    assert_eq!(config.own, own);
    assert_eq!(config.provider, "lab");
    assert_eq!(config.refusal, None);
}

#[test]
fn an_empty_home_gives_the_documented_defaults_and_the_demo() {
    let home = Home::new("# nothing yet\n");
    let config = home.load();
    let s = &config.settings;
    assert_eq!(s.model.provider, Provider::Demo);
    assert_eq!((s.model.retries, s.agent.max_turns), (3, 90));
    assert_eq!(s.agent.clarify_timeout, Duration::from_hours(1));
    assert_eq!(s.approvals.timeout, Duration::from_mins(1));
    assert_eq!(s.terminal.timeout, Duration::from_mins(3));
    assert_eq!(s.prompt.context_file_max_chars, 20_000);
    assert_eq!(s.cwd, home.tmp.path());
    assert_eq!(s.compression, Compression::default());
    assert_eq!(config.own, Own::default());
    assert!(config.notes[0].contains("demo"));
}

#[test]
fn what_becomes_of_running_turns_is_read_and_zero_switches_off() {
    // R01 R05 R10
    let agent = |lines: &str| {
        let config = Home::new(&format!("agent:\n{lines}")).load();
        assert_eq!(config.notes.iter().filter(|n| n.contains("no effect")).count(), 0);
        let agent = config.settings.agent;
        (agent.freshness, agent.notify_interval, agent.drain)
    };
    let usual = (Some(Duration::from_hours(1)), Some(Duration::from_mins(3)), Duration::ZERO);
    assert_eq!(agent("  max_turns: 9\n"), usual);
    let set = "  gateway_auto_continue_freshness: 60\n  gateway_notify_interval: 1.5\n  \
               restart_drain_timeout: \"20\"\n";
    let millis = Duration::from_millis;
    assert_eq!(agent(set), (Some(millis(60_000)), Some(millis(1_500)), millis(20_000)));
    let off = "  gateway_auto_continue_freshness: -1\n  gateway_notify_interval: 0\n  \
               restart_drain_timeout: -5\nhermes_tui: {max_wakeups: 3, unattended_wait: 60}\n";
    assert_eq!(agent(off), (None, None, Duration::ZERO));
    for wrong in ["soon", "[1]", "1e400"] {
        let home = Home::new(&format!("agent:\n  restart_drain_timeout: {wrong}\n"));
        assert_eq!(home.problems().len(), 1, "{wrong}");
    }
}

#[test]
fn a_flag_beats_the_environment_and_that_beats_the_file() {
    let home = Home::new(
        "model: {default: file-model, provider: openai-api}\nagent: {max_turns: 10}\n\
         terminal: {timeout: 10}\n",
    );
    let key = ("OPENAI_API_KEY", "sk-x");
    let model = |flags: &Flags, env: &[(&str, &str)]| {
        let s = home.load_with(flags, &[&[key], env].concat()).unwrap().settings;
        (s.model.name, s.agent.max_turns, s.terminal.timeout.as_secs())
    };
    let own = |name: &str, turns, secs| (name.to_owned(), turns, secs);
    let none = Flags::default();
    assert_eq!(model(&none, &[]), own("file-model", 10, 10));
    let env = [
        ("HERMES_INFERENCE_MODEL", "env-model"),
        ("HERMES_MODEL", "lesser"),
        ("HERMES_MAX_ITERATIONS", "20"),
        ("TERMINAL_TIMEOUT", "20"),
    ];
    assert_eq!(model(&none, &env), own("env-model", 20, 20));
    assert_eq!(model(&none, &env[1..2]), own("lesser", 10, 10));
    let given = Flags { max_turns: Some(30), ..flags("flag-model") };
    assert_eq!(model(&given, &env), own("flag-model", 30, 20));
}

#[test]
fn another_provider_does_not_inherit_what_the_file_says_of_its_own() {
    let home = Home::new(
        "model: {default: big, provider: custom, base_url: 'http://lab:1/v1', api_key: secret, \
         context_length: 5000}\n",
    );
    let other = Flags { provider: Some("anthropic".to_owned()), ..Flags::default() };
    let config = home.load_with(&other, &[("ANTHROPIC_API_KEY", "sk-ant")]).unwrap();
    let model = config.settings.model;
    assert_eq!((model.provider, model.api_key.as_deref()), (Provider::Anthropic, Some("sk-ant")));
    assert_eq!((model.base_url, model.context_length), (None, None));
    assert!(model.name.starts_with("claude"));
    let named = home.load_with(&flags("small"), &[]).unwrap().settings.model;
    assert_eq!((named.name.as_str(), named.context_length), ("small", None));
    assert_eq!(named.base_url.as_deref(), Some("http://lab:1/v1"));
}

#[test]
fn a_model_of_the_file_that_is_tied_to_nobody_goes_with_a_named_provider() {
    let named = Flags { provider: Some("groq".to_owned()), ..Flags::default() };
    let with = |config: &str| {
        let config = Home::new(config).load_with(&named, &[("GROQ_API_KEY", "k")]).unwrap();
        config.settings.model.name
    };
    assert_eq!(with("model: my-model\n"), "my-model");
    assert_ne!(with("model: {default: my-model, provider: zai}\n"), "my-model");
}

#[test]
fn a_model_may_be_plain_text() {
    let home = Home::new("model: gpt-x\n");
    let config = home.load_with(&Flags::default(), &[("OPENAI_API_KEY", "sk-x")]).unwrap();
    assert_eq!(config.settings.model.name, "gpt-x");
    assert_eq!(config.provider, "openai-api");
}

#[test]
fn a_wrong_type_names_line_key_and_what_was_expected() {
    let home = Home::new(
        "model:\n  default: 4\nagent:\n  max_turns: many\n  clarify_timeout: -1\n\
         terminal: docker\napprovals:\n  mode: sometimes\n  deny:\n    - ok\n    - 3\n\
         custom_providers:\n  - 7\ncontext_file_max_chars: 0\n",
    );
    let expected = [
        (2, "model.default: expected text (numbers and switches need quotes), found the number 4"),
        (13, "custom_providers[0]: expected a map with name and base_url"),
        (4, "agent.max_turns: expected a whole number from 1, found text"),
        (5, "agent.clarify_timeout: expected a number of seconds above 0, found the number -1"),
        (6, "terminal: expected a map, found text"),
        (11, "approvals.deny: expected a list of texts (others need quotes), found the number 3"),
        (8, "approvals.mode: expected manual, smart or off"),
        (14, "context_file_max_chars: expected a whole number from 1, found the number 0"),
    ];
    let expected: Vec<_> = expected.iter().map(|(n, m)| (*n, (*m).to_owned())).collect();
    assert_eq!(home.problems(), expected);
    let error = home.load_with(&Flags::default(), &[]).unwrap_err().to_string();
    let first = format!("{}/config.yaml:2: model.default: ", home.tmp.path().display());
    assert!(error.starts_with(&first), "{error}");
    assert!(!home.tmp.path().join("state").exists(), "nothing is written");
}

#[test]
fn broken_yaml_names_its_line() {
    let home = Home::new("model: x\nagent: [1, 2\nterminal: {\n");
    let problems = home.problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].0 >= 2 && problems[0].1.starts_with("not valid YAML"), "{problems:?}");
    assert_eq!(Home::new("- a\n- b\n").problems()[0].1, "config: expected a map of settings");
}

#[test]
fn of_a_repeated_key_the_last_counts() {
    let home = Home::new("agent: {max_turns: 5}\nagent:\n  max_turns: 6\n  max_turns: 7\n");
    assert_eq!(home.load().settings.agent.max_turns, 7);
}

#[test]
fn keys_of_hermes_that_we_do_not_know_are_fine_and_ours_are_not() {
    Home::new("display: {skin: ares}\nnew_thing: [1]\n1: 2\non: off\n").load();
    let home = Home::new("hermes_tui:\n  terminal: local\n  max_wakups: 3\n  on_hangup: maybe\n");
    let problems = home.problems();
    assert_eq!((problems[0].0, problems[1].0), (3, 4));
    assert!(problems[0].1.starts_with("hermes_tui.max_wakups: unknown key; known are follow"));
    assert_eq!(problems[1].1, "hermes_tui.on_hangup: expected keep, leave or kill");
}

#[test]
fn variables_are_expanded_and_one_that_is_not_set_leaves_the_value_out() {
    let home = Home::new(
        "model: {default: 'm-${SIZE}', base_url: 'http://${HOST_A}:${PORT}/v1', \
         api_key: '${NO_SUCH}'}\nterminal: {timeout: '${SECS}'}\n",
    );
    let env = [("SIZE", "xl"), ("HOST_A", "h"), ("PORT", "99"), ("SECS", "33")];
    let config = home.load_with(&Flags::default(), &env).unwrap();
    assert_eq!(config.settings.model.name, "m-xl");
    assert_eq!(config.settings.model.base_url.as_deref(), Some("http://h:99/v1"));
    assert_eq!(config.settings.terminal.timeout, Duration::from_secs(33));
    assert_eq!(config.settings.model.api_key, None);
    let unset = |n: &String| n.contains("model.api_key is not used: ${NO_SUCH} is not set");
    assert!(config.notes.iter().any(unset), "{:?}", config.notes);
}

#[test]
fn keys_come_from_dotenv_before_the_shell_and_reach_no_child() {
    let home =
        Home::new("model: {default: m, provider: openai}\nterminal: {env_passthrough: [WANTED]}\n");
    home.write(".env", "OPENAI_API_KEY=sk-file\nWANTED=w\nUNWANTED=u\n");
    let shell = [
        ("OPENAI_API_KEY", "sk-shell"),
        ("GROQ_API_KEY", "gsk"),
        ("HERMES_TUI_PASSWORD", "secret"),
        ("PLAIN", "p"),
    ];
    let config = home.load_with(&Flags::default(), &shell).unwrap();
    assert_eq!(config.settings.model.api_key.as_deref(), Some("sk-file"));
    assert_eq!(config.key_from.as_deref(), Some("OPENAI_API_KEY in .env"));
    let env = &config.settings.terminal.env;
    let has = |name: &str| env.iter().any(|(n, _)| n == name);
    assert!(has("PLAIN") && has("WANTED"));
    assert!(!has("OPENAI_API_KEY") && !has("GROQ_API_KEY") && !has("UNWANTED"));
    assert!(!has("HERMES_TUI_PASSWORD"), "what opens the server is not the agent's to know");
}

#[test]
fn a_backend_we_do_not_have_refuses_commands_until_local_is_chosen() {
    let docker = Home::new("terminal: {backend: docker}\n");
    let config = docker.load();
    let why = config.settings.terminal.refused.unwrap();
    assert!(why.contains("docker") && why.contains("--local-terminal"), "{why}");
    assert!(config.notes.contains(&why), "the user is told too");
    let flag = Flags { local_terminal: true, ..Flags::default() };
    assert_eq!(docker.load_with(&flag, &[]).unwrap().settings.terminal.refused, None);
    let own = Home::new("terminal: {backend: docker}\nhermes_tui: {terminal: local}\n");
    assert_eq!(own.load().settings.terminal.refused, None);
    let local = Home::new("terminal: {backend: local}\n");
    assert_eq!(local.load().settings.terminal.refused, None);
    let env = local.load_with(&Flags::default(), &[("TERMINAL_ENV", "ssh")]).unwrap();
    assert!(env.settings.terminal.refused.unwrap().contains("ssh"));
    let disabled = Home::new("agent: {disabled_toolsets: [terminal]}\n");
    assert!(disabled.load_with(&flag, &[]).unwrap().settings.terminal.refused.is_some());
}

#[test]
fn smart_is_manual_off_is_off_and_both_are_said() {
    let with = |text: &str| {
        let config = Home::new(&format!("approvals: {text}\n")).load();
        let told = config.notes.iter().any(|n| n.to_lowercase().contains("approvals"));
        (config.settings.approvals.mode, told)
    };
    assert_eq!(with("{mode: manual}"), (Mode::Manual, false));
    assert_eq!(with("{mode: smart}"), (Mode::Manual, true));
    assert_eq!(with("{mode: off}"), (Mode::Off, true));
    assert_eq!(with("{mode: 'off', deny: ['x*']}"), (Mode::Off, true));
    assert_eq!(Home::new("approvals: {mode: on}\n").problems().len(), 1);
    let home = Home::new("approvals: {mode: off, deny: ['x*']}\n");
    assert_eq!(home.load().settings.approvals.deny, ["x*"]);
    let yolo = Flags { yolo: true, ..Flags::default() };
    let manual = Home::new("approvals: {mode: manual}\n");
    assert_eq!(manual.load_with(&yolo, &[]).unwrap().settings.approvals.mode, Mode::Off);
    let env = manual.load_with(&Flags::default(), &[("HERMES_YOLO_MODE", "1")]).unwrap();
    assert_eq!(env.settings.approvals.mode, Mode::Off);
}

#[test]
fn settings_that_would_change_what_runs_are_never_ignored_in_silence() {
    let home = Home::new(
        "hooks: {pre_tool_call: [x]}\nmcp_servers: {a: {}}\ntoolsets: [hermes-cli]\n\
         fallback_providers: []\nagent: {disabled_toolsets: [web]}\n",
    );
    let notes = home.load_with(&Flags::default(), &[("HERMES_WRITE_SAFE_ROOT", "/x")]).unwrap();
    let told = |word: &str| notes.notes.iter().any(|n| n.contains(word));
    assert!(told("hooks") && told("mcp_servers") && told("web") && told("WRITE_SAFE_ROOT"));
    assert!(!told("toolsets is") && !told("fallback"), "{:?}", notes.notes);
}

#[test]
fn a_provider_we_cannot_use_is_refused_and_all_else_still_works() {
    let home = Home::new("model: {default: hermes-4, provider: nous}\n");
    let config = home.load_with(&Flags::default(), &[("XAI_API_KEY", "x")]).unwrap();
    let why = config.refusal.unwrap();
    assert!(why.contains("nous") && why.contains("--provider xai works"), "{why}");
    assert_ne!(config.settings.model.provider, Provider::Demo);
}

#[test]
fn a_missing_directory_is_refused() {
    let home = Home::new("terminal:\n  cwd: /no/such/folder\n");
    assert_eq!(
        home.problems(),
        [(2, "terminal.cwd: /no/such/folder is not a directory".to_owned())]
    );
    let bad =
        home.load_with(&Flags::default(), &[("TERMINAL_CWD", "."), ("TERMINAL_TIMEOUT", "x")]);
    assert!(bad.unwrap_err().to_string().contains("TERMINAL_TIMEOUT"));
    assert!(home.load_with(&Flags::default(), &[("TERMINAL_CWD", ".")]).is_ok());
}

#[test]
fn rules_can_be_ignored_and_a_foreign_shell_is_not_used() {
    let home = Home::new("");
    assert!(!home.load().settings.prompt.no_context_files);
    let ignore = Flags { ignore_rules: true, ..Flags::default() };
    assert!(home.load_with(&ignore, &[]).unwrap().settings.prompt.no_context_files);
    let fish = home.load_with(&Flags::default(), &[("SHELL", "/usr/bin/fish")]).unwrap();
    assert_ne!(fish.settings.terminal.shell, Path::new("/usr/bin/fish"));
}

#[test]
fn delegated_tasks_have_limits_and_what_is_not_there_is_noted() {
    let none = Home::new("").load().settings.delegation;
    assert_eq!((none.max_iterations, none.max_children), (50, 3));
    let config = Home::new(
        "delegation: {max_iterations: 12, max_concurrent_children: 2, max_spawn_depth: 2, \
         subagent_auto_approve: true, model: small, provider: ''}\n",
    )
    .load();
    let delegation = config.settings.delegation;
    assert_eq!((delegation.max_iterations, delegation.max_children), (12, 2));
    for key in ["max_spawn_depth", "subagent_auto_approve", "delegation.model"] {
        assert!(config.notes.iter().any(|note| note.contains(key)), "{key}: {:?}", config.notes);
    }
    assert!(!config.notes.iter().any(|note| note.contains("delegation.provider")));
    let wrong = Home::new("delegation: {max_concurrent_children: 0}\n");
    let error = wrong.load_with(&Flags::default(), &[]).unwrap_err().to_string();
    assert!(error.contains("delegation.max_concurrent_children"), "{error}");
}

#[test]
fn a_wrong_part_or_number_of_the_compression_is_named_with_its_line() {
    let home = Home::new(
        "compression:\n  threshold: 1.5\n  target_ratio: 0\n  enabled: maybe\n  \
         protect_last_n: -1\n",
    );
    let lines: Vec<_> = home.problems().into_iter().map(|(line, _)| line).collect();
    assert_eq!(lines, [4, 2, 3, 5]);
    let home = Home::new("compression: {threshold: 1, protect_first_n: 0}\n");
    let compression = home.load().settings.compression;
    assert_eq!((compression.threshold, compression.protect_first), (1.0, 0));
}
