"""Deadlocks: found at once, told in the learner's words, and survived. And what only looks like one."""

import pytest

# Each has one lock, and both have theirs before either asks for the other's: no schedule comes around that.
CROSSED = """    let flour = Arc::new(Mutex::new(0));
    let sugar = Arc::new(Mutex::new(0));
    let ready = Arc::new(std::sync::Barrier::new(2));
    let (f, s, r) = (flour.clone(), sugar.clone(), ready.clone());
    let ada = spawn_named("ada", move || {
        let _mine = f.lock().unwrap();
        r.wait();
        let _both = s.lock().unwrap();
    });
    let (f, s, r) = (flour.clone(), sugar.clone(), ready);
    let grace = spawn_named("grace", move || {
        let _mine = s.lock().unwrap();
        r.wait();
        let _both = f.lock().unwrap();
    });
"""


def deadlock(cell, evalue):
    """Its traceback, once it is clear that the cell is red by a deadlock, in the right order, with this as its one sentence."""
    assert cell.error["ename"] == "Deadlock", str(cell)
    assert cell.error["evalue"] == f"deadlock: {evalue}", str(cell)
    kinds = [kind for kind in cell.kinds() if kind != "stream"]
    assert kinds == ["busy", "execute_input", "display_data", "error", "idle"], str(cell)
    assert "stream" not in cell.kinds()[cell.kinds().index("display_data") :], str(cell)
    return cell.traceback


def ends(cell):
    return {lane["name"]: lane["end"] for lane in cell.timeline["lanes"]}


def in_vain(cell):
    return {
        lane["name"]: [(wait["reason"], wait["object"]) for wait in lane["waits"] if wait.get("deadlocked")]
        for lane in cell.timeline["lanes"]
        if any(wait.get("deadlocked") for wait in lane["waits"])
    }


def test_a_lock_taken_twice_is_reported_and_nothing_of_earlier_cells_is_lost(fresh):
    fresh.execute("let kept = vec![1, 2, 3];\nlet till = Arc::new(Mutex::new(5));").good()
    cell = fresh.execute("println!(\"before\");\nlet first = *till.lock().unwrap();\n{\n    let _a = till.lock().unwrap();\n    let _b = till.lock().unwrap();\n}")
    told = deadlock(cell, "`main` waits for itself")
    assert cell.stdout == "before\n"
    assert "`main` waits for lock `till` at line 5, which it has itself since line 4" in told
    assert "| let _b = till.lock().unwrap();" in told
    assert "the variables of earlier cells are kept" in told
    assert in_vain(cell) == {"main": [("lock", "till")]}
    assert ends(cell) == {"main": "deadlocked"}
    assert cell.timeline["rings"] == [["main"]]
    assert "X waits in vain: deadlock" in cell.picture["text/plain"]
    # Not lost, not locked, not poisoned.
    assert fresh.execute("(kept.len(), *till.lock().unwrap(), till.is_poisoned())").good().result == "(3, 5, false)"


def test_two_locks_in_two_orders(kernel):
    code = "{\n" + CROSSED + '    println!("{} {}", ada.join().is_err(), grace.join().is_err());\n'
    code += '    println!("{} {}", flour.is_poisoned(), sugar.is_poisoned());\n}'
    cell = kernel.execute(code)
    told = deadlock(cell, "`ada` and `grace` wait for each other")
    assert "`ada` waits for lock `sugar` at line 9, which `grace` has since line 13" in told
    assert "`grace` waits for lock `flour` at line 15, which `ada` has since line 7" in told
    assert "| let _both = s.lock().unwrap();" in told and "| let _both = f.lock().unwrap();" in told
    assert "went on to its end" in told
    assert cell.stdout == "true true\nfalse false\n"
    assert ends(cell) == {"main": "done", "ada": "deadlocked", "grace": "deadlocked"}
    assert cell.timeline["rings"] == [["ada", "grace"]]
    assert kernel.execute("1 + 1").good().result == "2"


def test_a_panic_for_want_of_a_result_does_not_hide_the_deadlock(kernel):
    cell = kernel.execute("{\n" + CROSSED + "    ada.join().unwrap();\n    grace.join().unwrap();\n}")
    told = deadlock(cell, "`ada` and `grace` wait for each other")
    assert "after that `main` panicked" in told and "the cell ended there" in told
    assert kernel.execute("1 + 1").good().result == "2"


