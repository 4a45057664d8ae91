//! The JSON routes of the WebUI protocol, over a real socket: what they answer, and how they
//! refuse.

mod asides;
mod bounds;
mod defaults;
mod health;
mod history;
mod projects;
mod uploads;

use host::embedded::EmbeddedHost;
use host::serve;
use protocol::{SessionId, Target};
use reqwest::{Client, Response};
use serde_json::{Value, json};

use crate::support::{Gate, Home, LONG, Reply, Server, TestView, demo, eventually, obey, start};

/// A host in this process that serves on loopback.
struct Rig {
    home: Home,
    local: EmbeddedHost,
    server: serve::Server,
    client: Client,
}

impl Rig {
    async fn new() -> Self {
        Self::with(demo()).await
    }

    async fn with(model: host::settings::Model) -> Self {
        Self::at(Home::new(), model).await
    }

    /// The next host of the same home.
    async fn again(self) -> Self {
        self.server.stop().await;
        self.local.stop().await;
        Self::at(self.home, demo()).await
    }

    async fn at(home: Home, model: host::settings::Model) -> Self {
        let settings = home.settings(model);
        let local = start(settings.clone());
        let options = serve::Options {
            tcp: Some("127.0.0.1:0".parse().unwrap()),
            version: "1.2.3".to_owned(),
            ..serve::Options::default()
        };
        let server = serve::start(local.handle(), &settings, options).await.unwrap();
        let client = Client::builder().no_proxy().timeout(LONG).build().unwrap();
        Self { home, local, server, client }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address().unwrap())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        told(self.client.get(self.url(path)).send().await.unwrap()).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        told(self.client.post(self.url(path)).json(&body).send().await.unwrap()).await
    }

    /// As [`Rig::get`], for what must work.
    async fn got(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// As [`Rig::post`], for what must work.
    async fn done(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.post(path, body.clone()).await;
        assert_eq!(status, 200, "{path} {body}: {answer}");
        answer
    }

    /// A session with so many finished turns.
    async fn session(&self, turns: u64) -> (TestView, String) {
        let mut view = TestView::new(&self.local).await;
        for n in 1..=turns {
            view.ask(n, &format!("prompt {n}")).await;
        }
        let id = view.session().0;
        (view, id)
    }

    async fn upload(&self, session: &str, name: &str, bytes: Vec<u8>) -> (u16, Value) {
        let part = reqwest::multipart::Part::bytes(bytes).file_name(name.to_owned());
        let form = reqwest::multipart::Form::new()
            .text("session_id", session.to_owned())
            .part("file", part);
        told(self.client.post(self.url("/api/upload")).multipart(form).send().await.unwrap()).await
    }

    async fn stop(self) {
        self.server.stop().await;
        self.local.stop().await;
    }
}

async fn told(response: Response) -> (u16, Value) {
    let status = response.status();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/json"), "{status} {kind}");
    (status.as_u16(), response.json().await.unwrap())
}

/// What a recorded answer looks like: the names of its members, those within too.
fn names(value: &Value) -> Vec<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

