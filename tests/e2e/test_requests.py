"""What editors and consoles ask besides running cells: completion, inspection, subshells, history, expressions."""

import json

import pytest
import zmq

from kernel import DEADLINE

LOOP = 'let loaf_of_this_cell = 1;\nprintln!("on");\nloop {}'


def control(kernel, kind, content=None):
    """Asks on the control channel; gives the reply's content."""
    message = kernel.client.session.msg(kind, content or {})
    kernel.client.control_channel.send(message)
    reply = kernel.reply_to(message["header"]["msg_id"], kernel.client.get_control_msg)
    assert reply["msg_type"] == kind.replace("_request", "_reply")
    return reply["content"]


def shell(kernel, kind, content=None, subshell=None):
    """Asks on the shell channel, of a subshell perhaps; gives the id of the request."""
    message = kernel.client.session.msg(kind, content or {})
    if subshell is not None:
        message["header"]["subshell_id"] = subshell
    kernel.client.shell_channel.send(message)
    return message["header"]["msg_id"]


def interrupted(kernel, msg_id, so_far):
    kernel.manager.interrupt_kernel()
    assert kernel.finish(msg_id, LOOP, so_far=so_far).error["ename"] == "Interrupted"


def test_completion_and_inspection_in_a_long_cell_are_answered_at_once(fresh):
    # On the shell channel, where all clients ask: JupyterLab uses subshells for widgets and for subshell consoles only.
    fresh.execute("/// Bakes.\nfn bake_a_loaf(n: u32) -> u32 { n }\nlet (till_in, till_out) = channel::<u32>();").good()
    msg_id, so_far = fresh.execute_and_wait_for(LOOP, "on\n")
    for code, want in [("spaw", "spawn"), ("bake_", "bake_a_loaf"), ("till_in.se", "send"), ("loaf_of", "loaf_of_this_cell"), ("let é = ret", "return")]:
        content = fresh.reply_to(fresh.client.complete(code, len(code)))["content"]
        assert want in content["matches"], (code, content)
        start, end = content["cursor_start"], content["cursor_end"]
        assert end == len(code) and want.startswith(code[start:end]), (code, content)
        assert content["metadata"]["_jupyter_types_experimental"][0]["type"] in ("function", "method", "instance", "keyword")
        assert content["metadata"]["threadbook"]["from"] == "names", "it says that it knows less than usual"
    for code, want in [("spawn", "Starts a thread"), ("bake_a_loaf", "Bakes."), ("till_out", "channel::<u32>()")]:
        content = fresh.reply_to(fresh.client.inspect(code, len(code)))["content"]
        assert content["found"] and want in content["data"]["text/plain"], (code, content)
    interrupted(fresh, msg_id, so_far)


def test_the_names_of_a_cell_that_failed_are_forgotten(kernel):
    assert kernel.execute("let forgotten_name: u32 = 'x';").status == "error"
    content = kernel.ask("inspect", "forgotten_name", 4)
    assert not content["found"], content


def test_a_detailed_inspection_shows_the_source(kernel):
    kernel.execute("fn knead(grams: u32) -> u32 {\n    grams * 2\n}").good()
    for level, has_source in [(0, False), (1, True)]:
        content = kernel.ask("inspect", "knead", 3, level)
        assert content["found"] and ("grams * 2" in content["data"]["text/plain"]) == has_source, content


def test_cursors_count_code_points(kernel):
    kernel.execute("1 + 1").good()
    # An e with a combining accent, and a picture of three code points: two and three positions.
    code = 'let s = "e\u0301👩\u200d👧"; spawn_n'
    content = kernel.ask("complete", code, len(code))
    assert (content["cursor_start"], content["cursor_end"]) == (len(code) - len("spawn_n"), len(code)), content


