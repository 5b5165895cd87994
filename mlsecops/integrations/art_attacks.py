"""Evasion attacks of the Adversarial Robustness Toolbox (ART) as `Attack`s.

batch → ART attack on an estimator of the Adapter → projection into the ball → robustness report
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlsecops._choices import named
from mlsecops._extras import require
from mlsecops.errors import MLSecOpsError, UsageError
from mlsecops.integrations.art import estimator, seeded
from mlsecops.robustness.attacks.base import Searching, require_ball

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array
    from mlsecops.robustness.attacks.ball import Norm
    from mlsecops.robustness.attacks.base import Batch

__all__ = ["ArtAttack"]

_GRADIENTS: Final = {"LossGradientsMixin", "ClassGradientsMixin"}
_COMPOSED: Final = {
    "AutoAttack", "UniversalPerturbation", "TargetedUniversalPerturbation",
    "VirtualAdversarialMethod",
}  # fmt: skip
"""Attacks that use gradients without saying so. Source: ART 1.20, `art/attacks/evasion`."""
_PROBABILITIES: Final = {"AutoAttack", "NewtonFool", "SimBA", "VirtualAdversarialMethod"}
"""Attacks that demand probabilities of the model. Source: as above."""
_REASON: Final = 300  # characters of ART's own message; chosen


@named
@dataclass(frozen=True, slots=True)
class ArtAttack(Searching):
    """An ART attack by the name of its class.

    ART uses numpy's global generator, which is seeded for each batch and then restored: results
    depend on the seed and the batch size.

    Attributes:
        kind: Class in `art.attacks.evasion`, such as `"CarliniL2Method"`.
        eps: Radius of the ball, in units of the input; passed on if the attack takes it.
        norm: `"linf"` or `"l2"`; passed on likewise.
        settings: Further arguments of the class.
    """

    kind: str
    eps: float
    _: KW_ONLY
    norm: Norm = "linf"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_ball(self.name, self.eps, self.norm)

    @property
    def needs_gradients(self) -> bool:  # type: ignore[override] # of a class or of an instance
        """Whether ART demands gradients of the model for this attack."""
        kind = getattr(require("art.attacks.evasion"), self.kind, None)
        wanted = {each.__name__ for each in getattr(kind, "_estimator_requirements", ())}
        return self.kind in _COMPOSED or bool(wanted & _GRADIENTS)

    @property
    def name(self) -> str:
        """`"art-"` and the name of the class."""
        return f"art-{self.kind}"

    @property
    def params(self) -> dict[str, Any]:
        """Plain values for the report."""
        return {"norm": self.norm, "eps": self.eps, **self.settings}

    def search(self, batch: Batch) -> Array:
        """ART's adversarial examples for one batch, inside the ball.

        Raises:
            UsageError: The attack is unknown, or refuses the model or the settings.
        """
        x = batch.ball.x
        classes = batch.adapter.logits(x[:1]).shape[1]
        made = estimator(
            batch.adapter,
            input_shape=x.shape[1:],
            classes=classes,
            bounds=(float(batch.low.min()), float(batch.high.max())),
            predicts="probabilities" if self.kind in _PROBABILITIES else "logits",
        )
        attack = self._build(made)
        try:
            with seeded(batch.seeds()[0] if len(batch) else [batch.seed]):
                found = np.asarray(attack.generate(x.copy(), y=self._labels(batch, classes)))
        except MLSecOpsError:
            raise
        except Exception as error:  # ART's attacks raise what they like
            raise UsageError(
                f"{self.name}: ART's attack fails on this model or data: {type(error).__name__}: "
                f"{str(error)[:_REASON]}"
            ) from error
        if found.shape != x.shape:
            raise UsageError(
                f"{self.name}: expected an example of each input, {x.shape}, got {found.shape}; it "
                "is no attack on single inputs"
            )
        return batch.ball.project(np.where(np.isfinite(found), found, x))

    def _labels(self, batch: Batch, classes: int) -> Array | None:
        """True labels as one-hot rows; None where ART takes y for a target."""
        if self.kind == "SaliencyMapMethod":
            return None
        column = batch.abstention
        labels = batch.y if column is None else batch.y + (batch.y >= column)
        return np.eye(classes, dtype=np.float32)[labels]

    def _build(self, made: Any) -> Any:
        kind = getattr(require("art.attacks.evasion"), self.kind, None)
        if kind is None:
            raise UsageError(f"kind: expected a class in art.attacks.evasion, got {self.kind!r}")
        exceptions = require("art.exceptions")
        ours = {"eps": self.eps, "norm": "inf" if self.norm == "linf" else 2, "verbose": False}
        known = inspect.signature(kind.__init__).parameters
        taken = {name: value for name, value in ours.items() if name in known}
        try:
            return kind(made, **{**taken, **self.settings})
        except exceptions.EstimatorError as error:
            raise UsageError(f"{self.name}: ART refuses the model: {error}") from error
        except Exception as error:  # of ART's own checks, in any type
            raise UsageError(
                f"{self.name}: ART refuses the settings: {type(error).__name__}: {error}"
            ) from error
