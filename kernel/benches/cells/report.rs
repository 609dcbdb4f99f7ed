//! The figures as a table for people, and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::measure::{CELLS, Figures, Row};

/// The rows of [`CELLS`] that the geometric mean is of.
const KINDS: std::ops::Range<usize> = 0..CELLS.len();

/// A table in Markdown: medians, in brackets the least and the most, and ratios to the peer and to a bare rustc.
pub fn table(figures: &Figures) -> String {
    let ours = &figures[0].1;
    let peer = figures.get(1).map(|(_, rows)| rows);
    let mut text = format!("{}\n\n", circumstances(figures));
    text +=
        "| | this kernel | the peer | ratio | bare rustc | ratio |\n|---|--:|--:|--:|--:|--:|\n";
    for (row, times) in ours {
        if matches!(row, Row::Floor(_) | Row::Without) {
            continue;
        }
        let theirs = peer.and_then(|rows| rows.get(row));
        let floor = match row {
            Row::Cell(kind) => ours.get(&Row::Floor(*kind)),
            _ => None,
        };
        let ratio = |other: Option<&Vec<f64>>| {
            other.map_or_else(String::new, |other| {
                format!("{:.2}", median(times) / median(other))
            })
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            name(*row),
            spread(times),
            theirs.map_or_else(String::new, |times| spread(times)),
            ratio(theirs),
            floor.map_or_else(String::new, |times| spread(times)),
            ratio(floor),
        );
    }
    if let Some(peer) = peer {
        let logs: Vec<f64> = KINDS
            .filter_map(|kind| {
                let row = Row::Cell(kind);
                Some((median(ours.get(&row)?) / median(peer.get(&row)?)).ln())
            })
            .collect();
        let mean = (logs.iter().sum::<f64>() / logs.len() as f64).exp();
        let _ = writeln!(
            text,
            "\nGeometric mean of the ratios of the {} kinds of cells: {mean:.2}.",
            logs.len()
        );
    }
    if let (Some(with), Some(without)) = (ours.get(&Row::With), ours.get(&Row::Without)) {
        let _ = writeln!(
            text,
            "\nPicture and copy on top of the same cell: {:.0} ms.",
            median(with) - median(without)
        );
    }
    if let (Some(again), Some(first)) = (ours.get(&Row::Again), ours.get(&Row::Cell(4))) {
        let _ = writeln!(
            text,
            "\nA cell with nothing changed, run again: {:.2} of its first run.",
            median(again) / median(first)
        );
    }
    text
}

/// All that was measured.
pub fn json(figures: &Figures) -> String {
    let kernels: Map<String, Value> = figures
        .iter()
        .map(|(who, rows)| {
            let rows: Map<String, Value> = rows
                .iter()
                .map(|(row, times)| (name(*row), json!({"median": median(times), "all": times})))
                .collect();
            ((*who).to_owned(), rows.into())
        })
        .collect();
    let whole = json!({"circumstances": circumstances(figures), "units": "ms; memory: MB", "kernels": kernels});
    format!("{whole:#}\n")
}

fn name(row: Row) -> String {
    match row {
        Row::Info => "process start to `kernel_info_reply`".into(),
        Row::First => "process start to first cell done".into(),
        Row::Restart => "restart to first cell done".into(),
        Row::Cell(kind) => CELLS[kind].0.into(),
        Row::Again => format!("{}, the same again", CELLS[4].0),
        Row::Completion => "completion".into(),
        Row::Dep => "`:dep` of a crate on disk".into(),
        Row::Memory => "memory, all processes (MB)".into(),
        Row::With => "4 tasks and a channel of the prelude, drawn".into(),
        Row::Without => "the same without picture and copy".into(),
        Row::Floor(kind) => format!("bare rustc: {}", CELLS[kind].0),
    }
}

/// With which versions, on what.
fn circumstances(figures: &Figures) -> String {
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc.map_or_else(
        |_| "no rustc".into(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    );
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let of = |(who, rows): &(&str, BTreeMap<Row, Vec<f64>>)| {
        let count = |row| rows.get(&row).map_or(0, Vec::len);
        format!(
            "{who}: {} starts, {} of each cell",
            count(Row::First),
            count(Row::Cell(0))
        )
    };
    let counts: Vec<String> = figures.iter().map(of).collect();
    format!(
        "threadbook {}, {rustc}, {cores} cores, {}. Times in ms.",
        env!("CARGO_PKG_VERSION"),
        counts.join("; ")
    )
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

fn spread(times: &[f64]) -> String {
    let least = times.iter().copied().fold(f64::INFINITY, f64::min);
    let most = times.iter().copied().fold(0.0, f64::max);
    format!("{:.0} ({least:.0}-{most:.0})", median(times))
}
