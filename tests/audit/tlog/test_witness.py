"""Witnesses: the protocol's answers, and a split view that they refuse."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlsecops.audit.checkpoint import Checkpoint, seal, vkey
from mlsecops.audit.objects import FolderStore, MemoryStore
from mlsecops.audit.tlog import Witness
from mlsecops.audit.tlog.cosignature import WitnessKey, cosigners
from mlsecops.audit.tlog.witness_client import request_body
from mlsecops.audit.tlog.witness_server import witness_app
from mlsecops.errors import (
    MLSecOpsError,
    MLSecOpsWarning,
    RollbackRefused,
    SignatureInvalid,
    ThresholdNotMet,
    UsageError,
)
from mlsecops.provenance import Digest, merkle
from mlsecops.registry import Registry
from mlsecops.signing import Signer, TrustPolicy
from tests.services import eventually, free_port

ORIGIN = "example.org/log"
NUMBERS = itertools.count()
LEAVES = [merkle.leaf_hash(b"%d" % number) for number in range(20)]


@pytest.fixture(scope="module")
def operator() -> Signer:
    return Signer.generate("ed25519")


@pytest.fixture
def witness(operator: Signer) -> Witness:
    return new_witness(operator)


def new_witness(operator: Signer, name: str = "example.org/w1", store: object = None) -> Witness:
    return Witness(
        store or MemoryStore(f"witness-{next(NUMBERS)}"),  # type: ignore[arg-type] # a store
        name=name,
        signer=Signer.generate("ed25519"),
        logs=[vkey(ORIGIN, operator.public_key) or ""],
    )


def checkpoint(operator: Signer, size: int, leaves: list[bytes] = LEAVES) -> Checkpoint:
    root = merkle.root(leaves[:size])
    return seal(origin=ORIGIN, size=size, root=root, signer=operator)


def proof(old: int, new: int) -> tuple[bytes, ...]:
    return merkle.consistency_proof(LEAVES[:new], old)


def test_a_log_that_grows_is_cosigned(witness: Witness, operator: Signer) -> None:
    key, old = WitnessKey.parse(witness.vkey), 0
    for size in (1, 5, 5, 13):
        newest = checkpoint(operator, size)
        answer = witness.add_checkpoint(request_body(old, proof(old, size), newest))
        assert answer.status == 200, answer.body
        assert cosigners(newest.note + answer.body, [key]).keys() == {key}
        shown = witness.newest(hashlib.sha256(ORIGIN.encode()).hexdigest())
        assert Checkpoint.parse(shown.body).size == size
        assert answer.body in shown.body
        old = size


def test_a_cosignature_is_that_of_the_specification(operator: Signer) -> None:
    """Rebuilt here from c2sp.org/tlog-cosignature: key id, message, u64 time and signature."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - for one test
        Ed25519PublicKey,
    )

    witness = Witness(
        MemoryStore(f"witness-{next(NUMBERS)}"),
        name="example.org/w1",
        signer=Signer.generate("ed25519"),
        logs=[vkey(ORIGIN, operator.public_key) or ""],
        clock=lambda: 1_679_315_147.9,
    )
    newest = checkpoint(operator, 3)
    line = witness.add_checkpoint(request_body(0, (), newest)).body
    name, identifier, encoded = witness.vkey.split("+", 2)
    typed = base64.b64decode(encoded)
    assert typed[:1] == b"\x04"
    raw = base64.b64decode(line.split(" ")[2])
    assert line.startswith(f"\N{EM DASH} {name} ")
    assert raw[:4] == hashlib.sha256(name.encode() + b"\n" + typed).digest()[:4]
    assert raw[:4].hex() == identifier
    assert int.from_bytes(raw[4:12], "big") == 1_679_315_147
    text = newest.note.partition("\n\n")[0] + "\n"
    message = f"cosignature/v1\ntime 1679315147\n{text}".encode()
    Ed25519PublicKey.from_public_bytes(typed[1:]).verify(raw[12:], message)


