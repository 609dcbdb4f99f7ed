"""Interrupts: the cell ends at once, red, and nothing that earlier cells made is lost."""

import time
from pathlib import Path

import pytest

from kernel import DEADLINE, processes_with

# From the interrupt to idle, in seconds. Not a measure of speed: twice the time after which a cell that does not end is ended with its process.
SOON = 1.5

STD_THREAD = "std::thread::spawn(|| loop { std::thread::park() });\n"

BY_THEMSELVES = {
    "sleep": ("sleep(ms(100_000));", "`main` sleeps at line 2"),
    "work": ("work(ms(100_000));", "`main` was running"),
    "yield": ("loop { yield_now(); }", "`main` was running"),
    # A thread of std's could be one that sends, so these are no deadlocks.
    "recv": (STD_THREAD + "let (a, b) = channel::<i32>(); let n = b.recv(); drop(a);", "`main` waits for a message on"),
    "lock": (
        'let lock = Arc::new(Mutex::new(1).named("oven")); let mine = lock.clone(); { let held = lock.lock().unwrap();\n'
        'spawn_named("ada", move || { *mine.lock().unwrap() += 1; }); sleep(ms(100_000)); drop(held); }',
        "`ada` waits for lock `oven` at line 3, which `main` has since line 2",
    ),
    "scope": ("scope(|s| { s.spawn(|| sleep(ms(100_000))); s.spawn(|| sleep(ms(100_000))); });", "`main` waits for the threads of its scope"),
    "green": ('for t in [go_named("ada", || sleep(ms(100_000)))] { t.join().ok(); }', "`ada` sleeps at line 2"),
    "wait_group": (STD_THREAD + "let wg = WaitGroup::new(); wg.add(1); wg.wait();", "`main` waits for zero in"),
    "condvar": (
        STD_THREAD + "let pair = (Mutex::new(()), Condvar::new()); drop(pair.1.wait(pair.0.lock().unwrap()));",
        "`main` waits to be notified by",
    ),
    "select": (STD_THREAD + "let (a, b) = channel::<i32>(); select! { recv(b) -> _ => {} } drop(a);", "`main` waits for the first of several channels"),
}

WITH_THE_PROCESS = {
    "loop": "loop {}",
    "sleep_of_std": "std::thread::sleep(ms(100_000));",
    "a_wait_that_is_caught_again_and_again": "loop { std::panic::catch_unwind(|| sleep(ms(1))).ok(); }",
}


def interrupted(kernel, code):
    """Runs a cell, interrupts it, and gives what came of it; fails when that took too long."""
    code = 'println!("on");\n' + code
    msg_id, so_far = kernel.execute_and_wait_for(code, "on\n")
    began = time.monotonic()
    kernel.manager.interrupt_kernel()
    cell = kernel.finish(msg_id, code, so_far=so_far)
    assert time.monotonic() - began < SOON
    assert cell.error["ename"] == "Interrupted", str(cell)
    return cell


@pytest.fixture(scope="module")
def full(kernel):
    """A kernel with a variable, and a thread that gives back twice what it gets."""
    kernel.execute(
        "let kept = vec![1, 2, 3]; let (tx, rx) = channel::<i32>(); let (give, get) = channel::<i32>();\n"
        'spawn_named("doubler", move || for n in rx { give.send(2 * n).unwrap() });'
    ).good()
    return kernel


@pytest.mark.parametrize("code, words", BY_THEMSELVES.values(), ids=BY_THEMSELVES.keys())
def test_a_wait_interrupted_keeps_variables_and_threads_of_earlier_cells(full, code, words):
    cell = interrupted(full, code)
    assert words in cell.traceback, cell.traceback
    assert "what they started goes on" in cell.traceback
    assert "doubler" not in cell.traceback
    ends = {lane["name"]: lane["end"] for lane in cell.timeline["lanes"]} if cell.contents("display_data") else {}
    assert ends.get("main", "interrupted") == "interrupted"
    assert full.execute("tx.send(21).unwrap(); (kept.len(), get.recv().unwrap())").good().result == "(3, 42)"


def test_a_mutex_that_an_interrupted_cell_held_is_not_poisoned(full):
    full.execute("let till = Arc::new(Mutex::new(1));").good()
    interrupted(full, "{ let mut held = till.lock().unwrap(); *held += 1; sleep(ms(100_000)); }")
    assert full.execute("*till.lock().unwrap()").good().result == "2"


