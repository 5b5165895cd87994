from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops import adapt
from mlsecops.errors import UsageError
from mlsecops.robustness import FGSM, Endpoint, Gate, Square, evaluate_robustness
from tests.attackers.endpoints import answer, served
from tests.attackers.robustness import SoftmaxRegression, with_random_scores
from tests.robustness.conftest import Samples

X = np.linspace(0, 1, 120, dtype=np.float32).reshape(12, 10)
BUSY = (503, {}, b"busy")


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_an_endpoint_answers_as_the_model_behind_it(two_class: SoftmaxRegression) -> None:
    with served(two_class.predict) as server:
        endpoint = Endpoint(server.url, batch_size=5)
        assert np.allclose(endpoint.predict(X), two_class.predict(X), atol=1e-6)
        difference = endpoint.logits(X) - two_class.logits(X)
        assert np.allclose(difference[:, 0], difference[:, 1], atol=1e-4)
        assert [len(body) for body in server.bodies[:3]] == [5, 5, 2]
        assert (server.bodies[0] == X[:5]).all()
        assert adapt(endpoint) is endpoint
        assert not endpoint.differentiable


def test_logits_and_labels_are_taken_as_what_they_are_said_to_be(
    two_class: SoftmaxRegression,
) -> None:
    with served(two_class.logits) as server:
        endpoint = Endpoint(server.url, scores="logits")
        assert np.allclose(endpoint.logits(X), two_class.logits(X))
        assert np.allclose(endpoint.predict(X), two_class.predict(X), atol=1e-6)
    with served(lambda x: two_class.logits(x).argmax(axis=1)) as server:
        labels = Endpoint(server.url, scores="labels", classes=2)
        assert (labels.logits(X).argmax(axis=1) == two_class.logits(X).argmax(axis=1)).all()
        assert set(labels.predict(X).ravel()) == {0.0, 1.0}


def test_headers_and_another_protocol_are_the_users_own(two_class: SoftmaxRegression) -> None:
    with served(two_class.predict) as server:
        endpoint = Endpoint(
            server.url,
            headers={"authorization": "Bearer k"},
            request=lambda x: {"instances": x.tolist(), "user": "me"},
            response=lambda value: np.asarray(value["predictions"])[:, ::-1],
        )
        assert np.allclose(endpoint.predict(X), two_class.predict(X)[:, ::-1], atol=1e-6)
        assert server.headers[0]["authorization"] == "Bearer k"


def test_requests_keep_the_rate(two_class: SoftmaxRegression) -> None:
    clock = Clock()
    with served(two_class.predict) as server:
        endpoint = Endpoint(server.url, rate=4, batch_size=3, clock=clock, sleep=clock.sleep)
        endpoint.predict(X)
    assert clock.slept == [0.25, 0.25, 0.25]


def test_the_cap_holds_and_the_journal_goes_on_where_it_stopped(
    two_class: SoftmaxRegression, tmp_path: Path
) -> None:
    journal = tmp_path / "paid.jsonl"
    with served(two_class.predict) as server:
        options: Any = {"journal": journal, "batch_size": 4}
        with pytest.raises(UsageError, match="all 2 requests are spent and 4 inputs wait"):
            Endpoint(server.url, max_requests=2, **options).predict(X)
        assert len(server.bodies) == 2
        again = Endpoint(server.url, max_requests=3, **options)
        assert again.requests == 2
        assert np.allclose(again.predict(X), two_class.predict(X), atol=1e-6)
        assert again.requests == 3
        assert len(server.bodies) == 3
        assert (server.bodies[2] == X[8:]).all()
        with pytest.raises(UsageError, match="all 3 requests are spent"):
            again.predict(X)


def test_paid_answers_serve_batches_of_another_size(
    two_class: SoftmaxRegression, tmp_path: Path
) -> None:
    with served(two_class.predict) as server:
        Endpoint(server.url, batch_size=4, journal=tmp_path / "j").predict(X[:8])
        again = Endpoint(server.url, batch_size=12, journal=tmp_path / "j")
        assert np.allclose(again.predict(X), two_class.predict(X), atol=1e-6)
        assert (server.bodies[-1] == X[8:]).all()


