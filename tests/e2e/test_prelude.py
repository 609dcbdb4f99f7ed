"""What the prelude brings, in cells of a learner's through the real kernel: green tasks, the race, select, checks, programs."""


def lanes(cell):
    return {lane["name"]: lane for lane in cell.timeline["lanes"]}


def test_a_hundred_thousand_tasks_wait_at_once(kernel):
    cell = kernel.execute(
        """let (gate, ready, done) = (WaitGroup::new(), WaitGroup::new(), WaitGroup::new());
gate.add(1);
ready.add(100_000);
for _ in 0..100_000 {
    let (gate, ready) = (gate.clone(), ready.clone());
    done.go(move || {
        ready.done();
        gate.wait();
    });
}
ready.wait();
gate.done();
done.wait();
println!("{} are not done", done.count());"""
    ).good()
    assert cell.stdout == "0 are not done\n"
    assert len(cell.timeline["lanes"]) > 1


def test_one_worker_runs_the_same_order_every_time(kernel):
    code = """workers(1);
let (tx, rx) = bounded(1);
for name in ["ada", "grace"] {
    let tx = tx.clone();
    go_named(name, move || {
        for loaf in 1..=3 {
            tx.send(format!("{name} {loaf}")).unwrap();
            yield_now();
        }
    });
}
drop(tx);
rx.iter().collect::<Vec<_>>().join(", ")"""
    first = kernel.execute(code).good().result
    assert first.count("ada") == 3 and first.count("grace") == 3, first
    assert all(kernel.execute(code).good().result == first for _ in range(3))
    # For that cell only.
    assert int(kernel.execute("workers(0)").good().result) >= 1


def test_the_race_loses_an_update_and_an_atomic_does_not(kernel):
    code = """workers(1);
let shelf = Arc::new(SHELF);
let bakers = ["ada", "grace"].map(|name| {
    let shelf = shelf.clone();
    go_named(name, move || STEP)
});
for baker in bakers {
    baker.join().unwrap();
}
println!("{} loaves", shelf.load(Ordering::SeqCst));"""
    racy = code.replace("SHELF", "Racy::new(0)").replace("STEP", "shelf.read_then_write(|loaves| loaves + 1)")
    cell = kernel.execute(racy).good()
    assert cell.stdout == "1 loaves\n"
    assert ["ada", "grace"] in [sorted(pair) for pair in cell.timeline["concurrent"]]
    atomic = code.replace("SHELF", "AtomicU64::new(0)").replace("STEP", "{ shelf.fetch_add(1, Ordering::SeqCst); }")
    assert kernel.execute(atomic).good().stdout == "2 loaves\n"


BAKE = """fn bake() -> u64 {
    let shelf = Arc::new(SHELF);
    let bakers = ["ada", "grace"].map(|name| {
        let shelf = shelf.clone();
        go_named(name, move || STEP)
    });
    for baker in bakers {
        baker.join().unwrap();
    }
    shelf.load(Ordering::SeqCst)
}
check!(bake() => 2, "both bake at the same time": |f| f.concurrent("ada", "grace"))"""


def test_a_check_catches_the_race_whatever_the_schedule_was(kernel):
    racy = BAKE.replace("SHELF", "Racy::new(0)").replace("STEP", "shelf.read_then_write(|loaves| loaves + 1)")
    cell = kernel.execute(racy)
    assert cell.error["ename"] == "CheckFailed"
    assert cell.error["evalue"] == "gave 1, and 2 was wanted"
    assert "| check!(bake() => 2" in cell.traceback
    # Of twenty runs the picture shows the one that failed.
    assert sorted(lanes(cell)) == ["ada", "grace", "main"] and len(cell.timeline["lanes"]) == 3
    atomic = BAKE.replace("SHELF", "AtomicU64::new(0)").replace("STEP", "{ shelf.fetch_add(1, Ordering::SeqCst); }")
    cell = kernel.execute(atomic).good()
    assert len(cell.timeline["lanes"]) == 3


