//! t
/// o
pub struct Options {
    /// n
    pub notes: Vec<String>,
    /// v
    pub version: String,
}
/// e
pub struct Exit {
    /// s
    pub session: Option<host::protocol::SessionId>,
}
/// r
pub async fn run(_h: host::Host, _o: Options) -> std::io::Result<Exit> {
    Ok(Exit { session: None })
}
