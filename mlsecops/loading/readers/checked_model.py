"""Checked model: held files of a layout, scanned, then decoded by their framework.

Snapshot of verified files → scan of each that holds a part of the model → decode → model
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from mlsecops._bounded.budget import Budget, spending
from mlsecops.errors import FormatRefused
from mlsecops.loading.artifact import (
    ArtifactLayout,
    require_alone,
    require_external,
    scanned_parts,
    shards,
)
from mlsecops.loading.detection import CODE, Format
from mlsecops.loading.limits import Limits
from mlsecops.loading.readers.decode import Request, decode, fill, join_shards
from mlsecops.loading.scanner import examine
from mlsecops.loading.snapshot import Snapshot, Source
from mlsecops.loading.telemetry import LoadRecord
from mlsecops.loading.verdict import Examination


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReader:
    """Scans and decodes verified files.

    Attributes:
        allow_globals: Audited names.
        limits: Resource limits.
    """

    allow_globals: Collection[str]
    limits: Limits

    def read(
        self, files: ArtifactLayout, held: Snapshot, request: Request, record: LoadRecord
    ) -> tuple[Format, Any]:
        """Format and model of verified files.

        Args:
            files: Layout of the files.
            held: Their bytes.
            request: Options of decoding.
            record: Record of the load.

        Raises:
            UnsafeContent: A finding refuses a file.
            FormatRefused: A part was not checked, or the framework refuses the bytes.
        """
        found, examined = self._examined(files, held, record)
        if files.kind == "shards":
            placed = shards(request.source, frozenset(examined), limits=self.limits)
            with record.step("decode"), spending(self._budget(held)):
                parts = {
                    name: decode(
                        found,
                        dataclasses.replace(
                            request, source=held.sources[name], globals=each.globals, into=None
                        ),
                    )
                    for name, each in examined.items()
                }
                return found, fill(request, join_shards(parts, placed))
        external = {name: each for name, each in held.sources.items() if name != files.main}
        names = examined[files.main].globals
        with record.step("decode"), spending(self._budget(held)):
            return found, decode(
                found, dataclasses.replace(request, globals=names, external=external)
            )

    def _examined(
        self, files: ArtifactLayout, held: Snapshot, record: LoadRecord
    ) -> tuple[Format, dict[str, Examination]]:
        """Format of the model, and the scan result of each file that holds a part of it."""
        names = [files.main]
        if files.kind == "shards":
            placed = shards(held.sources[files.main], files.read, limits=self.limits)
            names = sorted(set(placed.values()))
        with spending(self._budget(held)):
            scanned = {name: self._scan(held.sources[name], record) for name in names}
        formats = {found for found, _ in scanned.values()}
        if len(formats) != 1:
            raise FormatRefused(
                f"{files.main}: expected shards of one format, got {', '.join(sorted(formats))}"
            )
        examined = {name: examination for name, (_, examination) in scanned.items()}
        if files.kind not in {"shards", "savedmodel"}:  # TensorFlow finds its files by name
            others = {name: each for name, each in held.sources.items() if name != files.main}
            main = examined[files.main]
            require_external(held.sources[files.main], main.external, others)
            for part in scanned_parts(files.main, main.external):
                examined[files.main] |= self._scan(others[part], record)[1]
        require_alone(files)
        return formats.pop(), examined

    def _budget(self, held: Snapshot) -> Budget:
        """The budget of one pass over all files of the model."""
        return self.limits.budget(held.size)

    def _scan(self, source: Source, record: LoadRecord) -> tuple[Format, Examination]:
        with record.step("scan"):
            verdict, examination = examine(
                source, allow_globals=self.allow_globals, limits=self.limits
            )
        record.note(format=str(verdict.format))
        record.add("exceptions", examination.exceptions)
        verdict.require()
        # Code of a format that the caller allows by name cannot be analysed; it is signed.
        trusted_code = verdict.format in CODE and verdict.format in self.allow_globals
        if verdict.unchecked and not trusted_code:
            item = verdict.unchecked[0]
            raise FormatRefused(f"{item.what} was not checked ({item.why}), so it is not loaded")
        return Format(verdict.format), examination
