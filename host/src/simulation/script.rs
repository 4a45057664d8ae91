//! What happens in a run: a list of small steps, made from a seed, printed when it fails, and
//! shortened before that. A step that has nothing to act on does nothing, so that any part of a
//! script is a script.

use std::fmt;

use Step::{Clock, Crash, Exit, Launch, LaunchEvent, Notice, Prompt, Pump, Report, Shown, Write};

/// The numbers of a seed (splitmix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }
}

/// Numbers of sessions from here on mean those that work on tasks.
pub(super) const TASK: u8 = 100;

/// One thing that happens. Numbers choose among what is there, modulo how much of it there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A prompt for that session.
    Prompt(u8),
    /// Its last prompt is sent once more.
    Again(u8),
    Steer(u8),
    Unqueue(u8),
    Cancel(u8),
    WakeNow(u8),
    /// The user kills one process of a session, or all (255).
    Kill(u8, u8),
    Answer(u8, u8),
    Shown(u8),
    /// The running turn of a session goes on: which move, and its detail.
    Turn(u8, u8, u8),
    /// The words of a turn that was interrupted arrive all the same.
    Late(u8, u8),
    /// An interrupted turn has unwound.
    Unwind(u8),
    /// A written down process is launched (or fails to).
    Launch(u8, u8),
    /// The word that it runs arrives.
    LaunchEvent,
    /// A running process ends with that code.
    Exit(u8, u8),
    /// A watched process prints lines that match: which one, and how many.
    Match(u8, u8),
    /// An exit is reported to the host.
    Notice(u8),
    /// An exit is reported again.
    Repeat(u8),
    /// A process of an earlier host is looked up.
    Find,
    /// A kill reaches its process.
    Die,
    /// So many batches are committed (0 = all).
    Write(u8),
    /// The loop hears of commits.
    Report,
    /// Everything on its way arrives.
    Pump,
    /// Streamed text is written.
    Flush,
    /// The disk fails.
    Break,
    /// The disk works again.
    Mend,
    /// One more view of a session.
    Attach(u8),
    /// A session that has nothing to do leaves memory.
    Leave(u8),
    /// Another model for a session.
    Model(u8, u8),
    /// The user begins anew elsewhere.
    Reset(u8),
    /// The last user turn is taken back.
    Undo(u8),
    /// The last user turn is taken back and asked again.
    Retry(u8),
    /// All rows after some row are taken back.
    Truncate(u8, u8),
    /// A word about the goal: a new one, pause, resume, no more.
    Goal(u8, u8),
    /// The host is about to stop.
    Drain,
    /// So many minutes pass until the next host starts.
    Away(u8),
    /// Time passes, or jumps back.
    Clock(i32),
    /// The host is killed after so many more commits; so many processes end before the next host.
    Crash(u8, u8),
    /// The host stops; so many processes end before the next.
    Stop(u8),
}

/// A run.
#[derive(Clone)]
pub(super) struct Script {
    pub(super) sessions: u8,
    pub(super) steps: Vec<Step>,
}

impl Script {
    pub(super) fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let sessions = 2 + dice.below(3) as u8;
        let length = 20 + dice.below(41);
        // Some runs dwell on few sessions, so that more meets in one.
        let busy = 1 + dice.below(u64::from(sessions)) as u8;
        let mut steps = Vec::with_capacity(length as usize + 4);
        while steps.len() < length as usize {
            let s = dice.byte() % busy;
            // Now and then what happens, happens to who works on a task.
            let s = if dice.below(8) == 0 { TASK + s } else { s };
            match dice.below(12) {
                0..=2 => scene(&mut dice, s, &mut steps),
                3..=4 => {
                    steps.push(Step::Turn(s, dice.byte(), dice.byte()));
                    steps.push(Step::Pump);
                }
                _ => steps.push(step(&mut dice, s)),
            }
        }
        Self { sessions, steps }
    }

    /// Drops what the failure does not need.
    pub(super) fn shrink(mut self, fails: impl Fn(&Self) -> bool) -> Self {
        let mut part = self.steps.len() / 2;
        while part > 0 {
            let mut at = 0;
            while at < self.steps.len() {
                let mut shorter = self.clone();
                shorter.steps.drain(at..(at + part).min(self.steps.len()));
                if fails(&shorter) {
                    self = shorter;
                } else {
                    at += part;
                }
            }
            part /= 2;
        }
        self
    }
}

