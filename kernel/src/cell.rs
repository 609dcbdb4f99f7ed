//! What the session asks of the evaluator, and what comes back: the whole of what the two know of each other.
//!
//! Plain values. Knows nothing of Jupyter's messages, nor of evcxr.

use serde_json::{Map, Value};

/// The ticket of a job: given by the session, carried by every event that the job causes.
pub type JobId = u64;

/// One output in several forms: from MIME type to content (text as a JSON string, `+json` types as they are).
pub type MimeBundle = Map<String, Value>;

/// What the evaluator is asked to do. Jobs are done one at a time, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Job {
    /// Run a cell. Ends with [`Event::Finished`].
    Execute {
        /// The ticket.
        job: JobId,
        /// The number that the notebook shows in brackets; names the cell in errors and pictures.
        execution_count: u32,
        /// The cell's text.
        code: String,
        /// Whether whoever sent it can be asked for input.
        allow_stdin: bool,
    },
    /// What could stand at `cursor`. Ends with [`Event::Completed`].
    Complete {
        /// The ticket.
        job: JobId,
        /// The cell's text.
        code: String,
        /// Byte offset in `code`, on a character boundary.
        cursor: usize,
    },
    /// What the name at `cursor` is. Ends with [`Event::Inspected`].
    Inspect {
        /// The ticket.
        job: JobId,
        /// The cell's text.
        code: String,
        /// Byte offset in `code`, on a character boundary.
        cursor: usize,
    },
}

/// What the evaluator reports, in the order in which it happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The evaluator is warm: the next cell waits for nothing but itself. `seconds` since the kernel's start.
    Ready {
        /// Seconds from the start of the evaluator to now.
        seconds: f64,
    },
    /// The evaluator could not start; every job ends with this error from now on.
    Broken {
        /// What happened and what to do next, in sentences.
        message: String,
    },
    /// Output of the learner's process. `None`: it came while no cell ran, and belongs to the cell that ran last.
    Stream {
        /// Whose.
        job: Option<JobId>,
        /// Which of the two.
        name: StreamName,
        /// Whole characters, not necessarily whole lines.
        text: String,
    },
    /// Something to show, in its place between the streams.
    Display {
        /// Whose.
        job: Option<JobId>,
        /// Its forms.
        bundle: MimeBundle,
        /// By which later versions of it name it, when there may be some.
        id: Option<String>,
    },
    /// A later version of a display, to be shown in its place.
    Update {
        /// Whose the display is, or who changed it.
        job: Option<JobId>,
        /// The display's.
        id: String,
        /// Its new forms.
        bundle: MimeBundle,
    },
    /// What the cell has shown so far is to be taken away.
    ClearOutput {
        /// Whose.
        job: Option<JobId>,
        /// Only when the next output comes.
        wait: bool,
    },
    /// The cell waits for a line that a person types.
    InputRequest {
        /// Whose.
        job: JobId,
        /// What is asked; may be empty.
        prompt: String,
        /// Whether the answer is not to be shown.
        password: bool,
    },
    /// A cell came to its end. Everything that it printed was reported before.
    Finished {
        /// Whose.
        job: JobId,
        /// How.
        outcome: Outcome,
    },
    /// The answer to [`Job::Complete`], or `None` when the evaluator failed to give one.
    Completed {
        /// Whose.
        job: JobId,
        /// What could stand there.
        found: Option<Completions>,
    },
    /// The answer to [`Job::Inspect`]: forms of the documentation, or `None` when nothing is known.
    Inspected {
        /// Whose.
        job: JobId,
        /// Its forms.
        bundle: Option<MimeBundle>,
    },
}

/// What could stand at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completions {
    /// First byte of the text to replace.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
    /// What could stand there.
    pub matches: Vec<Completion>,
}

/// Standard output or standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamName {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a cell came to its end.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// The picture of what its threads did, when there is something to see. Shown below the printed output, before result and error.
    pub picture: Option<MimeBundle>,
    /// The value of its last expression, when it has one.
    pub result: Option<MimeBundle>,
    /// Why it is red, when it is.
    pub error: Option<CellError>,
    /// The text that is to stand in the cell from now on, in place of what was run.
    pub cell: Option<String>,
}

/// Why a cell is red, in the three parts that Jupyter has for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellError {
    /// What kind: a compiler's code such as `E0382`, or `Panic`, `Error`, `Interrupted`, `Exit`, `Signal`, `Kernel`.
    pub ename: String,
    /// What happened, in one sentence.
    pub evalue: String,
    /// What the notebook shows: lines, ANSI colours allowed, with the cell's own line numbers.
    pub traceback: Vec<String>,
}

/// One thing that could stand at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The text to put in.
    pub text: String,
    /// What it is, in the words that JupyterLab has icons for: `function`, `struct`, `keyword`, ….
    pub kind: String,
    /// A longer form, such as a function's signature.
    pub label: String,
}
