"""The describer: an honest, well-behaved backend."""

from __future__ import annotations

import base64
import io
import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image, ImageDraw, ImageOps
from support.program import corpus

from taggerd import settings
from taggerd.inference import Backend, load_profile
from taggerd.inference.describer import MODEL, describer_transport
from taggerd.inference.describer.pixels import UnreadablePicture, summarise
from taggerd.inference.questions import questions
from taggerd.photo import Picture, Stamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def jpeg_of(image: Image.Image) -> bytes:
    """Return an image as JPEG."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=92)
    return out.getvalue()


def scene(sky: str, ground: str, size: tuple[int, int] = (300, 200)) -> bytes:
    """Return a picture of two halves."""
    image = Image.new("RGB", size, sky)
    ImageDraw.Draw(image).rectangle((0, size[1] // 2, *size), fill=ground)
    return jpeg_of(image)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A bare HTTP client."""
    transport = describer_transport()
    async with httpx.AsyncClient(base_url="http://builtin/v1", transport=transport) as made:
        yield made


async def said(jpeg: bytes, language: str = "", mode: Any = "per-role") -> dict[str, Any]:  # noqa: ANN401 - a literal
    """Ask the three default questions; return text or words by role."""
    backend = Backend(settings.Backend(base_url="builtin:", request_mode=mode))
    asked = questions(settings.Roles(), load_profile("default"), MODEL, 15, language=language)
    picture = Picture(
        jpeg=jpeg, width=1, height=1, thumbnail=b"", digest="", stamp=Stamp(0, 0, 0, 0)
    )
    return {
        a.role: a.text or [k.word for k in a.keywords]
        async for a in backend.describe(picture, asked)
    }


async def test_preflight_passes() -> None:
    """The describer sees the probes' colours, and its model id says what it is."""
    backend = Backend(settings.Backend(base_url="builtin:"))
    report = await backend.preflight()
    assert report.ok, report
    assert report.base_url == "builtin:"
    assert report.model == backend.model == MODEL
    assert "pixels-only" in report.model
    await backend.close()


async def test_what_is_said_is_true_of_the_pixels() -> None:
    """Colours, their positions and the shape are in all three answers."""
    answers = await said(scene("deepskyblue", "forestgreen"))
    assert (
        answers["caption"]
        == "A low-contrast landscape-format picture in blue and green, blue above green"
    )
    assert {"blue", "green", "landscape format", "cool colours"} <= set(answers["keywords"])
    assert "upper part is mostly blue, the lower mostly green" in answers["description"]


@pytest.mark.parametrize("mode", ["per-role", "combined"])
@pytest.mark.parametrize(
    ("language", "words", "not_words"),
    [
        ("en-US", ("gray", "warm colors"), r"grey|colour"),
        ("en-GB", ("grey", "warm colours"), r"gray|color\b|colors"),
        ("", ("grey", "warm colours"), r"gray|color\b|colors"),
    ],
)
async def test_it_spells_as_the_language_does(
    mode: str, language: str, words: tuple[str, ...], not_words: str
) -> None:
    """Americans read gray and color, the British grey and colour, in texts and keywords."""
    answers = await said(scene("darkred", "gray"), language, mode)
    assert set(words) <= set(answers["keywords"])
    assert words[0] in answers["caption"]
    assert words[0] in answers["description"]
    assert not re.search(not_words, str(answers))


@pytest.mark.parametrize(
    ("language", "word"), [("en-US", "colors"), ("en-GB", "colours"), ("", "colours")]
)
def test_the_shipped_prompts_are_spelt_so_too(tmp_path: Path, language: str, word: str) -> None:
    """And a profile of the user's own is asked as it is written."""
    asked = questions(settings.Roles(), load_profile("default"), MODEL, 15, language=language)
    assert f"main {word}" in asked[1].prompt
    assert f"main {word}" in asked[1].task
    text = Path(str(files("taggerd"))).joinpath("data", "prompts", "default.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace("main colours", "grey colours"))
    mine = load_profile("mine", tmp_path)
    asked = questions(settings.Roles(), mine, MODEL, 15, language=language)
    assert "grey colours" in asked[1].prompt


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ("red", "red"), ("darkred", "red"), ("orange", "orange"), ("saddlebrown", "brown"),
        ("beige", "beige"), ("gold", "yellow"), ("olivedrab", "green"), ("navy", "blue"),
        ("lightblue", "blue"), ("turquoise", "turquoise"), ("purple", "purple"),
        ("hotpink", "pink"), ("black", "black"), ("white", "white"), ("dimgray", "grey"),
        ("lightgray", "grey"), ((200, 212, 222), "grey"),
    ],
)  # fmt: skip
def test_colours_have_the_names_people_give_them(
    colour: str | tuple[int, int, int], name: str
) -> None:
    """Named colours of the web are called by their everyday names."""
    assert summarise(jpeg_of(Image.new("RGB", (50, 50), colour))).main == (name,)


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ((300, 200), "landscape"),
        ((200, 300), "portrait"),
        ((200, 201), "square"),
        ((900, 200), "panorama"),
        ((1, 1), "square"),
        ((3000, 1), "panorama"),
    ],
)
def test_the_shape_is_that_of_the_picture(size: tuple[int, int], shape: str) -> None:
    """Any size down to one pixel has a shape."""
    assert summarise(jpeg_of(Image.new("RGB", size, "navy"))).shape == shape


