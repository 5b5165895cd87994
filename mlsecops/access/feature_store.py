"""Guarded feature store: every offline and online read of Feast's features is decided first.

Feast FeatureStore + policy → GuardedFeatureStore → features, or AccessDenied

Resources are `PROJECT/VIEW/FEATURE`, whatever version of a view is read. A read is refused whole if
one feature is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from mlsecops._choices import checked, of_type
from mlsecops._repr import concise_repr
from mlsecops.access.decision import AccessDecider, DecisionSink
from mlsecops.access.guarded_reads import READ, DataAccess
from mlsecops.errors import UsageError
from mlsecops.provenance import hash_dataset

__all__ = ["GuardedFeatureStore"]

_VERSION: Final = re.compile(r"(?:latest|v[0-9]+)?", re.IGNORECASE | re.ASCII)  # Feast's `view@v2`


@concise_repr("_store", "_access")
class GuardedFeatureStore:
    """A Feast feature store behind an access policy; it reads, and writes nothing.

    Inside `training_run` the table that a read returns is a data set of the run, with its digest.

    Args:
        store: A `feast.FeatureStore`.
        policy: Decides about `dataset:read` of each feature.
        subject: The subject; by default that of `acting_as`.
        audit: Log that receives each decision, and the digest of what a training run read.
        clock: Time of a decision, timezone-aware.

    Raises:
        UsageError: It is no feature store.
    """

    @checked
    def __init__(
        self,
        store: Any,
        policy: AccessDecider,
        *,
        subject: str | None = None,
        audit: DecisionSink | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = of_type("store", store, "get_online_features", "a Feast FeatureStore")
        self._access = DataAccess(policy=policy, subject=subject, audit=audit, clock=clock)

    def get_historical_features(self, entity_df: Any, features: Any, **options: Any) -> Any:
        """Features of past moments, for training.

        Args:
            entity_df: Table of entities and times, or None where Feast takes all of them. A text
                would be SQL, which can read what nobody decided about.
            features: `"view:feature"` texts, or a Feast FeatureService.
            options: Further options of Feast's method.

        Returns:
            A pandas DataFrame.

        Raises:
            AccessDenied: The subject may not read one of the features.
            UsageError: The entities are a text, or a feature has no name.
        """
        if isinstance(entity_df, str | bytes):
            raise UsageError("entity_df: expected a table, got a text; run the query yourself")
        features, names = self._demanded(features)
        job = self._store.get_historical_features(entity_df=entity_df, features=features, **options)
        return self._recorded(job.to_df(), names)

    def get_online_features(self, features: Any, entity_rows: Any, **options: Any) -> Any:
        """Features of this moment, for serving.

        Args:
            features: `"view:feature"` texts, or a Feast FeatureService.
            entity_rows: Entities, as Feast takes them.
            options: Further options of Feast's method.

        Returns:
            Feast's OnlineResponse.

        Raises:
            AccessDenied: The subject may not read one of the features.
        """
        features, names = self._demanded(features)
        answer = self._store.get_online_features(
            features=features, entity_rows=entity_rows, **options
        )
        if self._access.run is not None:
            self._recorded(answer.to_df(), names)
        return answer

    def _demanded(self, features: Any) -> tuple[Any, list[str]]:
        """The features as they are read, and their resources, which the subject may read."""
        if not hasattr(features, "feature_view_projections") and not isinstance(features, str):
            features = [*features] if isinstance(features, Iterable) else features
        names = [f"{self._store.project}/{each}" for each in _named(features)]
        if not names:
            raise UsageError("features: expected at least one, got none")
        for name in names:
            self._access.demand(READ, name)
        return features, names

    def _recorded(self, table: Any, names: list[str]) -> Any:
        if self._access.run is not None:
            name = "features/" + "+".join(sorted({each.rsplit("/", 1)[0] for each in names}))
            self._access.note(name, hash_dataset(table, name=name))
        return table


def _named(features: Any) -> Iterator[str]:
    """`VIEW/FEATURE` of each text, or of a service's projections."""
    projections = getattr(features, "feature_view_projections", None)
    if projections is not None:
        for projection in projections:
            for feature in projection.features:
                yield f"{projection.name}/{feature.name}"
        return
    if isinstance(features, str) or not isinstance(features, Iterable):
        raise UsageError("features: expected 'view:feature' texts or a FeatureService")
    for text in features:
        view, _, feature = text.partition(":") if isinstance(text, str) else ("", "", "")
        name, _, version = view.partition("@")
        if _VERSION.fullmatch(version):
            view = name
        if not (view and feature) or "/" in text:
            raise UsageError(f"features: expected 'view:feature', got {str(text)[:80]!r}")
        yield f"{view}/{feature}"
