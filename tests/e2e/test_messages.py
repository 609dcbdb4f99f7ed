"""What a learner reads about an error names their own tasks, variables and lines, and nothing of what the kernel generates."""

from kernel import TIMELINE


def notes(cell):
    return [shown["data"].get("text/plain", "") for shown in cell.contents("display_data")]


def number(cell):
    return f"cell [{cell.reply['content']['execution_count']}]"


def lane_named(cell, engine):
    return [lane["name"] for lane in cell.timeline["lanes"] if lane["engine"] == engine and lane["name"] != "main"]


def test_a_panic_in_a_green_task_names_the_task_and_not_its_worker(kernel):
    cell = kernel.execute(
        "let quiet = WaitGroup::new();\n"
        "quiet.go(|| work(ms(1)));\n"
        "quiet.wait();\n"
        'quiet.go_named("ada", || panic!("burnt"));\n'
        "quiet.wait();\n"
        'quiet.go(|| panic!("cold"));\n'
        "quiet.wait();"
    )
    said = cell.stream("stderr")
    assert f"`ada` panicked at {number(cell)} line 4" in said and "burnt" in said, said
    assert "worker" not in said
    assert lane_named(cell, "green") == ["task 1", "ada", "task 2"], "what the picture calls them"
    assert f"task 2 panicked at {number(cell)} line 6" in said and "cold" in said, said
    thread = kernel.execute('let _ = spawn(|| { if true { panic!("dry") } }).join();')
    assert lane_named(thread, "thread") == ["thread 1"]
    assert f"thread 1 panicked at {number(thread)} line 1" in thread.stream("stderr")


def test_what_a_joined_task_panicked_with_is_in_the_error(kernel):
    cell = kernel.execute('spawn_named("ada", || { if true { panic!("burnt") } })\n    .join().unwrap();')
    want = "called `Result::unwrap()` on an `Err` value: `ada` panicked: burnt"
    assert cell.error["ename"] == "Panic" and cell.error["evalue"] == want, cell.error
    two = kernel.execute(
        '{ let first = go_named("grace", || { if true { panic!("cold") } }).join();\n'
        'let second = go(|| { if true { panic!("dry") } }).join();\n'
        "first.unwrap(); }"
    )
    assert two.error["evalue"].endswith("one of these: `grace` panicked: cold; task 1 panicked: dry"), two.error
    payload = kernel.execute(
        '{ let payload = spawn(|| { if true { panic!("stale") } }).join().unwrap_err();\n'
        'println!("{:?} {:?}", payload, payload.downcast_ref::<&str>()); }'
    )
    assert payload.status == "ok" and payload.stdout.strip() == 'Any { .. } Some("stale")', "std's contract"
    own = kernel.execute('let bad: Result<u8, Box<dyn std::any::Any + Send>> = Err(Box::new(1));\nbad.unwrap();')
    assert own.error["evalue"].endswith("Any { .. }"), "no task of this cell has anything to do with it"


def test_a_wait_group_below_zero_is_told_at_the_cells_line(kernel):
    cell = kernel.execute("let ovens = WaitGroup::new();\n{ let _done = ovens.defer_done(); }")
    said = cell.traceback
    assert "this wait group fell below zero: done() came" in said and "lib.rs" not in said and ".rs:" not in said, said
    assert f"{number(cell)} line 2" in said and "defer_done" in said, said
    named = kernel.execute('let mills = WaitGroup::new().named("mills");\n\nmills.done();')
    assert "wait group `mills` fell below zero" in named.error["evalue"] and f"{number(named)} line 3" in named.traceback


def test_a_borrow_that_ends_in_a_block_has_rustcs_words_alone(kernel):
    block = kernel.execute('{ let long;\n  { let short = String::from("b"); long = &short; }\n  println!("{long}"); }')
    assert block.error["ename"] == "E0597" and "Evcxr" not in block.traceback and "dropped here while still" in block.traceback
    top = kernel.execute('let bread = String::from("rye");\nlet _ = spawn({ let b = &bread; move || println!("{b}") }).join();')
    assert top.error["ename"] == "E0597" and "Evcxr" in top.traceback, "this one is the notebook's doing"


def test_the_note_on_statics_does_not_stand_above_another_error(kernel):
    refused = kernel.execute("static mut COUNT: u32 = 0;\nCOUNT += 1;")
    assert refused.error["ename"] == "E0133" and not any("COUNT" in note for note in notes(refused))
    good = kernel.execute("static mut COUNT: u32 = 0;\nunsafe { COUNT += 1 };")
    assert good.status == "ok" and any("each cell has its own `COUNT`" in note for note in notes(good))


def test_the_locks_of_a_tuple_have_the_names_of_its_pattern(kernel):
    for name in ["a", "b"]:
        cell = kernel.execute(
            "let (a, b) = (Mutex::new(1), Mutex::new(2));\n"
            f"{{ let _held = {name}.lock().unwrap(); let _again = {name}.lock().unwrap(); }}"
        )
        assert cell.error["ename"] == "Deadlock" and f"lock `{name}`" in cell.traceback, cell


def test_a_cell_that_only_defines_draws_no_threads_of_earlier_cells(fresh):
    kernel = fresh
    first = kernel.execute("let (tx, rx) = channel::<u32>();\nspawn(move || while rx.recv().is_ok() { sleep(ms(1)) });")
    assert first.timeline
    kernel.execute("let theirs = tx;\nspawn(move || loop { if theirs.send(1).is_err() { break } sleep(ms(1)) });")
    for name in ["f", "g", "h"]:
        defines = kernel.execute(f"fn {name}() -> u32 {{ 3 }}")
        assert defines.status == "ok" and not any(TIMELINE in shown["data"] for shown in defines.contents("display_data")), "nothing of it is this cell's"
    uses = kernel.execute("spawn(|| f()).join().unwrap()")
    assert uses.timeline


def test_closures_in_errors_are_named_by_the_cells_line(kernel):
    cell = kernel.execute("let bread = std::rc::Rc::new(1);\n\nspawn(move || println!(\"{bread}\")).join().unwrap();")
    said = cell.traceback
    assert cell.error["ename"] == "E0277" and "{closure at line 3}" in said and "lib.rs" not in said, said


def test_a_failed_check_calls_things_by_their_variables(kernel):
    cell = kernel.execute(
        "fn serve() {\n"
        "    let (orders, kitchen) = channel::<u32>();\n"
        "    let _ = kitchen.recv();\n"
        "    drop(orders);\n"
        "}\n"
        "check!(serve() => ());"
    )
    assert cell.error["ename"] == "CheckFailed"
    assert cell.error["evalue"] == "came to a deadlock: `main` waited for channel `orders/kitchen`", cell.error
    facts = kernel.execute(
        "fn bake() -> u32 {\n"
        "    let till = Arc::new(Mutex::new(0));\n"
        '    let mine = Mutex::new(0).named("mine");\n'
        "    *mine.lock().unwrap() += 1;\n"
        "    let theirs = till.clone();\n"
        "    spawn(move || *theirs.lock().unwrap() += 1).join().unwrap();\n"
        "    let sum = *till.lock().unwrap();\n"
        "    sum\n"
        "}\n"
        "check!(bake() => 1, \"one thread\": |f| f.tasks().len() == 7);"
    )
    said = facts.error["evalue"]
    assert "lock `till`" in said and "lock `mine`" in said and "lock 1" not in said and "\x01" not in said, said
