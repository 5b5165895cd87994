"""Honest pickles of the installed libraries, from which call contracts are learned.

values of Python, NumPy, SciPy, scikit-learn and torch → pickles of every protocol, joblib files and
torch archives
"""

from __future__ import annotations

import argparse
import collections
import datetime as dt
import decimal
import fractions
import importlib
import inspect
import io
import itertools
import pathlib
import pickle
import tempfile
import types
import uuid
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import scipy.sparse
import sklearn.neighbors
import sklearn.utils
import torch
from sklearn._loss.loss import HalfSquaredError
from sklearn.gaussian_process import kernels
from sklearn.linear_model._linear_loss import LinearModelLoss
from sklearn.neighbors._ball_tree import BallTree32
from sklearn.neighbors._kd_tree import KDTree32
from torch.distributed import checkpoint

PROTOCOLS = range(6)
SPARSE = ("csr", "csc", "coo", "bsr", "dia")
NUMPY_KINDS: tuple[Any, ...] = (
    "?", "i1", "u2", "i4", "i8", ">i4", "f2", "f4", "f8", "c8", "c16", "g", "G", "S4", "U3", "V3",
    "M8[D]", "m8[s]", "O", [("a", "i4"), ("b", "O")], [("a", "f8", (3,)), ("b", [("c", "i1")])],
)  # fmt: skip


def python_values() -> Iterator[Any]:
    """Values of the standard library."""
    for factory in (None, list, dict, set, int, float, str, bool, tuple, frozenset):
        yield collections.defaultdict(factory)
    for factory in (collections.OrderedDict, collections.Counter, collections.deque):
        yield collections.defaultdict(factory)
    yield from ({1, "a"}, frozenset({1}), set(), frozenset(), bytearray(b"x"), bytearray(), b"x")
    yield from (b"", 1 + 2j, range(3), range(0, 9, 2))
    yield from (slice(*ends) for ends in itertools.product((None, 1, 1.5, "a"), repeat=3))
    yield from (decimal.Decimal("1.5"), fractions.Fraction(1, 3), uuid.UUID(int=1))
    yield from (collections.Counter("aab"), collections.Counter(), collections.OrderedDict(a=1))
    yield from (collections.deque([1]), collections.deque([1], 3), types.SimpleNamespace(a=1))
    yield from (pathlib.PurePosixPath("/a/b/c"), pathlib.PosixPath("a"), pathlib.PosixPath("."))
    yield from (argparse.Namespace(lr=0.1), object(), dt.date(2020, 1, 2))
    yield from (dt.timedelta(1, 2, 3), dt.datetime(2020, 1, 2), dt.time(1, 2))  # noqa: DTZ001 - a plain one
    zone = dt.timezone(dt.timedelta(hours=1), "x")
    yield from (dt.UTC, dt.timezone(dt.timedelta(hours=1)), zone)
    yield from (dt.datetime(2020, 1, 2, tzinfo=zone), dt.time(1, tzinfo=zone))


def numpy_values() -> Iterator[Any]:
    """Arrays, scalars, dtypes and random states."""
    for kind in NUMPY_KINDS:
        for array in (np.zeros((), kind), np.zeros(2, kind), np.zeros((2, 3), kind, order="F")):
            yield array
            yield array.flat[0]
        yield np.dtype(kind)
    yield from (np.dtype([("a", "i1"), ("b", "f8")], align=True), np.rec.array([(1, 2.0)]))
    yield np.dtype({"names": ["a"], "formats": ["f8"], "titles": ["T"]})
    yield from (np.ma.array([1]), np.ma.array([1.0, 2.0], mask=[0, 1]), np.ma.array(["a"]))
    yield np.ma.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])
    for kind in (np.random.MT19937, np.random.PCG64, np.random.Philox, np.random.SFC64):
        yield np.random.Generator(kind(1))
        yield np.random.RandomState(kind(1))
    seeds = np.random.SeedSequence(1).spawn(2)
    yield from (np.random.RandomState(0), np.random.default_rng(), seeds, np.random.SeedSequence())


