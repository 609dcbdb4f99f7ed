//! The works, done by std, crossbeam, kanal and tokio: each as its own documentation would have it.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

use crate::run::{
    BURST, LOCKS, MESSAGES, PARKED, ROUND_TRIPS, TASKS, THREADS, YIELDS, per_time, resident,
};

pub fn std_mutex() -> f64 {
    let till = Mutex::new(0_usize);
    per_time(BURST, || {
        for _ in 0..BURST {
            *black_box(&till).lock().unwrap() += 1;
        }
    })
}

pub fn std_mutex_4() -> f64 {
    let till = Mutex::new(0_usize);
    per_time(LOCKS, || {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..LOCKS / 4 {
                        *till.lock().unwrap() += 1;
                    }
                });
            }
        });
    })
}

pub fn std_spawn() -> f64 {
    per_time(THREADS, || {
        for _ in 0..THREADS {
            thread::spawn(|| ()).join().unwrap();
        }
    })
}

/// A ball thrown between two threads, `$channel` being what makes a channel without room.
macro_rules! ball {
    ($channel:expr) => {
        per_time(ROUND_TRIPS, || {
            let (there, there_end) = $channel;
            let (back, back_end) = $channel;
            let ada = thread::spawn(move || {
                for ball in 0..ROUND_TRIPS {
                    there.send(ball).unwrap();
                    back_end.recv().unwrap();
                }
            });
            let grace = thread::spawn(move || {
                while let Ok(ball) = there_end.recv() {
                    back.send(ball).unwrap();
                }
            });
            ada.join().unwrap();
            grace.join().unwrap();
        })
    };
}

pub fn std_rendezvous() -> f64 {
    ball!(mpsc::sync_channel::<usize>(0))
}

pub fn crossbeam_rendezvous() -> f64 {
    ball!(crossbeam_channel::bounded::<usize>(0))
}

pub fn kanal_rendezvous() -> f64 {
    ball!(kanal::bounded::<usize>(0))
}

pub fn std_bounded() -> f64 {
    per_time(MESSAGES, || {
        let (tx, rx) = mpsc::sync_channel::<usize>(128);
        let sender = thread::spawn(move || {
            for message in 0..MESSAGES {
                tx.send(message).unwrap();
            }
        });
        let receiver = thread::spawn(move || {
            for message in rx {
                black_box(message);
            }
        });
        sender.join().unwrap();
        receiver.join().unwrap();
    })
}

/// Messages through a channel whose both ends can be cloned, from `$pairs` threads to as many.
macro_rules! messages {
    ($pairs:expr, $channel:expr) => {
        per_time(MESSAGES, || {
            let (tx, rx) = $channel;
            let mut threads = Vec::new();
            for _ in 0..$pairs {
                let tx = tx.clone();
                threads.push(thread::spawn(move || {
                    for message in 0..MESSAGES / $pairs {
                        tx.send(message).unwrap();
                    }
                }));
            }
            for _ in 0..$pairs {
                let rx = rx.clone();
                threads.push(thread::spawn(move || {
                    while let Ok(message) = rx.recv() {
                        black_box(message);
                    }
                }));
            }
            drop((tx, rx));
            for thread in threads {
                thread.join().unwrap();
            }
        })
    };
}

pub fn crossbeam_bounded() -> f64 {
    messages!(1, crossbeam_channel::bounded::<usize>(128))
}

pub fn crossbeam_bounded_4() -> f64 {
    messages!(4, crossbeam_channel::bounded::<usize>(128))
}

pub fn kanal_bounded() -> f64 {
    messages!(1, kanal::bounded::<usize>(128))
}

pub fn kanal_bounded_4() -> f64 {
    messages!(4, kanal::bounded::<usize>(128))
}

/// As many workers as there are cores.
fn tokio() -> Runtime {
    Builder::new_multi_thread()
        .build()
        .expect("threads for tokio")
}

fn tokio_1() -> Runtime {
    Builder::new_current_thread()
        .build()
        .expect("a runtime on this thread")
}

/// Runs `measured` as a task among the others, and waits for it.
fn in_a_task<T: Send + 'static>(
    runtime: &Runtime,
    measured: impl Future<Output = T> + Send + 'static,
) -> T {
    runtime.block_on(async { tokio::spawn(measured).await.expect("a task that ends") })
}

