"""Secrets by name and by shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlsecops._secrets import REDACTED, cut, is_secret, looks_random, redacted, secrets_in
from mlsecops.errors import MLSecOpsWarning, UsageError
from mlsecops.provenance import current_run, tracked, training_run
from tests.ceilings import answered

HUB = "hf_" + "a1B2" * 8
SECRET: list[tuple[str, Any]] = [
    ("hf_token", "x"), ("token", "abc"), ("apiKey", "x"), ("WANDB_API_KEY", "f" * 40),
    ("db_password", 12345678), ("aws-secret-access-key", "x"), ("credentials", {"user": "a"}),
    ("client_secret", ["a"]), ("passphrase", "open sesame"), ("authToken", "x"),
    ("where", HUB), ("a", "sk-proj-" + "a1B2" * 6), ("a", "ghp_" + "a1" * 18),
    ("a", "AKIA" + "ABCD" * 4), ("a", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"),
    ("a", "-----BEGIN EC PRIVATE KEY-----\nMHc"), ("url", "postgresql://etl:hunter2@db/feast"),
    ("header", "Bearer abcdefghijklmnop1234"), ("a", "glpat-" + "a1B2" * 5),
    ("store", "https://x.blob.core.windows.net/d?sv=1&sig=" + "aB3%2F" * 8),
    ("a", "x7Kp2mQ9vR4tB8nW3zL6cY1d"), ("conf", f"--hub {HUB} --lr 1"),
    ("dsn", "Server=db;Pwd=hunter22;"),
]  # fmt: skip
PLAIN: list[tuple[str, Any]] = [
    ("lr", 0.1), ("max_tokens", 512), ("pad_token", "[PAD]"), ("eos_token", "</s>"),
    ("tokenizer", "bert-base-uncased"), ("use_auth_token", True), ("hf_token", None),
    ("token_dim", "64"), ("num_tokens", 5), ("pad_token_id", 0), ("key", "value"),
    ("keys", "a,b"), ("monkey", "x"), ("revision", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"),
    ("digest", "sha256:" + "0f" * 32), ("run", "550e8400-e29b-41d4-a716-446655440000"),
    ("model", "Mixtral-8x7B-Instruct-v0.1-GGUF-Q4_K_M"),
    ("path", "/data/Run2024/Train/shard-00001"),
    ("integrity", "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="), ("token", ""),
    ("url", "https://huggingface.co/datasets/mnist"), ("class", "MyVeryLongClassNameForModels"),
    ("optimizer", "adamw"), ("text", "the secretary signs"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), SECRET)
def test_secrets_are_found_by_name_or_shape(name: str, value: Any) -> None:
    assert redacted({name: value}) == ({name: REDACTED}, (name,))


@pytest.mark.parametrize(("name", "value"), PLAIN)
def test_ordinary_parameters_are_kept(name: str, value: Any) -> None:
    assert redacted({name: value}) == ({name: value}, ())


def test_inner_values_and_keys_are_searched_and_kept_by_name() -> None:
    given = {"db": {"host": "a", "password": "b", HUB: 1}, "list": [1, HUB]}
    clean, hidden = redacted(given)
    assert clean == {
        "db": {"host": "a", "password": REDACTED, REDACTED: 1},
        "list": [1, REDACTED],
    }
    assert hidden == ("db.password", "list")
    kept, hidden = redacted(given, keep=["db.password", "list"])
    assert kept["db"]["password"] == "b"
    assert kept["list"] == [1, HUB]
    assert hidden == ()


def test_a_run_records_no_secret_and_warns(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"m")

    @tracked("fit", keep=["note"])
    def fit(  # the arguments are only recorded
        lr: float,  # noqa: ARG001
        hub: str,  # noqa: ARG001
        *,
        note: str,  # noqa: ARG001
        db: str = "postgresql://etl:hunter2@db/x",  # noqa: ARG001
    ) -> Any:
        run = current_run()
        assert run is not None
        run.add_output(tmp_path / "m")
        return run

    with pytest.warns(MLSecOpsWarning, match=r"run 'fit': recorded as \[redacted\].*hub, db"):
        run = fit(0.1, HUB, note="token=abcdefgh")
    assert run.hyperparameters == {
        "lr": 0.1, "hub": REDACTED, "note": "token=abcdefgh", "db": REDACTED,
    }  # fmt: skip
    said = run.statement().payload.decode() + repr(run)
    assert HUB not in said
    assert "hunter2" not in said


def test_a_training_run_keeps_what_is_named() -> None:
    given = {"api": {"token": "abc"}}
    with training_run("a", keep=["api.token"], hyperparameters=given) as run:
        assert run.hyperparameters == given
    with (
        pytest.warns(MLSecOpsWarning, match=r"api\.token"),
        training_run("a", hyperparameters=given) as run,
    ):
        assert run.hyperparameters == {"api": {"token": REDACTED}}
    with pytest.raises(UsageError, match="keep"), training_run("a", keep="api"):
        pytest.fail("one text is no list")


@pytest.mark.parametrize(
    "piece",
    ["sk-", "sk-a-", "eyJ", "eyJ-", "eyJaaaaaaaa.", "://", "://a:", "token = ", "A1b", "ghp_"],
)
def test_detection_is_linear(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    for detect in (secrets_in, cut, looks_random):
        answered(detect, text)
    answered(is_secret, text, text)
