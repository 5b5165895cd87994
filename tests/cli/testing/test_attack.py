from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
import skops.io as skops
import xgboost
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from mlsecops.provenance import hash_path
from mlsecops.robustness import ROBUSTNESS_PREDICATE, RobustnessReport, clopper_pearson
from mlsecops.signing import Signer, TrustPolicy, sign, verify
from tests.attackers.endpoints import served
from tests.cli.conftest import Command, Outcome, Release, tamper


@pytest.fixture
def attack(command: Command, release: Release) -> Command:
    def run(*words: object, key: Path | None = None) -> Outcome:
        named = ("--model", release.model, "--data", release.data, "--key", key or release.public)
        return command("attack", *named, "--arch", "nets:build", "--eps", "0.05", *words)

    return run


def test_json_is_the_robustness_report_of_this_model(attack: Command, release: Release) -> None:
    outcome = attack("--attack", "fgsm,pgd", "--steps", "5", "--format", "json", "--seed", "4")
    value = json.loads(outcome.out)
    assert outcome.status == 0
    assert [a["name"] for a in value["attacks"]] == ["fgsm", "pgd"]
    assert value["attacks"][1]["params"]["steps"] == 5
    assert value["attacks"][1]["params"]["step"] == pytest.approx(2.5 * 0.05 / 5)
    assert (value["n"], value["seed"]) == (100, 4)
    assert value["model_digest"] == str(hash_path(release.model).root)
    assert "verdict" not in value
    assert RobustnessReport.from_dict(value).n == 100


def test_eps_may_be_a_fraction_and_the_form_of_the_output_is_shown(attack: Command) -> None:
    words = ("--attack", "fgsm", "--eps", "8/255", "--output", "logits", "--format", "json")
    value = json.loads(attack(*words).out)
    assert value["attacks"][0]["params"]["eps"] == pytest.approx(8 / 255)
    assert value["output"] == "logits (given)"
    assert "output logits (last operation affine)" in attack("--attack", "fgsm").out


def test_a_class_can_mean_rejection(attack: Command) -> None:
    words = ("--attack", "fgsm", "--format", "json")
    plain, rejecting = (json.loads(attack(*words, *more).out) for more in ((), ("--reject", "3")))
    assert rejecting["worst"]["accuracy"] != plain["worst"]["accuracy"]
    assert attack(*words, "--reject", "no-such-class").status == 2


def test_a_model_above_the_floor_passes(attack: Command) -> None:
    outcome = attack("--attack", "fgsm", "--min-accuracy", "0.30", "--format", "json")
    assert (outcome.status, json.loads(outcome.out)["verdict"]) == (0, "pass")


def test_a_model_below_the_floor_fails(attack: Command) -> None:
    outcome = attack("--attack", "fgsm,pgd", "--steps", "5", "--min-accuracy", "0.95")
    assert outcome.status == 1
    assert "gate: fail" in outcome.out
    assert "worst case" in outcome.out


def test_an_unsettled_floor_is_no_pass(attack: Command) -> None:
    measured = json.loads(attack("--attack", "fgsm", "--format", "json").out)["worst"]["accuracy"]
    outcome = attack("--attack", "fgsm", "--min-accuracy", f"{measured:.4f}", "--format", "json")
    assert (outcome.status, json.loads(outcome.out)["verdict"]) == (1, "inconclusive")


def test_a_failed_gate_reaches_sarif_and_junit(attack: Command) -> None:
    words = ("--attack", "fgsm", "--min-accuracy", "0.95", "--format")
    sarif = attack(*words, "sarif")
    assert sarif.status == 1
    assert json.loads(sarif.out)["runs"][0]["results"][0]["ruleId"] == "robustness-fail"
    junit = ET.fromstring(attack(*words, "junit").out)  # noqa: S314 - our own output
    assert junit.get("failures") == "1"
    held = ("--attack", "fgsm", "--min-accuracy", "0.3", "--min-clean", "0.3", "--format")
    suites = ET.fromstring(attack(*held, "junit").out)  # noqa: S314 - our own output
    assert (suites.get("tests"), suites.get("failures")) == ("2", "0")
    assert "against a floor of 0.300: pass" in "".join(suites.itertext())
    assert json.loads(attack(*held, "sarif").out)["runs"][0]["results"] == []