def requests(operator: Signer) -> Iterator[tuple[str, int, bytes]]:
    """Requests after size 5, each with the status that the specification gives it."""
    other, stranger = [merkle.leaf_hash(b"x")] * 20, Signer.generate("ed25519")
    eight = checkpoint(operator, 8)
    good = request_body(5, proof(5, 8), eight)
    yield "unknown log", 404, good.replace(ORIGIN.encode(), b"example.org/other")
    yield "stranger", 403, request_body(5, proof(5, 8), checkpoint(stranger, 8))
    wrong = eight.note.replace("\n8\n", "\n9\n")
    yield "bad signature", 403, good.replace(eight.note.encode(), wrong.encode())
    yield "old above new", 400, request_body(9, (), eight)
    yield "another old size", 409, request_body(3, proof(3, 8), eight)
    yield "no old size", 409, request_body(0, (), eight)
    yield "no proof", 422, request_body(5, (), eight)
    yield "wrong proof", 422, request_body(5, proof(4, 8), eight)
    yield "a fork", 422, request_body(5, proof(5, 8), checkpoint(operator, 8, other))
    yield "a fork of the same size", 422, request_body(5, (), checkpoint(operator, 5, other))
    yield "no request", 400, b"hello"
    yield "no number", 400, good.replace(b"old 5", b"old 05")
    yield "no base64", 400, good.replace(b"old 5\n", b"old 5\n!\n")
    yield "too many lines", 400, request_body(5, proof(5, 8) * 64, eight)
    yield "no text", 400, b"\xff" + good
    yield "good", 200, good


def test_each_request_is_answered_as_specified(witness: Witness, operator: Signer) -> None:
    assert witness.add_checkpoint(request_body(0, (), checkpoint(operator, 5))).status == 200
    for name, status, body in requests(operator):
        answer = witness.add_checkpoint(body)
        assert answer.status == status, (name, answer)
        if status == 409:
            assert (answer.body, answer.content_type) == ("5\n", "text/x.tlog.size")


def test_an_empty_log_has_one_root(witness: Witness, operator: Signer) -> None:
    forged = seal(origin=ORIGIN, size=0, root=bytes(32), signer=operator)
    answer = witness.add_checkpoint(request_body(0, (), forged))
    assert (answer.status, answer.body) == (
        422, "a checkpoint of no entries has another root than the empty tree's\n",
    )  # fmt: skip
    assert witness.add_checkpoint(request_body(0, (), checkpoint(operator, 0))).status == 200


