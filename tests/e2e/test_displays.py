"""What a cell shows besides its text: displays in their place, later versions of them, and progress."""

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from kernel import KERNEL


def outputs(cell):
    """Streams, displays and results in order: the text of each, or its first form."""
    told = []
    for message in cell.messages:
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            if told and told[-1][0] == "stream":
                told[-1] = ("stream", told[-1][1] + content["text"])
            else:
                told.append(("stream", content["text"]))
        elif kind in ("display_data", "update_display_data", "execute_result"):
            told.append((kind, next(iter(content["data"].values()))))
        elif kind == "clear_output":
            told.append((kind, content["wait"]))
    return told


def test_displays_stand_in_order_between_the_prints(kernel):
    cell = kernel.execute('print!("one ");\ndisplay(&[1, 2]);\nprintln!("two");\ndisplay_html("<b>3</b>");\ndisplay("4");\n5').good()
    assert outputs(cell) == [
        ("stream", "one "),
        ("display_data", "[1, 2]"),
        ("stream", "two\n"),
        ("display_data", "<b>3</b>"),
        ("display_data", '"4"'),
        ("execute_result", "5"),
    ]


def test_each_kind_of_display_has_its_type(kernel):
    code = 'display_svg("<svg/>");\ndisplay_markdown("*rye*");\ndisplay_png([137, 80, 78]);\ndisplay_forms(&[("application/json", "{\\"a\\": 1}"), ("text/plain", "a")]);'
    cell = kernel.execute(code).good()
    assert [content["data"] for content in cell.contents("display_data")] == [
        {"image/svg+xml": "<svg/>"},
        {"text/markdown": "*rye*", "text/plain": "*rye*"},
        {"image/png": "iVBO"},
        {"application/json": {"a": 1}, "text/plain": "a"},
    ]


def test_a_unit_shows_nothing_and_a_handle_neither(kernel):
    assert kernel.execute("()").good().result is None
    cell = kernel.execute("display(1)").good()
    assert outputs(cell) == [("display_data", "1")]


def test_a_display_is_updated_in_place_also_by_a_later_cell(kernel):
    cell = kernel.execute('let shown = display("dough");\nshown.update("bread");').good()
    assert outputs(cell) == [("display_data", '"dough"'), ("update_display_data", '"bread"')]
    [made] = cell.contents("display_data")
    [changed] = cell.contents("update_display_data")
    assert made["transient"]["display_id"] == changed["transient"]["display_id"]
    later = kernel.execute('shown.update_html("<i>toast</i>");').good()
    [again] = later.contents("update_display_data")
    assert again["transient"] == made["transient"] and again["data"] == {"text/html": "<i>toast</i>"}


def test_clear_output_is_told_in_its_place(kernel):
    cell = kernel.execute('println!("a");\nclear_output(true);\nprintln!("b");\nclear_output(false);').good()
    assert outputs(cell) == [("stream", "a\n"), ("clear_output", True), ("stream", "b\n"), ("clear_output", False)]


def test_a_megabyte_of_picture_arrives_whole_among_other_threads_prints(kernel):
    code = """let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
let printer = std::thread::spawn({ let done = done.clone(); move || { let mut n = 0; while !done.load(Ordering::SeqCst) { println!("n{n}"); n += 1; } n } });
let html = format!("<i>{}</i>", "é".repeat(500_000));
display_html(&html);
done.store(true, Ordering::SeqCst);
println!("last {}", printer.join().unwrap());"""
    cell = kernel.execute(code).good()
    # Beside it stands a hint that std's threads are not in the picture.
    [shown] = [content for content in cell.contents("display_data") if "text/html" in content["data"]]
    assert shown["data"]["text/html"] == "<i>" + "é" * 500_000 + "</i>"
    *lines, last = cell.stdout.split("\n")[:-1]
    assert lines == [f"n{n}" for n in range(int(last.split()[1]))]


def test_a_value_of_a_megabyte_is_shown_whole(kernel):
    assert kernel.execute('"x".repeat(1_000_000)').good().result == '"' + "x" * 1_000_000 + '"'


def test_types_with_a_display_of_evcxrs_kind_keep_working(kernel):
    code = r"""#[derive(Debug)]
struct Loaf;
impl Loaf {
    fn evcxr_display(&self) {
        println!("EVCXR_BEGIN_CONTENT text/html\n<b>loaf</b>\nEVCXR_END_CONTENT");
        println!("EVCXR_BEGIN_CONTENT text/plain\na loaf\nEVCXR_END_CONTENT");
    }
}
Loaf.evcxr_display();
println!("between");
Loaf"""
    cell = kernel.execute(code).good()
    assert cell.contents("display_data")[0]["data"] == {"text/html": "<b>loaf</b>", "text/plain": "a loaf"}
    assert cell.contents("execute_result")[0]["data"] == {"text/html": "<b>loaf</b>", "text/plain": "a loaf"}
    assert cell.kinds() == ["busy", "execute_input", "display_data", "stream", "execute_result", "idle"]


def test_what_a_task_displays_after_its_cell_goes_to_its_cell(kernel, tmp_path):
    gate = tmp_path / "gate"
    first = kernel.execute(
        f'''let late = spawn(|| {{
    while !std::path::Path::new("{gate}").exists() {{ sleep(ms(2)); }}
    display("late");
}});'''
    ).good()
    gate_opener = f'std::fs::write("{gate}", "").unwrap();\nlate.join().unwrap();'
    second = kernel.execute(gate_opener).good()
    assert '"late"' not in [content["data"].get("text/plain") for content in second.contents("display_data")]
    mine = [m for m in kernel.elsewhere if m["parent_header"].get("msg_id") == first.reply["parent_header"]["msg_id"]]
    assert [m["content"]["data"] for m in mine if m["msg_type"] == "display_data"] == [{"text/plain": "after the end of this cell:"}, {"text/plain": '"late"'}]


def test_progress_is_updated_in_place_and_not_too_often(kernel):
    cell = kernel.execute("let mut sum = 0u64;\nfor n in progress(0..2_000_000u64) { sum += n; }\nsum").good()
    assert cell.result == str(sum(range(2_000_000)))
    [begun] = cell.contents("display_data")
    changed = cell.contents("update_display_data")
    assert "0/2000000" in begun["data"]["text/plain"] and '<progress value="0" max="2000000">' in begun["data"]["text/html"]
    assert "100% 2000000/2000000" in changed[-1]["data"]["text/plain"]
    # Ten a second at most: it took a few seconds at the very most, and two million items.
    assert len(changed) < 300
    assert {c["transient"]["display_id"] for c in changed} == {begun["transient"]["display_id"]}


def test_nbclient_and_run_see_the_updates_applied(installed, threadbook, tmp_path):
    cells = [
        'let shown = display("dough");\nfor n in progress(0..10) { let _ = n; }\nshown.update("bread");',
        'shown.update("toast");\nprintln!("gone");\nclear_output(false);\nprintln!("kept");',
    ]
    want = ['"toast"', "10/10", "kept\n"]

    def check(notebook):
        first, second = notebook.cells
        told = [output.data["text/plain"] for output in first.outputs]
        assert told[0] == want[0] and want[1] in told[1] and len(told) == 2, first.outputs
        assert [output.text for output in second.outputs] == [want[2]]
        nbformat.validate(notebook)

    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, kernel_name=KERNEL, timeout=120).execute()
    check(notebook)
    path = tmp_path / "displays.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(cell) for cell in cells]), path)
    done = threadbook("run", path)
    assert done.returncode == 0, done.stderr
    check(nbformat.read(path, as_version=4))
