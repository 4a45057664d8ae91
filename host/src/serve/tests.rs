//! The server over real sockets.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::local::{Local, Role};
use crate::settings;

/// A host with its server, in a folder of its own.
struct Site {
    dir: tempfile::TempDir,
    local: Local,
    server: Server,
    http: reqwest::Client,
    uds: reqwest::Client,
}

fn settings_in(dir: &Path) -> Settings {
    for folder in ["state", "work"] {
        std::fs::create_dir_all(dir.join(folder)).unwrap();
    }
    Settings {
        state: dir.join("state"),
        exe: "/bin/false".into(),
        cwd: dir.join("work"),
        model: settings::Model {
            provider: settings::Provider::Demo,
            name: "demo".to_owned(),
            base_url: None,
            api_key: None,
            context_length: None,
            max_tokens: None,
            retries: 0,
            stale: Duration::from_mins(3),
        },
        agent: settings::Agent::default(),
        approvals: settings::Approvals {
            mode: settings::Mode::Manual,
            timeout: Duration::from_mins(1),
            deny: Vec::new(),
            allow: Vec::new(),
        },
        terminal: settings::Terminal {
            refused: None,
            shell: "/bin/bash".into(),
            timeout: Duration::from_mins(3),
            max_timeout: Duration::from_mins(10),
            env: Vec::new(),
            withheld: Vec::new(),
        },
        prompt: settings::Prompt { context_file_max_chars: 20_000, ..Default::default() },
        compression: settings::Compression::default(),
        delegation: settings::Delegation::default(),
        sources: Vec::new(),
    }
}

impl Site {
    async fn start(password: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings_in(dir.path());
        let local = crate::local::start(settings.clone(), Role::Owner).unwrap();
        let socket = socket_path(&settings.state);
        let options = Options {
            tcp: Some("127.0.0.1:0".parse().unwrap()),
            sockets: vec![socket.clone()],
            password: password.map(str::to_owned),
            version: "test".to_owned(),
        };
        let server = start(local.access(), &settings, options).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let uds = reqwest::Client::builder().no_proxy().unix_socket(socket).build().unwrap();
        Self { dir, local, server, http, uds }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address().unwrap())
    }

    async fn end(self) {
        self.server.stop().await;
        self.local.end().await;
        assert!(!socket_path(&self.dir.path().join("state")).exists());
    }
}

#[tokio::test]
async fn health_answers_on_every_listener_and_tells_that_the_seam_is_spoken() {
    let site = Site::start(None).await;
    for client in [&site.http, &site.uds] {
        let health: Value =
            client.get(site.url("/health")).send().await.unwrap().json().await.unwrap();
        assert_eq!((&health["status"], &health["tui"]), (&json!("ok"), &json!(1)));
        assert!(health["server_started_at"].as_f64().unwrap() > 1e9);
        let unknown = client.get(site.url("/api/nosuch")).send().await.unwrap();
        assert_eq!(unknown.status(), 404);
        assert_eq!(unknown.json::<Value>().await.unwrap(), json!({"error": "not found"}));
    }
    site.end().await;
}
