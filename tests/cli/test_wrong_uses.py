"""Wrong uses of the command: each is told by what, what was expected, what was got, what to do."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from mlsecops.cli.advice import advice
from mlsecops.signing import Signer
from tests.cli.conftest import Command, Release, made

__all__ = ["made"]

TRUST = "--key key.pub.pem"
ATTACK = f"attack --model model --data data.npz {TRUST} --arch nets:build"
FUZZ = "fuzz http://127.0.0.1:9/v1 --model m"
SIGN = "sign model --key key.pem --replace"
REPORT = "incident --location registry report --kind"
CHECK = "access check --subject a --action b --resource c --policy"
DELIVER = f"deliver --model model --out o {TRUST}"
ZEROS = f"sha256:{'0' * 64}"

# The command; then what its message must name: the culprit and its value, and what was expected.
CASES = [
    ("hash absent", "absent|existing file or folder|check the path"),
    ("hash model --algorithm md5", "--algorithm|md5|sha256"),
    ("hash s4://bucket/x", "s4://bucket/x|s3://"),
    ("hash model --cache empty", "empty|expected a file, got a folder"),
    ("hash model --out absent/sums", "absent/sums|make the folder"),
    ("hash EMPTY", "PATH|expected a path|empty text"),
    ("hash notes.txt --by content", "notes.txt|.parquet|got .txt"),
    ("keygen", "--out|required"),
    ("keygen --out key.pem", "key.pem|never overwritten|another name"),
    ("keygen --out new.pem --type dsa", "--type|dsa|ed25519"),
    ("keygen --out new.pem --password-env NOT_SET", "NOT_SET|expected a password"),
    ("keygen --out EMPTY", "--out|expected a path"),
    ("sign absent --key key.pem", "absent|expected a file or folder"),
    ("sign empty --key key.pem", "empty|expected one or more"),
    ("sign model --key key.pub.pem", "key.pub.pem|a private key|PUBLIC KEY|keygen"),
    ("sign model --key notes.txt", "notes.txt|a private key|no PEM"),
    ("sign model --key locked.pem", "locked.pem|--password-env"),
    ("sign model --key locked.pem --password-env WRONG", "locked.pem|Incorrect password"),
    (f"{SIGN} --shard-size -5", "--shard-size|from 1 on|-5"),
    (f"{SIGN} --cert notes.txt", "notes.txt|expected certificates|no PEM"),
    (f"{SIGN} --ignore ../x", "../x|inside the folder"),
    (f"{SIGN} --timestamp-url nowhere", "nowhere|https://"),
    (f"{SIGN} --model-version 0", "--model-version|from 1 on|got 0"),
    ("sign model --key key.pem --add --replace", "add, replace|one of them|leave one out"),
    ("verify model", "--key PUB|--policy|got none"),
    (f"verify absent {TRUST}", "absent|expected a file or folder"),
    ("verify model --key key.pem", "key.pem|private key|KEY.pub.pem"),
    ("verify model --key notes.txt", "notes.txt|public key|no PEM"),
    ("verify model --policy broken.toml", "broken.toml|TOML|line 1"),
    ("verify model --policy unknown.toml", "unknown.toml|'key'|keys"),
    ("verify model --policy zero.toml", "threshold|from 1 on|got 0"),
    ("verify model --policy empty", "empty|expected a file, got a folder"),
    (f"verify model {TRUST} --threshold two", "--threshold|whole number|'two'"),
    (f"verify model {TRUST} --at yesterday", "--at|ISO 8601|'yesterday'"),
    (f"verify model {TRUST} --wait -1", "--wait|from 0 on|'-1'"),
    (f"verify model {TRUST} --policy trust.toml", "--policy|no --key|policy file"),
    ("verify model --identity a@b", "--identity|--identity-issuer"),
    ("verify model --root key.pub.pem", "key.pub.pem|certificates|PUBLIC KEY"),
    ("dvc list absent", "absent|DVC repository"),
    ("scan absent", "absent|existing file or folder"),
    ("scan empty --strict", "empty|files to scan|found none"),
    ("scan model --baseline notes.txt", "notes.txt|JSON"),
    ("scan model --baseline list.json", "list.json|--format json"),
    ("convert notes.txt --out o --memory -1", "--memory|from 1 on|-1"),
    ("convert notes.txt --out o --seconds nan", "--seconds|above 0|'nan'"),
    (f"load model {TRUST} --arch nets", "--arch|module:callable|'nets'"),
    (f"load model {TRUST} --arch nets:absent", "--arch nets:absent|builds the model"),
    (f"load model {TRUST} --arch nets:broken", "nets:broken|no such layer"),
    (f"load model {TRUST} --file absent.bin", "absent.bin|model.safetensors"),
    (f"load model {TRUST} --framework sklearn", "'sklearn'|torch or numpy"),
    (f"load model {TRUST} --device gpu7 --arch nets:build", "gpu7|such as cpu"),
    ("run --policy trust.toml absent.py", "absent.py|Python script"),
    (f"watch model {TRUST} --port 99999", "--port|65535|99999"),
    (f"watch model {TRUST} --interval 0", "--interval|above 0|'0'"),
    ("screen notes.txt", "notes.txt|arrays x and y|numpy.savez"),
    ("screen keys.npz", "keys.npz|arrays x and y|'inputs', 'labels'"),
    ("screen short.npz", "x of shape|(100, 64)|(99,)"),
    ("screen data.npz --seed -1", "--seed|2147483647|'-1'"),
    (f"{ATTACK} --eps nan", "--eps|8/255|'nan'"),
    (f"{ATTACK} --eps -0.1", "--eps|above 0|'-0.1'"),
    (f"{ATTACK} --eps 8", "--eps|at most 1|got 8|--bounds"),
    (f"{ATTACK} --eps 0.1 --bounds 1 0", "--bounds|LOW below HIGH|1 0"),
    (f"{ATTACK} --eps 0.1 --attack fgms", "'fgms'|fgsm"),
    (f"{ATTACK} --eps 0.1 --steps 0", "--steps|from 1 on|got 0"),
    (f"{ATTACK} --eps 0.1 --min-accuracy 70", "--min-accuracy|0 to 1|'70'"),
    (f"{ATTACK} --eps 0.1 --floor pgd", "--floor|pgd=0.6|'pgd'"),
    (f"{ATTACK} --eps 0.1 --earlier list.json", "list.json|robustness report|an array"),
    (f"{ATTACK} --eps 0.1 --rate 5", "--rate|--endpoint|--model"),
    (f"attack --model model --data data.npz {TRUST} --eps 0.1", "--arch|module:callable"),
    (ATTACK.replace("data.npz", "nan.npz") + " --eps 0.1", "nan.npz|expected numbers|NaN"),
    (ATTACK.replace("data.npz", "far.npz") + " --eps 0.1 --attack fgsm", "bounds (0, 1)|255|scale"),
    (ATTACK.replace("data.npz", "wide.npz") + " --eps 0.1 --attack fgsm", "(100, 63)|expected"),
    ("attack --endpoint host:9/p --data data.npz --eps 0.1", "--endpoint|http://|'host:9/p'"),
    ("fuzz localhost:8000/v1 --model m", "URL|http://|'localhost:8000/v1'"),
    (f"{FUZZ} --attempts 0", "--attempts|from 1 on|got 0"),
    (f"{FUZZ} --timeout nan", "--timeout|above 0|'nan'"),
    (f"{FUZZ} --classes absent", "classes|'absent'|encoding"),
    (f"{FUZZ} --api-key-env NOT_SET", "NOT_SET|expected"),
    (f"{FUZZ} --header X", "--header|NAME=ENV|'X'"),
    (f"{FUZZ} --body notjson", "--body|'notjson'|JSON"),
    (f"{FUZZ} --max-cost 5", "--max-cost|--price"),
    (f"{FUZZ} --max-success 5", "--max-success|0 to 1|'5'"),
    (f"{FUZZ} --own unknown.toml", "unknown.toml|[[attempts]]"),
    (f"{FUZZ} --baseline list.json", "list.json|report or the journal"),
    (f"{FUZZ} --out empty", "empty|got a folder"),
    ("fuzz http://example.com/v1 --model m", "example.com|https"),
    ("registry list", "--location|folder or URL"),
    (f"registry --location absent list {TRUST}", "--location absent|of a registry"),
    (f"registry --location foo://x list {TRUST}", "location|got foo://|s3://"),
    (f"registry --location empty resolve m newest {TRUST}", "VERSION|'newest'"),
    (f"registry --location empty list {TRUST} --witness x", "--witness|URL,VKEY|'x'"),
    (f"incident --location registry open list.json {TRUST}", "list.json|an alert|an array"),
    (f"{REPORT} fire --message x {TRUST}", "--kind|'fire'|extraction"),
    (f"{REPORT} extraction --message x --digest abc {TRUST}", "--digest|sha256:|'abc'"),
    (f"{CHECK} absent.toml", "absent.toml|existing file"),
    (f"{CHECK} trust.toml", "[[rules]]|got keys"),
    (f"{CHECK} broken.toml --at noon", "--at|ISO 8601|'noon'"),
    ("access bucket list.json", "JSON object|an array"),
    (f"drill --location absent --signer key.pem {TRUST}", "--location absent|of a registry"),
    (f"lineage absent --from {ZEROS}", "absent|"),
    ("lineage model --from abc", "sha256:|'abc'"),
    ("bom build absent --out b.json", "absent|expected a file or folder"),
    ("bom build model --out absent/b.json", "absent/b.json|make the folder"),
    ("bom build model --out b.json --dataset train", "--dataset|NAME=PATH|'train'"),
    ("bom build model --out b.json --card latin.md", "latin.md|UTF-8"),
    ("bom build model --out b.json --robustness list.json", "list.json|mlsecops attack|an array"),
    ("bom verify object.json", "--model|required"),
    ("dashboard --out notes.txt", "notes.txt|expected a folder, got a file"),
    ("dashboard --out o --window soon", "15s|'soon'"),
    ("dashboard --out o --snapshot list.json", "list.json|a snapshot|an array"),
    ("diagram --out o --controls state.json", "Signature check|enforced|'on'"),
    ("init --folder absent", "absent|expected a folder|make it"),
    ("init --folder empty", "empty|one model|--model M"),
    ("init --folder empty --model model", "--arch|MODULE:CALLABLE"),
    ("init --folder empty --model model --min-accuracy 7", "--min-accuracy|0 to 1|'7'"),
    ("deliver", "--model, --out|mlsecops.toml|init"),
    (f"deliver --model model --out model {TRUST}", "outside model|signed|name another one"),
    (f"{DELIVER} --min-accuracy 7", "--min-accuracy|0 to 1|'7'"),
    (f"{DELIVER} --robustness object.json", "object.json|robustness report|no members"),
    (f"{DELIVER} --framework gdpr", "--framework|'gdpr'|eu-ai-act"),
    ("demo --out used", "used|--overwrite"),
    ("demo --out notes.txt", "notes.txt|expected a folder"),
    ("verfy model", "'verfy'|verify"),
]
SAYS_WHAT = re.compile(
    r"expected|choose from|required|exists|not empty|not valid|cannot|is another"
)
LEAKED = re.compile(r"Traceback|internal error|(Type|Key|Attribute|Index|Value)Error\(|one tuple")


@pytest.fixture(scope="module")
def place(made: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a signed model and files that are of no use to any command."""
    folder = tmp_path_factory.mktemp("wrong") / "work"
    shutil.copytree(made.folder, folder)
    locked = Signer.from_pem(folder / "key.pem").to_pem(password=b"secret")
    (folder / "locked.pem").write_bytes(locked)
    x, y = np.load(folder / "data.npz")["x"], np.load(folder / "data.npz")["y"]
    holes = x.copy()
    holes[0, 0] = np.nan
    arrays = {
        "keys": {"inputs": x, "labels": y},
        "short": {"x": x, "y": y[:-1]},
        "wide": {"x": x[:, 1:], "y": y},
        "far": {"x": x * 255, "y": y},
        "nan": {"x": holes, "y": y},
    }
    for name, values in arrays.items():
        np.savez(folder / f"{name}.npz", **values)
    texts = {
        "notes.txt": "hello\n",
        "broken.toml": "[[keys]\n",
        "unknown.toml": "[[key]]\npath = 'key.pub.pem'\n",
        "zero.toml": "threshold = 0\n[[keys]]\npath = 'key.pub.pem'\n",
        "trust.toml": "[[keys]]\npath = 'key.pub.pem'\n",
        "list.json": "[1, 2]",
        "object.json": "{}",
        "state.json": '{"Signature check": "on"}',
        "used/file": "x",
    }
    (folder / "used").mkdir()
    (folder / "empty").mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "latin.md").write_bytes(b"caf\xe9")
    return folder


