//! The real client against a server on loopback that speaks the providers' dialects.
