"""What the kernel answers besides running cells."""

import jupyter_kernel_test
import pytest

from kernel import DEADLINE, KERNEL, TIMELINE


def test_kernel_info_before_the_evaluator_is_warm(start):
    # A new kernel is asked to run a cell and, on the other channel, who it is: that answer does not wait for the cell.
    kernel = start()
    cell = kernel.send("1 + 1")
    info = kernel.client.session.msg("kernel_info_request")
    kernel.client.control_channel.send(info)
    answer = kernel.reply_to(info["header"]["msg_id"], kernel.client.get_control_msg)
    assert answer["content"]["language_info"]["name"] == "rust"
    assert answer["content"]["protocol_version"].startswith("5.")
    done = kernel.finish(cell, "1 + 1").good()
    assert answer["header"]["date"] < done.reply["header"]["date"]


@pytest.mark.parametrize(
    "code, status",
    [
        ("let x = 1;", "complete"),
        ("1 + 1", "complete"),
        ("fn bake() {\n    1;\n}", "complete"),
        (":vars", "complete"),
        ("fn bake() {", "incomplete"),
        ("let s = \"bread", "incomplete"),
        ("/* the oven", "incomplete"),
        ("spawn(|| {", "incomplete"),
        ("}", "invalid"),
    ],
)
def test_is_complete(kernel, code, status):
    assert kernel.ask("is_complete", code)["status"] == status


@pytest.mark.parametrize("code, want", [("spaw", "spawn"), ("spawn_n", "spawn_named"), ("WaitGr", "WaitGroup"), ("let é = 1; chann", "channel")])
def test_complete_offers_prelude_names(kernel, code, want):
    kernel.execute("1 + 1").good()  # Once it is warm: before that it may know less.
    content = kernel.ask("complete", code, len(code))
    assert content["status"] == "ok"
    # What an editor would have after taking it: positions count characters, not bytes.
    start, end = content["cursor_start"], content["cursor_end"]
    taken = [code[:start] + match + code[end:] for match in content["matches"]]
    before = code[: code.rfind(" ") + 1]
    assert any(text.startswith(before + want) for text in taken), content


class TestWelcome(jupyter_kernel_test.IopubWelcomeTests):
    """The suite of the Jupyter project, on who subscribes."""

    kernel_name = KERNEL
    support_iopub_welcome = True

    @pytest.fixture(autouse=True, scope="class")
    def _registered(self, installed):
        pass


class TestProtocol(jupyter_kernel_test.KernelTests):
    """The suite of the Jupyter project."""

    kernel_name = KERNEL
    language_name = "rust"
    file_extension = ".rs"
    code_hello_world = 'println!("hello, world");'
    code_stderr = 'eprintln!("burnt");'
    completion_samples = [{"text": "spawn_n", "matches": ["spawn_named(name, f)"]}, {"text": "Mute"}]
    complete_code_samples = ["1 + 1", "fn bake() {}", "let x = [1, 2];"]
    incomplete_code_samples = ["fn bake() {", "let x = [1,"]
    invalid_code_samples = ["}"]
    code_generate_error = 'panic!("burnt");'
    code_execute_result = [{"code": "100 + 23", "result": "123"}, {"code": '"bread"', "result": '"bread"'}, {"code": "2 + 2", "result": "4"}]
    code_display_data = [
        {"code": 'spawn_named("ada", || ()).join().unwrap();', "mime": TIMELINE},
        {"code": 'display_html("<b>rye</b>");', "mime": "text/html"},
    ]
    code_clear_output = "clear_output(false);"
    code_page_something = "?spawn"
    code_inspect_sample = "spawn"
    # The first of `code_execute_result`, and nothing else that any test runs: history is kept between kernels.
    code_history_pattern = "1?? + 23*"
    supported_history_operations = ("tail", "range", "search")

    @pytest.fixture(autouse=True, scope="class")
    def _registered(self, installed):
        jupyter_kernel_test.TIMEOUT = DEADLINE

    @classmethod
    def setUpClass(cls):
        """The suite waits 15 s for each answer; a kernel that has run one cell needs no longer."""
        super().setUpClass()
        cls.kc.execute_interactive("1 + 1", timeout=DEADLINE, allow_stdin=False)