pub fn tokio_mutex() -> f64 {
    let runtime = tokio_1();
    let till = Arc::new(tokio::sync::Mutex::new(0_usize));
    per_time(BURST, || {
        let till = till.clone();
        in_a_task(&runtime, async move {
            for _ in 0..BURST {
                *black_box(&till).lock().await += 1;
            }
        });
    })
}

pub fn tokio_mutex_4() -> f64 {
    let runtime = tokio();
    let till = Arc::new(tokio::sync::Mutex::new(0_usize));
    per_time(LOCKS, || {
        let till = till.clone();
        in_a_task(&runtime, async move {
            let tasks = [(); 4].map(|()| {
                let till = till.clone();
                tokio::spawn(async move {
                    for _ in 0..LOCKS / 4 {
                        *till.lock().await += 1;
                    }
                })
            });
            for task in tasks {
                task.await.unwrap();
            }
        });
    })
}

pub fn tokio_spawn() -> f64 {
    let runtime = tokio();
    per_time(TASKS, || {
        in_a_task(&runtime, async {
            let mut tasks = Vec::with_capacity(TASKS);
            for _ in 0..TASKS {
                tasks.push(tokio::spawn(async {}));
            }
            for task in tasks {
                task.await.unwrap();
            }
        });
    })
}

pub fn tokio_spawn_one() -> f64 {
    let runtime = tokio();
    per_time(TASKS, || {
        in_a_task(&runtime, async {
            for _ in 0..TASKS {
                tokio::spawn(async {}).await.unwrap();
            }
        });
    })
}

/// tokio has no channel without room; one with room for one is the nearest.
pub fn tokio_rendezvous() -> f64 {
    tokio_ball(&tokio())
}

pub fn tokio_rendezvous_1() -> f64 {
    tokio_ball(&tokio_1())
}

fn tokio_ball(runtime: &Runtime) -> f64 {
    per_time(ROUND_TRIPS, || {
        in_a_task(runtime, async {
            let (there, mut there_end) = tokio::sync::mpsc::channel::<usize>(1);
            let (back, mut back_end) = tokio::sync::mpsc::channel::<usize>(1);
            let ada = tokio::spawn(async move {
                for ball in 0..ROUND_TRIPS {
                    there.send(ball).await.unwrap();
                    back_end.recv().await.unwrap();
                }
            });
            let grace = tokio::spawn(async move {
                while let Some(ball) = there_end.recv().await {
                    back.send(ball).await.unwrap();
                }
            });
            ada.await.unwrap();
            grace.await.unwrap();
        });
    })
}

pub fn tokio_bounded() -> f64 {
    tokio_messages(&tokio())
}

pub fn tokio_bounded_1() -> f64 {
    tokio_messages(&tokio_1())
}

fn tokio_messages(runtime: &Runtime) -> f64 {
    per_time(MESSAGES, || {
        in_a_task(runtime, async {
            let (tx, mut rx) = tokio::sync::mpsc::channel::<usize>(128);
            let sender = tokio::spawn(async move {
                for message in 0..MESSAGES {
                    tx.send(message).await.unwrap();
                }
            });
            let receiver = tokio::spawn(async move {
                while let Some(message) = rx.recv().await {
                    black_box(message);
                }
            });
            sender.await.unwrap();
            receiver.await.unwrap();
        });
    })
}

pub fn tokio_switch() -> f64 {
    let runtime = tokio_1();
    per_time(YIELDS, || {
        in_a_task(&runtime, async {
            let tasks = [(); 2].map(|()| {
                tokio::spawn(async {
                    for _ in 0..YIELDS / 2 {
                        yield_now().await;
                    }
                })
            });
            for task in tasks {
                task.await.unwrap();
            }
        });
    })
}

pub fn tokio_parked() -> f64 {
    static THERE: AtomicUsize = AtomicUsize::new(0);
    let runtime = tokio();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    in_a_task(&runtime, async {});
    let before = resident();
    for _ in 0..PARKED {
        let gate = gate.clone();
        runtime.spawn(async move {
            THERE.fetch_add(1, Ordering::Relaxed);
            assert!(gate.acquire().await.is_err());
        });
    }
    while THERE.load(Ordering::Relaxed) < PARKED {
        thread::yield_now();
    }
    let bytes = resident() - before;
    gate.close();
    bytes as f64 / PARKED as f64
}
