"""Manifests of the serving page: well-formed, closed in themselves, with commands that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlsecops.cli.main import read_command

yaml = pytest.importorskip("yaml")
PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]
    return spec.get("template", {}).get("spec") or spec.get("predictor") or spec


def containers_of(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from (*pod.get("initContainers", ()), *pod.get("containers", ()))


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_manifest_is_whole(number: int) -> None:
    (manifest,) = yaml.safe_load_all(BLOCKS[number])
    assert {"apiVersion", "kind", "metadata", "spec"} <= manifest.keys()
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", manifest["metadata"]["name"])
    pod = pod_of(manifest)
    volumes = {volume["name"] for volume in pod["volumes"]}
    names = [container["name"] for container in containers_of(pod)]
    assert len(names) == len(set(names)) >= 2
    for container in containers_of(pod):
        assert re.search(r":[\w.-]*\d", container["image"]), "an image has a version"
        for mount in container["volumeMounts"]:
            assert mount["name"] in volumes
            assert mount.get("readOnly") or mount["name"] == "ready"


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_commands_of_a_manifest_exist_and_mount_what_they_read(number: int) -> None:
    (manifest,) = yaml.safe_load_all(BLOCKS[number])
    seen = []
    for container in containers_of(pod_of(manifest)):
        words = container.get("command", [])
        if words[:1] != ["mlsecops"]:
            continue
        seen.append(words[1])
        _, parser = read_command(words[1])
        options = parser.parse_args([str(word) for word in words[2:]])
        places = [str(mount["mountPath"]) for mount in container["volumeMounts"]]
        read = [
            options.policy,
            getattr(options, "path", None),
            getattr(options, "ready_file", None),
        ]
        for path in filter(None, read):
            assert any(str(path).startswith(place) for place in places), path
        if words[1] == "watch":
            assert container["readinessProbe"]["httpGet"] == {
                "path": "/readyz",
                "port": options.port,
            }
            assert options.host == "0.0.0.0"  # noqa: S104 - the kubelet asks from outside of the pod
        if words[1] == "verify":
            assert options.wait > 0
    assert "watch" in seen
    assert "verify" in seen


def test_each_server_of_the_page_has_a_manifest() -> None:
    assert len(BLOCKS) == 4
    text = PAGE.read_text("utf-8")
    assert all(f"### {name}" in text for name in ("Triton", "KServe", "TorchServe", "MLServer"))
