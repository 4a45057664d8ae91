//! What a hermes-webui says, as plain values: tolerant of what is missing or new (E15).
