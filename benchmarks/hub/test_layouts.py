"""Every layout is held and read as it was written, or refused with the reason of its scan."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from benchmarks.hub import other_layouts, transformers_layouts  # noqa: F401 - they register
from benchmarks.hub.layouts import LAYOUTS, same
from mlsecops import SecureLoader, Signer, TrustPolicy, scan, sign
from mlsecops.errors import ContentRefused

SIGNER = Signer.generate("p256")
POLICY = TrustPolicy(keys=[SIGNER.public_key])


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(name: str, tmp_path: Path) -> None:
    layout = LAYOUTS[name]
    folder = tmp_path / "models--org--name" / "snapshots" / "0123abc"
    folder.mkdir(parents=True)
    layout.build(folder)
    verdict = scan(folder)
    sign(folder, SIGNER)
    loader = SecureLoader(POLICY)
    outcome = "refused" if verdict.refused else "held unchecked" if verdict.unchecked else "held"
    reasons = [f.message for f in verdict.findings if f.severity.label in {"high", "critical"}]
    assert outcome == layout.outcome, (reasons, verdict.unchecked)
    if outcome != "held":
        with pytest.raises(ContentRefused), loader.hold(folder):
            pass
    if outcome == "refused":
        return
    assert layout.read is not None
    expected = layout.read(folder)
    with loader.hold(folder, allow_unchecked=outcome != "held") as held:
        for each in [path for path in folder.rglob("*") if path.is_file()]:
            (folder / "evil").write_bytes(b"evil")
            (folder / "evil").replace(each)  # what is held is not read from here any more
        assert same(layout.read(Path(held.folder)), expected)
        inside = os.path.realpath(held.folder)
        for place in Path(inside).rglob("*"):
            assert os.path.realpath(place).startswith(f"{inside}/")
    assert not Path(held.folder).exists()
    shutil.rmtree(folder)