def test_of_two_forks_at_once_one_is_cosigned(operator: Signer, tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    witness = new_witness(operator, store=store)
    forks = [checkpoint(operator, 4, [merkle.leaf_hash(b"%d" % each)] * 4) for each in range(8)]
    statuses: list[int] = []
    threads = [
        threading.Thread(
            target=lambda fork=fork: statuses.append(  # type: ignore[misc] # bound at once
                witness.add_checkpoint(request_body(0, (), fork)).status
            )
        )
        for fork in forks
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses.count(200) == 1


def test_a_witness_needs_an_ed25519_key(operator: Signer) -> None:
    with pytest.raises(UsageError, match="Ed25519"):
        Witness(
            MemoryStore("w"), name="w", signer=Signer.generate("p256"),
            logs=[vkey(ORIGIN, operator.public_key) or ""],
        )  # fmt: skip
    with pytest.raises(UsageError, match="verifier key"):
        Witness(MemoryStore("w"), name="w", signer=operator, logs=["nonsense"])


@pytest.fixture
def served(operator: Signer) -> Iterator[tuple[str, Witness]]:
    """A witness behind HTTP."""
    uvicorn = pytest.importorskip("uvicorn")
    witness, port = new_witness(operator), free_port()
    server = uvicorn.Server(
        uvicorn.Config(witness_app(witness), host="127.0.0.1", port=port, log_level="error")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    eventually(lambda: server.started, "the witness starts")
    yield f"http://127.0.0.1:{port}", witness
    server.should_exit = True
    thread.join()


def test_a_quorum_is_demanded_on_read_and_gathered_on_write(
    served: tuple[str, Witness], operator: Signer, tmp_path: Path
) -> None:
    url, witness = served
    policy = TrustPolicy(keys=[operator.public_key])
    witnesses = [(url, witness.vkey)]
    alone = Registry(tmp_path / "registry", signer=operator, policy=policy, origin=ORIGIN)
    reader = Registry(tmp_path / "registry", policy=policy, witnesses=witnesses, quorum=1)
    with pytest.raises(ThresholdNotMet, match="expected cosignatures of 1 witnesses, got 0"):
        reader.versions()
    assert "cosignatures" in str(reader.isolated(Digest.of(b"x")))
    writer = Registry(
        tmp_path / "registry", signer=operator, policy=policy, witnesses=witnesses, quorum=1
    )
    writer.quarantine(Digest.of(b"x"), "poisoned")
    assert reader.isolated(Digest.of(b"x")) == "poisoned"
    alone.quarantine(Digest.of(b"y"), "poisoned")  # without a witness: readers wait for one
    assert "cosignatures" in str(reader.isolated(Digest.of(b"y")))
    writer.versions()
    assert reader.isolated(Digest.of(b"y")) == "poisoned"


def test_a_witness_that_does_not_answer(operator: Signer, tmp_path: Path) -> None:
    policy = TrustPolicy(keys=[operator.public_key])
    dead = [(f"http://127.0.0.1:{free_port()}", new_witness(operator).vkey)]
    place = tmp_path / "registry"
    with pytest.warns(MLSecOpsWarning, match="no answer"):
        Registry(place, signer=operator, policy=policy, witnesses=dead, origin=ORIGIN)
    Registry(place, policy=policy, witnesses=dead).versions()
    strict = Registry(place, signer=operator, policy=policy, witnesses=dead, quorum=1)
    with pytest.raises(ThresholdNotMet, match="repeat the call"):
        strict.quarantine(Digest.of(b"x"), "poisoned")


@pytest.mark.parametrize("witnesses", ["x", [("http://w", "key")], [("ftp://w", "k")], [("a",)]])
def test_wrong_witnesses_are_wrong_use(
    operator: Signer, tmp_path: Path, witnesses: list[tuple[str, str]]
) -> None:
    policy = TrustPolicy(keys=[operator.public_key])
    with pytest.raises(UsageError, match="witness"):
        Registry(tmp_path / "r", signer=operator, policy=policy, witnesses=witnesses)


def test_a_quorum_above_the_witnesses_is_wrong_use(operator: Signer, tmp_path: Path) -> None:
    policy = TrustPolicy(keys=[operator.public_key])
    twice = new_witness(operator).vkey
    for witnesses, quorum in (((), 1), ([("http://a", twice), ("http://b", twice)], 2), ((), -1)):
        with pytest.raises(UsageError, match="quorum"):
            Registry(
                tmp_path / "r", signer=operator, policy=policy, witnesses=witnesses, quorum=quorum
            )


def test_three_machines_refuse_a_split_view(operator: Signer, tmp_path: Path) -> None:
    """A witness, an operator whose key was stolen, and a server, each a process with a folder."""
    policy, port = TrustPolicy(keys=[operator.public_key]), free_port()
    (tmp_path / "w1.pem").write_bytes((own := Signer.generate("ed25519")).to_pem())
    (tmp_path / "key.pem").write_text(operator.public_key.pem)
    command = [
        sys.executable, "-m", "mlsecops", "registry", "witness", "--name", "example.org/w1",
        "--signer", str(tmp_path / "w1.pem"), "--state", str(tmp_path / "w1"), "--port", str(port),
        "--log", vkey(ORIGIN, operator.public_key) or "", "--format", "json",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            shown = json.loads("".join(itertools.islice(process.stdout, 5)))
            assert own.public_key is not None
            witnesses = [(shown["url"], shown["vkey"])]
            options = {"policy": policy, "witnesses": witnesses, "quorum": 1}
            eventually(lambda: _listens(port), "the witness listens")
            honest = Registry(tmp_path / "a", signer=operator, origin=ORIGIN, **options)  # type: ignore[arg-type] # the options
            shutil.copytree(tmp_path / "a", tmp_path / "b")
            honest.quarantine(Digest.of(b"bad"), "poisoned")
            thief = Registry(tmp_path / "b", signer=operator, **options)  # type: ignore[arg-type] # the options
            with pytest.raises(RollbackRefused, match="witnesses have cosigned"):
                thief.quarantine(Digest.of(b"good"), "slander")
            alone = Registry(tmp_path / "b", signer=operator, policy=policy)
            alone.quarantine(Digest.of(b"good"), "slander")
            seen = [
                _asked(place, tmp_path / "key.pem", witnesses[0])
                for place in (tmp_path / "a", tmp_path / "b")
            ]
            assert seen[0] == "None poisoned"
            assert "cosignatures" in seen[1]
        finally:
            process.terminate()


def _asked(place: Path, key: Path, witness: tuple[str, str]) -> str:
    """What a server, a process of its own, sees of two digests."""
    code = f"""
from mlsecops import Registry, TrustPolicy
from mlsecops.provenance import Digest
try:
    registry = Registry({str(place)!r}, policy=TrustPolicy(keys=[{str(key)!r}]),
                        witnesses=[{witness!r}], quorum=1)
    print(registry.isolated(Digest.of(b"good")), registry.isolated(Digest.of(b"bad")))
except Exception as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def _listens(port: int) -> bool:
    import socket  # noqa: PLC0415 - for one test

    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("fault", ["another checkpoint's", "another time", "cut off", "old type"])
def test_a_cosignature_that_does_not_match_is_refused(
    operator: Signer, tmp_path: Path, fault: str
) -> None:
    """A fork with a line that looks like the witness's."""
    witness = new_witness(operator)
    policy, witnesses = TrustPolicy(keys=[operator.public_key]), [("http://w", witness.vkey)]
    Registry(tmp_path / "r", signer=operator, policy=policy, origin=ORIGIN)
    place = tmp_path / "r" / "log" / "checkpoint"
    honest = place.read_text()
    of = checkpoint(operator, 5) if fault == "another checkpoint's" else Checkpoint.parse(honest)
    line = witness.add_checkpoint(request_body(0, (), of)).body
    dash, name, encoded = line.split(" ")
    raw = bytearray(base64.b64decode(encoded))
    if fault == "another time":
        raw[11] ^= 1
    elif fault == "cut off":
        del raw[-1]
    elif fault == "old type":  # the key's id as a log's key
        raw[:4] = b"\0\0\0\0"
    place.unlink()
    place.write_text(f"{honest}{dash} {name} {base64.b64encode(raw).decode()}\n")
    reader = Registry(tmp_path / "r", policy=policy, witnesses=witnesses, quorum=1)
    with pytest.raises((SignatureInvalid, ThresholdNotMet)):
        reader.versions()
    place.unlink()
    good = witness if fault != "another checkpoint's" else new_witness(operator)
    answer = good.add_checkpoint(request_body(0, (), Checkpoint.parse(honest)))
    place.write_text(honest + (answer.body if answer.status == 200 else line))
    keys = [("http://w", good.vkey)]
    with pytest.warns(MLSecOpsWarning, match="no answer"):  # it cannot say that this is the newest
        assert Registry(tmp_path / "r", policy=policy, witnesses=keys, quorum=1).versions() == ()


def test_an_answer_of_another_witness_does_not_count(
    served: tuple[str, Witness], operator: Signer, tmp_path: Path
) -> None:
    url, _ = served
    policy = TrustPolicy(keys=[operator.public_key])
    other = [(url, new_witness(operator).vkey)]
    with pytest.raises(MLSecOpsError, match="no cosignature of its key"):
        Registry(
            tmp_path / "r", signer=operator, policy=policy, witnesses=other, quorum=1, origin=ORIGIN
        )


def _edited(key: str, part: str) -> str:
    """A verifier key with one part changed."""
    name, identifier, encoded = key.split("+", 2)
    typed = base64.b64decode(encoded)
    made = {
        "no base64": f"{name}+{identifier}+???",
        "no id": f"{name}+xyz+{encoded}",
        "another id": f"{name}+{int(identifier, 16) ^ 1:08x}+{encoded}",
        "another name": f"{name}x+{identifier}+{encoded}",
        "no name": f"+{identifier}+{encoded}",
        "another type": f"{name}+{identifier}+{base64.b64encode(b'?' + typed[1:]).decode()}",
        "another length": f"{name}+{identifier}+{base64.b64encode(typed[:-1]).decode()}",
    }
    return made[part]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("no base64", "not a verifier key"),
        ("no id", "not a verifier key"),
        ("another id", "key id of .* is not that of its key"),
        ("another name", "key id of .* is not that of its key"),
        ("no name", "expected the verifier key of an Ed25519 witness"),
        ("another type", "expected the verifier key of an Ed25519 witness"),
        ("another length", "expected the verifier key of an Ed25519 witness"),
    ],
)
def test_a_verifier_key_is_read_strictly(witness: Witness, part: str, said: str) -> None:
    assert WitnessKey.parse(witness.vkey).name == "example.org/w1"
    with pytest.raises(UsageError, match=said):
        WitnessKey.parse(_edited(witness.vkey, part))


@pytest.mark.parametrize("length", [0, 8, 71, 73])
def test_a_cosignature_has_one_length(witness: Witness, length: int) -> None:
    with pytest.raises(SignatureInvalid, match="another length"):
        WitnessKey.parse(witness.vkey).time_of("text", bytes(length))
