"""Names of the formats that are detected, and what is said of those that are not looked into."""

from __future__ import annotations

import enum
from typing import Final


class Format(enum.StrEnum):
    """Formats that are detected; some cannot be scanned, and fewer can be loaded."""

    SAFETENSORS = "safetensors"
    TORCH = "torch"
    TORCH_LEGACY = "torch-legacy"
    TORCHSCRIPT = "torchscript"
    PT2 = "pt2"
    PICKLE = "pickle"
    DISTRIBUTED = "distributed"
    DISTRIBUTED_METADATA = "distributed-metadata"
    KERAS = "keras"
    HDF5 = "hdf5"
    NPY = "npy"
    NPZ = "npz"
    GGUF = "gguf"
    GGML = "ggml"
    ONNX = "onnx"
    ORT = "ort"
    SAVED_MODEL = "savedmodel"
    TENSORFLOW_GRAPH = "tensorflow-graph"
    META_GRAPH = "tensorflow-meta-graph"
    TENSOR_INDEX = "tensor-index"
    TENSOR_DATA = "tensor-data"
    TFLITE = "tflite"
    OPENVINO = "openvino"
    COREML = "coreml"
    COREML_WEIGHTS = "coreml-weights"
    EXECUTORCH = "executorch"
    PADDLE = "paddle"
    PADDLE_WEIGHTS = "paddle-weights"
    MXNET = "mxnet"
    MXNET_WEIGHTS = "mxnet-weights"
    CAFFE = "caffe"
    XGBOOST = "xgboost"
    XGBOOST_UBJ = "xgboost-ubj"
    LIGHTGBM = "lightgbm"
    CATBOOST = "catboost"
    PMML = "pmml"
    FASTTEXT = "fasttext"
    WORD2VEC = "word2vec"
    CTRANSLATE2 = "ctranslate2"
    MSGPACK = "msgpack"
    RDS = "rds"
    SKOPS = "skops"
    JOBLIB = "joblib"
    ZIP = "zip"
    TAR = "tar"
    COMPRESSED = "compressed"
    XML = "xml"
    PROGRAM = "program"
    FOREIGN_CODE = "foreign-code"
    TENSORRT = "tensorrt"
    TORCH_MOBILE = "torch-mobile"
    RKNN = "rknn"
    NCNN = "ncnn"
    MATLAB = "matlab"
    OCDBT = "ocdbt"
    SEVEN_ZIP = "7z"
    RAR = "rar"
    ZSTANDARD = "zstandard"
    PARQUET = "parquet"
    ARROW = "arrow"
    SQLITE = "sqlite"
    COMPANION = "companion"
    UNKNOWN = "unknown"


CODE: Final = frozenset({Format.TORCHSCRIPT, Format.PT2})
"""Formats that carry code: loaded only when signed, and allowed by name."""
RECOGNISED: Final = {
    Format.TENSORRT: "a TensorRT engine: compiled code, and plug-ins by name",
    Format.TORCH_MOBILE: "a PyTorch Mobile model: code of TorchScript in a flat buffer",
    Format.RKNN: "an RKNN model: compiled code for an accelerator",
    Format.NCNN: "an ncnn network, whose custom layers a library outside implements",
    Format.MATLAB: "a MAT-file, which may hold objects and function handles",
    Format.SEVEN_ZIP: "a 7z archive; unpack it and scan its files",
    Format.RAR: "a RAR archive; unpack it and scan its files",
    Format.ZSTANDARD: "compressed with zstandard; unpack it and scan its file",
    Format.PARQUET: "a Parquet table",
    Format.ARROW: "an Arrow table",
    Format.SQLITE: "an SQLite database",
    Format.XML: "XML of no known format",
}
"""Format that is known by its content and not looked into → why it is unchecked."""
