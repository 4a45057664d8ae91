//! Numbers for people.

/// `1 line`, `2 lines`: for nouns that take an s.
pub(crate) fn count(n: impl TryInto<u64>, noun: &str) -> String {
    let n = n.try_into().unwrap_or(u64::MAX);
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// A number of tokens in a few letters: `12.4k`.
pub(crate) fn tokens(n: u64) -> String {
    match n {
        0..1_000 => n.to_string(),
        1_000..100_000 => format!("{}.{}k", n / 1_000, n % 1_000 / 100),
        100_000..1_000_000 => format!("{}k", n / 1_000),
        _ => format!("{}.{}M", n / 1_000_000, n % 1_000_000 / 100_000),
    }
}

/// A size of a file in a few letters: `12 kB`.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{} kB", n / 1_000),
        1_000_000..10_000_000 => format!("{}.{} MB", n / 1_000_000, n % 1_000_000 / 100_000),
        _ => format!("{} MB", n / 1_000_000),
    }
}
