"""What a learner asks for in an exercise's cell, what a failed check says, and what is kept of what is done."""

import json
import os
import shutil
from pathlib import Path

import pytest

from kernel import Kernel, plain

ROOT = Path(__file__).resolve().parents[2]
PROGRESS = "threadbook/progress.json"

EXERCISE = """// exercise: 88.1
fn bake() -> u32 {
    1
}"""
SOLUTION = """fn bake() -> u32 {
    2
}"""
CHECK = """// check: 88.1
check!(bake() => 2);"""


def lesson(folder, solution="```rust\n" + SOLUTION + "\n```", name="88_mine"):
    """A notebook as `threadbook lessons build` makes one of a teacher's own lesson."""
    exercise = {
        "number": name[:2] + ".1",
        "title": "two loaves",
        "start": EXERCISE,
        "hints": ["Count the loaves.", "One is too few:\n\n```rust\n1\n```", "Write `2`."],
    }
    if solution:
        exercise["solution"] = solution
    card = {"lesson": name, "title": "Loaves", "minutes": 5, "exercises": [exercise]}
    folder.mkdir(parents=True, exist_ok=True)
    notebook = {"cells": [], "metadata": {"threadbook": card}, "nbformat": 4, "nbformat_minor": 5}
    (folder / f"{name}.ipynb").write_text(json.dumps(notebook))


@pytest.fixture
def data(monkeypatch):
    """The user's folder for data, as it is before and after the test."""
    path = Path(os.environ["XDG_DATA_HOME"]) / PROGRESS
    path.unlink(missing_ok=True)
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def mine(start, tmp_path, data):
    """A kernel beside a teacher's own lesson, with nothing done."""
    lesson(tmp_path / "kernel-0")
    return start()


def learner(kernel, code):
    """Runs a cell as a person does, who could be asked for input."""
    return kernel.finish(kernel.client.execute(code, allow_stdin=True), code)


def said(cell):
    """All texts that it shows, its value last."""
    shown = [c["data"]["text/plain"] for c in cell.contents("display_data") + cell.contents("execute_result")]
    return "\n".join(shown)


def test_hints_come_one_by_one_and_then_the_solution_is_named(mine):
    assert "no exercise has been run" in said(mine.execute(":hint").good())
    asking = EXERCISE.replace("    1", "    :hint\n    1")
    for want in ["Hint 1 of 3 for exercise 88.1, two loaves\n\nCount the loaves.", "One is too few"]:
        assert want in said(mine.execute(asking).good())
    # The cell ran as well, without its line.
    assert mine.execute("bake()").result == "1"
    assert "Write `2`." in said(mine.execute("%hint").good())
    assert "there are no more: `:solution`" in said(mine.execute(":hint").good())
    shown = mine.execute(":solution 88.1").good()
    assert SOLUTION in said(shown)
    assert "```rust" in shown.contents("execute_result")[0]["data"]["text/markdown"]
    assert "Hint 1 of 3 for exercise 07.1" in said(mine.execute(":hint 07.1").good()), "the course's own are there too"
    assert "there is no exercise 99.1 here" in said(mine.execute(":hint 99.1").good())
    wrong = mine.execute("// exercise: 88.1\n:hint please")
    assert ":hint takes the number of an exercise" in wrong.traceback


def test_reset_brings_the_first_text_back_into_the_cell_and_into_the_kernel(mine):
    mine.execute(EXERCISE.replace("    1", "    7")).good()
    assert mine.execute("bake()").result == "7"
    cell = mine.execute("// exercise: 88.1\nfn bake() -> u32 { this is no Rust\n:reset").good()
    assert cell.reply["content"]["payload"] == [{"source": "set_next_input", "text": EXERCISE, "replace": True}]
    # A client that does not know how shows the text.
    assert EXERCISE in said(cell)
    assert mine.execute("bake()").result == "1"
    assert mine.execute("1 + 1").reply["content"]["payload"] == []


def test_a_line_that_only_looks_like_a_command_is_told_where_commands_stand(mine):
    cell = mine.execute("let a = 1;\n:hint")
    assert cell.status == "error"
    assert "commands such as `:hint` stand at the head of a cell" in said(cell)


def test_a_failed_check_says_what_was_seen_what_was_wanted_and_the_next_hint(mine):
    first = mine.execute(CHECK)
    assert "the cell of exercise 88.1 has not run in this kernel yet" in first.traceback
    mine.execute(EXERCISE).good()
    offered = mine.execute(CHECK)
    assert offered.error["ename"] == "CheckFailed"
    assert "gave 1, and 2 was wanted" in offered.traceback
    assert "write `:hint` into a cell for the first of three hints" in offered.traceback
    # Run again, nothing was tried: the same words.
    assert mine.execute(CHECK).traceback.splitlines()[-1] == offered.traceback.splitlines()[-1]
    mine.execute(EXERCISE.replace("    1", "    3")).good()
    shown = mine.execute(CHECK).traceback
    assert "gave 3, and 2 was wanted" in shown and "hint 1 of 3: Count the loaves." in shown
    assert "Hint 2 of 3" in said(mine.execute(":hint").good())


def test_a_fact_that_does_not_hold_is_named_before_the_hint(mine):
    mine.execute(EXERCISE).good()
    cell = mine.execute('// check: 88.1\ncheck!(bake() => 1, "two bakers": |f| f.tasks().len() == 2);')
    lines = cell.traceback.splitlines()
    assert "this is not so: two bakers; what was seen:" in lines[0]
    assert lines[-1].startswith("  next: ") and ":hint" in lines[-1]


