"""The LiteLLM proxy on its bad days: what it answers is understood, and costs no photo anything."""

from __future__ import annotations

import base64
import io
import json
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from support.program import CountingBackend, photo
from support.serving import peer, served

from taggerd.inference import describer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.program import Program, Reply

KEY = "sk-master"


def configuration(upstream: str) -> str:
    """Return the proxy's settings, JSON being YAML: models that fail, and one that is ours."""

    def mock(name: str, response: str = "hello", **more: object) -> dict[str, object]:
        params = {"model": f"openai/{name}", "api_key": "x", "mock_response": response, **more}
        return {"model_name": name, "litellm_params": params}

    def passed_on(name: str, model: str, url: str) -> dict[str, object]:
        params = {"model": f"openai/{model}", "api_key": "x", "api_base": url, "max_retries": 0}
        return {"model_name": name, "litellm_params": params}

    return json.dumps(
        {
            "model_list": [
                passed_on("eye", describer.MODEL, upstream),
                passed_on("dead", "dead", "http://127.0.0.1:9/v1"),
                mock("limited", "litellm.RateLimitError"),
                mock("broken", "litellm.InternalServerError"),
                mock("small", "litellm.ContextWindowExceededError"),
                mock("late", mock_timeout=True, timeout=1),
                mock("slow", mock_delay=4),
                mock("blind"),
            ],
            "litellm_settings": {"num_retries": 0},
            "router_settings": {"num_retries": 0, "disable_cooldowns": True},
            "general_settings": {"master_key": KEY},
        }
    )


@pytest.fixture(scope="module")
def upstream() -> Iterator[CountingBackend]:
    """Return a backend of ours behind the proxy."""
    serving = CountingBackend()
    yield serving
    serving.close()


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory, upstream: CountingBackend) -> Iterator[str]:
    """Serve the proxy."""
    program = peer("litellm", "litellm")
    folder = tmp_path_factory.mktemp("litellm")
    (folder / "config.yaml").write_text(configuration(upstream.base_url))
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HOME": str(folder)}

    def command(port: int) -> list[str]:
        config = str(folder / "config.yaml")
        return [str(program), "--config", config, "--host", "127.0.0.1", "--port", str(port)]

    with served(command, "/health/liveliness", folder / "log", environment) as url:
        yield f"{url}/v1"


@pytest.fixture
def proxied(taggerd: Program, base_url: str, upstream: CountingBackend) -> Iterator[Program]:
    """Return the program, told of the proxy and its model that works."""
    taggerd.base_url = base_url
    taggerd.environment |= {
        "TAGGERD__BACKEND__MODEL": "eye",
        "TAGGERD__BACKEND__API_KEY": KEY,
        "TAGGERD__BACKEND__MAX_CONCURRENCY": "1",
    }
    yield taggerd
    upstream.script = lambda _path, _body: None


def test_through_the_proxy_every_photo_is_tagged(proxied: Program, card: Path) -> None:
    """The proxy lists, answers and passes pictures on."""
    assert proxied("preflight").returncode == 0
    assert "tagged 5 of 5 photos" in proxied("scan", card).stdout


UNUSABLE = [
    ("limited", {}, "asks for fewer requests (429", "Wait"),
    ("broken", {}, "failed (500", "log"),
    ("small", {}, "ContextWindowExceeded", "larger context"),
    ("late", {}, "gave up waiting for its model (408", "timeout_seconds"),
    ("slow", {"TAGGERD__BACKEND__TIMEOUT_SECONDS": "2"}, "within 2 s", "timeout_seconds"),
    ("dead", {}, "Connection error", "log"),
    ("blind", {}, "does not see pictures", "vision model"),
    ("no-such", {}, "does not serve 'no-such'", "backend.model"),
    ("eye", {"TAGGERD__BACKEND__API_KEY": "sk-wrong"}, "refuses the API key", "backend.api_key"),
]


@pytest.mark.parametrize(
    ("model", "environment", "words", "step"), UNUSABLE, ids=[f"{r[0]}{r[2][:8]}" for r in UNUSABLE]
)
def test_each_fault_is_one_line_with_what_to_do(
    proxied: Program,
    card: Path,
    model: str,
    environment: dict[str, str],
    words: str,
    step: str,
) -> None:
    """Preflight and scan name it and the one next step, exit 3; no photo pays for it."""
    well = dict(proxied.environment)
    proxied.environment |= {"TAGGERD__BACKEND__MODEL": model} | environment
    shown = proxied("preflight", "--json")
    report = json.loads(shown.stdout)
    assert shown.returncode == 3
    assert words in " ".join(probe["error"] for probe in report["probes"])
    assert step in report["next_step"]
    done = proxied("scan", card)
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert words in line
    assert step in line
    proxied.environment = well
    assert "tagged 5 of 5 photos" in proxied("scan", card).stdout
    assert {record["attempts"] for record in proxied.records()} == {1}