def test_light_and_colourlessness_are_seen() -> None:
    """Bright, dark, monochrome, and the side the light comes from."""
    assert summarise(scene("white", "ivory")).brightness > 0.9
    assert summarise(scene("black", "#181818")).brightness < 0.1
    assert summarise(scene("white", "gray")).monochrome
    assert not summarise(scene("white", "red")).monochrome
    assert summarise(scene("white", "black")).brightest == "top"
    assert summarise(jpeg_of(Image.new("L", (60, 60), 128))).monochrome


@pytest.mark.parametrize(
    "data", [b"", b"no", b"\xff\xd8\xff\xe0garbage", b"GIF89a", b"\x89PNG\r\n"]
)
def test_what_is_no_jpeg_is_refused(data: bytes) -> None:
    """Other formats and damage are one error."""
    with pytest.raises(UnreadablePicture):
        summarise(data)


def test_a_jpeg_of_too_many_pixels_is_refused_from_its_header() -> None:
    """A header of 9,300 squared is enough to refuse it: nothing is decoded."""
    data = bytearray(jpeg_of(Image.new("RGB", (16, 16))))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = (9300).to_bytes(2, "big") * 2
    with pytest.raises(UnreadablePicture, match="too many"):
        summarise(bytes(data))


def ask(content: object, model: str = MODEL, **rest: object) -> dict[str, object]:
    """Return a chat request."""
    return {"model": model, "messages": [{"role": "user", "content": content}], **rest}


def image_part(data: bytes) -> dict[str, object]:
    """Return a part of a message."""
    url = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    return {"type": "image_url", "image_url": {"url": url}}


async def test_it_lists_its_model(client: httpx.AsyncClient) -> None:
    """``GET /models`` is OpenAI's list."""
    listed = (await client.get("/models")).json()
    assert listed["object"] == "list"
    assert [m["id"] for m in listed["data"]] == [MODEL]


async def test_it_answers_in_openais_form(client: httpx.AsyncClient) -> None:
    """A chat completion with usage; without a picture it says that it needs one."""
    body = (await client.post("/chat/completions", json=ask("Hello?"))).json()
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert "pixels" in body["choices"][0]["message"]["content"]
    assert body["usage"]["total_tokens"] == sum(
        body["usage"][k] for k in ("prompt_tokens", "completion_tokens")
    )


async def test_it_is_cut_at_the_token_limit(client: httpx.AsyncClient) -> None:
    """As a model would be, with finish_reason length."""
    asked = ask([image_part(scene("red", "blue")), {"type": "text", "text": "A caption"}])
    body = (await client.post("/chat/completions", json=asked | {"max_tokens": 3})).json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert len(body["choices"][0]["message"]["content"].split()) == 3


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/chat/completions", b"{", 400),
        ("POST", "/chat/completions", b"[" * 50_000, 400),
        ("POST", "/chat/completions", b"[]", 400),
        ("POST", "/chat/completions", ask("x", model="gpt-9"), 404),
        ("POST", "/chat/completions", {"model": MODEL}, 400),
        ("POST", "/chat/completions", ask("x", stream=True), 400),
        ("POST", "/chat/completions", ask([image_part(b"no jpeg")]), 400),
        (
            "POST",
            "/chat/completions",
            ask([{"type": "image_url", "image_url": {"url": "http://x/a.jpg"}}]),
            400,
        ),
        (
            "POST",
            "/chat/completions",
            ask([{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,?"}}]),
            400,
        ),
        ("POST", "/chat/completions", ask([{"type": "image_url"}]), 400),
        ("GET", "/chat/completions", None, 405),
        ("POST", "/models", {}, 405),
        ("DELETE", "/models", None, 405),
        ("GET", "/else", None, 404),
    ],
)
async def test_bad_requests_get_error_bodies(
    client: httpx.AsyncClient, method: str, path: str, content: object, status: int
) -> None:
    """Each refusal has its status and a message in OpenAI's form, and the connection lives on."""
    body = {"content": content} if isinstance(content, bytes) else {"json": content}
    response = await client.request(method, path, **({} if content is None else body))
    assert response.status_code == status
    assert response.json()["error"]["message"]
    assert (await client.get("/models")).status_code == 200


async def test_real_photos_get_captions_that_tell_them_apart() -> None:
    """Different photos have different captions, within the length of one."""
    captions: dict[str, str] = {}
    for path in sorted(corpus("photos").glob("*.jpg")):
        if "portrait-orientation" in path.name:
            continue  # the same photo as another, turned
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        image.thumbnail((512, 512))
        answers = await said(jpeg_of(image))
        assert len(answers["caption"]) < 120
        assert len(answers["keywords"]) >= 3
        assert answers["caption"] not in captions, (path.name, captions.get(answers["caption"]))
        captions[answers["caption"]] = path.name
    assert captions
