"""The whole demo in order: eight steps from data to deliverables."""

from __future__ import annotations

import os
from pathlib import Path

from mlsecops._files import write_atomically
from mlsecops.demo.data_stage import prepare_data
from mlsecops.demo.digits import load_digits
from mlsecops.demo.loading_stage import load_release
from mlsecops.demo.network import network
from mlsecops.demo.release_stage import NAME, keep_model, release_models
from mlsecops.demo.response_stage import respond
from mlsecops.demo.scene import DemoContext, Narrator
from mlsecops.demo.serving_stage import serve_model
from mlsecops.demo.staging import staged
from mlsecops.demo.training_stage import GATE, harden_model, train_model
from mlsecops.pipeline import Delivery, SecurePipeline
from mlsecops.signing import Signer, TrustPolicy


def run_demo(
    out: str | os.PathLike[str],
    *,
    narrator: Narrator,
    seed: int = 0,
    framework: str = "torch",
    overwrite: bool = False,
) -> Delivery:
    """Take the digits through every stage and leave the six deliverables in a folder.

    Args:
        out: The folder; nothing appears in it before the end.
        narrator: Told of each step and its results.
        seed: Makes the figures repeatable, at least 0.
        framework: `"torch"` or `"tensorflow"`.
        overwrite: Replace the results that are there.

    Raises:
        UsageError: The folder holds something, or the framework is unknown.
        MissingExtra: The framework is not installed.
        MLSecOpsError: A control did not do what the demo shows; nothing is left in the folder.
    """
    net = network(framework)
    signer = Signer.generate("p256")
    with staged(Path(out), overwrite=overwrite) as folder:
        scene = DemoContext(
            out=folder,
            seed=seed,
            network=net,
            digits=load_digits(seed=seed, channels_first=net.channels_first),
            signer=signer,
            policy=TrustPolicy(keys=[signer.public_key]),
            narrator=narrator,
        )
        delivery = _tell(scene, framework)
    return Delivery(folder=Path(out), digest=delivery.digest, files=delivery.files)


def _tell(scene: DemoContext, framework: str) -> Delivery:
    (scene.out / "signing").mkdir()
    key = scene.signer.public_key.pem.encode()
    write_atomically(scene.out / "signing" / "release.pub.pem", key)
    data, screening = prepare_data(scene)
    model, activations = train_model(scene, data)
    trained = harden_model(scene, data, model)
    registry, releases = release_models(scene, data, trained.candidates)
    served = serve_model(scene, registry, load_release(scene, registry, releases[-1]))
    try:
        response = respond(scene, registry, served, framework)
    finally:
        served.monitor.close()
    with scene.step(8, "The six deliverables") as tell:
        serving = next(each for each in releases if each.version.digest == response.loaded.digest)
        pipeline = SecurePipeline(
            name=NAME,
            model=keep_model(scene, serving),
            policy=scene.policy,
            datasets={NAME: data},
            screening=screening,
            activations=activations,
            robustness=serving.candidate.report,
            before=trained.before,
            gate=GATE,
            registry=registry,
            loaded=response.loaded,
            monitor=served.monitor,
            snapshots=served.snapshots,
            references=served.references(),
            incident=response.incident,
            playbook=response.playbook,
        )
        delivery = pipeline.deliver(scene.out)
        tell("model", f"version {serving.version.version}, {delivery.digest}")
    return delivery
