//! How durations, times and shares are shown to people.

use std::fmt::Write as _;
use std::time::Duration;

use spanloom_wire::Timestamp;

/// A duration with three significant digits and the unit that fits: `1.23 s`, `45.6 ms`, `789 ns`;
/// from a minute on two units: `2 min 5 s`, `3 h 20 min`.
pub(super) fn duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    // What rounds to 60.0 s is a minute.
    if nanos < 59_950_000_000 {
        let (unit, unit_ns) = match nanos {
            0..1_000 => return format!("{nanos} ns"),
            1_000..999_500 => ("\u{b5}s", 1e3),
            999_500..999_500_000 => ("ms", 1e6),
            _ => ("s", 1e9),
        };
        let value = nanos as f64 / unit_ns;
        let n_decimals = match value {
            ..9.995 => 2,
            ..99.95 => 1,
            _ => 0,
        };
        return format!("{value:.n_decimals$} {unit}");
    }
    let seconds = (nanos + 500_000_000) / 1_000_000_000;
    match seconds {
        0..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// `n things`, in the singular where it is one.
pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{} {}", number(n), if n == 1 { one } else { many })
}

/// A number with thin spaces between thousands: it copies as digits and reads at a glance.
pub(super) fn number(n: usize) -> String {
    let digits = n.to_string();
    let mut grouped = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// Text as a value in an address's query.
pub(super) fn query_value(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// A part of a whole as an SVG length, clamped to the whole: `12.345%`.
pub(super) fn percent(part: f64) -> String {
    format!("{:.3}%", part.clamp(0.0, 1.0) * 100.0)
}

/// How much of `whole` is `part`; nothing of nothing.
pub(super) fn share(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() {
        0.0
    } else {
        part.as_secs_f64() / whole.as_secs_f64()
    }
}

/// A point in time by the civil calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Utc {
    year: i64,
    month: u64,
    day: u64,
    /// Nanoseconds since midnight.
    nanos: u64,
}

const DAY_NS: u64 = 86_400_000_000_000;

/// The year in which nanoseconds since 1970 outgrow 64 bits.
const YEAR_END: u64 = 2554;

impl From<Timestamp> for Utc {
    /// Days to a date as Howard Hinnant's `civil_from_days` counts them: years begin in March, so
    /// that the leap day is a year's last.
    fn from(time: Timestamp) -> Self {
        let days = time.as_nanos() / DAY_NS + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = (year_of_era + era * 400 + u64::from(month <= 2)) as i64;
        Self {
            year,
            month,
            day,
            nanos: time.as_nanos() % DAY_NS,
        }
    }
}

impl Utc {
    /// `2026-11-21`
    pub(super) fn date(self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    /// `14:03:07`
    pub(super) fn time(self) -> String {
        let seconds = self.nanos / 1_000_000_000;
        format!(
            "{:02}:{:02}:{:02}",
            seconds / 3_600,
            seconds / 60 % 60,
            seconds % 60
        )
    }

    /// `14:03:07.123`
    pub(super) fn time_ms(self) -> String {
        format!("{}.{:03}", self.time(), self.nanos / 1_000_000 % 1_000)
    }

    /// `2026-11-21T14:03:07.123`, as `<input type="datetime-local">` has it.
    pub(super) fn iso(self) -> String {
        format!("{}T{}", self.date(), self.time_ms())
    }
}

/// Reads what `<input type="datetime-local">` sends, as UTC: `2026-11-21T14:03`, with or without
/// seconds and their fraction.
pub(super) fn parse_iso(text: &str) -> Option<Timestamp> {
    let (date, time) = text.trim_end_matches('Z').split_once(['T', ' '])?;
    let mut date = date.split('-').map(|part| part.parse::<u64>().ok());
    let [year, month, day] = [date.next()??, date.next()??, date.next()??];
    let mut time = time.split(':');
    let [hour, minute] = [time.next()?, time.next()?].map(|part| part.parse::<u64>().ok());
    let seconds: f64 = time.next().unwrap_or("0").parse().ok()?;
    let [hour, minute] = [hour?, minute?];
    let in_range = (1970..YEAR_END).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && (0.0..60.0).contains(&seconds);
    if !in_range || date.next().is_some() || time.next().is_some() {
        return None;
    }
    // The inverse of the above, `days_from_civil`.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let nanos = (hour * 3_600 + minute * 60) * 1_000_000_000 + (seconds * 1e9).round() as u64;
    let time = Timestamp::from_nanos(days * DAY_NS + nanos);
    // The thirty-first of February would be some day in March.
    (Utc::from(time).day == day).then_some(time)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_have_three_digits_and_a_unit() {
        let cases = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 \u{b5}s"),
            (12_345, "12.3 \u{b5}s"),
            (999_499, "999 \u{b5}s"),
            (999_500, "1.00 ms"),
            (1_234_567, "1.23 ms"),
            (9_996_000, "10.0 ms"),
            (123_456_789, "123 ms"),
            (999_600_000, "1.00 s"),
            (59_940_000_000, "59.9 s"),
            (59_950_000_000, "1 min 0 s"),
            (125_000_000_000, "2 min 5 s"),
            (12_000_000_000_000, "3 h 20 min"),
            (100_000_000_000_000, "1 d 3 h"),
        ];
        for (nanos, text) in cases {
            assert_eq!(duration(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(number(999), "999");
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(1, "span", "spans"), "1 span");
        assert_eq!(count(0, "span", "spans"), "0 spans");
    }

    #[test]
    fn times_follow_the_calendar() {
        let cases = [
            (0, "1970-01-01T00:00:00.000"),
            (951_782_400_000, "2000-02-29T00:00:00.000"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999"),
            (1_795_269_787_123, "2026-11-21T14:03:07.123"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000"),
        ];
        for (millis, text) in cases {
            let time = Timestamp::from_micros(millis * 1_000);
            assert_eq!(Utc::from(time).iso(), text);
            assert_eq!(parse_iso(text), Some(time));
        }
        let minute = Timestamp::from_micros(1_795_269_780_000_000);
        assert_eq!(parse_iso("2026-11-21T14:03"), Some(minute));
        for text in [
            "",
            "2026-11-21",
            "2026-02-31T00:00",
            "2026-11-21T24:00",
            "1-1-1T1:1",
            "aTb",
        ] {
            assert_eq!(parse_iso(text), None, "{text}");
        }
    }

    #[test]
    fn shares_never_leave_the_whole() {
        assert_eq!(
            percent(share(Duration::from_secs(1), Duration::from_secs(8))),
            "12.500%"
        );
        assert_eq!(
            percent(share(Duration::from_secs(9), Duration::from_secs(8))),
            "100.000%"
        );
        assert_eq!(
            percent(share(Duration::from_secs(1), Duration::ZERO)),
            "0.000%"
        );
    }

    #[test]
    fn query_values_keep_only_what_is_safe() {
        assert_eq!(query_value("a-Z_0.~"), "a-Z_0.~");
        assert_eq!(query_value("a=\"b c\"&\u{e9}"), "a%3D%22b%20c%22%26%C3%A9");
    }

    proptest! {
        #[test]
        fn dates_round_trip(millis in 0_u64..18_000_000_000_000) {
            let time = Timestamp::from_micros(millis * 1_000);
            prop_assert_eq!(parse_iso(&Utc::from(time).iso()), Some(time));
        }

        #[test]
        fn any_text_is_a_time_or_not(text: String) {
            let _ = parse_iso(&text);
        }
    }
}