/// Steps that make sense together, with something in between that does not.
fn scene(dice: &mut Dice, s: u8, steps: &mut Vec<Step>) {
    let (a, b) = (dice.byte(), dice.byte());
    let mut scene = match dice.below(17) {
        0 | 1 => spawn_scene(s, a, b),
        2 | 3 | 11 => wakeup_scene(s, a, b),
        4 => process_tool_scene(s, a, b),
        5 | 6 => delegation_scene(s, a, b),
        7 => resumption_scene(s, a, b),
        8 => question_over_restart_scene(s, a, b),
        9 => failed_wakeup_scene(s, a, b),
        10 | 12 => matches_scene(s, a, b),
        13 | 14 => undo_scene(s, a, b),
        15 => goal_scene(s, a, b),
        _ => question_scene(s, a, b),
    };
    disturb(dice, s, &mut scene);
    steps.append(&mut scene);
}

/// Puts up to two other steps in between, and may end the scene there.
fn disturb(dice: &mut Dice, s: u8, scene: &mut Vec<Step>) {
    for _ in 0..[0, 1, 1, 2][dice.below(4) as usize] {
        let (a, b) = (dice.byte(), dice.byte());
        let between = match dice.below(14) {
            0..=2 => Crash(a % 2, b % 3),
            3 => Step::Stop(b % 2),
            4 | 5 => Step::Cancel(s),
            6 => Prompt(s),
            7 => Exit(a, b),
            8 => Step::Repeat(a),
            9 => Step::Break,
            10 => Step::Steer(s),
            11 => Step::Drain,
            12 => Step::Cancel(TASK),
            _ => step(dice, s),
        };
        let at = 1 + dice.below(scene.len() as u64) as usize;
        scene.insert(at, between);
        // Its effect lasts for a while.
        if dice.below(3) == 0 {
            scene.truncate(at + 1);
        }
    }
}

/// A turn spawns a process and ends.
fn spawn_scene(s: u8, a: u8, b: u8) -> Vec<Step> {
    let turn = |choice, detail| Step::Turn(s, choice, detail);
    let (calls, spawn) = (turn(6, 0), turn(0, a));
    let mut scene = vec![Prompt(s), Pump, calls, Pump, spawn, Write(0), Report];
    scene.extend([Launch(0, b), LaunchEvent, Pump, turn(4, 0), Pump, turn(2, 0), Pump]);
    // It is killed, or its turn was interrupted and speaks all the same.
    match a % 8 {
        0 => scene.extend([Step::Kill(s, 255), Write(0), Report, Crash(0, 0)]),
        1 => {
            scene.extend([Prompt(s), Pump, Step::Cancel(s), Pump]);
            scene.extend([Step::Late(s, 4), Pump, Step::Unwind(s), Pump]);
        }
        _ => scene.extend([turn(4, 0), Pump]),
    }
    scene
}

/// A process ends and wakes its session.
fn wakeup_scene(s: u8, a: u8, b: u8) -> Vec<Step> {
    let turn = |choice, detail| Step::Turn(s, choice, detail);
    let mut scene = vec![Exit(a, b), Notice(0), Clock(60), Write(0), Report];
    // The model answers, or it does not.
    let answer = if a.is_multiple_of(4) { turn(9, b) } else { turn(2, 0) };
    scene.extend([answer, Write(0), Report, turn(4, 0), Write(0), Report]);
    scene
}

/// A turn looks at a process, waits for it or kills it.
fn process_tool_scene(s: u8, a: u8, b: u8) -> Vec<Step> {
    let turn = |choice, detail| Step::Turn(s, choice, detail);
    let how = turn(3 + a % 4, b);
    let mut scene = vec![Prompt(s), Pump, turn(6, 0), Pump, Exit(a, b), how, Report];
    scene.extend([turn(4, 1), Write(b % 2), Report]);
    if a.is_multiple_of(3) {
        scene.push(Crash(0, a % 2));
    }
    scene.extend([turn(2, 0), Pump, turn(4, 1), Write(1)]);
    scene
}

