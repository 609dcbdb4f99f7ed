"""What would trip a learner up: told, or made to work."""

import os

import pytest

from kernel import KERNEL, Kernel, plain, wait_until_gone


def notes(cell):
    """Hints, notes and warnings: displays of text that the cell did not make."""
    return "\n".join(content["data"]["text/plain"] for content in cell.contents("display_data") if list(content["data"]) == ["text/plain"])


@pytest.mark.parametrize(
    "code, says",
    [
        ("static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);", "each cell has its own `COUNT`"),
        ("thread_local! { static X: std::cell::Cell<u8> = const { std::cell::Cell::new(1) }; }", "ends with this cell"),
        ("use std::sync::Mutex as StdMutex;", "`std::sync::Mutex` does is not in the picture"),
        ("let h = std::thread::spawn(|| 1); h.join().unwrap();", "`std::thread` does is not in the picture"),
        ("let work = 3;", "hides the prelude's function `work`"),
    ],
)
def test_a_surprise_has_a_hint_once(fresh_for_hints, code, says):
    cell = fresh_for_hints.execute(code).good()
    assert says in notes(cell), str(cell)
    again = fresh_for_hints.execute(code).good()
    assert says not in notes(again), str(again)


@pytest.fixture(scope="module")
def fresh_for_hints(installed, tmp_path_factory):
    kernel = Kernel(tmp_path_factory.mktemp("hints"))
    yield kernel
    kernel.end()


@pytest.mark.parametrize(
    "name, code, value",
    [
        ("guard", "let m = Mutex::new(5);\nlet mut guard = m.lock().unwrap();\n*guard += 1;\nlet seen = *guard;\nseen", "6"),
        ("double", "let double = |n: u32| n * 2;\nlet four = double(2);\nfour", "4"),
        ("first", "let list = vec![3, 4];\nlet first = &list[0];\nlet copy = *first;\ncopy", "3"),
        ("both", "let base = 10;\nlet both = |n: i32| n + base;\nlet list = vec![1, 2];\nlet parts: Vec<i32> = list.iter().map(|n| both(*n)).collect();\nparts", "[11, 12]"),
    ],
)
def test_a_guard_a_closure_or_a_reference_ends_with_its_cell_and_the_cell_runs(kernel, name, code, value):
    cell = kernel.execute(code).good()
    assert cell.result == value or any(content["data"].get("text/plain") == value for content in cell.contents("display_data")), str(cell)
    assert f"`{name}` ends with this cell" in notes(cell), str(cell)
    # The others are there, the one is not.
    other = {"guard": "seen", "double": "four", "first": "copy", "both": "parts"}[name]
    assert kernel.execute(other).good().result == value
    assert kernel.execute(f"&{name};").error["ename"] == "E0425"


def test_a_guard_of_an_earlier_cells_lock_is_let_go_at_the_end_of_its_cell(kernel):
    kernel.execute("let till = Mutex::new(1);").good()
    cell = kernel.execute("let open = till.lock().unwrap();\nprintln!(\"{}\", *open);").good()
    assert cell.stdout == "1\n" and "`open` ends with this cell" in notes(cell)
    assert kernel.execute("let mut m = till.lock().unwrap();\n*m += 1;\n*m").good().result == "2"


def test_a_closure_ends_with_its_cell_also_where_the_compiler_warns_of_an_earlier_cell(kernel):
    """evcxr passes on the warning then, and not why it refuses the cell."""
    kernel.execute("fn warned_of() { let mut never = 1; }").good()
    cell = kernel.execute("let triple = |n: u32| n * 3;\ntriple(2)").good()
    assert cell.result == "6" and "`triple` ends with this cell" in notes(cell), str(cell)


def test_a_mistake_beside_a_closure_is_told_in_its_line(kernel):
    cell = kernel.execute("let twice = |n: u32| n * 2;\nlet a = 1;\nlet wrong: u32 = \"no\";")
    assert cell.error["ename"] == "E0308" and "3 | let wrong" in cell.traceback.replace("│", "|"), cell.traceback


def test_quit_does_not_end_the_kernel(kernel):
    kernel.execute("let here = 1;").good()
    cell = kernel.execute(":quit").good()
    assert "Shut Down" in cell.result
    assert kernel.execute("here").good().result == "1"


