//! The horizontal axis: from a moment to a place between 0 and 1, by wall time, or by steps where wall time would show nothing.

use threadbook_timeline::fold::{Nanos, State, Timeline};
use threadbook_timeline::format::MAIN_TASK;

use super::Axis;

/// Where moments go.
pub struct Scale {
    end: Nanos,
    /// Every moment at which something happened, when each gets a column of its own.
    steps: Option<Vec<Nanos>>,
}

impl Scale {
    /// Chooses the axis: steps when most of what there is to see would be narrower than 1/500 of the whole, a pixel or two; else wall time.
    ///
    /// What there is to see are the waits, sleeps and computations, and where there are none, the lives of the tasks. Not the gaps between events: a
    /// lock that is taken at once is five events within a microsecond, beside waits of milliseconds that are the point of the picture.
    pub fn of(timeline: &Timeline, chosen: Axis) -> Scale {
        let mut moments: Vec<Nanos> = vec![timeline.start, timeline.end];
        for lane in &timeline.lanes {
            moments.extend(
                [Some(lane.spawned), lane.started, lane.ended]
                    .into_iter()
                    .flatten(),
            );
            moments.extend(
                lane.spans
                    .iter()
                    .flat_map(|span| [Some(span.from), span.until].into_iter().flatten()),
            );
            moments.extend(
                lane.holds
                    .iter()
                    .flat_map(|hold| [Some(hold.from), hold.until].into_iter().flatten()),
            );
            moments.extend(lane.marks.iter().map(|mark| mark.at));
            moments.extend(
                lane.regions
                    .iter()
                    .flat_map(|region| [Some(region.from), region.until].into_iter().flatten()),
            );
        }
        moments.extend(
            timeline
                .edges
                .iter()
                .flat_map(|edge| [edge.left, edge.reached]),
        );
        moments.extend(
            timeline
                .objects
                .iter()
                .flat_map(|object| object.counter.iter().map(|change| change.0)),
        );
        moments.sort_unstable();
        moments.dedup();
        let waits = timeline
            .lanes
            .iter()
            .flat_map(|lane| &lane.spans)
            .filter(|span| !matches!(span.state, State::Running | State::Ready));
        let mut widths: Vec<u64> = waits
            .map(|span| span.until(timeline.end).0 - span.from.0)
            .collect();
        if widths.is_empty() {
            let tasks = timeline.lanes.iter().filter(|lane| lane.task != MAIN_TASK);
            widths = tasks
                .map(|lane| {
                    lane.ended
                        .unwrap_or(timeline.end)
                        .0
                        .saturating_sub(lane.spawned.0)
                })
                .collect();
        }
        let narrow = widths
            .iter()
            .filter(|width| width.saturating_mul(500) < timeline.end.0)
            .count();
        let crowded = match chosen {
            Axis::Auto => moments.len() > 3 && narrow * 2 > widths.len(),
            Axis::Wall => false,
            Axis::Steps => true,
        };
        Scale {
            end: timeline.end,
            steps: crowded.then_some(moments),
        }
    }

    /// Tells whether a column is an event instead of a stretch of time.
    pub fn counts_steps(&self) -> bool {
        self.steps.is_some()
    }

    /// Gives the place of a moment, from 0 to 1.
    pub fn place(&self, at: Nanos) -> f64 {
        match &self.steps {
            Some(steps) => {
                steps.partition_point(|step| *step < at) as f64 / (steps.len() - 1).max(1) as f64
            }
            None if self.end.0 == 0 => 0.0,
            None => (at.0 as f64 / self.end.0 as f64).min(1.0),
        }
    }

    /// Gives the places to mark, with what stands there: 4 to 10 of them, in steps of 1, 2 or 5 times a power of ten.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let whole = self
            .steps
            .as_ref()
            .map_or(self.end.0, |steps| steps.len() as u64 - 1);
        let step = round_step(whole);
        (0..=whole / step)
            .map(|index| {
                let at = index * step;
                let label = if self.counts_steps() {
                    at.to_string()
                } else {
                    duration(Nanos(at))
                };
                (at as f64 / whole.max(1) as f64, label)
            })
            .collect()
    }
}

/// The smallest of 1, 2, 5, 10, 20, 50, … that fits into `whole` at most ten times.
fn round_step(whole: u64) -> u64 {
    let mut power = 1_u64;
    loop {
        for step in [1, 2, 5].map(|digit| power.saturating_mul(digit)) {
            if whole / step < 10 {
                return step;
            }
        }
        power = power.saturating_mul(10);
    }
}

/// Gives a length of time for people: three digits at most, in the unit that suits it.
pub fn duration(nanos: Nanos) -> String {
    let (value, unit) = match nanos.0 {
        0..1_000 => return format!("{} ns", nanos.0),
        1_000..1_000_000 => (nanos.0 as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (nanos.0 as f64 / 1e6, "ms"),
        _ => (nanos.0 as f64 / 1e9, "s"),
    };
    let digits = if value < 9.95 { 1 } else { 0 };
    let text = format!("{value:.digits$}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use threadbook_timeline::fold::fold;
    use threadbook_timeline::script::trace;

    #[test]
    fn lengths_of_time_are_short_and_exact_enough() {
        for (nanos, want) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1 µs"),
            (1_849, "1.8 µs"),
            (12_345, "12 µs"),
            (1_820_000, "1.8 ms"),
            (20_000_000, "20 ms"),
            (1_500_000_000, "1.5 s"),
            (61_000_000_000, "61 s"),
        ] {
            assert_eq!(duration(Nanos(nanos)), want);
        }
    }

    #[test]
    fn ticks_are_round_and_few() {
        for (whole, want) in [
            (0, 1),
            (7, 1),
            (10, 2),
            (99, 10),
            (100, 20),
            (1_234_567, 200_000),
            (u64::MAX, 2_000_000_000_000_000_000),
        ] {
            assert_eq!(round_step(whole), want, "{whole}");
        }
    }

    #[test]
    fn the_axis_counts_steps_when_time_would_show_nothing() {
        let busy = "main spawn a; main take m; a want m; main release m; a take m; a release m; a exit; main joined a; @900000 main sleep";
        for (script, want) in [
            (busy, true),
            ("main spawn a; a exit; main end", false),
            ("", false),
        ] {
            let axis = Scale::of(&fold(&trace(script)), Axis::Auto);
            assert_eq!(axis.counts_steps(), want, "{script}");
            assert!(
                axis.ticks()
                    .iter()
                    .all(|(place, _)| (0.0..=1.0).contains(place))
            );
        }
    }
}
