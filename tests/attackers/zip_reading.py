"""Contents that torch's own reader takes out of an archive, beside what ours does."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from mlsecops.loading import Limits
from mlsecops.loading.containers.zip_archive import archive
from mlsecops.loading.snapshot import Source


def read_otherwise(path: Path, limits: Limits) -> list[str]:
    """Records of which the two readers give different bytes; what one cannot read is no record."""
    ours = {}
    with archive(Source(name=path.name, path=str(path), size=path.stat().st_size),
                 limits=limits) as opened:  # fmt: skip
        for name in opened.entries:
            ours[name.partition("/")[2]] = _tried(lambda name=name: opened.stream(name).read())
    reader = _tried(lambda: torch._C.PyTorchFileReader(str(path)))
    names = [] if reader is None else _tried(reader.get_all_records) or []
    theirs = {name: _tried(lambda name=name: reader.get_record(name)) for name in names}
    return [
        name
        for name, data in theirs.items()
        if data is not None and ours.get(name, b"") not in {None, data}
        and not name.startswith(".data/")  # torch makes one up where there is none
    ]  # fmt: skip


def _tried(read: Any) -> Any:
    try:
        return read()
    except Exception:  # noqa: BLE001 - whatever the reader cannot read
        return None


def seeds() -> list[bytes]:
    """State dicts as torch writes them."""
    values = ({"w": torch.arange(3.0)}, {"a": torch.zeros(2, 2), "b": [1, 2]},
              torch.nn.Linear(2, 2).state_dict())  # fmt: skip
    found = []
    for value in values:
        buffer = io.BytesIO()
        torch.save(value, buffer)
        found.append(buffer.getvalue())
    return found
