"""Cells that end their process, or are ended: what earlier cells made is there in the next cell."""

import os
import signal
import time

import pytest

from kernel import command_line, processes_with

KEPT = "the variables of earlier cells are kept"

DEADLY = {
    "exit": ("std::process::exit(3);", "Exit", "exit status 3"),
    "abort": ("std::process::abort();", "Signal", "SIGABRT"),
    "segfault": ("unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) }", "Signal", "SIGSEGV"),
    "overflow": ("println!(\"{}\", down(1));", "StackOverflow", "`main` overflowed its stack"),
    "green_overflow": ('go_named("ada", || down(1)).join().ok();', "StackOverflow", "`ada` overflowed its stack of 256 KiB"),
    "exit_of_a_thread": ("spawn(|| { std::process::exit(5) }); loop { std::thread::park() }", "Exit", "exit status 5"),
    "panic_while_panicking": (
        "struct Burnt; impl Drop for Burnt { fn drop(&mut self) { panic!(\"again\") } } let _burnt = Burnt; panic!(\"once\");",
        "Signal",
        "SIGABRT",
    ),
}


@pytest.fixture(scope="module")
def full(kernel):
    """A kernel with some variables of each kind."""
    kernel.execute("fn down(n: u64) -> u64 { if n == 0 { 0 } else { down(n + 1) + 1 } }").good()
    kernel.execute(
        'let v = vec![1, 2, 3]; let text = String::from("rye"); let m = Arc::new(Mutex::new(5)); let (tx, rx) = channel::<i32>();'
    ).good()
    return kernel


@pytest.mark.parametrize("code, ename, words", DEADLY.values(), ids=DEADLY.keys())
def test_a_cell_that_ends_its_process_costs_no_variable(full, code, ename, words):
    cell = full.execute(code)
    assert cell.error["ename"] == ename, str(cell)
    assert words in cell.error["evalue"]
    assert KEPT in cell.traceback
    assert "ended with the process" not in cell.traceback, "nothing was running"
    assert full.execute("(v.len(), text.as_str(), *m.lock().unwrap())").good().result == '(3, "rye", 5)'
    # It is a process as any other: a panic is caught, and the next death too.
    assert full.execute('panic!("burnt")').error["ename"] == "Panic"


def test_what_the_dead_cell_had_moved_is_there_again(full):
    code = "let all: i32 = v.into_iter().sum(); let t = spawn(move || { drop(tx); }); t.join().unwrap(); std::process::exit(all);"
    assert full.execute(code).error["evalue"].endswith("status 6")
    assert full.execute("tx.send(v.len() as i32).unwrap(); rx.recv().unwrap()").good().result == "3"


def test_what_a_dead_cell_defined_is_not_there_and_its_name_is_free(full):
    full.execute("let half = 1; fn half_baked() -> i32 { 1 } std::process::exit(0);")
    assert full.execute("half").error["ename"] == "E0425"
    assert full.execute("fn half_baked() -> i32 { 2 } half_baked()").good().result == "2"


def test_killed_from_outside(full):
    msg_id, so_far = full.execute_and_wait_for('println!("pid {}.", std::process::id());\nloop { std::thread::park() }', ".\n")
    pid = int(so_far[-1]["content"]["text"].split("pid ")[1].split(".")[0])
    os.kill(pid, signal.SIGKILL)
    cell = full.finish(msg_id, "loop", so_far=so_far)
    assert "SIGKILL" in cell.error["evalue"] and KEPT in cell.traceback
    assert full.execute("v.len()").good().result == "3"


def test_a_panic_names_what_it_cost(kernel):
    kernel.execute("let loaves = vec![1]; let (orders, kitchen) = channel::<u8>(); let untouched = 1;").good()
    cell = kernel.execute('let mine = loaves; spawn(move || drop(orders)).join().unwrap(); drop(kitchen); panic!("burnt");')
    assert all(f"`{name}`" in cell.traceback for name in ("kitchen", "loaves", "orders")), cell.traceback
    assert "untouched" not in cell.traceback
    assert kernel.execute("untouched").good().result == "1"