def about_a_photo(path: str, body: bytes) -> bool:
    """Say whether a request is about a photo of the user's."""
    return "chat" in path and b'"system"' in body


def about_the_test_picture(body: bytes) -> bool:
    """Say whether a request asks about the control picture, not about one of the small card's."""
    return len(body) > LARGER_THAN_THE_CARDS


def said(message: str, code: str = "") -> bytes:
    """Return an error body of OpenAI's form."""
    return json.dumps({"error": {"message": message, "code": code}}).encode()


LARGER_THAN_THE_CARDS = 50_000
"""Bytes of a request."""
TOO_LONG = said("This model's maximum context length is 512 tokens.", "context_length_exceeded")
OUTAGES: list[tuple[str, int, Reply | None]] = [
    # name, how many requests about photos end so, and how; a picture that is refused is compared
    # with the test picture: there that many of those, and whatever else comes until then
    ("401", 2, (401, {}, said("invalid key"))),
    ("429", 2, (429, {"Retry-After": "2"}, said("slow down"))),
    ("500", 2, (500, {}, said("CUDA out of memory"))),
    ("503", 2, (503, {}, said("loading model"))),
    ("408", 2, (408, {}, said("timed out"))),
    ("context overflow", 2, (400, {}, TOO_LONG)),
    ("connection dropped", 2, None),
]


@pytest.mark.parametrize(
    ("times", "reply"), [row[1:] for row in OUTAGES], ids=[row[0] for row in OUTAGES]
)
def test_an_outage_behind_the_proxy_costs_no_photo_anything(
    proxied: Program, card: Path, upstream: CountingBackend, times: int, reply: Reply | None
) -> None:
    """What comes for every photo for a while is waited out: all are tagged, none is charged."""
    left = [times]
    refused = reply is not None and reply[0] == 400
    failed_at: list[float] = []
    good_at: list[float] = []

    def script(path: str, body: bytes) -> Reply | None:
        if not about_a_photo(path, body):
            return None
        if not left[0]:
            good_at.append(time.monotonic())
            return None
        left[0] -= not refused or about_the_test_picture(body)
        failed_at.append(time.monotonic())
        if reply is None:
            raise ConnectionAbortedError
        return reply

    upstream.script = script
    done = proxied("scan", card)
    assert "tagged 5 of 5 photos" in done.stdout, done.stdout + done.stderr
    assert {record["attempts"] for record in proxied.records()} == {1}
    assert left == [0]
    assert refused or len(failed_at) == times
    if reply is not None and "Retry-After" in reply[1]:
        assert good_at[0] - failed_at[-1] >= 2.0


def test_the_wait_that_is_asked_for_comes_by_a_header_of_the_proxys_own(
    proxied: Program, base_url: str, upstream: CountingBackend
) -> None:
    """That is why ``llm_provider-retry-after`` is read."""
    assert proxied.base_url == base_url
    upstream.script = lambda _path, _body: (429, {"Retry-After": "7"}, said("slow down"))
    body = json.dumps({"model": "eye", "messages": [{"role": "user", "content": "hello"}]})
    request = urllib.request.Request(  # noqa: S310 - our own address
        f"{base_url}/chat/completions",
        body.encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)  # noqa: S310 - our own address
    assert refused.value.code == 429
    assert refused.value.headers["llm_provider-retry-after"] == "7"


def test_a_photo_that_is_too_much_for_the_context_fails_alone(
    proxied: Program, card: Path, upstream: CountingBackend
) -> None:
    """Others are answered, so it is this photo's own fault: it is named, the others are tagged."""
    photo(card / "long.jpg", 3, (333, 222))

    def script(path: str, body: bytes) -> Reply | None:
        if about_a_photo(path, body) and _size(body) == (333, 222):
            return 400, {}, TOO_LONG
        return None

    upstream.script = script
    done = proxied("scan", card)
    assert done.returncode == 1
    assert "tagged 5 of 6 photos; 1 failed" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("failed")]
    assert "long.jpg" in line
    assert "maximum context length" in line


def _size(body: bytes) -> tuple[int, int]:
    """Return the size of the picture in a request."""
    parts = json.loads(body)["messages"][-1]["content"]
    url = next(part["image_url"]["url"] for part in parts if part["type"] == "image_url")
    return Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1]))).size
