"""Output of tasks that outlive their cells: it stands below the cell that started them, and is said to be late."""

import re

NOTE = "after the end of this cell:"


def below(kernel, cell, until):
    """The messages that come below a cell after its end, up to the one that `until` accepts; those that came before are in `elsewhere`."""
    msg_id = cell.reply["parent_header"]["msg_id"]
    mine = [m for m in kernel.elsewhere if m["parent_header"].get("msg_id") == msg_id]
    while not until(mine):
        message = kernel.get(kernel.client.get_iopub_msg, "late output", 30, mine)
        (mine if message["parent_header"].get("msg_id") == msg_id else kernel.elsewhere).append(message)
    return mine


def text(messages, name="stdout"):
    return "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream" and m["content"]["name"] == name)


def notes(messages):
    return [m for m in messages if m["content"].get("data", {}).get("text/plain") == NOTE]


def test_a_ticker_prints_below_its_own_cell_while_later_cells_run(fresh):
    first = fresh.execute(
        """let (stop, stopped) = bounded::<()>(0);
let ticker = spawn(move || {
    let mut n = 0;
    while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) { println!("tick {n}"); n += 1; sleep(ms(1)); }
    n
});
println!("of the first");"""
    ).good()
    # Each of these waits until the ticker has printed while it ran.
    second = fresh.execute('for _ in 0..20 { println!("second"); sleep(ms(5)); }').good()
    third = fresh.execute('for _ in 0..20 { print!("third "); sleep(ms(5)); }').good()
    count = int(fresh.execute("stop.send(()).unwrap();\nticker.join().unwrap()").good().result)
    assert count > 40, "it did not run beside the cells"
    assert second.stdout == "second\n" * 20 and third.stdout == "third " * 20
    late = below(fresh, first, lambda mine: f"tick {count - 1}\n" in text(mine))
    ticks = re.findall(r"tick (\d+)\n", first.stdout + text(late))
    assert ticks == [str(n) for n in range(count)], "each once, whole and in order"
    # The first late line may come before the client has heard that the cell is over.
    mine = first.messages + late
    assert len(notes(mine)) == 1, "said once"
    note = mine.index(notes(mine)[0])
    assert "of the first\n" in text(mine[:note]) and f"tick {count - 1}\n" in text(mine[note:]), "before what is late"


def test_parts_of_lines_of_two_cells_do_not_mix(fresh):
    first = fresh.execute(
        """let (turn, turns) = bounded::<()>(0);
let (done, dones) = bounded::<()>(0);
let slow = spawn(move || { for n in 0..6 { if turns.recv().is_err() { return; } print!("{n}"); if n % 3 == 2 { println!(); } done.send(()).unwrap(); } });"""
    ).good()
    code = """for n in ["a", "b", "c", "d", "e", "f"] { print!("{n}"); turn.send(()).unwrap(); dones.recv().unwrap(); }"""
    assert fresh.execute(code).good().stdout == "abcdef"
    late = below(fresh, first, lambda mine: text(mine).count("\n") == 2)
    assert text(late) == "012\n345\n"


def test_many_tasks_that_print_late_at_once_lose_no_line(fresh):
    first = fresh.execute(
        """let (go_on, gate) = bounded::<()>(0);
let gate = Arc::new(Mutex::new(gate));
let many: Vec<_> = (0..20).map(|task| { let gate = gate.clone(); let f = move || {
    let _ = gate.lock().unwrap().recv();
    for n in 0..200 { println!("{task}:{n}"); }
    eprintln!("{task}:done");
}; if task % 2 == 0 { spawn(f) } else { go(f) } }).collect();"""
    ).good()
    second = fresh.execute('drop(go_on);\nfor n in 0..2_000 { println!("on time {n}"); }\nfor task in many { task.join().unwrap(); }').good()
    assert second.stdout == "".join(f"on time {n}\n" for n in range(2_000)) and not second.stream("stderr")
    late = below(fresh, first, lambda mine: text(mine).count("\n") >= 4_000 and text(mine, "stderr").count("\n") >= 20)
    lines = text(late).splitlines()
    for task in range(20):
        assert [line for line in lines if line.startswith(f"{task}:")] == [f"{task}:{n}" for n in range(200)]
    assert len(lines) == 4_000
    assert sorted(text(late, "stderr").splitlines()) == sorted(f"{task}:done" for task in range(20))
    # In few messages, though two cells print by turns: a browser would choke on one for each line.
    assert len(late) < 500, len(late)


