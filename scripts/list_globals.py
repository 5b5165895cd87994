"""Generator of the lists in `mlsecops/loading/allowed`: allowed names, and how each may be called.

It reads the installed versions of the libraries.

Run it after an upgrade and review the difference: model files may use every name that it adds.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
import sklearn
import sklearn.metrics
import sklearn.model_selection
import tensorflow as tf
import torch
from call_contracts import write_contracts
from sklearn.utils import all_estimators
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session
from torch._weights_only_unpickler import _get_allowed_globals

from mlsecops.loading.allowed import pickle_globals

TARGET = Path(__file__).parent.parent / "mlsecops" / "loading" / "allowed"

PYTHON = """
_codecs.encode argparse.Namespace
builtins.bool builtins.bytearray builtins.bytes builtins.complex builtins.dict
builtins.float builtins.frozenset builtins.int builtins.list builtins.object builtins.range
builtins.set builtins.slice builtins.str builtins.tuple collections.Counter
collections.OrderedDict collections.defaultdict collections.deque copyreg._reconstructor
datetime.date datetime.datetime datetime.time datetime.timedelta datetime.timezone
decimal.Decimal fractions.Fraction functools.partial pathlib.PosixPath pathlib.PurePosixPath
types.SimpleNamespace uuid.UUID
""".split()  # noqa: SIM905 - a list of words to read, not a literal to parse
NUMPY = """
_core.multiarray._reconstruct _core.multiarray.scalar _core.numeric._frombuffer
core.multiarray._reconstruct core.multiarray.scalar core.numeric._frombuffer
dtype ndarray random._pickle.__randomstate_ctor random._pickle.__generator_ctor
random._pickle.__bit_generator_ctor random._mt19937.MT19937 random._pcg64.PCG64
random._philox.Philox random._sfc64.SFC64 random.bit_generator.SeedSequence
random.bit_generator.__pyx_unpickle_SeedSequence
ma.core.MaskedArray ma.core._mareconstruct ma.MaskedArray rec.recarray
random.mtrand.RandomState random._generator.Generator mean
""".split()  # noqa: SIM905 - a list of words to read, not a literal to parse
SKLEARN_INTERNALS = """
sklearn.utils._bunch.Bunch sklearn.tree._tree.Tree sklearn.neighbors._kd_tree.KDTree
sklearn.neighbors._ball_tree.BallTree sklearn.neighbors._kd_tree.KDTree64
sklearn.neighbors._kd_tree.KDTree32 sklearn.neighbors._kd_tree.newObj
sklearn.neighbors._ball_tree.BallTree64 sklearn.neighbors._ball_tree.BallTree32
sklearn.neighbors._ball_tree.newObj sklearn.metrics._dist_metrics.EuclideanDistance64
sklearn.metrics._dist_metrics.EuclideanDistance32 sklearn.metrics._dist_metrics.newObj
sklearn._loss.link.Interval sklearn.cluster._birch._CFNode sklearn.cluster._birch._CFSubcluster
sklearn.cluster._bisect_k_means._BisectingTree sklearn.cluster._kmeans._kmeans_single_lloyd
sklearn.cluster._kmeans._kmeans_single_elkan
sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace
sklearn.feature_selection._univariate_selection.f_classif
sklearn.feature_selection._univariate_selection.f_regression
sklearn.feature_selection._univariate_selection.chi2
sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor
sklearn.ensemble._hist_gradient_boosting.binning._BinMapper
sklearn.preprocessing._label.LabelBinarizer
sklearn.neural_network._stochastic_optimizers.AdamOptimizer
sklearn.neural_network._stochastic_optimizers.SGDOptimizer sklearn.calibration._CalibratedClassifier
sklearn.calibration._SigmoidCalibration sklearn.linear_model._loss.LinearModelLoss
sklearn.metrics._scorer._PassthroughScorer sklearn.metrics._scorer._Scorer
joblib.numpy_pickle.NumpyArrayWrapper scipy.sparse._csr.csr_matrix scipy.sparse._csr.csr_array
scipy.sparse._csc.csc_matrix scipy.sparse._csc.csc_array scipy.sparse._coo.coo_matrix
scipy.sparse._coo.coo_array scipy.sparse._bsr.bsr_matrix scipy.sparse._bsr.bsr_array
scipy.sparse._dia.dia_matrix scipy.sparse._dia.dia_array
scipy.interpolate._bsplines.BSpline scipy._lib.array_api_compat.numpy._aliases.asarray
sklearn.utils.validation.check_array
""".split()  # noqa: SIM905 - a list of words to read, not a literal to parse
SKLEARN_FAMILIES = (
    "_loss.loss", "_loss._loss", "_loss.link", "linear_model._sgd_fast",
    "gaussian_process.kernels",
)  # fmt: skip
# Keras objects that read files, use the network, run other frameworks, or contain code.
KERAS_REFUSED = {
    "Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer", "TextVectorization",
    "StringLookup", "IntegerLookup", "HashedCrossing", "FeatureSpace", "Wrapper", "Layer",
    "Vectorize", "VectorizedMap", "Map", "Scan", "AssociativeScan", "WhileLoop", "ForiLoop",
    "Cond", "Switch", "CustomGradient", "JVP", "KerasFileEditor", "SavedModelArtifact",
}  # fmt: skip
KERAS_QUANTIZERS = (
    "AbsMaxQuantizer", "Float8QuantizationConfig", "Int4QuantizationConfig",
    "Int8QuantizationConfig",
)  # fmt: skip
KERAS_ACCESSORS = {"get", "serialize", "deserialize"}
KERAS_OPERATIONS = (
    "ops.numpy", "ops.nn", "ops.core", "ops.math", "ops.linalg", "activations.activations",
)  # fmt: skip
KERAS_HOMES = (
    "layers", "initializers", "regularizers", "constraints", "activations", "dtype_policies",
    "optimizers", "losses", "metrics",
)  # fmt: skip


# TensorFlow: stateless operations except those that use files, networks, devices or other code, and
# stateful ones for variables, tables, random numbers and control flow.
TENSORFLOW_REFUSED = re.compile(
    "File|Restore|Save|Debug|Rpc|TPU|Tpu|Xla|Snapshot|Cache|Mlir|PyFunc|Reader|ImmutableConst"
    "|Abort|Proto|DatasetFromGraph|RegisterDataset|LoadDataset|Sleep|Test|Shard|Custom|Collective"
    "|Host|^_|Experimental|Sdca|Fails|Output|FuncAttr|FuncList|Remote|Sql|LMDB|Print|Summary"
    "|OptimizeDataset|RewriteDataset|ModelDataset|DatasetToGraph|Barrier|Quantile|Attr$|^Int|^None$"
    "|Vocab|Infeed|Queue|DTensor|Mesh|Foo|SparseCore|^Attr|^DefaultAttrs|^.$|^Old$|Stub|StatsAgg"
)
# Operations that encode a summary as text, for a writer that the caller runs.
TENSORFLOW_SUMMARIES = frozenset(
    {"AudioSummary", "AudioSummaryV2", "HistogramSummary", "ImageSummary", "MergeSummary",
     "ScalarSummary", "TensorSummary", "TensorSummaryV2"}
)  # fmt: skip
TENSORFLOW_STATEFUL = re.compile(
    "Assert|Assign(Add|Sub)?VariableOp|(Read|)Variable(Op|V2|Shape)?|VarHandleOp|VarIsInitializedOp"
    "|DestroyResourceOp|Resource(Sparse)?Apply.*|Resource(Scatter.*|Gather|GatherNd)"
    "|ResourceStridedSliceAssign|CheckNumerics(V2)?|Case|If|While|StatefulPartitionedCall"
    "|Random(Crop|Gamma|Poisson|PoissonV2|Shuffle|StandardNormal|Uniform|UniformInt)"
    "|(Parameterized)?TruncatedNormal|Multinomial|Stateful(Random|Standard|Truncated|Uniform).*"
    "|RngReadAndSkip|RngSkip|StatelessRandomGetAlg|NonDeterministicInts|HashTable(V2)?"
    "|(Anonymous)?Mutable(Dense)?HashTable(OfTensors)?(V2)?|AnonymousHashTable"
    "|LookupTable(Find|Insert|Remove|Size|Export|Import)V2|InitializeTableV2|Stack\\w*V2"
    "|TensorArray\\w*V3|CudnnRNN\\w*|GuaranteeConst|Empty|DeviceIndex|DisableCopyOnRead"
    "|IsTensorFloat32Enabled|Tensor(Slice)?Dataset|RangeDataset|AnonymousIterator(V2|V3)?"
    "|MakeIterator|IteratorGetNext(Sync|AsOptional)?|DeleteIterator|ReduceDataset"
    "|DatasetToSingleElement|SampleDistortedBoundingBox(V2)?"
)


DISTRIBUTED = """
filesystem._StorageInfo metadata.BytesStorageMetadata metadata.ChunkStorageMetadata
metadata.Metadata metadata.MetadataIndex metadata.StorageMeta metadata.TensorProperties
metadata.TensorStorageMetadata metadata._MEM_FORMAT_ENCODING
""".split()  # noqa: SIM905 - a list of words to read, not a literal to parse


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """A package and all its modules."""
    yield package
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


def torch_names() -> Iterator[str]:
    """Names that `weights_only` allows, and the modules of torch.nn."""
    yield from (name for name in _get_allowed_globals() if name.startswith("torch."))
    yield from ("torch.nn.functional.relu", "torch._C._nn.gelu")  # attributes of transformer layers
    yield from (f"torch.distributed.checkpoint.{name}" for name in DISTRIBUTED)
    for module in modules(torch.nn.modules):
        for name, value in vars(module).items():
            own = isinstance(value, type) and value.__module__ == module.__name__
            plain = own and (issubclass(value, torch.nn.Module) or is_dataclass(value))
            if plain and not name.startswith("_"):
                yield f"{module.__name__}.{name}"


def numpy_names() -> Iterator[str]:
    """Arrays, data types and random states."""
    yield from (f"numpy.{name}" for name in NUMPY)
    kinds = {value for value in vars(np).values() if isinstance(value, type)}
    yield from (f"numpy.{kind.__name__}" for kind in kinds if issubclass(kind, np.generic))
    yield from (f"numpy.dtypes.{name}" for name in np.dtypes.__all__)


def sklearn_names() -> Iterator[str]:
    """Estimators and the classes of their attributes."""
    yield from SKLEARN_INTERNALS
    loss = importlib.import_module("sklearn._loss._loss")
    rebuilt = (name for name in vars(loss) if name.startswith("__pyx_unpickle_Cy"))
    yield from (f"{loss.__name__}.{name}" for name in rebuilt)
    for family in SKLEARN_FAMILIES:
        module = importlib.import_module(f"sklearn.{family}")
        for name, value in vars(module).items():
            if isinstance(value, type) and value.__module__ == module.__name__:
                yield f"{module.__name__}.{name}"
    for name in sklearn.metrics.__all__:
        if name.endswith(("_score", "_error", "_loss")):
            yield f"{getattr(sklearn.metrics, name).__module__}.{name}"
    for name, kind in vars(sklearn.model_selection).items():
        if isinstance(kind, type) and kind.__module__ == "sklearn.model_selection._split":
            yield f"{kind.__module__}.{name}"
    for name, kind in all_estimators():
        yield f"{kind.__module__}.{name}"


def keras_names() -> Iterator[str]:
    """Layers, operations and functions that contain no code and read no files."""
    yield from ("keras.Sequential", "keras.Model", "keras.DTypePolicy", "keras.Functional")
    yield from (f"keras.quantizers.{name}" for name in KERAS_QUANTIZERS)
    yield from ("keras.src.models.functional.Functional", "keras.src.models.sequential.Sequential")
    for home in KERAS_HOMES:
        for name, value in vars(getattr(keras, home)).items():
            plain = home == "activations" and inspect.isfunction(value)
            kind = isinstance(value, type) and name not in KERAS_REFUSED
            if (plain or kind) and name[0] != "_" and name not in KERAS_ACCESSORS:
                yield f"keras.{home}.{name}"
    for home in KERAS_OPERATIONS:
        module = importlib.import_module(f"keras.src.{home}")
        for name, value in vars(module).items():
            own = isinstance(value, type) and value.__module__ == module.__name__
            if own and issubclass(value, keras.Operation) and name not in KERAS_REFUSED:
                yield f"{module.__name__}.{name}"


def tensorflow_names() -> Iterator[str]:
    """Operations that compute, with no effect outside the process."""
    found = op_def_pb2.OpList()
    found.ParseFromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    for operation in found.op:
        pure = not operation.is_stateful and not TENSORFLOW_REFUSED.search(operation.name)
        known = TENSORFLOW_STATEFUL.fullmatch(operation.name)
        if pure or known or operation.name in TENSORFLOW_SUMMARIES:
            yield operation.name


def write(name: str, versions: str, names: Iterable[str]) -> None:
    """Write one allowlist."""
    lines = [f"# {versions}; written by scripts/list_globals.py", *sorted(set(names))]
    (TARGET / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write("python", "Python 3", PYTHON)
    write("numpy", f"numpy {np.__version__}", numpy_names())
    write("torch", f"torch {torch.__version__.partition('+')[0]}", torch_names())
    write("sklearn", f"scikit-learn {sklearn.__version__}", sklearn_names())
    write("keras", f"keras {keras.__version__}", keras_names())
    write("tensorflow", f"tensorflow {tf.__version__}", tensorflow_names())
    write_contracts(TARGET / "calls.txt", pickle_globals())
