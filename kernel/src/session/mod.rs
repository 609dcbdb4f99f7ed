//! The session: what a Jupyter kernel says and when, as a machine of values.
//!
//! [`Session::handle`] takes what happened and gives what is to be done. There is no socket in it, no clock, no evcxr, and nothing waits: conversations
//! are tested as tables. Whatever a request says, and whatever fails: `busy`, one reply, `idle`.
//! Rules: <https://jupyter-client.readthedocs.io/en/stable/messaging.html>.

mod cursor;
mod history;
mod is_complete;
mod reply;
mod request;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use self::history::History;
use self::is_complete::Completeness;
use self::request::{Execute, Request};
use crate::cell::{CellError, Completion, Event, Job, JobId, Outcome, StreamName};
use crate::wire::Channel;
use crate::wire::frame::{Header, Message};

pub use self::reply::Versions;

/// How many of the latest cells are known by their tickets, so that output of their threads finds its cell after they have ended.
const CELLS_KNOWN: usize = 256;

const AFTER_AN_ERROR: &str = "not run, since a cell before it failed";
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
    /// Why no cell can run, when that is so.
    broken: Option<String>,
}

/// What only the evaluator can answer.
enum Work {
    Execute(Execute),
    Complete { code: String, cursor: usize },
    Inspect { code: String, cursor: usize },
}

struct Running {
    job: JobId,
    asker: Asker,
    channel: Channel,
    work: Work,
    /// The number of the cell, when it is one.
    execution_count: u32,
    /// Whether it waits for an answer.
    asks: bool,
}

impl Session {
    /// Makes the session of a kernel that has just started.
    pub fn new(versions: Versions) -> Session {
        Session {
            versions,
            execution_count: 0,
            next_job: 1,
            running: None,
            waiting: VecDeque::new(),
            cells: VecDeque::new(),
            history: History::default(),
            broken: None,
        }
    }