def test_a_subshell_answers_while_the_main_shell_runs_a_cell(fresh):
    assert fresh.ask("kernel_info")["supported_features"] == ["kernel subshells"]
    one = control(fresh, "create_subshell_request")["subshell_id"]
    two = control(fresh, "create_subshell_request")["subshell_id"]
    assert control(fresh, "list_subshell_request")["subshell_id"] == [one, two]
    msg_id, so_far = fresh.execute_and_wait_for(LOOP, "on\n")
    answer = fresh.reply_to(shell(fresh, "complete_request", {"code": "spaw", "cursor_pos": 4}, one))
    assert "spawn" in answer["content"]["matches"] and answer["parent_header"]["subshell_id"] == one
    # A cell of a subshell takes its turn: there is one process for all of them. The error before it is another shell's.
    cell = shell(fresh, "execute_request", {"code": "6 * 7", "silent": False}, two)
    interrupted(fresh, msg_id, so_far)
    assert fresh.finish(cell, "6 * 7").good().result == "42"
    assert control(fresh, "delete_subshell_request", {"subshell_id": one})["status"] == "ok"
    assert control(fresh, "list_subshell_request")["subshell_id"] == [two]
    refused = fresh.reply_to(shell(fresh, "complete_request", {"code": "spaw", "cursor_pos": 4}, one))["content"]
    assert refused["status"] == "error" and one in refused["evalue"]
    assert control(fresh, "delete_subshell_request", {"subshell_id": one})["status"] == "error"


def test_expressions_are_evaluated_after_the_cell(kernel):
    cell = kernel.execute("let dozen = 12;", user_expressions={"double": "dozen * 2", "wrong": "nobody", "no": "1 +"}).good()
    answers = cell.reply["content"]["user_expressions"]
    assert answers["double"]["status"] == "ok" and answers["double"]["data"]["text/plain"] == "24"
    assert answers["wrong"]["status"] == "error" and answers["wrong"]["ename"] == "E0425"
    assert answers["no"]["status"] == "error" and answers["no"]["traceback"]
    assert not cell.contents("error") and not cell.contents("execute_result"), str(cell)
    assert kernel.execute("dozen").good().result == "12"


def test_a_silent_cell_shows_nothing_and_is_not_counted(kernel):
    before = kernel.execute("1").good().reply["content"]["execution_count"]
    cell = kernel.execute('println!("quiet"); 5', silent=True).good()
    assert cell.kinds() == ["busy", "idle"]
    assert kernel.execute("2").good().reply["content"]["execution_count"] == before + 1
    rows = kernel.ask("history", raw=True, output=False, hist_access_type="tail", n=5)["history"]
    assert rows and all("quiet" not in row[2] for row in rows)


def test_an_error_aborts_what_waits_unless_told_otherwise(kernel):
    red = "std::thread::sleep(ms(500)); panic!()"
    asked = [kernel.send(code) for code in (red, "1", "2")]
    cells = [kernel.finish(msg_id, "queued") for msg_id in asked]
    assert [cell.status for cell in cells] == ["error", "aborted", "aborted"]
    assert all(cell.kinds() == ["busy", "idle"] for cell in cells[1:])
    asked = [kernel.send(code, stop_on_error=False) for code in (red, "1")]
    assert [kernel.finish(msg_id, "queued").status for msg_id in asked] == ["error", "ok"]


@pytest.mark.parametrize("code, want", [("?spawn", "JoinHandle"), ("  ?WaitGroup \n", "WaitGroup"), ("?nobody_knows", "nothing is known of `nobody_knows`")])
def test_a_name_after_a_question_mark_is_explained(kernel, code, want):
    cell = kernel.execute(code).good()
    (page,) = cell.reply["content"]["payload"]
    assert page["source"] == "page" and want in page["data"]["text/plain"], page
    assert cell.kinds() == ["busy", "execute_input", "idle"]


