//! Deleted and archived sessions, what outlives them, and the processes of the whole host.

use host::embedded::EmbeddedHost;
use host::store::{Durability, Record, Report, Store};
use protocol::{
    Command, Delivery, Event, Killer, Process, ProcessId, SessionId, State, Subject, Target,
};
use tokio::sync::mpsc;

use crate::support::{
    Gate, Home, LONG, Reply, Server, TestView, eventually, is_alive, obey, start, wakeups,
};
use crate::wakeups::{fifo, spawn, waiting};

/// All processes that the host lists for a view.
async fn listed(view: &mut TestView) -> Vec<Process> {
    view.events.retain(|e| !matches!(e, Event::ProcessesListed { .. }));
    view.send(Command::ListProcesses);
    view.until("the list of processes", |v| {
        v.events.iter().find_map(|e| match e {
            Event::ProcessesListed { processes } => Some(processes.clone()),
            _ => None,
        })
    })
    .await
}

/// Waits until the list of processes is as wanted.
async fn until_listed(view: &mut TestView, wanted: impl Fn(&[Process]) -> bool) -> Vec<Process> {
    let waiting = async {
        loop {
            let processes = listed(view).await;
            if wanted(&processes) {
                return processes;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.expect("the processes come to that")
}

/// What the view was told about `about`.
fn told(view: &TestView, about: &str) -> Option<String> {
    view.events.iter().find_map(|e| match e {
        Event::Failed(failure) if failure.about == Subject::of_name(about) => {
            Some(failure.message.clone())
        }
        _ => None,
    })
}

/// Writes records as another program would, while no host runs.
async fn store(home: &Home, records: Vec<Record>) {
    let (tx, mut reports) = mpsc::unbounded_channel();
    let store = Store::open(&home.state(), tx).unwrap();
    let no = store.write(records, Durability::Barrier);
    let report = tokio::time::timeout(LONG, reports.recv()).await.unwrap().unwrap();
    assert_eq!(report, Report::Committed(no));
    tokio::task::spawn_blocking(|| store.close()).await.unwrap().unwrap();
}

fn has_folder(home: &Home, id: &ProcessId) -> bool {
    home.state().join("proc").join(&id.0).exists()
}

/// A session with a process that lives until killed; its pid and the session are given.
async fn with_process(home: &Home, local: &EmbeddedHost) -> (TestView, SessionId, Process, u32) {
    let mut view = TestView::new(local).await;
    view.ask(1, &spawn("trap '' TERM; echo $$ > pid; while :; do sleep 0.2; done")).await;
    let pid = home.line_in("pid").await.parse().unwrap();
    let process = view
        .until("the running process", |v| Some(v.process()).filter(|p| p.state == State::Running))
        .await;
    let session = view.session();
    (view, session, process, pid)
}

// W09 W19 S04
#[tokio::test]
async fn a_deleted_session_is_gone_everywhere_with_its_processes() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut command_sender = TestView::new(&local).await;
    let (mut one, session, process, pid) = with_process(&home, &local).await;
    let mut two = TestView::attach(&local, Target::Id(session.clone())).await;
    command_sender.send(Command::Delete { session: session.clone() });
    for view in [&mut one, &mut two] {
        let message = view.until("the note", |v| told(v, "session")).await;
        assert!(message.contains("was deleted"), "{message}");
        assert_ne!(view.session(), session);
        assert!(view.transcript.rows.is_empty() && view.transcript.processes.is_empty());
    }
    eventually("the end of the process", || (!is_alive(pid)).then_some(())).await;
    until_listed(&mut command_sender, <[_]>::is_empty).await;
    eventually("its folder to go", || (!has_folder(&home, &process.id)).then_some(())).await;
    assert!(home.reader().load(&session, 1).unwrap().is_none());
    assert!(!home.state().join("leases").join(&session.0).exists());
    assert_eq!(command_sender.toasts(), 0);
    server.stays_at(2).await;
    // The views that lost it work.
    one.ask(1, "hello").await;
    // It cannot be opened any more.
    command_sender.send(Command::Open(Target::Id(session)));
    command_sender.until("the refusal", |v| told(v, "open")).await;
}

// W19
#[tokio::test]
async fn late_words_of_a_turn_do_not_bring_its_deleted_session_back() {
    let home = Home::new();
    let hold = Gate::closed();
    let held = hold.clone();
    let server = Server::start(move |asked| match asked.last_user() {
        "hold" => Reply::After(held.clone(), Box::new(Reply::Text("Late.".to_owned()))),
        _ => obey(asked),
    })
    .await;
    let local = start(home.settings(server.model()));
    let gate = fifo(&home.work());
    let mut view = TestView::new(&local).await;
    view.ask(1, &spawn(&waiting("a", "exit 0"))).await;
    home.line_in("up-a").await;
    let session = view.session();
    view.prompt("hold");
    server.requests(3).await;
    view.prompt("and this waits");
    view.send(Command::Delete { session: session.clone() });
    view.until("the note", |v| told(v, "session")).await;
    hold.open();
    drop(gate);
    until_listed(&mut view, <[_]>::is_empty).await;
    view.ask(1, "hello").await;
    server.stays_at(4).await;
    drop(view);
    local.stop().await;
    // Nor does the next host know anything of it.
    assert!(home.reader().load(&session, 1).unwrap().is_none(), "{}", home.dump());
    assert!(home.is_settled());
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    assert_eq!(listed(&mut view).await, []);
    server.stays_at(4).await;
}

// W19
#[tokio::test]
async fn an_orphan_of_a_session_deleted_offline_can_be_killed() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let local = start(home.settings(server.model()));
    let (view, session, process, pid) = with_process(&home, &local).await;
    drop(view);
    local.stop().await;
    let ran = home.run(&["sessions", "delete", &session.0, "-y"]).await;
    assert!(ran.status.success(), "{ran:?}");
    let out = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(out.contains("1 of its background processes"), "{out}");
    let ran = home.run(&["doctor"]).await;
    let out = String::from_utf8_lossy(&ran.stdout).into_owned();
    let line = out.lines().find(|l| l.starts_with("orphan")).expect("a line on the orphan");
    assert!(line.contains(&process.id.0) && line.contains("trap"), "{line}");
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    let running = |all: &[Process]| all.iter().any(|p| p.state == State::Running);
    let all = until_listed(&mut view, running).await;
    assert_eq!(all.len(), 1);
    assert_eq!((&all[0].id, &all[0].session), (&process.id, &session));
    assert_eq!(all[0].delivery, Delivery::Orphaned);
    assert!(is_alive(pid));
    view.send(Command::Kill { id: Some(process.id.clone()) });
    until_listed(&mut view, <[_]>::is_empty).await;
    assert!(!is_alive(pid));
    eventually("its record to go", || home.reader().orphans().unwrap().is_empty().then_some(()))
        .await;
    assert!(!has_folder(&home, &process.id));
    assert!(home.reader().load(&session, 1).unwrap().is_none(), "no ghost");
    assert_eq!((view.toasts(), view.turns()), (0, Vec::new()));
    server.stays_at(2).await;
}

// W19
#[tokio::test]
async fn an_orphan_that_ends_wakes_nobody_and_leaves_nothing() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let gate = fifo(&home.work());
    let mut view = TestView::new(&local).await;
    view.ask(1, &spawn(&waiting("a", "exit 3"))).await;
    home.line_in("up-a").await;
    let (session, process) = (view.session(), view.process());
    drop(view);
    local.stop().await;
    store(&home, vec![Record::Deleted { session: session.clone() }]).await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    assert_eq!(listed(&mut view).await.len(), 1);
    drop(gate);
    until_listed(&mut view, <[_]>::is_empty).await;
    eventually("its folder to go", || (!has_folder(&home, &process.id)).then_some(())).await;
    eventually("its record to go", || home.reader().orphans().unwrap().is_empty().then_some(()))
        .await;
    assert_eq!(view.toasts(), 0);
    server.stays_at(2).await;
}