def test_env_is_set_for_the_cells_and_for_the_process_after_a_restart(kernel):
    kernel.execute(":env OVEN=very hot \"one\"\nprintln!(\"x\");").good()
    assert kernel.execute('std::env::var("OVEN").unwrap()').good().result == r'"very hot \"one\""'
    kernel.execute("std::process::exit(3);")
    assert kernel.execute('std::env::var("OVEN").unwrap()').good().result == r'"very hot \"one\""'


def test_restart_forgets_variables_and_keeps_functions(kernel):
    kernel.execute("let gone = 1;\nfn stays() -> u32 { 7 }").good()
    kernel.execute(":restart").good()
    assert kernel.execute("gone").error["ename"] == "E0425"
    assert kernel.execute("let again = stays();\nagain").good().result == "7"
    assert kernel.execute("again").good().result == "7"


def test_clear_forgets_all_and_keeps_the_prelude(fresh):
    fresh.execute("let gone = 1;\nfn gone_too() {}").good()
    fresh.execute(":clear").good()
    assert fresh.execute("gone").error["ename"] == "E0425"
    assert fresh.execute("gone_too()").error["ename"] == "E0425"
    cell = fresh.execute('let (tx, rx) = channel();\nspawn_named("ada", move || tx.send(1).unwrap()).join().unwrap();\nrx.recv().unwrap()').good()
    assert cell.result == "1" and cell.picture


def test_help_lists_all_commands_in_one_table(kernel):
    text = kernel.execute(":help").good().result
    for command in [":dep", ":vars", ":opt", ":quit", ":env", ":clear", ":restart", ":backtrace", ":output_limit", ":warnings"]:
        assert sum(line.split()[0] == command for line in text.splitlines() if line) == 1, text


def test_a_command_that_is_misused_says_how_it_is_used(kernel):
    assert "takes a number of megabytes" in kernel.execute(":output_limit much").error["evalue"]
    assert "Unrecognised command" in kernel.execute(":bake").error["evalue"]


def test_a_program_that_a_cell_started_ends_with_its_process(kernel, tmp_path):
    mark = f"{KERNEL}-child-{os.getpid()}"
    kernel.execute(
        f'let child = std::process::Command::new("sleep").arg("600").env("THREADBOOK_TEST_MARK", "{mark}").spawn().unwrap();\nstd::process::exit(0);'
    )
    wait_until_gone(mark)
    assert kernel.execute("1 + 1").good().result == "2"


def test_what_a_dep_compiles_is_told_while_it_compiles(kernel, tmp_path):
    """A crate that takes some seconds, by its build script; no network."""
    crate = tmp_path / "slow_crate"
    (crate / "src").mkdir(parents=True)
    (crate / "Cargo.toml").write_text('[package]\nname = "slow_crate"\nversion = "1.0.0"\nedition = "2021"\n')
    # Optimised as all crates are: many functions that the compiler has to think about.
    functions = "".join(
        f"pub fn f{n}(v: &mut Vec<String>) {{ v.sort_by_key(|s| s.len() + {n}); v.dedup(); v.retain(|s| s.parse::<u64>().map_or(true, |x| x > {n})); }}\n" for n in range(60)
    )
    (crate / "src/lib.rs").write_text("pub fn loaves() -> u32 { 3 }\n" + functions)
    cell = kernel.execute(f':dep slow_crate = {{ path = "{crate}" }}\nslow_crate::loaves()', deadline=300).good()
    assert cell.result == "3"
    told = [content["data"]["text/plain"] for kind in ("display_data", "update_display_data") for content in cell.contents(kind)]
    assert any(line.startswith("compiling slow_crate") for line in told), told
    assert told[-1].startswith("compiled 1 crate in"), told
    assert len({content["transient"]["display_id"] for kind in ("display_data", "update_display_data") for content in cell.contents(kind)}) == 1


def test_warnings_of_a_good_cell_are_shown_in_its_lines_and_not_red(kernel):
    cell = kernel.execute('let n = 1;\n"5".parse::<u32>();\nfn bake(heat: u32) {}\nn').good()
    assert cell.result == "1"
    told = plain(notes(cell))
    assert "unused `Result` that must be used" in told and ":2:1" in told, told
    assert "unused variable: `heat`" in told and ":3:9" in told, told
    assert "unused variable: `n`" not in told
    # The function goes into every later cell; what was said of it is not said again.
    assert notes(kernel.execute("bake(1);").good()) == ""
    assert notes(kernel.execute(':warnings off\n"5".parse::<u8>();').good()) == ""
    assert "unused `Result`" in plain(notes(kernel.execute(':warnings on\n"5".parse::<u8>();').good()))


