//! The session: what a Jupyter kernel says and when, as a machine of values.
//!
//! [`Session::handle`] takes what happened and gives what is to be done. There is no socket in it, no clock, no evcxr, and nothing waits: conversations
//! are tested as tables. Whatever a request says, and whatever fails: `busy`, one reply, `idle`.
//! Rules: <https://jupyter-client.readthedocs.io/en/stable/messaging.html>.

mod cursor;
mod history;
mod is_complete;
mod names;
mod parsing;
mod reply;
mod request;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use self::history::History;
use self::is_complete::Completeness;
use self::reply::Origin;
use self::request::{Execute, Request};
use crate::cell::{CellError, Completions, Event, Job, JobId, MimeBundle, Outcome, StreamName};
use crate::past::Line;
use crate::wire::Channel;
use crate::wire::frame::{Header, Message};

pub use self::names::Names;
pub use self::reply::Versions;

/// How many of the latest cells are known by their tickets, so that output of their threads finds its cell after they have ended.
const CELLS_KNOWN: usize = 256;

/// How many subshells there can be at once.
const SUBSHELLS: usize = 256;
/// The longest cell, in bytes of text.
const LONGEST_CELL: usize = 1 << 20;

const AFTER_AN_ERROR: &str = "not run, since a cell before it failed";
const ANOTHER_QUESTION: &str = "the kernel's evaluator answered another question";
const OF_A_SUBSHELL: &str = "not run, since its subshell was deleted";
const CUT_SHORT: &str = "not run to its end, since the kernel shuts down";

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The sockets are open. The first input, once.
    Started,
    /// A client asks for something.
    Request {
        /// Where: shell or control.
        channel: Channel,
        /// What.
        message: Message,
    },
    /// Something came on the stdin channel: a person's answer, unless a client is mistaken.
    Answer(Message),
    /// The evaluator reports.
    Evaluator(Event),
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Answer a request.
    Reply {
        /// On the socket that it came from.
        channel: Channel,
        /// Whom, and in answer to what.
        to: Asker,
        /// The type of the answer.
        msg_type: String,
        /// Its content.
        content: Map<String, Value>,
    },
    /// Tell everybody, on iopub.
    Publish {
        /// What caused it, when a request did.
        parent: Option<Header>,
        /// The type of the message.
        msg_type: &'static str,
        /// Its content.
        content: Map<String, Value>,
    },
    /// Ask a person, on stdin.
    Ask {
        /// Whoever sent the cell that asks.
        to: Asker,
        /// The question.
        content: Map<String, Value>,
    },
    /// Give the cell that asked its answer.
    Answer(String),
    /// Give the evaluator a job.
    Evaluate(Job),
    /// Stop the cell that runs.
    Interrupt,
    /// End the kernel.
    Shutdown {
        /// Whether it will be started again.
        restart: bool,
    },
    /// Keep a line of history for later sessions.
    Remember(Line),
    /// Write a line to the kernel's log.
    Log(String),
}

/// Who asked, and with which message.
#[derive(Debug, Clone, PartialEq)]
pub struct Asker {
    /// The peer, as the socket names it.
    pub identities: Vec<Bytes>,
    /// The header of the request.
    pub header: Header,
}

/// The state of a conversation between a kernel and all its clients.
pub struct Session {
    versions: Versions,
    /// The number of the latest cell that was counted.
    execution_count: u32,
    next_job: JobId,
    /// The job that the evaluator has.
    running: Option<Running>,
    /// Jobs that wait for it.
    waiting: VecDeque<(Asker, Channel, Work)>,
    /// The latest cells, oldest first, by the tickets that their output carries. Silent ones have no header: what they print is not shown.
    cells: VecDeque<(JobId, Option<Header>)>,
    history: History,
    names: Names,
    /// The subshells, oldest first.
    subshells: Vec<String>,
    /// How many there ever were.
    subshells_made: u64,
    /// Whether the evaluator has started.
    ready: bool,
    /// Why no cell can run, when that is so.
    broken: Option<String>,
}

