from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsecops.errors import IncidentError
from mlsecops.incident import Incident, Playbook
from tests.attackers.incident import edit_cacao

TEXT = Playbook.default("poisoned-model").to_cacao()


def action(playbook: dict[str, Any], place: int = 0) -> dict[str, Any]:
    steps = [step for step in playbook["workflow"].values() if step["type"] == "action"]
    return dict.__getitem__({"step": steps[place]}, "step")


def test_a_playbook_survives_the_way_there_and_back() -> None:
    for kind in (None, "poisoned-model", "extraction", "adversarial", "prompt-injection"):
        playbook = Playbook.default(kind)  # type: ignore[arg-type] # a loop over the literals
        back = Playbook.from_cacao(playbook.to_cacao())
        assert back == playbook
        assert back.to_cacao() == playbook.to_cacao()


def test_it_is_a_cacao_playbook() -> None:
    playbook = json.loads(TEXT)
    assert (playbook["type"], playbook["spec_version"]) == ("playbook", "cacao-2.0")
    assert playbook["workflow"][playbook["workflow_start"]]["type"] == "start"
    kinds = [step["type"] for step in playbook["workflow"].values()]
    assert kinds == ["start", *["action"] * 7, "end"]


def _duplicate(playbook: dict[str, Any]) -> None:
    action(playbook, 1)["step_variables"] = action(playbook, 0)["step_variables"]


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda p: p.update(workflow_start="start--none"), "workflow_start"),
        (lambda p: p.pop("workflow_start"), "workflow_start"),
        (lambda p: action(p).update(on_completion="action--none"), "is no step"),
        (lambda p: action(p).pop("on_completion"), "is no step"),
        (lambda p: action(p).update(on_completion=["end"]), "is no step"),
        (lambda p: action(p).update(agent={}), "not defined"),
        (lambda p: action(p).update(type=[]), "not supported"),
        (lambda p: action(p).update(agent="organization--none"), "not defined"),
        (lambda p: action(p).update(on_failure="end--x"), "not supported"),
        (lambda p: action(p).update(type="if-condition"), "not supported"),
        (
            lambda p: action(p, 6).update(
                on_completion=p["workflow"][p["workflow_start"]]["on_completion"]
            ),
            "cycle",
        ),
        (lambda p: p["workflow"].update({"end--lost": {"type": "end"}}), "cannot be reached"),
        (lambda p: p.update(spec_version="cacao-1.1"), r"cacao-2\.0"),
        (lambda p: p.update(workflow=[]), "workflow"),
        (lambda p: p.pop("name"), "expected name to be text, got None"),
        (lambda p: action(p).update(name=""), "expected name to be text, got ''"),
        (lambda p: action(p).update(name=["rm"]), "expected name to be text"),
        (_duplicate, "unique names"),
    ],
)
def test_a_broken_playbook_is_refused(edit: Callable[[dict[str, Any]], object], says: str) -> None:
    with pytest.raises(IncidentError, match=says):
        Playbook.from_cacao(edit_cacao(TEXT, edit))


def test_a_repeated_key_is_refused() -> None:
    with pytest.raises(IncidentError, match="more than once"):
        Playbook.from_cacao(TEXT.replace("{", '{"type": "playbook",', 1))


@given(st.text(max_size=200))
def test_no_text_fails_in_another_way(text: str) -> None:
    with pytest.raises(IncidentError):
        Playbook.from_cacao(text)


def test_a_strange_step_is_left_to_people_and_needs_approval(incident: Incident) -> None:
    def strange(playbook: dict[str, Any]) -> None:
        step = action(playbook)
        step["name"] = "Run a script"
        step["commands"] = [{"type": "bash", "command": "rm -rf /"}]
        step["step_variables"] = {}

    playbook = Playbook.from_cacao(edit_cacao(TEXT, strange))
    assert (playbook.steps[0].action, playbook.steps[0].approval) == ("manual", "required")
    playbook.run(incident)
    assert (incident.steps[0].name, incident.steps[0].state) == ("Run a script", "waiting")
    playbook.run(incident, approve=lambda _step: True)
    assert incident.steps[0].state == "manual"


@pytest.mark.parametrize(
    ("commands", "instructions"),
    [
        ([{"command": "Call Ada."}, 7, {"type": "bash"}, {"command": "Block it."}],
         "Call Ada.\n\nBlock it."),
        ([], "Isolate the model"),
        ("rm -rf /", "Isolate the model"),
        (None, "Isolate the model"),
    ],
)  # fmt: skip
def test_a_step_without_a_description_is_told_by_its_commands_or_name(
    commands: object, instructions: str
) -> None:
    def edit(playbook: dict[str, Any]) -> None:
        step = action(playbook)
        step["name"] = "Isolate the model"
        step["commands"] = commands
        del step["description"]

    assert Playbook.from_cacao(edit_cacao(TEXT, edit)).steps[0].instructions == instructions


@pytest.mark.parametrize("labels", [[], None, "extraction", [7], ["flood"]])
def test_a_label_that_is_no_kind_leaves_the_kind_to_the_incident(labels: object) -> None:
    text = edit_cacao(TEXT, lambda playbook: playbook.update(labels=labels))
    assert Playbook.from_cacao(text).kind is None
