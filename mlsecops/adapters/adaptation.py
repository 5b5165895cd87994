"""Choice of the Adapter that wraps a model of any framework.

model, options → `adapt` → Adapter; no framework is imported that is not in use
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

from mlsecops._choices import named
from mlsecops.adapters.answers.output_form import OutputRequest
from mlsecops.adapters.base import Adapter, FrameworkAdapter
from mlsecops.errors import UsageError

if TYPE_CHECKING:
    from mlsecops.adapters.answers.output_form import Output
    from mlsecops.adapters.base import Precision

_TORCH_ONLY: Final = frozenset({"precision", "channels_last"})
_HOMES: Final = (
    # Keras before torch: on Keras' torch backend a Keras model is also a torch module.
    ("keras", "Model", "mlsecops.adapters.tensorflow", "KerasAdapter"),
    ("torch.nn", "Module", "mlsecops.adapters.pytorch", "TorchAdapter"),
    ("torch.export.exported_program", "ExportedProgram",
     "mlsecops.adapters.pytorch", "TorchAdapter"),
    ("sklearn.base", "BaseEstimator", "mlsecops.adapters.sklearn", "SklearnAdapter"),
    ("xgboost.core", "Booster", "mlsecops.adapters.trees.boosters", "BoosterAdapter"),
    ("lightgbm.basic", "Booster", "mlsecops.adapters.trees.boosters", "BoosterAdapter"),
    ("catboost.core", "CatBoost", "mlsecops.adapters.trees.boosters", "BoosterAdapter"),
    ("mlsecops.adapters.trees.ensemble", "Ensemble",
     "mlsecops.adapters.trees.boosters", "EnsembleAdapter"),
    ("onnx", "ModelProto", "mlsecops.adapters.onnx", "OnnxAdapter"),
    ("onnxruntime", "InferenceSession", "mlsecops.adapters.onnx", "OnnxAdapter"),
    # Last: Keras models are trackable too.
    ("tensorflow.python.trackable.autotrackable", "AutoTrackable",
     "mlsecops.adapters.savedmodel", "SavedModelAdapter"),
)  # fmt: skip


@named
def adapt(
    model: Any,
    *,
    channels_first: bool | None = None,
    device: str | None = None,
    classes: int | None = None,
    output: Output | None = None,
    reject: Any = None,
    precision: Precision | None = None,
    channels_last: bool = False,
) -> Adapter:
    """Wrap a model in an Adapter, without importing a framework that is not in use.

    Args:
        model: A torch module, Keras model, SavedModel as TensorFlow loads it, scikit-learn
            classifier, ONNX model, a LoadedModel or an Adapter; or a function from inputs
            `(n, *shape)` to scores, which has no gradients.
        channels_first: Whether images are `(n, c, h, w)`; by default the framework's convention
            (torch and ONNX yes, the others no).
        device: Device of each call (`"cpu"`, `"cuda:1"`); by default the model's own. The model
            is moved there and back once for an evaluation, else on every call. torch only.
        classes: Required number of classes `k`; an output of another width is an error.
        output: What the model returns: `"logits"`, `"probabilities"` or `"log-probabilities"`, a
            column for each class; `"logit"`, `"probability"` or `"log-probability"`, one column of
            the second of two classes; a callable that picks the scores out of a tuple, dict or
            object; or a pair (form, callable). By default the form is found out on the first batch.
        reject: Class (its name or column) whose answer means abstention, or a callable from
            probabilities `(n, k)` to bool `(n,)`. A rejected adversarial input counts as defended,
            a rejected clean one as wrong.
        precision: Autocast of gradients (`"bfloat16"`, `"float16"`), for faster attacks; the
            accuracy on their examples is that of full precision. torch only.
        channels_last: Hand images to the model in that memory format, which convolutions on a GPU
            prefer. torch only.

    Returns:
        The Adapter; the model has not run yet.

    Raises:
        UsageError: The model is of no known framework, or an option does not fit it.
    """
    request = OutputRequest.of(output)
    options = {
        "channels_first": channels_first, "device": device, "classes": classes, "output": output,
        "precision": precision, "channels_last": channels_last or None,
    }  # fmt: skip
    made = _adapter(model, {name: each for name, each in options.items() if each is not None})
    if isinstance(made, FrameworkAdapter):
        made.require_output(request)
    if reject is None:
        return made
    abstention = import_module("mlsecops.adapters.abstention")
    return cast("Adapter", abstention.Abstaining.of(made, reject))


def _adapter(model: Any, options: dict[str, Any]) -> Adapter:
    view = model if isinstance(model, Adapter) else getattr(model, "adapter", None)
    if isinstance(view, Adapter):  # a LoadedModel has one
        if not options:
            return view
        if isinstance(view, FrameworkAdapter):
            return type(view)(view.model, **{**view.options, **options})
        raise UsageError(
            f"{', '.join(options)}: expected a model, got an Adapter of type "
            f"{type(view).__name__}, whose answers have a form already"
        )
    for module, base, home, name in _HOMES:
        kind = getattr(sys.modules.get(module), base, None)
        if isinstance(kind, type) and isinstance(model, kind):
            return _wrapped(model, options, home, name)
    if callable(model) and not isinstance(model, type):
        return _wrapped(model, options, "mlsecops.adapters.function", "FunctionAdapter")
    raise UsageError(
        f"cannot adapt {type(model).__module__}.{type(model).__qualname__}: expected a torch "
        "module, a Keras model, a SavedModel, a scikit-learn classifier, an ONNX model, a function "
        "from inputs to scores, or an object with the Adapter's methods"
    )


def _wrapped(model: Any, options: dict[str, Any], home: str, name: str) -> Adapter:
    kind = getattr(import_module(home), name)
    given = sorted(options.keys() & _TORCH_ONLY)
    if given and kind.framework != "torch":
        raise UsageError(f"{', '.join(given)}: expected a torch module, got {type(model).__name__}")
    return cast("Adapter", kind(model, **options))
