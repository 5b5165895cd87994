"""Entry, help, exit status and output of the command."""

from __future__ import annotations

import argparse
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mlsecops
from mlsecops.cli import main, terminal
from mlsecops.cli.main import COMMANDS, read_command
from mlsecops.cli.signing import hash as hashing
from mlsecops.errors import MissingExtra
from tests.attackers.loading import safetensors_bytes, tensor
from tests.cli.conftest import Command

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(mlsecops.__file__).parents[1]),
    "PYTHONUNBUFFERED": "",  # a buffer is written late, which is one of the cases
}


def process(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a separate process."""
    return subprocess.run(
        [sys.executable, "-m", "mlsecops", *map(str, words)],
        check=False, text=True, capture_output=True, timeout=60,
        env=ENVIRONMENT,
    )  # fmt: skip


def test_help_lists_every_command(command: Command) -> None:
    for words in (("--help",), ("-h",)):
        outcome = command(*words)
        assert outcome.status == 0
        assert all(name in outcome.out for name in COMMANDS)
    assert command().status == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_an_example(command: Command, name: str) -> None:
    outcome = command(name, "--help")
    assert outcome.status == 0
    assert f"usage: mlsecops {name}" in outcome.out
    assert f"example: mlsecops {name}" in outcome.out


def parsers(name: str) -> Iterator[argparse.ArgumentParser]:
    """The parser of a command and those of its actions."""
    _, parser = read_command(name)
    yield parser
    for each in parser._actions:
        if isinstance(each, argparse._SubParsersAction):
            yield from each.choices.values()


@pytest.mark.parametrize("name", COMMANDS)
def test_each_option_says_what_it_does_and_each_action_has_an_example(name: str) -> None:
    for parser in parsers(name):
        silent = [each.dest for each in parser._actions if not each.help]
        assert set(silent) <= {"action", "verb"}, parser.prog  # the actions have a help each
        assert f"example: mlsecops {name} " in str(parser.epilog), parser.prog


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_refuses_an_unknown_option_in_one_line(command: Command, name: str) -> None:
    outcome = command(name, "--frobnicate")
    assert outcome.status == 2
    assert f"mlsecops {name}" in outcome.said


@pytest.mark.parametrize(
    "words",
    [
        ("attack", "--model", "m", "--data", "d.npz", "--attack", "fgsm", "--attack", "pgd"),
        ("fuzz", "http://127.0.0.1:9", "--model", "m", "--classes", "encoding", "--classes", "x"),
    ],
)
def test_an_option_whose_first_value_would_be_lost_is_not_taken_twice(
    command: Command, words: tuple[str, ...]
) -> None:
    outcome = command(*words)
    assert outcome.status == 2
    assert "given twice" in outcome.said
    assert words[-2] in outcome.said


def test_the_version_is_printed(command: Command) -> None:
    assert command("--version").out == f"mlsecops {mlsecops.__version__}\n"


def test_an_unknown_command_is_wrong_use(command: Command) -> None:
    for name in ("frobnicate", "terminal", "main", "../hash", ""):
        outcome = command(name)
        assert outcome.status == 2
        assert "expected one of hash" in outcome.said


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("a\nbug"), 2, "internal error: RuntimeError: a bug"),
        (OSError(28, "No space left on device", "/x"), 2, "/x: No space left on device"),
        (MissingExtra('pip install "mlsecops-sdk[bom]"'), 2, "mlsecops-sdk[bom]"),
    ],
)
def test_whatever_happens_is_told_in_one_line(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: int,
    told: str,
) -> None:
    def fail(_options: object) -> int:
        raise error

    monkeypatch.setattr(hashing, "run", fail)
    monkeypatch.delenv("MLSECOPS_DEBUG", raising=False)
    outcome = command("hash", "x")
    assert outcome.status == status
    assert told in outcome.said


def test_a_path_that_cannot_be_written_is_told_by_the_name_it_was_given(
    command: Command, tmp_path: Path
) -> None:
    place = tmp_path / "absent" / "key.pem"
    outcome = command("keygen", "--out", str(place))
    assert outcome.status == 2
    assert f"{place}: No such file or directory" in outcome.said


def test_the_traceback_of_a_bug_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_options: object) -> int:
        raise RuntimeError("a bug")

    monkeypatch.setattr(hashing, "run", fail)
    monkeypatch.setenv("MLSECOPS_DEBUG", "1")
    with pytest.raises(RuntimeError, match="a bug"):
        main(["hash", "x"])


def test_a_message_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.note("\x1b[2J\x9bnew\nline \udcff")
    assert capsys.readouterr().err == "mlsecops: \\x1b[2J\\x9bnew line \\udcff\n"


def test_the_process_prints_one_line_and_leaves_with_the_status(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    good = process("hash", tmp_path)
    assert (good.returncode, good.stderr) == (0, "")
    missing = process("hash", tmp_path / "absent")
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    (tmp_path / "link").symlink_to("file")
    refused = process("hash", tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)


def test_a_reader_that_went_away_is_no_traceback(tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"a-long-name-that-fills-the-pipe-{number}").touch()
    for form in ("json", "text"):  # more than a buffer, and less than one
        reading, writing = os.pipe()
        os.close(reading)
        running = subprocess.Popen(
            [sys.executable, "-m", "mlsecops", "hash", str(tmp_path), "--format", form],
            stdout=writing, stderr=subprocess.PIPE, env=ENVIRONMENT,
        )  # fmt: skip
        os.close(writing)
        _, err = running.communicate(timeout=60)
        assert (running.returncode, err) == (2, b"")


WAITING = """
import sys, time
from mlsecops.cli import main
from mlsecops.cli.signing import hash
hash.run = lambda options: (print("ready", flush=True), time.sleep(60))
sys.exit(main(["hash", "x"]))
"""


def test_an_interrupt_leaves_no_traceback() -> None:
    running = subprocess.Popen(
        [sys.executable, "-c", WAITING],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT,
    )  # fmt: skip
    assert running.stdout is not None
    assert running.stdout.readline() == b"ready\n"
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (130, b"mlsecops: interrupted\n")


def test_progress_is_shown_on_a_terminal_and_not_in_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1 << 20))
    ours, theirs = pty.openpty()
    running = subprocess.run(
        [sys.executable, "-m", "mlsecops", "hash", str(tmp_path)],
        check=False, stdout=subprocess.PIPE, stderr=theirs, timeout=60,
        env={**ENVIRONMENT, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 1 << 16)
    os.close(ours)
    assert running.returncode == 0
    assert b"hashing" in shown
    assert b"hashing" not in running.stdout
    assert process("hash", tmp_path).stderr == ""


def test_progress_counts_samples_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with terminal.progress("attacking", unit="samples") as bar:
        assert bar is not None
        bar(3, 9)


HEAVY = ("torch", "tensorflow", "keras", "sklearn", "rich", "opentelemetry", "mlsecops.pipeline")


@pytest.mark.parametrize("words", [["--help"], ["hash", "F"], ["scan", "F"]])
def test_light_commands_import_no_framework(tmp_path: Path, words: list[str]) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_bytes({"a": tensor(0, 4)}, b"1234"))
    asked = [str(path) if word == "F" else word for word in words]
    script = (
        "import sys; from mlsecops.cli import main; status = main(sys.argv[1:]);"
        f"found = [name for name in {HEAVY!r} if name in sys.modules];"
        "sys.exit(f'{status} {found}')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, *asked],
        check=False, text=True, capture_output=True, timeout=60,
        env=ENVIRONMENT,
    )  # fmt: skip
    assert ran.stderr == "0 []\n"
