//! Files that go along with the next prompt.

use super::*;
use protocol::Attachment;

fn file(name: &str, size: u64) -> Attachment {
    Attachment {
        name: name.to_owned(),
        path: format!("/up/{name}"),
        mime: "text/plain".to_owned(),
        size,
    }
}

#[test]
fn files_go_with_the_next_prompt_only() {
    // S05
    let mut rig = Rig::new();
    rig.feed(Input::Uploaded(file("a.txt", 12)));
    rig.feed(Input::Uploaded(file("b.txt", 1_500_000)));
    assert_eq!(rig.view.attachments.len(), 2);
    rig.prompt("look");
    let text = "look\n[Attached file: /up/a.txt (text/plain, 12 bytes)]\n\
                [Attached file: /up/b.txt (text/plain, 1.5 MB)]";
    assert_eq!(rig.session.transcript().rows[0].text(), text);
    assert_eq!((rig.view.attachments.len(), rig.session.meta().attachments.len()), (0, 0));
    rig.event(TurnEvent::Ended {
        outcome: Outcome::Failed { class: "server".to_owned() },
        failure: Some("broken".to_owned()),
    });
    assert_eq!(rig.view.attachments, []);
    rig.prompt("next");
    assert_eq!(rig.session.transcript().rows.last().unwrap().text(), "next");
}

#[test]
fn a_waiting_prompt_keeps_its_own_files() {
    // S05
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.feed(Input::Uploaded(file("a", 1_000)));
    rig.prompt("");
    let waiting = rig.view.queued[0].clone();
    assert_eq!(waiting.text, "[Attached file: /up/a (text/plain, 1 kB)]");
    rig.feed(Input::Uploaded(file("b", 1)));
    rig.feed(Input::Prompt {
        id: waiting.id,
        text: String::new(),
        attendance: Attendance::Attended,
    });
    assert_eq!(rig.view.attachments, [file("b", 1)]);
    // Asking again takes the text as it was, not what waits for the next prompt.
    rig.end();
    rig.end();
    rig.feed(Input::Undo {
        unloaded: UnloadedRows::default(),
        again: Some((PromptId("again".to_owned()), Attendance::Attended)),
    });
    assert_eq!(rig.session.transcript().rows.last().unwrap().text(), waiting.text);
    assert_eq!(rig.view.attachments, [file("b", 1)]);
}

#[test]
fn uploaded_files_are_stored_and_can_be_dropped() {
    // S05
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.end();
    let effects = rig.feed(Input::Uploaded(file("a", 1)));
    let Some(Effect::Record(Record::Session(meta))) = effects.first() else { panic!() };
    let loaded = Loaded { meta: meta.clone(), ..Loaded::default() };
    let (again, _) =
        Session::restore(loaded, Attendance::Attended, None, Rules::default(), rig.now);
    assert_eq!(again.transcript().attachments, [file("a", 1)]);
    let effects = rig.feed(Input::DropUploads);
    assert_eq!(effects.last(), Some(&Effect::Discard(vec![file("a", 1)])));
    assert_eq!(rig.view.attachments, []);
    assert_eq!(rig.feed(Input::DropUploads), []);
}
