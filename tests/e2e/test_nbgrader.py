"""A lesson as an assignment of nbgrader's: what students get, and what is graded."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from kernel import BUILDS

ROOT = Path(__file__).resolve().parents[2]
LESSON = "07_channels"
EXERCISE = "// exercise: 07.1"


def cell_with(notebook, first_line):
    found = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.startswith(first_line)]
    assert len(found) == 1, f"{len(found)} cells begin with {first_line}"
    return found[0]


@pytest.fixture(scope="module")
def course(threadbook, installed, tmp_path_factory):
    """A course folder of nbgrader's, with one lesson as the teacher has it."""
    folder = tmp_path_factory.mktemp("nbgrader") / "course"
    built = threadbook("lessons", "build", "--for", "nbgrader", folder, cwd=ROOT)
    assert built.returncode == 0, built.stderr
    return folder


def nbgrader(course, *words):
    # By the interpreter of this environment: the command may lie elsewhere.
    command = [sys.executable, "-m", "nbgrader", *words]
    ran = subprocess.run(command, cwd=course, capture_output=True, text=True, timeout=2 * BUILDS, env={**os.environ, "NO_COLOR": "1"})
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def submit(course, student, source):
    """Hands in what was released, with this text in the exercise's cell."""
    released = course / "release" / LESSON
    handed_in = course / "submitted" / student / LESSON
    shutil.copytree(released, handed_in)
    path = handed_in / f"{LESSON}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    # A student's notebook as short as the exercise allows: the demos before it take a minute of each grading.
    keep = [c for c in notebook.cells if "nbgrader" in c.metadata or c.cell_type == "markdown"]
    notebook.cells = keep
    cell_with(notebook, EXERCISE).source = source
    nbformat.write(notebook, path)


def test_a_right_and_a_wrong_submission_get_what_they_earn(course):
    instructors = nbformat.read(course / "source" / LESSON / f"{LESSON}.ipynb", as_version=4)
    nbformat.validate(instructors)
    nbgrader(course, "generate_assignment", LESSON)
    released = nbformat.read(course / "release" / LESSON / f"{LESSON}.ipynb", as_version=4)
    start = cell_with(released, EXERCISE).source
    solution = cell_with(instructors, EXERCISE).source
    solved = solution.split("BEGIN SOLUTION\n")[1].split("/* What students begin with")[0]
    assert "YOUR CODE HERE" in start and "fn take_turns" in start and "SOLUTION" not in start
    everything = nbformat.writes(released)
    for line in solved.splitlines():
        if "send(())" in line or "recv()" in line:
            assert f"\\n{line}\\n" not in everything, f"students see the solution: {line}"

    # The instructor's form runs as it is, and so does what students begin with.
    submit(course, "ada", EXERCISE + "\n" + solved)
    submit(course, "bob", start)
    submit(course, "eve", solution)
    nbgrader(course, "autograde", LESSON)
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        scores = {s.student.id: (s.score, s.max_score) for s in book.assignment_submissions(LESSON)}
    assert scores == {"ada": (1, 1), "bob": (0, 1), "eve": (1, 1)}

    graded = nbformat.read(course / "autograded" / "bob" / LESSON / f"{LESSON}.ipynb", as_version=4)
    errors = [o for o in cell_with(graded, "// check: 07.1").outputs if o.output_type == "error"]
    assert len(errors) == 1 and "\n".join(errors[0].traceback).count(":hint") == 1
