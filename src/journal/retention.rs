//! Old days are deleted whole.
//!
//! A day goes only if all of this holds: it is sealed and nobody reads it, its name is more than the kept
//! days before today's, at least as many newer days exist as are kept (so that a wall clock that jumps far
//! ahead deletes nothing), and upstream has acknowledged every milestone in it.

use std::path::Path;

use super::cursor::Cursor;
use super::day::Span;
use super::shelf::Shelf;

/// UTC day of a wall stamp, as a number of days since 1970.
pub(super) fn day_number(wall_us: i64) -> i64 {
    wall_us.div_euclid(86_400_000_000)
}

/// Name of a day's directory.
pub(super) fn day_name(number: i64) -> String {
    let date = i32::try_from(number).ok().and_then(|days| {
        jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().try_days(days).ok()?).ok()
    });
    // A clock outside of years 1 to 9999 is broken; its day still needs a name.
    date.map_or_else(|| format!("day{number}"), |date| date.to_string())
}

/// The day number of a directory's name, without the suffix of a second store of one day.
pub(super) fn parse_day(name: &str) -> Option<i64> {
    if let Some(number) = name.strip_prefix("day") {
        return number.split('.').next()?.parse().ok();
    }
    let date: jiff::civil::Date = name.split('.').next()?.parse().ok()?;
    Some(i64::from(jiff::civil::date(1970, 1, 1).until(date).ok()?.get_days()))
}

/// Which days may go; `spans` oldest first, the last one is being written.
fn expired(spans: &[Span], keep_days: u16, cursor: Cursor) -> Vec<String> {
    let keep = usize::from(keep_days.max(1));
    let today = spans.last().and_then(|span| parse_day(&span.name));
    let Some(today) = today else { return Vec::new() };
    let old = |span: &&Span| {
        let acknowledged = span.begin.epoch < cursor.epoch
            || (span.begin.epoch == cursor.epoch && span.last_event <= cursor.acked)
            || span.last_event < span.begin.first_event;
        let aged = parse_day(&span.name).is_some_and(|day| today - day >= i64::from(keep_days.max(1)));
        aged && acknowledged
    };
    // From the front only: what is left has no hole.
    spans[..spans.len().saturating_sub(keep)].iter().take_while(old).map(|span| span.name.clone()).collect()
}

/// Deletes what may go and says how many days that were.
pub(super) fn run(directory: &Path, shelf: &Shelf, keep_days: u16, cursor: Cursor) -> std::io::Result<u64> {
    let mut deleted = 0;
    for name in expired(&shelf.spans(), keep_days, cursor) {
        if !shelf.forget(&name) {
            break;
        }
        tracing::info!(day = %name, "day deleted, it is older than the days kept");
        std::fs::remove_dir_all(directory.join("days").join(&name))?;
        deleted += 1;
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::super::day::Begin;
    use super::*;

    fn span(name: &str, epoch: u64, events: (u64, u64)) -> Span {
        let begin = Begin { epoch, first_seq: events.0, first_event: events.0 };
        Span { name: name.to_owned(), begin, last_seq: events.1, last_event: events.1 }
    }

    #[test]
    fn names_and_numbers_of_days_agree() {
        for wall_us in [0, 1_795_305_600_000_000, -1, i64::MAX, i64::MIN] {
            let number = day_number(wall_us);
            assert_eq!(parse_day(&day_name(number)), Some(number), "{wall_us}");
        }
        assert_eq!(day_name(day_number(1_795_305_600_000_000)), "2026-11-22");
        assert_eq!(parse_day("2026-11-22.2"), parse_day("2026-11-22"));
    }

    #[test]
    fn only_old_acknowledged_days_go_and_a_jump_of_the_clock_deletes_nothing() {
        let days = [
            span("2026-11-18", 7, (1, 10)),
            span("2026-11-19", 7, (11, 20)),
            span("2026-11-20", 7, (21, 30)),
            span("2026-11-21", 7, (31, 40)),
        ];
        let all = Cursor { epoch: 7, acked: 40 };
        assert_eq!(expired(&days, 2, all), ["2026-11-18", "2026-11-19"]);
        assert_eq!(expired(&days, 2, Cursor { epoch: 7, acked: 15 }), ["2026-11-18"]);
        assert!(expired(&days, 2, Cursor { epoch: 6, acked: 99 }).is_empty());
        assert_eq!(expired(&days, 2, Cursor { epoch: 8, acked: 0 }), ["2026-11-18", "2026-11-19"]);
        assert!(expired(&days, 180, all).is_empty());
        let jumped = [days[2].clone(), days[3].clone(), span("2099-01-01", 7, (41, 50))];
        assert!(expired(&jumped, 3, Cursor { epoch: 7, acked: 50 }).is_empty());
    }
}
