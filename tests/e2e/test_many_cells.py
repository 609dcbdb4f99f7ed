"""Thousands of cells in one kernel: what stays behind of each, counted.

`THREADBOOK_CELLS` sets how many cells run; `THREADBOOK_CELLS_REPORT` names a file for the figures, every 200 cells.
"""

import os
import time
from pathlib import Path

from kernel import processes_with

# One after the other. Each leaves the notebook as it was: the same variables, functions and tasks.
KINDS = [
    "1 + 1",
    "let x = 5;",
    'println!("{x}");',
    "let (tx, rx) = channel::<u32>(); let baker = spawn(move || (0..3).try_for_each(|n| tx.send(n)).is_ok()); let sum: u32 = rx.iter().sum(); baker.join().unwrap(); sum",
    'let wrong: u32 = "rye";',
    'if x == 5 { panic!("burnt") }',
    "let many: Vec<_> = (0..50).map(|n| go(move || n)).collect(); many.into_iter().map(|task| task.join().unwrap()).sum::<u32>()",
    'fn bake(n: u32) -> u32 { n + 1 }\ndisplay(bake(1));',
    "let lock = Arc::new(Mutex::new(0)); scope(|s| { for _ in 0..4 { s.spawn(|| *lock.lock().unwrap() += 1); } }); drop(lock);",
    "let t = spawn(|| 1); t.join().unwrap();",
]
RED = {4: "E0308", 5: "Panic"}

# What a cell may keep, in KiB. Its library stays mapped, since evcxr unloads none: code, and the pages that its loading wrote to.
LIBRARY = 40
# How many libraries stay on disk, and what rustc keeps of the last few builds, which comes and goes.
FILES = 256 + 500
# The kernel's own: the text of cells, their lines, and what rust-analyzer and allocators hold on to.
KERNEL = 30


def role(pid, kernel):
    """Which of the kernel's processes it is: by how far below the kernel it stands. The copy is the worker's child."""
    steps = 0
    while pid != kernel:
        pid, steps = int(status(pid)["PPid"]), steps + 1
    return ["kernel", "supervisor", "worker", "copy"][steps]


def status(pid):
    return dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)


def figures(kernel):
    """For each process: KiB of its own that are resident, descriptors, mappings; and the files in the kernel's folder.

    A copy ends when the next cell's is there, which is a moment after that cell's end: looks again until each process is there once.
    """
    end = time.monotonic() + 30
    while True:
        found, twice = one_look(kernel)
        if not twice:
            return found
        assert time.monotonic() < end, f"two of {twice}, and they stay: {found}"


def one_look(kernel):
    """See [`figures`]; and the roles that two processes had."""
    top = kernel.manager.provisioner.pid
    found, twice = {}, set()
    all_of_them = processes_with(kernel.mark)
    for pid in all_of_them:
        try:
            rss = {name: int(status(pid)[name].split()[0]) for name in ("RssAnon", "RssFile")}
            who = role(pid, top)
            fds = len(os.listdir(f"/proc/{pid}/fd"))
            maps = Path(f"/proc/{pid}/maps").read_text().count("\n")
        except (OSError, KeyError):
            continue  # A copy that went in between.
        if who in found:
            twice.add(who)
        found[who] = {**rss, "fds": fds, "maps": maps}
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "threadbook"
    work = [folder for folder in cache.glob(f"*/work-{top}-*")]
    found["files"] = sum(len(files) for folder in work for _, _, files in os.walk(folder))
    found["processes"] = len(all_of_them)
    return found, twice


def run(kernel, at):
    kind = at % len(KINDS)
    cell = kernel.execute(KINDS[kind])
    if kind in RED:
        assert cell.error["ename"] == RED[kind], str(cell)
    else:
        cell.good()
    # Kept for tests that look for late output.
    kernel.elsewhere.clear()


def test_thousands_of_cells_leave_nothing_behind_but_their_libraries(fresh):
    count = int(os.environ.get("THREADBOOK_CELLS", "60"))
    report = os.environ.get("THREADBOOK_CELLS_REPORT")
    # What is made once is made: each kind has run, and the caches of both sides have their size.
    warm = 2 * len(KINDS)
    for at in range(warm):
        run(fresh, at)
    before = figures(fresh)
    told = [f"0: {before}"]
    for at in range(count):
        run(fresh, at)
        if (at + 1) % 200 == 0 or at + 1 == count:
            told.append(f"{at + 1}: {figures(fresh)}")
            if report:
                Path(report).write_text("\n".join(told) + "\n")
    after, all_told = figures(fresh), "\n".join(told)
    assert fresh.execute("x").good().result == "5"
    assert after["files"] - before["files"] < FILES, all_told
    assert after["processes"] == before["processes"], all_told
    for who in ("kernel", "supervisor", "worker"):
        assert after[who]["fds"] == before[who]["fds"], all_told
    grown = {who: after[who]["RssAnon"] - before[who]["RssAnon"] for who in ("kernel", "supervisor", "worker")}
    # A few MiB of slack for what allocators round up to.
    slack = 8 << 10
    assert grown["supervisor"] < 1 << 10, all_told
    assert grown["worker"] < slack + count * LIBRARY, all_told
    assert grown["kernel"] < slack + count * KERNEL, all_told