def sparse_values() -> Iterator[Any]:
    """Sparse matrices and arrays of each kind, before and after they are used."""
    for kind in SPARSE:
        for form in ("array", "matrix"):
            for dtype in ("f8", "f4", "i8", "?", "c16"):
                made = getattr(scipy.sparse, f"{kind}_{form}")(np.eye(3, 4).astype(dtype))
                yield made
                if hasattr(made, "sum_duplicates"):
                    made.sum_duplicates()
                yield made
    yield scipy.sparse.coo_array(np.ones(3))
    yield scipy.sparse.csr_array(np.ones(3))
    yield scipy.sparse.csr_matrix((0, 0))


def sklearn_values() -> Iterator[Any]:
    """Estimators of each kind that fits quickly, and the compiled parts of others."""
    x = np.abs(np.random.default_rng(0).normal(size=(60, 4)))
    for name, kind in sklearn.utils.all_estimators():
        for data in (x, scipy.sparse.csr_matrix(x), np.argsort(x).astype(str)):
            for target in (x[:, 0], np.arange(60) % 3, np.arange(60) % 2, x[:, :2]):
                model = fitted(name, kind, data, target)
                if model is not None:
                    yield model
    for metric in ("euclidean", "l2"):
        for weight in (None, np.ones(60)):
            yield sklearn.neighbors.KDTree(x, 5, metric=metric, sample_weight=weight)
            yield sklearn.neighbors.BallTree(x, 5, metric=metric, sample_weight=weight)
    for family in ("linear_model._sgd_fast", "_loss.loss", "_loss._loss", "_loss.link"):
        yield from instances(importlib.import_module(f"sklearn.{family}"))
    yield from instances(kernels)
    yield from (sklearn.utils.Bunch(a=1), sklearn.utils.Bunch(), *kernels.RBF().hyperparameters)
    yield LinearModelLoss(base_loss=HalfSquaredError(), fit_intercept=True)
    yield from (KDTree32(x.astype("f4")), BallTree32(x.astype("f4")))
    yield kernels.RBF() + kernels.WhiteKernel() * kernels.ConstantKernel() ** 2


OPTIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "GradientBoostingRegressor": tuple(
        {"loss": loss, "n_estimators": 2} for loss in ("absolute_error", "huber", "quantile")
    ),
    "GradientBoostingClassifier": ({"loss": "exponential", "n_estimators": 2},),
    "HistGradientBoostingRegressor": (
        *({"loss": each, "max_iter": 2} for each in ("absolute_error", "poisson", "gamma")),
        {"loss": "quantile", "quantile": 0.5, "max_iter": 2},
        {"categorical_features": [0], "max_iter": 2},
    ),
    "HistGradientBoostingClassifier": ({"categorical_features": [0], "max_iter": 2},),
    "SGDClassifier": tuple(
        {"loss": loss}
        for loss in ("log_loss", "modified_huber", "squared_hinge", "perceptron", "huber",
                     "squared_error", "epsilon_insensitive", "squared_epsilon_insensitive")
    ),
    "SVC": ({"probability": True}, {"kernel": "linear"}, {"kernel": "poly"}),
    "KNeighborsClassifier": ({"algorithm": "ball_tree"}, {"algorithm": "brute"}),
    "MLPClassifier": ({"max_iter": 2, "solver": "sgd"}, {"max_iter": 2, "solver": "lbfgs"}),
    "RandomForestClassifier": ({"n_estimators": 2, "random_state": np.random.RandomState(0)},),
    "TweedieRegressor": tuple({"power": power} for power in (0, 1, 1.5, 2, 3)),
    "IsolationForest": ({"n_estimators": 2, "max_features": 2},),
}  # fmt: skip
"""Estimator → further options whose classes the defaults do not reach."""
FEW = ("n_estimators", "max_iter", "n_init")


def fitted(name: str, kind: Any, data: Any, target: Any) -> Any:
    """Estimators with each of their options, fitted where they can be."""
    models = []
    known = inspect.signature(kind).parameters
    few = {option: 2 for option in FEW if option in known}
    for options in ({}, *OPTIONS.get(name, ())):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                models.append(kind(**{**few, **options}).fit(data, target))
            except Exception:  # noqa: BLE001, S112 - it takes other data
                continue
    return models or None


def instances(module: Any) -> Iterator[Any]:
    """Instances of a module's classes, of those that need few arguments."""
    for kind in [each for each in vars(module).values() if isinstance(each, type)]:
        for arguments in ((), (1.0,), (2,), (None, 3)):
            try:
                made = kind(*arguments)
                pickle.dumps(made)
            except Exception:  # noqa: BLE001, S112 - it takes other arguments, or has no pickle
                continue
            yield made