def files(folder: Path) -> list[str]:
    return sorted(str(each) for each in folder.rglob("*") if "__pycache__" not in each.parts)


@pytest.mark.parametrize(("words", "named"), CASES, ids=[words for words, _ in CASES])
def test_a_wrong_use_is_told_with_what_was_expected(
    command: Command, place: Path, monkeypatch: pytest.MonkeyPatch, words: str, named: str
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("WRONG", "nope")
    monkeypatch.delenv("NOT_SET", raising=False)
    before = files(place)
    outcome = command(*("" if word == "EMPTY" else word for word in words.split()))
    assert outcome.status == 2, outcome
    message = outcome.err.splitlines()[-1]  # a note may stand before it
    assert message.startswith("mlsecops: UsageError: ")
    assert not LEAKED.search(outcome.err), message
    assert SAYS_WHAT.search(message), message
    missing = [each for each in named.split("|") if each not in message]
    assert not missing, message
    assert files(place) == before  # nothing was written, not even half


def test_there_are_wrong_uses_of_every_command() -> None:
    from mlsecops.cli.main import COMMANDS  # noqa: PLC0415 - for this test alone

    assert {words.split()[0] for words, _ in CASES} >= COMMANDS.keys()
    assert len(CASES) >= 40


def test_a_file_without_permission_is_told(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path, *_: object, **__: object) -> None:  # root reads everything
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", denied)
    outcome = command("bom", "lint", tmp_path / "locked.json")
    assert outcome.status == 2
    assert "check the owner and the mode" in outcome.said


def test_permission_is_advised_where_the_system_denies_it() -> None:
    denied = PermissionError(13, "Permission denied", "x")
    assert "check the owner and the mode" in advice(denied)
    assert advice(OSError(5, "Input/output error")) == ""
