"""What the bytes are and where they came from.

A path or a data set becomes a :class:`Manifest` of :class:`Digest` values (``tree`` lists,
``hashing`` reads, ``manifest`` and ``dataset`` name the parts); a training run ties manifests,
code and parameters together (``lineage``, ``environment``) in a :class:`Statement` that signing
can sign. ``merkle`` holds the tree arithmetic of append-only logs.
"""

from mlsecops.provenance.dataset import hash_dataset
from mlsecops.provenance.digest import Digest, Isolation
from mlsecops.provenance.lineage import TrainingRun, current_run, tracked, training_run
from mlsecops.provenance.manifest import Diff, Entry, Manifest, hash_path
from mlsecops.provenance.statement import Statement
from mlsecops.provenance.tree import DEFAULT_IGNORE, SIGNATURE_NAME

__all__ = [
    "DEFAULT_IGNORE",
    "SIGNATURE_NAME",
    "Diff",
    "Digest",
    "Entry",
    "Isolation",
    "Manifest",
    "Statement",
    "TrainingRun",
    "current_run",
    "hash_dataset",
    "hash_path",
    "tracked",
    "training_run",
]
