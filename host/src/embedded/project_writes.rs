//! Writes that belong to no session: who asked is told when their commit is reported.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::host_loop::HostLoop;
use crate::store::{CommitNo, Durability, ProjectChange, Record};

/// What becomes of a write.
pub(super) type Written = Result<(), String>;

/// Writes that wait for their commit, in its order.
#[derive(Debug, Default)]
pub(super) struct ProjectWrites(VecDeque<(CommitNo, oneshot::Sender<Written>)>);

impl ProjectWrites {
    /// What became of all up to that commit is known.
    pub(super) fn settle(&mut self, upto: CommitNo, written: &Written) {
        while let Some((no, _)) = self.0.front()
            && *no <= upto
            && let Some((_, told)) = self.0.pop_front()
        {
            told.send(written.clone()).ok();
        }
    }
}

impl HostLoop {
    /// Stores something about projects.
    pub(super) fn file(&mut self, project_change: ProjectChange, told: oneshot::Sender<Written>) {
        let no = self.store.write(vec![Record::Projects(project_change)], Durability::Barrier);
        self.project_writes.0.push_back((no, told));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_told_by_the_report_of_its_commit_and_by_none_before() {
        let mut project_writes = ProjectWrites::default();
        let mut ends = Vec::new();
        for no in [3, 5, 8] {
            let (told, written) = oneshot::channel();
            project_writes.0.push_back((CommitNo(no), told));
            ends.push(written);
        }
        project_writes.settle(CommitNo(4), &Ok(()));
        project_writes.settle(CommitNo(7), &Err("full".to_owned()));
        let told: Vec<_> = ends.iter_mut().map(|end| end.try_recv().ok()).collect();
        assert_eq!(told, [Some(Ok(())), Some(Err("full".to_owned())), None]);
    }
}
