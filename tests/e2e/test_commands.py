"""The commands a person types."""

import os
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from kernel import TIMELINE, wait_until_gone

ROOT = Path(__file__).resolve().parents[2]


def notebook(path, *cells):
    """Writes a notebook: text is a code cell, a pair is a code cell and its tag."""
    made = new_notebook(metadata={"kernelspec": {"name": "threadbook", "display_name": "Rust (Threadbook)", "language": "rust"}, "ours": 1})
    made.cells.append(new_markdown_cell("# Bread"))
    for cell in cells:
        code, tags = (cell, []) if isinstance(cell, str) else (cell[0], [cell[1]])
        made.cells.append(new_code_cell(code, metadata={"tags": tags} if tags else {}))
    nbformat.write(made, path)
    return path


@pytest.fixture
def run(threadbook, installed, tmp_path):
    """`threadbook run`, after which none of its processes may be left."""

    def run(*words):
        mark = f"threadbook-run-{os.getpid()}-{tmp_path.name}"
        done = threadbook("run", *words, env={**os.environ, "THREADBOOK_TEST_MARK": mark})
        wait_until_gone(mark)
        return done

    return run


def code_cells(path):
    read = nbformat.read(path, as_version=4)
    nbformat.validate(read)
    return [cell for cell in read.cells if cell.cell_type == "code"]


def test_run_command_executes_and_writes_the_outputs(run, tmp_path):
    path = notebook(
        tmp_path / "good.ipynb",
        'println!("bread");\n1 + 1',
        'spawn_named("ada", || ()).join().unwrap();',
        ('panic!("on purpose")', "raises-exception"),
        ("this is left alone", "skip-execution"),
        "2 + 2",
    )
    done = run(path)
    assert done.returncode == 0, done.stderr
    first, picture, red, skipped, last = code_cells(path)
    assert [o.output_type for o in first.outputs] == ["stream", "execute_result"]
    assert first.outputs[0].text == "bread\n" and first.outputs[1].data["text/plain"] == "2"
    assert any(TIMELINE in o.data for o in picture.outputs)
    assert [o.output_type for o in red.outputs] == ["error"] and skipped.outputs == []
    assert [cell.execution_count for cell in (first, picture, red, skipped)] == [1, 2, 3, None]
    assert last.outputs[0].data["text/plain"] == "4"
    assert nbformat.read(path, as_version=4).metadata["ours"] == 1


@pytest.mark.parametrize(
    "cell, says",
    [
        ('panic!("burnt")', "burnt"),
        ("let x: i32 = \"no\";", "E0308"),
        (("1 + 1", "raises-exception"), "raises-exception"),
    ],
)
def test_run_command_exits_1_with_the_cell(run, tmp_path, cell, says):
    path = notebook(tmp_path / "bad.ipynb", "1 + 1", cell, 'println!("unreached")')
    done = run(path)
    assert done.returncode == 1, done
    assert "bad.ipynb" in done.stderr and "cell 2" in done.stderr and says in done.stderr, done.stderr
    assert "unreached" not in path.read_text().replace('println!(\\"unreached\\")', "")


def test_run_command_ends_a_cell_that_takes_too_long(run, tmp_path):
    path = notebook(tmp_path / "slow.ipynb", 'println!("began");\nloop {}')
    done = run(path, "--timeout", "20")
    assert done.returncode == 1 and "cell 1" in done.stderr and "began" in done.stderr, done.stderr


def test_run_command_refuses_what_is_not_a_notebook(run, tmp_path):
    (tmp_path / "text.ipynb").write_text("bread")
    for path in [tmp_path / "text.ipynb", tmp_path / "none.ipynb"]:
        done = run(path)
        assert done.returncode in (1, 2) and path.name in done.stderr and "panicked" not in done.stderr, done


def test_lessons_check_passes(threadbook):
    done = threadbook("lessons", "check", cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("words", [["--help"], ["lab", "--help"], ["install", "--help"], ["run", "--help"], ["doctor", "--help"]])
def test_help_is_good(threadbook, words):
    done = threadbook(*words, deadline=60)
    assert done.returncode == 0 and "Usage" in done.stdout, done


@pytest.mark.parametrize("words", [[], ["bake"], ["kernel"], ["install", "--user", "--sys-prefix"], ["run"]])
def test_wrong_use_exits_2(threadbook, words):
    assert threadbook(*words, deadline=60).returncode == 2


def test_uninstall_removes_what_install_wrote(threadbook, tmp_path):
    assert threadbook("install", "--prefix", tmp_path).returncode == 0
    spec = tmp_path / "share/jupyter/kernels/threadbook"
    assert {"kernel.json", "logo-svg.svg", "logo-32x32.png", "logo-64x64.png"} <= {path.name for path in spec.iterdir()}
    assert threadbook("uninstall", "--prefix", tmp_path).returncode == 0
    assert not spec.exists()


def test_lessons_list_names_each_lesson(threadbook):
    done = threadbook("lessons", "list", ROOT)
    assert done.returncode == 0
    lessons = sorted(path.stem for path in (ROOT / "lessons").glob("[0-9]*.md") if not path.name.endswith(".proof.md"))
    assert lessons and [line.split()[0] for line in done.stdout.splitlines()] == lessons


def test_a_malformed_lesson_is_named_with_its_line(threadbook, tmp_path):
    lessons = tmp_path / "lessons"
    lessons.mkdir()
    (lessons / "01_bad.md").write_text("+++\ntitle = 5\n+++\n\nText.\n\n```rust,no_such_thing\n1 + 1\n```\n")
    (tmp_path / "notebooks").mkdir()
    done = threadbook("lessons", "check", cwd=tmp_path)
    assert done.returncode == 1
    assert "01_bad.md:" in done.stderr, done.stderr


def test_doctor_says_what_is_there(threadbook, installed):
    done = threadbook("doctor")
    for word in ["rustc", "rust-src", "Python", "kernel.log"]:
        assert word in done.stdout, done.stdout + done.stderr


def test_the_first_start_of_all_finds_libstd_where_cache_and_toolchain_have_one_home(threadbook, installed, tmp_path):
    """`cargo run` would set the loader's path, and a kernel that Jupyter starts has none."""
    path = tmp_path / "one.ipynb"
    notebook(path, "1 + 1")
    with tempfile.TemporaryDirectory(dir=Path.home(), prefix=".threadbook-test-") as cache:
        environment = {**os.environ, "XDG_CACHE_HOME": cache}
        environment.pop("LD_LIBRARY_PATH", None)
        done = threadbook("run", path, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
