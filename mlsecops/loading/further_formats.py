"""Scanners of the formats that are recognised by content and read by other libraries.

file and its format → scanner → Examination; a file that only begins like its format is unchecked

Most of these formats cannot name code. A file that does not read as its first bytes promise is
unchecked, never clean and never malformed; what contradicts itself, or reaches outside, refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib import import_module
from typing import Final, cast

from mlsecops.errors import FormatRefused
from mlsecops.loading.kinds import RECOGNISED, Format
from mlsecops.loading.limits import Limits
from mlsecops.loading.snapshot import Source
from mlsecops.loading.verdict import Examination, not_checked

_Scanner = Callable[[Source, Limits, Collection[str]], Examination]
_SCANNERS: Final = {
    Format.GGML: "tables.ggml:examine_ggml",
    Format.FASTTEXT: "tables.vectors:examine_fasttext",
    Format.WORD2VEC: "tables.vectors:examine_word2vec",
    Format.CTRANSLATE2: "tables.ctranslate2:examine_ctranslate2",
    Format.MSGPACK: "tables.msgpack:examine_msgpack",
    Format.OCDBT: "tables.ocdbt:examine_ocdbt",
    Format.RDS: "tables.rds:examine_rds",
    Format.PADDLE_WEIGHTS: "tables.weights:examine_paddle_weights",
    Format.MXNET_WEIGHTS: "tables.weights:examine_mxnet_weights",
    Format.XGBOOST: "trees.xgboost:examine_xgboost_json",
    Format.XGBOOST_UBJ: "trees.xgboost:examine_xgboost_ubj",
    Format.LIGHTGBM: "trees.lightgbm:examine_lightgbm",
    Format.CATBOOST: "trees.catboost:examine_catboost",
    Format.PMML: "trees.pmml:examine_pmml",
    Format.OPENVINO: "engines.openvino:examine_openvino",
    Format.COREML: "engines.coreml:examine_coreml",
    Format.COREML_WEIGHTS: "engines.coreml:examine_blobs",
    Format.EXECUTORCH: "engines.executorch:examine_executorch",
    Format.ORT: "engines.ort:examine_ort",
    Format.PADDLE: "engines.graphs:examine_paddle",
    Format.MXNET: "engines.graphs:examine_mxnet",
    Format.CAFFE: "engines.graphs:examine_caffe",
    Format.TENSORFLOW_GRAPH: "engines.tensorflow:examine_graph",
    Format.META_GRAPH: "engines.tensorflow:examine_meta_graph",
    Format.PROGRAM: "engines.programs:examine_program",
    Format.FOREIGN_CODE: "engines.programs:examine_foreign_code",
    Format.XML: "trees.pmml:examine_xml",
}
"""Format → module and function of its scanner, imported where a file of the format is met."""
FURTHER: Final = frozenset({*_SCANNERS, *RECOGNISED})
"""Formats that `examine_further` knows."""


def examine_further(
    source: Source, found: Format, limits: Limits, allowed: Collection[str]
) -> Examination:
    """Look into a file, or say what it is.

    Args:
        source: The file.
        found: Its format, one of `FURTHER`.
        limits: Resource limits.
        allowed: Names that the caller allows.

    Raises:
        UnsafeContent: It contradicts itself, or reaches outside.
        LimitExceeded: It declares too much.
    """
    if found not in _SCANNERS:
        return not_checked(source.name, RECOGNISED[found])
    home, _, name = _SCANNERS[found].partition(":")
    module = import_module(f"mlsecops.loading.formats.{home}")
    try:
        return cast("_Scanner", getattr(module, name))(source, limits, allowed)
    except FormatRefused as error:
        return not_checked(source.name, f"begins like {found} and does not read so: {error}")
