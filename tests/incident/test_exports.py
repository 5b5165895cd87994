"""Exports of incidents: OCSF, STIX, ATLAS Navigator, TheHive and HTML."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from mlsecops.findings import Alert
from mlsecops.incident import Incident, Playbook
from mlsecops.incident.exports import to_html, to_navigator, to_ocsf, to_stix, to_thehive
from mlsecops.incident.guidance import KINDS, TECHNIQUES
from mlsecops.registry import Registry
from tests.incident.conftest import AT

HOSTILE = "<script>alert(1)</script> \"'&\u202e"


@pytest.fixture
def handled(alert: Alert, registry: Registry) -> Incident:
    incident = Incident.open(
        replace(alert, client=HOSTILE, message=HOSTILE), registry=registry, clock=lambda: AT
    )
    Playbook.default().run(incident)
    return incident


def test_ocsf_is_an_incident_finding(handled: Incident) -> None:
    event = json.loads(json.dumps(to_ocsf(handled)))
    assert (event["class_uid"], event["category_uid"], event["activity_id"]) == (2005, 2, 1)
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    assert (event["severity_id"], event["status_id"]) == (4, 2)
    (finding,) = event["finding_info_list"]
    assert (finding["uid"], event["metadata"]["uid"]) == (handled.id, handled.id)
    assert finding["attacks"][0]["technique"]["uid"] == "AML.T0024"
    assert [each["value"] for each in event["observables"]] == [str(handled.digest), HOSTILE]
    assert event["time"] == int(AT.timestamp() * 1000)


def test_stix_holds_together_and_names_no_client(handled: Incident) -> None:
    bundle = json.loads(json.dumps(to_stix(handled)))
    ids = {each["id"] for each in bundle["objects"]}
    assert len(ids) == len(bundle["objects"])
    kinds = [each["type"] for each in bundle["objects"]]
    assert kinds == [
        "identity", "incident", "attack-pattern", "relationship", "indicator", "relationship",
    ]  # fmt: skip
    for each in bundle["objects"]:
        assert re.fullmatch(
            each["type"] + r"--[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", each["id"]
        )
        refs = {value for key, value in each.items() if key.endswith("_ref")}
        assert refs <= ids
    assert str(handled.digest).partition(":")[2] in bundle["objects"][4]["pattern"]
    assert to_stix(handled) == bundle
    assert "alert(1)" not in json.dumps(bundle)


def test_the_fingerprint_of_a_key_is_no_digest_of_a_file(registry: Registry) -> None:
    digest = "sha256:" + "ab" * 32
    incident = Incident.report("leaked-key", digest=digest, message="m", registry=registry)
    assert "indicator" not in [each["type"] for each in to_stix(incident)["objects"]]


def test_the_navigator_counts_incidents_of_a_technique(
    handled: Incident, registry: Registry
) -> None:
    others = [Incident.report(kind, message="m", registry=registry) for kind in KINDS]
    layer = to_navigator([handled, *others])
    scores = {each["techniqueID"]: each["score"] for each in layer["techniques"]}
    expected = dict.fromkeys((TECHNIQUES[kind][0] for kind in KINDS), 1)
    assert scores == {**expected, "AML.T0024": 2}
    assert layer["gradient"]["maxValue"] == 2


def test_thehive_keeps_two_clients_apart_and_one_together(
    handled: Incident, alert: Alert, registry: Registry
) -> None:
    other = Incident.open(replace(alert, client="trudy"), registry=registry)
    refs = [to_thehive(each)["sourceRef"] for each in (handled, handled, other)]
    assert (refs[0] == refs[1], refs[1] == refs[2]) == (True, False)
    sent = to_thehive(handled)
    assert (sent["severity"], sent["date"]) == (3, int(AT.timestamp() * 1000))
    assert {each["dataType"] for each in sent["observables"]} == {"hash", "other"}


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, Any]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, attrs))


def test_the_page_escapes_what_clients_wrote_and_loads_nothing(handled: Incident) -> None:
    page = to_html(handled)
    tags = _Tags()
    tags.feed(page)
    allowed = {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "table",
        "tr",
        "th",
        "td",
    }
    assert {tag for tag, _ in tags.seen} <= allowed
    assert not any(
        name in {"src", "href", "onclick"} for _, attrs in tags.seen for name, _ in attrs
    )
    assert "&lt;script&gt;" in page
    for step in handled.steps:
        assert step.name in page