def torch_values() -> Iterator[Any]:
    """Tensors, parameters, modules and optimizers."""
    nn = torch.nn
    kinds = {each for each in vars(torch).values() if isinstance(each, torch.dtype)}
    for kind in kinds:
        try:
            for shape in ((), (3,), (2, 3), (0, 2)):
                yield torch.zeros(shape, dtype=kind)
        except (RuntimeError, TypeError, NotImplementedError):
            continue
    yield from (nn.Parameter(torch.ones(2)), torch.Size([2, 3]), torch.Size([]), torch.ones(4)[::2])
    yield from (torch.ones(2, 3).T, torch.ones(1).expand(9), torch.device("cpu"), torch.float32)
    yield from (torch.empty(2, 3, device="meta"), torch.device("cuda", 0), torch.strided)
    part = nn.Parameter(torch.ones(2))
    part.note = "x"  # type: ignore[attr-defined] - what the state of a parameter is for
    own = torch.ones(2)
    own.note = "x"  # type: ignore[attr-defined] - as above
    yield from (
        part,
        own,
        torch.ones(2, requires_grad=True),
        torch.ones(2, dtype=torch.cfloat).conj(),
    )
    for made in ("to_sparse", "to_sparse_csr", "to_sparse_csc"):
        yield getattr(torch.eye(3), made)()
    yield from (torch.eye(4).to_sparse_bsr((2, 2)), torch.eye(4).to_sparse_bsc((2, 2)))
    for kind in (torch.qint8, torch.quint8, torch.qint32):
        yield torch.quantize_per_tensor(torch.ones(3), 0.1, 1, kind)
        scales, zeros = torch.tensor([0.1, 0.2]), torch.zeros(2, dtype=torch.long)
        yield torch.quantize_per_channel(torch.ones(2, 2), scales, zeros, 0, kind)
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    wholes = torch.ones(2, dtype=torch.uint16)
    for inner in (torch.empty(2, device="meta"), torch.eye(2).to_sparse(), wholes, nested):
        yield from (inner, nn.Parameter(inner, requires_grad=False))
    net = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.LSTM(4, 2), nn.MultiheadAttention(4, 2)
    )
    yield from (net.state_dict(), nn.Transformer(8, 2, 1, 1, 8), nn.Embedding(4, 2))
    for optimizer in (torch.optim.SGD, torch.optim.Adam):
        yield optimizer(net.parameters(), lr=0.1).state_dict()
    yield from modules()


def modules() -> Iterator[Any]:
    """A module of each class of torch.nn that small numbers make."""
    choices: tuple[tuple[Any, ...], ...] = (
        (), (2,), (2, 2), (2, 2, 2), (4, 2, 1), ([2, 2],), (2, 2, 2, 2), (1, (2, 2)), (4, 2, [2]),
    )  # fmt: skip
    for kind in vars(torch.nn).values():
        for arguments in choices if isinstance(kind, type) else ():
            try:
                made = kind(*arguments)
            except Exception:  # noqa: BLE001, S112 - it takes other arguments
                continue
            yield made
            break


def distributed_values() -> Iterator[Any]:
    """Metadata of a distributed checkpoint."""
    net = torch.nn.Linear(2, 2)
    net(torch.ones(1, 2)).sum().backward()
    optimizer = torch.optim.AdamW(net.parameters())
    optimizer.step()
    state = {"model": net.state_dict(), "optim": optimizer.state_dict(), "epoch": 3}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint.save(state, checkpoint_id=folder)
        yield pickle.loads((pathlib.Path(folder) / ".metadata").read_bytes())  # noqa: S301 - its own


def torch_pickles(value: Any) -> Iterator[bytes]:
    """The pickles in files that `torch.save` writes, in both layouts."""
    for new in (True, False):
        stream = io.BytesIO()
        try:
            torch.save(value, stream, _use_new_zipfile_serialization=new)
        except Exception:  # noqa: BLE001, S112 - it has no such file
            continue
        if new:
            with zipfile.ZipFile(stream) as archive:
                name = next(each for each in archive.namelist() if each.endswith("data.pkl"))
                yield archive.read(name)
        else:
            yield stream.getvalue()


def joblib_file(value: Any) -> bytes:
    """A file that joblib writes."""
    stream = io.BytesIO()
    joblib.dump(value, stream)
    return stream.getvalue()
