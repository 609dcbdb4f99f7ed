"""What makes cells fast makes none of them different: each is the same as cargo and the whole of std's sources give it."""

import os
import re
import time
from pathlib import Path

from kernel import BUILDS, TIMELINE, plain

# One of each kind, in an order in which later ones need earlier ones. Some are red.
CELLS = [
    "1 + 1",
    'println!("hello");',
    "let loaves = vec![3, 1, 2];\nloaves.len()",
    "let loaves = { let mut sorted = loaves; sorted.sort(); sorted };\nloaves",
    "fn double(n: i32) -> i32 { n * 2 }",
    "double(loaves[0])",
    "double(loaves[0])",
    "struct Oven { heat: u32 }\nimpl Oven { fn warmer(&self) -> Oven { Oven { heat: self.heat + 1 } } }",
    "let oven = Oven { heat: 180 };\noven.warmer().heat",
    'let wrong: i32 = "no";',
    'let wrong: i32 = "no";',
    "let x = nowhere;",
    "double(1, 2)",
    "fn unused() { let mut never = 1; }\nlet y = 5;",
    '"5".parse::<u8>();',
    'let n: i32 = "x".parse()?;',
    'panic!("burnt")',
    "loaves.len() + y",
    '{ let (tx, rx) = channel(); spawn_named("ada", move || tx.send(7).unwrap()); println!("{}", rx.recv().unwrap()); }',
    '{ let (tx, rx) = channel(); spawn_named("ada", move || tx.send(7).unwrap()); println!("{}", rx.recv().unwrap()); }',
    'let shelf = Arc::new(Mutex::new(vec![1u8]));\nlet handle = { let shelf = shelf.clone(); spawn(move || shelf.lock().unwrap().push(2)) };',
    "handle.join().unwrap();\nshelf.lock().unwrap().len()",
    "let f = |n: i32| n + 1;\nf(2)",
    "let guard = shelf.lock().unwrap();\nguard.len()",
    "struct Oven { heat: u64 }",
    "loaves.len()",
    # Variables that the cell does not name, or names in other ways.
    'let (a, mut b) = (vec![1], String::from("b"));',
    "1 + 1",
    'format!("{a:?}")',
    'b.push_str("!");',
    "macro_rules! count { ($of:expr) => { $of.len() } }",
    "count!(a) + count!(b)",
    'panic!("nothing is lost")',
    "(a.len(), b.len())",
    "drop(b);",
    "a",
    "b",
    "loave.len()",
    "struct Loaf(Vec<i32>);\nimpl Drop for Loaf { fn drop(&mut self) { println!(\"eaten\"); } }",
    "let loaf = Loaf(a);",
    "2 + 2",
    "loaf.0.len()",
    'let loaf = "none";',
    "struct Loaf(u8);",
    "loaf",
    "let loaves = loaves.iter().map(|n| *n as u8).collect::<Vec<u8>>();",
    "std::process::exit(3)",
    "loaves",
]