def test_a_process_that_ends_between_cells_costs_no_variable(kernel):
    kernel.execute('let kept = vec![7]; let (tx, rx) = channel::<()>(); let (said, heard) = channel::<()>();').good()
    kernel.execute('spawn_named("late", move || { said.send(()).unwrap(); rx.recv().ok(); std::process::exit(4) }); heard.recv().unwrap();').good()
    # The cell ends with the process still there, and takes the last sender with it.
    kernel.execute("drop(tx);")
    cell = kernel.execute("kept[0]")
    # Told where it belongs: as a note that follows the cell before, with the cell that finds it so, or as that cell's own end.
    assert cell.status == "ok" or "status 4" in cell.error["evalue"], str(cell)
    assert kernel.execute("kept[0]").good().result == "7"


def test_threads_of_earlier_cells_are_named_and_joining_them_is_an_error(kernel):
    kernel.execute('let (tx, rx) = channel::<i32>(); let ada = spawn_named("ada", move || rx.iter().sum::<i32>());').good()
    kernel.execute(
        'let (said, heard) = channel(); let green = go_named("grace", move || { said.send(0).unwrap(); sleep(ms(100_000)); 1 }); heard.recv().unwrap();\n'
        "let done = spawn(|| 4); while !done.is_finished() { yield_now() }"
    ).good()
    cell = kernel.execute("std::process::exit(1);")
    assert "`ada` and `grace`" in cell.traceback, cell.traceback
    cell = kernel.execute("(ada.is_finished(), ada.join().is_err(), green.join().is_err(), tx.send(1).is_ok())").good()
    assert cell.result == "(true, true, true, true)"
    assert kernel.execute("done.join().unwrap()").good().result == "4"


def test_green_tasks_run_after_a_takeover_though_workers_were_alive(kernel):
    kernel.execute("let (keep, gate) = channel::<()>(); let begun = WaitGroup::new(); begun.add(100);").good()
    kernel.execute("for _ in 0..100 { let (gate, begun) = (gate.clone(), begun.clone()); go(move || { begun.done(); gate.recv().ok(); }); } begun.wait();").good()
    assert kernel.execute("std::process::exit(1);").error["ename"] == "Exit"
    code = "let sum: i32 = (0..1000).map(|n| go(move || n)).collect::<Vec<_>>().into_iter().map(|t| t.join().unwrap()).sum(); sum"
    assert kernel.execute(code).good().result == "499500"
    # And the detector counts from nothing: no alarm while a task is on its way, and one when none is.
    assert kernel.execute("let (tx, rx) = bounded::<i32>(0); go(move || { sleep(ms(20)); tx.send(1).unwrap() }); rx.recv().unwrap()").good().result == "1"
    assert kernel.execute("let (tx, rx) = channel::<i32>(); let n = rx.recv(); drop(tx);").error["ename"] == "Deadlock"


def test_a_takeover_while_a_thread_prints_hard(kernel):
    kernel.execute("let kept = 5;").good()
    kernel.execute('std::thread::spawn(|| loop { println!("flood"); eprintln!("flood"); });').good()
    assert kernel.execute("std::process::exit(1);").error["ename"] == "Exit"
    cell = kernel.execute('println!("{kept}"); eprintln!("here"); kept').good()
    assert cell.result == "5" and cell.stdout.endswith("5\n")


