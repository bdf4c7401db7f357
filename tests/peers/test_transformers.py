"""``transformers serve`` with a small model that really looks: the picture arrives."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from support.program import REPOSITORY
from support.serving import peer, served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.program import Program

MODEL = "local/tiny-color"
REVISION = "0" * 40
PROFILE = """
[roles.caption]
prompt = "Describe this photo."
max_tokens = 64
[roles.keywords]
prompt = "Answer in JSON: what is in this picture?"
max_tokens = 64
wants = "keywords"
[roles.description]
prompt = "Describe this picture."
max_tokens = 64
"""
"""Short prompts: the model was trained with nothing longer, and what it says of others is noise."""
COLOURS = {
    "red": (225, 25, 20),
    "green": (15, 190, 30),
    "blue": (20, 30, 220),
    "yellow": (240, 230, 20),
    "white": (250, 250, 250),
    "black": (5, 5, 5),
}


def cache_of(model: Path, folder: Path) -> Path:
    """Lay a model's files out as the hub's cache does, and return the cache."""
    home = folder / "hub" / f"models--{MODEL.replace('/', '--')}"
    shutil.copytree(model, home / "snapshots" / REVISION, copy_function=shutil.copyfile)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(REVISION)
    return folder


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the model."""
    model = Path(os.environ.get("TAGGERD_TINY_VLM", REPOSITORY.parent / "shared" / "tiny-vlm"))
    if not model.is_dir():
        pytest.skip(f"the small vision model is not there: {model}")
    program = peer("transformers", "transformers")
    folder = tmp_path_factory.mktemp("transformers")
    environment = {
        "HF_HOME": str(cache_of(model, folder / "cache")),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }

    def command(port: int) -> list[str]:
        return [str(program), "serve", "--port", str(port), "--device", "cpu"]

    with served(command, "/health", folder / "log", environment) as url:
        yield f"{url}/v1"


@pytest.fixture
def seeing(taggerd: Program, base_url: str) -> Program:
    """Return the program, told of the server and its model."""
    taggerd.base_url = base_url
    prompts = taggerd.home / "prompts"
    prompts.mkdir()
    (prompts / "short.toml").write_text(PROFILE)
    taggerd.environment |= {
        "TAGGERD__BACKEND__MODEL": MODEL,
        "TAGGERD__PROMPTS__DIRECTORY": str(prompts),
        "TAGGERD__PROMPTS__PROFILE": "short",
    }
    return taggerd


def test_preflight_passes(seeing: Program) -> None:
    """The model answers, and names the colours of pictures that it is shown."""
    done = seeing("preflight", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, report
    by_name = {probe["name"]: probe for probe in report["probes"]}
    assert by_name["text"]["ok"]
    assert by_name["vision"]["ok"]
    assert by_name["vision"]["seconds"] > 0
    assert MODEL in by_name["vision"]["model"]


def test_every_photo_is_tagged_with_its_own_colour(seeing: Program, tmp_path: Path) -> None:
    """Six photos of several formats and sizes: caption and keywords name the right colour."""
    card = tmp_path / "card"
    card.mkdir()
    forms = (".jpg", ".png", ".webp", ".tif", ".jpeg", ".jpg")
    for number, ((name, colour), form) in enumerate(zip(COLOURS.items(), forms, strict=True)):
        Image.new("RGB", (640 + 300 * number, 480), colour).save(card / f"{name}{form}")
    done = seeing("scan", card)
    assert "tagged 6 of 6 photos" in done.stdout, done.stdout + done.stderr
    records = {Path(record["image"]).stem: record for record in seeing.records()}
    assert {
        name: (
            [colour for colour in COLOURS if colour in record["caption"].casefold()],
            [k["keyword"] for k in record["keywords"] if k["keyword"] in COLOURS],
        )
        for name, record in records.items()
    } == {name: ([name], [name]) for name in COLOURS}
    for name, form in zip(COLOURS, forms, strict=True):
        assert f">{name}</rdf:li>" in (card / f"{name}{form}.xmp").read_text()


def test_an_unknown_model_costs_no_photo_anything(seeing: Program, tmp_path: Path) -> None:
    """The server answers a plain 500; a scan ends with one line and exit 3, nothing is charged."""
    card = tmp_path / "card"
    card.mkdir()
    Image.new("RGB", (640, 480), "red").save(card / "red.jpg")
    done = seeing("scan", "--model", "local/no-such-model", card)
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert seeing("scan", card).returncode == 0
    assert [record["attempts"] for record in seeing.records()] == [1]
