"""What a learner may do to the notebook without losing what earlier cells made (each of these did, before)."""

import pytest

from kernel import BUILDS

HARMLESS = {
    "dep_libc_with_other_features": ':dep libc = { version = "0.2", features = ["extra_traits"] }',
    "opt_2": ":opt 2",
    "struct_Sender": "struct Sender { name: u8 }",
    "use_std_sync_Mutex": "use std::sync::Mutex;",
}


@pytest.mark.parametrize("code", HARMLESS.values(), ids=HARMLESS.keys())
def test_a_mutex_and_a_channel_stay_alive_after(fresh, code):
    fresh.execute("let m = Arc::new(Mutex::new(5));\nlet (tx, rx) = channel::<i32>();").good()
    fresh.execute(code, deadline=BUILDS).good()
    assert fresh.execute("*m.lock().unwrap()", deadline=BUILDS).good().result == "5"
    assert fresh.execute("*m.lock().unwrap() += 1; tx.send(7).unwrap();").good()
    assert fresh.execute("(*m.lock().unwrap(), rx.recv().unwrap())").good().result == "(6, 7)"


def test_statics_of_the_prelude_are_shared_across_cells(fresh):
    """A prelude linked into each cell anew would count its threads and objects from 1 again in each."""
    fresh.execute('let oven = Arc::new(Mutex::new(0).named("oven"));').good()
    fresh.execute('let till = Arc::new(Mutex::new(0).named("till"));').good()
    fresh.execute("let (tx, rx) = channel::<i32>();").good()
    fresh.execute('let ada = spawn_named("ada", move || { for n in rx { println!("got {n}"); } });').good()
    cell = fresh.execute("tx.send(1).unwrap();\ndrop(tx);\nada.join().unwrap();").good()
    assert [m["content"]["text"] for m in fresh.elsewhere if m["msg_type"] == "stream"] == ["got 1\n"]
    assert ["message", "main", "ada"] in [[e["kind"], e["from"], e["to"]] for e in cell.timeline["edges"]]
    # Two threads of one cell, each handing both locks on to main: an id used twice would make the two locks one.
    both = fresh.execute(
        'let o = oven.clone(); let t = till.clone();\n'
        'spawn_named("grace", move || { *o.lock().unwrap() += 1; *t.lock().unwrap() += 1; }).join().unwrap();\n'
        "*oven.lock().unwrap() + *till.lock().unwrap()"
    ).good()
    assert both.result == "2"
    locks = {e["object"] for e in both.timeline["edges"] if [e["kind"], e["from"], e["to"]] == ["lock", "grace", "main"]}
    assert locks == {"oven", "till"}, both.timeline
