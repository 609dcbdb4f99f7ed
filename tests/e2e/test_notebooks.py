"""The lessons, as they are shipped and as they run."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from facts import broken_claims
from kernel import BUILDS, KERNEL, TIMELINE

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def read(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def what_is_wrong(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [f"code cell {n}: {what}\n{cell.source}" for n, cell in enumerate(code, 1) for what in broken_claims(cell)]


def test_there_is_a_notebook_for_each_lesson():
    lessons = sorted(path.stem for path in (ROOT / "lessons").glob("[0-9]*.md") if not path.name.endswith(".proof.md"))
    assert lessons and [path.stem for path in NOTEBOOKS] == lessons


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebooks_execute(installed, tmp_path, path):
    notebook = read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook, kernel_name=KERNEL, timeout=BUILDS, startup_timeout=BUILDS, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    claims = [claim for cell in notebook.cells for claim in cell.metadata.get("threadbook", {}).get("shows", [])]
    assert claims, "no cell of this lesson says what it shows"
    assert what_is_wrong(notebook) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_shipped_outputs_show_what_the_lesson_says(path):
    notebook = read(path)
    assert what_is_wrong(notebook) == []
    pictures = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs if TIMELINE in o.get("data", {})]
    assert pictures, "a lesson is shipped with its pictures"
