"""What comes of a cell: output in its place, values, errors in the cell's own lines."""

import re

import pytest


def says_line(text, line):
    """Whether an error's text names this line of the cell: `line 3`, `3 │`, or `:3:`."""
    return re.search(rf"(line |:){line}\b|^\s*{line}\s*[|│]", text, re.MULTILINE) is not None


def test_execution_count_starts_at_1(fresh):
    assert [fresh.execute(code).reply["content"]["execution_count"] for code in ["1 + 1", "2 + 2"]] == [1, 2]


def test_a_cell_is_bracketed_by_busy_and_idle(kernel):
    cell = kernel.execute('println!("one"); 1 + 1').good()
    assert cell.kinds() == ["busy", "execute_input", "stream", "execute_result", "idle"], str(cell)
    assert (cell.stdout, cell.result) == ("one\n", "2")


def test_a_variable_is_there_in_the_next_cell(kernel):
    kernel.execute("let loaves = vec![1, 2, 3];").good()
    assert kernel.execute("loaves.len()").good().result == "3"


def test_plain_cells_have_no_picture(kernel):
    for code in ["let plain = 1;", 'println!("x");', "1 + 1"]:
        assert "display_data" not in kernel.execute(code).good().kinds()


def test_stderr_arrives_as_stderr(kernel):
    cell = kernel.execute('eprintln!("burnt");').good()
    assert (cell.stream("stderr"), cell.stdout) == ("burnt\n", "")


def test_print_without_newline_reaches_its_own_cell(kernel):
    assert kernel.execute('print!("half");').good().stdout == "half"
    assert kernel.execute('println!("next");').good().stdout == "next\n"


def test_print_and_flush_does_not_hang(kernel):
    code = 'use std::io::Write;\nprint!("x");\nstd::io::stdout().flush().unwrap();'
    assert kernel.execute(code).good().stdout == "x"


def test_output_between_cells_arrives(kernel, tmp_path):
    # The thread prints only when this test has seen its cell end.
    gate = tmp_path / "gate"
    code = f'''let late = spawn(|| {{
    while !std::path::Path::new("{gate}").exists() {{ sleep(ms(2)); }}
    println!("after the cell");
}});'''
    cell = kernel.execute(code).good()
    assert "after the cell" not in cell.stdout
    gate.touch()
    text = ""
    while "after the cell" not in text:
        message = kernel.get(kernel.client.get_iopub_msg, "output of a thread whose cell has ended", 30, kernel.elsewhere[-5:])
        assert message["parent_header"]["msg_id"] == cell.reply["parent_header"]["msg_id"], "under another cell"
        text += message["content"].get("text", "")


def test_many_lines_arrive_whole_and_in_order(kernel):
    cell = kernel.execute('for n in 0..20_000 { println!("{n}"); }').good()
    assert cell.stdout.split() == [str(n) for n in range(20_000)]


def test_cell_that_does_not_compile_changes_nothing(kernel):
    kernel.execute("let kept = 41;").good()
    cell = kernel.execute('let fine = 1;\nlet kept: i32 =\n    "not a number";')
    assert cell.error["ename"] == "E0308", str(cell)
    assert says_line(cell.traceback, 3), cell.traceback
    assert kernel.execute("kept + 1").good().result == "42"


@pytest.mark.parametrize(
    "code, line, words",
    [
        ("}}}}", 1, "this `}` closes nothing"),
        ("\n};let fine = 1;{", 2, "this `}` closes nothing"),
        ("/* never\nclosed", 1, "comment"),
        ("let fine = 1;\nlet = fine;", 2, "after `let`"),
        ("let fine = 1;\nlet more =\n\n", 2, "in the middle of this `let`"),
        ("let fine = 1;\nlet f = ||", 2, "in the middle of this `let`"),
    ],
)
def test_text_that_evcxr_would_leave_out_is_red(kernel, code, line, words):
    kernel.execute("let kept = 41;").good()
    cell = kernel.execute(code)
    assert cell.error["ename"] == "Compile" and words in cell.error["evalue"], str(cell)
    assert says_line(cell.traceback, line), cell.traceback
    assert kernel.execute("kept + 1").good().result == "42"


