//! Writes that belong to no session: the client that asked for one gets the result when its commit
//! is reported.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::store::CommitNo;

/// The result of a write; an error is a text for the user.
pub(super) type Written = Result<(), String>;

/// Writes that wait for their commit, in its order.
#[derive(Debug, Default)]
pub(super) struct ProjectWrites(VecDeque<(CommitNo, oneshot::Sender<Written>)>);

impl ProjectWrites {
    /// Adds a write with the number of its commit, which is higher than all before.
    pub(super) fn push(&mut self, no: CommitNo, stored: oneshot::Sender<Written>) {
        self.0.push_back((no, stored));
    }

    /// Reports the result of all writes up to that commit.
    pub(super) fn settle(&mut self, upto: CommitNo, result: &Written) {
        while let Some((no, _)) = self.0.front()
            && *no <= upto
            && let Some((_, stored)) = self.0.pop_front()
        {
            stored.send(result.clone()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_gets_the_result_of_its_commit_and_not_before() {
        let mut writes = ProjectWrites::default();
        let mut receivers = Vec::new();
        for no in [3, 5, 8] {
            let (stored, receiver) = oneshot::channel();
            writes.push(CommitNo(no), stored);
            receivers.push(receiver);
        }
        writes.settle(CommitNo(4), &Ok(()));
        writes.settle(CommitNo(7), &Err("full".to_owned()));
        let results: Vec<_> = receivers.iter_mut().map(|r| r.try_recv().ok()).collect();
        assert_eq!(results, [Some(Ok(())), Some(Err("full".to_owned())), None]);
    }
}
