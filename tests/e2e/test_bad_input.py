"""Bytes from strangers, and connection files that are not right."""

import json
import os
import socket
import stat

import pytest
import zmq

PORTS = ["shell_port", "control_port", "stdin_port", "iopub_port", "hb_port"]
GREETING = b"\xff" + b"\0" * 8 + b"\x7f\x03\0" + b"NULL".ljust(20, b"\0") + b"\0" * 32
# A frame that claims to be longer than any memory: the library would make room for it.
HUGE = [GREETING + flags + (2**62).to_bytes(8, "big") for flags in (b"\x02", b"\x06")]
GARBAGE = [*HUGE, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(range(256)) * 64, b"\xff" + b"\0" * 8 + b"\x7f" + b"\x03\0" + b"NULL" * 10, b""]


def peer(kernel, kind, port):
    """A ZeroMQ socket of our own to one of the kernel's ports."""
    made = kernel.client.context.socket(kind)
    made.linger = 0
    made.rcvtimeo = 30_000
    made.connect(f"tcp://127.0.0.1:{getattr(kernel.manager, port)}")
    return made


def still_answers(kernel):
    """The next good message on each channel has its answer, and a ping its echo."""
    kernel.execute_nothing()
    info = kernel.client.session.msg("kernel_info_request")
    kernel.client.control_channel.send(info)
    kernel.reply_to(info["header"]["msg_id"], kernel.client.get_control_msg)
    kernel.until_idle(info["header"]["msg_id"], 30)
    with peer(kernel, zmq.REQ, "hb_port") as ping:
        ping.send(b"there?")
        assert ping.recv() == b"there?"


@pytest.mark.parametrize("port", PORTS)
def test_garbage_on_a_port_is_survived(kernel, port):
    for bytes_ in GARBAGE:
        with socket.create_connection(("127.0.0.1", getattr(kernel.manager, port)), timeout=30) as stranger:
            try:
                stranger.sendall(bytes_)
                stranger.shutdown(socket.SHUT_WR)
                # Until the kernel has closed its side, or has nothing to say: it has read what was sent.
                stranger.settimeout(2)
                while stranger.recv(4096):
                    pass
            except OSError:
                pass  # It hung up on us, which is its right.
        still_answers(kernel)


def signed(kernel, change=lambda parts: parts, key=None):
    """The parts of a kernel_info_request, changed."""
    session = kernel.client.session.clone()
    if key is not None:
        session.key = key
    message = session.msg("kernel_info_request")
    return message["header"]["msg_id"], change(session.serialize(message))


BAD_FRAMES = {
    "signature_of_another_key": lambda k: signed(k, key=b"somebody-else")[1],
    "no_signature": lambda k: signed(k, lambda p: [p[0], b"", *p[2:]])[1],
    "signature_cut_short": lambda k: signed(k, lambda p: [p[0], p[1][:10], *p[2:]])[1],
    "content_changed_after_signing": lambda k: signed(k, lambda p: [*p[:-1], b'{"x":1}'])[1],
    "delimiter_alone": lambda k: [b"<IDS|MSG>"],
    "no_delimiter": lambda k: signed(k, lambda p: p[1:])[1],
    "three_parts": lambda k: signed(k, lambda p: p[:5])[1],
    "one_empty_part": lambda k: [b""],
    "a_header_that_is_not_json": lambda k: [b"<IDS|MSG>", sign(k, [b"{", b"{}", b"{}", b"{}"]), b"{", b"{}", b"{}", b"{}"],
    "a_header_that_is_a_list": lambda k: [b"<IDS|MSG>", sign(k, [b"[]"] * 4), *[b"[]"] * 4],
    "a_thousand_parts": lambda k: [b"x"] * 1000,
}


def sign(kernel, parts):
    return kernel.client.session.sign(parts)


@pytest.mark.parametrize("port", ["shell_port", "control_port", "stdin_port"])
@pytest.mark.parametrize("name", BAD_FRAMES)
def test_unsigned_and_garbage_frames_are_dropped(kernel, port, name):
    with peer(kernel, zmq.DEALER, port) as stranger:
        stranger.send_multipart(BAD_FRAMES[name](kernel))
        if port != "stdin_port":
            # A good one behind it, from the same peer: the one answer is for that.
            msg_id, parts = signed(kernel)
            stranger.send_multipart(parts)
            answer = stranger.recv_multipart()
            parent = json.loads(answer[answer.index(b"<IDS|MSG>") + 3])
            assert parent["msg_id"] == msg_id
    still_answers(kernel)


