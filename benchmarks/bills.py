"""Bills of materials: an environment against cyclonedx-py, forgeries, placeholders, and time.

The bill of this environment is compared with that of ``cyclonedx-py environment`` (from ``make
peers``): packages, versions, package URLs, edges between packages, and licences where both state
one. The forgeries are those of the tests: each changes one thing of a bill (package, version, name,
licence, edge, hyperparameter, data set, commit, builder) and is verified against the signed
provenance.

Run: ``python -m benchmarks bills``
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from mlsecops import build_bom, verify_bom
from mlsecops.provenance import distributions
from mlsecops.provenance.distributions import normalized
from mlsecops.reports.bom.licenses import license_names
from tests.attackers import reports as attack
from tests.reports.bom.test_claims import FORGERIES
from tests.reports.releases import Release, make_release

Bill = Mapping[str, Any]

PEER: Final = Path(__file__).parent / ".env-cyclonedx/bin/cyclonedx-py"
PACKAGES: Final = 150  # the size that the times are given for
ROUNDS: Final = 5


def libraries(bill: Bill) -> dict[str, Bill]:
    """Normalized name → component of each package."""
    found = bill["components"]
    return {normalized(each["name"]): each for each in found if each["type"] == "library"}


def edges(bill: Bill) -> set[tuple[str, str]]:
    """Pairs of packages of which the first requires the second."""
    names = {each["bom-ref"]: name for name, each in libraries(bill).items()}
    return {
        (names[each["ref"]], names[need])
        for each in bill["dependencies"]
        for need in each.get("dependsOn", ())
        if each["ref"] in names and need in names
    }


def licenses(component: Bill) -> set[str]:
    """Licences of a component; of a classifier its last part, as it names no more."""
    return {each.rpartition(" :: ")[2] for each in license_names(component)}


def environment() -> Bill:
    """The bill of this environment, as `build_bom` makes it without provenance."""
    with tempfile.TemporaryDirectory() as folder:
        release = make_release(Path(folder))
        return build_bom(name="here", manifest=release.manifest, datasets={})


def against_peer(ours: Bill) -> Iterator[str]:
    """What the two bills of this environment have in common, and where they differ."""
    if not PEER.exists():
        yield f"cyclonedx-py: not compared, {PEER} is missing (make peers)"
        return
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "bill.json")
        subprocess.run([PEER, "environment", sys.executable, "-o", out], check=True)
        theirs = json.loads(out.read_text("utf-8"))
    mine, other = libraries(ours), libraries(theirs)
    both = mine.keys() & other.keys()
    yield f"packages: {len(mine)} here, {len(other)} there, {len(both)} in both"
    for what in ("version", "purl"):
        differ = sorted(name for name in both if mine[name].get(what) != other[name].get(what))
        yield f"  {what} differs in {len(differ)}: {', '.join(differ) or 'none'}"
    here, there = edges(ours), edges(theirs)
    yield f"edges: {len(here)} here, {len(there)} there, {len(here ^ there)} in one alone"
    stated = [each for each in both if licenses(mine[each]) and licenses(other[each])]
    inside = [each for each in stated if licenses(mine[each]) & licenses(other[each])]
    count = sum(bool(licenses(each)) for each in mine.values())
    there_count = sum(bool(licenses(each)) for each in other.values())
    yield f"licence stated: {count} here, {there_count} there, {len(stated)} in both"
    yield f"  with a licence in common: {len(inside)} of {len(stated)}; the others:"
    for name in sorted(set(stated) - set(inside)):
        yield f"    {name}: {sorted(licenses(mine[name]))} and {sorted(licenses(other[name]))}"


def forgeries(release: Release) -> str:
    """How many forged bills are refused, against one honest one."""
    honest, found = release.bom(), 0
    for change in FORGERIES.values():
        bill = copy.deepcopy(honest)
        change(bill)
        found += not judged(release, bill)
    holds = judged(release, honest)
    return f"forgeries found: {found} of {len(FORGERIES)}; honest bill holds: {holds}"


def judged(release: Release, bill: Bill) -> bool:
    """Whether a bill holds against the model and its signed provenance."""
    report = verify_bom(
        bill, model=release.folder, datasets={"train": release.data}, verified=release.verified
    )
    return report.holds


def unknown(release: Release) -> str:
    """The score of a bill whose every field says that it is unknown."""
    bill = attack.all_unknown(release.bom())
    report = verify_bom(
        bill, model=release.folder, datasets={"train": release.data}, verified=release.verified
    )
    return f"score of a bill that says 'unknown' everywhere: {report.score} of 100"


def times(release: Release) -> Iterator[str]:
    """Processor seconds of build and verification with `PACKAGES` packages, median."""
    listed = distributions.packages()[:PACKAGES]
    bill = release.bom(packages=listed)
    for name, call in (
        ("build", lambda: release.bom(packages=listed)),
        ("verify", lambda: judged(release, bill)),
    ):
        spent = []
        for _ in range(ROUNDS):
            start = time.process_time()
            call()
            spent.append(time.process_time() - start)
        yield f"{name} with {len(listed)} packages: {sorted(spent)[ROUNDS // 2]:.2f} s of CPU"


def main() -> None:
    """Print each figure."""
    start = time.process_time()
    ours = environment()
    spent = time.process_time() - start
    count = len(libraries(ours))
    print(f"bill of this environment: {count} packages in {spent:.2f} s of CPU, imports included")
    print(*against_peer(ours), sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        release = make_release(Path(folder))
        print(forgeries(release))
        print(unknown(release))
        print(*times(release), sep="\n")


if __name__ == "__main__":
    main()
