"""The picture below a cell: which threads, which arrows, which waits. Never how long."""

# Each baker locks, sends and counts itself done; main waits for the counter and empties the channel.
MAIN_JOB = """{
    let (tx, rx) = channel();
    let bread = Arc::new(Mutex::new(0));
    let bakers = WaitGroup::new();
    for name in ["ada", "grace"] {
        let (tx, bread, bakers) = (tx.clone(), bread.clone(), bakers.clone());
        bakers.add(1);
        spawn_named(name, move || {
            *bread.lock().unwrap() += 1;
            tx.send(name).unwrap();
            bakers.done();
        });
    }
    drop(tx);
    bakers.wait();
    for name in rx { println!("from {name}"); }
    println!("{} loaves", bread.lock().unwrap());
}"""


def edges(timeline, kind):
    return {(edge["from"], edge["to"]) for edge in timeline["edges"] if edge["kind"] == kind}


def test_main_job_cell_shows_picture_below_output(kernel):
    cell = kernel.execute(MAIN_JOB).good()
    assert cell.kinds() == ["busy", "execute_input", "stream", "display_data", "idle"], str(cell)
    assert sorted(cell.stdout.splitlines()) == ["2 loaves", "from ada", "from grace"]
    assert "<svg" in cell.picture["text/html"] and "ada" in cell.picture["text/html"]
    assert "grace" in cell.picture["text/plain"]
    assert edges(cell.timeline, "spawn") == {("main", "ada"), ("main", "grace")}
    assert edges(cell.timeline, "message") == {("ada", "main"), ("grace", "main")}
    assert cell.timeline["dropped"] == 0


def test_threads_of_a_cell_get_lanes_with_their_names(kernel):
    cell = kernel.execute('for name in ["ada", "grace", "edsger"] { spawn_named(name, || ()).join().unwrap(); }').good()
    assert [lane["name"] for lane in cell.timeline["lanes"]] == ["main", "ada", "grace", "edsger"]
    assert {lane["parent"] for lane in cell.timeline["lanes"][1:]} == {"main"}
    assert edges(cell.timeline, "join") == {(name, "main") for name in ["ada", "grace", "edsger"]}


def test_a_thread_that_waits_for_a_lock_shows_it_and_who_let_go(kernel):
    # Main holds the lock until ada has said that she is about to ask for it, and then for as long as it takes until
    # her thread sleeps: the kernel's own view of a thread (state S) is what main looks at, so no time is guessed.
    code = """{
    let oven = Arc::new(Mutex::new(0).named("oven"));
    let (tell, told) = std::sync::mpsc::channel();
    let held = oven.lock().unwrap();
    let theirs = oven.clone();
    let ada = spawn_named("ada", move || {
        tell.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
        *theirs.lock().unwrap() += 1;
    });
    let stat = std::path::Path::new("/proc").join(told.recv().unwrap()).join("stat");
    while !std::fs::read_to_string(&stat).unwrap().contains(") S ") { std::thread::yield_now(); }
    drop(held);
    ada.join().unwrap();
}"""
    cell = kernel.execute(code).good()
    assert ("main", "ada") in edges(cell.timeline, "lock"), cell.timeline
    ada = next(lane for lane in cell.timeline["lanes"] if lane["name"] == "ada")
    assert [(wait["reason"], wait["object"]) for wait in ada["waits"]] == [("lock", "oven")]


def test_a_thread_of_an_earlier_cell_has_its_lane_in_a_later_one(fresh):
    fresh.execute("let (ask, asked) = channel::<i32>();\nlet (tell, told) = channel::<i32>();").good()
    fresh.execute('let ada = spawn_named("ada", move || { for n in asked { tell.send(n + 1).unwrap(); } });').good()
    cell = fresh.execute("ask.send(1).unwrap();\ntold.recv().unwrap()").good()
    assert cell.result == "2"
    assert edges(cell.timeline, "message") == {("main", "ada"), ("ada", "main")}, cell.timeline


def test_a_name_that_looks_like_markup_stays_text(kernel):
    cell = kernel.execute('spawn_named("<script>alert(1)</script>", || ()).join().unwrap();').good()
    assert "<script" not in cell.picture["text/html"]
    assert "&lt;script" in cell.picture["text/html"]


def test_who_outlives_the_cell_is_listed_with_what_it_waits_for(fresh):
    # Main's cell ends when ada's thread sleeps, by the kernel's own view of it.
    cell = fresh.execute("""let (orders, shop) = channel::<i32>();
let (tell, told) = std::sync::mpsc::channel();
let ada = spawn_named("ada", move || {
    tell.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
    for order in shop { println!("{order}"); }
});
let stat = std::path::Path::new("/proc").join(told.recv().unwrap()).join("stat");
while !std::fs::read_to_string(&stat).unwrap().contains(") S ") { std::thread::yield_now(); }""").good()
    assert cell.stream("stderr") == "", "it is no error"
    where = {"cell": 1, "line": 5}
    assert cell.timeline["left_alive"] == [{"task": "ada", "does": "recv", "object": "orders/shop", "where": where}]
    told = (
        "still alive when the cell ended:\n  ada waits for a message on channel `orders/shop` "
        '(cell 1 line 5: `for order in shop { println!("{order}"); }`); a sender of it is alive, and nobody has sent to it in this cell'
    )
    assert told in cell.picture["text/plain"], cell.picture["text/plain"]
    assert 'data-t="ada waits for a message on channel `orders/shop`' in cell.picture["text/html"]
    # She goes on living, and is gone when the last sender is.
    cell = fresh.execute("orders.send(7).unwrap();\ndrop(orders);\nada.join().unwrap();").good()
    assert [m["content"]["text"] for m in fresh.elsewhere if m["msg_type"] == "stream"] == ["7\n"]
    assert "left_alive" not in cell.timeline, cell.timeline
    assert "still alive when" not in cell.picture["text/plain"]


def test_a_cell_that_does_more_than_there_is_room_for_shows_how_it_began_and_how_it_ended(fresh):
    cell = fresh.execute("""let till = Arc::new(Mutex::new(0).named("till"));
let theirs = till.clone();
let first = spawn_named("ada", move || mark("opened"));
first.join().unwrap();
spawn_named("grace", move || for _ in 0..600_000 { *theirs.lock().unwrap() += 1; }).join().unwrap();
spawn_named("edsger", move || mark("closed")).join().unwrap();
let sold = *till.lock().unwrap();
sold""").good()
    assert cell.result == "600000"
    assert [(lane["name"], lane["end"]) for lane in cell.timeline["lanes"]] == [
        ("main", "done"),
        ("ada", "done"),
        ("grace", "done"),
        ("edsger", "done"),
    ]
    assert {("main", name) for name in ["ada", "grace", "edsger"]} == edges(cell.timeline, "spawn")
    assert {(name, "main") for name in ["ada", "grace", "edsger"]} == edges(cell.timeline, "join")
    # 1,200,000 events, of which there is room for 516,000.
    assert 600_000 < cell.timeline["dropped"] < 800_000, cell.timeline["dropped"]
    assert "the first and the last ones were kept" in cell.picture["text/plain"]
    assert "? not kept" in cell.picture["text/plain"] and 'data-t="not kept"' in cell.picture["text/html"]
    assert "left_alive" not in cell.timeline