/// A turn delegates a task, which is worked on.
fn delegation_scene(s: u8, a: u8, b: u8) -> Vec<Step> {
    let turn = |choice, detail| Step::Turn(s, choice, detail);
    let (calls, task) = (turn(6, 0), TASK + a % 2);
    let mut scene = vec![Prompt(s), Pump, calls, Pump, turn(8 + a % 2, b), Write(0)];
    scene.extend([Report, Pump]);
    if b.is_multiple_of(2) {
        scene.extend([turn(4, 0), Pump, turn(2, 0), Pump, turn(4, 0), Pump]);
    }
    scene.extend([Step::Turn(task, 6, 0), Pump, Step::Turn(task, 4, 0), Pump]);
    scene.extend([Step::Turn(task, 2, 0), Write(0), Report, Step::Turn(task, 4, 0)]);
    scene.extend([Write(a % 3), Report, Pump, turn(4, 0), Pump, turn(2, 0), Pump]);
    scene
}

/// A turn is cut off, maybe again and again.
fn resumption_scene(s: u8, a: u8, b: u8) -> Vec<Step> {
    let turn = |choice, detail| Step::Turn(s, choice, detail);
    let mut scene = vec![Prompt(s), Pump, Step::Turn(s, [0, 6, 2][usize::from(a) % 3], 0)];
    scene.extend([Step::Flush, Pump, Step::Away([0, 0, 5, 90][usize::from(b) % 4])]);
    for k in 0..=b % 5 {
        scene.extend([Crash(0, 0), Pump]);
        if a % 8 == k {
            scene.extend([turn(6, 0), Pump]);
        }
    }
    scene.extend([turn(2, 0), Pump, turn(4, 0), Pump]);
    scene
}

/// A question over a restart, with its answer before or after.
fn question_over_restart_scene(s: u8, a: u8, b: u8) -> Vec<Step> {
    let turn = |choice, detail| Step::Turn(s, choice, detail);
    let mut scene = vec![Prompt(s), Pump, turn(6, b % 2), Pump, turn(7, b), Pump];
    if !a.is_multiple_of(4) {
        scene.push(Shown(s));
    }
    if b.is_multiple_of(3) {
        scene.extend([Step::Answer(s, a), Write(0)]);
    }
    if a.is_multiple_of(5) {
        scene.push(Step::Away(30));
    }
    scene.extend([if b.is_multiple_of(5) { Step::Stop(0) } else { Crash(a % 2, 0) }, Pump]);
    scene.extend([turn(7, b), Pump, Step::Answer(s, a), Pump, turn(4, 0), Pump]);
    scene
}

/// A wakeup fails, and is tried again.
fn failed_wakeup_scene(s: u8, a: u8, b: u8) -> Vec<Step> {
    let turn = |choice, detail| Step::Turn(s, choice, detail);
    let mut scene = vec![Prompt(s), Pump, turn(6, 0), Pump, turn(0, 1), Pump];
    scene.extend([turn(4, 0), Pump, turn(2, 0), Pump, turn(4, 0), Pump]);
    scene.extend([Exit(a, b), Notice(0), Clock(300), Pump, turn(9, b), Pump]);
    scene.push(match a % 4 {
        0 => Step::Model(s, b % 2 + 1),
        1 => Crash(0, 0),
        2 => Clock(-3_600_000),
        _ => Clock(60_000),
    });
    scene.extend([Pump, turn(9, b), Pump, Clock(300_000), Pump, turn(2, 0), Pump]);
    scene
}

/// A watched process matches, time and again.
fn matches_scene(s: u8, a: u8, b: u8) -> Vec<Step> {
    let turn = |choice, detail| Step::Turn(s, choice, detail);
    let mut scene = vec![Step::Match(a, b), Pump, turn(2, 0), Pump, turn(4, 0), Pump];
    scene.extend([Clock(20_000), Step::Match(a, b), Write(0), Report, turn(2, 0), Pump]);
    for _ in 0..b % 4 {
        scene.extend([turn(4, 0), Pump, Clock(20_000), Step::Match(a, 0), Pump]);
        scene.extend([turn(2, 0), Pump]);
    }
    scene
}

