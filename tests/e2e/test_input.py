"""Cells that read from standard input ask the person in front of the notebook."""

import pytest

from kernel import DEADLINE


class Asking:
    """A cell whose questions are answered as they come."""

    def __init__(self, kernel, code):
        self.kernel, self.code = kernel, code
        self.msg_id = kernel.client.execute(code, allow_stdin=True)

    def question(self):
        """The content of the next question."""
        message = self.kernel.get(self.kernel.client.get_stdin_msg, "input_request", DEADLINE)
        assert message["msg_type"] == "input_request", message
        assert message["parent_header"]["msg_id"] == self.msg_id, message
        return message["content"]

    def answer(self, text):
        self.kernel.client.input(text)

    def done(self):
        return self.kernel.finish(self.msg_id, self.code)


def test_read_line_asks_in_the_notebook(kernel):
    cell = Asking(kernel, 'let mut line = String::new();\nlet read = std::io::stdin().read_line(&mut line).unwrap();\n(read, line)')
    assert cell.question() == {"prompt": "", "password": False}
    cell.answer("rye bread")
    assert cell.done().good().result == '(10, "rye bread\\n")'


def test_each_read_asks_once_and_lines_come_in_order(kernel):
    code = 'let lines: Vec<String> = std::io::stdin().lines().take(3).map(|line| line.unwrap()).collect();\nlines'
    cell = Asking(kernel, code)
    for text in ["one", "größe 炉", ""]:
        assert cell.question()["prompt"] == ""
        cell.answer(text)
    assert cell.done().good().result == '["one", "größe 炉", ""]'
    assert kernel.next(kernel.client.get_stdin_msg, 0.3) is None


def test_input_and_password_ask_with_their_prompts(kernel):
    cell = Asking(kernel, 'print!("before ");\nlet name = input("name? ");\nlet key = password("key? ");\n(name, key)')
    assert cell.question() == {"prompt": "name? ", "password": False}
    cell.answer("Ada")
    assert cell.question() == {"prompt": "key? ", "password": True}
    cell.answer("s3cret")
    done = cell.done().good()
    assert done.result == '("Ada", "s3cret")' and done.stdout == "before "


def test_a_task_asks_too_and_main_waiting_for_it_is_no_deadlock(kernel):
    cell = Asking(kernel, 'let (tx, rx) = channel();\nlet asker = spawn_named("asker", move || tx.send(input("loaves? ")).unwrap());\nlet n = rx.recv().unwrap();\nasker.join().unwrap();\nn')
    assert cell.question()["prompt"] == "loaves? "
    # Long enough for a verdict, which takes some milliseconds.
    assert kernel.next(lambda timeout: kernel.client.get_shell_msg(timeout=timeout), 1.0) is None
    cell.answer("3")
    assert cell.done().good().result == '"3"'


def test_a_program_that_a_cell_starts_asks_too(kernel):
    cell = Asking(kernel, 'let status = std::process::Command::new("sh").args(["-c", "read x; echo got $x"]).status().unwrap();\nstatus.success()')
    assert cell.question()["prompt"] == ""
    cell.answer("bread")
    done = cell.done().good()
    assert done.stdout == "got bread\n" and done.result == "true"


def test_a_long_answer_arrives_whole(kernel):
    cell = Asking(kernel, 'input("?").len()')
    cell.question()
    cell.answer("x" * 200_000)
    assert cell.done().good().result == "200000"


@pytest.mark.parametrize(
    "code",
    [
        'let mut line = String::new();\nstd::io::stdin().read_line(&mut line).unwrap();\nprintln!("read {}", line.len());',
        'let n: u32 = input("how many? ").parse().unwrap();',
        'let k = password("key? ");',
    ],
)
def test_where_nobody_can_be_asked_the_cell_is_red_and_does_not_hang(kernel, code):
    kernel.execute("let kept = 7;").good()
    cell = kernel.execute(code)
    assert cell.error["ename"] == "NoInput", str(cell)
    assert "JupyterLab" in cell.traceback
    assert kernel.execute("kept").good().result == "7"


def test_a_cell_that_waits_for_input_is_interrupted(kernel):
    cell = Asking(kernel, 'let x = input("never answered: ");')
    cell.question()
    kernel.manager.interrupt_kernel()
    assert cell.done().error["ename"] == "Interrupted"
    # The answer that comes now is nobody's: not the next cell's either.
    cell.answer("too late")
    next_one = Asking(kernel, 'input("now: ")')
    assert next_one.question()["prompt"] == "now: "
    next_one.answer("in time")
    assert next_one.done().good().result == '"in time"'


def test_what_a_cell_left_unread_is_not_the_next_cells(kernel):
    cell = Asking(kernel, 'use std::io::Read;\nlet mut one = [0];\nlet status = std::process::Command::new("sh").args(["-c", "dd bs=1 count=1 2>/dev/null"]).status().unwrap();')
    cell.question()
    cell.answer("abc")
    assert cell.done().good().stdout == "a"
    after = Asking(kernel, 'input("?")')
    after.question()
    after.answer("fresh")
    assert after.done().good().result == '"fresh"'


def test_a_task_that_reads_after_its_cell_finds_the_end(kernel, tmp_path):
    gate = tmp_path / "gate"
    kernel.execute(
        f'''let late = spawn(|| {{
    while !std::path::Path::new("{gate}").exists() {{ sleep(ms(2)); }}
    let mut line = String::new();
    println!("late read {{:?}}", std::io::stdin().read_line(&mut line).map_err(|error| error.kind()));
}});'''
    ).good()
    gate.touch()
    text = ""
    while "late read" not in text:
        message = kernel.get(kernel.client.get_iopub_msg, "output of a task that read", 30)
        text += message["content"].get("text", "")
    assert text == "late read Ok(0)\n"
    assert kernel.execute("late.join().unwrap();\n1 + 1").good().result == "2"
