//! What `threadbook lessons test` does with one lesson: runs it in a kernel until what it says is proven.
//!
//! Knows nothing of sockets: who runs cells comes in as a [`Runner`]. Every cell is run more than once, since a claim must hold on every schedule; and the
//! demos in another order, since learners edit and run again what they like.

use std::time::Duration;

use serde_json::{Value, json};

use super::exercise::{Exercise, exercise_id};
use super::notebook::{Neighbours, source, to_notebook};
use super::parse::Lesson;
use super::proof::{Attempt, Proof};
use super::verify::problems;
use super::{Mistake, proof_path};

/// Longest time that a cell may take. A wrong solution that never ends is ended by the kernel's deadlock detector, or by this.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a cell is run in a row that can show nothing new the third time: a definition, a refused cell.
const IN_A_ROW: u32 = 2;

/// A kernel that runs the cells of a lesson.
pub trait Runner {
    /// Runs a cell, and gives its outputs as a notebook has them; `Ok(None)` when it did not end within `patience`.
    ///
    /// # Errors
    /// When the kernel is gone.
    fn run(&mut self, code: &str, patience: Duration) -> anyhow::Result<Option<Vec<Value>>>;

    /// Begins anew, as "Restart kernel" does.
    ///
    /// # Errors
    /// When no kernel starts.
    fn restart(&mut self) -> anyhow::Result<()>;
}

/// How a lesson is proven.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// How often each demo is run in a row, at least 2.
    pub runs: u32,
    /// On what, in words: "one core".
    pub place: &'a str,
}

/// Proves a lesson in a kernel that has run nothing yet. `told` hears, in a few words, what is being done.
///
/// # Errors
/// When the kernel does not start again after a cell has ended it.
pub fn prove(
    lesson: &Lesson,
    proofs: &[Proof],
    runner: &mut dyn Runner,
    wish: Wish<'_>,
    told: &dyn Fn(&str),
) -> anyhow::Result<Vec<Mistake>> {
    let mut proving = Proving {
        lesson,
        runner,
        wish,
        told,
        mistakes: Vec::new(),
    };
    proving.demos()?;
    for exercise in &lesson.exercises {
        let proof = proofs.iter().find(|proof| proof.id == exercise.id);
        proving.exercise(exercise, proof)?;
    }
    Ok(proving.mistakes)
}

struct Proving<'a> {
    lesson: &'a Lesson,
    runner: &'a mut dyn Runner,
    wish: Wish<'a>,
    told: &'a dyn Fn(&str),
    mistakes: Vec<Mistake>,
}

/// What came of a piece of code.
struct Ended {
    /// The names of its errors.
    errors: Vec<String>,
    /// All that the errors say.
    said: String,
}