// W08 W09 W19
#[tokio::test]
async fn the_kill_of_a_deletion_is_repeated_by_the_next_host() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let (view, session, process, pid) = with_process(&home, &local).await;
    drop(view);
    local.stop().await;
    // As a host leaves it that is killed between the commit and the signal.
    let doomed = Process { killed_by: Some(Killer::User), ..process };
    store(&home, vec![Record::Process(doomed), Record::Deleted { session }]).await;
    assert!(is_alive(pid));
    let _local = start(home.settings(server.model()));
    eventually("the end of the process", || (!is_alive(pid)).then_some(())).await;
    eventually("its record to go", || home.reader().orphans().unwrap().is_empty().then_some(()))
        .await;
    server.stays_at(2).await;
}

// S07
#[tokio::test]
async fn the_command_line_asks_and_deletes_what_no_host_has_open() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let local = start(home.settings(server.model()));
    let mut first = TestView::new(&local).await;
    first.ask(1, "hello").await;
    let closed = first.session();
    drop(first);
    let mut view = TestView::new(&local).await;
    view.ask(1, "hello again").await;
    let session = view.session();
    let refused = home.run(&["sessions", "delete", &session.0, "-y"]).await;
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains(&session.0), "{text}");
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    // Nobody can be asked.
    let silent = home.run(&["sessions", "delete", &closed.0]).await;
    let text = String::from_utf8_lossy(&silent.stderr).into_owned();
    assert_eq!(silent.status.code(), Some(2), "{text}");
    assert!(text.contains("-y"), "{text}");
    assert!(home.reader().load(&closed, 1).unwrap().is_some());
    // Beside the host that runs.
    let done = home.run(&["sessions", "delete", &closed.0, "-y"]).await;
    assert!(done.status.success(), "{done:?}");
    assert!(home.reader().load(&closed, 1).unwrap().is_none());
    let unknown = home.run(&["sessions", "delete", &closed.0, "-y"]).await;
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    view.send(Command::Open(Target::Id(closed)));
    view.until("the refusal", |v| told(v, "open")).await;
    view.ask(2, "still here").await;
}

