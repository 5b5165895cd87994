from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsecops.access import (
    AccessPolicy,
    Decision,
    Rule,
    acting_as,
    audit_permissions,
    current_subject,
    requires,
)
from mlsecops.audit import AuditLog
from mlsecops.errors import AccessDenied, UsageError
from mlsecops.signing import Signer

TOML = """
[[rules]]
subject = "team/*"
action = "dataset:read"
resource = "payments/*"
effect = "allow"

[[rules]]
subject = "team/mallory"
action = "*"
resource = "*"
effect = "deny"
"""
POLICY = AccessPolicy.parse(TOML)


@requires("dataset:read", resource=lambda name: f"payments/{name}", policy=POLICY)
def read(name: str) -> str:
    return f"rows of {name}"


def test_an_allowed_subject_reads() -> None:
    with acting_as("team/alice"):
        assert read("2024") == "rows of 2024"


@pytest.mark.parametrize(
    ("subject", "action", "resource"),
    [
        ("team/alice", "dataset:write", "payments/2024"),
        ("team/alice", "dataset:read", "salaries/2024"),
        ("bob", "dataset:read", "payments/2024"),
        ("", "dataset:read", "payments/2024"),
        ("team/mallory", "dataset:read", "payments/2024"),
        ("team/alice\n", "dataset:read", "payments"),
    ],
)
def test_what_no_rule_allows_is_denied(subject: str, action: str, resource: str) -> None:
    with pytest.raises(AccessDenied):
        POLICY.require(subject, action, resource)


def test_a_denial_outweighs_a_permission_in_either_order() -> None:
    rules = (
        Rule(subject="*", action="*", resource="*"),
        Rule(subject="eve", action="*", resource="*", effect="deny"),
    )
    for policy in (AccessPolicy(rules), AccessPolicy(reversed(rules))):
        assert not policy.decide("eve", "model:load", "m").allowed
        assert policy.decide("alice", "model:load", "m").allowed


@given(st.text(), st.text(), st.text())
def test_an_empty_policy_denies_everything(subject: str, action: str, resource: str) -> None:
    assert not AccessPolicy().decide(subject, action, resource).allowed


@given(st.text(min_size=1))
def test_a_pattern_without_a_star_matches_only_itself(name: str) -> None:
    policy = AccessPolicy([Rule(subject="a.b[c]", action="*", resource="*")])
    assert policy.decide(name, "x", "y").allowed == (name == "a.b[c]")


def test_nobody_may_act_outside_a_block() -> None:
    with acting_as("team/alice"):
        pass
    assert current_subject() == ""
    with pytest.raises(AccessDenied, match="nobody"):
        read("2024")


def test_an_async_function_is_guarded_too() -> None:
    @requires("dataset:read", resource="payments/2024", policy=POLICY)
    async def fetch() -> str:
        await asyncio.sleep(0)
        return "rows"

    async def both() -> None:
        with acting_as("team/alice"):
            assert await fetch() == "rows"
        with pytest.raises(AccessDenied):
            await fetch()

    asyncio.run(both())


def test_concurrent_tasks_keep_their_own_subject() -> None:
    async def act(subject: str) -> str:
        with acting_as(subject):
            await asyncio.sleep(0)
            return current_subject()

    async def both() -> list[str]:
        return list(await asyncio.gather(act("alice"), act("bob")))

    assert asyncio.run(both()) == ["alice", "bob"]


def test_an_error_while_deciding_is_a_denial() -> None:
    class BrokenRule(Rule):
        def covers(self, subject: str, action: str, resource: str) -> bool:
            raise RuntimeError(f"no decision for {subject} {action} {resource}")

    permit = Rule(subject="*", action="*", resource="*")
    broken = AccessPolicy([permit, BrokenRule(subject="*", action="*", resource="*")])
    assert not broken.decide("alice", "model:load", "m").allowed
    with acting_as("team/alice"), pytest.raises(AccessDenied, match="decision failed"):
        requires("a", resource=lambda: 1 / 0, policy=POLICY)(lambda: None)()  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("answer", ["false", "deny", 1, {"allowed": False}, [False], None])
def test_an_answer_of_a_service_that_is_not_true_is_a_denial(answer: Any) -> None:
    class Service:
        def decide(self, subject: str, action: str, resource: str, **_: Any) -> Decision:
            return Decision(
                allowed=answer, subject=subject, action=action, resource=resource, reason="said so"
            )

    @requires("dataset:read", resource="payments", subject="ann", policy=Service())
    def read() -> str:
        return "rows"

    with pytest.raises(AccessDenied, match="said so"):
        read()


def test_the_body_does_not_run_when_denied() -> None:
    ran: list[int] = []
    guarded = requires("a", resource="r", policy=POLICY)(lambda: ran.append(1))
    with pytest.raises(AccessDenied):
        guarded()
    assert not ran


def test_decisions_are_audited_and_an_unwritable_audit_denies(tmp_path: Path) -> None:
    signer = Signer.generate("ed25519")
    log = AuditLog(tmp_path / "access.sqlite", signer=signer)
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    everything = AccessPolicy([Rule(subject="*", action="*", resource="*")])

    def guard(audit: AuditLog) -> None:
        requires("a", resource="r", policy=everything, audit=audit, clock=lambda: moment)(
            lambda: None
        )()

    with acting_as("alice"):
        guard(log)
    with pytest.raises(AccessDenied):
        guard(log)
    assert [(event["subject"], event["allowed"]) for event in log.events()] == [
        ("alice", True),
        ("", False),
    ]
    with acting_as("alice"), pytest.raises(AccessDenied, match="decision failed"):
        guard(AuditLog(log.path, keys=[signer.public_key]))


