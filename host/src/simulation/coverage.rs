//! Which interleavings the runs have met, and how often.

use std::fmt;

macro_rules! classes {
    ($($name:ident: $text:literal,)*) => {
        /// An interleaving that matters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Interleaving { $($name,)* }

        const ALL: &[&str] = &[$($text,)*];
    };
}

classes! {
    CrashBeforeClaim: "crash before the claim is committed",
    CrashAfterClaim: "crash after the claim, before the start",
    CrashBeforeDelivered: "crash between the answer and its commit",
    CrashBeforeConsumed: "crash before the consumed mark is committed",
    CrashBeforeKill: "crash between the kill's mark and the kill",
    CrashBeforeLaunch: "crash between the spawn's record and the child",
    CrashBeforeAdoption: "crash before a process was found again",
    CrashInTurn: "crash while a turn runs",
    StopInTurn: "graceful stop while a turn runs",
    HandOver: "running turn handed over",
    ExitInTeardown: "exit in the teardown of the turn that spawned it",
    ExitInTurn: "exit while a turn runs",
    ExitBeforeRunning: "exit before the word that it runs",
    ExitTwice: "exit reported twice",
    ExitAfterSeen: "exit reported after the agent saw it",
    ExitsTogether: "several exits in one turn",
    FoundEnded: "restart with a process that ended meanwhile",
    CancelWakeup: "cancel of a wakeup turn",
    CancelTwice: "cancel of a cancelled turn",
    LateUnwind: "a cancelled turn that does not unwind in 10 s",
    PromptWithExit: "prompt and exit in one commit",
    PromptTwice: "prompt sent twice",
    Unqueued: "a waiting prompt taken back",
    SteerToPrompt: "a remark that became a prompt",
    HeldOverRestart: "held wakeups over a restart",
    HeldByBound: "wakeups held because nobody was there",
    FailedWakeup: "a wakeup turn that failed",
    FailingExit: "exit while the store fails",
    FailingSpawn: "spawn while the store fails",
    FailingClaim: "claim that could not be written",
    Recovered: "the store recovers with batches waiting",
    FailingResume: "a start by itself that could not be written",
    CrashFailing: "crash while the store fails",
    LateWords: "words of a turn that is over",
    LateSpawn: "spawn of a cancelled turn",
    QuestionOverRestart: "question over a restart",
    Expired: "question that expires",
    ClockBack: "clock backwards while events wait",
    KillByUser: "process killed by the user",
    KillByAgent: "process killed by the agent",
    LateView: "a view that comes while effects wait",
    Resumed: "a turn goes on after a restart",
    ResumedAgain: "a turn that went on and was cut off again",
    ResumedThrice: "a turn that goes on for the third time in a row",
    ResumedUncounted: "a start by itself that does not count",
    FoundDone: "a turn of which only the end was missing",
    FoundCancelled: "a turn that was cancelled before the crash",
    LeftOld: "a turn too old to go on",
    LeftHeld: "a turn that is held after three starts",
    LeftUnanswered: "a turn whose question had run out of time",
    AskedAgain: "a question asked again by the next host",
    AnswerOverRestart: "an answer that waits for its call over a restart",
    ClarifiedOverRestart: "an answer to the agent over a restart",
    AnswerAfterRestart: "an answer that reaches a turn that went on",
    Drained: "nothing starts any more",
    StopAfterDrain: "stop after a drain",
    PauseOverRestart: "paused wakeups over a restart",
    RetryOverRestart: "wakeups to be tried again over a restart",
    OtherModelInPause: "another model while wakeups pause",
    OtherModelInRetry: "another model while wakeups wait for another try",
    Reset: "the user begins anew elsewhere",
    Left: "a session leaves memory",
    Delegated: "a task delegated",
    DelegatedAndAwaited: "a task delegated and waited for",
    DelegatedInDrain: "a task delegated before a stop",
    FailingDelegation: "a task delegated while the store fails",
    TaskOverRestart: "a task that is taken up by the next host",
    TaskReported: "the end of a task reported",
    TaskReportedTwice: "the end of a task reported twice",
    TaskTakenBack: "a task taken back",
    TaskTakenBackInTurn: "a task taken back while it is worked on",
    FailedTask: "a turn of a task that failed",
    CancelWithTasks: "cancel of a turn while tasks of its session run",
    CancelTask: "cancel of the turn of a task",
    CrashInTask: "crash while a task is worked on",
    CrashBeforeReport: "crash between the end of a task and its mark",
    CrashBeforeOpen: "crash between the record of a task and its begin",
    Undone: "a turn taken back",
    UndoneTold: "a wakeup row taken back that was answered",
    UndoneUntold: "a wakeup row taken back that was not answered",
    UndoneWatched: "a watched process of a turn that was taken back",
    UndoInTurn: "undo while a turn runs",
    Retried: "a turn asked again",
    Truncated: "all rows after some row taken back",
    TruncatedTurn: "a part of a turn taken back",
    GoalSet: "a goal is set",
    GoalWentOn: "a goal goes on by itself",
    GoalPastHeld: "a goal goes on while events are held",
    GoalReached: "a goal is reached",
    GoalPaused: "a goal is paused by how its turn ended",
    GoalOverRestart: "an active goal over a restart",
    Grouped: "several commits reported as one",
}

#[derive(Clone)]
pub(super) struct Coverage([u64; ALL.len()]);

impl Default for Coverage {
    fn default() -> Self {
        Self([0; ALL.len()])
    }
}

impl Coverage {
    pub(super) fn note(&mut self, class: Interleaving) {
        self.0[class as usize] += 1;
    }

    pub(super) fn note_if(&mut self, coverage: bool, class: Interleaving) {
        self.0[class as usize] += u64::from(coverage);
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// Interleavings that never came about.
    pub(super) fn never(&self) -> Vec<&'static str> {
        ALL.iter().zip(self.0).filter(|(_, n)| *n == 0).map(|(name, _)| *name).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, n) in ALL.iter().zip(self.0) {
            writeln!(f, "{n:>9}  {name}")?;
        }
        Ok(())
    }
}