def test_a_receiver_that_has_its_own_sender_is_told_so(fresh):
    fresh.execute("let (tx, rx) = channel::<i32>();").good()
    cell = fresh.execute('tx.send(1).unwrap();\nfor x in &rx {\n    println!("{x}");\n}')
    told = deadlock(cell, "`main` waits, and no task is left that could wake it")
    assert "`main` waits for a message on channel `tx/rx` at line 2; 1 sender is alive, the one that came with the channel at cell [" in told
    assert "last used by this task itself at line 1: drop it before this wait" in told
    assert "drop it before this wait" in told
    assert cell.stdout == "1\n"
    assert in_vain(cell) == {"main": [("recv", "tx/rx")]}
    # The channel is as it was.
    assert fresh.execute("tx.send(2).unwrap(); rx.recv().unwrap()").good().result == "2"


def test_a_wait_group_short_of_one_done(kernel):
    code = """{
    let ovens = WaitGroup::new();
    ovens.add(2);
    let theirs = ovens.clone();
    spawn_named("ada", move || theirs.done());
    ovens.wait();
}"""
    cell = kernel.execute(code)
    told = deadlock(cell, "`main` waits, and no task is left that could wake it")
    assert "`main` waits for zero in wait group `ovens` at line 6; its counter is 1" in told
    # Whoever found it is no thread of the learner's, and has no lane.
    assert ends(cell) == {"main": "deadlocked", "ada": "done"}


def test_a_join_of_a_thread_that_waits_for_what_main_has(kernel):
    code = """{
    let till = Arc::new(Mutex::new(0));
    let theirs = till.clone();
    let held = till.lock().unwrap();
    let ada = spawn_named("ada", move || *theirs.lock().unwrap() += 1);
    ada.join().unwrap();
    drop(held);
}"""
    cell = kernel.execute(code)
    told = deadlock(cell, "`main` and `ada` wait for each other")
    assert "`main` waits for `ada` to end at line 6" in told
    assert "`ada` waits for lock `till` at line 5, which `main` has since line 4" in told
    assert in_vain(cell) == {"main": [("join", "ada")], "ada": [("lock", "till")]}


def test_a_scope_around_a_thread_that_waits_for_what_main_has(kernel):
    code = """{
    let till = Mutex::new(0);
    let held = till.lock().unwrap();
    scope(|s| {
        s.spawn_named("ada", || *till.lock().unwrap() += 1);
    });
    drop(held);
}"""
    cell = kernel.execute(code)
    told = deadlock(cell, "`main` and `ada` wait for each other")
    assert "`main` waits for the threads of its scope at line 4" in told
    assert kernel.execute("1 + 1").good().result == "2"


def test_all_tasks_of_a_cell_asleep(kernel):
    code = """{
    let (tx, rx) = channel::<i32>();
    let (ask, asked) = channel::<i32>();
    let ada = spawn_named("ada", move || { asked.recv().ok(); drop(tx); });
    rx.recv().ok();
    drop(ask);
}"""
    cell = kernel.execute(code)
    told = deadlock(cell, "all 2 tasks of the cell wait, and none is left that could wake another")
    assert "`main` waits for a message on channel `tx/rx` at line 5" in told
    assert "`ada` waits for a message on channel `ask/asked` at line 4" in told
    assert ends(cell) == {"main": "deadlocked", "ada": "deadlocked"}


@pytest.mark.parametrize("busy", ["work(ms(30))", "sleep(ms(30))"])
def test_a_ring_while_main_goes_on_is_red_and_loses_nothing(kernel, busy):
    # Main waits until ada has begun, and is at its work when she locks for the second time.
    code = f"""let made = 3;
{{
    let till = Arc::new(Mutex::new(0));
    let (tell, told) = bounded(0);
    let theirs = till.clone();
    let ada = spawn_named("ada", move || {{
        let _a = theirs.lock().unwrap();
        tell.send(()).unwrap();
        let _b = theirs.lock().unwrap();
    }});
    told.recv().unwrap();
    {busy};
    println!("main is done: {{}}", ada.join().is_err());
}}"""
    cell = kernel.execute(code)
    told = deadlock(cell, "`ada` waits for itself")
    assert "`ada` waits for lock `till` at line 9, which it has itself since line 7" in told
    assert "went on to its end, and all variables are kept" in told
    assert cell.stdout == "main is done: true\n"
    assert ends(cell) == {"main": "done", "ada": "deadlocked"}
    assert kernel.execute("made").good().result == "3"


def test_a_lock_of_an_earlier_cells_function_is_named_with_that_cell(kernel):
    first = kernel.execute("fn twice(till: &Mutex<i32>) {\n    let _a = till.lock();\n    let _b = till.lock();\n}").good()
    number = first.reply["content"]["execution_count"]
    cell = kernel.execute('twice(&Mutex::new(1).named("till"));')
    told = deadlock(cell, "`main` waits for itself")
    assert f"`main` waits for lock `till` at cell [{number}] line 3, which it has itself since cell [{number}] line 2" in told


