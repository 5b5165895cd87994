"""Any evasion attack of the Adversarial Robustness Toolbox as an Attack of ours.

The toolbox's attack runs on an estimator made from the Adapter; what it returns is projected into
the ball and judged like any other example, so that its figure stands beside ours in one report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from mlsecops._extras import require
from mlsecops.errors import UsageError
from mlsecops.integrations.art import estimator, seeded
from mlsecops.robustness.attacks.base import Searching, require_norm, require_radius

if TYPE_CHECKING:
    from mlsecops.adapters.base import Array
    from mlsecops.robustness.attacks.ball import Norm
    from mlsecops.robustness.attacks.base import Batch

__all__ = ["ArtAttack"]


@dataclass(frozen=True, slots=True)
class ArtAttack(Searching):
    """An attack of the toolbox by the name of its class.

    The toolbox draws from numpy's global generator, which is seeded for each batch and given back:
    the same seed gives the same figures at the same batch size, and others at another.

    Attributes:
        kind: Class in `art.attacks.evasion`, such as `"CarliniL2Method"`.
        eps: Radius of the ball, in units of the input; handed on if the attack takes one.
        norm: `"linf"` or `"l2"`; handed on likewise.
        settings: The class's own arguments.
    """

    needs_gradients: ClassVar[bool] = False  # the toolbox refuses what it cannot attack
    kind: str
    eps: float
    _: KW_ONLY
    norm: Norm = "linf"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_radius(self.name, self.eps)
        require_norm(self.name, self.norm)

    @property
    def name(self) -> str:
        """`"art-"` and the class's name."""
        return f"art-{self.kind}"

    @property
    def params(self) -> dict[str, Any]:
        """Plain values for the report."""
        return {"norm": self.norm, "eps": self.eps, **self.settings}

    def search(self, batch: Batch) -> Array:
        """The toolbox's examples for one batch, inside the ball.

        Raises:
            UsageError: There is no such attack, or it refuses the model or the settings.
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
            raise UsageError(f"the toolbox has no evasion attack {self.kind!r}")
        exceptions = require("art.exceptions")
        ours = {"eps": self.eps, "norm": "inf" if self.norm == "linf" else 2, "verbose": False}
        taken = {name: value for name, value in ours.items() if name in kind.attack_params}
        try:
            return kind(made, **{**taken, **self.settings})
        except (TypeError, ValueError, exceptions.EstimatorError) as error:
            raise UsageError(f"{self.name}: the toolbox refuses it: {error}") from error
