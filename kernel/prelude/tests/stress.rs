//! Random programs over all primitives and both engines: those that cannot deadlock are never reported, those that must are always, and come back.
//!
//! A program of its own and not libtest's, whose threads would mean that no verdict is ever given. Runs for `THREADBOOK_STRESS_SECONDS` (3 unless set;
//! `cargo verify` sets 60; for ten minutes, set 600). Each program has a seed, which is printed when it fails: set `THREADBOOK_STRESS_SEED` to run it alone.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use threadbook_prelude::*;

/// xorshift64*: the same row for the same seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Starts a task on either engine.
fn begin<T: Send + 'static>(
    random: &mut Random,
    body: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    if random.chance(70) {
        go(body)
    } else {
        spawn(body)
    }
}

fn pause(random: &mut Random) {
    match random.below(12) {
        0 => yield_now(),
        1 => sleep(Duration::from_micros(random.below(200))),
        2 => std::hint::spin_loop(),
        _ => {}
    }
}

/// Senders and receivers, as many messages as are received.
fn stalls(random: &mut Random) {
    let capacity = [0, 0, 1, 3, 64][random.below(5) as usize];
    let (tx, rx) = if random.chance(15) {
        channel()
    } else {
        bounded(capacity)
    };
    let (senders, each) = (1 + random.below(4), random.below(60));
    let mut tasks = Vec::new();
    for _ in 0..senders {
        let (tx, mut random) = (tx.clone(), Random::new(random.next()));
        let body = move || {
            for message in 0..each {
                pause(&mut random);
                if random.chance(10) {
                    while tx.send_timeout(message, Duration::from_micros(50)).is_err() {}
                } else {
                    tx.send(message).unwrap();
                }
            }
            0
        };
        tasks.push(begin(&mut Random::new(tasks.len() as u64), body));
    }
    drop(tx);
    for _ in 0..=random.below(3) {
        let (rx, mut random_there) = (rx.clone(), Random::new(random.next()));
        let body = move || {
            let mut got = 0;
            loop {
                pause(&mut random_there);
                if random_there.chance(10) {
                    match rx.recv_timeout(Duration::from_micros(50)) {
                        Ok(_) => got += 1,
                        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                        Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return got,
                    }
                } else if rx.recv().is_ok() {
                    got += 1;
                } else {
                    return got;
                }
            }
        };
        tasks.push(begin(random, body));
    }
    drop(rx);
    let got: u64 = tasks.into_iter().map(|task| task.join().unwrap()).sum();
    assert_eq!(got, senders * each, "messages that arrived");
}

/// Locks taken in one order, held over waits.
fn ovens(random: &mut Random) {
    let ovens: Vec<_> = (0..1 + random.below(4))
        .map(|_| Arc::new(Mutex::new(0_u64)))
        .collect();
    let (tasks, rounds) = (1 + random.below(6), random.below(40));
    let mut bakers = Vec::new();
    for _ in 0..tasks {
        let (ovens, mut random_there) = (ovens.clone(), Random::new(random.next()));
        let body = move || {
            for _ in 0..rounds {
                let first = random_there.below(ovens.len() as u64) as usize;
                let second = first + random_there.below((ovens.len() - first) as u64) as usize;
                let mut one = ovens[first].lock().unwrap();
                *one += 1;
                pause(&mut random_there);
                if second != first {
                    let mut other = ovens[second].lock().unwrap();
                    pause(&mut random_there);
                    *other += 1;
                    *one -= 1;
                }
            }
        };
        bakers.push(begin(random, body));
    }
    bakers.into_iter().for_each(|baker| baker.join().unwrap());
    let sum: u64 = ovens.iter().map(|oven| *oven.lock().unwrap()).sum();
    assert_eq!(sum, tasks * rounds, "turns at the ovens");
}