# The types of variables are rust-analyzer's to find, in what it is given of std.
TYPES = """
let sum = (1..4).sum::<i32>();
let product = [1u64, 2].iter().product::<u64>();
let wrapping = 250u8.wrapping_add(10).pow(2).leading_zeros();
let checked = 5i16.checked_div(2).map(|n| n.rotate_left(3)).unwrap_or_default();
let float = 2.0f64.powi(3).max(1.0).to_bits();
let pairs: std::collections::HashMap<_, _> = ["a", "b"].into_iter().zip(1u8..).collect();
let keys = { let mut keys: Vec<_> = pairs.keys().map(|key| key.to_uppercase()).collect(); keys.sort(); keys };
let entry = { let mut counts = std::collections::BTreeMap::new(); for c in "hello".chars() { *counts.entry(c).or_insert(0usize) += 1; } counts };
let text = format!("{:>5}", 1).trim_start().to_owned();
let parts: Vec<String> = "a,b".split(',').map(str::to_owned).collect();
let number = "12".parse::<u32>().ok();
let heap = { let mut heap = std::collections::BinaryHeap::from(vec![1, 3, 2]); heap.pop() };
let deque = std::collections::VecDeque::from([1u8, 2]).iter().rev().copied().collect::<std::collections::VecDeque<_>>();
let boxed: Box<dyn std::fmt::Debug + Send> = Box::new((1u8, 'x'));
let nonzero = std::num::NonZeroU32::new(4).map(|n| n.get().count_ones());
let time = std::time::Duration::from_millis(1500).as_secs_f64();
let ordering = 1.cmp(&2).then_with(|| 3.cmp(&1)).reverse();
let chunks = [1, 2, 3, 4, 5].chunks(2).map(|chunk| chunk.to_vec()).collect::<Vec<_>>();
let folded = vec![Some(1), None].into_iter().flatten().fold(String::new(), |mut all, n: i32| { all += &n.to_string(); all });
let atomic = std::sync::atomic::AtomicUsize::new(3).fetch_add(1, std::sync::atomic::Ordering::SeqCst);
let path = std::path::Path::new("/a/b.txt").extension().map(|name| name.to_string_lossy().into_owned());
let error = "x".parse::<i32>().unwrap_err();
let joined = { let threads: Vec<_> = (0..2u8).map(|n| std::thread::spawn(move || n)).collect(); threads.into_iter().map(|thread| thread.join().unwrap()).max() };
let thread = std::thread::spawn(|| "done");
let sent = { let (tx, rx) = std::sync::mpsc::channel(); tx.send((1u8, "x")).unwrap(); rx.recv() };
let saturating = std::num::Saturating(250u8);
let tuple = ((1u8, 2i64), [0.5f32; 2], "x", 'c', true, ());
let range = (0..10).step_by(3).skip(1).take(2).enumerate().collect::<Vec<_>>();
let shared = std::rc::Rc::new(std::cell::RefCell::new(vec![1]));
"""

HELPER = "fn named<T>(_: &T) -> &'static str { std::any::type_name::<T>() }"
NAMES = re.findall(r"^let (\w+)", TYPES, re.M)


THINGS = """let loaves = vec![1u8]; let n = 5i32; let told = Some(3); let f = 2.0f64; let s = String::from("x"); let c = 'c'; let ok: Result<u8, String> = Ok(1);
let map = std::collections::HashMap::from([(1, 2)]); let shared = std::sync::Arc::new(1); let atomic = std::sync::atomic::AtomicU32::new(1);
let range = 0..3; let time = std::time::Duration::ZERO; let nonzero = std::num::NonZeroU8::MIN; let wrapping = std::num::Wrapping(1u8);"""
OFFERED = ["loaves.", "n.", "told.", "f.", "s.", "c.", "ok.", "map.", "shared.", "atomic.", "range.", "time.", "nonzero.", "wrapping."]
OFFERED += ["std::collections::", "String::", "std::thread::", "std::sync::atomic::", "u64::", "std::iter::"]


def account(cell):
    """What a learner sees of a cell, without what differs from one run to the next."""
    text = "\n".join(
        [
            cell.status,
            cell.stdout,
            cell.stream("stderr"),
            str(cell.result),
            *(plain("\n".join([c["ename"], c["evalue"], *c["traceback"]])) for c in cell.contents("error")),
            *(plain(c["data"]["text/plain"]) for c in cell.contents("display_data") if TIMELINE not in c["data"]),
            # Of a picture, who did something.
            *(str([lane["name"] for lane in c["data"].get(TIMELINE, {}).get("lanes", [])]) for c in cell.contents("display_data")),
        ]
    )
    # How long it took, and the numbers of threads and processes.
    return re.sub(r"\d+(\.\d+)? ?(ns|us|µs|ms|s)\b|\(\d{3,}\)", "…", text)


def test_cells_are_the_same_with_real_tools_alone(start):
    fast, slow = start(), start(THREADBOOK_FAST="off")
    for code in CELLS:
        ours, theirs = account(fast.execute(code)), account(slow.execute(code, deadline=BUILDS))
        assert ours == theirs, f"differs:\n{code}"


