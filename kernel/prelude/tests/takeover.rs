//! A copy of the process goes on when the process dies in the middle of everything: this program is the supervisor, and each round has a worker of its own.
//!
//! A program without a harness: it forks, which only a process with one thread may do, and in the copies all threads must be the prelude's.

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("no copies are made on this system");
}

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(target_os = "linux")]
mod linux {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;
    use std::os::fd::RawFd;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::Ordering::Relaxed;
    use std::sync::atomic::{AtomicBool, AtomicU32};

    use threadbook_prelude::hooks::{threadbook_cell_begin, threadbook_cell_end};
    use threadbook_prelude::{
        Arc, Duration, JoinHandle, Mutex, Receiver, Sender, bounded, go, scope, sleep, spawn,
        spawn_named,
    };

    /// How many workers die, unless `THREADBOOK_TAKEOVERS` says otherwise.
    const ROUNDS: u32 = 60;
    /// What a copy exits with that has found all in order.
    const IN_ORDER: i32 = 7;
    /// After how many seconds a copy is taken to hang. Nothing in it waits for longer than 2, but twenty tasks may do so one after the other.
    const DEADLINE: u32 = 60;

    pub fn main() {
        // SAFETY: a plain system call: orphans become children of this process.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
        let rounds = std::env::var("THREADBOOK_TAKEOVERS");
        let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
        for round in 0..rounds {
            one_round(round);
        }
        println!("{rounds} copies took over, and each left one that did");
    }

