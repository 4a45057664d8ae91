//! The client of a remote host: of our own `serve` over the seam wire, or of a hermes-webui over
//! its protocol. What it gives is the same [`crate::Host`] as the embedded one's.

mod translate;