def test_a_check_that_passes_is_kept_for_a_learner_and_for_nobody_else(mine, data):
    learner(mine, SOLUTION).good()
    assert "exercise 88.1 is done" in said(mine.execute(CHECK).good())
    assert not data.exists(), "a program that runs notebooks is no learner"
    assert "`:progress` shows" in said(learner(mine, CHECK).good())
    assert data.stat().st_mode & 0o777 == 0o600
    assert list(json.loads(data.read_text())["done"]["88_mine"]) == ["88.1"]
    again = said(learner(mine, CHECK).good())
    assert "exercise 88.1 is done" in again and ":progress" not in again
    shown = mine.execute(":progress").good()
    assert "✓ 88. Loaves" in said(shown) and "  7. " in said(shown)
    assert "| ✓ | 88. [Loaves](<88_mine.ipynb>) | 5 | 1 of 1 |" in shown.contents("execute_result")[0]["data"]["text/markdown"]
    # A check that fails later takes nothing away.
    learner(mine, EXERCISE).good()
    assert learner(mine, CHECK).status == "error"
    assert "✓ 88. Loaves" in said(mine.execute(":progress").good())
    assert "1 exercise was forgotten" in said(mine.execute(":progress reset 88").good())
    assert "✓" not in said(mine.execute(":progress").good())


def test_a_file_of_progress_that_makes_no_sense_is_one_line(mine, data):
    data.parent.mkdir(parents=True, exist_ok=True)
    data.write_text("no JSON")
    learner(mine, SOLUTION).good()
    note = said(learner(mine, CHECK).good())
    assert len(note.splitlines()) == 1 and "could not be kept" in note and "`:progress reset`" in note
    assert "could not be kept" not in said(learner(mine, CHECK).good()), "told once"
    assert data.read_text() == "no JSON"
    mine.execute(":progress reset").good()
    learner(mine, CHECK).good()
    assert "88_mine" in json.loads(data.read_text())["done"]


def test_two_kernels_at_once_keep_what_each_has_done(start, tmp_path, data):
    kernels = []
    for at in range(2):
        lesson(tmp_path / f"kernel-{at}", name=f"8{at}_mine")
        kernels.append(start())
    cells = []
    for at, kernel in enumerate(kernels):
        learner(kernel, SOLUTION).good()
        code = CHECK.replace("88.1", f"8{at}.1")
        cells.append((kernel, kernel.client.execute(code, allow_stdin=True), code))
    for kernel, msg_id, code in cells:
        kernel.finish(msg_id, code).good()
    assert sorted(json.loads(data.read_text())["done"]) == ["80_mine", "81_mine"]


def test_a_teacher_can_keep_the_solution_back(start, tmp_path, data):
    lesson(tmp_path / "kernel-0", solution=None)
    kernel = start()
    kernel.execute(EXERCISE).good()
    assert "who gave it to you keeps it back" in said(kernel.execute(":solution").good())


def test_the_notebook_that_jupyter_serves_wins_over_the_others(installed, tmp_path, monkeypatch, data):
    folder = tmp_path / "kernel"
    lesson(folder)
    shutil.copy(folder / "88_mine.ipynb", folder / "00_older_copy.ipynb")
    notebook = json.loads((folder / "88_mine.ipynb").read_text())
    notebook["metadata"]["threadbook"]["exercises"][0]["hints"][0] = "Ask me."
    (folder / "served.ipynb").write_text(json.dumps(notebook))
    monkeypatch.setenv("JPY_SESSION_NAME", str(folder / "served.ipynb"))
    kernel = Kernel(folder)
    try:
        assert "Ask me." in said(kernel.execute(":hint 88.1").good())
    finally:
        kernel.end()


def test_a_guess_is_kept_shown_beside_what_is_and_never_red(mine):
    assert mine.execute('reveal("loaves", 1);').good().stdout == "loaves: 1\n", "nothing was guessed"
    mine.execute('predict("loaves", 2);').good()
    # A shelf on which an update is lost on every schedule: both looked before either wrote.
    mine.execute("let shelf = AtomicU64::new(1);").good()
    assert mine.execute('reveal("loaves", shelf.load(Ordering::SeqCst));').good().stdout == "loaves: 1; you said 2\n"
    mine.execute('predict("loaves", 1);').good()
    assert mine.execute('reveal("loaves", shelf.load(Ordering::SeqCst));').good().stdout == "loaves: 1, as you said\n"
    # Guesses of any type, also one that cannot be compared with what is.
    mine.execute('predict("who", "ada");').good()
    assert mine.execute('reveal("who", 3);').good().stdout == 'who: 3; you said "ada"\n'
    mine.execute('predict("loaves", vec![2, 3]);').good()
    # A guess belongs to the process: a cell that ends it costs no guess.
    assert mine.execute("std::process::abort();").status == "error"
    assert mine.execute('reveal("loaves", 1);').good().stdout == "loaves: 1; you said [2, 3]\n"


def test_help_names_what_helps_with_exercises(mine):
    text = plain(said(mine.execute(":help").good()))
    for name in [":hint", ":solution", ":reset", ":progress"]:
        assert f"\n{name} " in text


def test_lab_opens_the_front_page_first():
    """What `threadbook lab` opens is the first notebook by name."""
    first = sorted((ROOT / "notebooks").glob("*.ipynb"))[0]
    notebook = json.loads(first.read_text())
    text = "".join("".join(cell["source"]) for cell in notebook["cells"])
    assert first.name == "00_start.ipynb"
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))[1:]:
        assert f"]({path.name})" in text, f"{path.name} is not listed on the front page"