// W19
#[tokio::test]
async fn an_archived_session_is_woken_and_stays_put_away() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let local = start(home.settings(server.model()));
    let gate = fifo(&home.work());
    let mut view = TestView::new(&local).await;
    view.ask(1, &spawn(&waiting("a", "exit 4"))).await;
    home.line_in("up-a").await;
    let session = view.session();
    view.send(Command::Archive { session: None, archived: true });
    drop(view);
    drop(gate);
    server.requests(3).await;
    eventually("the wakeup turn in the store", || home.is_settled().then_some(())).await;
    local.stop().await;
    let stored = home.stored(&session);
    assert!(stored.meta.archived);
    assert_eq!(wakeups(&stored.rows).len(), 1);
    assert_eq!(stored.processes[0].delivery, Delivery::Delivered);
    let lists = async |args: &[&str]| {
        let ran = home.run(args).await;
        String::from_utf8(ran.stdout).unwrap().contains(&session.0)
    };
    assert!(!lists(&["sessions", "list"]).await);
    assert!(lists(&["sessions", "list", "--all"]).await);
    assert_eq!(home.latest(), None, "-c passes it by");
    let ran = home.run(&["-z", "hello", "--resume", &session.0]).await;
    assert!(ran.status.success(), "{ran:?}");
    assert!(!lists(&["sessions", "list"]).await, "opening it does not take it back");
    let ran = home.run(&["sessions", "unarchive", &session.0]).await;
    assert!(ran.status.success(), "{ran:?}");
    assert!(lists(&["sessions", "list"]).await);
    let ran = home.run(&["sessions", "archive", &session.0]).await;
    assert!(ran.status.success(), "{ran:?}");
    assert!(!lists(&["sessions", "list"]).await);
}

// W09
#[tokio::test]
async fn every_process_is_listed_and_can_be_ended_from_any_session() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let (mut owner, session, process, pid) = with_process(&home, &local).await;
    let mut view = TestView::new(&local).await;
    let all = listed(&mut view).await;
    assert_eq!(all.len(), 1);
    assert_eq!((&all[0].id, &all[0].session), (&process.id, &session));
    view.send(Command::Kill { id: Some(process.id) });
    owner.delivery(Delivery::Consumed).await;
    assert!(!is_alive(pid));
    assert_eq!(owner.process().killed_by, Some(Killer::User));
    assert_eq!(listed(&mut view).await, []);
    // Its agent hears of it with the next turn, and not before.
    server.stays_at(2).await;
    owner.ask(2, "go on").await;
    let asked = server.seen().pop().unwrap();
    assert!(asked.texts("user").iter().any(|t| t.contains("The user ended")));
    view.send(Command::Kill { id: Some(ProcessId("proc_nobody".to_owned())) });
    view.until("the refusal", |v| told(v, "kill")).await;
}
