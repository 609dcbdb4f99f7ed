"""Shutdown, restart, and kernels side by side: nothing is left behind."""

import os
import signal
import tempfile
from pathlib import Path

from kernel import processes_with, wait_until_gone


def test_shutdown_and_restart_leave_no_process(fresh):
    fresh.execute('let there = 1;\nlet ada = spawn_named("ada", || while true { sleep(ms(50)); });').good()
    before = set(processes_with(fresh.mark))
    assert len(before) >= 2, "the kernel and the learner's process"
    fresh.shutdown(restart=True)
    cell = fresh.execute("2 + 2").good()
    assert cell.reply["content"]["execution_count"] == 1
    assert fresh.execute("there").error["ename"] == "E0425", "a restart forgets"
    fresh.shutdown()
    wait_until_gone(fresh.mark)


def test_shutdown_while_a_cell_runs_leaves_no_process(fresh):
    fresh.execute_and_wait_for('println!("on");\nloop {}', "on\n")
    fresh.shutdown()
    wait_until_gone(fresh.mark)


def test_two_kernels_at_once(start):
    kernels = [start(), start()]
    asked = [kernel.send(f"let mine = {n};\nmine * 10") for n, kernel in enumerate(kernels, 1)]
    for n, (kernel, msg_id) in enumerate(zip(kernels, asked), 1):
        assert kernel.finish(msg_id, "mine").good().result == str(n * 10)
    kernels[0].shutdown()
    assert kernels[1].execute("mine").good().result == "2"


def socket_folders():
    return {path for path in Path(tempfile.gettempdir()).glob("threadbook-*") if path.is_dir()}


def test_the_folder_of_a_killed_kernel_is_swept_by_the_next(start, monkeypatch):
    # A folder of our own, since other kernels of this machine sweep too; short, since the paths of sockets are.
    with tempfile.TemporaryDirectory(prefix="tb-") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        sweeps(start)


def sweeps(start):
    before = socket_folders()
    killed, ended = start(), start()
    # Both are warm: one that is shut down while it starts on a busy machine is killed by its manager, after five seconds.
    for kernel in (killed, ended):
        kernel.execute("1 + 1").good()
    made = socket_folders() - before
    assert len(made) == 2, made
    ended.shutdown()
    left = socket_folders() - before
    assert len(left) == 1, left
    os.kill(killed.manager.provisioner.pid, signal.SIGKILL)
    wait_until_gone(killed.mark)
    assert left <= socket_folders(), "a killed kernel removes nothing"
    after = start()
    assert after.execute("1 + 1").good().result == "2"
    now = socket_folders() - before
    assert not (now & left) and len(now) == 1, now
    after.shutdown()
    assert socket_folders() <= before