@pytest.mark.parametrize("code", WITH_THE_PROCESS.values(), ids=WITH_THE_PROCESS.keys())
def test_loop_forever_interrupted_keeps_variables(full, code):
    full.execute('spawn_named("ada", || sleep(ms(100_000)));').good()
    cell = interrupted(full, code)
    assert "the variables of earlier cells are kept" in cell.traceback and "`ada`" in cell.traceback
    assert full.execute("kept.len()").good().result == "3"


def test_asked_twice_a_loop_ends_at_once(full):
    msg_id, so_far = full.execute_and_wait_for('println!("on");\nloop {}', "on\n")
    full.manager.interrupt_kernel()
    full.manager.interrupt_kernel()
    assert full.finish(msg_id, "loop {}", so_far=so_far).error["ename"] == "Interrupted"
    assert full.execute("kept.len()").good().result == "3"


def test_an_interrupt_that_comes_too_late_does_not_hurt_the_next_cell(full):
    full.execute("1 + 1").good()
    # Answered before the next cell is sent: on their way the two would race each other, and one that comes second is about that cell.
    request = full.client.session.msg("interrupt_request", {})
    full.client.control_channel.send(request)
    full.reply_to(request["header"]["msg_id"], full.client.get_control_msg)
    assert full.execute("sleep(ms(50)); kept.len()").good().result == "3"


def compilers(kernel):
    """The compilers that work for a kernel, by process."""
    named = []
    for pid in processes_with(kernel.mark):
        try:
            # As the system names it: the kernel's own program goes by this name only until it is the compiler.
            program = Path(f"/proc/{pid}/exe").resolve().name
        except OSError:
            continue
        if program == "rustc":
            named.append(pid)
    return named


def test_an_interrupt_while_a_cell_compiles_ends_the_compiler_and_loses_nothing(full):
    # A thread of its own, since the cells above that were ended with their process took the doubler with them.
    full.execute('let (to, from) = channel::<i32>(); let (back, tripled) = channel::<i32>(); spawn_named("tripler", move || for n in from { back.send(3 * n).unwrap() });').good()
    # New each time, since what was compiled before is not compiled again.
    new = time.time_ns()
    code = "\n".join(f"fn f{n}(x: u64) -> u64 {{ (0..x + {new}).map(|y| y * {n}).filter(|y| y % 3 == 1).zip(1u64..).map(|(a, b)| a ^ b).sum() }}" for n in range(400))
    code += "\n" + "\n".join(f"f{n}(1);" for n in range(400))
    msg_id = full.send(code)
    end = time.monotonic() + DEADLINE
    while not compilers(full):
        assert time.monotonic() < end, "no compiler was seen"
    began = time.monotonic()
    full.manager.interrupt_kernel()
    cell = full.finish(msg_id, code)
    assert time.monotonic() - began < SOON
    assert cell.error["ename"] == "Interrupted", str(cell)
    assert compilers(full) == []
    assert full.execute("to.send(4).unwrap(); (kept.len(), tripled.recv().unwrap())").good().result == "(3, 12)"


def test_an_interrupt_while_rust_analyzer_works_is_not_lost(fresh):
    """No compiler runs then, and nothing can stop what does; but when it is done the cell ends, in the compiler or as soon as it runs."""
    fresh.execute("type Two<A> = (A, A); let kept = 3;").good()
    # A type of 65,536 numbers takes rust-analyzer seconds.
    code = "let big: Option<" + "Two<" * 16 + "u8" + ">" * 16 + '> = None;\nsleep(ms(100_000));'
    msg_id = fresh.send(code)
    began = fresh.get(fresh.client.get_iopub_msg, "the cell's beginning", DEADLINE)
    while began["parent_header"].get("msg_id") != msg_id or began["msg_type"] != "execute_input":
        began = fresh.get(fresh.client.get_iopub_msg, "the cell's beginning", DEADLINE)
    fresh.manager.interrupt_kernel()
    cell = fresh.finish(msg_id, code)
    assert cell.error["ename"] == "Interrupted", str(cell)
    assert fresh.execute("kept").good().result == "3"
