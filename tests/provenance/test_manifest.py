from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsecops import errors
from mlsecops.provenance import Digest, Entry, Manifest, hash_path
from mlsecops.provenance.files.hashing import hash_file
from tests.attackers.signing import flip_byte, swap_names

names = st.text(
    st.characters(blacklist_characters="\0/", blacklist_categories=("Cs",)), min_size=1, max_size=20
).filter(lambda name: name not in {".", ".."})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    (root / "a").mkdir(parents=True)
    (root / "a" / "b.bin").write_bytes(b"one")
    (root / "a-b").write_bytes(b"two")
    (root / "é : ü").write_bytes(b"")
    return root


def test_entries_are_sorted_by_code_point_and_hold_plain_sha256(folder: Path) -> None:
    manifest = hash_path(folder)
    assert [entry.name for entry in manifest] == ["a-b", "a/b.bin", "é : ü"]
    assert manifest["a/b.bin"].hex == hashlib.sha256(b"one").hexdigest()
    joined = b"".join(entry.digest.value for entry in manifest)
    assert manifest.root.hex == hashlib.sha256(joined).hexdigest()


def test_an_unchanged_folder_verifies(folder: Path) -> None:
    assert hash_path(folder).verify(folder).root == hash_path(folder).root


@pytest.mark.parametrize(
    ("attack", "field", "name"),
    [
        (lambda root: flip_byte(root / "a-b"), "changed", "a-b"),
        (lambda root: (root / "new").write_bytes(b"x"), "added", "new"),
        (lambda root: (root / "a-b").unlink(), "removed", "a-b"),
        (lambda root: swap_names(root / "a-b", root / "a" / "b.bin"), "changed", "a/b.bin"),
    ],
)
def test_verification_names_what_changed(
    folder: Path, attack: Callable[[Path], object], field: str, name: str
) -> None:
    manifest = hash_path(folder)
    attack(folder)
    with pytest.raises(errors.DigestMismatch, match=name) as caught:
        manifest.verify(folder)
    assert name in getattr(caught.value, field)


def test_version_control_and_the_signature_are_left_out_at_the_top_only(folder: Path) -> None:
    before = hash_path(folder).root
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref")
    (folder / "model.sig").write_text("{}")
    assert hash_path(folder).root == before
    (folder / "a" / ".git").write_text("not at the top")
    assert hash_path(folder).root != before


def test_a_symlink_inside_is_refused_by_name(folder: Path) -> None:
    (folder / "link").symlink_to("/etc")
    with pytest.raises(errors.UnsafeContent, match="link is a symlink"):
        hash_path(folder)


def test_a_pipe_is_refused_without_waiting_for_a_writer(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(errors.UnsafeContent, match="pipe"):
        hash_path(folder)
    with pytest.raises(errors.UnsafeContent, match="a pipe"):
        hash_path(folder / "pipe")


def test_a_socket_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(errors.UnsafeContent, match="a socket"):
            hash_path(folder)


def test_a_name_that_is_not_utf8_is_refused(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff")).write_bytes(b"x")
    with pytest.raises(errors.UnsafeContent, match="UTF-8"):
        hash_path(folder)


def test_a_missing_path_is_the_callers_fault(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="nowhere"):
        hash_path(tmp_path / "nowhere")


def test_a_file_that_grows_while_it_is_read_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = folder / "a-b"

    class Growing:
        def __init__(self) -> None:
            self.inner = hashlib.sha256()

        def update(self, data: bytes) -> None:
            with target.open("ab") as stream:
                stream.write(b"more" * 100_000)
            self.inner.update(data)

        def digest(self) -> bytes:
            return self.inner.digest()

    monkeypatch.setattr("mlsecops.provenance.files.hashing.new_hash", lambda *_, **__: Growing())
    with pytest.raises(errors.ChangedDuringLoad, match="a-b"):
        hash_file(target)


def test_many_files_give_the_same_manifest_with_threads_and_without(tmp_path: Path) -> None:
    for index in range(200):
        (tmp_path / f"{index}").write_bytes(bytes([index]) * 40_000)
    seen: list[tuple[int, int]] = []
    manifest = hash_path(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert all(entry.digest == hash_file(tmp_path / entry.name)[0] for entry in manifest)
    assert seen[-1] == (manifest.size, manifest.size)


def test_sha256sum_accepts_what_we_write_and_we_read_what_it_writes(folder: Path) -> None:
    (folder / "new\nline").write_bytes(b"n")
    (folder / "back\\slash").write_bytes(b"b")
    manifest = hash_path(folder)
    checked = subprocess.run(
        ["sha256sum", "-c", "-"],
        input=manifest.to_sha256sums().encode(),
        cwd=folder,
        capture_output=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    written = subprocess.run(
        ["sha256sum", *(entry.name for entry in manifest)],
        cwd=folder,
        capture_output=True,
        check=True,
    )
    assert not manifest.diff(Manifest.from_sha256sums(written.stdout.decode()))


@given(st.dictionaries(names, st.binary(min_size=32, max_size=32), max_size=8))
def test_sha256sum_text_round_trips_any_name(files: dict[str, bytes]) -> None:
    entries = tuple(Entry(name, Digest("sha256", files[name])) for name in sorted(files))
    manifest = Manifest(name="m", algorithm="sha256", entries=entries)
    assert Manifest.from_sha256sums(manifest.to_sha256sums()).entries == manifest.entries


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x", "line 1: expected '<sha256>  <name>'"),
        ("{0}", "line 1: expected"),
        ("{0} w", "line 1: expected"),
        ("{0}  ", "line 1: expected"),
        ("{0}0  w", "line 1: expected"),
        ("\n{0}  a\n G{0}  b", "line 3: expected"),
        ("{0}  a\n{1}  a\n", "line 2: 'a' is repeated"),
        ("{0}  a\n{0}  a\n", "line 2: 'a' is repeated"),
        ("{0}  a\\b\n\\{1}  a\\\\b\n", r"line 2: .* is repeated"),
    ],
)
def test_sums_of_another_form_are_refused_by_their_line(text: str, said: str) -> None:
    """A name with two digests would be checked by one of them."""
    with pytest.raises(errors.FormatRefused, match=said):
        Manifest.from_sha256sums(text.format("a" * 64, "b" * 64))


def test_sums_are_of_sha256_alone(folder: Path) -> None:
    with pytest.raises(errors.UsageError, match="expected sha256 digests, got sha512"):
        hash_path(folder, algorithm="sha512").to_sha256sums()


@pytest.mark.parametrize("path", ["", "/", "/etc", "..", "a/../b", "./a", "a//b", "."])
def test_a_path_outside_of_the_folder_cannot_be_ignored(folder: Path, path: str) -> None:
    with pytest.raises(errors.UsageError, match="expected a relative path inside the folder"):
        hash_path(folder, ignore=[path])


def test_names_of_entries_are_sorted_and_unique() -> None:
    entries = [Entry(name, Digest.of(name.encode())) for name in "ab"]
    for wrong in (entries[::-1], [entries[0], Entry("a", Digest.of(b"other"))]):
        with pytest.raises(errors.UsageError, match="expected sorted, unique names"):
            Manifest(name="m", algorithm="sha256", entries=tuple(wrong))


def test_a_saved_manifest_loads_equal_and_an_edited_one_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    manifest = hash_path(folder)
    saved = manifest.save(tmp_path / "m.json")
    assert Manifest.load(saved) == manifest
    saved.write_text(saved.read_text().replace(manifest["a-b"].hex, "0" * 64))
    with pytest.raises(errors.FormatRefused, match="edited"):
        Manifest.load(saved)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "[" * 100_000, '{"schema":1}', "\xff"])