@pytest.mark.parametrize("port", ["shell_port", "control_port"])
def test_a_message_that_is_sent_again_is_not_answered_again(kernel, port):
    with peer(kernel, zmq.DEALER, port) as stranger:
        msg_id, parts = signed(kernel)
        later_id, later = signed(kernel)
        for recorded in (parts, parts, later):
            stranger.send_multipart(recorded)
        # The second of three is no message: the answers are to the first and the third.
        for want in (msg_id, later_id):
            answer = stranger.recv_multipart()
            assert json.loads(answer[answer.index(b"<IDS|MSG>") + 3])["msg_id"] == want
    still_answers(kernel)


def ask_raw(kernel, kind, content):
    message = kernel.client.session.msg(kind, content)
    kernel.client.shell_channel.send(message)
    return message["header"]["msg_id"]


def test_messages_of_100_mb_are_survived(fresh):
    huge = "x" * 100_000_000
    for kind, content in [
        ("is_complete_request", {"code": "(" * len(huge)}),
        ("complete_request", {"code": huge, "cursor_pos": len(huge)}),
        ("inspect_request", {"code": huge, "cursor_pos": 7, "detail_level": 1}),
        ("history_request", {"hist_access_type": "search", "pattern": "*" + huge, "n": 1}),
    ]:
        reply = fresh.reply_to(ask_raw(fresh, kind, content))
        assert reply["msg_type"] == kind.replace("_request", "_reply")
    ask_raw(fresh, "comm_msg", {"comm_id": "none", "data": {"text": huge}})
    cell = fresh.execute("let s = \"" + huge + "\";")
    assert cell.error["ename"] == "Kernel" and "100000011 bytes" in cell.error["evalue"], cell.error
    assert fresh.execute("1 + 1").good().result == "2"
    still_answers(fresh)


@pytest.mark.parametrize("piece", ["(", "[", "{", "!", "1+", "a.b()", "if a {} else ", "|| ", "&"])
def test_a_cell_of_endless_nesting_costs_no_kernel(kernel, piece):
    # Rust-analyzer's parser recurses: without a limit each of these ended the kernel's process.
    for depth in (300, 50_000):
        cell = kernel.execute("let n = " + piece * depth + "1;")
        assert cell.status == "error" or piece in ("!", "1+", "&", "|| "), str(cell)[:2000]
    assert kernel.execute("1 + 1").good().result == "2"


def test_10000_requests_in_the_queue_are_all_answered_in_order(fresh):
    msg_id, so_far = fresh.execute_and_wait_for('println!("on");\nstd::thread::sleep(ms(4000)); panic!("burnt")', "on\n")
    cells = [fresh.send(f"{n}") for n in range(10_000)]
    editor = [fresh.client.complete("spaw", 4) for _ in range(1_000)]
    # The editor's questions overtake the cells, which the error then aborts.
    for asked in editor:
        assert "spawn" in fresh.reply_to(asked)["content"]["matches"]
    assert fresh.reply_to(msg_id)["content"]["ename"] == "Panic"
    for asked in cells:
        assert fresh.reply_to(asked)["content"]["status"] == "aborted"
    infos = [fresh.client.kernel_info() for _ in range(10_000)]
    for asked in infos:
        fresh.reply_to(asked)
    fresh.until_idle(infos[-1], 90)
    assert fresh.execute("1 + 1").good().result == "2"
    still_answers(fresh)


