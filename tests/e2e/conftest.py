"""Installs the built kernel where only these tests find it, and gives each test the kernel it asks for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from kernel import BUILDS, Kernel  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def binary():
    """The built kernel: `cargo verify` says which; without it the one of `cargo build --release`."""
    path = Path(os.environ.get("THREADBOOK_BIN", ROOT / "target/release/threadbook"))
    assert path.is_file(), f"{path} is not there; run `cargo build --release --bin threadbook`, or `cargo verify`"
    return path


@pytest.fixture(scope="session")
def threadbook(binary):
    """Runs a command of the binary to its end."""

    def run(*words, deadline=BUILDS, **options):
        command = [str(binary), *map(str, words)]
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=deadline, stdin=subprocess.DEVNULL, **options
        )

    return run


@pytest.fixture(scope="session")
def installed(threadbook, tmp_path_factory):
    """The kernel registered in a prefix of its own, and its prelude built: the first cell of all waits for that."""
    prefix = tmp_path_factory.mktemp("prefix")
    done = threadbook("install", "--prefix", prefix)
    assert done.returncode == 0, done.stdout + done.stderr
    os.environ["JUPYTER_PATH"] = str(prefix / "share/jupyter")
    first = Kernel(tmp_path_factory.mktemp("first"))
    try:
        first.execute("1 + 1", deadline=BUILDS).good()
    finally:
        first.end()
    return prefix


@pytest.fixture
def start(installed, tmp_path):
    """Starts kernels; all of them end with the test."""
    running = []

    def start(**env):
        kernel = Kernel(tmp_path / f"kernel-{len(running)}", **env)
        running.append(kernel)
        return kernel

    yield start
    for kernel in running:
        kernel.end()


@pytest.fixture
def fresh(start):
    """A kernel that has run nothing."""
    return start()


@pytest.fixture(scope="module")
def kernel(installed, tmp_path_factory):
    """One kernel for the tests of a file which leave nothing behind that another one would trip over."""
    kernel = Kernel(tmp_path_factory.mktemp("kernel"))
    yield kernel
    kernel.end()
