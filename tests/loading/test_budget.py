from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mlsecops._bounded import budget as _budget
from mlsecops.errors import LimitExceeded, UnsafeContent, UsageError
from mlsecops.loading import Limits, SecureLoader, scan
from mlsecops.signing import Signer, TrustPolicy, sign
from tests.attackers import model_files, nested_bombs


def rules(path: Path, ceilings: Limits | None = None) -> set[str]:
    return {finding.rule for finding in scan(path, limits=ceilings).findings}


def test_archives_whose_bytes_add_up_exceed_one_budget(tmp_path: Path) -> None:
    file = tmp_path / "model.tar.xz"
    file.write_bytes(nested_bombs.many_bytes(6, outer="tar"))
    assert "limit-exceeded" in rules(file)


def test_archives_whose_files_multiply_exceed_one_budget(tmp_path: Path) -> None:
    file = tmp_path / "model.zip"
    file.write_bytes(nested_bombs.many_files(4))
    assert "limit-exceeded" in rules(file)


def test_bytes_of_everything_nested_are_limited(tmp_path: Path) -> None:
    file = tmp_path / "model.zip"
    file.write_bytes(nested_bombs.zipped({f"{n}.zip": nested_bombs.zipped({"a.txt": b"a" * 400})
                                          for n in range(10)}))  # fmt: skip
    assert "limit-exceeded" not in rules(file)
    assert "limit-exceeded" in rules(file, Limits(bytes=3000))


@pytest.mark.parametrize("limit", ["seconds", "bytes", "ratio", "file_bytes"])
def test_a_limit_below_one_is_wrong_use(limit: str) -> None:
    for wrong in (0, -1):
        with pytest.raises(UsageError, match=f"{limit}: expected a number from 1 on"):
            Limits(**{limit: wrong})


class Clock:
    """CPU time that passes with each look at it."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """A clock on which each look at the time takes as long as a test sets."""
    clock = Clock(0.0)
    monkeypatch.setattr(_budget.time, "thread_time", clock)
    yield clock
    clock.step = 0.0


HOSTILE = {
    "model.pkl": pickle.dumps([None] * 2000),
    "model.gguf": model_files.gguf({f"k{n}": b"\0\0\0\0\1" for n in range(300)}),
    "model.onnx": model_files.onnx(more=model_files.field(25, b"") * 300),
    "model.zip": nested_bombs.zipped({f"{n}.txt": b"a" for n in range(300)}),
    "model.tar": model_files.tarred({f"{n}.txt": b"a" for n in range(300)}),
    "config.json": b"[" + b"{}," * 300 + b"{}]",
    "config.yaml": b"- a\n" * 300,
    "chat.jinja": b"{% set a = b %}" * 300,
}
"""File of each kind of reader that takes its time, with over 256 items."""


@pytest.mark.parametrize("name", HOSTILE)
def test_readers_stop_when_the_time_is_over(name: str, tmp_path: Path, slow: Clock) -> None:
    file = tmp_path / name
    file.write_bytes(HOSTILE[name])
    clean = scan(file)
    slow.step = 0.9
    verdict = scan(file)
    late = [*(each.message for each in verdict.findings), *(each.why for each in verdict.unchecked)]
    assert any("CPU seconds for the whole artifact" in each for each in late), verdict
    slow.step = 0.0
    assert scan(file) == clean


def test_a_folder_has_one_budget_for_all_its_files(tmp_path: Path, slow: Clock) -> None:
    for n in range(9):
        (tmp_path / f"{n}.pkl").write_bytes(pickle.dumps([None] * 300))
    assert not scan(tmp_path).refused
    slow.step = 0.2
    late = [each for each in scan(tmp_path).findings if each.rule == "limit-exceeded"]
    assert 0 < len(late) < 9
    assert not scan(tmp_path / "8.pkl").refused, "each file by itself has time enough"


def test_each_scan_has_a_budget_of_its_own(tmp_path: Path, slow: Clock) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps([None] * 300))
    slow.step = 0.2
    assert not any(scan(file).refused for _ in range(9))


def test_time_of_a_worker_process_counts() -> None:
    whole = _budget.Budget(0)
    with _budget.spending(whole):
        _budget.tick(where="a")
        whole.charge(3)
        with pytest.raises(LimitExceeded, match="CPU seconds"):
            _budget.tick(where="a")


def test_time_between_two_files_does_not_count(slow: Clock) -> None:
    whole = _budget.Budget(0)
    for _ in range(9):
        with _budget.spending(whole):
            _budget.tick(where="a")
        slow.now += 100


def test_text_that_compresses_far_is_not_parsed(tmp_path: Path) -> None:
    file = tmp_path / "settings.zip"
    file.write_bytes(nested_bombs.zipped({"a.json": nested_bombs.sparse_text(6_000_000)}))
    assert "bytes of text to parse" in scan(file).unchecked[0].why


def test_configuration_that_compresses_far_is_not_parsed(tmp_path: Path) -> None:
    file = tmp_path / "model.skops"
    file.write_bytes(nested_bombs.zipped({"schema.json": nested_bombs.sparse_text(6_000_000)}))
    assert "bytes of text to parse" in scan(file).findings[0].message


def test_loader_decompresses_within_the_budget(tmp_path: Path) -> None:
    file = tmp_path / "model.joblib"
    file.write_bytes(gzip.compress(pickle.dumps({"weights": "a" * 5000})))
    signer = Signer.generate("p256")
    sign(file, signer)
    policy = TrustPolicy(keys=[signer.public_key])
    assert SecureLoader(policy).load(file).model == {"weights": "a" * 5000}
    with pytest.raises(UnsafeContent, match="bytes unpacked in all"):
        SecureLoader(policy, limits=Limits(bytes=3000)).load(file)


def test_templates_of_one_file_share_the_time(tmp_path: Path, slow: Clock) -> None:
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps({"chat_template": [{"name": "a", "template": "{{ a }}"}] * 9}))
    slow.step = 0.5
    assert "CPU seconds for the whole artifact" in scan(file).unchecked[0].why


def test_headers_of_arrays_share_the_time(tmp_path: Path, slow: Clock) -> None:
    file = tmp_path / "model.npz"
    np.savez(file, **{f"a{n}": np.zeros(1) for n in range(9)})
    slow.step = 0.7
    assert rules(file) == {"limit-exceeded"}


def test_numbers_of_a_template_that_python_refuses_are_unchecked(tmp_path: Path) -> None:
    file = tmp_path / "chat_template.jinja"
    file.write_text("{{ " + "1" * 9000 + " }}")
    assert "jinja2 cannot parse it" in scan(file).unchecked[0].why
