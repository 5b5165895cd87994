"""Tree attack: an input in the ball that a tree ensemble misclassifies, found from its splits.

Adapter of a tree ensemble, inputs, labels → verification of each ball → examples
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from mlsecops._choices import checked
from mlsecops._repr import concise_repr
from mlsecops.adapters.trees.reader import read_trees
from mlsecops.errors import UsageError
from mlsecops.robustness.attacks.base import require_ball
from mlsecops.robustness.trees.boxes import Forest
from mlsecops.robustness.trees.goals import another_class
from mlsecops.robustness.trees.space import (
    MOST_CHOICES,
    ArraySpace,
    combinations,
    relevant,
    variants,
)
from mlsecops.robustness.trees.verification import WORK, Verdicts, verify

if TYPE_CHECKING:
    from mlsecops.adapters.base import Adapter, Array, Labels
    from mlsecops.adapters.trees.ensemble import Ensemble
    from mlsecops.robustness.attacks.ball import Bounds, Norm
    from mlsecops.robustness.attacks.base import Progress
    from mlsecops.robustness.trees.boxes import Boxes, Flags, Targets
    from mlsecops.robustness.trees.space import Space

_LABEL: Final = "trees"


@concise_repr()
@checked
@dataclass(frozen=True, slots=True)
class TreeAttack:
    """Search over the splits of a tree ensemble; it reads the model and needs no gradient.

    `evaluate_robustness` runs it on every tree ensemble by itself, with the ball of the attacks
    given, and takes the lower bound `report.certified` from the same search.

    Attributes:
        eps: Radius of the ball, in units of the input.
        norm: `"linf"` or `"l2"`.
        work: Leaves to look at over all samples; it decides how many stay undecided.

    Examples:
        >>> TreeAttack(0.1).name
        'trees'
    """

    eps: float
    norm: Norm = "linf"
    work: int = WORK

    needs_gradients: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_ball("TreeAttack", self.eps, self.norm)

    @property
    def name(self) -> str:
        """Short name, with `-l2` for an L2 ball."""
        return _LABEL if self.norm == "linf" else f"{_LABEL}-{self.norm}"

    @property
    def params(self) -> dict[str, Any]:
        """Plain values for the report."""
        return {"norm": self.norm, "eps": self.eps, "work": self.work}

    def perturb(
        self,
        adapter: Adapter,
        x: Array,
        y: Labels,
        *,
        seed: int,  # noqa: ARG002 - nothing is drawn
        bounds: Bounds,
        batch_size: int = 256,  # noqa: ARG002 - the model is read, not called
        index: Labels | None = None,  # noqa: ARG002 - as for the seed
        progress: Progress | None = None,
    ) -> Array:
        """Search for an adversarial example of each input; see `Attack.perturb`.

        Raises:
            UsageError: The model is no tree ensemble that can be read.
        """
        ensemble = read_trees(adapter.model)
        if ensemble is None:
            raise UsageError(
                f"trees: expected a tree ensemble of scikit-learn, XGBoost, LightGBM or CatBoost, "
                f"got a {type(adapter.model).__name__}"
            )
        space = ArraySpace(inputs=np.asarray(x, np.float32), bounds=bounds)
        found = searched(ensemble, space, another_class(ensemble, y), self, progress)
        return space.examples(found.examples)


def searched(
    ensemble: Ensemble,
    space: Space,
    targets: Targets,
    attack: TreeAttack,
    progress: Progress | None = None,
) -> Verdicts:
    """Decide every input of a space, over all categories that an attack may choose.

    Where there are too many combinations of categories, or where a category changes as if it were a
    number, nothing is proven, and only the inputs' own are attacked.
    """
    boxes = space.ball(attack.norm, attack.eps)
    forest = Forest(_on_whole_numbers(ensemble, boxes))
    choices = relevant(space.choices(), ensemble)
    count = combinations(choices)
    feasible = count <= MOST_CHOICES
    if not feasible:
        choices, count = [], 1
    result = Verdicts(
        proven=feasible & ~_with_moving_categories(ensemble, boxes),
        beaten=np.zeros(len(boxes), bool), examples=boxes.x.copy(),
    )  # fmt: skip
    for variant in variants(boxes, choices):
        left = np.flatnonzero(~result.beaten)
        if not len(left):
            break
        found = verify(
            forest, variant.rows(left), targets.rows(left),
            work=attack.work // count, progress=progress if count == 1 else None,
        )  # fmt: skip
        result.proven[left] &= found.proven
        result.beaten[left] = found.beaten
        moved = ~found.proven
        result.examples[left[moved]] = found.examples[moved]
    return result


def _with_moving_categories(ensemble: Ensemble, boxes: Boxes) -> Flags:
    """Boxes `(n,)` with a range of numbers in a column that a split takes for categories."""
    asked = ensemble.feature[np.array(list(ensemble.categories), dtype=np.int64)]
    ranges: Flags = boxes.low[:, asked] < boxes.high[:, asked]
    found: Flags = np.logical_or.reduce(ranges, axis=1)
    return found


def _on_whole_numbers(ensemble: Ensemble, boxes: Boxes) -> Ensemble:
    """The ensemble with thresholds that columns of whole numbers reach."""
    if boxes.whole is None or not boxes.whole.any():
        return ensemble
    whole = boxes.whole[np.maximum(ensemble.feature, 0)] & (ensemble.feature >= 0)
    return replace(
        ensemble, threshold=np.where(whole, np.floor(ensemble.threshold), ensemble.threshold)
    )