@pytest.mark.parametrize(
    "text",
    [
        "rules = 3",
        "[[rules]]\nsubject = 'a'",
        "[[rules]]\nsubject='a'\naction='b'\nresource='c'\neffect='permit'",
        "[[rules]]\nsubject='a'\naction='b'\nresource='c'\neffect='allow'\nunless='d'",
        "[[rules]]\nsubject=1\naction='b'\nresource='c'\neffect='allow'",
        "[[rule]]\nsubject='a'",
        "not toml",
    ],
)
def test_a_malformed_policy_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        AccessPolicy.parse(text)


def test_a_missing_policy_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        AccessPolicy.load(tmp_path / "none.toml")


def test_loose_permissions_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir(mode=0o755)
    for name, mode in {"good": 0o644, "group": 0o664, "world": 0o666}.items():
        (folder / name).write_bytes(b"")
        (folder / name).chmod(mode)
    (folder / "link").symlink_to("good")
    found = {(finding.where, finding.rule) for finding in audit_permissions(folder)}
    assert found == {
        ("group", "group-writable"),
        ("world", "world-writable"),
        ("link", "symbolic-link"),
    }


def test_a_writable_folder_and_a_foreign_owner_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    folder.chmod(0o777)
    assert [finding.rule for finding in audit_permissions(folder)] == ["world-writable"]
    owner = folder.stat().st_uid
    rules = {finding.rule for finding in audit_permissions(folder, owner=owner + 1)}
    assert ("foreign-owner" in rules) == (owner != 0)


def test_without_owners_of_files_an_audit_is_refused_and_finds_not_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.getuid")  # as on Windows
    with pytest.raises(UsageError, match="expected owners and modes of files"):
        audit_permissions(tmp_path)


def test_nothing_to_audit_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected an existing file or folder"):
        audit_permissions(tmp_path / "none")


def test_the_policy_in_force_judges_functions_that_name_none() -> None:
    @requires("dataset:read", resource="digits")
    def read() -> str:
        return "rows"

    allowed = AccessPolicy([Rule(subject="alice", action="dataset:read", resource="digits")])
    with acting_as("alice", policy=allowed):
        assert read() == "rows"
        with acting_as("mallory"), pytest.raises(AccessDenied):
            read()
    with acting_as("alice"), pytest.raises(AccessDenied, match="policy: expected one"):
        read()


@pytest.mark.parametrize(
    "alias",
    [
        "m/secret\n",
        "m/./secret",
        "m/x/../secret",
        "m/secret\x00",
        "m/sec\u200bret",
        "m//secret",
        "/m/secret",
        "m/secret/",
        "m///secret//",
        "m\\secret",
        "m%2Fsecret",
        "m/%73ecret",
        "m/secret ",
        "m/ secret",
        "m/x/\uff0e\uff0e/secret",
        "m\uff0fsecret",
        "m/\u2024/secret",
    ],
)
def test_another_spelling_of_a_denied_resource_is_denied(alias: str) -> None:
    rules = AccessPolicy(
        [
            Rule(subject="alice", action="*", resource="**"),
            Rule(subject="*", action="*", resource="m/secret", effect="deny"),
        ]
    )
    assert rules.decide("alice", "model:load", "m/other").allowed
    assert not rules.decide("alice", "model:load", alias).allowed


@pytest.mark.parametrize("subject", ["team//eve", "/team/eve", "team/eve/", "team/\u2024/eve"])
def test_another_spelling_of_a_denied_subject_is_denied(subject: str) -> None:
    everybody = Rule(subject="**", action="*", resource="*")
    rules = AccessPolicy(
        [everybody, Rule(subject="team/eve", action="*", resource="*", effect="deny")]
    )
    assert rules.decide("team/ann", "read", "m").allowed
    assert not rules.decide(subject, "read", "m").allowed


def test_composed_and_decomposed_letters_are_one_name() -> None:
    everything = Rule(subject="*", action="*", resource="**")
    for denied, asked in (("caf\u00e9", "cafe\u0301"), ("cafe\u0301", "caf\u00e9")):
        rule = Rule(subject="*", action="*", resource=f"m/{denied}", effect="deny")
        assert not AccessPolicy([everything, rule]).decide("ann", "read", f"m/{asked}").allowed


def test_a_decision_names_the_resource_in_its_normal_form() -> None:
    decision = POLICY.decide("team//alice", "dataset:read", "payments//2024/")
    assert (decision.subject, decision.resource) == ("team/alice", "payments/2024")
    assert decision.allowed


@pytest.mark.parametrize("nobody", [None, 3, b"ann", ""])
def test_a_subject_that_is_no_text_is_denied(nobody: Any) -> None:
    everything = AccessPolicy([Rule(subject="*", action="*", resource="*")])
    assert not everything.decide(nobody, "read", "m").allowed


def test_a_single_file_is_audited(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(b"w")
    file.chmod(0o644)
    assert audit_permissions(file) == []


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: AccessPolicy("allow all"),  # type: ignore[arg-type] # on purpose
        lambda: AccessPolicy([{"subject": "ann"}]),  # type: ignore[list-item] # on purpose
        lambda: Rule(subject="a", action="b", resource="c", effect="permit"),  # type: ignore[arg-type] # on purpose
        lambda: requires("a", resource="b", policy="policy.toml"),  # type: ignore[arg-type] # on purpose
        lambda: requires("a", resource=3),  # type: ignore[arg-type] # on purpose
        lambda: requires("a", resource="b", audit="log"),  # type: ignore[arg-type] # on purpose
    ],
)
def test_wrong_arguments_of_access_are_wrong_use(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"^(rules|effect|policy|resource|audit): expected"):
        wrong()
