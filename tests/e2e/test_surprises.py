"""What goes wrong in a learner's cell, and what they are told."""


def test_a_panic_in_an_earlier_cells_function_is_named_with_that_cell(kernel):
    first = kernel.execute('fn check(heat: u32) {\n    assert!(heat < 300, "too hot");\n}').good()
    number = first.reply["content"]["execution_count"]
    cell = kernel.execute("\n\ncheck(400);")
    assert cell.error["evalue"] == "too hot"
    assert f"cell [{number}] line 2" in cell.traceback


def test_a_panic_with_the_learners_own_hook_is_red_too(kernel):
    cell = kernel.execute('std::panic::set_hook(Box::new(|_| {})); panic!("silent");')
    assert cell.error["ename"] == "Panic"


def test_a_caught_panic_is_not_red(kernel):
    cell = kernel.execute('let caught = std::panic::catch_unwind(|| panic!("burnt")).is_err(); println!("{caught}");').good()
    assert cell.stdout == "true\n"
    assert "burnt" in cell.stream("stderr")


def test_a_panic_of_a_thread_is_told_with_its_name_and_line(kernel):
    code = 'let lost = spawn_named("ada", || {\n    if true { panic!("burnt"); }\n}).join().is_err();\nprintln!("{lost}");'
    cell = kernel.execute(code).good()
    assert cell.stdout == "true\n"
    said = cell.stream("stderr")
    assert "`ada` panicked" in said and "burnt" in said and "line 2" in said
    ends = {lane["name"]: lane["end"] for lane in cell.timeline["lanes"]}
    assert ends == {"main": "done", "ada": "panicked"}


def test_evcxrs_own_words_are_text_when_a_learner_prints_them(kernel):
    words = ["EVCXR_EXECUTION_COMPLETE", "EVCXR_PANIC_NOTIFICATION", "EVCXR_ERROR_OCCURRED", "EVCXR_BEGIN_CONTENT text/plain"]
    code = "".join(f'println!("{word}");' for word in words) + 'println!("end");'
    cell = kernel.execute(code).good()
    assert sorted(cell.stdout.split("\n")) == sorted([*words, "end", ""])


def test_a_closure_that_never_ends_is_explained(kernel):
    cell = kernel.execute("let ticker = spawn(|| loop { sleep(ms(50)); });")
    assert cell.error["ename"] == "E0658"
    assert "JoinHandle<!>" in cell.traceback and "braces" in cell.traceback


def test_a_flood_of_text_from_a_thread_does_not_hurt_the_next_cells(kernel):
    kernel.execute('let flood = std::thread::spawn(|| for i in 0..50_000 { println!("flood {i}"); });').good()
    assert kernel.execute("1 + 1").good().result == "2"
    kernel.execute("flood.join().unwrap();").good()
