"""Shutdown, restart, and kernels side by side: nothing is left behind."""

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
