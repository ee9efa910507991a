//! Dates and times as the clock's registers hold them.
//!
//! Not here: virtual time and interrupts. Out-of-range bytes are brought into range when time passes over them.

/// Seconds, minutes, hours, weekday, day of month, month, year, century: as register bytes.
pub(super) type TimeBytes = [u8; 8];

const SECONDS_A_DAY: i64 = 86_400;
const HOURS_PM: u8 = 0x80;
/// An alarm byte with both high bits set matches everything.
const DO_NOT_CARE: u8 = 0xc0;

/// How bytes stand for numbers: bits 1 and 2 of register B.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    binary: bool,
    hours_24: bool,
}

impl Format {
    pub(super) fn of_register_b(value: u8) -> Self {
        Self { binary: value & 4 != 0, hours_24: value & 2 != 0 }
    }

    fn encode(self, value: i64) -> u8 {
        let value = u8::try_from(value.clamp(0, 99)).unwrap_or(0);
        if self.binary { value } else { ((value / 10) << 4) | (value % 10) }
    }

    /// The number a byte stands for, even if its digits are no digits.
    fn decode(self, byte: u8) -> i64 {
        if self.binary { i64::from(byte) } else { i64::from(byte >> 4) * 10 + i64::from(byte & 0xf) }
    }

    fn encode_hours(self, hours: i64) -> u8 {
        if self.hours_24 {
            return self.encode(hours);
        }
        let twelve = if hours % 12 == 0 { 12 } else { hours % 12 };
        self.encode(twelve) | if hours >= 12 { HOURS_PM } else { 0 }
    }