fn capture(name: &str) -> Value {
    let text = std::fs::read_to_string(format!(
        "{}/tests/data/captures/{name}.response.txt",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap();
    let (_, body) = text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n")).unwrap();
    serde_json::from_str(body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_status_and_says_why() {
    let rig = Rig::new().await;
    let (_view, id) = rig.session(1).await;
    for (path, status, error) in [
        ("/api/session", 400, "session_id is required"),
        ("/api/session?session_id=none", 404, "Session not found"),
        ("/api/session?session_id=../../etc", 404, "Session not found"),
        ("/api/session/status", 400, "Missing session_id"),
        ("/api/session/status?session_id=none", 404, "Session not found"),
        ("/api/session/usage", 400, "Missing session_id"),
        ("/api/session/usage?session_id=none", 404, "Session not found"),
        ("/api/session/export", 400, "session_id is required"),
        ("/api/session/export?session_id=none", 404, "Session not found"),
        ("/api/session/draft", 400, "session_id is required"),
        ("/api/session/draft?session_id=none", 404, "Session not found"),
        ("/api/session/yolo", 400, "Missing session_id"),
        ("/api/session/compress/status", 400, "session_id is required"),
        ("/api/background/status", 400, "Missing session_id"),
        ("/api/nothing", 404, "not found"),
    ] {
        assert_eq!(rig.get(path).await, (status, json!({ "error": error })), "{path}");
    }
    let one = |keys: &str| format!("Missing required field(s): {keys}");
    let none =
        json!({ "session_id": "none", "title": "x", "name": "", "args": "x", "keep_count": 0 });
    for path in [
        "rename",
        "pin",
        "archive",
        "duplicate",
        "branch",
        "undo",
        "retry",
        "update",
        "draft",
        "yolo",
        "compress/start",
        "truncate",
        "clear",
        "toolsets",
    ] {
        let path = format!("/api/session/{path}");
        let keys = if path.ends_with("rename") { "session_id, title" } else { "session_id" };
        assert_eq!(
            rig.post(&path, json!({})).await,
            (400, json!({ "error": one(keys) })),
            "{path}"
        );
        let missing = (404, json!({ "error": "Session not found" }));
        assert_eq!(rig.post(&path, none.clone()).await, missing, "{path}");
    }
    assert_eq!(rig.post("/api/goal", json!({ "args": "x" })).await.0, 400);
    assert_eq!(rig.post("/api/goal", none.clone()).await.0, 404);
    let with = |key: &str, value: &str| json!({ "session_id": id, key: value });
    for (path, body, status) in [
        ("/api/session/delete", json!({}), 400),
        ("/api/session/branch", with("keep_count", "x"), 400),
        ("/api/session/update", with("model", "nobody/x"), 400),
        ("/api/session/update", with("workspace", "/nonexistent/folder"), 400),
        ("/api/session/new", json!({ "workspace": "/nonexistent/folder" }), 400),
        ("/api/session/new", json!({ "profile": "other" }), 400),
        ("/api/personality/set", none.clone(), 404),
        ("/api/personality/set", with("name", "pirate"), 404),
        ("/api/commands/exec", json!({ "command": "/help" }), 404),
        ("/api/commands/exec", json!({}), 400),
        ("/api/models/refresh", json!({}), 400),
        ("/api/default-model", json!({}), 400),
        ("/api/default-model", json!({ "model": "nobody/x" }), 400),
        ("/api/reasoning", json!({ "display": "show" }), 400),
        ("/api/reasoning", json!({ "effort": "very" }), 400),
        ("/api/chat", with("message", "hello"), 501),
        ("/api/session/move", json!({}), 400),
        ("/api/session/move", none.clone(), 404),
        ("/api/session/move", with("project_id", "none"), 404),
        ("/api/session/new", json!({ "project_id": "none" }), 404),
        ("/api/projects/create", json!({}), 400),
        ("/api/projects/create", json!({ "name": "x", "color": "red" }), 400),
        ("/api/projects/create", json!({ "name": "x", "color": "#ääää" }), 400),
        ("/api/projects/create", json!({ "name": "x", "color": 7 }), 400),
        ("/api/projects/create", json!({ "name": "x", "profile": "other" }), 400),
        ("/api/projects/rename", json!({ "project_id": "none" }), 400),
        ("/api/projects/rename", json!({ "project_id": "none", "name": "x" }), 404),
        ("/api/projects/delete", json!({}), 400),
        ("/api/projects/delete", json!({ "project_id": "none" }), 404),
        ("/api/reasoning", with("effort", "very"), 400),
        ("/api/profile/switch", json!({}), 400),
        ("/api/profile/switch", json!({ "name": "none" }), 404),
        ("/api/nothing", json!({}), 404),
    ] {
        let (got, answer) = rig.post(path, body.clone()).await;
        assert_eq!(got, status, "{path} {body}: {answer}");
        assert!(!answer["error"].as_str().unwrap().is_empty(), "{path}");
        assert!(!answer.to_string().contains(rig.home.path().to_str().unwrap()), "{answer}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_json_reads_as_an_empty_one() {
    let rig = Rig::new().await;
    for body in ["{not json", "[1,2]", "7", "", "\u{0}\u{1}"] {
        let url = rig.url("/api/session/rename");
        let sent = rig.client.post(url).body(body).send().await.unwrap();
        assert_eq!(told(sent).await, (400, capture("bad_json")), "{body:?}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_listed_loaded_and_paged() {
    let rig = Rig::new().await;
    let (_view, id) = rig.session(3).await;
    let list = rig.got("/api/sessions").await;
    assert_eq!(names(&list), names(&capture("sessions_list")));
    assert_eq!(list["sessions"][0]["session_id"], json!(id));
    assert_eq!(list["sessions"][0]["message_count"], 6);
    assert_eq!(list["webui_session_count"], 1);
    assert_eq!(rig.got("/api/sessions?sidebar_source=cli").await["sessions"], json!([]));

    let all = rig.got(&format!("/api/session?session_id={id}")).await;
    let messages = all["session"]["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 6);
    assert_eq!(messages[0]["content"], "prompt 1");
    assert_eq!(all["session"]["_messages_truncated"], false);
    let bare = rig.got(&format!("/api/session?session_id={id}&messages=0")).await;
    assert_eq!(bare["session"]["messages"], json!([]));
    assert_eq!(bare["session"]["message_count"], 6);

    // Page by page from the end, everything is seen once.
    let mut seen = Vec::new();
    let mut before = String::new();
    loop {
        let page = rig.got(&format!("/api/session?session_id={id}&msg_limit=4{before}")).await;
        let page = &page["session"];
        let mut older = page["messages"].as_array().unwrap().clone();
        older.append(&mut seen);
        seen = older;
        let offset = page["_messages_offset"].as_u64().unwrap();
        assert_eq!(page["_messages_truncated"], offset > 0);
        if offset == 0 {
            break;
        }
        before = format!("&msg_before={offset}");
    }
    assert_eq!(&seen, messages);

    let status = rig.got(&format!("/api/session/status?session_id={id}")).await;
    let mut expected = names(&capture("session_status"));
    let mut got = names(&status);
    expected.sort();
    got.sort();
    assert_eq!(got, expected);
    assert_eq!(status["agent_running"], false);
    assert_eq!(rig.got(&format!("/api/session/usage?session_id={id}")).await["model"], "demo");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_session_is_paged_from_the_store() {
    let rig = Rig::new().await;
    let (view, id) = rig.session(110).await;
    drop(view);
    // In memory again it holds its last rows only.
    let all = rig.got(&format!("/api/session?session_id={id}")).await;
    let messages = all["session"]["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 220);
    for (n, message) in messages.iter().enumerate() {
        assert_eq!(message["id"], n + 1);
    }
    let page = rig.got(&format!("/api/session?session_id={id}&msg_limit=30&msg_before=35")).await;
    let ids: Vec<u64> = page["session"]["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, (6..=35).collect::<Vec<_>>());
    assert_eq!(page["session"]["_messages_offset"], 5);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_changes_nothing_so_nobody_is_told_to_look_again() {
    let rig = Rig::new().await;
    let (mut view, id) = rig.session(2).await;
    let (other, unseen) = rig.session(1).await;
    drop(other);
    view.quiet().await;
    view.events.clear();
    for _ in 0..3 {
        for path in ["/api/sessions", "/api/sessions/search?q=prompt", "/api/models"] {
            rig.got(path).await;
        }
        for id in [&id, &unseen] {
            for path in ["", "/status", "/usage", "/yolo", "/draft", "/export"] {
                rig.got(&format!("/api/session{path}?session_id={id}")).await;
            }
        }
    }
    view.quiet().await;
    assert_eq!(view.events, []);
    assert_eq!(rig.home.reader().sessions(10).unwrap().len(), 2, "no session was made by it");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_session_is_there_before_its_first_prompt() {
    let rig = Rig::new().await;
    let new = rig.done("/api/session/new", json!({ "model": "demo" })).await;
    assert_eq!(new["session"]["title"], "Untitled");
    assert_eq!(new["session"]["messages"], json!([]));
    let id = new["session"]["session_id"].as_str().unwrap().to_owned();
    // Never used, so in no list; but it can be loaded, named and worked in.
    assert_eq!(rig.got("/api/sessions").await["sessions"], json!([]));
    rig.got(&format!("/api/session?session_id={id}")).await;
    let named = json!({ "session_id": id, "title": "Mine" });
    assert_eq!(rig.done("/api/session/rename", named).await["session"]["title"], "Mine");
    let mut view = TestView::attach(&rig.local, Target::Id(SessionId(id.clone()))).await;
    assert_eq!(view.session().0, id);
    view.ask(1, "hello").await;
    drop(view);
    let list = rig.got("/api/sessions").await;
    assert_eq!(list["sessions"][0]["title"], "Mine");
    let loaded = rig.got(&format!("/api/session?session_id={id}")).await;
    assert_eq!(loaded["session"]["messages"][0]["content"], "hello");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_renamed_archived_and_deleted_once_and_twice() {
    let rig = Rig::new().await;
    let (view, id) = rig.session(1).await;
    drop(view);
    let of = |key: &str, value: Value| json!({ "session_id": id, key: value });
    let renamed = rig.done("/api/session/rename", of("title", json!("  Blue whale "))).await;
    assert_eq!(renamed["session"]["title"], "Blue whale");
    assert!(renamed["session"].get("messages").is_none());
    let archived = rig.done("/api/session/archive", of("archived", json!(true))).await;
    assert_eq!((&archived["ok"], &archived["session"]["archived"]), (&json!(true), &json!(true)));
    let list = rig.got("/api/sessions").await;
    assert_eq!((&list["sessions"], &list["archived_count"]), (&json!([]), &json!(1)));
    let list = rig.got("/api/sessions?include_archived=1").await;
    assert_eq!(list["sessions"][0]["archived"], true);
    let list = rig.got("/api/sessions?include_archived=1&archived_offset=1").await;
    assert_eq!(list["sessions"], json!([]));
    rig.done("/api/session/archive", of("archived", json!(false))).await;
    assert_eq!(rig.got("/api/sessions").await["sessions"][0]["title"], "Blue whale");

    let (status, kept) = rig.upload(&id, "note.txt", b"x".to_vec()).await;
    assert_eq!(status, 200, "{kept}");
    for _ in 0..2 {
        let gone = rig.done("/api/session/delete", json!({ "session_id": id })).await;
        assert_eq!(gone, json!({ "ok": true, "state_db_cleanup_failed": false }));
    }
    assert_eq!(rig.get(&format!("/api/session?session_id={id}")).await.0, 404);
    assert_eq!(rig.got("/api/sessions").await["sessions"], json!([]));
    let kept = std::path::PathBuf::from(kept["path"].as_str().unwrap());
    eventually("the end of its files", || (!kept.exists()).then_some(())).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drafts_are_kept_until_they_are_replaced() {
    let rig = Rig::new().await;
    let (_view, id) = rig.session(1).await;
    let url = format!("/api/session?session_id={id}");
    assert_eq!(rig.got(&url).await["session"]["composer_draft"], json!({}));
    for text in [" half a ", "other"] {
        let draft = json!({ "text": text, "files": [] });
        let body = json!({ "session_id": id, "text": text, "files": [] });
        let kept = rig.done("/api/session/draft", body).await;
        assert_eq!(kept, json!({ "ok": true, "draft": draft }));
        assert_eq!(rig.got(&url).await["session"]["composer_draft"], draft);
        let draft_url = format!("/api/session/draft?session_id={id}");
        assert_eq!(rig.got(&draft_url).await["draft"], draft);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_exported_whole() {
    let rig = Rig::new().await;
    let (_view, id) = rig.session(2).await;
    let url = rig.url(&format!("/api/session/export?session_id={id}"));
    let response = rig.client.get(&url).send().await.unwrap();
    let name = response.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert_eq!(name, format!("attachment; filename=\"hermes-{id}.json\""));
    let document: Value = response.json().await.unwrap();
    assert_eq!(document["session_id"], json!(id));
    assert_eq!(document["messages"].as_array().unwrap().len(), 4);
    let page = rig.client.get(format!("{url}&format=html")).send().await.unwrap();
    assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(page.text().await.unwrap().contains("<pre>prompt 2</pre>"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn catalogs_have_the_shape_of_the_protocol() {
    let rig = Rig::new().await;
    let (_view, id) = rig.session(1).await;
    let models = rig.got("/api/models").await;
    assert_eq!(names(&models), names(&capture("models")));
    assert_eq!(models["default_model"], "demo");
    assert_eq!(models["groups"][0]["models"][0]["id"], "demo");
    let live = rig.got("/api/models/live?provider=demo").await;
    assert_eq!((&live["provider"], &live["count"]), (&json!("demo"), &json!(1)));
    let none = rig.got("/api/models/live?provider=none").await;
    assert_eq!(none["models"], json!([]));
    let refreshed = rig.done("/api/models/refresh", json!({ "provider": "Demo" })).await;
    assert_eq!(refreshed, json!({ "ok": true, "provider": "demo" }));
    let mut reasoning = names(&rig.got("/api/reasoning").await);
    let mut recorded = names(&capture("reasoning"));
    reasoning.sort();
    recorded.sort();
    assert_eq!(reasoning, recorded);
    let commands = rig.got("/api/commands").await;
    assert_eq!(names(&commands["commands"][0]), names(&capture("commands")["commands"][0]));
    let settings = rig.got("/api/settings").await;
    assert_eq!(settings["default_model"], "demo");
    assert_eq!(settings["agent_version"], "1.2.3");
    assert_eq!(settings["webui_version"], Value::Null, "a page would take itself for an old one");
    assert_eq!(rig.got("/api/projects").await, capture("projects"));
    assert_eq!(rig.got("/api/prompts").await, capture("prompts"));
    assert_eq!(rig.got("/api/personalities").await, json!({ "personalities": [] }));
    let background = rig.got(&format!("/api/background/status?session_id={id}")).await;
    assert_eq!(background, json!({ "results": [] }));
    let idle = rig.got(&format!("/api/session/compress/status?session_id={id}")).await;
    assert_eq!(idle, json!({ "ok": true, "status": "idle", "session_id": id }));
    // Folders by the beginning of their path.
    let work = rig.home.work();
    for name in ["alpha", "also", "beta", ".alpine"] {
        std::fs::create_dir(work.join(name)).unwrap();
    }
    let typed = work.join("al");
    let found = rig.got(&format!("/api/workspaces/suggest?prefix={}", typed.display())).await;
    let expected = ["alpha", "also"].map(|name| work.join(name).display().to_string());
    assert_eq!(found["suggestions"], json!(expected));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_turn_shows_in_list_and_status() {
    let rig = Rig::new().await;
    let (view, id) = rig.session(1).await;
    view.prompt("clarify");
    let mut list = Value::Null;
    let end = std::time::Instant::now() + LONG;
    while list["attention"]["kind"] != "clarify" {
        assert!(std::time::Instant::now() < end, "{list}");
        list = rig.got("/api/sessions").await["sessions"][0].clone();
    }
    assert_eq!(list["attention"], json!({ "kind": "clarify", "count": 1, "severity": "question" }));
    assert_eq!(list["is_streaming"], true);
    assert_eq!(list["pending_user_source"], "webui");
    let status = rig.got(&format!("/api/session/status?session_id={id}")).await;
    assert_eq!(status["agent_running"], true);
    let session = rig.got(&format!("/api/session?session_id={id}")).await;
    let stream = status["active_stream_id"].as_str().unwrap();
    assert!(stream.len() == 32 && stream.bytes().all(|b| b.is_ascii_hexdigit()), "{stream}");
    assert_eq!(session["session"]["active_stream_id"], stream);
    assert_eq!(list["active_stream_id"], stream);
    assert_eq!(list["pending_started_at"], session["session"]["pending_started_at"]);
    let found = rig.got("/api/sessions/search?q=prompt&content=0").await["sessions"][0].clone();
    assert_eq!(found["active_stream_id"], stream);
    // What the running turn has said is told by its stream, from its beginning.
    assert_eq!(session["session"]["messages"].as_array().unwrap().len(), 3);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_asked_of_the_provider_and_a_session_keeps_its_own() {
    // S06
    let list = json!({ "data": [{ "id": "test-model" }, { "id": "second-model" }] }).to_string();
    let server = Server::start(move |asked| match asked.body {
        Value::Null => Reply::Status(200, list.clone()),
        _ => obey(asked),
    })
    .await;
    let rig = Rig::with(server.model()).await;
    let (view, id) = rig.session(1).await;
    drop(view);
    let end = std::time::Instant::now() + LONG;
    let ids = loop {
        let models = rig.got("/api/models").await;
        let group = models["groups"][0]["models"].as_array().unwrap().clone();
        let ids: Vec<String> =
            group.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(models["default_model"], "test-model");
        assert_eq!(ids[0], "test-model");
        if ids.len() > 1 {
            break ids;
        }
        assert!(std::time::Instant::now() < end, "{ids:?}");
    };
    let pick = json!({ "session_id": id, "model": ids[1], "model_provider": "openai" });
    let updated = rig.done("/api/session/update", pick).await;
    assert_eq!(updated["session"]["model"], json!(ids[1]));
    // What is stored with the session wins over the host's own, also when it is loaded again.
    rig.done("/api/models/refresh", json!({ "provider": "openai" })).await;
    let again = rig.got(&format!("/api/session?session_id={id}")).await;
    assert_eq!(again["session"]["model"], json!(ids[1]));
    let mut view = TestView::attach(&rig.local, Target::Id(SessionId(id))).await;
    view.ask(2, "go on").await;
    let asked = server.seen().into_iter().rfind(|asked| !asked.body.is_null()).unwrap();
    assert_eq!(asked.body["model"], "second-model");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_pinned_copied_and_branched() {
    let rig = Rig::new().await;
    let (view, id) = rig.session(3).await;
    drop(view);
    let of = |key: &str, value: Value| json!({ "session_id": id, key: value });
    for pinned in [true, false] {
        let told = rig.done("/api/session/pin", of("pinned", json!(pinned))).await;
        assert_eq!((&told["ok"], &told["session"]["pinned"]), (&json!(true), &json!(pinned)));
        assert_eq!(rig.got("/api/sessions").await["sessions"][0]["pinned"], json!(pinned));
    }
    let copy = rig.done("/api/session/duplicate", json!({ "session_id": id })).await;
    let copied = copy["session"]["session_id"].as_str().unwrap();
    assert_ne!(copied, id);
    assert_eq!(copy["session"]["message_count"], 6);
    // A branch ends where a turn ends, at or before what was asked for.
    for (keep, kept) in [(json!(null), 6), (json!(6), 6), (json!(4), 4), (json!("3"), 2)] {
        let branch = rig.done("/api/session/branch", of("keep_count", keep.clone())).await;
        assert_eq!(names(&branch), names(&capture("session_branch")));
        assert_eq!(branch["parent_session_id"], json!(id));
        let branched = branch["session_id"].as_str().unwrap();
        let loaded = rig.got(&format!("/api/session?session_id={branched}")).await;
        let messages = loaded["session"]["messages"].as_array().unwrap();
        assert_eq!(messages.len(), kept, "{keep}");
        assert_eq!(messages[0]["content"], "prompt 1");
        assert_eq!(loaded["session"]["parent_session_id"], json!(id));
    }
    let titled = json!({ "session_id": id, "title": "Other way" });
    let branch = rig.done("/api/session/branch", titled).await;
    assert_eq!(branch["title"], "Other way");
    let whole = rig.got(&format!("/api/session?session_id={id}")).await;
    assert_eq!(whole["session"]["message_count"], 6, "the original stays as it was");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_turn_is_taken_back_until_there_is_none() {
    let rig = Rig::new().await;
    let (_view, id) = rig.session(2).await;
    let body = json!({ "session_id": id });
    let retried = rig.done("/api/session/retry", body.clone()).await;
    assert_eq!(retried, json!({ "ok": true, "last_user_text": "prompt 2", "removed_count": 2 }));
    let undone = rig.done("/api/session/undo", body.clone()).await;
    assert_eq!(undone, json!({ "ok": true, "removed_count": 2, "removed_preview": "prompt 1" }));
    let loaded = rig.got(&format!("/api/session?session_id={id}")).await;
    assert_eq!(loaded["session"]["messages"], json!([]));
    // Its failure has status 200.
    assert_eq!(rig.done("/api/session/undo", body.clone()).await, capture("session_undo"));
    let refused = rig.done("/api/session/retry", body).await;
    assert_eq!(refused, json!({ "error": "No previous message to retry." }));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_its_own_settings() {
    let rig = Rig::new().await;
    let (_view, id) = rig.session(1).await;
    let of = |key: &str, value: Value| json!({ "session_id": id, key: value });
    let yolo = format!("/api/session/yolo?session_id={id}");
    assert_eq!(rig.got(&yolo).await, json!({ "yolo_enabled": false }));
    for enabled in [true, true, false] {
        let set = rig.done("/api/session/yolo", of("enabled", json!(enabled))).await;
        assert_eq!(set, json!({ "ok": true, "yolo_enabled": enabled }));
        assert_eq!(rig.got(&yolo).await["yolo_enabled"], json!(enabled));
    }
    for effort in ["high", "high", "none"] {
        let set = rig.done("/api/reasoning", of("effort", json!(effort))).await;
        assert_eq!(set["reasoning_effort"], effort);
        let seen = rig.got(&format!("/api/reasoning?session_id={id}")).await;
        assert_eq!(seen["reasoning_effort"], effort);
    }
    let set = rig.done("/api/reasoning", of("effort", json!("default"))).await;
    assert_eq!(set["reasoning_effort"], "");
    let folder = rig.home.user();
    let moved = rig.done("/api/session/update", of("workspace", json!(folder))).await;
    assert_eq!(moved["session"]["workspace"], json!(folder));
    let elsewhere = json!({ "workspace": folder });
    let new = rig.done("/api/session/new", elsewhere).await;
    assert_eq!(new["session"]["workspace"], json!(folder));
    let workspaces = rig.got("/api/workspaces").await;
    assert_eq!(names(&workspaces), names(&capture("workspaces")));
    let paths: Vec<&str> = workspaces["workspaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|workspace| workspace["path"].as_str().unwrap())
        .collect();
    assert!(paths.contains(&rig.home.work().to_str().unwrap()), "{paths:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_are_found_in_titles_and_in_messages() {
    let rig = Rig::new().await;
    let (_view, id) = rig.session(1).await;
    let named = json!({ "session_id": id, "title": "Blue whale" });
    rig.done("/api/session/rename", named).await;
    let found = rig.got("/api/sessions/search?q=whale&content=1&depth=5").await;
    assert_eq!(names(&found).len(), names(&capture("session_search")).len());
    assert_eq!((&found["count"], &found["query"]), (&json!(1), &json!("whale")));
    assert_eq!(found["sessions"][0]["match_type"], "title");
    // The index is filled behind the writer's back.
    let end = std::time::Instant::now() + LONG;
    let found = loop {
        let found = rig.got("/api/sessions/search?q=prompt&content=1").await;
        if found["count"] == 1 {
            break found["sessions"][0].clone();
        }
        assert!(std::time::Instant::now() < end, "{found}");
    };
    assert_eq!(found["session_id"], json!(id));
    assert_eq!(found["match_type"], "content");
    assert!(found["match_preview"].as_str().unwrap().contains("prompt 1"), "{found}");
    assert_eq!(rig.got("/api/sessions/search?q=prompt&content=0").await["count"], 0);
    assert_eq!(rig.got("/api/sessions/search?q=nowhere").await["sessions"], json!([]));
    assert_eq!(rig.got("/api/sessions/search").await["count"], 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_profile() {
    let rig = Rig::new().await;
    let profiles = rig.got("/api/profiles").await;
    assert_eq!(names(&profiles), names(&capture("profiles")));
    assert_eq!(profiles["profiles"][0]["name"], "default");
    assert_eq!(names(&rig.got("/api/profile/active").await), names(&capture("profile_active")));
    let stays = rig.done("/api/profile/switch", json!({ "name": "default" })).await;
    assert_eq!(stays["active"], "default");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_is_compressed_beside_the_requests_about_it() {
    let rig = Rig::new().await;
    let (_view, id) = rig.session(1).await;
    let url = format!("/api/session/compress/status?session_id={id}");
    let started = rig.done("/api/session/compress/start", json!({ "session_id": id })).await;
    assert_eq!(started["session_id"], json!(id));
    // So short a session has nothing to compress: the end says so, at once or later.
    let end = std::time::Instant::now() + LONG;
    let ended = loop {
        let status = rig.got(&url).await;
        if status["status"] != "running" {
            break status;
        }
        assert!(std::time::Instant::now() < end, "{status}");
    };
    assert_eq!((&ended["ok"], &ended["status"]), (&json!(false), &json!("error")));
    assert!(!ended["error"].as_str().unwrap().is_empty());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goal_is_set_paused_resumed_and_forgotten() {
    // S08
    let gate = Gate::closed();
    let opened = gate.clone();
    let server = Server::start(move |asked| match asked.last_user() {
        "prompt 1" => Reply::Text("Hello.".to_owned()),
        _ => Reply::After(opened.clone(), Box::new(Reply::Text("On it.".to_owned()))),
    })
    .await;
    let rig = Rig::with(server.model()).await;
    let (_view, id) = rig.session(1).await;
    let ask = |args: &str| json!({ "session_id": id, "args": args });
    let told = |name: &str| {
        let recorded = capture(name);
        (recorded["action"].clone(), recorded["message_key"].clone())
    };
    let none = rig.done("/api/goal", ask("status")).await;
    assert_eq!((none["action"].clone(), none["message_key"].clone()), told("goal_status"));
    assert_eq!(none["goal"], Value::Null);
    for nothing in ["pause", "resume", "clear"] {
        let answer = rig.done("/api/goal", ask(nothing)).await;
        assert_eq!(answer["message_key"], "goal_status_none", "{nothing}");
    }
    let set = rig.done("/api/goal", ask("make a rig")).await;
    assert_eq!((set["action"].clone(), set["message_key"].clone()), told("goal_set"));
    assert_eq!(names(&set["goal"]), names(&capture("goal_set")["goal"]));
    assert_eq!(
        (&set["goal"]["goal"], &set["goal"]["status"]),
        (&json!("make a rig"), &json!("active"))
    );
    // Its first turn runs already: the client attaches to it.
    let status = rig.got(&format!("/api/session/status?session_id={id}")).await;
    assert_eq!(status["agent_running"], true);
    assert_eq!(set["stream_id"], status["active_stream_id"]);
    assert_eq!(set["stream_id"].as_str().unwrap().len(), 32);
    for _ in 0..2 {
        let paused = rig.done("/api/goal", ask("pause")).await;
        assert_eq!((paused["action"].clone(), paused["message_key"].clone()), told("goal_pause"));
        assert_eq!(paused["goal"]["status"], "paused");
    }
    let resumed = rig.done("/api/goal", ask("resume")).await;
    assert_eq!(
        (&resumed["action"], &resumed["goal"]["status"]),
        (&json!("resume"), &json!("active"))
    );
    let cleared = rig.done("/api/goal", ask("stop")).await;
    assert_eq!((cleared["action"].clone(), cleared["message_key"].clone()), told("goal_clear"));
    assert_eq!(cleared["goal"], Value::Null);
    gate.open();
    rig.stop().await;
}
