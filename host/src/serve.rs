//! The server: gives views of this host to others, over TCP and over a Unix socket. Our own
//! front ends speak the seam wire, everybody else the protocol of hermes-webui.