def test_other_floors_gate_too(attack: Command) -> None:
    named = ("--attack", "fgsm,pgd", "--steps", "5", "--format", "json")
    assert attack(*named, "--min-clean", "0.3", "--floor", "pgd=0.2").status == 0
    assert attack(*named, "--floor", "fgsm=0.99").status == 1
    assert attack(*named, "--min-clean", "1").status == 1
    absent = attack(*named, "--floor", "apgd=0.1")
    assert (absent.status, json.loads(absent.out)["verdict"]) == (1, "inconclusive")


def test_a_model_is_held_against_the_report_of_the_one_it_replaces(
    attack: Command, release: Release
) -> None:
    named = ("--attack", "fgsm", "--format", "json")
    earlier = release.folder / "earlier.json"
    earlier.write_text(attack(*named).out)
    same = attack(*named, "--earlier", earlier, "--max-drop", "0.05")
    assert (same.status, json.loads(same.out)["verdict"]) == (0, "pass")
    better = json.loads(earlier.read_text())
    for figure in (better["clean"], better["worst"], better["attacks"][0]):
        figure.update(accuracy=1.0, interval=list(clopper_pearson(100, 100)))
        del figure["correct"]
    earlier.write_text(json.dumps(better))
    out = release.folder / "out"
    worse = attack("--attack", "fgsm", "--earlier", earlier, "--out", out)
    assert "The earlier model had 100.0" in (out / "robustness.html").read_text()
    assert worse.status == 1
    assert "change since the earlier report" in worse.out


def test_the_figures_are_written_and_signed_with_the_model(
    attack: Command, command: Command, release: Release
) -> None:
    out = release.folder / "out"
    assert attack("--attack", "fgsm", "--min-accuracy", "0.3", "--out", out).status == 0
    written = json.loads((out / "robustness.json").read_text())
    assert written["verdict"] == "pass"
    assert "<svg" in (out / "robustness.html").read_text()
    assert "Accuracy by class" in (out / "classes.svg").read_text()
    attested = out / "attestation.json"
    words = ("sign", release.model, "--key", release.key, "--statement", attested)
    refused = command(*words)  # another key signed: nothing is dropped in silence
    assert refused.status == 2
    assert "--replace" in refused.said
    assert command(*words, "--replace").status == 0
    verified = verify(release.model, policy=TrustPolicy(keys=[release.public]))
    claims = {each.predicate_type: each for each in verified.statements}
    assert claims[ROBUSTNESS_PREDICATE].predicate == written


def test_a_profile_chooses_attacks_and_steps(attack: Command) -> None:
    value = json.loads(attack("--profile", "quick", "--format", "json").out)
    assert [a["name"] for a in value["attacks"]] == ["fgsm", "pgd"]
    assert value["attacks"][1]["params"]["steps"] == 10
    value = json.loads(attack("--steps", "2", "--format", "json").out)
    assert [(a["name"], a["params"]["steps"]) for a in value["attacks"]] == [
        ("apgd-ce", 2),
        ("apgd-t", 2),
    ]


def test_every_attack_can_be_named(attack: Command) -> None:
    named = "pgd-l2,square,hopskipjump,noise"
    outcome = attack("--attack", named, "--steps", "2", "--queries", "20", "--format", "json")
    assert [a["name"] for a in json.loads(outcome.out)["attacks"]] == named.split(",")


def test_an_untrusted_or_tampered_model_is_refused(attack: Command, release: Release) -> None:
    stranger = attack("--attack", "fgsm", key=release.stranger)
    assert stranger.status == 1
    assert "UntrustedSigner" in stranger.said
    tamper(release.model / "model.safetensors")
    assert "DigestMismatch" in attack("--attack", "fgsm").said


