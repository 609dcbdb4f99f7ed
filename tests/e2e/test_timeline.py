"""What `:timeline` changes about pictures, and the picture of a cell that still runs. Never how long anything takes."""

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from kernel import DEADLINE, TIMELINE

# Main waits for the lock until it is interrupted: who has it never gives it back, and is no deadlock, since it never waits for main.
HANGS = """let oven = Arc::new(Mutex::new(0).named("oven"));
let theirs = oven.clone();
let cook = spawn_named("cook", move || { let _held = theirs.lock().unwrap(); while std::fs::metadata("never").is_err() { sleep(ms(50)); } });
while oven.try_lock().is_ok() { sleep(ms(1)); }
let _oven = oven.lock().unwrap();"""


def displays(messages):
    """The pictures among messages as they stand in the end, by display id; what is shown again stands in the place of what was there."""
    shown = {}
    for m in messages:
        if m["msg_type"] in ("display_data", "update_display_data"):
            id = m["content"].get("transient", {}).get("display_id")
            if m["msg_type"] == "update_display_data":
                assert id in shown, "an update of what is not there"
            if id is not None or TIMELINE in m["content"]["data"]:
                shown[id] = m["content"]["data"]
    return shown


class Tags(HTMLParser):
    """The tags of a page with their attributes, in order."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, sorted(attributes, key=str)))


def tags(html):
    return Tags(html).found


def while_it_runs(kernel, code):
    """Sends a cell and waits for its first picture; the cell's id, and its messages so far."""
    msg_id, mine = kernel.send(code), []
    while not (mine and mine[-1]["msg_type"] == "display_data"):
        message = kernel.get(kernel.client.get_iopub_msg, "picture of a cell that runs", DEADLINE, mine)
        if message["parent_header"].get("msg_id") == msg_id:
            mine.append(message)
            assert message["content"].get("execution_state") != "idle", "it ended without a picture"
    return msg_id, mine


def said(kernel, command):
    return kernel.execute(command).good().result


def test_each_form_lasts_until_it_is_changed(fresh):
    # Main runs ada itself, while it waits for her: so there is a wait to tell of, in every run.
    code = 'workers(1); go_named("ada", || ()).join().unwrap();'
    assert "by steps" in said(fresh, ":timeline steps")
    for _ in range(2):
        assert fresh.execute(code).good().timeline["axis"] == "steps"
    assert "by time" in said(fresh, ":timeline wall")
    assert fresh.execute(code).good().timeline["axis"] == "wall"
    said(fresh, ":timeline words")
    words = fresh.execute(code).good().picture
    assert "<svg" not in words["text/html"] and "<table>" in words["text/html"]
    assert "####" not in words["text/plain"] and "made by main" in words["text/plain"]
    said(fresh, ":timeline off")
    cell = fresh.execute(code).good()
    assert not cell.contents("display_data"), str(cell)
    assert "ada" in said(fresh, ":timeline explain"), "it is known all the same"
    assert "not shown" in said(fresh, ":timeline")
    said(fresh, ":timeline auto")
    assert "<svg" in fresh.execute(code).good().picture["text/html"]


def test_what_it_does_not_take_is_answered_with_what_it_takes(fresh):
    for command, says in [
        (":timeline sideways", "`wall`, `steps`, `auto`, `words`, `off`, `explain`"),
        (":timeline live", "`on` or `off`"),
        (":timeline save", "ends in .json"),
        (":timeline save picture.png", "ends in .svg"),
        (":timeline explain", "no picture yet"),
        (":timeline save trace.json", "no picture yet"),
    ]:
        error = fresh.execute(command).error
        assert says in error["evalue"], error


def test_commands_are_completed_and_listed(kernel):
    # Asked before the first cell, it would be the table of names that answers.
    kernel.execute("();").good()
    assert kernel.ask("complete", ":timel", 6)["matches"] == [":timeline"]
    reply = kernel.ask("complete", ":timeline s", 11)
    assert reply["matches"] == ["save trace.json", "steps"] and reply["cursor_start"] == 10
    help = kernel.execute(":help").good().result
    for row in [":timeline ", ":timeline explain", ":timeline live", ":timeline save"]:
        assert row in help, help