def test_a_thread_of_std_that_will_send_is_no_deadlock(kernel):
    code = """{
    let (tx, rx) = channel();
    std::thread::spawn(move || { std::thread::sleep(ms(100)); tx.send(7).unwrap() });
    rx.recv().unwrap()
}"""
    assert kernel.execute(code).good().result == "7"


def test_a_consumer_that_outlives_its_cell_is_no_deadlock(fresh):
    fresh.execute("let (tx, rx) = channel::<i32>();").good()
    consumer = fresh.execute('let consumer = spawn_named("ada", move || { for x in rx { println!("got {x}"); } });').good()
    assert fresh.execute("1 + 1").good().result == "2"
    fresh.execute("tx.send(3).unwrap(); drop(tx); consumer.join().unwrap();").good()
    printed = [m for m in fresh.elsewhere if m["msg_type"] == "stream"]
    assert [m["content"]["text"] for m in printed] == ["got 3\n"]
    assert printed[0]["parent_header"]["msg_id"] == consumer.reply["parent_header"]["msg_id"]


# The cell ends while ada has her lock; what she waits for then is not the prelude's.
LATER = """let (go, wait) = std::sync::mpsc::channel::<()>();
{
    let till = Arc::new(Mutex::new(0).named("till"));
    spawn_named("ada", move || {
        let _a = till.lock().unwrap();
        wait.recv().ok();
        let _b = till.lock().unwrap();
    });
}"""


def test_a_ring_of_threads_that_outlived_their_cell_is_told_as_text(fresh):
    fresh.execute(LATER).good()
    fresh.execute("std::thread::spawn(move || { std::thread::sleep(ms(300)); drop(go); });").good()
    said = ""
    while "at cell [1] line 7" not in said:
        message = fresh.get(fresh.client.get_iopub_msg, "text about the ring", 30)
        if message["msg_type"] == "display_data":
            assert message["content"]["data"]["text/plain"] == "after the end of this cell:"
            continue
        assert message["msg_type"] == "stream", message
        said += message["content"]["text"]
    assert "deadlock among tasks of earlier cells: `ada` waits for itself" in said
    assert fresh.execute("1 + 1").good().result == "2"


def test_a_ring_of_earlier_threads_while_a_cell_runs_is_not_that_cells_fault(fresh):
    fresh.execute(LATER).good()
    cell = fresh.execute("drop(go);\nsleep(ms(100));\n1 + 1").good()
    assert cell.result == "2"
    said = cell.stream("stderr")
    assert "deadlock among tasks of earlier cells: `ada` waits for itself" in said
    assert "`ada` waits for lock `till` at cell [1] line 7" in said
    assert ends(cell) == {"main": "done", "ada": "deadlocked"}


def test_a_deadlock_in_a_destructor_while_the_cell_unwinds_ends_too(kernel):
    code = """{
    struct Late(Arc<Mutex<i32>>);
    impl Drop for Late {
        fn drop(&mut self) {
            *self.0.lock().unwrap() += 1;
        }
    }
    let till = Arc::new(Mutex::new(0));
    let _late = Late(till.clone());
    let _a = till.lock().unwrap();
    let _b = till.lock().unwrap();
}"""
    # `_a` goes before `_late`: the destructor finds the lock free.
    deadlock(kernel.execute(code), "`main` waits for itself")
    assert kernel.execute("1 + 1").good().result == "2"


def test_a_moved_variable_goes_with_the_cell_and_the_others_stay(fresh):
    fresh.execute("let moved = vec![1];\nlet kept = vec![2];\nlet till = Mutex::new(0);").good()
    cell = fresh.execute("let other = moved;\n{\n    let _a = till.lock();\n    let _b = till.lock();\n}")
    deadlock(cell, "`main` waits for itself")
    assert fresh.execute("kept.len()").good().result == "1"
    assert fresh.execute("moved.len()").error["ename"] == "E0425"


def test_a_deadlock_ends_its_own_cell_and_no_consumer_of_an_earlier_one(fresh):
    fresh.execute("let (tx, rx) = channel::<i32>();\nlet (back, news) = channel::<i32>();").good()
    fresh.execute('spawn_named("ada", move || { for x in rx { back.send(x + 1).unwrap(); } });').good()
    cell = fresh.execute("news.recv().unwrap()")
    told = deadlock(cell, "`main` waits, and no task is left that could wake it")
    assert "`main` waits for a message on channel `back/news` at line 1; 1 sender is alive" in told
    assert fresh.execute("tx.send(3).unwrap(); news.recv().unwrap()").good().result == "4"