    /// Takes what happened and gives what is to be done about it, in order.
    pub fn handle(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Started => out.push(publish(None, "status", reply::status("starting"))),
            Input::Request { channel, message } => self.request(channel, message, &mut out),
            Input::Answer(message) => self.answered(message, &mut out),
            Input::Evaluator(event) => self.event(event, &mut out),
        }
        out
    }

    /// A person's answer, when it comes from where the question went. A late one, to a cell that is over, is nothing.
    fn answered(&mut self, message: Message, out: &mut Vec<Output>) {
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
        match request {
            Request::Execute(execute) => self.enqueue(asker, channel, Work::Execute(execute), out),
            // What the evaluator knows it can tell only between cells; an editor does not wait that long.
            Request::Complete(request) if self.cell_ahead() => {
                let nothing =
                    reply::completions(&request.code, request.cursor_pos, request.cursor_pos, &[]);
                self.answer(channel, asker, Some(nothing), out);
            }
            Request::Inspect(_) if self.cell_ahead() => {
                self.answer(channel, asker, Some(reply::inspection(None)), out);
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

    /// Whether a cell runs, or will run before anything that is asked for now.
    fn cell_ahead(&self) -> bool {
        self.cell_runs()
            || self
                .waiting
                .iter()
                .any(|(_, _, work)| matches!(work, Work::Execute(_)))
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
        let mut running = Running {
            job,
            asker,
            channel,
            work,
            execution_count: self.execution_count,
            asks: false,
        };
        let task = match &running.work {
            Work::Execute(execute) => {
                running.execution_count = self.announce(job, execute, &running.asker.header, out);
                let code = execute.code.clone();
                (!code.trim().is_empty()).then_some(Job::Execute {
                    job,
                    execution_count: running.execution_count,
                    code,
                    allow_stdin: execute.allow_stdin,
                })
            }
            Work::Complete { code, cursor } => Some(Job::Complete {
                job,
                code: code.clone(),
                cursor: *cursor,
            }),
            Work::Inspect { code, cursor } => Some(Job::Inspect {
                job,
                code: code.clone(),
                cursor: *cursor,
            }),
        };
        match (task, &self.broken) {
            // Nothing to run, and nothing that could fail.
            (None, _) => self.end_cell(running, Outcome::default(), out),
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
            self.history.add(execution_count, execute.code.clone());
        }
        if !execute.silent {
            let input = fields(json!({"code": execute.code, "execution_count": execution_count}));
            out.push(publish(Some(header), "execute_input", input));
        }
        if self.cells.len() == CELLS_KNOWN {
            self.cells.pop_front();
        }
        self.cells
            .push_back((job, (!execute.silent).then(|| header.clone())));
        execution_count
    }

    fn event(&mut self, event: Event, out: &mut Vec<Output>) {
        match event {
            Event::Ready { .. } => {}
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
                self.end_cell(running, outcome, out);
                self.start_next(out);
            }
            Event::Completed {
                job,
                start,
                end,
                matches,
            } => {
                let Some(running) = self.take_running(job, "completed", out) else {
                    return;
                };
                self.end_completion(running, start, end, &matches, out);
                self.start_next(out);
            }
            Event::Inspected { job, bundle } => {
                let Some(running) = self.take_running(job, "inspected", out) else {
                    return;
                };
                finish(
                    running.channel,
                    running.asker,
                    Some(reply::inspection(bundle)),
                    out,
                );
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

    /// Shows what a cell leaves behind, replies, and gives up the cells behind it when it failed.
    fn end_cell(&mut self, running: Running, outcome: Outcome, out: &mut Vec<Output>) {
        let Running {
            asker,
            channel,
            work,
            execution_count,
            ..
        } = running;
        let Work::Execute(execute) = work else {
            // The evaluator mixed up its tickets: the request gets its one reply all the same.
            out.push(Output::Log(format!(
                "the evaluator ran a cell in answer to a {}",
                asker.header.msg_type
            )));
            return finish(
                channel,
                asker,
                Some(reply::refused(
                    "the kernel's evaluator answered another question",
                )),
                out,
            );
        };
        let header = &asker.header;
        if !execute.silent {
            if let Some(picture) = outcome.picture {
                out.push(publish(
                    Some(header),
                    "display_data",
                    reply::display(picture, None),
                ));
            }
            match (&outcome.error, outcome.result) {
                (Some(error), _) => out.push(publish(Some(header), "error", reply::error(error))),
                (None, Some(result)) => {
                    if let Some(text) = result
                        .get("text/plain")
                        .and_then(Value::as_str)
                        .filter(|_| execute.store_history)
                    {
                        self.history.set_output(execution_count, text.to_owned());
                    }
                    out.push(publish(
                        Some(header),
                        "execute_result",
                        reply::result(execution_count, result),
                    ));
                }
                (None, None) => {}
            }
        }
        finish(
            channel,
            asker,
            Some(reply::executed(execution_count, outcome.error.as_ref())),
            out,
        );
        if outcome.error.is_some() && execute.stop_on_error {
            self.abort_waiting_cells(AFTER_AN_ERROR, out);
        }
    }

    fn end_completion(
        &self,
        running: Running,
        start: usize,
        end: usize,
        matches: &[Completion],
        out: &mut Vec<Output>,
    ) {
        let content = match &running.work {
            Work::Complete { code, .. } => reply::completions(
                code,
                cursor::to_position(code, start),
                cursor::to_position(code, end),
                matches,
            ),
            _ => reply::refused("the kernel's evaluator answered another question"),
        };
        finish(running.channel, running.asker, Some(content), out);
    }

    /// Ends a job that the evaluator will not end.
    fn fail(&mut self, running: Running, error: CellError, out: &mut Vec<Output>) {
        match &running.work {
            Work::Execute(_) => self.end_cell(
                running,
                Outcome {
                    error: Some(error),
                    ..Outcome::default()
                },
                out,
            ),
            Work::Complete { code, cursor } => {
                let (code, cursor) = (code.clone(), *cursor);
                let at = cursor::to_position(&code, cursor);
                finish(
                    running.channel,
                    running.asker,
                    Some(reply::completions(&code, at, at, &[])),
                    out,
                );
            }
            Work::Inspect { .. } => finish(
                running.channel,
                running.asker,
                Some(reply::inspection(None)),
                out,
            ),
        }
    }

    /// Gives up the cells that wait, as a client wants that runs a whole notebook: after an error, the next cells would only show what follows from it.
    fn abort_waiting_cells(&mut self, why: &str, out: &mut Vec<Output>) {
        let (cells, others) = self
            .waiting
            .drain(..)
            .partition(|(_, _, work)| matches!(work, Work::Execute(_)));
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
                Work::Execute(_) => reply::aborted(running.execution_count, CUT_SHORT),
                _ => reply::refused("the kernel shuts down"),
            };
            finish(running.channel, running.asker, Some(content), out);
        }
        self.abort_waiting_cells(CUT_SHORT, out);
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
