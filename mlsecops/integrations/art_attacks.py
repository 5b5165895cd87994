"""Evasion attacks of the Adversarial Robustness Toolbox (ART) as `Attack`s.

batch → ART attack on an estimator of the Adapter → projection into the ball → robustness report
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from mlsecops._extras import require
from mlsecops.errors import UsageError
from mlsecops.integrations.art import estimator, seeded
from mlsecops.robustness.attacks.base import Searching, require_ball

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array
    from mlsecops.robustness.attacks.ball import Norm
    from mlsecops.robustness.attacks.base import Batch

__all__ = ["ArtAttack"]


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

    needs_gradients: ClassVar[bool] = False  # ART itself refuses a model without them
    kind: str
    eps: float
    _: KW_ONLY
    norm: Norm = "linf"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_ball(self.name, self.eps, self.norm)

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
        made = estimator(
            batch.adapter,
            input_shape=x.shape[1:],
            classes=batch.adapter.logits(x[:1]).shape[1],
            bounds=(float(batch.low.min()), float(batch.high.max())),
        )
        with seeded(batch.seeds()[0] if len(batch) else [batch.seed]):
            found = self._build(made).generate(x.copy(), y=batch.y)
        return batch.ball.project(found)

    def _build(self, made: Any) -> Any:
        kind = getattr(require("art.attacks.evasion"), self.kind, None)
        if kind is None:
            raise UsageError(f"kind: expected a class in art.attacks.evasion, got {self.kind!r}")
        exceptions = require("art.exceptions")
        ours = {"eps": self.eps, "norm": "inf" if self.norm == "linf" else 2, "verbose": False}
        taken = {name: value for name, value in ours.items() if name in kind.attack_params}
        try:
            return kind(made, **{**taken, **self.settings})
        except (TypeError, ValueError, exceptions.EstimatorError) as error:
            raise UsageError(f"{self.name}: ART refuses it: {error}") from error