def test_an_onnx_model_is_attacked_by_its_scores(command: Command, release: Release) -> None:
    import onnx  # noqa: PLC0415 - one test needs it
    from safetensors.numpy import load_file  # noqa: PLC0415 - as above

    weight = load_file(release.model / "model.safetensors")["weight"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["z"])],
        "linear",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 64])],
        [onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["n", 10])],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(weight.T), "w")],
    )
    opset = onnx.helper.make_opsetid("", 17)
    made = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    model = release.folder / "model.onnx"
    onnx.save(made, model)
    assert command("sign", model, "--key", release.key).status == 0
    words = (
        "attack", "--model", model, "--data", release.data, "--key", release.public,
        "--eps", "0.05", "--queries", "20", "--format", "json",
    )  # fmt: skip
    outcome = command(*words)
    assert outcome.status == 0
    assert [a["name"] for a in json.loads(outcome.out)["attacks"]] == ["square"]
    refused = command(*words, "--attack", "fgsm")
    assert refused.status == 2
    assert "needs gradients" in refused.said


def softmax_server(release: Release) -> Any:
    from safetensors.numpy import load_file  # noqa: PLC0415 - one test needs it

    weight = load_file(release.model / "model.safetensors")["weight"]

    def predict(x: NDArray[np.float32]) -> NDArray[np.float32]:
        scores = np.exp(x @ weight.T - (x @ weight.T).max(axis=1, keepdims=True))
        return scores / scores.sum(axis=1, keepdims=True)

    return served(predict)


def test_a_served_model_is_attacked_by_its_answers(
    command: Command, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "Bearer s3cret")
    with softmax_server(release) as server:
        words = (
            "attack", "--endpoint", f"{server.url}?key=s3cret", "--data", release.data,
            "--eps", "0.05", "--queries", "20", "--journal", release.folder / "paid.jsonl",
            "--header-env", "authorization=TOKEN", "--format", "json", "--min-accuracy", "0.1",
        )  # fmt: skip
        first = command(*words)
        asked = len(server.bodies)
        value = json.loads(first.out)
        assert value["model_digest"] is None
        assert [a["name"] for a in value["attacks"]] == ["square"]
        assert value["attacks"][0]["params"]["queries"] == 20
        assert server.headers[0]["authorization"] == "Bearer s3cret"
        assert command(*words) == first
        assert len(server.bodies) == asked
        text = command(*words[:-4])
        assert "s3cret" not in text.out + text.err


def test_an_endpoint_that_cannot_be_asked_is_wrong_use(command: Command, release: Release) -> None:
    with softmax_server(release) as server:
        gone = server.url
    named = ("attack", "--data", release.data, "--eps", "0.1")
    for words, told in (
        (("--endpoint", gone), "cannot be reached"),
        (("--endpoint", "http://model.example/"), "not encrypted"),
        (("--endpoint", gone, "--header-env", "x=ABSENT_VARIABLE"), "ABSENT_VARIABLE"),
        (("--endpoint", gone, "--header-env", "x"), "HEADER=VARIABLE"),
        (("--endpoint", gone, "--scores", "labels"), "classes"),
        (("--endpoint", gone, "--model", release.model), "not allowed with"),
        ((), "--endpoint"),
    ):
        outcome = command(*named, *words)
        assert outcome.status == 2, words
        assert told in outcome.said


