//! The horizontal axis: from a moment to a place between 0 and 1, by wall time, or by steps where wall time would show nothing.

use threadbook_timeline::fold::{Nanos, State, Timeline};
use threadbook_timeline::format::MAIN_TASK;

use super::Axis;
use super::words::thousands;

/// Where moments go.
pub struct Scale {
    end: Nanos,
    /// Every moment at which something happened, when each gets a column of its own.
    steps: Option<Vec<Nanos>>,
    /// For each of [`STRETCHES`] equal stretches of time, and for the end: how many of the steps come before it. A recording has some hundred thousand
    /// steps, and each of them is looked for several times.
    before: Vec<u32>,
}

/// Into how many stretches of time steps are sorted.
const STRETCHES: usize = 1 << 14;

impl Scale {
    /// Time.
    pub fn wall(timeline: &Timeline) -> Scale {
        Scale {
            end: timeline.end,
            steps: None,
            before: Vec::new(),
        }
    }

    /// Steps. Takes O(n log n) in all that happened.
    pub fn steps(timeline: &Timeline) -> Scale {
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
        // By far most of it lies there in order already, lane by lane: the stable sort makes use of that.
        moments.sort();
        moments.dedup();
        let end = timeline.end;
        let mut before = vec![0_u32; STRETCHES + 1];
        for moment in &moments {
            before[stretch(*moment, end) + 1] += 1;
        }
        for at in 0..STRETCHES {
            before[at + 1] += before[at];
        }
        Scale {
            end,
            steps: Some(moments),
            before,
        }
    }

    /// Tells whether a column is an event instead of a stretch of time.
    pub fn counts_steps(&self) -> bool {
        self.steps.is_some()
    }

    /// How many steps there are, each from one moment at which something happened to the next; `None` where the axis is time.
    pub fn count(&self) -> Option<u64> {
        self.steps.as_ref().map(|steps| steps.len() as u64 - 1)
    }

    /// Gives the place of a moment, from 0 to 1.
    pub fn place(&self, at: Nanos) -> f64 {
        match &self.steps {
            Some(steps) => {
                let stretch = stretch(at, self.end);
                let first = self.before[stretch] as usize;
                let near = &steps[first..self.before[stretch + 1] as usize];
                let earlier = first + near.partition_point(|step| *step < at);
                (earlier as f64 / (steps.len() - 1).max(1) as f64).min(1.0)
            }
            None if self.end.0 == 0 => 0.0,
            None => (at.0 as f64 / self.end.0 as f64).min(1.0),
        }
    }

    /// Gives the moment at a place: what [`Scale::place`] turns round, to the nearest step.
    pub fn moment(&self, place: f64) -> Nanos {
        let place = place.clamp(0.0, 1.0);
        match &self.steps {
            Some(steps) => {
                let at = (place * (steps.len() - 1) as f64).round() as usize;
                steps.get(at).copied().unwrap_or(self.end)
            }
            None => Nanos((place * self.end.0 as f64) as u64),
        }
    }

    /// Gives the places to mark, with what stands there: 4 to 10 of them, in steps of 1, 2 or 5 times a power of ten.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let whole = self.count().unwrap_or(self.end.0);
        let step = round_step(whole);
        (0..=whole / step)
            .map(|index| {
                let at = index * step;
                let label = match (self.counts_steps(), at) {
                    (true, 0) => "0 steps".into(),
                    (true, at) => thousands(at),
                    (false, at) => duration(Nanos(at)),
                };
                (at as f64 / whole.max(1) as f64, label)
            })
            .collect()
    }
}

/// In which stretch of time a moment lies. Never goes back when the moment goes on.
fn stretch(at: Nanos, end: Nanos) -> usize {
    let place = at.0 as f64 * (STRETCHES as f64 / (end.0 as f64 + 1.0));
    (place as usize).min(STRETCHES - 1)
}

/// Whether steps show more than time: when most of what there is to see would be narrower than 1/500 of the whole, a pixel or two.
///
/// What there is to see are the waits, sleeps and computations, and where there are none, the lives of the tasks. Not the gaps between events: a
/// lock that is taken at once is five events within a microsecond, beside waits of milliseconds that are the point of the picture.
pub fn steps_show_more(timeline: &Timeline, chosen: Axis, steps: &Scale) -> bool {
    match chosen {
        Axis::Wall => return false,
        Axis::Steps => return true,
        Axis::Auto => {}
    }
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
    steps.steps.as_ref().is_some_and(|steps| steps.len() > 3) && narrow * 2 > widths.len()
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

/// So many steps in words: what the numbers on the axis count, the same in all forms of a picture.
pub fn in_steps(count: u64) -> String {
    match count {
        1 => "1 step from one thing that happened to the next".into(),
        _ => format!(
            "{} steps from one thing that happened to the next",
            thousands(count)
        ),
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
    fn each_step_is_found_and_goes_back_to_its_moment() {
        let script: String = (0..400)
            .map(|n| format!("@{} main mark x;", n * n * 7))
            .collect();
        let timeline = fold(&trace(&script));
        let axis = Scale::steps(&timeline);
        let steps = axis.steps.as_ref().expect("counts steps");
        let last = (steps.len() - 1) as f64;
        for (at, step) in steps.iter().enumerate() {
            let place = axis.place(*step);
            assert!((place - at as f64 / last).abs() < 1e-9, "step {at}");
            assert_eq!(axis.moment(place), *step);
        }
        assert!((axis.place(Nanos(u64::MAX)) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_axis_counts_steps_when_time_would_show_nothing() {
        let busy = "main spawn a; main take m; a want m; main release m; a take m; a release m; a exit; main joined a; @900000 main sleep";
        for (script, want) in [
            (busy, true),
            ("main spawn a; a exit; main end", false),
            ("", false),
        ] {
            let timeline = fold(&trace(script));
            let axis = Scale::steps(&timeline);
            let chosen = |axis_of| steps_show_more(&timeline, axis_of, &axis);
            assert_eq!(chosen(Axis::Auto), want, "{script}");
            assert!(chosen(Axis::Steps) && !chosen(Axis::Wall));
            assert!(
                axis.ticks()
                    .iter()
                    .all(|(place, _)| (0.0..=1.0).contains(place))
            );
        }
    }
}