WAITS = """{
    let oven = Arc::new(Mutex::new(0).named("oven"));
    let theirs = oven.clone();
    let (tell, told) = std::sync::mpsc::channel();
    let held = oven.lock().unwrap();
    let baker = spawn_named("baker", move || {
        tell.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
        *theirs.lock().unwrap() += 1;
    });
    let stat = std::path::Path::new("/proc").join(told.recv().unwrap()).join("stat");
    while !std::fs::read_to_string(&stat).unwrap().contains(") S ") { std::thread::yield_now(); }
    drop(held);
    baker.join().unwrap();
}"""


def test_explain_tells_the_last_picture_or_that_of_its_own_cell(fresh):
    cell = fresh.execute(":timeline explain\n" + WAITS).good()
    told = [data for data in cell.contents("execute_result") if data["data"]["text/plain"].startswith("cell 1:")]
    assert len(told) == 1, str(cell)
    want = r"baker waited [0-9.]+ [µmn]?s for lock `oven` \(cell 1 line 9: `[^`]+`\), held by main since cell 1 line 6: `[^`]+`; main's unlock let it go on\."
    assert re.search(want, told[0]["data"]["text/plain"]), told[0]["data"]["text/plain"]
    fresh.execute("1 + 1").good()
    again = fresh.execute(":timeline explain").good()
    assert re.search(want, again.result), "a cell without a picture does not take its place"
    assert "<li>baker waited" in again.contents("execute_result")[0]["data"]["text/html"]


def test_a_deadlock_is_explained_as_a_ring(fresh):
    cell = fresh.execute("""let (a, b) = (Arc::new(Mutex::new(0).named("till")), Arc::new(Mutex::new(0).named("oven")));
let (a2, b2) = (a.clone(), b.clone());
let has_a = a.lock().unwrap();
let cook = spawn_named("cook", move || { let _b = b2.lock().unwrap(); let _a = a2.lock().unwrap(); });
while b.try_lock().is_ok() {}
let has_b = b.lock().unwrap();""")
    assert cell.error["ename"] == "Deadlock"
    told = said(fresh, ":timeline explain").splitlines()
    assert "waited for each other" in told[1] and "main" in told[1] and "cook" in told[1], told
    assert any("main waited" in line and "held by cook" in line for line in told), told
    assert any("cook waited" in line and "held by main" in line for line in told), told


