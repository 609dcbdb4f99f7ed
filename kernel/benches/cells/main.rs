//! How fast cells are, beside evcxr's own Jupyter kernel: both started and asked through the protocol, by turns.
//!
//! `cargo bench --bench cells` prints one table, medians with the least and the most, and writes all figures to `target/bench-cells.json`. The peer is
//! `evcxr_jupyter`, installed below `target/` by cargo at the first time, which takes minutes; `-- --no-peer` measures this kernel alone, `-- --short`
//! that with few cells, `-- --starts 5 --cells 9` more of both. Kernels that compile at the same time disturb each other: only one runs at a time, and
//! nothing else should.
//!
//! A cell's time goes from the request to its reply and `idle`, whichever comes last. Each has a new number in its text, so that no kernel can take it as it
//! was compiled before; the same text again is a row of its own.

mod floor;
mod measure;
mod memory;
mod peer;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use measure::{Plan, Who};

const USAGE: &str = "\
usage: cargo bench --bench cells -- [--starts N] [--cells N] [--no-peer | --peer PATH] [--short] [--json PATH]

  --starts N    how often each kernel is started [3]
  --cells N     how often each cell is run after a start [5]
  --peer PATH   an evcxr_jupyter that is there already
  --no-peer     measure this kernel alone
  --short       one start, two of each cell, no peer
  --json PATH   where all figures go [target/bench-cells.json]";

struct Wish {
    plan: Plan,
    peer: Option<PathBuf>,
    with_peer: bool,
    json: PathBuf,
}

fn wish(mut words: impl Iterator<Item = String>) -> Result<Wish, String> {
    let mut wish = Wish {
        plan: Plan {
            starts: 3,
            cells: 5,
        },
        peer: None,
        with_peer: true,
        json: target().join("bench-cells.json"),
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        let number = |text: String| {
            let number = text.parse().ok().filter(|number| *number > 0);
            number.ok_or(format!("{text} is no number of times"))
        };
        match word.as_str() {
            // cargo says it to every bench.
            "--bench" => {}
            "--starts" => wish.plan.starts = number(value()?)?,
            "--cells" => wish.plan.cells = number(value()?)?,
            "--peer" => wish.peer = Some(value()?.into()),
            "--no-peer" => wish.with_peer = false,
            "--short" => {
                wish.plan = Plan {
                    starts: 1,
                    cells: 2,
                };
                wish.with_peer = false;
            }
            "--json" => wish.json = value()?.into(),
            other => return Err(format!("{other} is not known")),
        }
    }
    Ok(wish)
}

/// The folder that cargo builds in.
fn target() -> PathBuf {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_threadbook"));
    let folder = program.ancestors().nth(2);
    folder.map_or_else(|| "target".into(), PathBuf::from)
}

fn main() -> ExitCode {
    let wish = match wish(std::env::args().skip(1)) {
        Ok(wish) => wish,
        Err(why) => {
            eprintln!("{why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&wish) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(wish: &Wish) -> anyhow::Result<()> {
    let peer = match (&wish.peer, wish.with_peer) {
        (_, false) => None,
        (Some(peer), true) => Some(peer.clone()),
        (None, true) => Some(peer::installed(&target())?),
    };
    let mut all = vec![Who::ours()];
    all.extend(peer.as_deref().map(Who::peer));
    let figures = measure::by_turns(&all, &wish.plan)?;
    print!("{}", report::table(&figures));
    std::fs::write(&wish.json, report::json(&figures))?;
    println!("\nall figures: {}", wish.json.display());
    Ok(())
}
