from __future__ import annotations

import pytest

from mlsecops.errors import UsageError
from mlsecops.poisoning import detect_poisoning
from tests.attackers.poisoning import Backdoored, digits, with_patch


def test_half_of_a_class_that_shows_other_classes_is_found() -> None:
    x, y, patched = with_patch(*digits(), rate=0.10)
    report = detect_poisoning(Backdoored(y, patched), x, y)
    found = {s.index for s in report.suspects}
    assert len(found & patched) > 0.9 * len(patched), report.suspects[:3]
    assert len(found - patched) < 0.02 * len(x)
    assert all("activation_contradicted" in s.evidence for s in report.suspects)
    assert {f.rule for f in report.findings} == {"poisoning-activation-cluster"}


def test_classes_that_fall_apart_without_showing_others_are_left_alone() -> None:
    x, y = digits()
    apart = set(range(0, len(y), 2))
    assert not detect_poisoning(Backdoored(y, apart), x, y).suspects


def test_same_seed_gives_the_same_report() -> None:
    x, y, patched = with_patch(*digits(), rate=0.10)
    model = Backdoored(y, patched)
    assert detect_poisoning(model, x, y, seed=1) == detect_poisoning(model, x, y, seed=1)


def test_labels_of_another_length_are_refused() -> None:
    x, y = digits()
    with pytest.raises(UsageError, match="of shape"):
        detect_poisoning(Backdoored(y, set()), x, y[:-1])