def test_a_late_flood_is_limited_and_costs_the_cell_that_runs_nothing(fresh):
    fresh.execute(":output_limit 1").good()
    first = fresh.execute('let (go_on, gate) = bounded::<()>(0);\nlet flood = spawn(move || { gate.recv().ok(); for _ in 0..20_000 { println!("{:0>99}", 0); } });').good()
    second = fresh.execute('go_on.send(()).unwrap();\nflood.join().unwrap();\nfor _ in 0..9_000 { println!("{:1>99}", 1); }').good()
    assert len(second.stdout) == 900_000, "its own budget is whole"
    late = below(fresh, first, lambda mine: "not shown" in text(mine))
    assert text(late).count("0" * 99 + "\n") == 10_000 and "1 MB more" in text(late), text(late)[-300:]


def test_a_task_that_panics_late_says_so_below_its_own_cell(fresh):
    first = fresh.execute('let (go_on, gate) = bounded::<()>(0);\nlet baker = spawn_named("ada", move || { gate.recv().ok(); if true { panic!("burnt") } });').good()
    second = fresh.execute("go_on.send(()).unwrap();\nbaker.join().is_err()").good()
    assert second.result == "true" and not second.stream("stderr")
    late = below(fresh, first, lambda mine: "burnt" in text(mine, "stderr"))
    assert "`ada` panicked at cell [1] line 2" in text(late, "stderr")


def test_a_thread_that_the_prelude_does_not_know_prints_where_the_latest_cell_is(fresh):
    fresh.execute('let (go_on, gate) = std::sync::mpsc::channel::<()>();\nlet foreign = std::thread::spawn(move || { gate.recv().ok(); println!("foreign"); });').good()
    assert fresh.execute("drop(go_on);\nforeign.join().unwrap();").good().stdout == "foreign\n"


def test_prints_of_functions_macros_and_modules_of_earlier_cells_are_their_tasks(fresh):
    fresh.execute('fn said(n: u32) { println!("fn {n}"); }\nmod inner { pub fn said(n: u32) { print!("mod {n}\\n"); } }\nmacro_rules! say { ($n:expr) => { println!("macro {}", $n) } }').good()
    first = fresh.execute("let (go_on, gate) = bounded::<()>(0);\nlet late = spawn(move || { gate.recv().ok(); said(1); inner::said(2); say!(3); });").good()
    second = fresh.execute("said(4);\ngo_on.send(()).unwrap();\nlate.join().unwrap();\ninner::said(5);\nsay!(6);").good()
    assert second.stdout == "fn 4\nmod 5\nmacro 6\n"
    assert text(below(fresh, first, lambda mine: "macro" in text(mine))) == "fn 1\nmod 2\nmacro 3\n"


def test_stds_own_macros_and_a_learners_own_work_beside_the_cells(kernel):
    assert kernel.execute('use std::println;\nprintln!("{}", 1);\nstd::print!("{}", 2);').good().stdout == "1\n2"
    assert kernel.execute('fn f() { macro_rules! println { ($s:expr) => { std::println!("<{}>", $s) } } println!("mine"); }\nf();').good().stdout == "<mine>\n"
    assert kernel.execute(':clear\nprintln!("{}", { 1 + 1 });\nlet n = 3;\nmatch n { _ => println!("{n:>3}") }\neprintln!();').good().stdout == "2\n  3\n"


def test_a_wrong_println_is_explained_as_ever(kernel):
    cell = kernel.execute('struct Loaf;\nprintln!("{}", Loaf);')
    assert cell.error["ename"] == "E0277" and "`Loaf` doesn't implement `std::fmt::Display`" in cell.traceback, cell.traceback
    assert "threadbook" not in cell.traceback and "format_args!($($words" not in cell.traceback, cell.traceback
    cell = kernel.execute('println!("{} {}", 1);')
    assert "2 positional arguments in format string, but there is 1 argument" in cell.traceback, cell.traceback