def test_pictures_are_saved_beside_the_notebook_and_never_over_other_files(fresh):
    folder = fresh.log.parent
    cell = fresh.execute(":timeline save trace.json\n:timeline save picture.svg\n" + WAITS).good()
    assert [(folder / name).is_file() for name in ("trace.json", "picture.svg")] == [True, True], str(cell)
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    slices = [e for e in events if e["ph"] == "X"]
    names = {e["args"]["name"]: e["tid"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    assert set(names) == {"main", "baker"}
    assert any(e["name"] == "waits for lock `oven`" and e["tid"] == names["baker"] for e in slices)
    flows = {ph: {e["id"]: e for e in events if e["ph"] == ph} for ph in "sf"}
    assert flows["s"].keys() == flows["f"].keys() and {e["name"] for e in flows["s"].values()} >= {"made", "unlock", "joined"}
    for end in [*flows["s"].values(), *flows["f"].values()]:
        assert any(x["tid"] == end["tid"] and x["ts"] <= end["ts"] < x["ts"] + x["dur"] for x in slices), end
    assert all(e["bp"] == "e" for e in flows["f"].values())
    assert {e["name"] for e in events if e["ph"] == "C"} >= {"running", "lock `oven` held"}
    svg = ET.parse(folder / "picture.svg").getroot()
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    texts = ["".join(t.itertext()) for t in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {"main", "baker"} <= set(texts), texts
    assert "prefers-color-scheme" in (folder / "picture.svg").read_text()
    # Again over our own, and not over anybody else's.
    fresh.execute(":timeline save picture.svg").good()
    (folder / "theirs.svg").write_text("<svg/>")
    error = fresh.execute(":timeline save theirs.svg").error
    assert "theirs.svg" in error["evalue"] and "take another name" in error["evalue"]
    assert (folder / "theirs.svg").read_text() == "<svg/>"
    error = fresh.execute(":timeline save nowhere/trace.json").error
    assert "nowhere/trace.json cannot be written" in error["evalue"], error


def test_a_cell_that_hangs_shows_who_waits_and_ends_with_one_picture_in_the_same_place(fresh):
    msg_id, mine = while_it_runs(fresh, HANGS)
    first = mine[-1]["content"]
    assert "still running" in first["data"]["text/plain"]
    assert re.search(r"main waits for lock `oven` \(cell 1 line 5: .*\), which cook has", first["data"]["text/plain"]), first["data"]["text/plain"]
    fresh.manager.interrupt_kernel()
    cell = fresh.finish(msg_id, HANGS, so_far=mine)
    assert cell.error["ename"] == "Interrupted"
    shown = displays(cell.messages)
    assert list(shown) == [first["transient"]["display_id"]], "the last one stands where the first one did"
    (last,) = shown.values()
    assert TIMELINE in last and "still running" not in last["text/plain"]
    assert {lane["end"] for lane in last[TIMELINE]["lanes"] if lane["name"] == "main"} == {"interrupted"}


def test_a_process_that_dies_leaves_the_last_picture_in_the_same_place(fresh):
    code = """let (tx, rx) = channel::<u32>();
let cook = spawn_named("cook", move || { let _ = rx.recv(); });
while std::fs::metadata("die").is_err() { sleep(ms(5)); }
std::process::abort();"""
    msg_id, mine = while_it_runs(fresh, code)
    id = mine[-1]["content"]["transient"]["display_id"]
    (fresh.log.parent / "die").write_text("")
    cell = fresh.finish(msg_id, code, so_far=mine)
    assert cell.status == "error"
    shown = displays(cell.messages)
    assert list(shown) == [id] and TIMELINE in shown[id]
    assert any(wait["reason"] == "recv" for lane in shown[id][TIMELINE]["lanes"] for wait in lane["waits"])


def test_a_deadlock_after_a_while_ends_in_the_same_place(fresh):
    code = """let oven = Arc::new(Mutex::new(0).named("oven"));
let cook = spawn_named("cook", || { while std::fs::metadata("go").is_err() { sleep(ms(5)); } });
cook.join().unwrap();
let _once = oven.lock().unwrap();
let _twice = oven.lock().unwrap();"""
    msg_id, mine = while_it_runs(fresh, code)
    id = mine[-1]["content"]["transient"]["display_id"]
    (fresh.log.parent / "go").write_text("")
    cell = fresh.finish(msg_id, code, so_far=mine)
    assert cell.error["ename"] == "Deadlock"
    shown = displays(cell.messages)
    assert list(shown) == [id] and shown[id][TIMELINE]["rings"] == [["main"]]


def test_a_cell_that_clears_its_output_has_its_last_picture_all_the_same(fresh):
    code = """let cook = spawn_named("cook", || { while std::fs::metadata("go").is_err() { sleep(ms(5)); } });
cook.join().unwrap();
clear_output(false);"""
    msg_id, mine = while_it_runs(fresh, code)
    (fresh.log.parent / "go").write_text("")
    cell = fresh.finish(msg_id, code, so_far=mine)
    cell.good()
    at = [m["msg_type"] for m in cell.messages].index("clear_output")
    shown = displays(cell.messages[at:])
    assert len(shown) == 1 and all(TIMELINE in data for data in shown.values()), str(cell)


def test_live_off_shows_one_picture_at_the_end(fresh):
    said(fresh, ":timeline live off")
    cell = fresh.execute('spawn_named("ada", || sleep(ms(1200))).join().unwrap();').good()
    assert len(cell.contents("display_data")) == 1 and not cell.contents("update_display_data"), str(cell)


def test_a_notebook_run_by_nbclient_keeps_one_whole_picture_and_nbconvert_shows_it(installed, tmp_path):
    nbconvert = pytest.importorskip("nbconvert")
    long = 'let h = spawn_named("ada", || sleep(ms(1500)));\nh.join().unwrap();\nprintln!("done");'
    notebook = new_notebook(cells=[new_code_cell(long), new_code_cell('panic!("burnt")')])
    client = NotebookClient(notebook, kernel_name="threadbook", timeout=300, allow_errors=True, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    nbformat.validate(notebook)
    outputs = notebook.cells[0].outputs
    pictures = [o for o in outputs if o.output_type == "display_data"]
    assert len(pictures) == 1 and TIMELINE in pictures[0].data, outputs
    assert "still running" not in pictures[0].data["text/plain"]
    html, _ = nbconvert.HTMLExporter().from_notebook_node(notebook)
    page, picture = tags(html), tags(pictures[0].data["text/html"])
    begins = [at for at, tag in enumerate(page) if tag == picture[0]]
    assert [page[at : at + len(picture)] for at in begins] == [picture], "whole, and once"
