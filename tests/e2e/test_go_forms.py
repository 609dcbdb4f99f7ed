"""The Go forms beside the Rust ones are Go: formatted as Go's own formatter does it, and taken by its compiler."""

import os
import re
import subprocess
import sys
from pathlib import Path

LESSONS = Path(__file__).resolve().parents[2] / "lessons"
GO = Path(sys.prefix) / "bin/go"
FORM = re.compile(r"```go\n(.*?)```", re.S)
PACKAGES = ["fmt", "runtime", "sync", "sync/atomic", "time"]

# What a lesson's forms take for granted: the names of the cells that they stand beside. A form that declares one itself hides it.
GIVEN = {
    "02": "var flour int\n",
    "06": "var ovens sync.WaitGroup\n",
    "08": "var shelf = make(chan string)\n",
    "09": "var shelf = make(chan string)\n",
    "10": "var loaves atomic.Int64\nvar sold atomic.Uint64\n",
    "11": "var lock sync.Mutex\nvar till int\nfunc work() {}\n",
    "12": "var flour, sugar sync.Mutex\nvar spoons [3]sync.Mutex\nvar seated sync.WaitGroup\nvar seat, bags int\nfunc mix() {}\n",
}


def program(lesson, form):
    """A whole program with this form in it: the form's own file, and one for what it takes for granted."""
    whole = bool(re.search(r"^func ", form, re.M))
    body = form if whole else "func main() {\n" + "".join(f"\t{line}\n" if line else "\n" for line in form.splitlines()) + "}\n"
    if "func main" not in body:
        body += "\nfunc main() {}\n"
    given = "".join(line + "\n" for line in GIVEN.get(lesson, "").splitlines() if not (whole and declares(form, line)))
    if re.search(r"\bbake\b", form) and "func bake(" not in form:
        parameter = "string" if re.search(r'bake\((name|")', form) else ""
        given += f"func bake({parameter}) {{}}\n"
    return {"main.go": file(body), "given.go": file(given)}


def file(items):
    used = [package for package in PACKAGES if re.search(rf"\b{package.split('/')[-1]}\.", items)]
    imports = "import (\n" + "".join(f'\t"{package}"\n' for package in used) + ")\n\n" if used else ""
    return f"package main\n\n{imports}{items}"


def declares(form, line):
    """Whether a form of whole items has the item of this line itself."""
    words = line.split()
    return re.search(rf"^{words[0]} {re.escape(words[1])}\b", form, re.M) is not None


def go(*words, cwd, **more):
    env = {**os.environ, "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOTELEMETRY": "off"}
    env |= {"GOCACHE": str(cwd / "cache"), "GOPATH": str(cwd / "path"), "CGO_ENABLED": "0"}
    return subprocess.run([str(GO), *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=600, **more)


def test_each_go_form_compiles_and_is_formatted(tmp_path):
    (tmp_path / "go.mod").write_text("module lessons\n\ngo 1.26\n")
    places = {}
    for lesson in sorted(LESSONS.glob("[0-9]*.md")):
        text = lesson.read_text()
        for form in FORM.finditer(text):
            line = text[: form.start()].count("\n") + 1
            folder = tmp_path / f"{lesson.stem}_{line}"
            folder.mkdir()
            for name, content in program(lesson.name[:2], form[1]).items():
                (folder / name).write_text(content)
            places[folder.name] = f"{lesson.name} line {line}"
    assert len(places) > 40, "the forms are found"
    # Its own remarks on what is doubtful are not asked for: lesson 06 shows two such forms on purpose.
    built = go("build", "./...", cwd=tmp_path)
    assert built.returncode == 0, f"{built.stderr}\nwhere a folder's name is the lesson and the line: {places}"
    # `go fmt` names the files that it had to change.
    changed = go("fmt", "./...", cwd=tmp_path)
    assert changed.returncode == 0, changed.stderr
    forms = [name for name in changed.stdout.split() if name.endswith("main.go")]
    assert forms == [], f"not formatted as gofmt does it; a folder's name is the lesson and the line: {places}"
