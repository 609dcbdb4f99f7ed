//! The kernel process: binds the sockets, lets the session answer, and runs the evaluator on a thread behind it.
//!
//! The sockets are open and `kernel_info` is answered before the evaluator has begun to start. Knows nothing of what a message means, nor of evcxr.

use std::path::Path;
use std::sync::mpsc as commands;
use std::time::{Duration, SystemTime};
use std::{env, io, thread};

use bytes::Bytes;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};
use tokio::time;
use uuid::Uuid;

use crate::cell::{Event, Job};
use crate::past::Past;
use crate::session::{Input, Names, Output, Session, Versions};
use crate::wire::Channel;
use crate::wire::connection::{self, ConnectionError};
use crate::wire::frame::{Header, Message};
use crate::wire::sockets::{self, Inbox, Outbox, SocketError};

/// How many events of the evaluator wait for the sockets; then the evaluator waits, and with it the learner's output.
const EVENTS: usize = 1024;
/// Longest text of one stream message. Texts that are ready at the same time are joined up to it: 20,000 prints need not be 20,000 messages.
const STREAM_BYTES: usize = 64 * 1024;
/// How often the kernel looks whether the server that started it is still there.
const PARENT_CHECK: Duration = Duration::from_secs(1);
/// Longest time that the evaluator may take to end its processes.
const EVALUATOR_END: Duration = Duration::from_secs(5);
/// Longest time that peers may take to read the last messages.
const LAST_MESSAGES: Duration = Duration::from_secs(1);

/// What runs the cells. Lives on a thread of its own, which calls these one after the other; none of them may wait for a cell to end.
pub trait Evaluator {
    /// Takes a job into its queue. It ends with the event that [`Job`] names, whatever happens.
    fn submit(&self, job: Job);
    /// Gives the cell that asked for input its answer.
    fn answer(&self, text: &str);
    /// Stops the cell that runs, if one does.
    fn interrupt(&self);
    /// Ends all processes that it started, and returns when they are gone.
    fn shutdown(&self);
}

/// Where the evaluator reports what happens. Clones report to the same session.
#[derive(Debug, Clone)]
pub struct EventSender(mpsc::Sender<Event>);

impl EventSender {
    /// Reports an event. Blocks the calling thread, which must not be one of an async runtime, while too many wait; does nothing once the kernel ends.
    pub fn send(&self, event: Event) {
        if let Err(unheard) = self.0.blocking_send(event) {
            tracing::debug!("the kernel ends, nobody heard {:?}", unheard.0);
        }
    }
}

/// Why the kernel could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The connection file cannot be used: a wrong use of the program.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The sockets could not be opened.
    #[error(transparent)]
    Sockets(#[from] SocketError),
    /// The system gave no thread or no event queue.
    #[error("cannot start the kernel's own threads: {0}")]
    Start(#[from] io::Error),
}

/// Serves as the kernel of a connection file until it is told to shut down, or the server that started it is gone.
///
/// `names`: those that are known without the evaluator. `past`: the cells of earlier sessions, and where those of this one go. `start` makes the evaluator. It is called after the sockets are open, on the thread on which the evaluator then lives, and may take its time.
pub fn serve<S, E>(
    connection_file: &Path,
    versions: Versions,
    names: Names,
    past: Past,
    start: S,
) -> Result<(), ServeError>
where
    S: FnOnce(EventSender) -> E + Send + 'static,
    E: Evaluator,
{
    let info = connection::read(connection_file)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        ignore_ctrl_c()?;
        let id = Uuid::new_v4().to_string();
        let welcome = {
            let id = id.clone();
            move |subscription: &str| welcome(&id, subscription)
        };
        let (outbox, inbox) = sockets::listen(&info, welcome).await?;
        let (events, reported) = mpsc::channel(EVENTS);
        let evaluator = Running::start(start, EventSender(events))?;
        // Nobody waits for it but who asks before it is done.
        thread::Builder::new()
            .name("names".to_owned())
            .spawn(names.reader())?;
        let mut past = past;
        let lines = std::mem::take(&mut past.lines);
        let kernel = Kernel {
            session: Session::new(versions, names, lines, past.session),
            past,
            outbox,
            evaluator,
            id,
        };
        kernel.run(inbox, reported).await;
        Ok(())
    })
}