def test_messages_that_are_of_no_use_here_are_answered(kernel):
    debug = control(kernel, "debug_request", {"type": "request", "seq": 7, "command": "debugInfo"})
    assert (debug["type"], debug["request_seq"], debug["success"], debug["command"]) == ("response", 7, False, "debugInfo")
    # Deprecated since 5.1: kernels are not expected to know it.
    assert kernel.reply_to(shell(kernel, "connect_request"))["content"]["status"] == "error"
    assert control(kernel, "kernel_info_request")["language_info"]["name"] == "rust"
    assert kernel.reply_to(shell(kernel, "comm_info_request", {"target_name": "x"}))["content"] == {"comms": {}, "status": "ok"}
    opened = shell(kernel, "comm_open", {"comm_id": "c-1", "target_name": "nobody", "data": {}})
    closed = [m for m in kernel.until_idle(opened, DEADLINE) if m["msg_type"] == "comm_close"]
    assert [m["content"]["comm_id"] for m in closed] == ["c-1"]
    for kind in ("comm_msg", "comm_close", "gossip"):
        kernel.until_idle(shell(kernel, kind, {"comm_id": "c-1", "data": {}}), DEADLINE)
    kernel.execute_nothing()


def rows(kernel, **query):
    return kernel.ask("history", **{"raw": True, "output": False, **query})["history"]


def test_what_was_typed_is_found_after_a_restart_and_by_the_next_kernel(fresh, start):
    code = '"typed once and never again"'
    fresh.execute(code).good()
    fresh.shutdown(restart=True)
    found = rows(fresh, hist_access_type="search", pattern="*once and never*", output=True)
    # Kernels of earlier runs of this test may have typed it too.
    session, number, pair = found[-1]
    assert pair == [code, code]
    other = start()
    assert rows(other, hist_access_type="range", session=session, start=number, stop=number + 1) == [[session, number, code]]
    assert rows(other, hist_access_type="range", session=0, start=0) == []
    other.execute("1 + 1").good()
    own = rows(other, hist_access_type="range", session=0, start=0)
    assert [row[1:] for row in own] == [[1, "1 + 1"]] and own[0][0] > session


def test_a_subscriber_is_welcomed_before_anything_else(kernel):
    with kernel.client.context.socket(zmq.SUB) as listener:
        listener.linger = 0
        listener.rcvtimeo = 30_000
        listener.subscribe(b"")
        listener.connect(f"tcp://127.0.0.1:{kernel.manager.iopub_port}")
        parts = listener.recv_multipart()
        signature, header, parent, _, content = parts[parts.index(b"<IDS|MSG>") + 1 :]
        assert json.loads(header)["msg_type"] == "iopub_welcome" and json.loads(parent) == {} and json.loads(content) == {"subscription": ""}
        assert signature == kernel.client.session.sign(parts[-4:])
        # From here on nothing is missed.
        asked = kernel.client.kernel_info()
        kernel.reply_to(asked)
        states = []
        while states[-1:] != ["idle"]:
            message = listener.recv_multipart()
            if json.loads(message[-3]).get("msg_id") == asked:
                states.append(json.loads(message[-1])["execution_state"])
        assert states == ["busy", "idle"]
    kernel.execute_nothing()


def test_a_completion_on_which_evcxr_panics_is_answered_from_the_names(kernel):
    kernel.execute("let kept = 5;").good()
    # evcxr drops the first `A` for the second, and looks for it again.
    code = "struct A;\nuse std::fmt::A;\nimpl A {}\nspaw"
    answer = kernel.ask("complete", code, len(code))
    assert answer["status"] == "ok" and "spawn" in answer["matches"], answer
    assert (answer["cursor_start"], answer["cursor_end"]) == (len(code) - 4, len(code))
    log = kernel.log.read_text(errors="replace")
    assert "called `Option::unwrap()` on a `None` value" in log, "it did not panic: another example is needed"
    assert kernel.ask("inspect", code, 8)["status"] == "ok"
    # Nothing is lost, and the next question is answered by evcxr again.
    assert kernel.execute("kept").good().result == "5"
    answer = kernel.ask("complete", "kept.pow", 8)
    assert any(match.startswith("pow") for match in answer["matches"]), answer
