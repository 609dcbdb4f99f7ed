"""Lessons as those who write them meet the tooling: begin one, break it, mend it, build it twice."""

import json

import nbformat
import pytest

from kernel import BUILDS, TIMELINE

LESSON, PROOF = "01_warm_ovens.md", "01_warm_ovens.proof.md"


@pytest.fixture
def course(threadbook, installed, tmp_path):
    """A lesson outside of any checkout, as `lessons new` makes it."""
    folder = tmp_path / "course"
    done = threadbook("lessons", "new", "warm_ovens", folder)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == [LESSON, PROOF]
    return folder


def change(path, old, new):
    """Changes one place, and gives the line where it begins."""
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path.name}"
    path.write_text(text.replace(old, new))
    return text[: text.index(old)].count("\n") + 1


# Ten ways to break it that are seen without running anything: the file, what is changed, how many lines below the place the refusal stands, its words.
BROKEN = [
    (LESSON, "minutes = 10", "minutes = 90", "first", "promises 90 minutes and takes about 10"),
    (LESSON, "//@ shows: lanes 3\n", "//@ shows: lots of lanes\n", 0, "is no claim that can be checked"),
    (LESSON, "```rust,compile_fail,E0373", "```rust,compile_fail", 0, "compile_fail needs the one error"),
    (LESSON, "let shelf = Mutex::new(0);", "let shelf  = Mutex::new(0);", "fence", "not as rustfmt writes it"),
    (LESSON, "In Go:", "[In Go](02_spawn.ipynb):", 0, "`02_spawn.ipynb` leads nowhere"),
    (LESSON, "// check: 01.1\n", "", -1, "should be `// check: 01.1`"),
    (LESSON, "<summary>Hint 2</summary>", "<summary>A hint</summary>", "above", "`Hint 3` should be `Hint 2`"),
    (LESSON, "<details><summary>Solution</summary>", "<details><summary>Answer</summary>", "heading", "no solution"),
    (PROOF, "//@ fails: gave 12, and 24 was wanted\n", "", -1, "must say what it fails by"),
    (PROOF, "## Right: another design, with other names", "## Maybe: another design", 0, "should be `## Right: what it does`"),
    (PROOF, "# 01.1", "# 01.2", 0, "has no exercise 01.2"),
]


@pytest.mark.parametrize("name, old, new, where, says", BROKEN, ids=[row[4] for row in BROKEN])
def test_a_broken_lesson_is_refused_by_file_and_line(threadbook, course, name, old, new, where, says):
    path = course / name
    before = path.read_text()
    line = change(path, old, new)
    lines = before.splitlines()
    wanted = {
        "first": 1,
        "fence": next((n for n in range(line, 0, -1) if lines[n - 1].startswith("```rust")), 0),
        "above": next((n for n in range(line + 1, len(lines)) if "Hint 3" in lines[n - 1]), 0),
        "heading": next((n for n in range(line, 0, -1) if lines[n - 1].startswith("## Exercise")), 0),
    }.get(where, line + (where if isinstance(where, int) else 0))
    done = threadbook("lessons", "check", course)
    assert done.returncode == 1
    refusals = [text for text in done.stderr.splitlines() if says in text]
    assert len(refusals) == 1 and refusals[0].startswith(f"{path}:{wanted}: "), (wanted, done.stderr)


def test_a_stray_file_is_refused(threadbook, course):
    (course / "02_bread.proof.md").write_text("# 02.1\n")
    done = threadbook("lessons", "check", course)
    assert done.returncode == 1 and f"{course / '02_bread.proof.md'}:1: belongs to no lesson" in done.stderr, done.stderr


def test_a_new_lesson_is_proven_and_what_is_not_so_is_refused(threadbook, course):
    good = threadbook("lessons", "test", course, "--runs", "3", deadline=3 * BUILDS)
    assert good.returncode == 0, good.stdout + good.stderr
    assert "one core" in good.stdout and "mistake" not in good.stdout, good.stdout

    lesson, proof = course / LESSON, course / PROOF
    wanted = []

    def broken(path, old, new, says):
        wanted.append((path, old, new, says))

    broken(lesson, "//@ shows: lanes 3\n", "//@ shows: lanes 4\n", "`lanes 4` does not hold")
    broken(lesson, "compile_fail,E0373", "compile_fail,E0382", "should end with E0382, and ended with E0373")
    broken(lesson, '    "two tasks are started": |f| f.tasks().len() == 2,', '    "nobody slept": |f| f.slept() == 0,', '"nobody slept" is true also when nothing happens')
    broken(proof, "//@ fails: neither waits for the other\n", "//@ fails: the moon is full\n", "should fail its check by `the moon is full`, and ended with")
    for path, old, new, _ in wanted:
        change(path, old, new)
    done = threadbook("lessons", "test", course, "--runs", "2", deadline=3 * BUILDS)
    assert done.returncode == 1
    for path, _, new, says in wanted:
        found = [text for text in done.stderr.splitlines() if says in text and text.startswith(f"{path}:")]
        assert any(": on one core: " in text for text in found), (says, done.stderr)
        assert any(": on two cores: " in text for text in found), (says, done.stderr)
    line = lesson.read_text()[: lesson.read_text().index("//@ shows: lanes 4")].count("\n")
    assert f"{lesson}:{line}: on one core: " in done.stderr, done.stderr


def without_pictures(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if TIMELINE in output.get("data", {}):
                output["data"] = {kind: None for kind in output["data"]}
    return json.dumps(notebook, sort_keys=True)


def test_a_second_build_changes_pictures_at_most(threadbook, course):
    path = course / "01_warm_ovens.ipynb"
    built = []
    for _ in range(2):
        done = threadbook("lessons", "build", course)
        assert done.returncode == 0, done.stdout + done.stderr
        built.append(without_pictures(path))
    assert built[0] == built[1]
    assert threadbook("lessons", "check", course).returncode == 0


def test_new_lessons_get_the_next_number_and_never_write_over_one(threadbook, course):
    assert threadbook("lessons", "new", "rolls", course).returncode == 0
    assert (course / "02_rolls.md").is_file()
    for name, says in [("02_bread", "number 02 is that of 02_rolls"), ("Bread!", "is no name for a lesson")]:
        done = threadbook("lessons", "new", name, course)
        assert done.returncode == 1 and says in done.stderr, done
