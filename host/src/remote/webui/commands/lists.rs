//! Lists and documents of a hermes-webui: requests that change nothing.

use super::super::super::translate;
use super::super::replies::{FollowUp, ViewReply};
use super::Webui;
use protocol::{Event, Subject};

impl Webui {
    pub(super) fn list_sessions(&mut self) {
        let api = self.api.clone();
        self.act(Subject::Sessions, FollowUp::Nothing, async move {
            let sessions = translate::list(&api.sessions().await?);
            Ok(vec![Event::SessionsListed { sessions }])
        });
    }

    pub(super) fn list_models(&mut self) {
        let api = self.api.clone();
        self.spawn_for_view(async move { ViewReply::Models(api.models().await) });
    }

    pub(super) fn list_workspaces(&mut self) {
        let api = self.api.clone();
        self.act(Subject::Workspaces, FollowUp::Nothing, async move {
            Ok(vec![Event::WorkspacesListed { paths: api.workspaces().await? }])
        });
    }

    pub(super) fn list_profiles(&mut self) {
        let api = self.api.clone();
        self.act(Subject::Profiles, FollowUp::Nothing, async move {
            let all = api.profiles().await?;
            let names = all.profiles.into_iter().map(|p| p.name).filter(|n| !n.is_empty());
            Ok(vec![Event::ProfilesListed { names: names.collect(), active: all.active }])
        });
    }

    pub(super) fn search(&mut self, query: String) {
        let api = self.api.clone();
        self.act(Subject::Search, FollowUp::Nothing, async move {
            let found = translate::search_hits(&api.search(&query).await?);
            Ok(vec![Event::SessionsFound { query, found }])
        });
    }

    pub(super) fn export(&mut self) {
        let (api, id) = self.in_view();
        self.act(Subject::Export, FollowUp::Nothing, async move {
            let document = api.export(&id).await?;
            let text = serde_json::to_string_pretty(&document).unwrap_or_default();
            Ok(vec![Event::Exported { name: format!("{id}.json"), text }])
        });
    }
}
