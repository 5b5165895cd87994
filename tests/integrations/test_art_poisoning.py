from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from mlsecops.errors import UsageError
from mlsecops.integrations.art_poisoning import art_poisoning
from tests.attackers.poisoning import Backdoored, digits, with_patch

pytest.importorskip("art")
torch = pytest.importorskip("torch")

DETECTORS = ["ActivationDefence", "SpectralSignatureDefense"]


class Scored(Backdoored):
    def logits(self, x: Any) -> Any:
        return np.zeros((len(x), 10), np.float32)


def trained(x: Any, y: Any) -> Any:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 48), torch.nn.ReLU(), torch.nn.Linear(48, 10)
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(inputs), labels).backward()
        optimizer.step()
    return net.eval()


@pytest.fixture(scope="module")
def case() -> Any:
    x, y, patched = with_patch(*digits(), rate=0.05)
    return trained(x, y), x, y, patched


def test_the_smaller_cluster_of_the_target_class_is_the_poison() -> None:
    x, y, patched = with_patch(*digits(), rate=0.05)
    report = art_poisoning(Scored(y, patched), x, y, detector="ActivationDefence")
    found = {s.index for s in report.suspects if s.label == 7}
    assert found == patched
    assert {s.kind for s in report.suspects} == {"activation-cluster"}
    assert report.detectors == ("art-ActivationDefence",)
    share = len(patched) / (y == 7).sum()
    assert {s.score for s in report.suspects if s.label == 7} == {round(1 - share, 4)}


@pytest.mark.parametrize("detector", DETECTORS)
def test_defaults_accuse_a_quarter_of_clean_data_and_more(detector: Any) -> None:
    x, y = digits()
    report = art_poisoning(trained(x, y), x, y, detector=detector)
    assert len(report.suspects) > 0.25 * len(y)


def test_a_spectral_search_flags_the_share_that_it_was_told_to_expect(case: Any) -> None:
    net, x, y, _ = case
    settings = {"expected_pp_poison": 0.04}
    report = art_poisoning(net, x, y, detector="SpectralSignatureDefense", settings=settings)
    assert len(report.suspects) == pytest.approx(1.5 * 0.04 * len(y), rel=0.15)
    scores = [s.score for s in report.suspects]
    assert scores == sorted(scores, reverse=True)
    assert report.suspects[0].score == 1.0
    assert all(s.evidence["art_outlier_score"] > 0 for s in report.suspects)


@pytest.mark.parametrize("detector", DETECTORS)
def test_one_seed_gives_one_report_and_the_global_generator_goes_on(
    detector: Any, case: Any
) -> None:
    net, x, y, _ = case
    np.random.seed(5)  # noqa: NPY002 - the toolbox draws from the global generator
    before = np.random.get_state()[1].tolist()  # noqa: NPY002 - as above
    first = art_poisoning(net, x, y, detector=detector)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002 - as above
    assert art_poisoning(net, x, y, detector=detector) == first


def test_what_the_toolbox_cannot_do_is_refused_in_words(case: Any) -> None:
    net, x, y, _ = case
    with pytest.raises(UsageError, match="expected ActivationDefence or"):
        art_poisoning(net, x, y, detector="RONIDefense")
    with pytest.raises(UsageError, match="each of the model's 10 classes"):
        art_poisoning(net, x[y < 9], y[y < 9], detector="ActivationDefence")
    relative = {"cluster_analysis": "relative-size"}  # the toolbox's own fault, in 1.20
    for settings in ({"nb_clusters": 0}, relative):
        with pytest.raises(UsageError, match="ART refuses it"):
            art_poisoning(net, x, y, detector="ActivationDefence", settings=settings)


def test_a_classifier_without_gradients_is_searched_too() -> None:
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - only here

    x, y = digits()
    flat = x.reshape(len(x), -1)
    model = LogisticRegression(max_iter=300).fit(flat, y)
    assert art_poisoning(model, flat, y, detector="SpectralSignatureDefense").suspects


def test_the_toolbox_is_imported_only_when_it_is_run() -> None:
    code = (
        "import sys, mlsecops.integrations.art_poisoning; "
        "assert not {'art', 'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
