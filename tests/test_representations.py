"""Public objects in a notebook: one short line without secrets or addresses."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlsecops
from mlsecops import (
    Digest,
    DigestMismatch,
    Manifest,
    Registry,
    SecureLoader,
    Signer,
    TrustPolicy,
    errors,
    fuzz,
    hash_path,
    scan,
    sign,
    training_run,
    verify,
)
from mlsecops._repr import concise_repr, concise_text, one_line
from mlsecops.llm import CallableTarget, Canary, ChatEndpoint, Session
from mlsecops.monitoring import (
    AlertmanagerSink,
    Baseline,
    LocalHistoryStore,
    LogSink,
    RateLimit,
    WebhookSink,
    Window,
    monitored,
)
from tests.test_public_face import FACES

LIMIT = 200
SECRET = "hunter2-of-the-operator"
HOSTILE = (
    f"{'x' * 10_000}\n\x1b[2J",
    "\n" * 300,
    f"https://user:{SECRET}@host.example/path?token={SECRET}",
    b"\x00" * 10_000,
    tuple(range(10_000)),
    {str(number): object() for number in range(1000)},
    object(),
    lambda: None,
    10**5000,
    float("nan"),
    np.zeros((1000, 10)),
    np.float64(1) / 3,
    Path("/deep" * 400),
    datetime.now(UTC),
    None,
)


def assert_concise(text: str) -> None:
    assert len(text) <= LIMIT, text
    assert text.isprintable(), text
    assert not re.search(r"\b0x[0-9a-f]{6,}", text), text
    assert SECRET not in text


def public_classes() -> list[type]:
    found = {
        value
        for face in FACES
        for value in map(import_module(face).__getattr__, import_module(face).__all__)
        if inspect.isclass(value)
    }
    return sorted(found, key=lambda each: f"{each.__module__}.{each.__qualname__}")


def shown(cls: type) -> bool:
    """Whether instances are values or tools of ours: no enum, protocol, tuple, text or error."""
    return not (
        issubclass(cls, Enum | tuple | str | BaseException) or getattr(cls, "_is_protocol", False)
    )


CLASSES = [each for each in public_classes() if shown(each)]
OWN = {"Digest", "PoisoningReport", "RobustnessReport"}  # written by hand, tested below


@pytest.mark.parametrize("cls", CLASSES, ids=lambda each: each.__qualname__)
def test_every_public_class_has_a_concise_repr(cls: type) -> None:
    written = inspect.getsource(cls.__repr__)
    assert cls.__name__ in OWN or written.lstrip().startswith("def concise("), cls


@pytest.mark.parametrize("cls", [each for each in CLASSES if is_dataclass(each)], ids=str)
@pytest.mark.parametrize("value", HOSTILE, ids=lambda each: type(each).__name__)
def test_hostile_fields_do_not_show(cls: Any, value: object) -> None:
    if cls.__name__ in OWN:
        return
    made = object.__new__(cls)
    for field in fields(cls):
        if not isinstance(inspect.getattr_static(cls, field.name, None), property):
            object.__setattr__(made, field.name, value)
    try:
        text = repr(made)
    except (AttributeError, LookupError, TypeError, ValueError):  # a property computes from it
        return
    assert_concise(text)
    assert text.startswith(f"{cls.__name__}(")


@pytest.mark.parametrize("value", HOSTILE, ids=lambda each: type(each).__name__)
def test_hostile_attributes_are_cut(value: object) -> None:
    @concise_repr("_first", "second", "third.inner")
    class Shown:
        def __init__(self) -> None:
            self._first = self.second = value

    assert_concise(repr(Shown()))


def test_the_first_results_fit_a_line_each(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for number in range(1000):
        (model / f"{number}.bin").write_bytes(b"w")
    signer = Signer.generate("p256")
    bundle, policy = sign(model, signer), TrustPolicy(keys=[signer.public_key])
    registry = Registry(tmp_path / "registry", signer=signer, policy=policy)
    manifest = hash_path(model)
    version = registry.publish("model", model)
    short = f"sha256:{manifest.root.hex[:12]}"
    with (
        pytest.warns(errors.MLSecOpsWarning, match="password"),
        training_run("train", hyperparameters={"password": SECRET}) as run,
    ):
        run.add_output(model)
    results = (
        bundle,
        bundle.envelope,
        verify(model, policy=policy),
        version,
        manifest,
        manifest.root,
        run,
        run.statement(),
        registry,
        policy,
        signer,
        signer.public_key,
        SecureLoader(policy),
        scan(model),
        fuzz(lambda _: "no", attempts=4),
    )
    for each in results:
        assert_concise(repr(each))
    for each in (manifest, manifest.root, version, verify(model, policy=policy)):
        assert short in repr(each)
    assert "1000 items" in repr(manifest)
    assert signer.public_key.fingerprint[:12] in repr(signer)


def test_tools_show_their_settings_without_secrets() -> None:
    @monitored("fraud", sinks=[print])
    def predict(x: Any) -> Any:
        return x

    key = f"sk-{SECRET}"
    address = f"https://user:{SECRET}@alerts.example/hook?key={SECRET}"
    made = (
        predict.monitor,
        Baseline.fit(np.random.default_rng(0).random((64, 200)), np.full((64, 2), 0.5)),
        RateLimit(5),
        LogSink(),
        WebhookSink(address, secret=SECRET.encode()),
        AlertmanagerSink("https://alerts.example", headers={"Authorization": SECRET}),
        LocalHistoryStore(),
        Window(),
        Session("shop", canaries=[Canary(value=SECRET, part=8)]),
        Canary(value=SECRET, part=8),
        CallableTarget(lambda _: "no"),
        ChatEndpoint("https://llm.example/v1", model="m", api_key=key),
    )
    for each in made:
        assert_concise(repr(each))
        assert repr(each).startswith(type(each).__name__)
    predict.monitor.close()


def test_errors_are_cut_in_their_repr_and_whole_as_text() -> None:
    message = f"{'file, ' * 1000}\n"
    for cls in (errors.UsageError, mlsecops.SignatureInvalid):
        assert_concise(repr(cls(message)))
        assert str(cls(message)) == message.replace("\n", "\\n")
    changed = DigestMismatch(message, changed=[str(number) for number in range(1000)])
    assert_concise(repr(changed))


def test_a_digest_shows_its_first_twelve_digits() -> None:
    digest = Digest.of(b"")
    assert repr(digest) == "Digest(sha256:e3b0c44298fc)"
    assert repr(Manifest(name="m", algorithm="sha256", entries=())).startswith("Manifest(name='m'")
    assert concise_text(str(digest)) == "'sha256:e3b0c44298fc'"


def test_a_private_key_is_never_shown() -> None:
    assert concise_text("-----BEGIN PRIVATE KEY-----\nMIGH") == "<private key>"
    assert_concise(one_line("line\n" * 1000))