def test_backtrace_full_says_who_called_whom_and_else_a_panic_is_three_lines(kernel):
    kernel.execute('#[inline(never)]\nfn knead(n: u32) -> u32 { if n > 2 { panic!("too much") } n }\n#[inline(never)]\nfn bake(n: u32) -> u32 { knead(n + 1) + 1 }').good()
    short = kernel.execute("bake(5);")
    assert len(short.error["traceback"]) == 3, short.traceback
    kernel.execute(":backtrace full").good()
    full = kernel.execute("bake(5);")
    assert [line.strip() for line in full.traceback.splitlines()[3:]] == ["in knead", "in bake"], full.traceback
    kernel.execute(":backtrace short").good()
    assert len(kernel.execute("bake(5);").error["traceback"]) == 3


def test_output_over_the_limit_is_counted(kernel):
    kernel.execute(":output_limit 1").good()
    cell = kernel.execute('for _ in 0..30_000 { println!("{}", "x".repeat(99)); }\n"done"').good()
    kernel.execute(":output_limit 10").good()
    assert cell.result == '"done"'
    shown, said = cell.stdout[:1_000_000], cell.stdout[1_000_000:]
    assert shown == ("x" * 99 + "\n") * 10_000
    assert "2 MB more" in said and ":output_limit" in said and len(said) < 200
    assert kernel.execute('println!("next");').good().stdout == "next\n"


def test_a_million_lines_arrive_whole(kernel):
    cell = kernel.execute('for n in 0..1_000_000 { println!("{n}"); }', deadline=200).good()
    assert cell.stdout == "".join(f"{n}\n" for n in range(1_000_000))


def test_a_thread_that_prints_300_kb_between_cells_is_not_held_up(kernel, tmp_path):
    gate, done = tmp_path / "gate", tmp_path / "done"
    code = f'''let writer = std::thread::spawn(|| {{
    while !std::path::Path::new("{gate}").exists() {{ std::thread::sleep(std::time::Duration::from_millis(2)); }}
    for n in 0..3_000 {{ println!("{{n:0>99}}"); }}
    std::fs::write("{done}", "").unwrap();
}});'''
    kernel.execute(code).good()
    gate.touch()
    text = ""
    while len(text) < 300_000:
        message = kernel.get(kernel.client.get_iopub_msg, "output between cells", 30)
        text += message["content"].get("text", "")
    assert text == "".join(f"{n:0>99}\n" for n in range(3_000))
    assert kernel.execute(f'writer.join().unwrap();\nstd::path::Path::new("{done}").exists()').good().result == "true"


def test_bytes_that_are_no_text_are_replaced(kernel):
    cell = kernel.execute('use std::io::Write;\nstd::io::stdout().write_all(b"a\\xff\\xc3b\\xe7\\x82").unwrap();').good()
    assert cell.stdout == "a\ufffd\ufffdb\ufffd"


def test_marker_lines_of_evcxrs_in_a_flood_lose_nothing(kernel):
    words = ["EVCXR_EXECUTION_COMPLETE", "EVCXR_PANIC_NOTIFICATION", "EVCXR_BEGIN_CONTENT text/html", "EVCXR_VARIABLE_CHANGED_TYPE:x", "EVCXR_"]
    code = f'let words = {words};\nfor n in 0..2_000 {{ println!("{{}} {{n}}", words[n % 5]); println!("{{}}", words[n % 5]); }}'.replace("'", '"')
    cell = kernel.execute(code).good()
    # A line that is evcxr's own word for word may come a little later than the text behind it, and is never lost.
    assert sorted(cell.stdout.splitlines()) == sorted(line for n in range(2_000) for line in (f"{words[n % 5]} {n}", words[n % 5]))


@pytest.mark.parametrize("settings", ["[evcxr]\ntmpdir = '{theirs}'\nopt_level = 'nine'\n", "this ] is no TOML"])
def test_settings_of_evcxrs_in_the_notebooks_folder_do_not_change_the_kernel(installed, tmp_path, settings):
    theirs = tmp_path / "theirs"
    (tmp_path / "evcxr.toml").write_text(settings.replace("{theirs}", str(theirs)))
    kernel = Kernel(tmp_path)
    try:
        assert kernel.execute("std::env::current_dir().unwrap()").good().result == f'"{tmp_path}"', "it runs there"
        assert kernel.execute("let bread = 3;\nspawn(move || bread).join().unwrap()").good().result == "3"
        assert not theirs.exists(), "it took its settings from there"
    finally:
        kernel.end()