def test_a_check_catches_what_is_right_and_not_concurrent(kernel):
    one_by_one = """fn bake() -> u64 {
    let shelf = Arc::new(AtomicU64::new(0));
    for name in ["ada", "grace"] {
        let shelf = shelf.clone();
        go_named(name, move || { shelf.fetch_add(1, Ordering::SeqCst); }).join().unwrap();
    }
    shelf.load(Ordering::SeqCst)
}
check!(bake() => 2, "both bake at the same time": |f| f.concurrent("ada", "grace"))"""
    cell = kernel.execute(one_by_one)
    assert cell.error["ename"] == "CheckFailed"
    assert "both bake at the same time" in cell.error["evalue"]


def test_a_check_tells_of_a_deadlock_and_the_notebook_lives_on(kernel):
    kernel.execute("let kept = 7;").good()
    cell = kernel.execute(
        """fn sell() -> u64 {
    let (tx, rx) = channel::<u64>();
    go_named("ada", { let tx = tx.clone(); move || tx.send(1).unwrap() });
    rx.iter().sum()
}
check!(sell() => 1, "ada sells": |f| f.task("ada").sent() == 1)"""
    )
    assert cell.error["ename"] == "CheckFailed"
    assert "deadlock" in cell.error["evalue"]
    assert kernel.execute("kept").good().result == "7"


def test_select_takes_what_is_ready(kernel):
    cell = kernel.execute(
        """let (bread, from_ada) = bounded(0);
let (cake, from_grace) = bounded(0);
let bakers = [go_named("ada", move || bread.send("bread")), go_named("grace", move || cake.send("cake"))];
let mut sold = Vec::new();
while sold.len() < 2 {
    select! {
        recv(from_ada) -> it => sold.extend(it),
        recv(from_grace) -> it => sold.extend(it),
    }
}
// Who waits until a message is taken says that it was sent when it goes on, which may be after the end of the cell.
for baker in bakers { baker.join().unwrap().unwrap(); }
sold.sort();
sold"""
    ).good()
    assert cell.result == '["bread", "cake"]'
    edges = [(e["kind"], e["from"], e["to"]) for e in cell.timeline["edges"]]
    assert ("message", "ada", "main") in edges and ("message", "grace", "main") in edges


def test_a_program_takes_its_tasks_with_it(kernel):
    cell = kernel.execute(
        """program(|| {
    go_named("ada", || { sleep(ms(60_000)); println!("too late"); });
    println!("main returns");
})"""
    ).good()
    assert cell.stdout == "main returns\n"
    assert lanes(cell)["ada"]["end"] == "program"
    assert kernel.execute("1 + 1").good().result == "2"


def test_a_stack_that_is_too_small_is_named(fresh):
    fresh.execute("fn knead(n: u64) -> u64 { if n == 0 { 0 } else { 1 + knead(n - 1) } }").good()
    for code, who in [
        ('go_named("ada", || knead(u64::MAX)).join().unwrap()', "`ada` overflowed its stack of 256 KiB"),
        ('spawn_named("grace", || knead(u64::MAX)).join().unwrap()', "`grace` overflowed its stack"),
        ("knead(u64::MAX)", "`main` overflowed its stack"),
    ]:
        cell = fresh.execute(code)
        assert cell.error["ename"] == "StackOverflow", str(cell)
        assert cell.error["evalue"].startswith(who), str(cell)
        assert fresh.execute("knead(100)").good().result == "100"


def test_the_types_of_std_are_kept_apart_from_ours(fresh):
    """A learner's own `use` changes what a name means from then on, and no variable of ours is lost by it."""
    fresh.execute(
        "let (lock, flag, all, once) = (RwLock::new(1), AtomicBool::new(true), Barrier::new(1), OnceLock::<u8>::new());\n"
        "let shelf = Racy::new(5);"
    ).good()
    fresh.execute("use std::sync::{RwLock, Barrier, OnceLock, atomic::AtomicBool};\nstruct Racy;").good()
    cell = fresh.execute("all.wait();\nonce.set(3).unwrap();\n(*lock.read().unwrap(), flag.load(Ordering::SeqCst), *once.get().unwrap(), shelf.load(Ordering::SeqCst))")
    assert cell.good().result == "(1, true, 3, 5)"