/// What only the evaluator can answer.
enum Work {
    Execute(Execute),
    /// A cell that is too much for it.
    Refuse {
        execute: Execute,
        why: String,
    },
    Complete {
        code: String,
        cursor: usize,
    },
    Inspect {
        code: String,
        cursor: usize,
        whole: bool,
    },
}

impl Work {
    fn is_a_cell(&self) -> bool {
        matches!(self, Work::Execute(_) | Work::Refuse { .. })
    }
}

/// What is still to be evaluated, by its name, and what the others gave.
type Expressions = (VecDeque<(String, Value)>, Map<String, Value>);

struct Running {
    job: JobId,
    asker: Asker,
    channel: Channel,
    work: Work,
    /// The number of the cell, when it is one.
    execution_count: u32,
    /// Whether it waits for an answer.
    asks: bool,
    /// What of its expressions is still to be evaluated, and what the others gave. `Some` once the cell itself has come to its end.
    expressions: Option<Expressions>,
    /// What the client is to do besides, when the cell has come to its end.
    payload: Vec<Value>,
}

impl Session {
    /// Makes the session of a kernel that has just started. `names`: what is known before any cell has run. `past`: the cells of earlier sessions, and
    /// `number`, which this one is.
    pub fn new(versions: Versions, names: Names, past: Vec<Line>, number: i64) -> Session {
        Session {
            versions,
            execution_count: 0,
            next_job: 1,
            running: None,
            waiting: VecDeque::new(),
            cells: VecDeque::new(),
            history: History::new(past, number),
            names,
            subshells: Vec::new(),
            subshells_made: 0,
            ready: false,
            broken: None,
        }
    }