def test_a_client_that_vanishes_while_its_cell_runs_costs_the_others_nothing(fresh):
    session = fresh.client.session.clone()
    request = session.msg("execute_request", {"code": 'let left_behind = 7;\nprintln!("on");\nsleep(ms(300));\nprintln!("done");', "silent": False})
    with peer(fresh, zmq.DEALER, "shell_port") as stranger:
        stranger.send_multipart(session.serialize(request))
        heard = ""
        while "on" not in heard:
            message = fresh.get(fresh.client.get_iopub_msg, "output of the stranger's cell", 90)
            heard += message["content"].get("text", "") if message["parent_header"].get("msg_id") == request["header"]["msg_id"] else ""
    # It is gone; its cell goes on to its end, and what it made is there.
    rest = fresh.until_idle(request["header"]["msg_id"], 90)
    assert any("done" in m["content"].get("text", "") for m in rest)
    cell = fresh.execute("left_behind").good()
    assert cell.result == "7" and cell.reply["content"]["execution_count"] == 2


def test_a_client_that_never_reads_stops_nobody(fresh):
    ready = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"
    with socket.create_connection(("127.0.0.1", fresh.manager.iopub_port), timeout=30) as asleep:
        asleep.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        asleep.sendall(GREETING + ready + b"\x00\x01\x01")
        # It has subscribed once its welcome is there; from now on it does not read.
        while b"iopub_welcome" not in asleep.recv(4096):
            pass
        for _ in range(4):
            cell = fresh.execute('for i in 0..4_000 { println!("{i} {}", "x".repeat(1_000)); }', deadline=90).good()
            assert len(cell.stdout) > 4_000_000 and cell.stdout.endswith("x\n")
        still_answers(fresh)


def test_junk_on_the_heartbeat_then_a_good_ping(kernel):
    with peer(kernel, zmq.DEALER, "hb_port") as stranger:
        for junk in [[b"no envelope"], [b"a", b"b", b"c"], [b""], [b"\xff" * 10_000]]:
            stranger.send_multipart(junk)
    still_answers(kernel)


GOOD = {
    "transport": "tcp",
    "ip": "127.0.0.1",
    "shell_port": 50001,
    "iopub_port": 50002,
    "stdin_port": 50003,
    "control_port": 50004,
    "hb_port": 50005,
    "key": "a-key",
    "signature_scheme": "hmac-sha256",
}


def but(**changes):
    return json.dumps({name: value for name, value in {**GOOD, **changes}.items() if value is not None})


@pytest.mark.parametrize(
    "text, names",
    [
        ("", ""),
        ("{", ""),
        ("[]", ""),
        (but(shell_port=None), "shell_port"),
        (but(hb_port="50005"), "hb_port"),
        (but(iopub_port=0), "iopub_port"),
        (but(control_port=70000), "control_port"),
        (but(stdin_port=-1), "stdin_port"),
        (but(shell_port=1.5), "shell_port"),
        (but(key=None), "key"),
        (but(key=7), "key"),
        (but(ip=None), "ip"),
        (but(transport="udp"), "transport"),
        (but(signature_scheme="hmac-md5"), "signature_scheme"),
    ],
)
def test_bad_connection_file_exits_2_with_one_line(threadbook, tmp_path, text, names):
    path = tmp_path / "connection.json"
    path.write_text(text)
    path.chmod(0o600)
    refused(threadbook("kernel", "--connection-file", path, deadline=60), path, names)


def test_a_connection_file_that_is_not_there_exits_2_with_one_line(threadbook, tmp_path):
    refused(threadbook("kernel", "--connection-file", tmp_path / "none.json", deadline=60), tmp_path / "none.json", "")
    refused(threadbook("kernel", "--connection-file", tmp_path, deadline=60), tmp_path, "")


def refused(done, path, names):
    assert done.returncode == 2, done
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and str(path) in lines[0] and names in lines[0], done.stderr
    assert "panicked" not in done.stderr and done.stdout == ""


def test_a_connection_file_that_others_can_read_is_told(threadbook, fresh):
    """The key in it lets whoever has it run code."""
    path = fresh.manager.connection_file
    runtime = {**os.environ, "JUPYTER_RUNTIME_DIR": os.path.dirname(path)}

    def report():
        lines = threadbook("doctor", env=runtime, deadline=60).stdout.splitlines()
        return next(line for line in lines if "connection files" in line)

    named = os.path.join(os.path.dirname(path), "kernel-1.json")
    os.rename(path, named)
    assert stat.S_IMODE(os.stat(named).st_mode) == 0o600 and report().startswith("✓")
    os.chmod(named, 0o644)
    assert report().startswith("!") and named in report() and "chmod 600" in report()
    os.rename(named, path)
