//! The host behind the interface: this process becomes it, or attaches to the process that owns
//! the state directory (S07).

use std::time::{Duration, Instant};

use host::embedded::{Attendance, EmbeddedHost, Role, StartError};
use host::remote::{self, Remote};
use host::serve::{self, Server};
use protocol::{Target, View};

use crate::args;
use crate::config::Config;
use crate::running_host::{self, Location};

/// How long another process that owns the state directory may take to answer: it may be starting.
const ANSWER: Duration = Duration::from_secs(2);
/// How long to wait between two attempts.
const RETRY: Duration = Duration::from_millis(50);

/// Where the host is.
pub(super) enum Connection {
    /// In this process, with a server for other interfaces.
    Embedded { host: EmbeddedHost, server: Option<Server>, notes: Vec<String> },
    /// In another process.
    Attached { remote: Remote, notes: Vec<String> },
}

impl Connection {
    /// What the user should know from the start.
    pub(super) fn notes(&self) -> &[String] {
        let (Self::Embedded { notes, .. } | Self::Attached { notes, .. }) = self;
        notes
    }
}

/// Starts a host on the state directory, or attaches to the one that owns it.
pub(super) async fn connect(
    config: &Config,
    run: &args::Run,
    target: Target,
) -> anyhow::Result<(Connection, View)> {
    let state = &config.settings.state;
    let end = Instant::now() + ANSWER;
    loop {
        let held = match host::embedded::start(config.settings.clone(), Role::Owner) {
            Ok(host) => return Ok(embed(host, config, run, target).await),
            Err(error @ StartError::Held { .. }) => error,
            Err(error) => return Err(error.into()),
        };
        if let StartError::Held { pid: Some(pid), .. } = &held
            && running_host::is_suspended(*pid)
        {
            anyhow::bail!(
                "the host of {} is suspended (process {pid}): resume it with `fg` in its shell or \
                 with `kill -CONT {pid}`",
                state.display()
            );
        }
        let server = running_host::server(&config.settings);
        let probe = tokio::time::timeout_at(end.into(), remote::probe(&server)).await;
        if let Ok(Ok(probe)) = probe
            && probe.tui
        {
            let (view, remote) = remote::start(server, target.clone());
            running_host::set_cwd(&view, &target);
            running_host::apply_flags(&view, run);
            let notes = running_host::notes(&probe, run, Location::Local);
            return Ok((Connection::Attached { remote, notes }, view));
        }
        if Instant::now() > end {
            return Err(anyhow::anyhow!("{held}")
                .context(format!("the host of {} does not answer", state.display())));
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Opens a view of a host of this process, and the server for other interfaces.
async fn embed(
    host: EmbeddedHost,
    config: &Config,
    run: &args::Run,
    target: Target,
) -> (Connection, View) {
    let mut notes = host.notes().to_vec();
    let server = listen(&host, config).await;
    let server = server.map_err(|error| notes.push(error.to_string())).ok();
    if server.is_some() {
        tokio::spawn(remote::send_pending_prompts(running_host::server(&config.settings)));
    }
    let is_new = target == Target::New;
    let view = host.attach(target, Attendance::Attended);
    if !is_new {
        running_host::set_model(&view, run);
    }
    (Connection::Embedded { host, server, notes }, view)
}

/// Listens for other interfaces.
async fn listen(host: &EmbeddedHost, config: &Config) -> Result<Server, serve::Error> {
    let options = serve::Options {
        tcp: None,
        sockets: vec![config.settings.state.socket()],
        password: None,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    serve::start(host.handle(), &config.settings, options).await
}
