from __future__ import annotations

from typing import Any

import pytest

from mlsecops.provenance.distributions import packages
from mlsecops.reports.bom.licenses import is_expression, license_choices


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("MIT", {"license": {"id": "MIT"}}),
        ("mit license", {"license": {"id": "MIT"}}),
        ("Apache License, Version 2.0", {"license": {"id": "Apache-2.0"}}),
        ("BSD License", {"license": {"name": "BSD License"}}),
        ("apache-2.0", {"license": {"id": "Apache-2.0"}}),
    ],
)
def test_a_licence_is_an_identifier_where_it_means_only_one(
    text: str, choice: dict[str, Any]
) -> None:
    [found] = license_choices([text])
    assert found == {"license": {**choice["license"], "acknowledgement": "declared"}}


def test_a_compound_licence_is_an_expression() -> None:
    [found] = license_choices(["MIT AND (Apache-2.0 OR BSD-2-Clause)"])
    assert found["expression"] == "MIT AND (Apache-2.0 OR BSD-2-Clause)"


@pytest.mark.parametrize("text", ["MIT OR (", "MIT AND", "Foo-1.0", "(" * 5000, ") MIT", "OR"])
def test_what_does_not_parse_is_no_expression(text: str) -> None:
    assert not is_expression(text)


def test_a_custom_licence_may_be_referred_to() -> None:
    assert is_expression("LicenseRef-ours OR MIT")


def test_most_packages_of_this_environment_state_a_licence() -> None:
    listed = packages()
    stated = [each for each in listed if license_choices(each["annotations"].get("licenses", ()))]
    assert len(stated) >= 0.95 * len(listed)