def test_a_journal_does_not_hide_that_answers_are_random(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with served(lambda x: rng.dirichlet(np.ones(3), len(x))) as server:
        endpoint = Endpoint(server.url, journal=tmp_path / "j")
        first, second = endpoint.predict(X), endpoint.predict(X)
        assert not np.allclose(first, second)
        again = Endpoint(server.url, journal=tmp_path / "j")
        assert (again.predict(X) == first).all()
        assert (again.predict(X) == second).all()


def test_a_line_cut_short_by_a_crash_is_asked_again(
    two_class: SoftmaxRegression, tmp_path: Path
) -> None:
    journal = tmp_path / "j"
    with served(two_class.predict) as server:
        Endpoint(server.url, batch_size=4, journal=journal).predict(X)
        whole = journal.read_bytes()
        journal.write_bytes(whole[:-20])
        again = Endpoint(server.url, batch_size=4, journal=journal)
        assert again.requests == 2
        assert np.allclose(again.predict(X), two_class.predict(X), atol=1e-6)
        assert journal.read_bytes() == whole


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("keys", "kiss"),
        lambda text: text.replace('"scores": [[', '"scores": [[["x"'),
        lambda text: text.replace("{", "", 1),
        lambda text: text.replace('"about": "', '"about": "0'),
        lambda _: "7\n7\n",
    ],
)
def test_a_damaged_or_foreign_journal_is_refused(
    two_class: SoftmaxRegression, tmp_path: Path, damage: Any
) -> None:
    journal = tmp_path / "j"
    with served(two_class.predict) as server:
        Endpoint(server.url, journal=journal).predict(X)
        journal.write_text(damage(journal.read_text()))
        with pytest.raises(UsageError, match="journal"):
            Endpoint(server.url, journal=journal)


def test_a_journal_of_another_endpoint_is_refused_and_names_no_secret(
    two_class: SoftmaxRegression, tmp_path: Path
) -> None:
    with served(two_class.predict) as server:
        Endpoint(f"{server.url}?key=s3cret", journal=tmp_path / "j").predict(X)
        assert "s3cret" not in (tmp_path / "j").read_text()
        with pytest.raises(UsageError, match="another endpoint"):
            Endpoint(server.url, journal=tmp_path / "j")
    with pytest.raises(UsageError, match="cannot use journal"):
        Endpoint(server.url, journal=tmp_path)


def test_a_passing_failure_is_tried_again_as_the_server_asks(two_class: SoftmaxRegression) -> None:
    clock = Clock()
    plan = (BUSY, (429, {"retry-after": "7"}, b""), (429, {"retry-after": "9999"}, b""))
    with served(two_class.predict, *plan) as server:
        endpoint = Endpoint(server.url, clock=clock, sleep=clock.sleep)
        assert np.allclose(endpoint.predict(X), two_class.predict(X), atol=1e-6)
    assert clock.slept == [0.5, 7.0, 60.0]
    assert endpoint.requests == 4


def test_an_endpoint_that_stays_away_is_named_without_its_secrets() -> None:
    clock = Clock()
    with served(lambda x: x) as server:
        gone = server.url
    secret = gone.replace("http://", "http://user:s3cret@") + "?token=s3cret"
    with pytest.raises(UsageError, match="cannot be reached after 2 tries") as caught:
        Endpoint(secret, retries=1, sleep=clock.sleep).predict(X)
    assert "s3cret" not in str(caught.value)


def reply(predictions: Any) -> Any:
    return [answer(predictions)]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ([(500, {}, b"boom")], "answered 500"),
        ([(302, {"location": "http://elsewhere.example/"}, b"")], "answered 302"),
        ([(200, {}, b"<html>")], "cannot read"),
        ([(200, {}, b"[" * 100_000)], "cannot read"),
        ([(200, {}, b'{"outputs": []}')], "cannot read"),
        ([(200, {}, b'{"predictions": [[0.5, NaN]]}')], "cannot read"),
        (reply([[float("nan"), 1.0]] * 12), "cannot read"),
        (reply([["a", "b"]] * 12), "finite"),
        (reply([[0.5, 0.5]] * 11), "shaped"),
        (reply([[0.5, 0.5], [1.0]] * 6), "cannot read"),
        (reply([[0.2, 0.3, 0.5]] * 12), "shaped"),
        (reply([[1.0]] * 12), "shaped"),
        (reply([0.5] * 12), "shaped"),
        (reply([[3.0, 4.0]] * 12), "sum to 1"),
    ],
)
def test_an_answer_that_is_none_is_refused(plan: Any, message: str) -> None:
    with (
        served(lambda x: x, *plan) as server,
        pytest.raises(UsageError, match=message),
    ):
        Endpoint(server.url, classes=2).predict(X)


