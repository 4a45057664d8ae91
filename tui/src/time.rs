//! Spans of time in a few letters.

use protocol::Millis;

/// How far two moments lie apart. A clock set back must not freeze anything, hence no sign.
pub(crate) fn between(a: Millis, b: Millis) -> u64 {
    a.abs_diff(b)
}

/// A measured duration: `340 ms`, `1.2 s`, `3 m 05 s`, `2 h 03 m`.
pub(crate) fn took(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        _ => span(millis / 1_000),
    }
}

/// A running time, in whole seconds: `12 s`, `3 m 05 s`, `2 h 03 m`, `3 d 4 h`.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {:02} m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// How long ago, in one unit: `now`, `5 m ago`, `3 d ago`.
pub(crate) fn ago(millis: u64) -> String {
    let seconds = millis / 1_000;
    match seconds {
        0..60 => "now".to_owned(),
        60..3_600 => format!("{} m ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}
