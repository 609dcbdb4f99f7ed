"""Jupyter's protocol, as other programs rely on it: what the tests of cells and answers do not touch."""

from kernel import DEADLINE


def test_kernel_info_on_both_channels(kernel):
    for channel in (kernel.client.shell_channel, kernel.client.control_channel):
        message = kernel.client.session.msg("kernel_info_request", {})
        channel.send(message)
        get = kernel.client.get_shell_msg if channel is kernel.client.shell_channel else kernel.client.get_control_msg
        content = kernel.reply_to(message["header"]["msg_id"], channel=get)["content"]
        assert content["status"] == "ok"
        assert content["protocol_version"] == "5.5"
        assert content["implementation"] == "threadbook"
        assert content["language_info"]["name"] == "rust"
        assert content["language_info"]["file_extension"] == ".rs"
        kernel.until_idle(message["header"]["msg_id"], DEADLINE)


def test_inspect_knows_the_preludes_names(kernel):
    code = "WaitGroup::new"
    content = kernel.ask("inspect", code, len(code))
    assert content["found"], content
    assert "WaitGroup" in content["data"]["text/plain"]


def test_a_signed_message_that_is_nonsense_is_survived(kernel):
    session = kernel.client.session
    for kind, content in [
        ("execute_request", {}),
        ("execute_request", {"code": 5}),
        ("complete_request", {"code": "é", "cursor_pos": 10_000}),
        ("inspect_request", {"code": "", "cursor_pos": -3}),
        ("is_complete_request", {}),
        ("history_request", {"hist_access_type": "nothing"}),
        ("no_such_request", {"a": [1]}),
        ("comm_open", {"comm_id": "c", "target_name": "nobody", "data": {}}),
        ("comm_msg", {"comm_id": "c"}),
    ]:
        kernel.client.shell_channel.send(session.msg(kind, content))
    asked = kernel.send("1 + 1")
    while True:
        reply = kernel.get(kernel.client.get_shell_msg, "reply to the cell", DEADLINE)
        if reply["parent_header"].get("msg_id") == asked:
            break
        assert reply["content"]["status"] in ("ok", "error", "invalid", "complete", "incomplete", "unknown"), reply
    # A malformed execute_request is an error, and an error stops what waits behind it, as the protocol has it.
    assert reply["content"]["status"] in ("ok", "aborted", "error")
    kernel.execute_nothing()
    assert kernel.execute("1 + 1").good().result == "2"