/// A wait group whose tasks start others.
fn shifts(random: &mut Random) {
    let (group, done) = (
        WaitGroup::new(),
        Arc::new(std::sync::atomic::AtomicU64::new(0)),
    );
    let (tasks, more) = (random.below(30), random.below(3));
    for _ in 0..tasks {
        let (inner, done, mut random_there) =
            (group.clone(), done.clone(), Random::new(random.next()));
        let mut body = move || {
            pause(&mut random_there);
            for _ in 0..more {
                let done = done.clone();
                inner.go(move || _ = done.fetch_add(1, Ordering::Relaxed));
            }
            done.fetch_add(1, Ordering::Relaxed);
        };
        if random.chance(80) {
            group.go(body);
        } else {
            group.add(1);
            let group = group.clone();
            drop(spawn(move || {
                body();
                group.done();
            }));
        }
    }
    group.wait();
    assert_eq!(
        done.load(Ordering::Relaxed),
        tasks * (more + 1),
        "tasks done"
    );
}

/// A scope whose tasks borrow, meet at a rendezvous, and panic now and then.
fn counter(random: &mut Random) {
    let (till, pairs) = (Mutex::new(0), 1 + random.below(4));
    let burnt = random.chance(20);
    scope(|s| {
        for _ in 0..pairs {
            let (tx, rx) = bounded(0);
            let till = &till;
            s.go(move || tx.send(2).unwrap());
            if random.chance(50) {
                s.spawn(move || *till.lock().unwrap() += rx.recv().unwrap());
            } else {
                s.go(move || *till.lock().unwrap() += rx.recv().unwrap());
            }
        }
        if burnt {
            let failed = s.go(|| std::panic::resume_unwind(Box::new("burnt"))).join();
            assert!(failed.is_err());
        }
    });
    assert_eq!(till.into_inner().unwrap(), 2 * pairs);
}

/// A thread that the prelude does not know brings what all others wait for.
fn delivery(random: &mut Random) {
    let (tx, rx) = channel();
    let late = Duration::from_micros(random.below(3000));
    let truck = std::thread::spawn(move || {
        std::thread::sleep(late);
        tx.send(7).unwrap();
    });
    let baker = begin(random, move || rx.recv().unwrap());
    assert_eq!(baker.join().unwrap(), 7);
    truck.join().unwrap();
}

const GOOD: &[fn(&mut Random)] = &[stalls, ovens, shifts, counter, delivery];

/// Programs that come to a stop for ever, each in a way that must be noticed. They give back what must still be whole.
fn stuck(random: &mut Random) {
    match random.below(6) {
        0 => {
            let (tx, rx) = bounded::<u64>(random.below(2) as usize);
            let held = tx.clone();
            drop(begin(random, move || drop(tx)));
            let _ = rx.recv();
            drop(held);
        }
        1 => {
            let group = WaitGroup::new();
            group.add(2);
            let theirs = group.clone();
            drop(begin(random, move || theirs.done()));
            group.wait();
        }
        2 => {
            let till = Mutex::new(0);
            let _first = till.lock().unwrap();
            let _second = till.lock().unwrap();
        }
        3 => {
            // A ring of locks, each taken before any waits for the next.
            let count = 2 + random.below(3) as usize;
            let ovens: Vec<_> = (0..count).map(|_| Arc::new(Mutex::new(()))).collect();
            let all = WaitGroup::new();
            all.add(count);
            let bakers: Vec<_> = (0..count)
                .map(|at| {
                    let (mine, next) = (ovens[at].clone(), ovens[(at + 1) % count].clone());
                    let all = all.clone();
                    begin(random, move || {
                        let _mine = mine.lock().unwrap();
                        all.done();
                        all.wait();
                        let _next = next.lock().unwrap();
                    })
                })
                .collect();
            let ended: Vec<_> = bakers.into_iter().map(JoinHandle::join).collect();
            assert!(
                ended.iter().all(Result::is_err),
                "each of the ring is ended"
            );
            assert!(
                ovens.iter().all(|oven| !oven.is_poisoned()),
                "and poisons nothing"
            );
            std::panic::resume_unwind(Box::new("as it should"));
        }
        4 => {
            let (tx, rx) = bounded::<u64>(0);
            let keeps = rx.clone();
            let sender = begin(random, move || tx.send(1));
            let _ = sender.join().map(|sent| sent.is_ok());
            drop((rx, keeps));
        }
        _ => {
            let till = Arc::new(Mutex::new(0));
            let theirs = till.clone();
            let _mine = till.lock().unwrap();
            let _ = begin(random, move || *theirs.lock().unwrap()).join();
            unreachable!("main waits for a task that waits for it");
        }
    }
}

