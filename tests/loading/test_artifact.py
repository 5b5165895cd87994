import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops.errors import DigestMismatch, FormatRefused, LimitExceeded, UnsafeContent, UsageError
from mlsecops.loading import Limits
from mlsecops.loading.readers import checked_model
from mlsecops.signing import Signer, sign
from tests.attackers import loading as attack
from tests.loading.conftest import Trusting

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")

TIERS = ("sealed", "pinned", "private-copy")
PARTS = ("model-00001-of-00002", "model-00002-of-00002")


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer.generate("p256")


def network(seed: int = 0) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))


def same(left: Any, right: Any) -> Any:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.fixture(params=["safetensors", "bin"])
def sharded(request: pytest.FixtureRequest, tmp_path: Path, signer: Signer) -> Path:
    """A folder as model hubs have them: two shards, their index, settings and a tokenizer."""
    place = tmp_path / "model"
    place.mkdir()
    kind = request.param
    state, where = network().state_dict(), {}
    for number, part in enumerate(PARTS):
        mine = {k: v.clone() for k, v in state.items() if k.startswith(f"{number}.")}
        save = safetensors_torch.save_file if kind == "safetensors" else torch.save
        save(mine, place / f"{part}.{kind}")
        where |= dict.fromkeys(mine, f"{part}.{kind}")
    index(place, kind).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    (place / "config.json").write_text('{"model_type": "tiny"}')
    (place / "tokenizer.json").write_text("{}")
    sign(place, signer)
    return place


def index(place: Path, kind: str) -> Any:
    stem = "model" if kind == "safetensors" else "pytorch_model"
    return place / f"{stem}.{kind}.index.json"


def the_index(place: Path) -> Any:
    return next(place.glob("*.index.json"))


@pytest.mark.parametrize("tier", TIERS)
def test_shards_load_as_one_model(sharded: Path, trusting: Trusting, tier: str) -> None:
    loaded = trusting(tier=tier).load(sharded)
    assert same(loaded.model, network().state_dict())
    assert loaded.tier == tier
    mine = network(1)
    assert trusting(tier=tier).load(sharded, into=mine).model is mine
    assert same(mine.state_dict(), network().state_dict())


def test_a_changed_shard_or_index_is_refused(sharded: Path, trusting: Trusting) -> None:
    for name in [path.name for path in sharded.iterdir() if path.name != "model.sig"]:
        copy = sharded.with_name(f"changed-{name}")
        shutil.copytree(sharded, copy)
        data = bytearray((copy / name).read_bytes())
        data[-1] ^= 1
        (copy / name).write_bytes(data)
        with pytest.raises(DigestMismatch) as caught:
            trusting().load(copy)
        assert caught.value.changed == (name,)


def test_a_missing_shard_is_refused(sharded: Path, trusting: Trusting, signer: Signer) -> None:
    gone = next(iter(sharded.glob("*00002-of*")))
    gone.unlink()
    with pytest.raises(DigestMismatch, match="00002"):
        trusting().load(sharded)
    sign(sharded, signer)  # even if its owner signs what is left
    with pytest.raises(FormatRefused, match="get the model whole"):
        trusting().load(sharded, file=the_index(sharded).name)


@pytest.mark.parametrize("trick", ["escape", "swap", "missing", "twice", "no map", "not text"])
def test_an_index_that_lies_is_refused(
    sharded: Path, trusting: Trusting, signer: Signer, trick: Any
) -> None:
    file = the_index(sharded)
    where = json.loads(file.read_text())["weight_map"]
    first, second = sorted(set(where.values()))
    text = {
        "escape": json.dumps({"weight_map": {**where, "x": "../../etc/passwd"}}),
        "swap": json.dumps(
            {"weight_map": {k: first if v == second else second for k, v in where.items()}}
        ),
        "missing": json.dumps({"weight_map": dict(list(where.items())[1:])}),
        "twice": file.read_text().replace('"weight_map": {', '"weight_map": {"0.bias": "x", '),
        "no map": "[]",
        "not text": json.dumps({"weight_map": {"a": 1}}),
    }[trick]
    file.write_text(text)
    sign(sharded, signer)
    with pytest.raises(FormatRefused):
        trusting().load(sharded)


def test_an_index_beyond_the_limits_is_refused(sharded: Path, trusting: Trusting) -> None:
    with pytest.raises(LimitExceeded):
        trusting(limits=Limits(header_bytes=10)).load(sharded)
    with pytest.raises(LimitExceeded, match="tensors"):
        trusting(limits=Limits(tensors=1)).load(sharded)


def test_one_poisoned_shard_is_refused_before_any_is_read(
    sharded: Path,
    trusting: Trusting,
    signer: Signer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trace = tmp_path / "ran"
    poisoned = min(sharded.glob("*-00002-of-*"))
    poisoned.write_bytes(attack.malicious_pickle(trace))
    sign(sharded, signer)
    monkeypatch.setattr(checked_model, "decode", lambda *_: pytest.fail("a shard was read"))
    with pytest.raises((UnsafeContent, FormatRefused)):
        trusting().load(sharded)
    assert not trace.exists()


@pytest.mark.parametrize("sharded", ["safetensors"], indirect=True)
def test_the_file_that_is_meant_may_be_named(
    sharded: Path, trusting: Trusting, signer: Signer
) -> None:
    torch.save({"step": 7}, sharded / "optimizer.pt")
    np.save(sharded / "mean.npy", np.arange(3))
    sign(sharded, signer)
    with pytest.raises(FormatRefused, match="name the one to load"):
        trusting().load(sharded)
    index = "model.safetensors.index.json"
    assert same(trusting().load(sharded, file=index).model, network().state_dict())
    assert trusting().load(sharded, file="optimizer.pt").model == {"step": 7}
    np.testing.assert_array_equal(trusting().load(sharded, file="mean.npy").model, np.arange(3))
    with pytest.raises(UsageError, match="expected a file that the signature covers"):
        trusting().load(sharded, file="../model/mean.npy")
    with pytest.raises(UsageError, match="no folder"):
        trusting().load(sharded / "mean.npy", file="mean.npy", bundle=sharded / "model.sig")


@pytest.mark.parametrize("sharded", ["safetensors"], indirect=True)
def test_what_lies_beside_the_named_file_is_still_verified(
    sharded: Path, trusting: Trusting, signer: Signer
) -> None:
    np.save(sharded / "mean.npy", np.arange(3))
    sign(sharded, signer)
    np.save(sharded / "mean.npy", np.arange(4))
    with pytest.raises(DigestMismatch, match=r"mean\.npy"):
        trusting().load(sharded, file="model.safetensors.index.json")
