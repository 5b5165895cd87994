"""What the bytes are and where they came from.

A path or a data set becomes a `Manifest` of `Digest` values (`tree` lists,
`opening` and `hashing` read, `stat_cache` remembers, `manifest` and `dataset` name the
parts, `exports` tells them to other tools); a training run ties manifests, code and parameters
together (`lineage`, `environment`) in a `Statement` that signing can sign, and
`graph` answers what came from what. `merkle` holds the tree arithmetic of append-only logs.

The names are served lazily, so that a command pays only for the modules it needs.
"""

from typing import TYPE_CHECKING, Final

from mlsecops._lazy import lazy_face

if TYPE_CHECKING:
    from mlsecops.provenance.dataset import hash_dataset
    from mlsecops.provenance.digest import Digest, Isolation
    from mlsecops.provenance.entry import Diff, Entry
    from mlsecops.provenance.files.stat_cache import StatCache
    from mlsecops.provenance.files.tree import DEFAULT_IGNORE, SIGNATURE_NAME
    from mlsecops.provenance.graph import Lineage
    from mlsecops.provenance.lineage import TrainingRun, current_run, tracked, training_run
    from mlsecops.provenance.manifest import Manifest, hash_path
    from mlsecops.provenance.statement import Statement

_HOMES: Final = {
    "mlsecops.provenance.dataset": ("hash_dataset",),
    "mlsecops.provenance.digest": ("Digest", "Isolation"),
    "mlsecops.provenance.entry": ("Diff", "Entry"),
    "mlsecops.provenance.graph": ("Lineage",),
    "mlsecops.provenance.lineage": ("TrainingRun", "current_run", "tracked", "training_run"),
    "mlsecops.provenance.manifest": ("Manifest", "hash_path"),
    "mlsecops.provenance.files.stat_cache": ("StatCache",),
    "mlsecops.provenance.statement": ("Statement",),
    "mlsecops.provenance.files.tree": ("DEFAULT_IGNORE", "SIGNATURE_NAME"),
}

__all__ = [
    "DEFAULT_IGNORE",
    "SIGNATURE_NAME",
    "Diff",
    "Digest",
    "Entry",
    "Isolation",
    "Lineage",
    "Manifest",
    "StatCache",
    "Statement",
    "TrainingRun",
    "current_run",
    "hash_dataset",
    "hash_path",
    "tracked",
    "training_run",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_face(__name__, _HOMES, globals())
