//! What is measured, and how.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;
use threadbook::run::client::{Kernel, Program};

use crate::{floor, memory};

/// How often.
#[derive(Clone)]
pub struct Plan {
    pub starts: usize,
    pub cells: usize,
}

/// A kernel that is measured.
pub struct Who {
    pub name: &'static str,
    program: Program,
    is_ours: bool,
}

impl Who {
    pub fn ours() -> Who {
        let program = Path::new(env!("CARGO_BIN_EXE_threadbook"));
        Who {
            name: "threadbook",
            program: Program::of_spec(
                program,
                &["kernel", "--connection-file", "{connection_file}"],
            ),
            is_ours: true,
        }
    }

    pub fn peer(program: &Path) -> Who {
        Who {
            name: "evcxr_jupyter",
            program: Program::of_spec(program, &["--control_file", "{connection_file}"]),
            is_ours: false,
        }
    }
}

/// What a row is about. In the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    Info,
    First,
    Restart,
    Cell(usize),
    Again,
    Completion,
    Dep,
    Memory,
    /// What our pictures and copies cost: the same cell with them and without.
    With,
    Without,
    /// A bare rustc for the text of a cell of ours.
    Floor(usize),
}

/// The kinds of cells: name and text, in which `@` is a new number each time.
pub const CELLS: [(&str, &str); 7] = [
    ("`1 + 1`", "@ + 1"),
    ("`println!`", "println!(\"hello @\");"),
    (
        "`let` with an expression",
        "let v@ = vec![1, 2, 3];\nv@.len()",
    ),
    (
        "4 threads joined",
        "{ let all: Vec<_> = (0..4).map(|n| std::thread::spawn(move || n + @)).collect(); let sum: i32 = all.into_iter().map(|t| t.join().unwrap()).sum(); println!(\"{sum}\"); }",
    ),
    (
        "4 senders on a channel",
        "{ let (tx, rx) = std::sync::mpsc::channel(); for n in 0..4 { let tx = tx.clone(); std::thread::spawn(move || tx.send(n + @).unwrap()); } drop(tx); let mut all: Vec<i32> = rx.iter().collect(); all.sort(); println!(\"{all:?}\"); }",
    ),
    ("a function", "fn f@(n: i32) -> i32 { n * 2 }"),
    ("a type error", "let e@: i32 = \"no\";"),
];

/// The first cell: threads, a channel, `let`.
const FIRST: &str =
    "let threads: Vec<_> = (0..4).map(|n| std::thread::spawn(move || n * n)).collect();
let (tx, rx) = std::sync::mpsc::channel();
tx.send(threads.into_iter().map(|t| t.join().unwrap()).sum::<i32>()).unwrap();
let got = rx.recv().unwrap();";

/// A cell whose tasks are recorded and drawn.
const DRAWN: &str = "{ let (tx, rx) = channel(); for n in 0..4 { let tx = tx.clone(); spawn(move || tx.send(n + @).unwrap()); } drop(tx); println!(\"{}\", rx.iter().sum::<i32>()); }";