def test_a_return_that_would_lose_a_variable_is_red_and_ends_no_later_cell(kernel):
    """evcxr takes the variable for kept, and every later cell of the notebook would abort."""
    kernel.execute("let kept = 41;").good()
    cell = kernel.execute("let Some(loaf) = None::<u8> else { return };")
    assert cell.error["ename"] == "Compile" and "before `loaf` is kept" in cell.error["evalue"], str(cell)
    assert "a cell is no function" in cell.traceback
    assert kernel.execute("kept + 1").good().result == "42"
    # Where nothing is lost it ends the cell, as one may expect; and one of a function or a closure is another matter.
    assert kernel.execute('println!("here");\nif kept > 1 { return; }\nprintln!("not here");').good().stdout == "here\n"
    assert kernel.execute("fn first(n: u32) -> u32 { if n > 1 { return 2; } 1 }\nlet two = first(3);\nlet all: Vec<u32> = (0..2).map(|n| { return n + two; }).collect();\nall").good().result == "[2, 3]"
    assert kernel.execute("(kept, two)").good().result == "(41, 2)"


@pytest.mark.parametrize(
    "name, code, value",
    [
        ("grid", "let grid = [[0_u8; 2_usize.pow(3)]; 2];\nlet all = grid.len() * grid[0].len();\nall", "16"),
        ("bytes", 'let bytes = include_bytes!("/proc/self/comm");\nlet all = bytes.is_empty();\nall', "false"),
    ],
)
def test_an_array_of_a_length_that_rust_analyzer_cannot_tell_stops_no_later_cell(kernel, name, code, value):
    """evcxr writes `[u8; _]` into all of them."""
    kernel.execute("let kept = 41;").good()
    cell = kernel.execute(code).good()
    shown = [content["data"].get("text/plain", "") for content in cell.contents("display_data") + cell.contents("execute_result")]
    assert value in shown and any(f"`{name}` ends with this cell" in text for text in shown), str(cell)
    assert kernel.execute("(kept, all)").good().result == f"(41, {value})"
    assert kernel.execute(f"&{name};").error["ename"] == "E0425"
    # One that has its type is kept.
    kernel.execute("let typed: [u8; 8] = [1; 2_usize.pow(3)];").good()
    assert kernel.execute("typed.len()").good().result == "8"


def test_a_cell_on_which_rust_analyzer_panics_is_red_and_the_next_one_runs(kernel):
    kernel.execute("let kept = 41;").good()
    # From https://github.com/rust-lang/rust-analyzer/pull/23367: its trait solver panics where it comes back to itself.
    cell = kernel.execute(
        "trait Sized2 { const N: usize; }\n"
        "struct A<const N: usize>;\n"
        "impl<const N: usize> Sized2 for A<N> { const N: usize = N; }\n"
        "const fn size<T: Sized2>() -> usize { T::N }\n"
        "struct B<const N: usize>;\n"
        "impl<const N: usize> Sized2 for B<N> where A<{ size::<A<3>>() }>: Sized2 { const N: usize = 0; }\n"
        "fn need<T: Sized2>() -> u8 { 1 }\n"
        'println!("ran");\nlet loaf = need::<B<1>>();'
    )
    assert cell.error["ename"] == "Kernel" and "evcxr failed" in cell.error["evalue"], str(cell)
    assert "panicked" in kernel.log.read_text(errors="replace") and cell.stdout == ""
    assert "nothing of earlier cells is lost" in cell.traceback, cell.traceback
    # Variables, the prelude's threads and rust-analyzer's types are there as before.
    assert kernel.execute("kept + 1").good().result == "42"
    assert kernel.execute("let many = vec![kept];\nspawn(move || many.len()).join().unwrap()").good().result == "1"
    assert kernel.execute("loaf").error["ename"] == "E0425"


def test_a_variable_whose_value_never_comes_ends_with_its_cell(kernel):
    cell = kernel.execute('let served = loop {\n    println!("once");\n    panic!("burnt")\n};')
    assert cell.stdout == "once\n" and cell.error["ename"] == "Panic" and says_line(cell.traceback, 3), str(cell)


def test_a_value_that_was_moved_has_rustcs_code_and_help(kernel):
    cell = kernel.execute("let loaves = vec![1];\nlet mine = loaves;\nloaves.len()")
    assert cell.error["ename"] == "E0382" and cell.error["evalue"] == "borrow of moved value: `loaves`", str(cell)
    assert says_line(cell.traceback, 3) and "value moved here" in cell.traceback and "clone" in cell.traceback, cell.traceback
    assert kernel.execute("1 + 1").good().result == "2"


