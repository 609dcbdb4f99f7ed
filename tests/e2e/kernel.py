"""A kernel as a client sees it: starts one, sends cells, and keeps every message until the cell is idle.

Waits are for messages, never for time. A wait that ends without its message shows all that did arrive and the kernel's log.
"""

import json
import os
import re
import signal
import time
from dataclasses import dataclass, field
from queue import Empty

from jupyter_client import KernelManager

KERNEL = "threadbook"
TIMELINE = "application/vnd.threadbook.timeline+json"

# Long enough for a machine with two busy cores; a test that passes never waits so long.
DEADLINE = 90
# The first start of all builds the prelude; a `:dep` builds a crate.
BUILDS = 300


def plain(text):
    """Text without the colours of a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@dataclass
class Cell:
    """What came of one cell: its messages in order, and its reply."""

    code: str
    messages: list = field(default_factory=list)
    reply: dict = None

    def contents(self, kind):
        return [m["content"] for m in self.messages if m["msg_type"] == kind]

    def stream(self, name):
        return "".join(c["text"] for c in self.contents("stream") if c["name"] == name)

    @property
    def stdout(self):
        return self.stream("stdout")

    @property
    def status(self):
        return self.reply["content"]["status"]

    @property
    def result(self):
        """The text of its value, or None."""
        values = [c["data"]["text/plain"] for c in self.contents("execute_result")]
        return values[0] if values else None

    @property
    def error(self):
        """Its one error. Fails when there is none, or when there are two, or when the reply says otherwise."""
        errors = self.contents("error")
        assert len(errors) == 1, f"want one error\n{self}"
        assert self.status == "error", f"an error message with a reply that is not one\n{self}"
        assert self.reply["content"]["ename"] == errors[0]["ename"], str(self)
        return errors[0]

    @property
    def traceback(self):
        return plain("\n".join(self.error["traceback"]))

    @property
    def picture(self):
        """The one timeline: a bundle of MIME types. Fails when there is none, or two. Of a cell that ran for long, the last one in its place."""
        last = {c["transient"]["display_id"]: c["data"] for c in self.contents("update_display_data")}
        shown = [last.get(c.get("transient", {}).get("display_id"), c["data"]) for c in self.contents("display_data")]
        bundles = [data for data in shown if TIMELINE in data]
        assert len(bundles) == 1, f"want one picture\n{self}"
        return bundles[0]

    @property
    def timeline(self):
        return self.picture[TIMELINE]

    def good(self):
        """Itself, when it is not red."""
        assert self.status == "ok" and not self.contents("error"), f"the cell is red\n{self}"
        return self

    def kinds(self):
        """The types of its messages in order: streams as one, `busy` and `idle` for the two of status. Without hints, which come once in a kernel."""
        kinds = []
        for m in self.messages:
            if m["content"].get("data", {}).get("text/plain", "").startswith("hint: "):
                continue
            kind = m["content"]["execution_state"] if m["msg_type"] == "status" else m["msg_type"]
            if not (kind == "stream" and kinds[-1:] == ["stream"]):
                kinds.append(kind)
        return kinds

    def __str__(self):
        return "cell:\n" + self.code + "\nwhat arrived:\n" + shown(self.messages + [self.reply])


def shown(messages):
    lines = []
    for m in messages:
        if m is not None:
            content = dict(m["content"])
            if "data" in content:
                content["data"] = {mime: str(text)[:300] for mime, text in content["data"].items()}
            lines.append(f"  {m['msg_type']}: {plain(json.dumps(content, ensure_ascii=False))[:1500]}")
    return "\n".join(lines) or "  (nothing)"


class Kernel:
    """A running kernel with one client."""

    def __init__(self, folder, name=KERNEL, **env):
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "kernel.log"
        self.manager = KernelManager(kernel_name=name, connection_file=str(folder / "connection.json"))
        # Inherited by all that the kernel starts, wherever it goes: by this they are found again.
        self.mark = f"{name}-test-{os.getpid()}-{time.monotonic_ns()}"
        # Open as long as this is: a restart starts the kernel with the same file.
        self.sink = self.log.open("wb")
        self.manager.start_kernel(
            env={**os.environ, **env, "THREADBOOK_TEST_MARK": self.mark}, cwd=str(folder), stdout=self.sink, stderr=self.sink
        )
        self.elsewhere = []
        self.connect()

    def connect(self):
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.until_subscribed()

    def until_subscribed(self):
        """Asks until a status of ours arrives: ZeroMQ tells nobody when a subscription is in place."""
        asked = set()
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            asked.add(self.client.kernel_info())
            message = self.next(self.client.get_iopub_msg, 0.3)
            if message is not None and message["parent_header"].get("msg_id") in asked:
                break
        else:
            raise AssertionError(self.nothing("a status for a kernel_info_request", []))
        # Every question has its answer before the first cell, so that none is taken for the answer to something else.
        while asked:
            reply = self.get(self.client.get_shell_msg, "a kernel_info_reply", DEADLINE)
            asked.discard(reply["parent_header"].get("msg_id"))
        self.execute_nothing()

    def execute_nothing(self):
        """Reads the iopub channel up to the idle of a question of our own: nothing older is left there."""
        asked = self.client.kernel_info()
        self.reply_to(asked)
        self.until_idle(asked, DEADLINE)

    # Waiting

    def next(self, channel, seconds):
        try:
            return channel(timeout=seconds)
        except Empty:
            return None

    def get(self, channel, what, deadline, so_far=()):
        """The next message of a channel. Fails at the deadline, or as soon as the kernel is gone."""
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            message = self.next(channel, min(1, deadline))
            if message is not None:
                return message
            if not self.manager.is_alive():
                raise AssertionError("the kernel's process ended\n" + self.nothing(what, so_far))
        raise AssertionError(self.nothing(what, so_far))

    def nothing(self, what, so_far):
        log = self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""
        return f"no {what} came\nwhat arrived:\n{shown(so_far)}\nof others:\n{shown(self.elsewhere[-5:])}\nthe kernel's log ends:\n{log}"

    def until_idle(self, msg_id, deadline):
        """All messages of this parent up to its idle. Those of other parents are kept in `elsewhere`."""
        mine = []
        while True:
            message = self.get(self.client.get_iopub_msg, f"idle for {msg_id}", deadline, mine)
            if message["parent_header"].get("msg_id") != msg_id:
                self.elsewhere.append(message)
                continue
            mine.append(message)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return mine

    def reply_to(self, msg_id, channel=None, deadline=DEADLINE):
        """The reply to this request. Fails when another one comes first: each request has one reply, in order."""
        reply = self.get(channel or self.client.get_shell_msg, f"reply to {msg_id}", deadline)
        assert reply["parent_header"].get("msg_id") == msg_id, f"a reply to something else:\n{shown([reply])}"
        return reply

    # Asking

    def send(self, code, **options):
        """Sends a cell and does not wait."""
        return self.client.execute(code, allow_stdin=False, **options)

    def finish(self, msg_id, code, deadline=DEADLINE, so_far=()):
        cell = Cell(code, list(so_far))
        cell.messages += self.until_idle(msg_id, deadline)
        cell.reply = self.reply_to(msg_id)
        return cell

    def execute(self, code, deadline=DEADLINE, **options):
        """Runs a cell and gives all that came of it."""
        return self.finish(self.send(code, **options), code, deadline)

    def execute_and_wait_for(self, code, text):
        """Sends a cell and waits until it has printed `text`; the cell still runs. Its id, and its messages so far."""
        msg_id, mine, printed = self.send(code), [], ""
        while text not in printed:
            message = self.get(self.client.get_iopub_msg, f"stream with {text!r}", DEADLINE, mine)
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            mine.append(message)
            assert message["content"].get("execution_state") != "idle", f"it ended without {text!r}\n{shown(mine)}"
            if message["msg_type"] == "stream":
                printed += message["content"]["text"]
        return msg_id, mine

    def ask(self, method, *words, **options):
        """Asks with a method of the client such as `complete`; gives the reply's content."""
        msg_id = getattr(self.client, method)(*words, **options)
        reply = self.reply_to(msg_id)
        self.until_idle(msg_id, DEADLINE)
        return reply["content"]

    # Ending

    def shutdown(self, restart=False):
        self.client.stop_channels()
        if restart:
            self.manager.restart_kernel(now=False)
            self.elsewhere.clear()
            self.connect()
        else:
            self.manager.shutdown_kernel(now=False)

    def end(self):
        """For after a test, whatever it left behind."""
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=True)
        self.sink.close()
        for pid in processes_with(self.mark):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def processes_with(mark):
    """The processes that have this mark in their environment: all that a kernel started, whoever their parent is now."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                with open(f"/proc/{entry}/environ", "rb") as environ:
                    if mark.encode() in environ.read():
                        found.append(int(entry))
            except OSError:
                pass  # It ended in between, or it is not ours.
    return found


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as words:
            return words.read().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "(gone)"


def wait_until_gone(mark, deadline=20):
    """Waits until no process has this mark. A pidfd becomes readable when its process ends."""
    import select

    end = time.monotonic() + deadline
    while pids := processes_with(mark):
        try:
            fd = os.pidfd_open(pids[0])
        except ProcessLookupError:
            continue
        try:
            left = end - time.monotonic()
            ended = left > 0 and select.select([fd], [], [], left)[0]
        finally:
            os.close(fd)
        if not ended:
            lines = [f"  {pid}: {command_line(pid)}" for pid in pids]
            raise AssertionError("still there:\n" + "\n".join(lines))