def test_the_types_of_variables_are_the_same_with_the_whole_of_std(start):
    fast, slow = start(), start(THREADBOOK_FAST="off")
    for kernel in (fast, slow):
        kernel.execute(HELPER).good()
        kernel.execute(TYPES, deadline=BUILDS).good()
    for name in NAMES:
        code = f"named(&{name})"
        assert fast.execute(code).good().result == slow.execute(code).good().result, name


def test_what_a_type_can_do_is_offered_and_explained_as_by_the_whole_of_std(start):
    answers = []
    for kernel in (start(), start(THREADBOOK_FAST="off")):
        kernel.execute(THINGS).good()
        offered = {}
        for code in OFFERED:
            kernel.client.complete(code, len(code))
            offered[code] = sorted(kernel.get(kernel.client.get_shell_msg, "a complete_reply", 60)["content"]["matches"])
        for code in ("Vec::push", "Option::map", "std::thread::spawn", "i32::pow"):
            kernel.client.inspect(code, len(code))
            content = kernel.get(kernel.client.get_shell_msg, "an inspect_reply", 60)["content"]
            assert content["found"], code
            # Of a number's method the first paragraph is there.
            offered[code] = content["data"]["text/plain"][: 120 if code == "i32::pow" else None]
        answers.append(offered)
    assert answers[0] == answers[1]
    assert all(len(found) > 3 for found in answers[0].values())


def cache():
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "threadbook"


def kept():
    """The libraries of cells that are kept."""
    return {path.name for path in cache().glob("*/answers/cells/*.about")}


def test_a_cell_that_was_compiled_before_is_not_compiled_again(start):
    # Libraries outlive a run of these tests.
    new = time.time_ns()
    code = f'{{ println!("as before"); for loaf in [{new}u64, 8] {{ println!("{{loaf}}"); }} }}'
    printed = f"as before\n{new}\n8\n"
    for kernel in (start(), start()):
        kernel.execute("1").good()
        assert kernel.execute(code).good().stdout == printed
        known = kept()
        assert kernel.execute(code).good().stdout == printed
        assert kept() == known, "it was taken as it was"
    assert kernel.execute(code.replace("before", "never before")).good().stdout == printed.replace("before", "never before")
    assert kept() != known, "another cell is compiled"


def test_what_keeps_variables_is_not_compiled_with_each_cell(start):
    """By the symbols that the cell's library asks the prelude for; by cargo, it has them itself."""
    kernel = start()
    pid = kernel.manager.provisioner.pid

    def asks():
        libraries = cache().glob(f"*/work-{pid}-*/target/*/debug/libcode_*.so")
        return b"14variable_store" in max(libraries, key=lambda library: library.stat().st_mtime_ns).read_bytes()

    kernel.execute(f"let baked = {time.time_ns()}u64;").good()
    assert asks()
    kernel.execute(f":fast off\nlet sold = {time.time_ns()}u64;").good()
    assert not asks()
    assert kernel.execute(f":fast on\nbaked > {time.time_ns()}u64 || sold < baked").good().result == "false"
    assert asks()


def steps(cell):
    """What `:timing` told of a good cell: milliseconds and words."""
    texts = [c["data"]["text/plain"] for c in cell.good().contents("display_data") + cell.contents("execute_result")]
    lines = [line.split(" ms  ") for text in texts for line in text.splitlines() if " ms  " in line]
    return [(float(took), what) for took, what in lines]


def test_a_value_that_has_debug_alone_is_compiled_once(fresh):
    """evcxr tries another way to show a value first, and compiles again."""
    fresh.execute("#[derive(Debug)] struct Loaf(u64);").good()
    for code in (f"Loaf({time.time_ns()})", f"{time.time_ns()}u64 + 1", f"vec![Loaf({time.time_ns()})]", f"Some({time.time_ns()}u64);"):
        compiled = [what for _, what in steps(fresh.execute(":timing\n" + code)) if what.startswith("compile")]
        assert compiled == ["compile and link, by rustc"], code


