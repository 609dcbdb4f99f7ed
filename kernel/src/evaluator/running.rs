//! The evaluator's thread begins: what watches and reads beside it, and evcxr with the prelude in it.

use super::budget::{self, Budget};
use super::channel::{Channel, Receiver};
use super::context::{Context, WorkerHandle};
use super::first_cell::{WARM_CELL, first_cell};
use super::live::Live;
use super::naming::Naming;
use super::output::{Events, Reader, Shared};
use super::sources::Sources;
use super::starting::{StartError, prepare_home, system, worker_command};
use super::stdin::Stdin;
use super::{Running, streams, told};
use crate::course::Course;
use crate::picture::Pictures;
use crate::prelude_home::PreludeHome;
use crate::tools::Tools;
use crate::trace::TraceMemory;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

impl Running {
    pub(super) fn start(
        events: &Events,
        shared: &Shared,
        worker: &Arc<Mutex<Option<WorkerHandle>>>,
        interrupted: Arc<AtomicBool>,
        course: Course,
    ) -> Result<Running, StartError> {
        let home = PreludeHome::locate()?;
        prepare_home(&home)?;
        let folder = home.work_folder()?;
        if let Err(error) = Tools::begin(&home, folder.path()) {
            tracing::warn!(%error, "Rust's tools are used as they are, which is slower");
        }
        let trace = Arc::new(TraceMemory::new().map_err(system("shared memory for the trace"))?);
        let (receiver, sender) = Channel::pair().map_err(system("a pair of sockets"))?;
        let stdin = Stdin::new(folder.path().join("stdin"))
            .map_err(system("a FIFO in the kernel's folder"))?;
        let watcher = sender
            .try_clone()
            .map_err(system("a second handle of a socket"))?;
        std::thread::Builder::new()
            .name("stdin".into())
            .spawn({
                let (stdin, worker) = (stdin.clone(), Arc::clone(worker));
                move || stdin.watch(&worker, &watcher)
            })
            .map_err(system("a thread"))?;
        let output_limit = Arc::new(AtomicU64::new(budget::AT_FIRST));
        let (synced_sender, synced) = mpsc::channel();
        let sources = Sources::default();
        let live = Live::start(Arc::clone(&trace), sources.clone(), Arc::clone(events))
            .map_err(system("a thread"))?;
        let naming = Naming::new(Arc::clone(&trace));
        let reader = Reader {
            receiver: Receiver::new(receiver),
            shared: shared.clone(),
            live: live.clone(),
            stdin: stdin.clone(),
            sources: sources.clone(),
            generated: folder.path().join("src/lib.rs"),
            events: Arc::clone(events),
            synced: synced_sender,
            streams: streams::Streams::default(),
            parts: told::Parts::default(),
            budget: (Budget::new(None), None),
            limit: Arc::clone(&output_limit),
            naming: naming.clone(),
            cells: Default::default(),
        };
        std::thread::Builder::new()
            .name("output".into())
            .spawn(move || reader.run())
            .map_err(system("a thread"))?;
        let mut running = Running {
            context: None,
            folder,
            home,
            trace,
            sender,
            synced,
            shared: shared.clone(),
            stdin,
            sources,
            events: Arc::clone(events),
            worker: Arc::clone(worker),
            interrupted,
            recording: 0,
            pictures: Pictures::default(),
            live,
            naming,
            last_sync: 0,
            told_no_snapshot: false,
            environment: BTreeMap::new(),
            worker_is_new: true,
            output_limit,
            shows_warnings: true,
            times: false,
            hinted: BTreeSet::new(),
            course,
        };
        running.start_context()?;
        Ok(running)
    }

    /// Starts evcxr with the prelude in it, in place of the one there was.
    pub(super) fn start_context(&mut self) -> Result<(), StartError> {
        self.context = None;
        let command = worker_command(
            self.folder.path(),
            &self.sender,
            Some(self.trace.raw_fd()),
            Some(self.stdin.path()),
        )?;
        let mut context = Context::start(self.folder.path(), command).map_err(StartError::Evcxr)?;
        *self.worker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.worker());
        context.run(&first_cell(&self.home)).map_err(|failure| {
            StartError::Evcxr(format!(
                "the first cell, which brings in the prelude, failed: {failure}"
            ))
        })?;
        if let Err(failure) = context.run(WARM_CELL) {
            // The first cell will wait a little longer, and that is all.
            tracing::warn!(?failure, "the warming cell failed");
        }
        self.context = Some(context);
        self.worker_is_new = true;
        self.sync();
        self.shared.end();
        Ok(())
    }

    /// Tells a new worker what the learner has set for all of them.
    pub(super) fn set_up_worker(&mut self) {
        if std::mem::take(&mut self.worker_is_new) && !self.environment.is_empty() {
            let code: String = self
                .environment
                .iter()
                .map(|(key, value)| {
                    format!("unsafe {{ std::env::set_var({key:?}, {value:?}); }}\n")
                })
                .collect();
            self.run_hidden(&code);
        }
    }

    /// Runs code of ours between cells. A failure costs the learner what they asked for, and is in the log.
    fn run_hidden(&mut self, code: &str) {
        if let Err(failure) = self.run(code) {
            tracing::warn!(%failure, code, "a hidden cell failed");
        }
        self.sync();
    }
}
