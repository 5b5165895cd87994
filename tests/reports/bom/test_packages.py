from __future__ import annotations

from importlib import metadata

import pytest

from mlsecops.errors import UsageError
from mlsecops.provenance.distributions import normalized
from mlsecops.reports import lint_bom
from tests.reports.releases import Release


def test_qualifiers_and_namespaces_of_package_urls_are_kept(release: Release) -> None:
    uris = ["pkg:conda/foo@1?build=py_0", "pkg:npm/%40scope/bar@2", "pkg:pypi/x"]
    bom = release.bom(statements=(), packages=[{"uri": uri} for uri in uris])
    found = {
        each["purl"]: (each.get("group"), each["name"])
        for each in bom["components"]
        if each["type"] == "library"
    }
    assert found["pkg:conda/foo@1?build=py_0"] == (None, "foo")
    assert found["pkg:npm/%40scope/bar@2"] == ("@scope", "bar")
    assert found["pkg:pypi/x"] == (None, "x")
    assert lint_bom(bom) == []


@pytest.mark.parametrize("uri", ["pkg:", "pkg:pypi", "pkg:pypi/", "pkg://@@"])
def test_what_is_no_package_url_is_refused_by_name(release: Release, uri: str) -> None:
    with pytest.raises(UsageError, match="pkg:"):
        release.bom(statements=(), packages=[{"uri": uri}])


def test_the_graph_of_this_environment_has_the_edges_that_are_declared(release: Release) -> None:
    bom = release.bom(statements=(), packages=None)
    assert lint_bom(bom) == []
    edges = {row["ref"]: row.get("dependsOn", []) for row in bom["dependencies"]}
    name_of = {each["bom-ref"]: each["name"] for each in bom["components"]}
    [pytest_itself] = [reference for reference in edges if name_of.get(reference) == "pytest"]
    required = {name_of[each] for each in edges[pytest_itself]}
    assert {"iniconfig", "packaging", "pluggy"} <= required
    assert "pytest" not in required


def test_a_licence_that_the_statement_leaves_out_is_that_of_this_environment(
    release: Release,
) -> None:
    version = metadata.version("pluggy")
    bom = release.bom(statements=(), packages=[{"uri": f"pkg:pypi/pluggy@{version}"}])
    [library] = [each for each in bom["components"] if each["type"] == "library"]
    assert library["licenses"][0]["license"]["id"] == "MIT"
    other = release.bom(statements=(), packages=[{"uri": "pkg:pypi/pluggy@0.0.1"}])
    [library] = [each for each in other["components"] if each["type"] == "library"]
    assert "licenses" not in library


@pytest.mark.parametrize("name", ["zope.interface", "Zope_Interface", "zope--interface"])
def test_names_are_compared_in_one_form(name: str) -> None:
    assert normalized(name) == "zope-interface"