    /// Takes what happened and gives what is to be done about it, in order.
    pub fn handle(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Started => out.push(publish(None, "status", reply::status("starting"))),
            Input::Request { channel, message } => self.request(channel, message, &mut out),
            Input::Answer(message) => self.answered(&message, &mut out),
            Input::Evaluator(event) => self.event(event, &mut out),
        }
        out
    }

    /// A person's answer, when it comes from where the question went. A late one, to a cell that is over, is nothing.
    fn answered(&mut self, message: &Message, out: &mut Vec<Output>) {
        let asked = self
            .running
            .as_mut()
            .filter(|running| running.asks && running.asker.identities == message.identities);
        match asked {
            Some(running) if message.header.msg_type == "input_reply" => {
                running.asks = false;
                let text = message.content.get("value").and_then(Value::as_str);
                out.push(Output::Answer(text.unwrap_or_default().to_owned()));
            }
            _ => out.push(Output::Log(format!(
                "stdin: a {} that no cell waits for",
                message.header.msg_type
            ))),
        }
    }

    fn request(&mut self, channel: Channel, message: Message, out: &mut Vec<Output>) {
        let asker = Asker {
            identities: message.identities,
            header: message.header,
        };
        let msg_type = asker.header.msg_type.clone();
        let request = match Request::parse(&msg_type, message.content) {
            Ok(request) => request,
            Err(error) => {
                let refusal = reply::refused(&format!(
                    "the content of this {msg_type} is not as the protocol says: {error}"
                ));
                out.push(Output::Log(format!(
                    "{channel}: refused a {msg_type}: {error}"
                )));
                return self.answer(channel, asker, Some(refusal), out);
            }
        };
        if let Some(unknown) = self.unknown_subshell(channel, &asker.header) {
            let refusal = reply::refused(&format!("there is no subshell {unknown:?}"));
            let expects_a_reply = msg_type.ends_with("_request");
            return self.answer(
                channel,
                asker,
                Some(refusal).filter(|_| expects_a_reply),
                out,
            );
        }
        match request {
            // evcxr has one context, so the cells of all subshells take turns. Everything else is answered at once, in every subshell.
            Request::Execute(execute) => match unfit(&execute.code) {
                None => self.enqueue(asker, channel, Work::Execute(execute), out),
                Some(why) => self.refuse_cell(asker, channel, execute, why, out),
            },
            // What the evaluator knows it can tell only between cells; an editor does not wait that long.
            Request::Complete(request) if self.evaluator_is_taken(&request.code) => {
                let cursor = cursor::to_byte(&request.code, request.cursor_pos);
                let content = self.completions_by_name(&request.code, cursor);
                self.answer(channel, asker, Some(content), out);
            }
            Request::Inspect(request) if self.evaluator_is_taken(&request.code) => {
                let cursor = cursor::to_byte(&request.code, request.cursor_pos);
                let whole = request.detail_level > 0;
                let found = self.names.inspect(&request.code, cursor, whole);
                self.answer(
                    channel,
                    asker,
                    Some(reply::inspection(found, Origin::Names)),
                    out,
                );
            }
            Request::Complete(request) => {
                let cursor = cursor::to_byte(&request.code, request.cursor_pos);
                self.enqueue(
                    asker,
                    channel,
                    Work::Complete {
                        code: request.code,
                        cursor,
                    },
                    out,
                );
            }
            Request::Inspect(request) => {
                let cursor = cursor::to_byte(&request.code, request.cursor_pos);
                self.enqueue(
                    asker,
                    channel,
                    Work::Inspect {
                        code: request.code,
                        cursor,
                        whole: request.detail_level > 0,
                    },
                    out,
                );
            }
            Request::KernelInfo => self.answer(
                channel,
                asker,
                Some(reply::kernel_info(&self.versions)),
                out,
            ),
            Request::IsComplete(request) => self.answer(
                channel,
                asker,
                Some(reply::completeness(Completeness::of(&request.code))),
                out,
            ),
            Request::History(query) => self.answer(
                channel,
                asker,
                Some(reply::history(&self.history.rows(&query))),
                out,
            ),
            Request::CommInfo => {
                self.answer(channel, asker, Some(reply::ok(json!({"comms": {}}))), out);
            }
            Request::CommOpen(open) => {
                let close = publish(
                    Some(&asker.header),
                    "comm_close",
                    fields(json!({"comm_id": open.comm_id.0, "data": {}})),
                );
                out.push(Output::Log(format!(
                    "{channel}: closed a comm, since nothing here is named {:?}",
                    open.target_name
                )));
                self.answer_with(channel, asker, vec![close], None, out);
            }
            Request::CommOther => self.answer(channel, asker, None, out),
            Request::Interrupt => {
                let stop = if self.cell_runs() {
                    vec![Output::Interrupt]
                } else {
                    Vec::new()
                };
                self.answer_with(channel, asker, stop, Some(reply::ok(json!({}))), out);
            }
            Request::Shutdown { restart } => {
                self.abandon_all(out);
                self.answer(
                    channel,
                    asker,
                    Some(reply::ok(json!({"restart": restart}))),
                    out,
                );
                out.push(Output::Shutdown { restart });
            }
            Request::CreateSubshell if self.subshells.len() == SUBSHELLS => {
                let refusal = reply::refused(&format!(
                    "there are {SUBSHELLS} subshells: delete one first"
                ));
                self.answer(channel, asker, Some(refusal), out);
            }
            Request::CreateSubshell => {
                self.subshells_made += 1;
                let subshell_id = format!("subshell-{}", self.subshells_made);
                self.subshells.push(subshell_id.clone());
                let created = reply::ok(json!({"subshell_id": subshell_id}));
                self.answer(channel, asker, Some(created), out);
            }
            Request::DeleteSubshell { subshell_id } => {
                let known = self.subshells.iter().position(|id| *id == subshell_id);
                let content = match known {
                    Some(at) => {
                        self.subshells.remove(at);
                        self.abort_waiting_cells(Some(&Some(subshell_id)), OF_A_SUBSHELL, out);
                        reply::ok(json!({}))
                    }
                    None => reply::refused(&format!("there is no subshell {subshell_id:?}")),
                };
                self.answer(channel, asker, Some(content), out);
            }
            Request::ListSubshells => {
                let list = reply::ok(json!({"subshell_id": self.subshells}));
                self.answer(channel, asker, Some(list), out);
            }
            Request::Debug { seq, command } => {
                let content = reply::no_debugger(&seq, &command);
                self.answer(channel, asker, Some(content), out);
            }
            Request::Unknown => {
                out.push(Output::Log(format!(
                    "{channel}: no answer is known to a {msg_type}"
                )));
                // The protocol leaves this open. A client that asked gets an answer, so that it does not wait for ever.
                let refusal = msg_type
                    .ends_with("_request")
                    .then(|| reply::refused(&format!("this kernel does not know {msg_type}")));
                self.answer(channel, asker, refusal, out);
            }
        }
    }

    /// The subshell that a message names and that there is not. Only shell messages are for subshells.
    fn unknown_subshell<'a>(&self, channel: Channel, header: &'a Header) -> Option<&'a str> {
        let subshell_id = header
            .subshell_id
            .as_ref()
            .filter(|_| channel == Channel::Shell)?;
        (!self.subshells.contains(subshell_id)).then_some(subshell_id)
    }

    /// Ends a cell that must not reach the evaluator, in its turn: as one that failed.
    fn refuse_cell(
        &mut self,
        asker: Asker,
        channel: Channel,
        execute: Execute,
        why: String,
        out: &mut Vec<Output>,
    ) {
        self.enqueue(asker, channel, Work::Refuse { execute, why }, out);
    }

    /// Answers at once.
    fn answer(
        &self,
        channel: Channel,
        asker: Asker,
        content: Option<Map<String, Value>>,
        out: &mut Vec<Output>,
    ) {
        self.answer_with(channel, asker, Vec::new(), content, out);
    }

    /// Answers at once, with `doing` between `busy` and the reply.
    fn answer_with(
        &self,
        channel: Channel,
        asker: Asker,
        doing: Vec<Output>,
        content: Option<Map<String, Value>>,
        out: &mut Vec<Output>,
    ) {
        out.push(publish(
            Some(&asker.header),
            "status",
            reply::status("busy"),
        ));
        out.extend(doing);
        finish(channel, asker, content, out);
        // Clients show the latest status, whatever it answers: without this, the kernel would look idle while its cell goes on.
        if let Some(running) = self
            .running
            .as_ref()
            .filter(|running| matches!(running.work, Work::Execute(_)))
        {
            out.push(publish(
                Some(&running.asker.header),
                "status",
                reply::status("busy"),
            ));
        }
    }

    fn cell_runs(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| matches!(running.work, Work::Execute(_)))
    }

    /// Whether the evaluator cannot tell something of this code at once: it starts, is broken, has a cell to run, or the code is too much for it.
    fn evaluator_is_taken(&self, code: &str) -> bool {
        !self.ready
            || self.broken.is_some()
            || unfit(code).is_some()
            || self.cell_runs()
            || self.waiting.iter().any(|(_, _, work)| work.is_a_cell())
    }

    fn enqueue(&mut self, asker: Asker, channel: Channel, work: Work, out: &mut Vec<Output>) {
        self.waiting.push_back((asker, channel, work));
        self.start_next(out);
    }

    /// Starts what waits, until the evaluator has something to do.
    fn start_next(&mut self, out: &mut Vec<Output>) {
        while self.running.is_none() {
            let Some((asker, channel, work)) = self.waiting.pop_front() else {
                return;
            };
            out.push(publish(
                Some(&asker.header),
                "status",
                reply::status("busy"),
            ));
            self.start(asker, channel, work, out);
        }
    }

    fn start(&mut self, asker: Asker, channel: Channel, work: Work, out: &mut Vec<Output>) {
        let job = self.next_job;
        self.next_job += 1;
        let (work, refusal) = match work {
            Work::Refuse { mut execute, why } => {
                // What nobody can read back is not kept, nor sent to all clients.
                execute.code = shortened(&execute.code);
                (Work::Execute(execute), Some(why))
            }
            work => (work, None),
        };
        let mut running = Running {
            job,
            asker,
            channel,
            work,
            execution_count: self.execution_count,
            asks: false,
            expressions: None,
            payload: Vec::new(),
        };
        let task = match &running.work {
            Work::Execute(execute) => {
                running.execution_count = self.announce(job, execute, &running.asker.header, out);
                let code = execute.code.clone();
                match question(&code) {
                    Some(name) => Some(Job::Inspect {
                        job,
                        code: name.to_owned(),
                        cursor: name.len(),
                    }),
                    None => (!code.trim().is_empty()).then_some(Job::Execute {
                        job,
                        execution_count: running.execution_count,
                        code,
                        allow_stdin: execute.allow_stdin,
                    }),
                }
            }
            Work::Refuse { .. } => None,
            Work::Complete { code, cursor } => Some(Job::Complete {
                job,
                code: code.clone(),
                cursor: *cursor,
            }),
            Work::Inspect { code, cursor, .. } => Some(Job::Inspect {
                job,
                code: code.clone(),
                cursor: *cursor,
            }),
        };
        if let Some(why) = refusal {
            return self.fail(running, kernel_error(&why), out);
        }
        match (task, &self.broken) {
            // Nothing to run, and nothing that could fail.
            (None, _) => self.end_code(running, Outcome::default(), out),
            (Some(task), None) => {
                self.running = Some(running);
                out.push(Output::Evaluate(task));
            }
            (Some(_), Some(message)) => {
                let error = kernel_error(message);
                self.fail(running, error, out);
            }
        }
    }

    /// Counts a cell and shows that it begins, each as far as the request wants it. Gives its number.
    fn announce(
        &mut self,
        job: JobId,
        execute: &Execute,
        header: &Header,
        out: &mut Vec<Output>,
    ) -> u32 {
        let counts = execute.store_history && !execute.silent;
        let execution_count = self.execution_count + 1;
        if counts {
            // Counted before it runs: a cell that kills its process still owns its number.
            self.execution_count = execution_count;
            let line = self.history.add(execution_count, execute.code.clone());
            out.push(Output::Remember(line));
        }
        self.names.begin(&execute.code);
        if !execute.silent {
            let input = fields(json!({"code": execute.code, "execution_count": execution_count}));
            out.push(publish(Some(header), "execute_input", input));
        }
        self.know_cell(job, (!execute.silent).then(|| header.clone()));
        execution_count
    }

    /// Notes whose the output of a job is; `None`: it is not shown.
    fn know_cell(&mut self, job: JobId, header: Option<Header>) {
        if self.cells.len() == CELLS_KNOWN {
            self.cells.pop_front();
        }
        self.cells.push_back((job, header));
    }

    fn event(&mut self, event: Event, out: &mut Vec<Output>) {
        match event {
            Event::Ready { .. } => self.ready = true,
            Event::Broken { message } => {
                out.push(Output::Log(format!("the evaluator is broken: {message}")));
                let error = kernel_error(&message);
                self.broken = Some(message);
                if let Some(running) = self.running.take() {
                    self.fail(running, error, out);
                }
                self.start_next(out);
            }
            Event::Stream { job, name, text } => {
                let name = match name {
                    StreamName::Stdout => "stdout",
                    StreamName::Stderr => "stderr",
                };
                self.show(
                    job,
                    "stream",
                    fields(json!({"name": name, "text": text})),
                    out,
                );
            }
            Event::Display { job, bundle, id } => {
                self.show(job, "display_data", reply::display(bundle, id), out);
            }
            Event::InputRequest {
                job,
                prompt,
                password,
            } => {
                let Some(running) = self.running.as_mut().filter(|cell| cell.job == job) else {
                    return;
                };
                running.asks = true;
                out.push(Output::Ask {
                    to: running.asker.clone(),
                    content: fields(json!({"prompt": prompt, "password": password})),
                });
            }
            Event::Update { job, id, bundle } => {
                let content = reply::display(bundle, Some(id));
                self.show(job, "update_display_data", content, out);
            }
            Event::ClearOutput { job, wait } => {
                self.show(job, "clear_output", fields(json!({"wait": wait})), out);
            }
            Event::Finished { job, outcome } => {
                let Some(running) = self.take_running(job, "finished", out) else {
                    return;
                };
                self.end_code(running, outcome, out);
                self.start_next(out);
            }
            Event::Completed { job, found } => {
                let Some(running) = self.take_running(job, "completed", out) else {
                    return;
                };
                self.end_completion(running, found, out);
                self.start_next(out);
            }
            Event::Inspected { job, bundle } => {
                let Some(running) = self.take_running(job, "inspected", out) else {
                    return;
                };
                self.end_inspection(running, bundle, out);
                self.start_next(out);
            }
        }
    }

    /// Shows output with the cell that it belongs to: its job's, or else the latest.
    fn show(
        &self,
        job: Option<JobId>,
        msg_type: &'static str,
        content: Map<String, Value>,
        out: &mut Vec<Output>,
    ) {
        let known = job.and_then(|job| self.cells.iter().rev().find(|(known, _)| *known == job));
        let header = match known {
            Some((_, None)) => return,
            Some((_, header)) => header.as_ref(),
            None => self
                .cells
                .iter()
                .rev()
                .find_map(|(_, header)| header.as_ref()),
        };
        out.push(publish(header, msg_type, content));
    }

    /// Takes the running job when it is the one that an event ends. Any other was ended by the session, and must not get a second reply.
    fn take_running(&mut self, job: JobId, what: &str, out: &mut Vec<Output>) -> Option<Running> {
        let taken = self.running.take_if(|running| running.job == job);
        if taken.is_none() {
            out.push(Output::Log(format!(
                "the evaluator {what} job {job}, which does not run"
            )));
        }
        taken
    }

    /// Takes what a cell, or one of its expressions, came to. The cell ends when it has no further expression to evaluate.
    fn end_code(&mut self, mut running: Running, outcome: Outcome, out: &mut Vec<Output>) {
        let failed = outcome.error.is_some();
        let (mut left, answers) = match (running.expressions.take(), &mut running.work) {
            (Some((mut left, mut answers)), _) => {
                if let Some((name, _)) = left.pop_front() {
                    answers.insert(name, reply::expression(outcome));
                }
                (left, answers)
            }
            (None, Work::Execute(execute)) => {
                let asked = std::mem::take(&mut execute.user_expressions);
                running
                    .payload
                    .extend(outcome.cell.as_deref().map(reply::replacement));
                self.show_outcome(&running, outcome.clone(), out);
                if failed || asked.is_empty() {
                    return self.end_cell(running, outcome.error.as_ref(), &Map::new(), out);
                }
                (asked.into_iter().collect(), Map::new())
            }
            // The evaluator mixed up its tickets: the request gets its one reply all the same.
            (None, _) => return self.end_cell(running, outcome.error.as_ref(), &Map::new(), out),
        };
        let mut answers = answers;
        while let Some((name, expression)) = left.front() {
            let code = expression.as_str().filter(|code| !code.trim().is_empty());
            let code = match (code, code.and_then(unfit), &self.broken) {
                (Some(code), None, None) => code.to_owned(),
                (_, why, broken) => {
                    let why = why.or_else(|| broken.clone());
                    let why = why.unwrap_or_else(|| "this is no expression".to_owned());
                    answers.insert(name.clone(), reply::expression(failed_with(&why)));
                    left.pop_front();
                    continue;
                }
            };
            running.job = self.next_job;
            self.next_job += 1;
            // What it prints is not shown: it belongs to no cell.
            self.know_cell(running.job, None);
            out.push(Output::Evaluate(Job::Execute {
                job: running.job,
                execution_count: running.execution_count,
                code,
                // Nobody expects a question of an expression.
                allow_stdin: false,
            }));
            running.expressions = Some((left, answers));
            self.running = Some(running);
            return;
        }
        self.end_cell(running, None, &answers, out);
    }

    /// Shows what a cell leaves behind.
    fn show_outcome(&mut self, running: &Running, outcome: Outcome, out: &mut Vec<Output>) {
        let Work::Execute(execute) = &running.work else {
            return;
        };
        self.names.end(outcome.error.is_none());
        if execute.silent {
            return;
        }
        let header = Some(&running.asker.header);
        if let Some(picture) = outcome.picture {
            out.push(publish(
                header,
                "display_data",
                reply::display(picture, None),
            ));
        }
        match (&outcome.error, outcome.result) {
            (Some(error), _) => out.push(publish(header, "error", reply::error(error))),
            (None, Some(result)) => {
                let text = result.get("text/plain").and_then(Value::as_str);
                if let Some(text) = text.filter(|_| execute.store_history) {
                    let line = self
                        .history
                        .set_output(running.execution_count, text.to_owned());
                    out.push(Output::Remember(line));
                }
                let content = reply::result(running.execution_count, result);
                out.push(publish(header, "execute_result", content));
            }
            (None, None) => {}
        }
    }

    /// Replies to a cell, and gives up those behind it when it failed.
    fn end_cell(
        &mut self,
        running: Running,
        error: Option<&CellError>,
        expressions: &Map<String, Value>,
        out: &mut Vec<Output>,
    ) {
        let Running {
            asker,
            channel,
            work,
            execution_count,
            payload,
            ..
        } = running;
        let Work::Execute(execute) = work else {
            out.push(Output::Log(format!(
                "the evaluator ran a cell in answer to a {}",
                asker.header.msg_type
            )));
            return finish(channel, asker, Some(reply::refused(ANOTHER_QUESTION)), out);
        };
        let subshell = asker.header.subshell_id.clone();
        finish(
            channel,
            asker,
            Some(reply::executed(
                execution_count,
                error,
                expressions,
                &payload,
            )),
            out,
        );
        if error.is_some() && execute.stop_on_error {
            self.abort_waiting_cells(Some(&subshell), AFTER_AN_ERROR, out);
        }
    }

    fn end_completion(&self, running: Running, found: Option<Completions>, out: &mut Vec<Output>) {
        let content = match (&running.work, found) {
            (Work::Complete { code, .. }, Some(found)) => reply::completions(
                code,
                cursor::to_position(code, found.start),
                cursor::to_position(code, found.end),
                &found.matches,
                Origin::Evaluator,
            ),
            (Work::Complete { code, cursor }, None) => self.completions_by_name(code, *cursor),
            _ => reply::refused(ANOTHER_QUESTION),
        };
        finish(running.channel, running.asker, Some(content), out);
    }

    fn end_inspection(&self, running: Running, bundle: Option<MimeBundle>, out: &mut Vec<Output>) {
        let content = match &running.work {
            // A cell that is a question: `?spawn`.
            Work::Execute(execute) if question(&execute.code).is_some() => {
                let name = question(&execute.code).unwrap_or_default();
                let known = bundle.or_else(|| self.names.inspect(name, name.len(), true));
                let unknown =
                    || fields(json!({"text/plain": format!("nothing is known of `{name}`")}));
                let page = reply::page(&known.unwrap_or_else(unknown));
                reply::executed(running.execution_count, None, &Map::new(), &[page])
            }
            Work::Inspect {
                code,
                cursor,
                whole,
            } => match bundle {
                Some(mut bundle) => {
                    let source = self.names.source(code, *cursor).filter(|_| *whole);
                    if let (Some(source), Some(Value::String(plain))) =
                        (source, bundle.get_mut("text/plain"))
                    {
                        *plain = format!("{plain}\n\n{source}");
                        // The other forms do not have it, and a client shows the richest.
                        bundle.retain(|form, _| form == "text/plain");
                    }
                    reply::inspection(Some(bundle), Origin::Evaluator)
                }
                None => reply::inspection(self.names.inspect(code, *cursor, *whole), Origin::Names),
            },
            _ => reply::refused(ANOTHER_QUESTION),
        };
        finish(running.channel, running.asker, Some(content), out);
    }

    /// Answers a `complete_request` from the table of names.
    fn completions_by_name(&self, code: &str, cursor: usize) -> Map<String, Value> {
        let (start, end, matches) = self.names.complete(code, cursor);
        let position = |byte| cursor::to_position(code, byte);
        reply::completions(
            code,
            position(start),
            position(end),
            &matches,
            Origin::Names,
        )
    }

    /// Ends a job that the evaluator will not end.
    fn fail(&mut self, running: Running, error: CellError, out: &mut Vec<Output>) {
        match &running.work {
            Work::Execute(_) | Work::Refuse { .. } => {
                let outcome = Outcome {
                    error: Some(error),
                    ..Outcome::default()
                };
                self.end_code(running, outcome, out);
            }
            Work::Complete { code, cursor } => {
                let content = self.completions_by_name(code, *cursor);
                finish(running.channel, running.asker, Some(content), out);
            }
            Work::Inspect { .. } => self.end_inspection(running, None, out),
        }
    }

    /// Gives up the cells that wait, as a client wants that runs a whole notebook: after an error, the next cells would only show what follows from it.
    /// `of`: only those of this subshell.
    fn abort_waiting_cells(
        &mut self,
        of: Option<&Option<String>>,
        why: &str,
        out: &mut Vec<Output>,
    ) {
        let (cells, others) = self.waiting.drain(..).partition(|(asker, _, work)| {
            work.is_a_cell() && of.is_none_or(|subshell| asker.header.subshell_id == *subshell)
        });
        self.waiting = others;
        let cells: VecDeque<_> = cells;
        for (asker, channel, _) in cells {
            out.push(publish(
                Some(&asker.header),
                "status",
                reply::status("busy"),
            ));
            finish(
                channel,
                asker,
                Some(reply::aborted(self.execution_count, why)),
                out,
            );
        }
    }

    /// Replies to everything that the kernel will not do any more.
    fn abandon_all(&mut self, out: &mut Vec<Output>) {
        if let Some(running) = self.running.take() {
            let content = match running.work {
                Work::Execute(_) | Work::Refuse { .. } => {
                    reply::aborted(running.execution_count, CUT_SHORT)
                }
                _ => reply::refused("the kernel shuts down"),
            };
            finish(running.channel, running.asker, Some(content), out);
        }
        self.abort_waiting_cells(None, CUT_SHORT, out);
        while let Some((asker, channel, _)) = self.waiting.pop_front() {
            self.answer(
                channel,
                asker,
                Some(reply::refused("the kernel shuts down")),
                out,
            );
        }
    }
}