/// What a new subscriber hears first (5.5): that its subscription is in place. It answers nothing, so it has no parent.
fn welcome(kernel: &str, subscription: &str) -> Message {
    let mut content = serde_json::Map::new();
    content.insert("subscription".to_owned(), subscription.into());
    let topic = match subscription {
        "" => format!("kernel.{kernel}.iopub_welcome"),
        // It must begin with what was subscribed to, or it would not be heard.
        topic => topic.to_owned(),
    };
    Message {
        identities: vec![topic.into()],
        header: Header::new("iopub_welcome", kernel, SystemTime::now()),
        parent: None,
        metadata: serde_json::Map::new(),
        content,
        buffers: Vec::new(),
    }
}

/// Everything that the kernel's main loop needs at hand.
struct Kernel {
    session: Session,
    past: Past,
    outbox: Outbox,
    evaluator: Running,
    /// Names this kernel in headers and topics.
    id: String,
}

impl Kernel {
    async fn run(mut self, mut inbox: Inbox, mut reported: mpsc::Receiver<Event>) {
        // Only a server that starts kernels says so; a kernel that was started by hand may outlive its shell.
        let watches_parent = env::var_os("JPY_PARENT_PID").is_some();
        let parent = std::os::unix::process::parent_id();
        let mut parent_check = time::interval(PARENT_CHECK);
        let mut ended_early = false;

        let mut serving = self.feed(Input::Started);
        while serving {
            serving = tokio::select! {
                request = inbox.recv() => match request {
                    Some((channel @ (Channel::Shell | Channel::Control), message)) => self.feed(Input::Request { channel, message }),
                    Some((Channel::Stdin, message)) => self.feed(Input::Answer(message)),
                    Some((channel, message)) => {
                        tracing::warn!("{channel}: nobody waits for the {} that came", message.header.msg_type);
                        true
                    }
                    None => {
                        tracing::error!("all sockets have closed, so the kernel ends");
                        false
                    }
                },
                Some(event) = reported.recv() => self.feed_all(event, &mut reported),
                _ = &mut self.evaluator.ended, if !ended_early => {
                    ended_early = true;
                    let message = "the kernel's evaluator stopped unexpectedly: restart the kernel, and see its log for the reason".to_owned();
                    self.feed(Input::Evaluator(Event::Broken { message }))
                }
                _ = parent_check.tick(), if watches_parent => {
                    let alive = std::os::unix::process::parent_id() == parent;
                    if !alive {
                        tracing::info!("the server that started this kernel is gone, so the kernel ends");
                    }
                    alive
                }
            };
        }

        // Closed first: an evaluator that waits for room among the events could not end.
        drop(reported);
        self.evaluator.end(ended_early).await;
        drop((self.outbox, inbox, self.past));
        last_messages_leave().await;
    }

    /// Gives the session an event, and those that are ready behind it; joins texts that belong together.
    fn feed_all(&mut self, first: Event, reported: &mut mpsc::Receiver<Event>) -> bool {
        let mut event = first;
        // As many as fit the queue: requests get their turn even while a cell floods it.
        for _ in 0..EVENTS {
            let Ok(next) = reported.try_recv() else { break };
            if let Some(unjoined) = join(&mut event, next)
                && !self.feed(Input::Evaluator(std::mem::replace(&mut event, unjoined)))
            {
                return false;
            }
        }
        self.feed(Input::Evaluator(event))
    }

    /// Gives the session an input, does what it asks for, and says whether the kernel goes on.
    fn feed(&mut self, input: Input) -> bool {
        let mut goes_on = true;
        for output in self.session.handle(input) {
            match output {
                Output::Reply {
                    channel,
                    to,
                    msg_type,
                    content,
                } => {
                    let message = self.message(to.identities, &msg_type, Some(to.header), content);
                    self.outbox.send(channel, message);
                }
                Output::Publish {
                    parent,
                    msg_type,
                    content,
                } => {
                    let topic = Bytes::from(format!("kernel.{}.{msg_type}", self.id));
                    let message = self.message(vec![topic], msg_type, parent, content);
                    self.outbox.send(Channel::Iopub, message);
                }
                Output::Ask { to, content } => {
                    let message =
                        self.message(to.identities, "input_request", Some(to.header), content);
                    self.outbox.send(Channel::Stdin, message);
                }
                Output::Answer(text) => self.evaluator.tell(Command::Answer(text)),
                Output::Evaluate(job) => self.evaluator.tell(Command::Submit(job)),
                Output::Interrupt => self.evaluator.tell(Command::Interrupt),
                Output::Shutdown { restart } => {
                    tracing::info!(
                        "asked to shut down{}",
                        if restart { ", to be started again" } else { "" }
                    );
                    goes_on = false;
                }
                Output::Remember(line) => self.past.write(line),
                Output::Log(line) => tracing::warn!("{line}"),
            }
        }
        goes_on
    }