def test_timing_tells_each_step_of_a_cell_and_they_add_up(fresh):
    code = f"let sold = {time.time_ns()}u64;"
    told = steps(fresh.execute(":timing\n" + code))
    words = [what for _, what in told]
    # A kernel's first cell may be compiled twice.
    assert words[0].startswith("analyse") and words[-2:] == ["picture", "together"]
    for step in ("compile and link, by rustc", "  of that: link, by cc", "load and run"):
        assert step in words, words
    alone = sum(took for took, what in told[:-1] if not what.startswith(" "))
    assert abs(alone - told[-1][0]) < 0.1 * len(told), told
    assert steps(fresh.execute(code)) == [], "it was asked of one cell"
    fresh.execute(":timing on").good()
    assert "compiled before: a copy of that library" in [what for _, what in steps(fresh.execute(code))]
    assert steps(fresh.execute(":timing off")) == []
    assert steps(fresh.execute("1 + 1")) == []


def test_a_crate_of_the_learners_own_is_built_anew_when_it_changes(start, tmp_path):
    crate = tmp_path / "oven"
    (crate / "src").mkdir(parents=True)
    (crate / "Cargo.toml").write_text('[package]\nname = "oven"\nversion = "0.1.0"\nedition = "2024"\n')
    (crate / "src/lib.rs").write_text("pub fn heat() -> u32 { 180 }\n")
    kernel = start()
    assert kernel.execute(f':dep oven = {{ path = "{crate}" }}\noven::heat()', deadline=BUILDS).good().result == "180"
    (crate / "src/lib.rs").write_text("pub fn heat() -> u32 { 200 }\n")
    # cargo tells by the time that stands at the file.
    later = time.time() + 5
    os.utime(crate / "src/lib.rs", (later, later))
    assert kernel.execute("oven::heat()", deadline=BUILDS).good().result == "200"


def test_a_file_that_a_cell_includes_is_read_anew(fresh, tmp_path):
    list_of_loaves = tmp_path / "loaves.txt"
    code = f'include_str!("{list_of_loaves}").trim().to_owned()'
    assert fresh.execute(code).status == "error", "it is not there yet"
    for loaves in ("rye", "oat"):
        list_of_loaves.write_text(loaves + "\n")
        assert fresh.execute(code).good().result == f'"{loaves}"'


def said(cell):
    """The texts that a cell shows beside its output and its value."""
    text = plain("".join(c["data"]["text/plain"] for c in cell.contents("display_data")))
    return re.sub(r"cell \[\d+\]", "cell", text)


def test_fast_off_lets_cargo_build_and_says_the_same(fresh):
    warns = '"5".parse::<u8>();'
    fast = said(fresh.execute(warns).good())
    assert "unused `Result`" in fast
    assert fresh.execute(":fast").good().result == "a cell is compiled as the one before it was, or taken as it was compiled before"
    assert fresh.execute(":fast off").good().result == "cargo builds each cell"
    assert said(fresh.execute(warns).good()) == fast
    assert said(fresh.execute("1 + 2").good()) == "", "the warning is not said again"
    assert fresh.execute(":fast on").good().result.startswith("a cell is compiled as")
    assert fresh.execute("1 + 2").good().result == "3"
    assert fresh.execute(":fast perhaps").error["evalue"] == ":fast takes `on` or `off`"


def test_the_learners_process_has_the_environment_that_the_kernel_was_started_with(fresh):
    names = ["PATH", "CARGO_HOME", "RUSTC", "RUST_SRC_PATH", "THREADBOOK_TOOLS"]
    shown = fresh.execute(f"for name in {names!r} {{ println!(\"{{:?}}\", std::env::var(name).ok()); }}".replace("'", '"')).good().stdout
    want = [f'Some("{os.environ[name]}")' if name in os.environ else "None" for name in names]
    assert shown.splitlines() == want
    code = 'String::from_utf8(std::process::Command::new("rustc").arg("-vV").output()?.stdout)?.lines().next().map(str::to_owned)'
    assert "rustc 1." in fresh.execute(code).good().result


def test_the_folder_of_tools_goes_with_its_kernel(start):
    kernel = start()
    kernel.execute("1").good()
    pid = kernel.manager.provisioner.process.pid
    assert len(list(cache().glob(f"tools-{pid}-*"))) == 1
    kernel.manager.shutdown_kernel()
    assert list(cache().glob(f"tools-{pid}-*")) == []
