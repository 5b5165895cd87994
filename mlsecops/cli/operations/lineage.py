"""Command `mlsecops lineage`: folders of bundles, a digest → what was made from it, or of what."""

from __future__ import annotations

import argparse
import json
from typing import Any, Final

from mlsecops.cli.options import add_format, option
from mlsecops.cli.signing.verify import add_trust, trust_from
from mlsecops.cli.terminal import plural, show, show_json
from mlsecops.cli.values import place
from mlsecops.provenance.digest import Digest
from mlsecops.provenance.graph import Lineage, LineageRun, Node
from mlsecops.provenance.lineage_store import StoredStatements, read_store
from mlsecops.provenance.openlineage import openlineage_events
from mlsecops.provenance.statement import Statement

EXAMPLE = "mlsecops lineage models/ registry/ --from sha256:9f86d0… --key release.pub.pem"
SCHEMA: Final = "mlsecops.lineage/1"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    option(
        parser,
        "places DIR",
        "folders of bundles or of a registry, or single bundles",
        type=place,
        nargs="+",
    )
    ways = parser.add_mutually_exclusive_group(required=True)
    option(ways, "--from DIGEST", "what was made from it, over all runs", dest="origin")
    option(ways, "--to DIGEST", "what it was made from, over all runs", dest="result")
    option(parser, "--namespace NAME", "namespace of OpenLineage events", default="mlsecops")
    add_trust(parser)
    add_format(parser, "openlineage")


def run(options: argparse.Namespace) -> int:
    """Read the statements, follow the digest, print what is connected with it."""
    forward = options.origin is not None
    digest = Digest.parse(options.origin if forward else options.result)
    trusted = bool(options.key or options.root or options.identity or options.policy)
    stored = (
        read_store(*options.places, reader=_verifying(options))
        if trusted
        else read_store(*options.places)
    )
    graph = Lineage.of(stored.statements)
    nodes = graph.models_from(digest) if forward else graph.sources_of(digest)
    runs = _runs(graph, digest, nodes, forward=forward)
    if options.format == "openlineage":
        for event in openlineage_events(runs, namespace=options.namespace):
            print(json.dumps(event))
    elif options.format == "json":
        show_json(_value(digest, nodes, runs, stored, forward=forward, verified=trusted))
    else:
        _print(digest, nodes, stored, graph, verified=trusted)
    return int(bool(stored.unread) or not graph.holds(digest))


def _verifying(options: argparse.Namespace) -> Any:
    from mlsecops.signing.verifier import Verifier  # noqa: PLC0415 - with a policy only

    verifier = Verifier(trust_from(options))

    def read(data: bytes, where: str) -> tuple[Statement, ...]:
        return verifier.open(data, where=where).statements

    return read


def _runs(
    graph: Lineage, digest: Digest, nodes: tuple[Node, ...], *, forward: bool
) -> tuple[LineageRun, ...]:
    """Runs on the way, from the digest or from what was reached, in the direction followed."""
    known = {digest, *(each for node in nodes for each in node.digests)}
    return tuple(
        step
        for step in graph.steps
        if any(
            known.intersection(node.digests) for node in (step.inputs if forward else step.outputs)
        )
    )


def _value(
    digest: Digest,
    nodes: tuple[Node, ...],
    runs: tuple[LineageRun, ...],
    stored: StoredStatements,
    *,
    forward: bool,
    verified: bool,
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "direction": "from" if forward else "to",
        "digest": str(digest),
        "verified": verified,
        "nodes": [_node(node) for node in nodes],
        "runs": [
            {
                "id": step.id,
                "name": step.name,
                "at": step.at,
                "failed": step.failed,
                "inputs": [_node(node) for node in step.inputs],
                "outputs": [_node(node) for node in step.outputs],
            }
            for step in runs
        ],
        "files": stored.files,
        "unread": [{"path": path, "why": why} for path, why in stored.unread],
    }


def _node(node: Node) -> dict[str, Any]:
    value: dict[str, Any] = {"kind": node.kind, "name": node.name, "digest": str(node.digest)}
    return value if node.file is None else {**value, "file": str(node.file)}


def _print(
    digest: Digest,
    nodes: tuple[Node, ...],
    stored: StoredStatements,
    graph: Lineage,
    *,
    verified: bool,
) -> None:
    show(*(f"{node.kind:<8}  {node.digest}  {node.name}" for node in nodes))
    if not graph.holds(digest):
        show(f"no run names {digest}")
    show(*(f"unread    {path}: {why}" for path, why in stored.unread))
    checked = "signatures verified" if verified else "signatures NOT checked"
    runs, files = plural(len(graph.steps), "run"), plural(stored.files, "file")
    show(f"{plural(len(nodes), 'artifact')}; {runs} in {files}, {checked}")