def test_nonsense_is_not_a_manifest(text: str, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(errors.FormatRefused):
        Manifest.load(path)


EDITS: dict[str, tuple[str, object]] = {
    "a size in words": ("size", "abc"),
    "a size in digits": ("size", "12"),
    "an endless size": ("size", float("inf")),
    "half a byte": ("size", 0.5),
    "less than nothing": ("size", -1),
    "a truth": ("size", True),
    "a type of another type": ("type", ["<f8"]),
    "a file without a name": ("name", None),
    "no digest": ("digest", "md5:" + "0" * 32),
    "digest of no text": ("digest", 7),
    "no name": (".name", None),
    "no algorithm": (".algorithm", 256),
    "one text to ignore": (".ignore", "logs"),
    "numbers to ignore": (".ignore", [1]),
    "a path outside": (".ignore", ["../x"]),
    "uncovered text": (".uncovered", "abc"),
    "uncovered numbers": (".uncovered", [1]),
    "no shard size": (".shard_size", -8),
    "one file of many": (".single", True),
    "other schema": (".schema", "mlsecops.manifest/2"),
    "no root": (".root", None),
    "files of another kind": (".files", 7),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_value_is_refused_as_no_manifest(name: str, folder: Path, tmp_path: Path) -> None:
    """Beside the digests, whose edits the root shows."""
    value = hash_path(folder).to_dict()
    key, given = EDITS[name]
    (value if key.startswith(".") else value["files"][0])[key.removeprefix(".")] = given
    (tmp_path / "m.json").write_text(json.dumps(value))
    with pytest.raises(errors.FormatRefused):
        Manifest.load(tmp_path / "m.json")


def test_croissant_has_a_file_object_for_each_file(folder: Path) -> None:
    manifest = hash_path(folder)
    objects = manifest.to_croissant()["distribution"]
    assert [item["name"] for item in objects] == [entry.name for entry in manifest]
    assert objects[1]["sha256"] == manifest["a/b.bin"].hex


@pytest.mark.parametrize("text", ["abc", "sha256:", "sha256:zz", "md5:" + "0" * 32, "sha256:00"])
def test_a_text_that_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(errors.UsageError):
        Digest.parse(text)


@pytest.mark.parametrize("value", [bytearray(32), "x" * 32, memoryview(bytes(32)), [0] * 32, b""])
def test_a_value_that_is_no_bytes_is_no_digest(value: object) -> None:
    """A value that can be changed later would be verified as one and used as another."""
    with pytest.raises(errors.UsageError, match="value: expected 32 bytes of sha256"):
        Digest("sha256", value)  # type: ignore[arg-type] # the misuse
