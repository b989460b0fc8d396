//! How long ago something was, as people say it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the epoch, now.
pub(crate) fn now_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// `then_ms` seen from `now_ms`, in the largest unit that is reached: `3 minutes ago`. A time ahead of now, as after the
/// clock was set back, is `just now`.
pub(crate) fn ago(then_ms: u64, now_ms: u64) -> String {
    const UNITS: [(&str, u64); 5] =
        [("year", 31_557_600), ("week", 604_800), ("day", 86_400), ("hour", 3600), ("minute", 60)];
    let seconds = now_ms.saturating_sub(then_ms) / 1000;
    match UNITS.iter().find(|(_, length)| seconds >= *length) {
        Some((unit, length)) => match seconds / length {
            1 => format!("1 {unit} ago"),
            n => format!("{n} {unit}s ago"),
        },
        None if seconds < 2 => "just now".into(),
        None => format!("{seconds} seconds ago"),
    }
}

/// A duration as a person reads it: `850 ms`, `3.1 s`, `2 min 5 s`, `1 h 2 min`, `3 d 4 h`.
pub(crate) fn took(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds @ 3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        seconds => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_use_the_largest_unit_reached() {
        let day = 86_400_000;
        for (elapsed, text) in [
            (0, "just now"),
            (59_000, "59 seconds ago"),
            (60_000, "1 minute ago"),
            (3_599_000, "59 minutes ago"),
            (7_200_000, "2 hours ago"),
            (day, "1 day ago"),
            (13 * day, "1 week ago"),
            (800 * day, "2 years ago"),
        ] {
            assert_eq!(ago(1_000, 1_000 + elapsed), text);
        }
        assert_eq!(ago(5_000, 1_000), "just now");
    }

    #[test]
    fn durations() {
        assert_eq!(took(Duration::from_millis(850)), "850 ms");
        assert_eq!(took(Duration::from_secs(3720)), "1 h 2 min");
        assert_eq!(took(Duration::from_secs(3 * 86_400 + 4 * 3600)), "3 d 4 h");
        assert_eq!(took(Duration::from_millis(3140)), "3.1 s");
        assert_eq!(took(Duration::from_secs(125)), "2 min 5 s");
    }
}
