"""Lies in a bill of materials, an alert or a finding: each attack in a line or two."""

from __future__ import annotations

import copy
from typing import Any

Bom = dict[str, Any]

MARKUP = '"><script>alert(1)</script><img src=x onerror=alert(2)>\x00\x1b]]>&\u202egnp'
"""Text that leaves an attribute, an element and a CDATA section, and reverses what is read."""

SECRETS = {
    "AWS key": ("AKIA" + "Q" * 16, "Q" * 16),
    "GitHub token": ("ghp_" + "a1B2" * 9, "a1B2a1B2"),
    "Hugging Face token": ("hf_" + "Zx9" * 11, "Zx9Zx9"),
    "password in an address": ("https://bob:hunter2hunter2@models.invalid/m", "hunter2"),
    "private key": (
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\n-----END PRIVATE KEY-----",
        "MIIEvQ",
    ),
    "named secret": ("password=correcthorse", "correcthorse"),
}
"""Kind of secret → a text that holds one, and the part that must never be printed."""


def model_of(bom: Bom) -> dict[str, Any]:
    return next(each for each in bom["components"] if each["type"] == "machine-learning-model")


def dataset_of(bom: Bom) -> dict[str, Any]:
    return next(each for each in bom["components"] if each["type"] == "data")


def library_of(bom: Bom) -> dict[str, Any]:
    return next(each for each in bom["components"] if each["type"] == "library")


def dangling_dataset(bom: Bom) -> Bom:
    forged = copy.deepcopy(bom)
    parameters = model_of(forged)["modelCard"]["modelParameters"]
    parameters["datasets"].append({"ref": "data:elsewhere"})
    return forged


def dangling_dependency(bom: Bom) -> Bom:
    forged = copy.deepcopy(bom)
    forged["dependencies"][0]["dependsOn"].append("pkg:pypi/ghost@1.0")
    return forged


def dangling_formulation(bom: Bom) -> Bom:
    forged = copy.deepcopy(bom)
    outputs = forged["formulation"][0]["workflows"][0]["outputs"]
    outputs[0]["resource"]["ref"] = "model:another"
    return forged


def duplicate_reference(bom: Bom) -> Bom:
    forged = copy.deepcopy(bom)
    dataset_of(forged)["bom-ref"] = model_of(forged)["bom-ref"]
    return forged


def card_on_a_library(bom: Bom) -> Bom:
    forged = copy.deepcopy(bom)
    library_of(forged)["modelCard"] = {"modelParameters": {"task": "classification"}}
    return forged


def without_model_digest(bom: Bom) -> Bom:
    forged = copy.deepcopy(bom)
    del model_of(forged)["hashes"]
    return forged


def without_file_digest(bom: Bom) -> Bom:
    forged = copy.deepcopy(bom)
    model_of(forged)["components"][0]["hashes"] = []
    return forged


def weak_digest_only(bom: Bom) -> Bom:
    forged = copy.deepcopy(bom)
    model_of(forged)["hashes"] = [{"alg": "MD5", "content": "0" * 31 + "1"}]
    return forged


def digest_of_another_length(bom: Bom) -> Bom:
    forged = copy.deepcopy(bom)
    model_of(forged)["hashes"][0]["content"] = "ab" * 20
    return forged


def invalid_purl(bom: Bom) -> Bom:
    forged = copy.deepcopy(bom)
    library_of(forged)["purl"] = "pypi/numpy==1"
    return forged


def purl_of_another(bom: Bom) -> Bom:
    forged = copy.deepcopy(bom)
    library_of(forged)["purl"] = "pkg:pypi/evil@6.6.6"
    return forged


def without_model(bom: Bom) -> Bom:
    forged = copy.deepcopy(bom)
    model_of(forged)["type"] = "application"
    return forged


def secret_in_a_property(bom: Bom, secret: str) -> Bom:
    forged = copy.deepcopy(bom)
    model_of(forged)["properties"].append({"name": "note", "value": secret})
    return forged


def all_unknown(bom: Bom) -> Bom:
    """A bill in which every free field says a word and none says anything."""
    forged = copy.deepcopy(bom)
    model = model_of(forged)
    model.update(description="unknown", supplier={"name": "N/A"}, author="TBD")
    model["modelCard"]["modelParameters"].update(
        task="not specified", architectureFamily="unknown", modelArchitecture="-"
    )
    return forged


def edited_digest(bom: Bom) -> Bom:
    """Well formed, and about other bytes."""
    forged = copy.deepcopy(bom)
    for each in (model_of(forged), dataset_of(forged)):
        each["hashes"][0]["content"] = "cd" * 32
    return forged


def edited_property(bom: Bom) -> Bom:
    """The hash stays, the digest that people copy is another."""
    forged = copy.deepcopy(bom)
    for each in model_of(forged)["properties"]:
        if each["name"] == "mlsecops:digest":
            each["value"] = "sha256:" + "cd" * 32
    return forged


def prettier_accuracy(bom: Bom) -> Bom:
    forged = copy.deepcopy(bom)
    metrics = model_of(forged)["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    metrics[-1]["value"] = "0.990000"
    return forged


def measured_on_more(bom: Bom) -> Bom:
    forged = copy.deepcopy(bom)
    for each in model_of(forged)["modelCard"]["properties"]:
        if each["name"] == "mlsecops:robustness:n":
            each["value"] = "100000"
    return forged


def another_size(bom: Bom) -> Bom:
    forged = copy.deepcopy(bom)
    model_of(forged)["components"][0]["properties"][0]["value"] = "1"
    return forged


def another_signer(bom: Bom) -> Bom:
    forged = copy.deepcopy(bom)
    for each in model_of(forged)["properties"]:
        if each["name"] == "mlsecops:signer":
            each["value"] = "ee" * 32
    return forged


def another_statement(bom: Bom) -> Bom:
    forged = copy.deepcopy(bom)
    for each in forged["formulation"][0]["workflows"][0]["properties"]:
        if each["name"] == "mlsecops:provenance:statement":
            each["value"] = "sha256:" + "cd" * 32
    return forged
