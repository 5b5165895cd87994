"""Feast's offline and online reads behind a policy, by its local provider.

Run: make feast
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    OnDemandFeatureView,
    RepoConfig,
    RequestSource,
    ValueType,
)
from feast.driver_test_data import create_driver_hourly_stats_df
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float32, Float64, Int64

from mlsecops import Signer, training_run
from mlsecops.access import AccessPolicy, DecisionLog, GuardedFeatureStore, Rule
from mlsecops.errors import AccessDenied, UsageError
from mlsecops.provenance import hash_dataset

END = datetime(2026, 11, 20, tzinfo=UTC)
DRIVERS = [1001, 1002, 1003]
ROWS = [{"driver_id": each} for each in DRIVERS]
POLICY = AccessPolicy(
    [
        Rule(subject="ann", action="dataset:read", resource="fleet/**"),
        Rule(subject="*", action="*", resource="fleet/*/acc_rate", effect="deny"),
    ]
)


@pytest.fixture(scope="module")
def feast(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """A store of the local provider with Feast's own test data, also online."""
    place = tmp_path_factory.mktemp("feast")
    table = create_driver_hourly_stats_df(DRIVERS, END - timedelta(days=3), END)
    table.to_parquet(place / "drivers.parquet")
    store = FeatureStore(
        config=RepoConfig(
            project="fleet",
            provider="local",
            registry={
                "path": str(place / "registry.db"),
                "enable_online_feature_view_versioning": True,
            },
            online_store={"type": "sqlite", "path": str(place / "online.db")},
            offline_store={"type": "dask"},
            entity_key_serialization_version=3,
        )
    )
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    view = FeatureView(
        name="stats",
        entities=[driver],
        ttl=timedelta(days=365),
        schema=[
            Field(name="conv_rate", dtype=Float32),
            Field(name="acc_rate", dtype=Float32),
            Field(name="avg_daily_trips", dtype=Int64),
        ],
        source=FileSource(path=str(place / "drivers.parquet"), timestamp_field="event_timestamp"),
    )
    services = [
        FeatureService(name="good", features=[view[["conv_rate"]]]),
        FeatureService(name="bad", features=[view[["acc_rate"]].with_name("harmless")]),
    ]
    store.apply([driver, view, doubled(view), *services])
    store.materialize(END - timedelta(days=3), END)
    return store


def doubled(view: FeatureView) -> OnDemandFeatureView:
    """A feature that is computed when it is read."""
    request = RequestSource(name="request", schema=[Field(name="factor", dtype=Int64)])

    @on_demand_feature_view(
        sources=[view, request], schema=[Field(name="times", dtype=Float64)], mode="pandas"
    )
    def computed(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"times": inputs["conv_rate"].astype("float64") * inputs["factor"]})

    made: OnDemandFeatureView = computed
    return made


def entities() -> pd.DataFrame:
    return pd.DataFrame({"driver_id": DRIVERS, "event_timestamp": [END - timedelta(hours=2)] * 3})


def guarded(feast: FeatureStore, audit: Any = None) -> GuardedFeatureStore:
    return GuardedFeatureStore(feast, POLICY, subject="ann", audit=audit)


def test_an_offline_read_is_decided_audited_and_recorded(
    feast: FeatureStore, tmp_path: Path
) -> None:
    features = ["stats:conv_rate", "stats:avg_daily_trips"]
    log = DecisionLog(tmp_path / "log", signer=Signer.generate("ed25519"))
    with training_run("fleet") as run:
        table = guarded(feast, log).get_historical_features(entities(), features)
    log.flush()
    own = feast.get_historical_features(entity_df=entities(), features=features).to_df()
    pd.testing.assert_frame_equal(table, own)
    assert table["conv_rate"].notna().all()
    [data] = run.datasets
    assert data.root == hash_dataset(own, name=data.name).root
    events = [*log.events()]
    assert {each["resource"] for each in events} >= {
        "fleet/stats/conv_rate",
        "fleet/stats/avg_daily_trips",
    }
    assert str(data.root) in str(events)
    log.verify()
    log.close()


def test_an_online_read_is_decided_and_recorded(feast: FeatureStore) -> None:
    with training_run("fleet") as run:
        answer = guarded(feast).get_online_features(["stats:conv_rate"], ROWS)
    own = feast.get_online_features(features=["stats:conv_rate"], entity_rows=ROWS)
    assert answer.to_dict() == own.to_dict()
    assert None not in answer.to_dict()["conv_rate"]
    [data] = run.datasets
    assert data.root == hash_dataset(own.to_df(), name=data.name).root


@pytest.mark.parametrize(
    "name", ["stats:acc_rate", "stats@v0:acc_rate", "stats@latest:acc_rate", "stats@:acc_rate"]
)
def test_a_denied_feature_is_read_neither_offline_nor_online(
    feast: FeatureStore, name: str
) -> None:
    """Feast itself reads each of these names as the view's feature."""
    assert None not in feast.get_online_features([name], ROWS).to_dict()["acc_rate"]
    store = guarded(feast)
    with pytest.raises(AccessDenied, match="acc_rate"):
        store.get_online_features(["stats:conv_rate", name], ROWS)
    with pytest.raises(AccessDenied, match="acc_rate"):
        store.get_historical_features(entities(), [name])


def test_a_service_is_decided_by_its_features_under_their_own_names(feast: FeatureStore) -> None:
    store, service = guarded(feast), feast.get_feature_service("good")
    assert "conv_rate" in store.get_online_features(service, ROWS).to_dict()
    with pytest.raises(AccessDenied, match="stats/acc_rate"):
        store.get_online_features(feast.get_feature_service("bad"), ROWS)
    with pytest.raises(AccessDenied, match="stats/acc_rate"):
        store.get_historical_features(entities(), feast.get_feature_service("bad"))


def test_a_feature_that_is_computed_on_demand_is_decided_by_its_own_name(
    feast: FeatureStore,
) -> None:
    rows = [{**row, "factor": 2} for row in ROWS]
    answer = guarded(feast).get_online_features(["computed:times"], rows).to_dict()
    assert None not in answer["times"]
    policy = AccessPolicy([Rule(subject="ann", action="*", resource="fleet/stats/*")])
    with pytest.raises(AccessDenied, match="computed/times"):
        GuardedFeatureStore(feast, policy, subject="ann").get_online_features(
            ["computed:times"], rows
        )


def test_sql_in_place_of_entities_is_refused(feast: FeatureStore) -> None:
    with pytest.raises(UsageError, match="entity_df"):
        guarded(feast).get_historical_features("SELECT 1", ["stats:conv_rate"])
