"""End-to-end demonstration pipeline on real data.

    `story` → `data_stage` → `training_stage` → `release_stage` → `loading_stage`
            → `serving_stage` (`server`, `second_server`) → `response_stage` → deliverables

Each stage takes the `context` and the results of earlier stages. `network` hides the framework
(`torch_network`, `keras_network`), `digits` has the data, `staging` publishes the output whole.
"""

from mlsecops.demo.story import run_demo

__all__ = ["run_demo"]