def test_an_answer_without_an_end_is_cut_off(
    two_class: SoftmaxRegression, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlsecops.adapters.endpoint._MOST_BYTES", 100)
    with (
        served(two_class.predict) as server,
        pytest.raises(UsageError, match="more than 100 bytes"),
    ):
        Endpoint(server.url).predict(X)


def test_labels_beyond_the_classes_are_refused() -> None:
    for labels in ([5] * 12, [-1] * 12, [0.5] * 12, [0] * 3):
        with (
            served(lambda x: x, answer(labels)) as server,
            pytest.raises(UsageError, match="labels under 2"),
        ):
            Endpoint(server.url, scores="labels", classes=2).predict(X)


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("ftp://127.0.0.1/", {}, "scheme 'ftp'"),
        ("http:///x", {}, "scheme"),
        ("http://model.example/", {}, "not encrypted"),
        ("http://127.0.0.1/", {"scores": "magic"}, "magic"),
        ("http://127.0.0.1/", {"scores": "labels"}, "classes"),
        ("http://127.0.0.1/", {"max_requests": 0}, "max_requests"),
        ("http://127.0.0.1/", {"rate": 0}, "rate"),
        ("http://127.0.0.1/", {"batch_size": 0}, "batch_size"),
    ],
)
def test_an_endpoint_that_cannot_work_is_wrong_use(
    url: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Endpoint(url, **options)


def test_https_and_named_danger_are_allowed() -> None:
    assert Endpoint("https://model.example/v1?k=1").name == "https://model.example/v1"
    assert Endpoint("http://model.example/", unsafe_plain_http=True).name
    assert Endpoint("http://[::1]:8000/").name


def test_what_an_endpoint_lacks_is_said() -> None:
    endpoint = Endpoint("http://127.0.0.1/")
    y = np.zeros(12, dtype=np.int64)
    for missing in (
        lambda: endpoint.loss_gradient(X, y),
        lambda: endpoint.features(X),
        lambda: endpoint.predict(X[:0]),
    ):
        with pytest.raises(UsageError, match=r"127\.0\.0\.1"):
            missing()


def test_the_journal_is_plain_json_lines(two_class: SoftmaxRegression, tmp_path: Path) -> None:
    with served(two_class.predict) as server:
        Endpoint(server.url, journal=tmp_path / "j").predict(X)
    head, line = (json.loads(text) for text in (tmp_path / "j").read_text().splitlines())
    assert head["schema"] == "mlsecops.endpoint/1"
    assert len(line["keys"]) == len(line["scores"]) == 12


def test_a_served_model_is_judged_by_attacks_that_need_no_gradient(
    two_class: SoftmaxRegression, samples: Samples, tmp_path: Path
) -> None:
    """Square finds the corner of the ball, which decides on paper: half of the samples stand."""
    samples = samples[0][::4], samples[1][::4]
    attacks = [Square(0.11, queries=150)]
    with served(two_class.predict) as server:
        options: Any = {"journal": tmp_path / "paid.jsonl", "batch_size": 200}
        report = evaluate_robustness(Endpoint(server.url, **options), *samples, attacks)
        asked = len(server.bodies)
        assert report.model == "Endpoint"
        assert report.worst.accuracy == pytest.approx(0.5, abs=0.1)
        assert Gate(min_accuracy=0.3).judge(report).reasons == ()
        again = evaluate_robustness(Endpoint(server.url, **options), *samples, attacks)
        assert len(server.bodies) == asked
        assert again.to_dict() == report.to_dict()
        with pytest.raises(UsageError, match="needs gradients"):
            evaluate_robustness(Endpoint(server.url), *samples, [FGSM(0.1)])


def test_a_server_that_rolls_dice_does_not_pass(
    two_class: SoftmaxRegression, samples: Samples
) -> None:
    random = with_random_scores(two_class, noise=0.5)
    with served(random.predict) as server:
        report = evaluate_robustness(Endpoint(server.url), *samples, [Square(0.11, queries=5)])
        assert Gate(min_accuracy=0.0).judge(report).verdict == "inconclusive"
