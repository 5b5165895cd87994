"""Table of the loading calls that a protected process passes through verification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Needs: TypeAlias = Literal["file", "onnx", "folder", "settings"]
"""What of an artifact a call reads: one file; a file and its external data; the whole folder; its
files without weights."""


_NAME: Final = "pretrained_model_name_or_path"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A function that loads from a path.

    Attributes:
        module: Module that defines it.
        name: Its qualified name in the module.
        argument: Name of the parameter that takes the path.
        position: Place of that parameter among positional ones, `self` and `cls` included.
        needs: What it reads.
    """

    module: str
    name: str
    argument: str
    position: int = 0
    needs: Needs = "file"

    @property
    def key(self) -> str:
        """Name for messages and tables."""
        return f"{self.module}.{self.name}"


def _from_pretrained(
    module: str, kind: str, *, needs: Needs = "folder", argument: str = _NAME, position: int = 1
) -> Call:
    name = f"{kind}.from_pretrained"
    return Call(module=module, name=name, argument=argument, position=position, needs=needs)


def _settings(module: str, kind: str) -> Call:
    return _from_pretrained(module, kind, needs="settings")


_FILES: Final = (
    Call(module="torch.serialization", name="load", argument="f"),
    Call(module="torch.jit._serialization", name="load", argument="f"),
    Call(module="torch.export", name="load", argument="f"),
    Call(module="safetensors.torch", name="load_file", argument="filename"),
    Call(module="safetensors.torch", name="load", argument="data"),
    Call(module="safetensors.numpy", name="load_file", argument="filename"),
    Call(module="safetensors.numpy", name="load", argument="data"),
    Call(module="joblib.numpy_pickle", name="load", argument="filename"),
    Call(module="numpy", name="load", argument="file"),
    Call(module="skops.io", name="load", argument="file"),
    Call(module="keras.src.saving.saving_api", name="load_model", argument="filepath"),
    Call(
        module="keras.src.saving.saving_api", name="load_weights", argument="filepath", position=1
    ),
    Call(module="onnx", name="load_model", argument="f", needs="onnx"),
    Call(
        module="onnxruntime.capi.onnxruntime_inference_collection",
        name="InferenceSession.__init__",
        argument="path_or_bytes",
        position=1,
        needs="onnx",
    ),
)
_AUTO: Final = "transformers.models.auto"
_FOLDERS: Final = (
    _from_pretrained("transformers.modeling_utils", "PreTrainedModel"),
    _from_pretrained(f"{_AUTO}.auto_factory", "_BaseAutoModelClass"),
    _settings(f"{_AUTO}.configuration_auto", "AutoConfig"),
    _settings("transformers.configuration_utils", "PretrainedConfig"),
    _settings(f"{_AUTO}.tokenization_auto", "AutoTokenizer"),
    _settings("transformers.tokenization_utils_base", "PreTrainedTokenizerBase"),
    _settings(f"{_AUTO}.processing_auto", "AutoProcessor"),
    _settings("transformers.processing_utils", "ProcessorMixin"),
    _settings(f"{_AUTO}.image_processing_auto", "AutoImageProcessor"),
    _settings("transformers.image_processing_base", "ImageProcessingMixin"),
    _settings(f"{_AUTO}.feature_extraction_auto", "AutoFeatureExtractor"),
    _settings("transformers.feature_extraction_utils", "FeatureExtractionMixin"),
    _settings("transformers.generation.configuration_utils", "GenerationConfig"),
    _from_pretrained("diffusers.pipelines.pipeline_utils", "DiffusionPipeline"),
    _from_pretrained("diffusers.models.modeling_utils", "ModelMixin"),
    _settings("diffusers.schedulers.scheduling_utils", "SchedulerMixin"),
    _from_pretrained("peft.peft_model", "PeftModel", argument="model_id", position=2),
    _settings("peft.config", "PeftConfigMixin"),
    _from_pretrained("model2vec.model", "StaticModel", argument="path"),
    _from_pretrained("huggingface_hub.hub_mixin", "ModelHubMixin"),
    Call(
        module="sentence_transformers",
        name="SentenceTransformer.__init__",
        argument="model_name_or_path",
        position=1,
        needs="folder",
    ),
    Call(
        module="tensorflow.python.saved_model.load",
        name="load",
        argument="export_dir",
        needs="folder",
    ),
)
CALLS: Final = {call.key: call for call in (*_FILES, *_FOLDERS)}
"""Name → Python function whose body is exchanged, so that every alias of it passes through."""

SAFE_OPEN: Final = Call(module="safetensors", name="safe_open", argument="filename")
"""The class of safetensors' compiled reader, which is exchanged in every module that has it."""