def test_the_peer_of_a_dropped_stream_sees_its_end_though_there_is_a_copy(kernel):
    kernel.execute(
        'use std::io::{Read, Write}; use std::net::{TcpListener, TcpStream};\n'
        'let listener = TcpListener::bind("127.0.0.1:0").unwrap(); let address = listener.local_addr().unwrap();\n'
        "let mut stream = TcpStream::connect(address).unwrap(); let (mut peer, _) = listener.accept().unwrap();"
    ).good()
    cell = kernel.execute('stream.write_all(b"bye").unwrap(); drop(stream); let mut all = String::new(); peer.read_to_string(&mut all).unwrap(); all')
    assert cell.good().result == '"bye"'
    kernel.execute("drop(listener);").good()
    assert kernel.execute("TcpListener::bind(address).is_ok()").good().result == "true", "the port is free"
    cell = kernel.execute("std::process::exit(1);")
    assert "1 socket or pipe" in cell.traceback, cell.traceback


def test_the_dead_cells_picture_is_drawn_and_not_mixed_with_the_next(kernel):
    kernel.execute("let kept = 1;").good()
    dead = kernel.execute('spawn_named("ada", || work(ms(1))).join().unwrap(); mark("here"); std::process::exit(1);')
    assert [lane["name"] for lane in dead.timeline["lanes"]] == ["main", "ada"]
    after = kernel.execute('spawn_named("grace", || work(ms(1))).join().unwrap();').good()
    assert [lane["name"] for lane in after.timeline["lanes"]] == ["main", "grace"]
    assert all(lane["end"] == "done" for lane in after.timeline["lanes"]), after.timeline


# The system keeps whoever starts a thread (by `clone3`) waiting for an answer of the descriptor's owner, which is the cell and never gives one. A process
# is started by `clone`. So no thread starts in the copy that is made behind this cell, and nothing is told: as where a lost thread holds the library's lock.
NO_THREAD_STARTS = """unsafe extern "C" { fn prctl(option: i32, ...) -> i32; fn syscall(number: i64, ...) -> i64; }
#[repr(C)] struct Instruction { code: u16, jt: u8, jf: u8, k: u32 }
#[repr(C)] struct Program { len: u16, filter: *const Instruction }
fn let_no_thread_start() -> bool {
    const CLONE3: u32 = 435;
    const SECCOMP: i64 = if cfg!(target_arch = "x86_64") { 317 } else { 277 };
    let filter = [
        Instruction { code: 0x20, jt: 0, jf: 0, k: 0 }, // load the call's number
        Instruction { code: 0x15, jt: 0, jf: 1, k: CLONE3 },
        Instruction { code: 0x06, jt: 0, jf: 0, k: 0x7fc0_0000 }, // SECCOMP_RET_USER_NOTIF
        Instruction { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 }, // SECCOMP_RET_ALLOW
    ];
    let program = Program { len: 4, filter: filter.as_ptr() };
    // PR_SET_NO_NEW_PRIVS; SECCOMP_SET_MODE_FILTER with a new listener, a descriptor that stays open.
    unsafe { prctl(38, 1_u64, 0_u64, 0_u64, 0_u64) == 0 && syscall(SECCOMP, 1_u64, 8_u64, &program as *const Program) >= 0 }
}
let_no_thread_start()"""


def test_a_copy_in_which_no_thread_starts_ends_and_the_kernel_goes_on_without_it(fresh):
    fresh.execute("let kept = 1; fn stays() -> i32 { 3 }").good()
    assert fresh.execute(NO_THREAD_STARTS).good().result == "true"
    began = time.monotonic()
    cell = fresh.execute("std::process::exit(5);")
    assert time.monotonic() - began > 2, "nothing kept the copy from starting a thread"
    # What the cell did, and not what became of the copy, is its error.
    assert cell.error["ename"] == "Exit" and cell.error["evalue"].endswith("exit status 5"), str(cell)
    assert "the variables of earlier cells are lost" in cell.traceback and "run the cells that make the variables again" in cell.traceback, cell.traceback
    assert "no thread started in it within two seconds" in cell.traceback, cell.traceback
    # A process of its own, in which threads start.
    assert fresh.execute("spawn(stays).join().unwrap()").good().result == "3"
    assert fresh.execute("kept").error["ename"] == "E0425"
    fresh.execute("let again = 2;").good()
    assert KEPT in fresh.execute("std::process::exit(1);").traceback
    assert fresh.execute("again").good().result == "2"