/// Times in milliseconds, or megabytes, by kernel and row.
pub type Figures = Vec<(&'static str, BTreeMap<Row, Vec<f64>>)>;

/// Measures each kernel by turns: a start, and all that is asked after it.
pub fn by_turns(all: &[Who], plan: &Plan) -> anyhow::Result<Figures> {
    let mut figures: Figures = all.iter().map(|who| (who.name, BTreeMap::new())).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut number = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_millis() as u64
        % 100_000_000;
    // The first start of a new version prepares what the others find.
    for who in all {
        runtime.block_on(async {
            let mut kernel = who.start().await?;
            kernel.run("1 + 1").await?;
            kernel.end().await;
            anyhow::Ok(())
        })?;
    }
    for start in 0..plan.starts {
        for (who, (name, rows)) in all.iter().zip(&mut figures) {
            eprintln!("{name}, start {} of {}", start + 1, plan.starts);
            runtime.block_on(one_start(who, plan, rows, &mut number))?;
        }
    }
    Ok(figures)
}

async fn one_start(
    who: &Who,
    plan: &Plan,
    rows: &mut BTreeMap<Row, Vec<f64>>,
    number: &mut u64,
) -> anyhow::Result<()> {
    let mut add = |row: Row, figure: f64| rows.entry(row).or_default().push(figure);
    let began = Instant::now();
    let mut kernel = who.start().await?;
    add(Row::Info, milliseconds(kernel.kernel.ready_after()));
    kernel.run(FIRST).await?;
    add(Row::First, milliseconds(began.elapsed()));

    let began = Instant::now();
    kernel.kernel.end(true).await;
    let mut kernel = who.start().await?;
    kernel.run(FIRST).await?;
    add(Row::Restart, milliseconds(began.elapsed()));
    if let Some(megabytes) = memory::of_all(kernel.kernel.process()) {
        add(Row::Memory, megabytes);
    }

    for _ in 0..plan.cells {
        for (kind, (_, text)) in CELLS.iter().enumerate() {
            *number += 1;
            let code = text.replace('@', &number.to_string());
            add(Row::Cell(kind), kernel.run(&code).await?);
            if who.is_ours {
                let floor = floor::bare_rustc(&floor::work_of(kernel.kernel.process())?)?;
                add(Row::Floor(kind), milliseconds(floor));
            }
        }
        *number += 1;
        let code = CELLS[4].1.replace('@', &number.to_string());
        kernel.run(&code).await?;
        add(Row::Again, kernel.run(&code).await?);
        add(Row::Completion, kernel.complete().await?);
        if who.is_ours {
            for row in [Row::With, Row::Without] {
                let (on, timeline) = if row == Row::With {
                    ("on", "auto")
                } else {
                    ("off", "off")
                };
                kernel
                    .run(&format!(":snapshots {on}\n:timeline {timeline}"))
                    .await?;
                *number += 1;
                add(
                    row,
                    kernel.run(&DRAWN.replace('@', &number.to_string())).await?,
                );
            }
            kernel.run(":snapshots on\n:timeline auto").await?;
        }
    }
    // A small crate that evcxr's own dependencies have brought onto this disk.
    let began = Instant::now();
    kernel.run(":dep cfg-if = \"1\"\n1 + 1").await?;
    add(Row::Dep, milliseconds(began.elapsed()));
    kernel.end().await;
    Ok(())
}

struct Running {
    kernel: Kernel,
    /// Its folder, until it has ended.
    _folder: tempfile::TempDir,
}

impl Who {
    async fn start(&self) -> anyhow::Result<Running> {
        let folder = tempfile::tempdir()?;
        let environment = [
            ("THREADBOOK_HISTORY", "off"),
            ("THREADBOOK_PROGRESS", "off"),
        ];
        let kernel = Kernel::start(&self.program, folder.path(), &environment).await?;
        Ok(Running {
            kernel,
            _folder: folder,
        })
    }
}

impl Running {
    /// Runs a cell; how long it took. A cell that has "no" for a number is to fail, every other one not.
    async fn run(&mut self, code: &str) -> anyhow::Result<f64> {
        let mut errors = Vec::new();
        let began = Instant::now();
        let reply = self.kernel.execute(code, |msg_type, content| {
            if msg_type == "error" {
                errors.push(content.clone());
            }
        });
        let reply = reply.await?;
        let took = began.elapsed();
        let status = reply.get("status").and_then(serde_json::Value::as_str);
        let wanted = if code.contains("\"no\"") {
            "error"
        } else {
            "ok"
        };
        if status != Some(wanted) {
            bail!("a cell ended with {status:?}:\n{code}\n{errors:?}");
        }
        Ok(milliseconds(took))
    }

    /// Asks what can be done with a vector.
    async fn complete(&mut self) -> anyhow::Result<f64> {
        let code = "let loaves = vec![1u8, 2];\nloaves.le";
        let began = Instant::now();
        let reply = self.kernel.ask(
            "complete_request",
            json!({"code": code, "cursor_pos": code.len()}),
        );
        let reply = reply.await?;
        let took = began.elapsed();
        let matches = reply.get("matches").context("a reply without matches")?;
        let offers = matches.as_array().is_some_and(|all| {
            all.iter()
                .any(|text| text.as_str().is_some_and(|text| text.contains("len")))
        });
        if !offers {
            bail!("`len` was not offered: {matches}");
        }
        Ok(milliseconds(took))
    }

    async fn end(self) {
        self.kernel.end(false).await;
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
