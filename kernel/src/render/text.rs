//! The picture in plain text: a line per lane, a character per stretch of time, and the waits as sentences.

use std::fmt::Write;

use threadbook_timeline::fold::{Lane, LaneEnd, Nanos, State};
use threadbook_timeline::format::{Cause, Reason};

use super::axis::{Scale, duration, in_steps};
use super::looks::LOOKS;
use super::rows::{Group, Row, Rows, counts};
use super::words::{LEFT_ALIVE, Words, sums_of};

/// Longest a line of the drawing is: a terminal is as wide as that at least. Sentences are left to the terminal, which breaks them.
const COLUMNS: usize = 80;

/// Draws all of it.
pub fn draw(words: &Words<'_>, rows: &Rows<'_>, axis: &Scale) -> String {
    let timeline = words.timeline;
    let label = rows
        .all
        .iter()
        .map(|row| match row {
            Row::Lane(lane) => lane.name.chars().count(),
            Row::Group(group) => group.name().chars().count(),
        })
        .max()
        .unwrap_or(4)
        .min(16);
    // Two blanks behind the name, and one before how it ended, in at most 11 characters.
    let buckets = COLUMNS - label - 2 - 12;
    let mut text = String::new();
    let mut used = String::new();
    for row in &rows.all {
        let (name, bars, end) = match row {
            Row::Lane(lane) => {
                let end = match lane.end {
                    LaneEnd::Done => "done",
                    LaneEnd::Panicked(_) => "panicked",
                    LaneEnd::Alive => "alive",
                    LaneEnd::Unknown => "unknown",
                    LaneEnd::Cut(Cause::Deadlock) => "deadlock",
                    LaneEnd::Cut(Cause::Program) => "cut off",
                    LaneEnd::Cut(Cause::Interrupt) => "interrupted",
                };
                let bars = bars(lane, timeline.end, axis, buckets);
                (lane.name.clone(), bars, end.to_owned())
            }
            Row::Group(group) if rows.is_crowd => {
                text += &heat(timeline.end, group, axis);
                continue;
            }
            Row::Group(group) => {
                let bars = bars_of_group(group, timeline.end, axis, buckets);
                let end: String = group.fate.chars().take(11).collect();
                (group.name(), bars, end)
            }
        };
        used.extend(bars.chars().filter(|mark| *mark != ' '));
        let name: String = name.chars().take(label).collect();
        _ = writeln!(text, "{name:<label$}  {bars} {}", end.trim_end());
    }
    let legend = [
        ('#', "# running"),
        ('=', "= computing"),
        ('-', "- ready"),
        ('L', "L waits for a lock"),
        ('C', "C waits on a channel"),
        ('W', "W waits for a wait group"),
        ('w', "w waits for others"),
        ('J', "J waits for a task to end"),
        ('N', "N waits to be notified"),
        ('B', "B waits at a barrier"),
        ('O', "O waits for a once lock"),
        ('X', "X waits in vain: deadlock"),
        ('z', "z sleeps"),
        ('?', "? not kept"),
        ('.', ". not alive"),
    ]
    .into_iter()
    .filter(|(mark, _)| used.contains(*mark))
    .fold(String::new(), |mut legend, (_, words)| {
        let line = legend.lines().last().map_or(0, str::len);
        if line > 0 {
            legend += if line + 3 + words.len() > COLUMNS {
                "\n"
            } else {
                "   "
            };
        }
        legend + words
    });
    let legend = match (rows.is_crowd, rows.groups().next()) {
        (true, _) => {
            format!("{legend}\n1 to 9: so many tenths of the group   + a few   * all   . none")
        }
        (false, Some(_)) => format!("{legend}\na group shows what most of its tasks do"),
        (false, None) => legend,
    };
    let long = duration(timeline.end);
    let length = match axis.count() {
        Some(count) => format!("{}, not by time; {long} in all", in_steps(count)),
        None => format!("{long} in all"),
    };
    _ = writeln!(text, "\n{legend}\n{length}");
    if let Some(missing) = words.missing() {
        _ = writeln!(text, "{missing}");
    }
    for group in rows.groups().filter(|_| !rows.is_crowd) {
        _ = writeln!(text, "  {}: {}", group.name(), sums_of(group));
    }
    for sentence in words.all_waits() {
        _ = writeln!(text, "  {sentence}");
    }
    let alive = words.left_alive();
    if !alive.is_empty() {
        _ = writeln!(text, "{LEFT_ALIVE}");
    }
    for sentence in alive {
        _ = writeln!(text, "  {sentence}");
    }
    text
}

