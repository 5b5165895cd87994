"""The whole pipeline on real data, told in eight steps.

`story` leads through the stages (`data_stage`, `training_stage`, `release_stage`,
`loading_stage`, `serving_stage`, `response_stage`); each takes the `scene` and what earlier
stages made. `network` hides the framework, `server` is the second process, `staging` makes
the results appear whole or not at all.
"""

from mlsecops.demo.story import run_demo

__all__ = ["run_demo"]