def test_wrong_use_is_told_apart(attack: Command, release: Release) -> None:
    np.savez(release.folder / "no-y.npz", x=np.zeros((5, 64)))
    np.savez(release.folder / "big.npz", x=np.full((5, 64), 7.0), y=np.zeros(5, int))
    (release.folder / "list.json").write_text("[]")
    np.savez(release.folder / "wide.npz", x=np.zeros((5, 65)), y=np.zeros(5, int))
    for words, told in (
        (("--attack", "voodoo"), "voodoo"),
        (("--attack", ""), "unknown attack"),
        (("--data", release.folder / "absent.npz"), "absent.npz"),
        (("--data", release.folder / "no-y.npz"), "no-y.npz"),
        (("--data", release.folder / "big.npz"), "bounds"),
        (("--data", release.folder / "wide.npz"), "65"),
        (("--model", release.folder / "absent"), "absent"),
        (("--eps", "-1"), "eps"),
        (("--eps", "8/0"), "8/255"),
        (("--eps", "1e999/2"), "8/255"),
        (("--output", "probability"), "one column"),
        (("--steps", "0"), "steps"),
        (("--min-accuracy", "70"), "share"),
        (("--bounds", "1", "0"), "bounds"),
        (("--floor", "pgd"), "--floor"),
        (("--floor", "pgd=much"), "--floor"),
        (("--floor", "pgd=2"), "share"),
        (("--max-drop", "-1", "--min-accuracy", "0"), "share"),
        (("--earlier", release.folder / "absent.json"), "absent.json"),
        (("--earlier", release.folder / "list.json"), "robustness report"),
        (("--out", release.folder / "list.json"), "list.json"),
        (("--arch", "nets:absent"), "absent"),
        (("--policy", release.folder / "trust.toml"), "--policy"),
    ):
        outcome = attack("--profile", "quick", *words)
        assert outcome.status == 2, words
        assert told in outcome.said


def test_tensors_without_an_architecture_are_wrong_use(command: Command, release: Release) -> None:
    outcome = command(
        "attack", "--model", release.model, "--data", release.data, "--key", release.public,
        "--eps", "0.1",
    )  # fmt: skip
    assert outcome.status == 2
    assert "--arch" in outcome.said


def test_an_attack_writes_nothing_but_its_result_into_a_pipe(attack: Command) -> None:
    assert attack("--attack", "fgsm").err == ""


def test_a_second_list_of_attacks_does_not_replace_the_first_unseen(attack: Command) -> None:
    outcome = attack("--attack", "pgd", "--attack", "fgsm", "--min-accuracy", "0.1")
    assert outcome.status == 2
    assert "--attack" in outcome.said


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Rows with a number that decides, one that does not, and a name; a model and values of it."""
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({
        "age": rng.uniform(18, 90, 120).round(1),
        "income": rng.uniform(0, 200, 120).round(1),
        "job": rng.choice(["clerk", "nurse"], 120),
    })  # fmt: skip
    frame["loan"] = np.where(frame["income"] > 100, "yes", "no")
    frame["sum"] = frame["income"] * 2
    steps = ColumnTransformer([
        ("numbers", "passthrough", ["age", "income"]), ("names", OneHotEncoder(), ["job"]),
    ])  # fmt: skip
    inputs = frame[["age", "income", "job"]]
    models = {
        "loan": make_pipeline(steps, LogisticRegression(max_iter=2000)).fit(inputs, frame["loan"]),
        "sum": make_pipeline(steps, LinearRegression()).fit(inputs, frame["sum"]),
    }
    signer = Signer.generate("p256")
    (folder / "key.pem").write_text(signer.public_key.pem)
    for name, model in models.items():
        (folder / f"{name}.skops").write_bytes(skops.dumps(model))
        sign(folder / f"{name}.skops", signer)
        frame[[*inputs, name]].to_csv(folder / f"{name}.csv", index=False)
    return folder, models, frame


def test_a_table_is_attacked_by_column_name(command: Command, table: Any) -> None:
    folder, models, frame = table

    def run(*words: object) -> Any:
        named = ("--model", folder / "loan.skops", "--data", folder / "loan.csv")
        effort = ("--key", folder / "key.pem", "--eps", "0.1", "--queries", "40")
        return command("attack", *named, *effort, *words)

    inputs = frame[["age", "income", "job"]]
    clean = float((models["loan"].predict(inputs) == frame["loan"]).mean())
    found = {}
    for columns in ("age=20,job", "income=20"):
        outcome = run("--label", "loan", "--columns", columns, "--format", "json")
        found[columns] = json.loads(outcome.out)
        assert found[columns]["clean"]["accuracy"] == pytest.approx(clean)
    near = (frame["income"] - 100).abs()
    assert found["age=20,job"]["worst"]["accuracy"] > 0.9
    assert found["income=20"]["worst"]["accuracy"] == pytest.approx((near > 20).mean(), abs=0.05)
    for words, message in (
        ((), "(age, income, job, loan), got none; name the one with the answers"),
        (("--label", "credit"), "(age, income, job, loan), got credit"),
        (("--label", "loan", "--columns", "wages=3"), "wages"),
    ):
        outcome = run(*words)
        assert outcome.status == 2
        assert message in outcome.said


def test_a_regression_is_right_within_its_tolerance(command: Command, table: Any) -> None:
    folder, _, frame = table
    named = ("--model", folder / "sum.skops", "--data", folder / "sum.csv", "--label", "sum")
    words = ("--key", folder / "key.pem", "--eps", "0.1", "--queries", "40", "--format", "json")
    out = folder / "out"
    for radius, share in ((4, 1.0), (6, 0.0)):  # income moves by it, and the sum by twice as much
        columns = ("--columns", f"income={radius}", "--tolerance", 10, "--out", out)
        value = json.loads(command("attack", *named, *words, *columns).out)
        assert value["clean"]["accuracy"] == 1
        assert value["worst"]["accuracy"] == share
        assert value["n"] == len(frame)
    assert not (out / "classes.svg").exists()


@pytest.fixture(scope="module")
def boosters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """XGBoost's own files, signed: classes and a regression, with rows as table and as arrays."""
    folder = tmp_path_factory.mktemp("boosters")
    rng = np.random.default_rng(0)
    x = rng.random((200, 3)).astype(np.float32)
    values = np.exp(2 * x[:, 0] - x[:, 1])
    answers = {"classes": (values > 1).astype(int), "values": values}
    models = {
        "classes": xgboost.XGBClassifier(n_estimators=5, max_depth=2),
        "values": xgboost.XGBRegressor(n_estimators=5, max_depth=2, objective="count:poisson"),
    }
    signer = Signer.generate("p256")
    (folder / "key.pem").write_text(signer.public_key.pem)
    for name, model in models.items():
        model.fit(x, answers[name]).save_model(folder / f"{name}.json")
        sign(folder / f"{name}.json", signer)
        np.savez(folder / f"{name}.npz", x=x, y=answers[name])
        table = pd.DataFrame(x, columns=["a", "b", "c"]).assign(y=answers[name])
        table.to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.mark.parametrize("samples", [["npz"], ["csv", "--label", "y"]], ids=["arrays", "table"])