/// A group of a crowd: its name and sums, then a line for each state: how many of its tasks were in it.
fn heat(end: Nanos, group: &Group<'_>, axis: &Scale) -> String {
    const LABEL: usize = 24;
    let buckets = COLUMNS - LABEL - 2;
    let counts = counts(group, axis, end, buckets);
    let all = group.lanes.len().max(1) as f64;
    let mut text = format!("{}  {}\n", group.name(), sums_of(group));
    for look in &group.looks {
        let marks: String = counts[*look]
            .iter()
            .map(|count| match count / all {
                _ if *count < 0.02 => '.',
                share if share < 0.095 => '+',
                share if share > 0.995 => '*',
                share => {
                    let tenths = (share * 10.0).round().clamp(1.0, 9.0) as u32;
                    char::from_digit(tenths, 10).unwrap_or('9')
                }
            })
            .collect();
        _ = writeln!(text, "  {:<LABEL$}{marks}", LOOKS[*look].2);
    }
    text
}

/// The row of a group: each bucket shows what most of its tasks do.
fn bars_of_group(group: &Group<'_>, end: Nanos, axis: &Scale, buckets: usize) -> String {
    let counts = counts(group, axis, end, buckets);
    (0..buckets)
        .map(|bucket| {
            let most = (0..counts.len())
                .max_by(|a, b| counts[*a][bucket].total_cmp(&counts[*b][bucket]))
                .filter(|look| counts[*look][bucket] > 0.02);
            most.map_or('.', |look| MARKS[look])
        })
        .collect()
}

/// What stands for each of the looks, where it is not said which kind of wait it is.
const MARKS: [char; 10] = ['#', '=', '-', 'L', 'C', 'w', 'z', ' ', 'X', '?'];

/// One lane: each bucket shows the state that fills most of it, and a wait before all others when it has no length of its own.
fn bars(lane: &Lane, end: Nanos, axis: &Scale, buckets: usize) -> String {
    let mut best = vec![(0.0, '.'); buckets];
    let last = lane.ended.unwrap_or(end);
    for span in &lane.spans {
        let (from, until) = (
            axis.place(span.from) * buckets as f64,
            axis.place(span.until(end)) * buckets as f64,
        );
        let first = (from as usize).min(buckets - 1);
        for (bucket, most) in best
            .iter_mut()
            .enumerate()
            .take((until.ceil() as usize).max(first + 1).min(buckets))
            .skip(first)
        {
            let share = until.min(bucket as f64 + 1.0) - from.max(bucket as f64);
            // The last to join a deadlock waits for microseconds only, and yet that is the point of the picture.
            let in_vain = span.deadlocked.is_some();
            if (share > most.0 || most.1 == '.' || in_vain) && most.1 != 'X' {
                *most = (share, if in_vain { 'X' } else { mark(span.state) });
            }
        }
    }
    // A lane that began in an earlier cell is alive before anything is known of it.
    let known = lane.spans.first().map_or(last, |span| span.from);
    if lane.parent.is_none() && lane.spawned < known {
        for bucket in best
            .iter_mut()
            .take((axis.place(known) * buckets as f64) as usize)
        {
            bucket.1 = ' ';
        }
    }
    best.into_iter().map(|(_, mark)| mark).collect()
}

fn mark(state: State) -> char {
    match state {
        State::Running => '#',
        State::Computing => '=',
        State::Ready => '-',
        State::Sleeping => 'z',
        State::Unknown => '?',
        State::Blocked { reason, .. } => match reason {
            Reason::Lock | Reason::Read | Reason::Write => 'L',
            Reason::Send | Reason::Recv | Reason::Select => 'C',
            Reason::Wait => 'W',
            Reason::Join | Reason::Scope => 'J',
            Reason::Notify => 'N',
            Reason::Barrier => 'B',
            Reason::Once => 'O',
            Reason::Sleep => 'z',
        },
    }
}
