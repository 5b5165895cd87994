"""Mutation fuzzing of every parser, for a given time: `python -m tests.fuzzing`.

honest and hostile files → mutation → parser in a separate process → verdict, library error, or
failure

A parser fails on any other exception, a crash, a hang, or memory above the limit; the input is then
kept. For files that pass the scan, `unpickler` also checks that Python's unpicklers import allowed
names only, and `reader` that torch reads the bytes that were scanned.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from mlsecops._bounded.budget import spending
from mlsecops.access import AccessPolicy
from mlsecops.errors import MLSecOpsError
from mlsecops.incident import Playbook
from mlsecops.llm import detect_injection
from mlsecops.loading import Limits
from mlsecops.loading.scanner import examine
from mlsecops.loading.snapshot import Source
from mlsecops.monitoring import load_rules
from mlsecops.registry import Registry
from mlsecops.signing import Bundle, Signer, TrustPolicy, read_bundle, sign
from tests.attackers import engine_files, slow_text, unpickling, zip_reading
from tests.attackers import loading as old
from tests.attackers import model_files as files
from tests.attackers import model_folders as folders

LIMITS = Limits(
    file_bytes=64 << 20,
    header_bytes=16 << 20,
    tensors=5000,
    opcodes=200_000,
    ratio=100,
    seconds=5,
)
MEMORY = 1 << 30  # bytes on top of the imports; chosen: above all limits of the scan
HANG = 10  # CPU seconds; any small input is answered within them
ACCESS = b"""[[rules]]
subject = "team/*"
action = "dataset:read"
resource = "**/payments/*a*/**"
effect = "deny"
"""
TRUST = """threshold = 1
revoked = ["sha256:{digest}"]
[[keys]]
pem = '''{pem}'''
models = ["fraud-*"]
not_before = 2026-01-01T00:00:00Z
"""
RULES = b"""[[rules]]
id = "many-refusals"
metric = "mlsecops.guard.refusals"
comparison = ">"
threshold = 100
window = 60
cooldown = 600
per = "monitor"
severity = "medium"
message = "A guard refuses many calls."
"""
TEMPLATES = (
    b"{% for m in messages %}{{ '<|' ~ m['role'] + '|>' }}{{ m.content | trim }}{% endfor %}",
    b"{% set ns = namespace(a='') %}{% if ns.a is defined %}{{ ns.a[1:] | join('_') }}{% endif %}",
    b"{% macro a(b, c=1) %}{{ '%s' | format(b) }}{% endmacro %}{{ a(x.y)['__class__'] }}",
    b"{% generation %}{{ [a, {'b': (1, 2.0)}] | map(attribute='c') | list }}{% endgeneration %}",
)
PLAIN = b"\x80\x02N."


def engine_seeds() -> dict[str, list[bytes]]:
    """Kind and name → an honest file of another engine."""
    found = {}
    for kind, each in engine_files.honest().items():
        name, data = next(iter(each.items()))
        found[f"{kind}/{name}"] = [data]
    return found


def seeds(folder: Path) -> dict[str, list[bytes]]:
    """Parser → honest and hostile inputs; the suffix of the name is that of its files."""
    trace = Path("/nowhere/ran")
    return {
        "pickle.pkl": [PLAIN, *list(folders.pickle_files(trace).values())[:60]],
        "unpickler.pkl": unpickling.seeds(),
        "joblib.joblib": [files.CONTAINERS[".joblib"](PLAIN)],
        "torch.pt": [files.torch_zip(PLAIN), files.torch_legacy(PLAIN)],
        "reader.pt": zip_reading.seeds(),
        "zip.zip": [files.zipped_names({"a/m.npy": b"x"}), files.zipped_names({"b.txt": b"y" * 99},
                    compression=8)],
        "tar.tar": [files.tarred({"a.txt": b"x"}), files.tarred({"a": b"x"}, link="/b")],
        "safetensors.safetensors": [old.safetensors_bytes({"a": old.tensor(0, 4)}, b"1234")],
        "hdf5.h5": [folders.weights(), folders.whole_h5()],
        "keras.keras": [folders.keras_file()],
        "gguf.gguf": [files.gguf(tensors=files.gguf_tensor("w", [4]), count=1),
                      *files.gguf_files().values()],
        "onnx.onnx": [files.onnx(), *files.onnx_files().values()],
        "savedmodel/saved_model.pb": [*files.saved_models().values()],
        "tflite.tflite": [folders.tflite()],
        "skops.skops": [files.skops_file(files.skops_node("ObjectNode", "os.system"))],
        "npy.npy": [files.object_array(PLAIN)],
        "distributed.distcp": [files.torch_zip(PLAIN) * 2],
        **engine_seeds(),
        "template.jinja": [*TEMPLATES],
        "config.json": [b'{"a": [{"_target_": "b.c", "chat_template": "{{ d }}"}, 1.5, null]}'],
        "settings.yaml": [b"a: &x [b, !!python/name:os.system c]\nd: {e: *x, f: 'g'}\n--- |\n h\n"],
        "tables.toml": [RULES, ACCESS, b"a.b = [1.5, {c = 'd'}]\n[[e.f]]\ng = 2026-01-01\n"],
        "bundle.sig": [bundle(folder)],
        "registry.log": [*registry_files(folder)],
        "playbook.json": [Playbook.default().to_cacao().encode()],
        "rules.toml": [RULES],
        "access.toml": [ACCESS],
        "trust.toml": [
            TRUST.format(digest="0" * 64, pem=Signer.generate("p256").public_key.pem).encode()
        ],
        "injection.txt": [(start * 2000)[:2000].encode() for start in slow_text.FIXED.values()],
    }  # fmt: skip


def registry_files(folder: Path) -> list[bytes]:
    """Files of a registry with a few events, each after a byte with its number."""
    signer, model = Signer.generate("ed25519"), folder / "model"
    model.mkdir()
    (model / "w.bin").write_bytes(b"weights")
    sign(model, signer)
    policy = TrustPolicy(keys=[signer.public_key])
    registry = Registry(folder / "registry", signer=signer, policy=policy)
    registry.publish("model", model)
    registry.promote("model", 1, "serving")
    registry.quarantine("sha256:" + "0" * 64, "a reason")
    (folder / "key.pem").write_text(signer.public_key.pem)
    return [
        bytes([number]) + place.read_bytes()
        for number, place in enumerate(files_in(folder / "registry"))
    ]


def files_in(folder: Path) -> list[Path]:
    """Files of a folder with content, sorted."""
    return sorted(each for each in folder.rglob("*") if each.is_file() and each.stat().st_size)


def _read_registry(place: Path) -> None:
    """Verify and read the registry, with one of its files replaced by the input."""
    number, data = place.read_bytes()[:1] or b"\0", place.read_bytes()[1:]
    whole = place.with_name("registry")
    places = files_in(whole)
    changed = places[number[0] % len(places)]
    honest, mode = changed.read_bytes(), changed.stat().st_mode
    changed.chmod(0o600)
    changed.write_bytes(data)
    try:
        registry = Registry(whole, policy=TrustPolicy(keys=[place.with_name("key.pem")]))
        registry.verify_log()
        registry.history("model")
        registry.resolve("model", "serving")
    finally:
        changed.write_bytes(honest)
        changed.chmod(mode)


def bundle(folder: Path) -> bytes:
    """A signature bundle of a file."""
    model = folder / "model.txt"
    model.write_bytes(b"weights")
    sign(model, Signer.generate("p256"))
    return Path(f"{model}.sig").read_bytes()


_AT_ONCE = 50  # inputs; chosen: some targets take 0.1 s for each
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 1 << 31, (1 << 63) - 1, 1 << 40)


def changed(honest: list[bytes], number: int) -> bytes:
    """One input with bytes changed, cut, repeated or spliced, determined by one number.

    Drawing each mutation from hypothesis takes ten times as long.
    """
    chance = random.Random(number)  # noqa: S311 - nothing secret
    data = bytearray(chance.choice(honest))
    for _ in range(chance.randint(1, 8)):
        at = chance.randint(0, len(data))
        length = chance.randint(1, 64)
        kind = chance.choice(["set", "set", "number", "number", "cut", "double", "splice", "end"])
        if kind == "set":
            data[at : at + 1] = bytes([chance.randrange(256)])
        elif kind == "number":
            size = chance.choice([1, 2, 4, 8])
            edge = chance.choice(EDGES) % (1 << 8 * size)
            data[at : at + size] = edge.to_bytes(size, chance.choice(["little", "big"]))
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "double":
            data[at:at] = data[at : at + length]
        elif kind == "splice":
            other = chance.choice(honest)
            begin = chance.randint(0, len(other))
            data[at:at] = other[begin : begin + length]
        else:
            del data[at:]
    return bytes(data)


def require_answer(name: str, data: bytes, folder: Path) -> None:
    """Require a parser to answer within `HANG`."""
    place = folder / "input"
    place.write_bytes(data)
    signal.setitimer(signal.ITIMER_PROF, HANG)  # CPU time, so that a busy machine is no hang
    try:
        if name.partition(".")[0] in _TEXTS:
            with contextlib.suppress(MLSecOpsError):
                _TEXTS[name.partition(".")[0]](place)
            return
        source = Source(name=name, path=str(place), size=len(data))
        with spending(LIMITS.budget(len(data))):
            verdict, _ = examine(source, allow_globals=(), limits=LIMITS)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    failed = [f.message for f in verdict.findings if f.rule == "check-failed"]
    assert not failed, failed
    if name.startswith("unpickler") and not verdict.refused and not verdict.unchecked:
        assert not unpickling.reached(data), "the scan passes what Python imports"
    if name.startswith("reader") and not verdict.refused and not verdict.unchecked:
        assert not zip_reading.read_otherwise(place, LIMITS), "torch reads what was not scanned"


def _decide(place: Path) -> None:
    policy = AccessPolicy.load(place)
    for name in ("payments/hr", "a/" * 2000, place.read_text("utf-8")[-60_000:]):
        policy.decide(name, "dataset:read", name)


_TEXTS: dict[str, Callable[[Path], object]] = {
    "bundle": lambda place: Bundle.from_bytes(read_bundle(place)),
    "access": _decide,
    "trust": TrustPolicy.load,
    "rules": load_rules,
    "playbook": lambda place: Playbook.from_cacao(place.read_text("utf-8", errors="replace")),
    "registry": _read_registry,
    "injection": lambda place: detect_injection(place.read_text("utf-8", errors="replace")),
}
"""Target → reader of a file that is no model."""


def fuzz(
    name: str, honest: list[bytes], folder: Path, *, examples: int, number: int
) -> Callable[[], None]:
    """A fuzzing run over `examples` inputs."""

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, (1 << 64) - 1))
    def run(change: int) -> None:
        require_answer(name, changed(honest, change), folder)

    return run


def endure(
    name: str, honest: list[bytes], folder: Path, minutes: float, tried: Synchronized[int]
) -> None:
    """Fuzz until the time is over, with limited memory; for a separate process."""
    end = time.monotonic() + 60 * minutes
    fuzz(name, honest, folder, examples=5, number=0)()  # imports its modules before the limit
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
    while time.monotonic() < end:
        # A slow target would otherwise run on long after the end.
        fuzz(name, honest, folder, examples=_AT_ONCE, number=tried.value)()
        tried.value += _AT_ONCE


def keep(name: str, folder: Path) -> None:
    """Keep the input on which a parser failed."""
    kept = Path(tempfile.gettempdir()) / f"fuzz-{name.replace('/', '-')}"
    kept.write_bytes((folder / "input").read_bytes())
    sys.stderr.write(f"{name}: input kept in {kept}\n")


def main() -> int:
    """Fuzz each parser in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="minutes for each; default 10")
    parser.add_argument("names", nargs="*", help="names of parsers; default all")
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        for name, honest in seeds(Path(temporary)).items():
            if options.names and name.partition(".")[0] not in options.names:
                continue
            tried = multiprocessing.Value("q", 0)
            process = multiprocessing.Process(
                target=endure, args=(name, honest, Path(temporary), options.minutes, tried)
            )
            process.start()
            process.join()
            if process.exitcode:
                failed += 1
                keep(name, Path(temporary))
            word = "passed" if process.exitcode == 0 else f"FAILED ({process.exitcode})"
            sys.stdout.write(f"{name:<28} {tried.value:>9} inputs  {word}\n")
            sys.stdout.flush()
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
