//! The row of a group: how many of its tasks did what, over time. Of some hundred tasks as one strip, its states stacked; of a crowd as a heat map, a line
//! for each state.

use super::*;
use crate::render::looks::LOOKS;
use crate::render::rows::{Counts, Group};

const STRIP_PX: f64 = 30.0;
const HEAT_PX: f64 = 13.0;
const HEAD_PX: f64 = 17.0;
/// Into how many stretches the axis is cut, at most.
pub const BINS: usize = 120;
/// For how many stretches a strip says in words what it shows.
const HOVERS: usize = 20;
/// How many shades a heat map has.
const LEVELS: f64 = 8.0;

/// How high the row of a group is.
pub fn height(group: &Group<'_>, is_crowd: bool) -> f64 {
    if is_crowd {
        HEAD_PX + HEAT_PX * group.looks.len() as f64 + 5.0
    } else {
        STRIP_PX + 6.0
    }
}

impl<'a> Sheet<'a> {
    pub(super) fn group(&mut self, group: &'a Group<'a>, counts: &Counts, top: f64) {
        let groups = self.rows.groups().count().max(1);
        let bins = (self.detail.0 * 4 / groups).clamp(24, BINS);
        let counts = merged(counts, BINS.div_ceil(bins));
        let name = shortened(&group.name(), 17);
        if self.rows.is_crowd {
            self.name("", 4.0, top, name);
            self.label("o", 2.0, top + 1.0, self.words.group(group));
            self.heat(group, &counts, top + HEAD_PX);
        } else {
            self.name("", 4.0, top + 2.0, name);
            self.name("o", 4.0, top + 17.0, shortened(&group.fate, 20));
            self.strip(group, &counts, top + 3.0);
        }
    }

    fn strip(&mut self, group: &Group<'_>, counts: &Counts, top: f64) {
        let bins = counts[0].len();
        let wide = PLOT_PX / bins as f64;
        let scale = STRIP_PX / group.lanes.len().max(1) as f64;
        let mut base = vec![top + STRIP_PX; bins];
        self.shapes += "<g class=\"st\">";
        for look in &group.looks {
            let mut path = String::new();
            let mut run: Option<(usize, f64, f64)> = None;
            for bin in 0..=bins {
                let part = (bin < bins).then(|| {
                    let low = base[bin];
                    let high = low - counts[*look][bin] * scale;
                    base[bin] = high;
                    (
                        low.round(),
                        if low - high > 0.3 {
                            high.round().min(low.round() - 1.0)
                        } else {
                            low.round()
                        },
                    )
                });
                match (run, part) {
                    (Some((_, low, high)), Some(part)) if (low, high) == part => {}
                    _ => {
                        if let Some((since, low, high)) = run
                            && low > high
                        {
                            let width = (bin - since) as f64 * wide;
                            rect(&mut path, since as f64 * wide, high, width, low - high);
                        }
                        run = part.map(|(low, high)| (bin, low, high));
                    }
                }
            }
            if !path.is_empty() {
                self.occurs.looks.insert(*look);
                _ = write!(
                    self.shapes,
                    "<path class=\"{}\" d=\"{path}\"/>",
                    LOOKS[*look].0
                );
            }
        }
        _ = write!(
            self.shapes,
            "</g><path class=\"grid\" d=\"M0 {:.0}H{PLOT_PX}\"/>",
            top + STRIP_PX
        );
        let each = bins.div_ceil(HOVERS);
        for first in (0..bins).step_by(each) {
            let last = (first + each).min(bins);
            let told = self.words_of(group, counts, first..last);
            let (from, until) = (first as f64 * wide, last as f64 * wide);
            self.say(
                (from, top, until - from, STRIP_PX),
                1200.0,
                Saying::Text(told),
            );
        }
    }

    fn heat(&mut self, group: &Group<'_>, counts: &Counts, top: f64) {
        let bins = counts[0].len();
        let wide = PLOT_PX / bins as f64;
        let all = group.lanes.len().max(1) as f64;
        self.occurs.heat = true;
        for (row, look) in group.looks.iter().enumerate() {
            let y = top + HEAT_PX * row as f64;
            self.name("o", 12.0, y, LOOKS[*look].2);
            let mut paths: BTreeMap<usize, String> = BTreeMap::new();
            let mut run: Option<(usize, usize)> = None;
            for bin in 0..=bins {
                let level = counts[*look].get(bin).map(|&count| {
                    if count < 0.02 {
                        0
                    } else {
                        ((count / all).min(1.0).sqrt() * LEVELS).ceil().max(1.0) as usize
                    }
                });
                if run.map(|run| run.1) == level {
                    continue;
                }
                if let Some((since, level)) = run
                    && level > 0
                {
                    let width = (bin - since) as f64 * wide;
                    let path = paths.entry(level).or_default();
                    rect(path, since as f64 * wide, y, width, HEAT_PX - 1.0);
                }
                run = level.map(|level| (bin, level));
            }
            self.shapes += "<g class=\"heat\">";
            for (level, path) in paths {
                _ = write!(
                    self.shapes,
                    "<path class=\"{} h{level}\" d=\"{path}\"/>",
                    LOOKS[*look].0
                );
            }
            self.shapes += "</g>";
            _ = write!(
                self.shapes,
                "<path class=\"grid\" d=\"M0 {:.0}H{PLOT_PX}\"/>",
                y + HEAT_PX - 0.5
            );
        }
        let high = HEAT_PX * group.looks.len() as f64;
        let each = bins.div_ceil(HOVERS);
        for first in (0..bins).step_by(each) {
            let last = (first + each).min(bins);
            let told = self.words_of(group, counts, first..last);
            let (from, until) = (first as f64 * wide, last as f64 * wide);
            self.say((from, top, until - from, high), 1200.0, Saying::Text(told));
        }
    }

    /// What a stretch of a group's row shows: `1.2 ms to 1.5 ms, of 196: 150 waiting on a channel, 12 running`.
    fn words_of(
        &self,
        group: &Group<'_>,
        counts: &Counts,
        stretch: std::ops::Range<usize>,
    ) -> String {
        let bins = counts[0].len() as f64;
        let moment = |bin: usize| duration(self.scale.moment(bin as f64 / bins));
        let mut told = format!(
            "{} to {}, of {}:",
            moment(stretch.start),
            moment(stretch.end),
            group.name()
        );
        let mut parts: Vec<(f64, &str)> = group
            .looks
            .iter()
            .map(|look| {
                let sum: f64 = counts[*look][stretch.clone()].iter().sum();
                (sum / stretch.len() as f64, LOOKS[*look].2)
            })
            .filter(|(count, _)| *count >= 0.05)
            .collect();
        parts.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (at, (count, words)) in parts.iter().enumerate() {
            let comma = if at == 0 { " " } else { ", " };
            _ = if *count < 1.0 {
                write!(told, "{comma}now and then one {words}")
            } else {
                write!(told, "{comma}{count:.0} {words}")
            };
        }
        if parts.is_empty() {
            told += " none alive";
        }
        told
    }
}

/// The same in stretches that are so many times as long; up to 6, which all divide [`BINS`].
fn merged(counts: &Counts, times: usize) -> Counts {
    let average = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    std::array::from_fn(|look| counts[look].chunks(times).map(average).collect())
}
