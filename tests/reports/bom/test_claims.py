"""Claims of a bill against the provenance that was signed with the model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mlsecops import verify_bom
from mlsecops.reports import BomReport
from tests.reports.releases import Release

Bill = dict[str, Any]


def judged(release: Release, bill: Bill) -> BomReport:
    return verify_bom(
        bill, model=release.folder, datasets={"train": release.data}, verified=release.verified
    )


def libraries(bill: Bill) -> list[Bill]:
    return [each for each in bill["components"] if each["type"] == "library"]


def workflow(bill: Bill) -> Bill:
    found: Bill = bill["formulation"][0]["workflows"][0]
    return found


def parameters(bill: Bill) -> list[Bill]:
    return next(each["parameters"] for each in workflow(bill)["inputs"] if "parameters" in each)


def fact(bill: Bill, name: str) -> Bill:
    rows = workflow(bill)["properties"]
    return next(each for each in rows if each["name"] == f"mlsecops:provenance:{name}")


def renamed(bill: Bill, old: str, new: str) -> None:
    """Rename a reference everywhere."""
    for row in bill["dependencies"]:
        row["ref"] = new if row["ref"] == old else row["ref"]
        if "dependsOn" in row:
            row["dependsOn"] = [new if each == old else each for each in row["dependsOn"]]


def dropped_package(bill: Bill, index: int) -> None:
    gone = libraries(bill)[index]["bom-ref"]
    bill["components"] = [each for each in bill["components"] if each["bom-ref"] != gone]
    bill["dependencies"] = [row for row in bill["dependencies"] if row["ref"] != gone]
    for row in bill["dependencies"]:
        if "dependsOn" in row:
            row["dependsOn"] = [each for each in row["dependsOn"] if each != gone]


def other_version(bill: Bill, index: int, version: str) -> None:
    each = libraries(bill)[index]
    purl = f"{each['purl'].rpartition('@')[0]}@{version}"
    renamed(bill, each["bom-ref"], purl)
    each.update({"version": version, "purl": purl, "bom-ref": purl})


def other_name(bill: Bill, index: int, name: str) -> None:
    each = libraries(bill)[index]
    purl = f"pkg:pypi/{name}@{each['version']}"
    renamed(bill, each["bom-ref"], purl)
    each.update({"name": name, "purl": purl, "bom-ref": purl})


def added_package(bill: Bill, name: str) -> None:
    purl = f"pkg:pypi/{name}@1.0"
    library = {"type": "library", "bom-ref": purl, "name": name, "version": "1.0", "purl": purl}
    bill["components"].append(library)
    bill["dependencies"].append({"ref": purl})


def other_license(bill: Bill, index: int, choice: Bill) -> None:
    libraries(bill)[index]["licenses"] = [choice]


def no_edge(bill: Bill) -> None:
    for row in bill["dependencies"]:
        if row["ref"].startswith("pkg:"):
            row.pop("dependsOn", None)


def added_edge(bill: Bill) -> None:
    numpy, torch = (each["bom-ref"] for each in libraries(bill))
    next(row for row in bill["dependencies"] if row["ref"] == numpy)["dependsOn"] = [torch]


def other_record(bill: Bill) -> None:
    libraries(bill)[0]["properties"][0]["value"] = "00" * 31 + "01"


def dropped_data(bill: Bill) -> None:
    bill["components"] = [each for each in bill["components"] if each["type"] != "data"]
    for row in bill["dependencies"]:
        if "dependsOn" in row:
            row["dependsOn"] = [each for each in row["dependsOn"] if not each.startswith("data:")]
    bill["dependencies"] = [r for r in bill["dependencies"] if not r["ref"].startswith("data:")]
    bill["components"][0]["modelCard"]["modelParameters"]["datasets"] = []
    workflow(bill)["inputs"] = [each for each in workflow(bill)["inputs"] if "resource" not in each]


def added_data(bill: Bill, number: int) -> None:
    digest = {"alg": "SHA-256", "content": f"{number + 1:064x}"}
    data = {"type": "data", "bom-ref": f"data:extra{number}", "name": f"extra{number}"}
    bill["components"].append({**data, "hashes": [digest]})


Change = Callable[[Bill], None]


def forged_packages() -> Iterator[tuple[str, Change]]:
    for index in (0, 1):
        yield f"package {index} dropped", lambda b, i=index: dropped_package(b, i)
        for minor in range(25):
            version = f"9.{minor}.1"
            yield (
                f"package {index} is {version}",
                lambda b, i=index, v=version: other_version(b, i, v),
            )
        for name in ("nunpy", "torchh", "numpy-nightly", "requests", "evil"):
            yield f"package {index} is {name}", lambda b, i=index, n=name: other_name(b, i, n)
        for spdx in ("MIT", "GPL-3.0-only", "Apache-2.0", "ISC", "Unlicense"):
            choice = {"license": {"id": spdx}}
            yield f"licence {index} is {spdx}", lambda b, i=index, c=choice: other_license(b, i, c)
    for number in range(20):
        yield f"package {number} added", lambda b, n=number: added_package(b, f"extra{n}")
        yield f"data set {number} added", lambda b, n=number: added_data(b, n)
    yield "edge dropped", no_edge
    yield "edge added", added_edge
    yield "record of a package", other_record
    yield "data set dropped", dropped_data


def forged_hyperparameters() -> Iterator[tuple[str, Change]]:
    for index in (0, 1):
        for value in ("0.5", "0.1000001", "1e9", "", "null", "true", "-0.1", "10", "[redacted]"):
            yield (
                f"hyperparameter {index} is {value!r}",
                lambda b, i=index, v=value: parameters(b)[i].update(value=v),
            )
        yield f"hyperparameter {index} dropped", lambda b, i=index: parameters(b).pop(i)
        yield (
            f"hyperparameter {index} renamed",
            lambda b, i=index: parameters(b)[i].update(name="x"),
        )
    for number in range(15):
        yield (
            f"hyperparameter {number} added",
            lambda b, n=number: parameters(b).append({"name": f"h{n}", "value": str(n)}),
        )
    yield "hyperparameter twice", lambda b: parameters(b).append({"name": "lr", "value": "0.2"})


def forged_runs() -> Iterator[tuple[str, Change]]:
    for key in ("name", "uid", "timeStart", "timeEnd"):
        yield f"run's {key}", lambda b, k=key: workflow(b).update({k: "2020-01-01T00:00:00Z"})
        if key.startswith("time"):
            yield f"run's {key} dropped", lambda b, k=key: workflow(b).pop(k)
    for number in range(20):
        commit = f"{number:040x}"
        yield f"commit {number}", lambda b, c=commit: set_fact(b, "code:commit", c)
        yield f"builder {number}", lambda b, n=number: fact(b, "builder").update(value=f"urn:b{n}")
    for value in ("false", "True", ""):
        yield f"dirty is {value!r}", lambda b, v=value: set_fact(b, "code:dirty", v or "no")


def set_fact(bill: Bill, name: str, value: str) -> None:
    rows = workflow(bill)["properties"]
    rows[:] = [each for each in rows if each["name"] != f"mlsecops:provenance:{name}"]
    rows.append({"name": f"mlsecops:provenance:{name}", "value": f"forged {value}"})


FORGERIES = dict([*forged_packages(), *forged_hyperparameters(), *forged_runs()])


def test_there_are_at_least_two_hundred_forgeries() -> None:
    assert len(FORGERIES) >= 200


def test_an_honest_bill_is_verified_against_the_signed_provenance(release: Release) -> None:
    report = judged(release, release.bom(packages=None))
    assert report.findings == ()
    states = {each.name: each.state.value for each in report.fields}
    for name in ("packages", "packages.licenses", "packages.dependencies", "datasets",
                 "training-run", "hyperparameters"):  # fmt: skip
        assert states[f"provenance.{name}"] == "verified", name


def test_every_forgery_of_what_was_signed_is_found(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the lint, which finds some of them as well and validates the schema each time.
    monkeypatch.setattr("mlsecops.reports.bom.verify.lint_bom", lambda *_, **__: [])
    honest = release.bom(packages=None)
    missed = []
    for name, change in FORGERIES.items():
        bill = copy.deepcopy(honest)
        change(bill)
        report = judged(release, bill)
        if report.holds or report.score:
            missed.append(name)
    assert missed == []


@pytest.mark.parametrize(
    ("change", "rule", "word"),
    [
        (lambda b: dropped_package(b, 0), "package-unlisted", "numpy"),
        (lambda b: other_version(b, 1, "2.12"), "package-mismatch", "2.12"),
        (lambda b: added_package(b, "left-pad"), "package-unsigned", "left-pad"),
        (lambda b: other_license(b, 0, {"license": {"id": "MIT"}}), "license-mismatch", "numpy"),
        (no_edge, "dependency-mismatch", "torch"),
        (lambda b: added_data(b, 4), "dataset-unsigned", "extra4"),
        (lambda b: parameters(b)[0].update(value="7"), "hyperparameter-mismatch", "epochs"),
    ],
)  # fmt: skip
def test_a_difference_names_its_kind_and_the_culprit(
    release: Release, change: Change, rule: str, word: str
) -> None:
    bill = release.bom(packages=None)
    change(bill)
    found = {each.rule: each.message for each in judged(release, bill).findings}
    assert word in found[rule]


def test_a_field_that_differs_is_not_verified(release: Release) -> None:
    bill = release.bom(packages=None)
    parameters(bill)[0].update(value="7")
    states = {each.name: each.state.value for each in judged(release, bill).fields}
    assert states["provenance.hyperparameters"] == "asserted"
