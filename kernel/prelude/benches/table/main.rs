//! What the prelude costs beside std, crossbeam, kanal, tokio and Go: one Markdown table.
//!
//! `cargo bench -p threadbook-prelude --bench table -- --go PATH [--only NAME] [--rounds N] [--best] [--json FILE]`
//!
//! A program of its own, since criterion and divan measure one implementation after the other, and on a machine that others use the same work takes twice as
//! long a minute later. Here each round runs every implementation of a work once, in turn, and a cell of the table is the median of its rounds: what slows
//! the machine down slows all of them. Each run is a process of its own, as Go's must be: no implementation's threads are in another's way, the memory is
//! its own, and all threads are known to the prelude, so that its deadlocks are found at once. Where others use the machine all the time, `--best` shows each
//! implementation's best round instead: what it takes while nobody disturbs. [`works`] says what is done; `go/main.go` does the same in Go.

mod go;
mod others;
mod ours;
mod run;
mod trace;
mod works;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use works::{By, Unit, WORKS, Work};

/// How many rounds unless it is said.
const ROUNDS: usize = 9;

struct Options {
    go: PathBuf,
    only: Vec<String>,
    rounds: usize,
    /// Whether the best round is shown, and not the median.
    best: bool,
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, work, by] = &arguments[..]
        && flag == "--run"
    {
        println!("{}", run_here(work, by));
        return ExitCode::SUCCESS;
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("nothing measured: this is for `cargo bench`, and takes minutes");
        return ExitCode::SUCCESS;
    }
    match options(&arguments) {
        Ok(options) => {
            print_table(&options);
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!(
                "{why}\nusage: [--go PATH] [--only NAME]... [--rounds N] [--best] [--json FILE]"
            );
            eprintln!("names:");
            for work in WORKS {
                eprintln!("  {:<22}{}", work.name, work.what);
            }
            ExitCode::FAILURE
        }
    }
}

fn options(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options {
        go: "go".into(),
        only: Vec::new(),
        rounds: ROUNDS,
        best: false,
        json: None,
    };
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--bench" => {}
            "--best" => options.best = true,
            "--go" => options.go = value()?.into(),
            "--json" => options.json = Some(value()?.into()),
            "--only" => {
                let name = value()?;
                if !WORKS.iter().any(|work| work.name == name) {
                    return Err(format!("no work is called {name}"));
                }
                options.only.push(name.clone());
            }
            "--rounds" => {
                let count = value()?;
                options.rounds = count
                    .parse()
                    .ok()
                    .filter(|&rounds| rounds > 0)
                    .ok_or(format!("{count} is no number of rounds"))?;
            }
            other => return Err(format!("{other} is not known")),
        }
    }
    Ok(options)
}

/// Does one work by one implementation in this process; gives what it took, in the work's unit.
fn run_here(work: &str, by: &str) -> f64 {
    let work = WORKS
        .iter()
        .find(|known| known.name == work)
        .expect("a work of the table");
    let by = By::ALL
        .into_iter()
        .find(|known| known.name() == by)
        .expect("an implementation of the table");
    work.run(by).expect("it does this work")()
}

/// The runs of one work by one implementation.
struct Cell {
    by: By,
    rounds: Vec<f64>,
}

impl Cell {
    /// What is shown: the best round or the median of all.
    fn shown(&self, best: bool) -> Option<f64> {
        let mut rounds = self.rounds.clone();
        rounds.sort_by(f64::total_cmp);
        rounds.get(if best { 0 } else { rounds.len() / 2 }).copied()
    }
}

fn print_table(options: &Options) {
    let go = go::build(&options.go);
    if let Err(why) = &go {
        eprintln!("no column for Go: {why}");
    }
    let go = go.ok();
    println!("{}", circumstances(go.as_ref(), options));
    println!();
    let columns: Vec<By> = By::ALL
        .into_iter()
        .filter(|by| *by != By::Go || go.is_some())
        .collect();
    let heading: Vec<&str> = columns.iter().map(|by| by.title()).collect();
    println!("| work | to reach | {} |", heading.join(" | "));
    println!("|---|---|{}", "--:|".repeat(columns.len()));
    let mut json = String::new();
    for work in WORKS {
        if !options.only.is_empty() && !options.only.iter().any(|name| name == work.name) {
            continue;
        }
        let cells = measure(work, &columns, go.as_ref(), options.rounds);
        let shown: Vec<String> = cells
            .iter()
            .map(|cell| {
                cell.shown(options.best)
                    .map_or("-".to_owned(), |it| work.unit.show(it))
            })
            .collect();
        println!("| {} | {} | {} |", work.what, work.goal, shown.join(" | "));
        for cell in cells.iter().filter(|cell| !cell.rounds.is_empty()) {
            let rounds: Vec<String> = cell.rounds.iter().map(|it| format!("{it:.1}")).collect();
            writeln!(
                json,
                r#"{{"work":"{}","by":"{}","unit":"{}","rounds":[{}]}}"#,
                work.name,
                cell.by.name(),
                work.unit.name(),
                rounds.join(",")
            )
            .expect("a string grows");
        }
    }
    if let Some(path) = &options.json {
        std::fs::write(path, json).expect("a file for the rounds");
    }
}

/// Runs each implementation once in each round.
fn measure(work: &Work, columns: &[By], go: Option<&go::Program>, rounds: usize) -> Vec<Cell> {
    let mut cells: Vec<Cell> = columns
        .iter()
        .map(|&by| Cell {
            by,
            rounds: Vec::new(),
        })
        .collect();
    for _ in 0..rounds {
        for cell in &mut cells {
            let mut program = match (cell.by, go) {
                (By::Go, Some(go)) if work.go => {
                    let mut program = Command::new(&go.path);
                    program.arg(work.name);
                    program
                }
                (by, _) if work.run(by).is_some() => {
                    let mut program =
                        Command::new(std::env::current_exe().expect("this program's file"));
                    program.args(["--run", work.name, by.name()]);
                    program
                }
                _ => continue,
            };
            if work.tells {
                // As in a kernel: what is told of a deadlock is one line of JSON, for which somebody is there.
                program.env("THREADBOOK_MARK_FD", "2").stderr(Stdio::null());
            }
            let output = program.output().expect("a program that can be started");
            let text = String::from_utf8_lossy(&output.stdout);
            match text.trim().parse() {
                Ok(took) if output.status.success() => cell.rounds.push(took),
                _ => panic!(
                    "{} by {}: {}, {text}{}",
                    work.name,
                    cell.by.name(),
                    output.status,
                    String::from_utf8_lossy(&output.stderr)
                ),
            }
        }
    }
    cells
}

/// On what it was measured.
fn circumstances(go: Option<&go::Program>, options: &Options) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let rustc = Command::new("rustc").arg("-V").output();
    let rustc = rustc.map_or_else(
        |_| "an unknown rustc".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    );
    let go = go.map_or("no Go", |go| &go.version);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    let (rounds, of) = (
        options.rounds,
        if options.best { "the best" } else { "medians" },
    );
    format!("{cores} cores, {rustc}, {go}; {rounds} rounds, {of}; load before it: {load}")
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::Nanos if value < 9_950.0 => {
                if value < 99.5 {
                    format!("{value:.1} ns")
                } else {
                    format!("{value:.0} ns")
                }
            }
            Unit::Nanos if value < 99_500.0 => format!("{:.1} us", value / 1e3),
            Unit::Nanos => format!("{:.0} us", value / 1e3),
            Unit::Bytes => format!("{:.2} KiB", value / 1024.0),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Unit::Nanos => "ns",
            Unit::Bytes => "bytes",
        }
    }
}
