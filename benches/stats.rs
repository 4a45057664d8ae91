//! Samples and how a figure is printed.

use std::time::Duration;

/// Durations of repeated runs.
#[derive(Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn add(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// The value that `percent` of the samples do not exceed.
    fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }

    /// Prints the middle and the slow end.
    pub(crate) fn print(&self, what: &str) {
        figure(
            what,
            &format!(
                "p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, max {:.1} ms of {}",
                millis(self.percentile(50)),
                millis(self.percentile(95)),
                millis(self.percentile(99)),
                millis(self.percentile(100)),
                self.0.len()
            ),
        );
    }
}

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(samples: I) -> Self {
        Self(samples.into_iter().collect())
    }
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Prints one line of the report.
pub(crate) fn figure(what: &str, value: &str) {
    println!("  {what:<58} {value}");
}