@pytest.mark.parametrize("name", ["classes", "values"])
def test_trees_of_a_file_are_certified_whatever_the_samples_are(
    command: Command, boosters: Path, name: str, samples: list[str]
) -> None:
    suffix, *label = samples
    tolerance = ["--tolerance", "0.8"] if name == "values" else []
    outcome = command(
        "attack", "--model", boosters / f"{name}.json", "--data", boosters / f"{name}.{suffix}",
        *label, *tolerance, "--key", boosters / "key.pem", "--eps", "0.02", "--queries", "10",
    )  # fmt: skip
    assert outcome.status == 0, outcome.said
    rows = {line.split()[0]: line for line in outcome.out.splitlines() if line.startswith("  ")}
    assert {"clean", "square", "trees", "worst", "certified"} <= rows.keys()
    assert rows["trees"].split()[1] == rows["certified"].split()[1]


def test_classes_with_names_have_a_picture(command: Command, table: Any) -> None:
    folder, _, _ = table
    out = folder / "named"
    outcome = command(
        "attack", "--model", folder / "loan.skops", "--data", folder / "loan.csv", "--label",
        "loan", "--key", folder / "key.pem", "--eps", "0.1", "--queries", "5", "--out", out,
    )  # fmt: skip
    assert outcome.status == 0, outcome.said
    picture = (out / "classes.svg").read_text()
    assert all(name in picture for name in ("yes", "no"))


def test_columns_of_an_array_have_numbers(attack: Command) -> None:
    words = ("--attack", "fgsm", "--format", "json")
    free = json.loads(attack(*words).out)["worst"]["accuracy"]
    bound = json.loads(attack(*words, "--columns", "0=0.05").out)
    assert bound["worst"]["accuracy"] > free
    assert "expected NUMBER=EPS" in attack("--columns", "age=3").said
    assert "expected NAME=EPS" in attack("--columns", "=3").said