/// Runs one program; gives what went wrong.
fn run(seed: u64) -> Result<(), String> {
    let mut random = Random::new(seed);
    let before = if random.chance(30) { workers(1) } else { 0 };
    let must_stop = random.chance(15);
    let result = catch_unwind(AssertUnwindSafe(|| {
        if must_stop {
            stuck(&mut random);
        } else {
            for _ in 0..=random.below(2) {
                let which = random.below(GOOD.len() as u64) as usize;
                GOOD[which](&mut random);
            }
        }
    }));
    workers(before);
    match (must_stop, result) {
        (false, Ok(())) | (true, Err(_)) => Ok(()),
        (true, Ok(())) => Err("it must come to a stop, and did not".into()),
        (false, Err(why)) => Err(match why.downcast_ref::<String>() {
            Some(words) => words.clone(),
            None => "it was ended, and could have gone on".into(),
        }),
    }
}

/// Longest that one program may take: whatever it is, it is not slow but stuck.
const DEADLINE: Duration = Duration::from_secs(20);

fn main() {
    // Told of what libtest would be told.
    if std::env::args().any(|word| word == "--list") {
        println!("stress: test");
        return;
    }
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse().expect(name))
    };
    if let Some(seed) = number("THREADBOOK_STRESS_SEED") {
        run(seed).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        println!("seed {seed} is good");
        return;
    }
    let seconds = number("THREADBOOK_STRESS_SECONDS").unwrap_or(3);
    let first = number("THREADBOOK_STRESS_FIRST").unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(1, |since| since.as_nanos() as u64)
    });
    let (begin, mut count) = (Instant::now(), 0);
    // In another process: a thread of this one would be a thread that is not known, and nothing would ever be reported.
    let watch = start_watch();
    // Some thousand reports are right, and nobody reads them.
    let mut loud = hush();
    while begin.elapsed() < Duration::from_secs(seconds) {
        let seed = first.wrapping_add(count);
        watch.tell(seed);
        if let Err(why) = run(seed) {
            let _ = writeln!(
                loud,
                "stress: FAILED at seed {seed}: {why}\n  THREADBOOK_STRESS_SEED={seed} runs it alone"
            );
            std::process::exit(1);
        }
        count += 1;
    }
    println!(
        "\nrunning 1 test\ntest stress ... ok: {count} programs from seed {first}\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in {:.2}s\n",
        begin.elapsed().as_secs_f64()
    );
}

/// Sends standard error away, and gives what it was.
fn hush() -> std::fs::File {
    use std::os::fd::{AsRawFd as _, FromRawFd as _};
    let nowhere = std::fs::File::options()
        .write(true)
        .open("/dev/null")
        .expect("it is there");
    // SAFETY: copies one descriptor, which the file owns from then on, and puts an open one in its place.
    unsafe {
        let loud = libc::dup(2);
        assert!(loud >= 0 && libc::dup2(nowhere.as_raw_fd(), 2) == 2);
        std::fs::File::from_raw_fd(loud)
    }
}

/// Another process that ends this one, with words, when it hears nothing for too long.
struct Watch(std::process::Child);

fn start_watch() -> Watch {
    let script = format!(
        "while read -t {} seed; do last=$seed; done; status=$?; if [ $status -gt 128 ]; then echo \"stress: FAILED: seed $last hangs\" >&2; kill -ABRT {}; fi",
        DEADLINE.as_secs(),
        std::process::id()
    );
    let child = std::process::Command::new("bash")
        .args(["-c", &script])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("bash is there");
    Watch(child)
}

impl Watch {
    fn tell(&self, seed: u64) {
        let mut to = self.0.stdin.as_ref().expect("piped");
        writeln!(to, "{seed}").expect("it listens");
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