@pytest.mark.parametrize("call, line", [('bake("rye")', 1), ('{ bake("rye") }', 1), ('// a comment\nbake("rye") // and another', 2), ('let n = bake(1);\nbake("rye")', 2)])
def test_a_wrong_argument_in_the_last_line_is_named(kernel, call, line):
    """Not only "function defined here", which is all that evcxr leaves of it."""
    kernel.execute("fn bake(n: u32) -> u32 { n + 1 }\nlet kept = 41;").good()
    cell = kernel.execute(call)
    assert cell.error["ename"] == "E0308", str(cell)
    assert says_line(cell.traceback, line) and "expected `u32`, found `&str`" in cell.traceback, cell.traceback
    assert kernel.execute("kept + 1").good().result == "42"


def test_panicking_cell_is_red_and_keeps_earlier_variables(kernel):
    kernel.execute("let before = 5;").good()
    cell = kernel.execute('let none: Option<u8> = None;\nprintln!("first");\nnone.expect("no bread");')
    assert cell.error["ename"] == "Panic", str(cell)
    assert "no bread" in cell.error["evalue"] and cell.stdout == "first\n"
    assert kernel.execute("before").good().result == "5"


@pytest.mark.parametrize(
    "line, code",
    [
        (3, 'let a = 1;\nlet b = 2;\npanic!("here {}", a + b);\nprintln!("not here");'),
        (2, "let list = [1, 2];\nlist.iter().nth(5).unwrap();\nlet after = 1;"),
        (1, "assert_eq!(1, 2);"),
    ],
)
def test_error_lines_are_cell_lines(kernel, line, code):
    cell = kernel.execute(code)
    assert cell.error["ename"] == "Panic", str(cell)
    assert says_line(cell.traceback, line), cell.traceback
    assert "src/lib.rs" not in cell.traceback, cell.traceback


def test_question_mark_error_is_red(kernel):
    cell = kernel.execute('let n: i32 = "bread".parse::<i32>()?;')
    assert cell.error["ename"] == "Error", str(cell)
    assert "invalid digit" in cell.error["evalue"] + cell.traceback
    kernel.execute("1 + 1").good()


def test_a_panic_in_a_thread_does_not_make_its_cell_red(kernel):
    cell = kernel.execute('spawn_named("ada", || panic!("burnt")).join().is_err()').good()
    assert cell.result == "true"
    assert {lane["name"]: lane["end"] for lane in cell.timeline["lanes"]}["ada"] == "panicked"


def test_queued_cells_do_not_run_after_an_error(kernel):
    ids = [kernel.send(code) for code in ["panic!()", 'println!("ran")']]
    red, queued = kernel.finish(ids[0], "panic!()"), kernel.finish(ids[1], "println")
    assert red.status == "error" and queued.status in ("error", "aborted")
    assert queued.stdout == ""
    kernel.execute("1 + 1").good()


def test_a_silent_cell_is_not_counted(kernel):
    before = kernel.execute("1").reply["content"]["execution_count"]
    silent = kernel.execute("2", silent=True, store_history=False)
    assert silent.kinds() == ["busy", "idle"], str(silent)
    assert kernel.execute("3").reply["content"]["execution_count"] == before + 1


def test_the_error_comes_behind_all_output_of_its_cell(kernel):
    cell = kernel.execute(
        'let baker = spawn(|| for n in 0..2_000 { println!("loaf {n}"); });\nbaker.join().unwrap();\neprintln!("last");\nlet none: Option<u8> = None;\nnone.unwrap();'
    )
    assert cell.error["ename"] == "Panic"
    kinds = [m["msg_type"] for m in cell.messages]
    assert kinds.index("error") > max(at for at, kind in enumerate(kinds) if kind == "stream")
    assert cell.stdout == "".join(f"loaf {n}\n" for n in range(2_000)) and "last\n" in cell.stream("stderr")


def test_many_small_writes_are_few_messages(kernel):
    cell = kernel.execute(
        "{ use std::io::Write; let began = std::time::Instant::now(); for _ in 0..20_000 { print!(\"x\"); std::io::stdout().flush()?; }\n"
        "began.elapsed().as_millis() }"
    ).good()
    assert cell.stdout == "x" * 20_000
    # One for each 20 ms and each 16 KiB, and one at either end.
    assert len(cell.contents("stream")) <= int(cell.result) / 20 + 20_000 / (16 * 1024) + 3, str(cell)
