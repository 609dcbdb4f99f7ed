//! `cargo verify`: sets up all that Threadbook's tests need, and runs them.
//!
//! One line for each part with its time, the first failure's output in full, and a last line `N passed, M failed`.
//! Knows which parts there are and in which order; what each does stands in `parts`.

mod command;
mod parts;
mod place;
mod system;
mod tally;

use std::collections::HashMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use command::Log;
use parts::{PARTS, Part};
use place::Place;
use tally::Tally;

const USAGE: &str = "\
Sets up all that Threadbook's tests need, and runs them.

usage: cargo verify [--only NAME]... [--list]

  --only NAME   run this part and those that it needs; may be given several times
  --list        name the parts, in order, and what each does

What it makes lies under target/verify: the log of each part in logs, screenshots in artefacts.";

/// What the command line asks for.
#[derive(Debug, PartialEq)]
enum Wish {
    /// Run the parts of these names and those that they need; all, when there is no name.
    Run(Vec<String>),
    List,
    Help,
}

fn main() -> ExitCode {
    match wish_of(std::env::args().skip(1)) {
        Ok(Wish::Run(names)) => run(&names),
        Ok(Wish::List) => {
            for part in PARTS {
                println!("{:<10} {}", part.name, part.does);
            }
            ExitCode::SUCCESS
        }
        Ok(Wish::Help) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(what) => {
            eprintln!("{what}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn wish_of(mut words: impl Iterator<Item = String>) -> Result<Wish, String> {
    let mut names = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list" => return Ok(Wish::List),
            "--help" | "-h" => return Ok(Wish::Help),
            "--only" => {
                let name = words.next().ok_or("--only wants the name of a part")?;
                if !PARTS.iter().any(|part| part.name == name) {
                    return Err(format!("there is no part `{name}`; --list names them"));
                }
                names.push(name);
            }
            other => return Err(format!("`{other}` is not an option")),
        }
    }
    Ok(Wish::Run(names))
}

/// The parts of these names and all that they need, in the order in which they run.
fn chosen(names: &[String]) -> Vec<&'static Part> {
    let mut wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    // A part needs only parts that stand before it, so one walk from the end finds all.
    for part in PARTS.iter().rev() {
        if wanted.contains(&part.name) {
            wanted.extend(part.needs);
        }
    }
    PARTS
        .iter()
        .filter(|part| names.is_empty() || wanted.contains(&part.name))
        .collect()
}

fn run(names: &[String]) -> ExitCode {
    let place = match Place::prepare() {
        Ok(place) => place,
        Err(what) => {
            eprintln!("{what}");
            println!("0 passed, 1 failed");
            return ExitCode::FAILURE;
        }
    };
    let began = Instant::now();
    let mut total = Tally::default();
    let mut good = HashMap::new();
    let mut first_failure = None;
    for part in chosen(names) {
        // The name stands there before the part runs: a run that hangs shows where.
        print!("{:<10} ", part.name);
        let _ = std::io::stdout().flush();
        let part_began = Instant::now();
        let (tally, failure) = outcome(part, &place, &good);
        let took = seconds(part_began.elapsed());
        match &failure {
            None => println!("ok      {took}  {}", tally.said()),
            Some(what) => println!("FAILED  {took}  {}", what.lines().next().unwrap_or("")),
        }
        good.insert(part.name, failure.is_none());
        total += tally;
        if let (Some(what), None) = (failure, &first_failure) {
            first_failure = Some((part.name, what));
        }
    }
    println!("{:<10}         {}", "all", seconds(began.elapsed()));
    if let Some((name, what)) = &first_failure {
        let path = place.log(name);
        let said = std::fs::read(&path).unwrap_or_default();
        println!(
            "\nThe first failure, {name}, in full (also in {}):\n\n{}\n{what}\n",
            path.display(),
            String::from_utf8_lossy(&said)
        );
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    if first_failure.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs one part, unless one that it needs has failed. What it counted, and what went wrong.
fn outcome(part: &Part, place: &Place, good: &HashMap<&str, bool>) -> (Tally, Option<String>) {
    if let Some(need) = part.needs.iter().find(|need| !good[**need]) {
        return (
            Tally::FAILED,
            Some(format!("not run, since `{need}` failed")),
        );
    }
    let result = Log::create(&place.log(part.name)).and_then(|mut log| (part.run)(place, &mut log));
    match result {
        Ok(tally) if tally.failed == 0 => (tally, None),
        Ok(tally) => (tally, Some(format!("{} failed", tally.failed))),
        Err(what) => (Tally::FAILED, Some(what)),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:>7.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> impl Iterator<Item = String> {
        line.split_whitespace()
            .map(String::from)
            .collect::<Vec<_>>()
            .into_iter()
    }

    #[test]
    fn the_command_line_is_read_strictly() {
        for (line, want) in [
            ("", Ok(Wish::Run(vec![]))),
            ("--list", Ok(Wish::List)),
            ("-h", Ok(Wish::Help)),
            ("--only fmt", Ok(Wish::Run(vec!["fmt".into()]))),
            (
                "--only fmt --only unit",
                Ok(Wish::Run(vec!["fmt".into(), "unit".into()])),
            ),
            ("--only", Err("wants the name")),
            ("--only bread", Err("no part `bread`")),
            ("fast", Err("`fast` is not an option")),
        ] {
            match (wish_of(words(line)), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{line}"),
                (Err(got), Err(want)) => assert!(got.contains(want), "{line}: {got}"),
                (got, want) => panic!("{line}: got {got:?}, want {want:?}"),
            }
        }
    }

    #[test]
    fn a_chosen_part_brings_all_that_it_needs() {
        let names = |wish: &[&str]| {
            let wish: Vec<String> = wish.iter().map(|name| (*name).to_owned()).collect();
            chosen(&wish)
                .iter()
                .map(|part| part.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&["fmt"]), ["tools", "fmt"]);
        assert_eq!(names(&["e2e"]), ["tools", "python", "build", "e2e"]);
        assert_eq!(names(&[]).len(), PARTS.len());
    }

    #[test]
    fn a_part_needs_only_parts_that_stand_before_it() {
        for (at, part) in PARTS.iter().enumerate() {
            for need in part.needs {
                assert!(
                    PARTS[..at].iter().any(|earlier| earlier.name == *need),
                    "{} needs {need}",
                    part.name
                );
            }
        }
    }
}
