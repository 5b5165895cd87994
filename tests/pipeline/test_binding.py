"""Parts of a pipeline that are of another model than the one delivered."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlsecops import (
    Gate,
    SecureLoader,
    SecurePipeline,
    Signer,
    TrustPolicy,
    errors,
    evaluate_robustness,
    hash_path,
    sign,
    verify,
)
from mlsecops.monitoring import RateLimit, monitored
from mlsecops.pipeline.binding import require_datasets, require_model
from mlsecops.provenance import Statement
from mlsecops.provenance.statement import SLSA_PROVENANCE
from mlsecops.registry import Registry
from mlsecops.reports import ControlState
from mlsecops.robustness import FGSM
from tests.pipeline.conftest import World, parts_of, states

PARTS = ("datasets", "robustness", "loaded", "bom", "campaign")


def mixtures() -> list[tuple[str, ...]]:
    """Every mixture of own (a), foreign (b) and absent (-) parts with at least one foreign one."""
    return [each for each in itertools.product("ab-", repeat=len(PARTS)) if "b" in each]


def test_no_mixture_with_a_foreign_part_is_delivered(world: World, tmp_path: Path) -> None:
    assert len(mixtures()) >= 60
    accepted = []
    for mixture in mixtures():
        own = tuple(part for part, whose in zip(PARTS, mixture, strict=True) if whose == "a")
        foreign = tuple(part for part, whose in zip(PARTS, mixture, strict=True) if whose == "b")
        parts = {
            **parts_of(world.models["a"], own), **parts_of(world.models["b"], foreign),
        }  # fmt: skip
        try:
            world.pipeline(**parts).deliver(tmp_path / "out")
        except errors.DigestMismatch:
            continue
        accepted.append(mixture)
    assert accepted == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("part", PARTS)
def test_a_foreign_part_is_named(world: World, part: str, tmp_path: Path) -> None:
    words = {"datasets": "data set data", "robustness": "robustness report",
             "loaded": "loaded model", "bom": "bill of materials"}  # fmt: skip
    foreign = parts_of(world.models["b"], (part,))
    with pytest.raises(errors.DigestMismatch, match=words.get(part, part)):
        world.pipeline(**foreign).deliver(tmp_path / "out")


def test_a_shard_is_neither_the_model_nor_its_data(world: World, tmp_path: Path) -> None:
    """Of a file cut short, its bytes are a shard of the whole one."""
    for name in ("model.bin", "short.bin"):
        (tmp_path / name).write_bytes(b"weights!" * (1 if name == "short.bin" else 2))
    short, data = hash_path(tmp_path / "short.bin"), hash_path(tmp_path / "model.bin", shard_size=8)
    assert short["short.bin"] in [entry.digest for entry in data]
    resolved = [{"name": "d", "digest": {"sha256": short["short.bin"].hex}}]
    statement = Statement.build(
        subjects={"model.bin": data.root}, predicate_type=SLSA_PROVENANCE,
        predicate={"buildDefinition": {"resolvedDependencies": resolved}},
    )  # fmt: skip
    sign(tmp_path / "model.bin", world.signer, statements=[statement], shard_size=8)
    verified = verify(tmp_path / "model.bin", policy=world.policy)
    for digest in short["short.bin"], str(short["short.bin"]):
        with pytest.raises(errors.DigestMismatch, match="robustness report"):
            require_model("robustness report", digest, verified)
    assert require_model("robustness report", data.root, verified)
    assert require_datasets({"d": short}, verified)
    with pytest.raises(errors.DigestMismatch, match="data set d"):
        require_datasets({"d": data}, verified)


def test_parts_of_the_model_itself_are_enforced(world: World) -> None:
    parts = parts_of(world.models["a"], PARTS)
    found = states(world, gate=Gate(min_accuracy=0.01), **parts)
    for name in ("Dataset digest", "Content scan", "Sealed loading"):
        assert found[name][0] is ControlState.ENFORCED, name


def test_a_report_that_names_no_model_is_never_enforced(world: World) -> None:
    report = replace(world.models["a"].report, model_digest=None)
    state, where = states(world, robustness=report, gate=Gate(min_accuracy=0.01))["Robustness gate"]
    assert state is ControlState.ADVISORY
    assert "names no model" in where


def test_a_monitor_of_another_version_is_shown_as_that_version_s(world: World) -> None:
    def watched(digest: str) -> dict[str, tuple[ControlState, str]]:
        @monitored("m", digest=digest, guards=[RateLimit(5.0)])
        def predict(x: np.ndarray) -> np.ndarray:
            return x

        try:
            return states(world, monitor=predict.monitor)
        finally:
            predict.monitor.close()

    own, other = (str(world.models[each].loaded.digest) for each in "ab")
    assert watched(own)["Rate limit"][0] is ControlState.ENFORCED
    state, where = watched(other)["Rate limit"]
    assert state is ControlState.ADVISORY
    assert other[:19] in where


def test_a_registry_without_the_model_rolls_nothing_back(world: World, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "r", signer=world.signer, policy=world.policy)
    registry.publish("b", world.models["b"].folder)
    assert states(world, registry=registry)["Registry log"][0] is ControlState.ADVISORY
    registry.publish("a", world.models["a"].folder)
    assert states(world, registry=registry)["Verified rollback"][0] is ControlState.ENFORCED


def test_a_loaded_model_brings_its_digest_until_its_weights_change(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    signer = Signer.generate("p256")
    model = torch.nn.Linear(4, 2)
    torch.save(model.state_dict(), tmp_path / "m.pt")
    sign(tmp_path / "m.pt", signer)
    policy = TrustPolicy(keys=[signer.public_key])
    loaded = SecureLoader(policy).load(tmp_path / "m.pt", into=torch.nn.Linear(4, 2))
    x, y = np.random.default_rng(0).random((8, 4), dtype=np.float32), np.arange(8) % 2

    def digest(given: Any) -> object:
        report = evaluate_robustness(given, x, y, [FGSM(eps=0.1)], checks=False)
        return report.model_digest

    assert digest(loaded) == digest(loaded.adapter) == digest(loaded.model) == loaded.digest
    with torch.no_grad():
        loaded.model.weight += 1
    assert digest(loaded) is None


def links(folder: Path) -> list[str]:
    """Relative links of every page, without their fragments."""
    pages = "".join(page.read_text() for page in folder.rglob("*.html"))
    return re.findall(r'(?:href|src)="([^"#:]+)(?:#[^"]*)?"', pages)


@pytest.mark.parametrize("count", range(len(PARTS) + 1))
def test_every_link_leads_to_a_file_of_this_delivery(
    world: World, count: int, tmp_path: Path
) -> None:
    mixtures = itertools.product(itertools.combinations(PARTS, count), (None, "eu-ai-act"))
    for names, framework in mixtures:  # 64 over all counts
        parts = parts_of(world.models["a"], names)
        delivery = world.pipeline(**parts).deliver(tmp_path / "out", framework=framework)
        assert links(tmp_path / "out")
        assert set(links(tmp_path / "out")) <= set(delivery.files)


def test_pages_of_an_earlier_delivery_go_and_files_of_others_stay(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    world.pipeline(robustness=world.models["a"].report).deliver(tmp_path)
    (tmp_path / "robustness.json").write_text("{}")  # somebody's own now
    world.pipeline().deliver(tmp_path)
    assert not (tmp_path / "robustness.html").exists()
    assert (tmp_path / "robustness.json").read_text() == "{}"
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_forged_record_removes_nothing_outside_the_folder(world: World, tmp_path: Path) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("x")
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    out = tmp_path / "out"
    out.mkdir()
    (out / "link").symlink_to(tmp_path)
    names = ["../victim.txt", str(victim), "link/victim.txt", "..", "", "a\x00b"]
    record = {"schema": "mlsecops.delivery/1", "files": dict.fromkeys(names, digest)}
    (out / ".deliverables.json").write_text(json.dumps(record))
    world.pipeline().deliver(out)
    assert victim.read_text() == "x"


@pytest.mark.parametrize("record", ["", "[]", '{"files": 1}', '{"files": {"a": 1}}', "\x00"])
def test_a_record_of_another_shape_is_not_ours(world: World, tmp_path: Path, record: str) -> None:
    (tmp_path / ".deliverables.json").write_text(record)
    assert world.pipeline().deliver(tmp_path).files


def test_a_delivery_that_fails_leaves_the_earlier_one_whole(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.pipeline().deliver(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(errors.UsageError, match="No space"):
        world.pipeline(robustness=world.models["a"].report).deliver(tmp_path)
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_equal_parts_and_time_give_equal_bytes(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    for each in ("one", "two"):
        parts = parts_of(world.models["a"], ("datasets", "robustness", "loaded"))
        delivery = world.pipeline(**parts).deliver(tmp_path / each)
    for name in delivery.files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def evidence(world: World, folder: Path, **parts: Any) -> dict[str, str]:
    """Number → status of the map of a delivery."""
    world.pipeline(**parts).deliver(folder, framework="eu-ai-act")
    value = json.loads((folder / "evidence.json").read_text())
    assert value["digest"] == str(world.models["a"].loaded.digest)
    return {row["number"]: row["status"] for row in value["rows"]}


def test_a_report_beside_the_signature_is_asserted_and_a_signed_one_verified(
    world: World, tmp_path: Path
) -> None:
    own = world.models["a"]
    assert evidence(world, tmp_path / "out")["Annex IV 2(g)"] == "absent"
    stated = evidence(world, tmp_path / "out", robustness=own.report)
    assert stated["Annex IV 2(g)"] == "asserted"
    assert stated["Annex IV 2(d)"] == stated["Annex IV 2(b)"] == "verified"
    folder = tmp_path / "model-a"
    shutil.copytree(own.folder, folder)
    kept = verify(folder, policy=world.policy).statements
    sign(folder, world.signer, statements=[*kept, own.report.statement()],
         replace=True, name="model-a")  # fmt: skip
    signed = SecurePipeline(name="a", model=folder, policy=world.policy, robustness=own.report)
    signed.deliver(tmp_path / "signed", framework="eu-ai-act")
    rows = json.loads((tmp_path / "signed" / "evidence.json").read_text())["rows"]
    assert {row["number"]: row["status"] for row in rows}["Annex IV 2(g)"] == "verified"
    other = replace(own.report, seed=own.report.seed + 1)  # better figures, say, for the page
    replace(signed, robustness=other).deliver(tmp_path / "other", framework="eu-ai-act")
    rows = json.loads((tmp_path / "other" / "evidence.json").read_text())["rows"]
    assert {row["number"]: row["status"] for row in rows}["Annex IV 2(g)"] == "asserted"


def test_a_bill_of_no_model_is_refused(world: World, tmp_path: Path) -> None:
    bill = {**world.models["a"].bom, "components": [], "metadata": {}}
    with pytest.raises(errors.DigestMismatch, match=r"bill of materials: .* got no digest"):
        world.pipeline(bom=bill).deliver(tmp_path / "out")


def test_a_dashboard_without_a_monitor_is_no_evidence_of_monitoring(
    world: World, tmp_path: Path
) -> None:
    assert evidence(world, tmp_path)["Annex IV 9"] == "absent"

    @monitored("m", guards=[RateLimit(5.0)])
    def predict(x: np.ndarray) -> np.ndarray:
        return x

    assert evidence(world, tmp_path, monitor=predict.monitor)["Annex IV 9"] == "asserted"
    predict.monitor.close()


def test_answers_that_people_wrote_into_the_template_stay(world: World, tmp_path: Path) -> None:
    evidence(world, tmp_path)
    template = tmp_path / "evidence-to-write.md"
    empty = template.read_text()
    evidence(world, tmp_path, robustness=world.models["a"].report)
    assert template.read_text() != empty  # nobody wrote: fewer are absent
    template.write_text("Answer: written by a person")
    for _ in range(2):
        evidence(world, tmp_path)
        assert template.read_text() == "Answer: written by a person"


def test_a_map_goes_with_the_delivery_that_has_none(world: World, tmp_path: Path) -> None:
    evidence(world, tmp_path / "out")
    world.pipeline().deliver(tmp_path / "out")
    assert not list((tmp_path / "out").glob("evidence*"))