impl Proving<'_> {
    fn mistake(&mut self, file: &std::path::Path, line: usize, what: &str) {
        self.mistakes.push(Mistake {
            file: file.to_owned(),
            line,
            what: format!("on {}: {what}", self.wish.place),
        });
    }

    /// The first demo, then the others from the last to the second, then each in order, several times in a row.
    fn demos(&mut self) -> anyhow::Result<()> {
        let notebook = to_notebook(self.lesson, &Neighbours::default());
        let mut cells: Vec<Value> = notebook["cells"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|cell| is_demo(cell))
            .cloned()
            .collect();
        let count = cells.len();
        let mut good = vec![true; count];
        let another_order = (0..count.min(1)).chain((1..count).rev());
        for (nth, at) in another_order.enumerate() {
            (self.told)(&format!("demo {} of {count}, in another order", at + 1));
            let when = if nth == 0 {
                "run first of all"
            } else {
                "run after the first cell and those below it"
            };
            good[at] = self.demo(&mut cells[at], when)?;
        }
        for at in 0..count {
            let runs = if depends_on_the_schedule(&cells[at]) {
                self.wish.runs
            } else {
                IN_A_ROW
            };
            for run in 1..=runs {
                if !good[at] {
                    break;
                }
                (self.told)(&format!("demo {} of {count}, run {run} of {runs}", at + 1));
                good[at] = self.demo(&mut cells[at], &format!("run {run} of {runs}"))?;
            }
        }
        Ok(())
    }

    /// Runs a demo and holds it against what it claims; whether all was so.
    fn demo(&mut self, cell: &mut Value, when: &str) -> anyhow::Result<bool> {
        let line = cell["metadata"]["threadbook"]["line"]
            .as_u64()
            .and_then(|line| usize::try_from(line).ok())
            .unwrap_or(1);
        let file = self.lesson.path.clone();
        let outputs = match self.outputs(&source(&cell["source"]))? {
            Ok(outputs) => outputs,
            Err(what) => {
                self.mistake(&file, line, &format!("{when}: {what}"));
                return Ok(false);
            }
        };
        cell["outputs"] = Value::Array(outputs);
        cell["execution_count"] = json!(1);
        let wrong = problems(cell);
        for what in &wrong {
            self.mistake(&file, line, &format!("{when}: {what}"));
        }
        Ok(wrong.is_empty())
    }

    /// The outputs of a cell; `Err` in words when it did not come to an end, after which the kernel is a new one.
    fn outputs(&mut self, code: &str) -> anyhow::Result<Result<Vec<Value>, String>> {
        let what = match self.runner.run(code, PATIENCE) {
            Ok(Some(outputs)) => return Ok(Ok(outputs)),
            Ok(None) => format!(
                "the cell did not end within {} s; the cells after it run in a new kernel",
                PATIENCE.as_secs()
            ),
            Err(error) => format!("the cell ended the kernel: {error:#}"),
        };
        self.runner.restart()?;
        Ok(Err(what))
    }

    fn exercise(&mut self, exercise: &Exercise, proof: Option<&Proof>) -> anyhow::Result<()> {
        let lesson = self.lesson.path.clone();
        (self.told)(&format!("exercise {}, unsolved", exercise.id));
        let stub = self.ended(&exercise.stub.text)?;
        if stub.as_ref().map_or(true, |ended| !ended.errors.is_empty()) {
            self.mistake(
                &lesson,
                exercise.stub.line,
                &format!("the stub should be good, and {}", how(&stub)),
            );
        } else {
            let check = self.ended(&exercise.check.text)?;
            match &check {
                Ok(ended) if ended.is_refused() => self.mistake(
                    &lesson,
                    exercise.check.line,
                    &format!(
                        "the check does not compile with the stub; it {}",
                        how(&check)
                    ),
                ),
                Ok(ended) if !ended.errors.is_empty() => {}
                _ => self.mistake(
                    &lesson,
                    exercise.check.line,
                    &format!(
                        "the check of the unsolved exercise should fail, and {}",
                        how(&check)
                    ),
                ),
            }
        }
        let solution = Attempt {
            title: "the solution".to_owned(),
            code: exercise.solution.clone(),
            fails: None,
        };
        self.right(exercise, &solution, &lesson)?;
        let Some(proof) = proof else { return Ok(()) };
        let path = proof_path(self.lesson);
        for attempt in &proof.right {
            self.right(exercise, attempt, &path)?;
        }
        // Last, since some of them leave threads behind that wait for ever.
        for attempt in &proof.wrong {
            self.wrong(exercise, attempt, &path)?;
        }
        Ok(())
    }

    fn right(
        &mut self,
        exercise: &Exercise,
        attempt: &Attempt,
        file: &std::path::Path,
    ) -> anyhow::Result<()> {
        (self.told)(&format!(
            "exercise {}, right: {}",
            exercise.id, attempt.title
        ));
        let ended = self.solved(exercise, attempt)?;
        if ended
            .as_ref()
            .map_or(true, |ended| !ended.errors.is_empty())
        {
            self.mistake(
                file,
                attempt.code.line,
                &format!(
                    "`{}` should pass its check, and {}",
                    attempt.title,
                    how(&ended)
                ),
            );
        }
        Ok(())
    }

    fn wrong(
        &mut self,
        exercise: &Exercise,
        attempt: &Attempt,
        file: &std::path::Path,
    ) -> anyhow::Result<()> {
        (self.told)(&format!(
            "exercise {}, wrong: {}",
            exercise.id, attempt.title
        ));
        let ended = self.solved(exercise, attempt)?;
        let words = attempt.fails.as_deref().unwrap_or_default();
        let title = &attempt.title;
        let what = match &ended {
            Ok(ended) if ended.is_refused() => format!(
                "`{title}` should compile, and {}",
                how(&Ok::<_, String>(ended))
            ),
            Ok(ended) if ended.errors.is_empty() => {
                format!("`{title}` should fail its check by `{words}`, and passed it")
            }
            Ok(ended) if ended.said.contains(words) => return Ok(()),
            ended => format!(
                "`{title}` should fail its check by `{words}`, and {}",
                how(ended)
            ),
        };
        self.mistake(file, attempt.code.line, &what);
        Ok(())
    }

    /// A solution and the check, in one cell: half as many to compile.
    fn solved(
        &mut self,
        exercise: &Exercise,
        attempt: &Attempt,
    ) -> anyhow::Result<Result<Ended, String>> {
        self.ended(&format!("{}\n{}", attempt.code.text, exercise.check.text))
    }

    fn ended(&mut self, code: &str) -> anyhow::Result<Result<Ended, String>> {
        Ok(self.outputs(code)?.map(|outputs| Ended::of(&outputs)))
    }
}

