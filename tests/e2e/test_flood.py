"""Cells that write more than anybody reads: the writer waits or the rest is counted, and no process keeps what it cannot pass on."""

import os
import signal
import time
from pathlib import Path

from kernel import processes_with

MIB = 1 << 20


def status(pid):
    return dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)


def resident(pid, what="VmRSS"):
    return int(status(pid)[what].split()[0]) << 10


def begin_peak(pid):
    """Makes the highest resident size so far the present one: proc_pid_clear_refs(5)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return resident(pid)


def family(kernel):
    """The kernel's process, the supervisor and the learner's process: each the parent of the next."""
    top = kernel.manager.provisioner.pid
    worker = int(kernel.execute("std::process::id()").good().result)
    supervisor = int(status(worker)["PPid"])
    assert int(status(supervisor)["PPid"]) == top and worker in processes_with(kernel.mark)
    return top, supervisor, worker


def written(pid):
    return int(dict(line.split(":") for line in Path(f"/proc/{pid}/io").read_text().splitlines())["wchar"])


def until_it_waits(pid):
    """Waits until a process that writes has not got on for half a second; gives how much it has written in its life."""
    end, last, same = time.monotonic() + 60, -1, 0
    while same < 25:
        assert time.monotonic() < end, "it writes and writes"
        time.sleep(0.02)
        now = written(pid)
        last, same = now, same + 1 if now == last else 0
    return last


def text(messages):
    return "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream")


def test_who_writes_waits_while_nobody_takes_it_and_not_a_byte_is_lost(fresh):
    top, supervisor, worker = family(fresh)
    fresh.execute("fn write_all() { for n in 0..600_000 { println!(\"{n:>9}\"); } }").good()
    before, began = written(worker), resident(supervisor)
    msg_id, mine = fresh.execute_and_wait_for("println!(\"on\");\nwrite_all();", "on\n")
    os.kill(top, signal.SIGSTOP)
    try:
        done = until_it_waits(worker) - before
        assert done < 6_000_000, f"it has written {done} bytes, to nobody"
        assert resident(supervisor) - began < 4 * MIB
    finally:
        os.kill(top, signal.SIGCONT)
    cell = fresh.finish(msg_id, "write_all", so_far=mine).good()
    assert cell.stdout == "on\n" + "".join(f"{n:>9}\n" for n in range(600_000))


def test_a_cell_that_writes_far_more_than_the_limit_costs_the_kernel_no_memory(fresh):
    top, supervisor, worker = family(fresh)
    # What is made once is made.
    fresh.execute('for _ in 0..20_000 { println!("{}", "y".repeat(999)); }').good()
    sizes = {pid: begin_peak(pid) for pid in (top, supervisor)}
    # Nobody reads what it shows before all has been written: the reply comes on another channel.
    msg_id = fresh.send('for n in 0..300_000 { println!("{n:>9}{}", "x".repeat(990)); }')
    assert fresh.reply_to(msg_id)["content"]["status"] == "ok"
    for pid, size in sizes.items():
        grown = resident(pid, "VmHWM") - size
        assert grown < 64 * MIB, f"{grown} bytes more for 300 MB that were written"
    messages = fresh.until_idle(msg_id, 90)
    shown = text(messages)
    lines = shown.split("\n")
    # Up to the limit, nothing is missing; the rest is counted.
    assert [line[:9] for line in lines[:10_000]] == [f"{n:>9}" for n in range(10_000)]
    assert shown.count("x" * 990 + "\n") == 10_000 and "290 MB more" in shown[-500:], shown[-500:]


def test_without_a_limit_a_client_that_does_not_read_bounds_what_is_kept_for_it(fresh):
    top, supervisor, _ = family(fresh)
    fresh.execute(":output_limit 0").good()
    fresh.execute('for _ in 0..20_000 { println!("{}", "y".repeat(999)); }').good()
    sizes = {pid: begin_peak(pid) for pid in (top, supervisor)}
    msg_id = fresh.send('for n in 0..400_000 { println!("{n:>9}{}", "x".repeat(990)); }')
    assert fresh.reply_to(msg_id)["content"]["status"] == "ok"
    for pid, size in sizes.items():
        grown = resident(pid, "VmHWM") - size
        assert grown < 160 * MIB, f"{grown} bytes more for 400 MB that were written"
    # What says how it ended is there all the same, and what comes is whole.
    messages = fresh.until_idle(msg_id, 90)
    lines = text(messages).split("\n")
    assert all(len(line) == 999 for line in lines[:10_000])
    assert fresh.execute("1 + 1").good().result == "2"