    fn decode_hours(self, byte: u8) -> i64 {
        if self.hours_24 {
            return self.decode(byte).clamp(0, 23);
        }
        let twelve = self.decode(byte & !HOURS_PM).clamp(1, 12) % 12;
        twelve + if byte & HOURS_PM != 0 { 12 } else { 0 }
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; the day may lie past its month's end.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // A year that begins in March has its leap day at its end.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day, `days` after 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// The last day that four digits of year can name.
const LAST_DAY: i64 = 2_932_896;

fn encode(days: i64, second_of_day: i64, weekday: i64, format: Format) -> TimeBytes {
    let (year, month, day) = civil_from_days(days);
    // Four digits of year: the clock goes round after 9999.
    let year = year.rem_euclid(10_000);
    [
        format.encode(second_of_day % 60),
        format.encode(second_of_day / 60 % 60),
        format.encode_hours(second_of_day / 3600),
        format.encode(weekday),
        format.encode(day),
        format.encode(month),
        format.encode(year % 100),
        format.encode(year / 100),
    ]
}

/// The bytes of a Unix time. Weekday 1 is Sunday.
pub(super) fn from_unix_seconds(unix_seconds: u64, format: Format) -> TimeBytes {
    let seconds =
        i64::try_from(unix_seconds).unwrap_or(i64::MAX).min(LAST_DAY * SECONDS_A_DAY + SECONDS_A_DAY - 1);
    let days = seconds / SECONDS_A_DAY;
    // 1970-01-01 was a Thursday.
    encode(days, seconds % SECONDS_A_DAY, (days + 4) % 7 + 1, format)
}

fn second_of_day(bytes: TimeBytes, format: Format) -> i64 {
    let seconds = format.decode(bytes[0]).clamp(0, 59);
    let minutes = format.decode(bytes[1]).clamp(0, 59);
    format.decode_hours(bytes[2]) * 3600 + minutes * 60 + seconds
}

/// The bytes of the time `passed` seconds later.
pub(super) fn after(bytes: TimeBytes, format: Format, passed: i64) -> TimeBytes {
    // No virtual time is this long; a damaged state may say so.
    let passed = passed.clamp(0, 1 << 40);
    let weekday = format.decode(bytes[3]).clamp(1, 7);
    let day = format.decode(bytes[4]).clamp(1, 31);
    let month = format.decode(bytes[5]).clamp(1, 12);
    let year = format.decode(bytes[6]).clamp(0, 99) + 100 * format.decode(bytes[7]).clamp(0, 99);
    let total = second_of_day(bytes, format) + passed;
    let days_passed = total / SECONDS_A_DAY;
    let days = days_from_civil(year, month, day) + days_passed;
    encode(days, total % SECONDS_A_DAY, (weekday - 1 + days_passed) % 7 + 1, format)
}

/// Seconds from `time` to the next one that matches the alarm bytes (hours, minutes, seconds): 1 to 86,400, or `None` for
/// an alarm that no time matches.
pub(super) fn seconds_to_alarm(time: TimeBytes, alarm: [u8; 3], format: Format) -> Option<i64> {
    let any = |byte: u8| byte & DO_NOT_CARE == DO_NOT_CARE;
    let hours = |hour: i64| any(alarm[0]) || format.encode_hours(hour) == alarm[0];
    let minutes = |minute: i64| any(alarm[1]) || format.encode(minute) == alarm[1];
    let seconds = |second: i64| any(alarm[2]) || format.encode(second) == alarm[2];
    if !((0..24).any(hours) && (0..60).any(minutes) && (0..60).any(seconds)) {
        return None;
    }
    // The first match at or after a second of the day: each field has a value that
    // matches, so that this is at most one turn of each.
    let first_from = |from: i64| -> Option<i64> {
        let (hour, minute, second) = (from / 3600, from / 60 % 60, from % 60);
        (hour..24).filter(|h| hours(*h)).find_map(|h| {
            let first_minute = if h == hour { minute } else { 0 };
            (first_minute..60).filter(|m| minutes(*m)).find_map(|m| {
                let first_second = if h == hour && m == minute { second } else { 0 };
                (first_second..60).find(|s| seconds(*s)).map(|s| h * 3600 + m * 60 + s)
            })
        })
    };
    let now = second_of_day(time, format);
    match first_from(now + 1) {
        Some(match_today) => Some(match_today - now),
        None => first_from(0).map(|tomorrow| tomorrow + SECONDS_A_DAY - now),
    }
}

/// A time as a person writes it.
pub(super) fn text(bytes: TimeBytes, format: Format) -> String {
    let [seconds, minutes, hours, _, day, month, year, century] = bytes;
    let [seconds, minutes, day, month, year, century] =
        [seconds, minutes, day, month, year, century].map(|byte| format.decode(byte));
    let hours = format.decode_hours(hours);
    format!("{century:02}{year:02}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCD_24: Format = Format { binary: false, hours_24: true };
    const BINARY_12: Format = Format { binary: true, hours_24: false };

    #[test]
    fn unix_time_becomes_bytes() {
        // 2024-02-29T23:59:58Z, a Thursday.
        let bytes = from_unix_seconds(1_709_251_198, BCD_24);
        assert_eq!(bytes, [0x58, 0x59, 0x23, 5, 0x29, 0x02, 0x24, 0x20]);
    }

    #[test]
    fn a_leap_day_ends_and_a_century_turns() {
        let leap = from_unix_seconds(1_709_251_198, BCD_24);
        assert_eq!(after(leap, BCD_24, 2), [0, 0, 0, 6, 0x01, 0x03, 0x24, 0x20]);
        let last = [0x59, 0x59, 0x23, 6, 0x31, 0x12, 0x99, 0x19];
        assert_eq!(after(last, BCD_24, 1), [0, 0, 0, 7, 1, 1, 0, 0x20]);
    }

    #[test]
    fn midnight_and_noon_are_twelve_in_twelve_hour_mode() {
        assert_eq!(from_unix_seconds(0, BINARY_12)[2], 12);
        assert_eq!(from_unix_seconds(12 * 3600, BINARY_12)[2], 12 | HOURS_PM);
        assert_eq!(from_unix_seconds(13 * 3600, BINARY_12)[2], 1 | HOURS_PM);
        for hour in 0..24 {
            assert_eq!(BINARY_12.decode_hours(BINARY_12.encode_hours(hour)), hour);
        }
    }

    #[test]
    fn all_days_of_ten_thousand_years_round_trip() {
        for days in (days_from_civil(0, 1, 1)..=LAST_DAY).step_by(11) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
        assert_eq!(civil_from_days(LAST_DAY), (9999, 12, 31));
    }

    #[test]
    fn the_next_alarm_agrees_with_trying_each_second() {
        let format = BCD_24;
        for alarm in
            [[0xff, 0xff, 0xff], [0xff, 0x30, 0x00], [0x23, 0xc0, 0x59], [0x12, 0x34, 0xff], [0x99, 0, 0]]
        {
            for start in [0, 12 * 3600 + 34 * 60 + 59, 86_399, 45_000] {
                let time = from_unix_seconds(start, format);
                let slow = (1..=86_400).find(|passed| {
                    let at = after(time, format, *passed);
                    let matches = |alarm: u8, byte: u8| alarm & 0xc0 == 0xc0 || alarm == byte;
                    matches(alarm[0], at[2]) && matches(alarm[1], at[1]) && matches(alarm[2], at[0])
                });
                assert_eq!(seconds_to_alarm(time, alarm, format), slow, "{alarm:x?} from {start}");
            }
        }
    }
}