/// A turn is taken back, with what it began.
fn undo_scene(s: u8, a: u8, b: u8) -> Vec<Step> {
    let turn = |choice, detail| Step::Turn(s, choice, detail);
    let mut scene = vec![Prompt(s), Pump, turn(6, 0), Pump, turn(0, 1), Pump];
    scene.extend([turn(4, 0), Pump, turn(2, 0), Pump, turn(4, 0), Pump]);
    if a.is_multiple_of(2) {
        scene.extend([Exit(a, b), Notice(0), Clock(300), Pump]);
        scene.extend([turn(if b.is_multiple_of(2) { 9 } else { 2 }, b), Pump]);
        scene.extend([turn(4, 0), Pump]);
    }
    scene.push(match a % 4 {
        0 => Step::Retry(s),
        1 => Step::Truncate(s, b),
        _ => Step::Undo(s),
    });
    scene.extend([Write(a % 2), Report, Step::Match(a, b), Pump, Prompt(s), Pump]);
    scene.extend([turn(2, 0), Pump, turn(4, 0), Pump]);
    scene
}

/// A goal is worked on.
fn goal_scene(s: u8, a: u8, b: u8) -> Vec<Step> {
    let turn = |choice, detail| Step::Turn(s, choice, detail);
    let mut scene = vec![Step::Goal(s, 0), Pump];
    for k in 0..2 + a % 3 {
        scene.extend([turn(2, 0), Pump, turn(4, 0), Pump]);
        if b % 4 == k {
            scene.extend([Exit(a, b), Notice(0)]);
        }
        scene.extend([turn(3, b), Pump, turn(4, 0), Pump]);
    }
    scene.push(if b.is_multiple_of(3) { Crash(a % 3, 0) } else { Step::Goal(s, a) });
    scene
}

/// A turn asks the user.
fn question_scene(s: u8, a: u8, b: u8) -> Vec<Step> {
    let turn = |choice, detail| Step::Turn(s, choice, detail);
    let ask = turn(7, b);
    let mut scene = vec![Prompt(s), Pump, turn(6, 0), Pump, ask, Pump, Shown(s)];
    let end = if a.is_multiple_of(3) { Clock(400_000) } else { Step::Answer(s, a) };
    scene.extend([end, Pump, turn(4, 0), Pump, turn(2, 0), Pump]);
    scene
}

fn step(dice: &mut Dice, s: u8) -> Step {
    let (a, b) = (dice.byte(), dice.byte());
    match dice.below(134) {
        0..=7 => Step::Prompt(s),
        8 => Step::Again(s),
        9..=10 => Step::Steer(s),
        11 => Step::Unqueue(s),
        12..=15 => Step::Cancel(s),
        16..=17 => Step::WakeNow(s),
        18..=19 => Step::Kill(s, if a.is_multiple_of(4) { 255 } else { a }),
        20..=21 => Step::Answer(s, a),
        22 => Step::Shown(s),
        23..=52 => Step::Turn(s, a, b),
        53..=54 => Step::Late(s, a),
        55..=58 => Step::Unwind(s),
        59..=61 => Step::Launch(a, b),
        62..=63 => Step::LaunchEvent,
        64..=67 => Step::Exit(a, b),
        68..=70 => Step::Match(a, b),
        71..=74 => Step::Notice(a),
        75 => Step::Repeat(a),
        76..=77 => Step::Find,
        78 => Step::Die,
        79..=83 => Step::Write(a % 4),
        84..=87 => Step::Report,
        88..=103 => Step::Pump,
        104 => Step::Flush,
        105 => Step::Break,
        106..=107 => Step::Mend,
        108 => Step::Attach(s),
        109..=112 => Step::Clock([60, 300, 20, 11_000, 400_000, 7_200_000][usize::from(a) % 6]),
        113 => Step::Clock(-[1, 50, 5_000, 3_600_000][usize::from(a) % 4]),
        114..=117 => Step::Crash(a % 4, b % 4),
        118..=119 => Step::Stop(b % 3),
        120 => Step::Drain,
        121..=122 => Step::Leave(s),
        123..=124 => Step::Model(s, a),
        125 => Step::Reset(s),
        126..=127 => Step::Undo(s),
        128 => Step::Retry(s),
        129..=130 => Step::Goal(s, a),
        131..=132 => Step::Truncate(s, a),
        _ => Step::Away(a),
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "use Step::*;")?;
        writeln!(f, "let script = Script {{ sessions: {}, steps: vec![", self.sessions)?;
        for step in &self.steps {
            writeln!(f, "    {step:?},")?;
        }
        write!(f, "] }};")
    }
}
