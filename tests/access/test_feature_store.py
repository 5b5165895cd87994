"""Guarded feature store, on a store with the interface of Feast's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from mlsecops.access import AccessPolicy, GuardedFeatureStore, Rule
from mlsecops.errors import AccessDenied, UsageError
from mlsecops.provenance import hash_dataset, training_run

TABLE = pd.DataFrame({"driver": [1, 2], "trips": [3, 4]})
POLICY = AccessPolicy(
    [
        Rule(subject="ann", action="dataset:read", resource="fraud/drivers/*"),
        Rule(subject="*", action="*", resource="fraud/*/salary", effect="deny"),
    ]
)


class Feast:
    """What of Feast's FeatureStore is called."""

    project = "fraud"

    def __init__(self) -> None:
        self.read: list[Any] = []

    def get_historical_features(self, *, entity_df: Any, features: Any) -> Any:
        self.read.append((entity_df, features))
        return SimpleNamespace(to_df=lambda: TABLE)

    def get_online_features(self, *, features: Any, entity_rows: Any) -> Any:
        self.read.append((features, entity_rows))
        return SimpleNamespace(to_df=lambda: TABLE, to_dict=dict)


def test_features_are_decided_one_by_one_and_recorded() -> None:
    feast, events = Feast(), []
    store = GuardedFeatureStore(
        feast, POLICY, subject="ann", audit=SimpleNamespace(append=events.append)
    )
    with training_run("fraud") as run:
        assert store.get_historical_features(TABLE, ["drivers:trips"]) is TABLE
        store.get_online_features(["drivers:trips"], [{"driver": 1}])
    [data] = run.datasets
    assert data.root == hash_dataset(TABLE, name=data.name).root
    for features in (["drivers:trips", "drivers:salary"], ["riders:age"]):
        with pytest.raises(AccessDenied):
            store.get_historical_features(TABLE, features)
        with pytest.raises(AccessDenied):
            store.get_online_features(features, [])
    assert len(feast.read) == 2
    assert {event["resource"] for event in events} >= {
        "fraud/drivers/trips",
        "fraud/drivers/salary",
    }


@pytest.mark.parametrize("version", ["@v2", "@V10", "@latest", "@LATEST", "@"])
def test_another_version_of_a_view_is_the_same_resource(version: str) -> None:
    policy = AccessPolicy([Rule(subject="ann", action="*", resource="fraud/**"), *POLICY.rules[1:]])
    store = GuardedFeatureStore(Feast(), policy, subject="ann")
    with pytest.raises(AccessDenied, match="salary"):
        store.get_online_features([f"drivers{version}:salary"], [])
    store.get_online_features([f"drivers{version}:trips"], [])


def test_sql_in_place_of_entities_is_refused() -> None:
    feast = Feast()
    with pytest.raises(UsageError, match="entity_df"):
        GuardedFeatureStore(feast, POLICY, subject="ann").get_historical_features(
            "SELECT * FROM salaries", ["drivers:trips"]
        )
    assert feast.read == []


def test_what_is_decided_is_what_is_read() -> None:
    feast = Feast()
    store = GuardedFeatureStore(feast, POLICY, subject="ann")
    store.get_historical_features(TABLE, (each for each in ["drivers:trips"]))
    assert feast.read[0][1] == ["drivers:trips"]


def test_a_feature_service_is_its_features() -> None:
    service = SimpleNamespace(
        feature_view_projections=[
            SimpleNamespace(name="drivers", features=[SimpleNamespace(name="salary")])
        ]
    )
    with pytest.raises(AccessDenied, match="salary"):
        GuardedFeatureStore(Feast(), POLICY, subject="ann").get_online_features(service, [])


@pytest.mark.parametrize("features", ["drivers:trips", 3, [], ["trips"], [None], ["a/b:c"]])
def test_what_names_no_features_is_wrong_use(features: Any) -> None:
    with pytest.raises(UsageError, match="features"):
        GuardedFeatureStore(Feast(), POLICY, subject="ann").get_historical_features(TABLE, features)
    with pytest.raises(UsageError, match="store"):
        GuardedFeatureStore(object(), POLICY)