    fn message(
        &self,
        identities: Vec<Bytes>,
        msg_type: &str,
        parent: Option<Header>,
        content: serde_json::Map<String, serde_json::Value>,
    ) -> Message {
        let header = Header::new(msg_type, &self.id, SystemTime::now());
        Message {
            identities,
            header,
            parent,
            metadata: serde_json::Map::new(),
            content,
            buffers: Vec::new(),
        }
    }
}

/// Appends `next` to `event` when both are text of one stream of one cell; otherwise gives it back.
fn join(event: &mut Event, next: Event) -> Option<Event> {
    match (event, next) {
        (
            Event::Stream { job, name, text },
            Event::Stream {
                job: next_job,
                name: next_name,
                text: next_text,
            },
        ) if *job == next_job
            && *name == next_name
            && text.len() + next_text.len() <= STREAM_BYTES =>
        {
            text.push_str(&next_text);
            None
        }
        (_, next) => Some(next),
    }
}

/// Waits until the sockets' tasks have written what they had, or the peers took too long to read it.
async fn last_messages_leave() {
    let written = async {
        // The tasks that write belong to the socket library, which gives no handle to wait on; when they are done they are gone.
        while Handle::current().metrics().num_alive_tasks() > 0 {
            time::sleep(Duration::from_millis(1)).await;
        }
    };
    if time::timeout(LAST_MESSAGES, written).await.is_err() {
        tracing::warn!(
            "some peer did not read the kernel's last messages within {LAST_MESSAGES:?}"
        );
    }
}

/// Blocks Ctrl-C for this thread and those that it starts. Jupyter interrupts by message; a Ctrl-C in the terminal of the server is not for the kernel.
///
/// Blocked rather than ignored: both are inherited by the processes that the kernel starts, and the supervisor opens its mask again.
fn ignore_ctrl_c() -> io::Result<()> {
    let mut signals = nix::sys::signal::SigSet::empty();
    signals.add(nix::sys::signal::Signal::SIGINT);
    Ok(signals.thread_block()?)
}

enum Command {
    Submit(Job),
    Answer(String),
    Interrupt,
}

/// The thread on which the evaluator lives.
struct Running {
    commands: Option<commands::Sender<Command>>,
    /// Resolves, either way, when the thread has ended.
    ended: oneshot::Receiver<()>,
}

impl Running {
    fn start<S, E>(start: S, events: EventSender) -> io::Result<Running>
    where
        S: FnOnce(EventSender) -> E + Send + 'static,
        E: Evaluator,
    {
        let (commands, told) = commands::channel();
        let (alive, ended) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("evaluator".to_owned())
            .spawn(move || {
                // Dropped last, by a panic too.
                let _alive = alive;
                let evaluator = start(events);
                for command in told {
                    match command {
                        Command::Submit(job) => evaluator.submit(job),
                        Command::Answer(text) => evaluator.answer(&text),
                        Command::Interrupt => evaluator.interrupt(),
                    }
                }
                evaluator.shutdown();
            })?;
        Ok(Running {
            commands: Some(commands),
            ended,
        })
    }

    fn tell(&self, command: Command) {
        // When the thread is gone, `ended` has told the session, or is about to.
        if let Some(commands) = &self.commands {
            let _ = commands.send(command);
        }
    }

    async fn end(&mut self, ended_early: bool) {
        self.commands = None;
        if !ended_early && time::timeout(EVALUATOR_END, &mut self.ended).await.is_err() {
            tracing::error!("the evaluator did not end its processes within {EVALUATOR_END:?}");
        }
    }
}
