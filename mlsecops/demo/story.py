"""Sequence of the demo: eight steps from data to deliverables."""

from __future__ import annotations

import os
from pathlib import Path

from mlsecops._files import write_atomically
from mlsecops.demo.context import DemoContext, Narrator
from mlsecops.demo.data_stage import prepare_data
from mlsecops.demo.digits import load_digits
from mlsecops.demo.loading_stage import load_release
from mlsecops.demo.network import network
from mlsecops.demo.release_stage import NAME, keep_model, release_models
from mlsecops.demo.response_stage import respond
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
    """Run every stage on the digits and write the six deliverables into a folder.

    Args:
        out: The folder; it stays unchanged until the end.
        narrator: Receives each step and its results.
        seed: Seed of all random choices, at least 0.
        framework: `"torch"` or `"tensorflow"`.
        overwrite: Whether to replace earlier results.

    Raises:
        UsageError: The folder is not empty, or the framework is unknown.
        MissingExtra: The framework is not installed.
        MLSecOpsError: A control failed; the folder stays unchanged.
    """
    net = network(framework)
    signer = Signer.generate("p256")
    with staged(Path(out), overwrite=overwrite) as folder:
        context = DemoContext(
            out=folder,
            seed=seed,
            network=net,
            digits=load_digits(seed=seed, channels_first=net.channels_first),
            signer=signer,
            policy=TrustPolicy(keys=[signer.public_key]),
            narrator=narrator,
        )
        delivery = _run(context, framework)
    return Delivery(folder=Path(out), digest=delivery.digest, files=delivery.files)


def _run(context: DemoContext, framework: str) -> Delivery:
    (context.out / "signing").mkdir()
    key = context.signer.public_key.pem.encode()
    write_atomically(context.out / "signing" / "release.pub.pem", key)
    data, screening = prepare_data(context)
    model, activations = train_model(context, data)
    trained = harden_model(context, data, model)
    registry, releases = release_models(context, data, trained.candidates)
    served = serve_model(context, registry, load_release(context, registry, releases[-1]))
    try:
        response = respond(context, registry, served, framework)
    finally:
        served.monitor.close()
    with context.step(8, "The six deliverables") as fact:
        serving = next(each for each in releases if each.version.digest == response.loaded.digest)
        pipeline = SecurePipeline(
            name=NAME,
            model=keep_model(context, serving),
            policy=context.policy,
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
        delivery = pipeline.deliver(context.out)
        fact("model", f"version {serving.version.version}, {delivery.digest}")
    return delivery