def test_children_of_a_dead_cell_end_with_it(kernel):
    kernel.execute("let kept = 1;").good()
    msg_id, so_far = kernel.execute_and_wait_for(
        'let child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();\nprintln!("on");\nloop { std::thread::park() }', "on\n"
    )
    assert any("sleep 1000" in command_line(pid) for pid in processes_with(kernel.mark))
    kernel.manager.interrupt_kernel()
    assert kernel.finish(msg_id, "loop", so_far=so_far).error["ename"] == "Interrupted"
    assert kernel.execute("kept").good().result == "1"
    assert not any("sleep 1000" in command_line(pid) for pid in processes_with(kernel.mark))


def test_too_much_memory_is_told_and_costs_no_variable(start, monkeypatch):
    monkeypatch.setenv("THREADBOOK_MEMORY_LIMIT", "200M")
    kernel = start()
    kernel.execute("let kept = vec![1; 1000];").good()
    cell = kernel.execute("let mut hoard = Vec::new(); loop { hoard.push(vec![1_u8; 1 << 20]); sleep(ms(1)); if hoard.is_empty() { break } }")
    assert cell.error["ename"] == "OutOfMemory", str(cell)
    assert "may have 200 MiB" in cell.error["evalue"] and KEPT in cell.traceback
    assert kernel.execute("kept.len()").good().result == "1000"


def test_above_a_size_no_copy_is_made_and_the_cell_says_so_once(kernel):
    note = "no copy of it is made"
    cell = kernel.execute("let big = vec![1_u8; 300 << 20]; let small = 1;").good()
    assert note in cell.stream("stderr"), str(cell)
    assert note not in kernel.execute("small").good().stream("stderr")
    lost = kernel.execute("std::process::exit(1);")
    assert "the variables of earlier cells are lost" in lost.traceback, lost.traceback
    kernel.execute("let big = vec![1_u8; 300 << 20]; let small = 2;").good()
    assert note not in kernel.execute("drop(big);").good().stream("stderr")
    assert KEPT in kernel.execute("std::process::exit(1);").traceback
    assert kernel.execute("small").good().result == "2"


def processes_and_descriptors(kernel):
    """The processes of a kernel, and how many descriptors each has."""
    return sorted(len(os.listdir(f"/proc/{pid}/fd")) for pid in processes_with(kernel.mark))


def test_dying_cells_leave_nothing_behind(kernel):
    """Zombies, descriptors and stale copies, counted. `THREADBOOK_DYING_CELLS` sets how many cells die."""
    kernel.execute("let kept = 9;").good()
    kernel.execute("std::process::exit(1);")
    kernel.execute("kept").good()
    before = processes_and_descriptors(kernel)
    for n in range(int(os.environ.get("THREADBOOK_DYING_CELLS", "40"))):
        cell = kernel.execute(["std::process::exit(1);", "std::process::abort();"][n % 2])
        assert KEPT in cell.traceback, str(cell)
    assert kernel.execute("kept").good().result == "9"
    assert processes_and_descriptors(kernel) == before
    states = [open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] for pid in processes_with(kernel.mark)]
    assert "Z" not in states, states


def test_without_snapshots_a_death_costs_the_variables_and_says_so(kernel):
    assert "no copy" in kernel.execute(":snapshots off").good().contents("execute_result")[0]["data"]["text/plain"]
    kernel.execute("let gone = 1;").good()
    cell = kernel.execute("std::process::exit(1);")
    assert "the variables of earlier cells are lost" in cell.traceback, cell.traceback
    kernel.execute(":snapshots on\nlet kept = 2;").good()
    assert KEPT in kernel.execute("std::process::exit(1);").traceback
    assert kernel.execute("kept").good().result == "2"