/// Replies, when there is something to reply, and says that this request is done. The two belong together: clients take what comes in between for lost.
fn finish(
    channel: Channel,
    asker: Asker,
    content: Option<Map<String, Value>>,
    out: &mut Vec<Output>,
) {
    let idle = publish(Some(&asker.header), "status", reply::status("idle"));
    if let Some(content) = content {
        let msg_type = reply::type_for(&asker.header.msg_type);
        out.push(Output::Reply {
            channel,
            to: asker,
            msg_type,
            content,
        });
    }
    out.push(idle);
}

fn publish(parent: Option<&Header>, msg_type: &'static str, content: Map<String, Value>) -> Output {
    Output::Publish {
        parent: parent.cloned(),
        msg_type,
        content,
    }
}

/// The name that a cell asks for as IPython has it: `?spawn`, or `??spawn`. No Rust begins so.
fn question(code: &str) -> Option<&str> {
    let name = code.trim().strip_prefix('?')?;
    let name = name.strip_prefix('?').unwrap_or(name).trim();
    let is_path = |c: char| c == '_' || c == ':' || c == '.' || c.is_alphanumeric();
    (!name.is_empty() && name.chars().all(is_path)).then_some(name)
}

/// Why a cell is not given to the evaluator: it is too long, or so deep that the parsers of evcxr would run out of stack.
fn unfit(code: &str) -> Option<String> {
    if code.len() > LONGEST_CELL {
        return Some(format!(
            "this cell has {} bytes, and a cell may have {LONGEST_CELL}: put data into a file, and read it in the cell",
            code.len()
        ));
    }
    let depth = parsing::depth(code);
    (depth > parsing::DEEPEST).then(|| {
        format!(
            "this cell nests about {depth} levels deep, and a cell may have {}: divide the expression by `let`, or put data into a list",
            parsing::DEEPEST
        )
    })
}

/// The beginning of a text that is too long to be shown.
fn shortened(code: &str) -> String {
    match code.char_indices().nth(1_000) {
        Some((at, _)) => format!("{}…", &code[..at]),
        None => code.to_owned(),
    }
}

fn failed_with(message: &str) -> Outcome {
    Outcome {
        error: Some(kernel_error(message)),
        ..Outcome::default()
    }
}

fn kernel_error(message: &str) -> CellError {
    CellError {
        ename: "Kernel".to_owned(),
        evalue: message.to_owned(),
        traceback: message.lines().map(str::to_owned).collect(),
    }
}

/// The fields of what was written as an object.
fn fields(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(fields) => fields,
        other => unreachable!("written as an object above: {other}"),
    }
}