impl Ended {
    fn of(outputs: &[Value]) -> Ended {
        let mut ended = Ended {
            errors: Vec::new(),
            said: String::new(),
        };
        for error in outputs
            .iter()
            .filter(|output| output["output_type"] == "error")
        {
            let name = error["ename"].as_str().unwrap_or_default();
            ended.errors.push(name.to_owned());
            let lines = error["traceback"].as_array().into_iter().flatten();
            let lines: Vec<&str> = lines.filter_map(Value::as_str).collect();
            let value = error["evalue"].as_str().unwrap_or_default();
            ended.said += &format!("{name}: {value}\n{}\n", lines.join("\n"));
        }
        ended
    }

    /// Whether the compiler refused it: by a code of its own, or without one.
    fn is_refused(&self) -> bool {
        let codes = |name: &String| {
            name == "Compile"
                || name == "Refused"
                || (name.len() == 5
                    && name.starts_with('E')
                    && name[1..].bytes().all(|byte| byte.is_ascii_digit()))
        };
        self.errors.iter().any(codes)
    }
}

/// How a piece of code ended, in words that go on a sentence.
fn how<E: std::borrow::Borrow<Ended>>(ended: &Result<E, String>) -> String {
    match ended {
        Ok(ended) => match ended.borrow().said.lines().next() {
            None => "ended without an error".to_owned(),
            Some(first) => format!("ended with {first}"),
        },
        Err(what) => what.clone(),
    }
}

/// Whether a cell of the notebook is run when the lesson is built, and is no exercise.
fn is_demo(cell: &Value) -> bool {
    let skipped = cell["metadata"]["tags"]
        .as_array()
        .is_some_and(|tags| tags.iter().any(|tag| tag == "skip-execution"));
    cell["cell_type"] == "code" && !skipped && exercise_id(&source(&cell["source"])).is_none()
}

/// Whether what a cell does can differ from run to run: it claims something, or ends badly while it runs.
fn depends_on_the_schedule(cell: &Value) -> bool {
    let ours = &cell["metadata"]["threadbook"];
    ours["shows"].is_array() || ours["expects"] == "Panic" || ours["expects"] == "Deadlock"
}