    fn one_round(round: u32) {
        let mut sockets = [0; 2];
        // SAFETY: there is room for two descriptors.
        let made = unsafe {
            libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0, sockets.as_mut_ptr())
        };
        assert_eq!(made, 0, "two sockets");
        // SAFETY: this process has one thread.
        let worker = unsafe { libc::fork() };
        if worker == 0 {
            work(round, sockets[1]);
        }
        let mut dead = worker;
        // The worker, its copy, and the copy that this left.
        for life in 0..2 {
            let (copy, call) = announced(sockets[0]);
            let status = wait(dead);
            assert!(
                libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGABRT,
                "round {round}, life {life}: status {status:#x}"
            );
            // SAFETY: one byte is there to be written.
            assert_eq!(unsafe { libc::write(call, b"g".as_ptr().cast(), 1) }, 1);
            // SAFETY: this process opened it, and nothing else knows it.
            unsafe { libc::close(call) };
            dead = copy;
        }
        let (_, unneeded) = announced(sockets[0]);
        let status = wait(dead);
        assert!(
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == IN_ORDER,
            "round {round}: the last copy ended with status {status:#x}"
        );
        for fd in [unneeded, sockets[0], sockets[1]] {
            // SAFETY: as above.
            unsafe { libc::close(fd) };
        }
        // A copy that nobody needs any more ends by itself.
        // SAFETY: waits for any child, of which there is one at the most.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
    }

    fn wait(pid: libc::pid_t) -> i32 {
        let mut status = 0;
        // SAFETY: there is room for a status.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        status
    }

    /// The next copy that is announced: its process, and the socket on which it waits.
    fn announced(socket: RawFd) -> (libc::pid_t, RawFd) {
        let mut bytes = [0_u8; 4];
        let mut control = [0_u64; 4];
        let mut part = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        };
        // SAFETY: all that the message points to is there until the call is over; a packet of the prelude's carries one descriptor.
        unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = size_of_val(&control);
            assert_eq!(libc::recvmsg(socket, &raw mut message, 0), 4);
            let head = libc::CMSG_FIRSTHDR(&raw const message);
            assert!(!head.is_null(), "a descriptor");
            let fd = libc::CMSG_DATA(head).cast::<RawFd>().read_unaligned();
            (libc::pid_t::from_ne_bytes(bytes), fd)
        }
    }

    /// The worker: it begins a cell, dies when that has ended, and so does its copy.
    fn work(round: u32, socket: RawFd) -> ! {
        // SAFETY: this process has one thread; the reports of deadlocks that are meant are not for who reads the tests.
        unsafe {
            std::env::set_var("THREADBOOK_SNAPSHOTS_FD", socket.to_string());
            let nowhere = libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY);
            libc::dup2(nowhere, 2);
        }
        let copies = shared_counter();
        let nothing = std::ptr::null_mut();
        threadbook_cell_begin(nothing);
        let left = match round % 3 {
            0 => Left::in_the_middle_of_calls(),
            1 => Left::starting_and_ending(1 + round / 3 % 6),
            _ => Left::in_stds_lock(),
        };
        if round % 3 != 2 {
            // So that it is another place at which they are met in each round.
            sleep(Duration::from_micros(u64::from(round) * 37 % 500));
        }
        // SAFETY: asks for a number.
        let original = unsafe { libc::getpid() };
        threadbook_cell_end(nothing);
        // SAFETY: as above.
        if unsafe { libc::getpid() } == original {
            std::process::abort();
        }
        // A copy. What it begins now is not in the copy that it has left behind, which comes by here, too.
        let which = copies.fetch_add(1, Relaxed);
        match catch_unwind(AssertUnwindSafe(|| check(left))) {
            Ok(()) if which == 0 => std::process::abort(),
            Ok(()) => std::process::exit(IN_ORDER),
            Err(_) => std::process::exit(1),
        }
    }

    /// What a cell leaves behind.
    #[derive(Default)]
    struct Left {
        hot: Hot,
        tasks: Vec<JoinHandle<u64>>,
        /// Nobody takes what is sent here.
        ask: Option<Sender<u64>>,
        /// One whose body had ended.
        over: Option<JoinHandle<u64>>,
    }

    impl Left {
        /// Threads and green tasks, all in the middle of something.
        fn in_the_middle_of_calls() -> Left {
            let hot = Hot::default();
            let busy: Vec<_> = (0..3)
                .map(|_| {
                    let hot = hot.clone();
                    spawn(move || loop_for_ever(&hot))
                })
                .collect();
            let green: Vec<_> = (0..20)
                .map(|_| {
                    let hot = hot.clone();
                    go(move || loop_for_ever(&hot))
                })
                .collect();
            // These wait with what lies on their own stacks, which new threads get afterwards.
            let (ask, asked) = bounded::<u64>(0);
            for _ in 0..3 {
                let asked = asked.clone();
                spawn(move || asked.recv());
            }
            Left {
                hot,
                tasks: busy.into_iter().chain(green).collect(),
                ask: Some(ask),
                over: None,
            }
        }

        /// Threads that do nothing but start others and see them end: std has a lock that it takes at both.
        fn starting_and_ending(how_many: u32) -> Left {
            let starts_others = |_| {
                spawn(|| {
                    while spawn(|| ()).join().is_ok() {}
                    0
                })
            };
            Left {
                tasks: (0..how_many).map(starts_others).collect(),
                ..Left::default()
            }
        }

        /// A thread that ends, and has the lock of std's that it takes for that. Where nobody waits until it is through, each copy that is
        /// made now hangs at its first thread (10 of 10; with `rt::starts`, none of 300).
        fn in_stds_lock() -> Left {
            FREES.store(false, Relaxed);
            let ends = spawn_named("n".repeat(LENGTH), || {
                ENDS.set(2);
                0
            });
            while !FREES.load(Relaxed) {
                std::hint::spin_loop();
            }
            Left {
                over: Some(ends),
                ..Left::default()
            }
        }
    }

    /// Frees slowly what is as long as the names of certain threads.
    ///
    /// std's table of threads has their names, and forgets one under the lock that it takes when a thread ends. So such a thread has that lock for as long
    /// as this takes, and a copy can be made in the very middle of it, which is else a matter of some nanoseconds.
    struct Slow;

    #[global_allocator]
    static SLOW: Slow = Slow;
    /// As long as no other allocation is.
    const LENGTH: usize = 4_099;
    /// Some thread is freeing such a name.
    static FREES: AtomicBool = AtomicBool::new(false);
    /// A thread that ends frees its name twice: first the prelude's, and last the one in std's table.
    const STDS: u32 = 1;
    /// How long that takes, in microseconds: less than a copy waits for, and far more than it takes to make one.
    const FREEING: u32 = 20_000;

    // SAFETY: the system's allocator does all of it.
    unsafe impl GlobalAlloc for Slow {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: as for this call.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, it: *mut u8, layout: Layout) {
            if layout.size() == LENGTH && ENDS.replace(ENDS.get().saturating_sub(1)) == STDS {
                FREES.store(true, Relaxed);
                // SAFETY: a plain system call.
                unsafe { libc::usleep(FREEING) };
            }
            // SAFETY: as for this call.
            unsafe { System.dealloc(it, layout) };
        }
    }

    thread_local! {
        /// How many such names this thread has yet to free, if it is one that ends.
        static ENDS: Cell<u32> = const { Cell::new(0) };
    }

    /// A number that a process and its copies have together.
    fn shared_counter() -> &'static AtomicU32 {
        // SAFETY: a new mapping that is never taken back, of zeros, which are a value for a number.
        unsafe {
            let (rights, how) = (
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            );
            let page = libc::mmap(std::ptr::null_mut(), 4096, rights, how, -1, 0);
            assert_ne!(page, libc::MAP_FAILED);
            &*page.cast::<AtomicU32>()
        }
    }

    #[derive(Clone)]
    struct Hot {
        lock: Arc<Mutex<u64>>,
        to: Sender<u64>,
        from: Receiver<u64>,
    }

    impl Default for Hot {
        fn default() -> Hot {
            let (to, from) = bounded(4);
            Hot {
                lock: Arc::new(Mutex::new(0)),
                to,
                from,
            }
        }
    }

    fn loop_for_ever(hot: &Hot) -> u64 {
        loop {
            *hot.lock.lock().unwrap() += 1;
            let _ = hot.to.try_send(1);
            let _ = hot.from.try_recv();
            let inner = go(|| 1);
            if inner.join().is_err() || *hot.lock.lock().unwrap() == u64::MAX {
                return 0;
            }
        }
    }

    fn check(left: Left) {
        let Left {
            hot,
            tasks,
            ask,
            over,
        } = left;
        // SAFETY: sets a clock that ends this process if it hangs.
        unsafe { libc::alarm(DEADLINE) };
        threadbook_cell_begin(std::ptr::null_mut());
        for lost in tasks {
            // One that had not begun runs, and goes round for ever: then it is left alone.
            if lost.is_finished() {
                assert!(lost.join().is_err(), "it is lost");
            }
        }
        if let Some(over) = over {
            // Its thread may be lost at its end, and may be joined all the same.
            assert!(matches!(over.join(), Ok(0) | Err(_)));
        }
        // New things work: threads, green tasks, channels, locks.
        let sum: u32 = (0..100)
            .map(|n| go(move || n))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|task| task.join().unwrap())
            .sum();
        assert_eq!(sum, 4950);
        let (tx, rx) = bounded(0);
        let sender = spawn(move || (0..10).try_for_each(|n| tx.send(n)));
        assert_eq!(rx.iter().sum::<u32>(), 45);
        assert!(sender.join().unwrap().is_ok());
        let fresh = Arc::new(Mutex::new(0));
        scope(|s| {
            for _ in 0..4 {
                s.spawn(|| *fresh.lock().unwrap() += 1);
            }
        });
        assert_eq!(*fresh.lock().unwrap(), 4);
        // Unless one was met in the middle of its call: then this says that it is lost.
        let taken = ask.map(|ask| catch_unwind(AssertUnwindSafe(|| ask.try_send(1).is_ok())));
        assert!(
            !matches!(taken, Some(Ok(true))),
            "nobody is there to take it"
        );
        // What lost threads had in hand is free, reported, or told to be lost; it is not waited for for ever.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(hot.lock.lock())));
        let _ = catch_unwind(AssertUnwindSafe(|| hot.to.try_send(1).is_ok()));
        let _ = catch_unwind(AssertUnwindSafe(|| hot.from.try_recv().is_ok()));
    }
}
