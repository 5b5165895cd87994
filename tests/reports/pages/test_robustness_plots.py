from __future__ import annotations

import base64
import re
import struct
import zlib
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from numpy.typing import NDArray

from mlsecops.errors import UsageError
from mlsecops.reports import Picture, class_picture, curve_picture, gallery_picture
from mlsecops.reports.rendering.svg_picture import png
from mlsecops.robustness import Breakdown, Case, Curve, Figure
from tests.attackers.reports import MARKUP

SVG = "{http://www.w3.org/2000/svg}"


def figure(hits: int, n: int = 100) -> Figure:
    return Figure(name="f", params={}, hits=hits, n=n)


def curve(*hits: int, attack: str = "pgd") -> Curve:
    radii = tuple(0.1 * i for i in range(len(hits)))
    return Curve(attack=attack, radii=radii, figures=tuple(figure(each) for each in hits))


def breakdown(*names: str) -> Breakdown:
    return Breakdown(
        classes=(3, 7), rows={name: (figure(90), figure(0)) for name in names or ("clean",)}
    )


def case(shape: tuple[int, ...] = (2, 3), label: int = 0) -> Case:
    size = int(np.prod(shape))
    original = np.linspace(0, 1, size, dtype=np.float32).reshape(shape)
    return Case(
        row=4, label=label, answer=1, confidence=0.875, distance=0.1,
        original=original, example=np.clip(original + 0.1, 0, 1),
    )  # fmt: skip


def texts(picture: Picture) -> list[str]:
    root = ET.fromstring(picture.svg)  # noqa: S314 - our own output
    return [each.text or "" for each in root.iter(f"{SVG}text")]


def pixels(uri: str) -> NDArray[np.uint8]:
    """Decode a PNG of ours by the specification alone."""
    data = base64.b64decode(uri.partition(",")[2])
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, place = {}, 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        check = data[place + 8 + length : place + 12 + length]
        assert struct.unpack(">I", check)[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        place += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert depth == 8
    lines = zlib.decompress(chunks[b"IDAT"])
    rows = np.frombuffer(lines, np.uint8).reshape(height, -1)
    assert (rows[:, 0] == 0).all()
    shape = (height, width, 3) if colour == 2 else (height, width)
    return rows[:, 1:].reshape(shape)


def test_a_curve_is_drawn_at_its_radii_and_shares() -> None:
    picture = curve_picture(curve(100, 50, 0), floor=0.7)
    root = ET.fromstring(picture.svg)  # noqa: S314 - our own output
    dots = [(float(d.get("cx", 0)), float(d.get("cy", 0))) for d in root.iter(f"{SVG}circle")]
    assert dots[1][0] == pytest.approx((dots[0][0] + dots[2][0]) / 2, abs=0.1)
    assert dots[1][1] == pytest.approx((dots[0][1] + dots[2][1]) / 2, abs=0.1)
    assert "pgd 0.0\u202f%" in texts(picture)
    assert any("floor 70.0" in each for each in texts(picture))


def test_labels_of_curves_that_meet_stand_apart() -> None:
    picture = curve_picture({"before": curve(90, 40), "after": curve(95, 40)})
    root = ET.fromstring(picture.svg)  # noqa: S314 - our own output
    ends = [
        float(each.get("y", 0))
        for each in root.iter(f"{SVG}text")
        if (each.text or "").startswith(("before", "after"))
    ]
    assert len(ends) == 2
    assert abs(ends[0] - ends[1]) >= 16


def test_a_heat_map_has_a_cell_for_each_class_and_attack() -> None:
    shown = texts(class_picture(breakdown("clean", "pgd"), names=["cat", "dog"]))
    assert [each for each in shown if each in {"90", "0"}] == ["90", "0"] * 2
    assert {"cat", "dog", "clean", "pgd"} <= set(shown)
    assert {"3", "7"} <= set(texts(class_picture(breakdown())))


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 3), (2, 3, 1)])
def test_a_gallery_shows_original_change_and_example(shape: tuple[int, ...]) -> None:
    picture = gallery_picture([case(shape)], names=["zero", "one"])
    images = [pixels(uri) for uri in re.findall(r'href="(data:image/png[^"]+)"', picture.svg)]
    assert len(images) == 3
    values = case(shape).original.reshape(images[0].shape)
    assert (images[0] == np.round(values * 255)).all()
    assert images[1].max() == 255
    assert "zero → one (87.5\u202f%), changed by 0.1" in texts(picture)


def test_flat_and_channels_first_inputs_are_shown_as_images() -> None:
    assert "<image" in gallery_picture([case((6,))], shape=(2, 3)).svg
    picture = gallery_picture([case((3, 2, 5))], channels_first=True)
    image = pixels(re.findall(r'href="(data:image/png[^"]+)"', picture.svg)[0])
    assert image.shape == (2, 5, 3)


def test_png_keeps_grey_and_colour() -> None:
    rng = np.random.default_rng(0)
    for shape in ((4, 7), (4, 7, 3)):
        image = rng.integers(0, 256, shape).astype(np.uint8)
        assert (pixels(png(image)) == image).all()


@pytest.mark.parametrize("text", MARKUP)
def test_what_others_named_is_text_in_every_picture(text: str) -> None:
    for picture in (
        curve_picture({text: curve(90, 40)}, title=text),
        class_picture(breakdown(text), names=[text, text], title=text),
        gallery_picture([case()], names=[text, text], title=text),
    ):
        root = ET.fromstring(picture.svg)  # noqa: S314 - our own output
        assert {each.tag.removeprefix(SVG) for each in root.iter()} <= {
            "svg", "title", "style", "rect", "text", "line", "path", "polygon", "circle", "image",
        }  # fmt: skip
        assert not any(name.startswith("on") for each in root.iter() for name in each.attrib)
        shown = picture._repr_html_()
        assert re.fullmatch(r'<img src="data:image/svg\+xml;base64,[\w+/=]+" alt="[^"<>]*">', shown)


def test_a_picture_is_saved_as_a_file_that_stands_alone(tmp_path: Path) -> None:
    saved = class_picture(breakdown()).save(tmp_path / "classes.svg")
    text = saved.read_text()
    assert text.startswith("<svg")
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_what_cannot_be_drawn_is_wrong_use() -> None:
    for call in (
        lambda: curve_picture({}),
        lambda: curve_picture({str(i): curve(1, 2) for i in range(6)}),
        lambda: class_picture(breakdown(), names=["one"]),
        lambda: gallery_picture([]),
        lambda: gallery_picture([case((6,))]),
        lambda: gallery_picture([case((6,))], shape=(4, 4)),
        lambda: gallery_picture([case((2, 3, 4))]),
    ):
        with pytest.raises(UsageError):
            call()
