"""Webhooks: the signature of Standard Webhooks, what counts as taken, and what is never sent."""

from __future__ import annotations

import base64
import hashlib
import hmac

import httpx
import pytest
from pydantic import SecretStr

from taggerd.hooks.webhook import Webhook, host_of, signature
from taggerd.settings import Hook

NOTICE = '{"id":"photo-1","text":"a pier"}'


async def sent(hook: Hook, *answers: httpx.Response | Exception) -> tuple[list[httpx.Request], str]:
    """Send a notice to *hook*, whose server gives the *answers*; return requests and failure."""
    requests: list[httpx.Request] = []
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        reply = left.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    webhook = Webhook(hook, seconds=5, transport=httpx.MockTransport(answer))
    try:
        done = await webhook.send("photo-1", NOTICE, 1674087231)
    finally:
        await webhook.close()
    return requests, done.failure


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of the Standard Webhooks' reference libraries comes out bit by bit."""
    made = signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["plain words", "whsec_not base64"])
def test_any_text_is_a_secret(secret: str) -> None:
    """Whoever made one up by hand signs with its bytes."""
    digest = hmac.digest(secret.encode(), b"a.1.{}", hashlib.sha256)
    assert signature(secret, "a", 1, b"{}") == f"v1,{base64.b64encode(digest).decode()}"


async def test_a_request_has_all_that_a_receiver_checks() -> None:
    """POST, JSON, id, time and signature; and the user's own header."""
    hook = Hook(
        url="http://hook.test/x", secret=SecretStr("s"), header=SecretStr("X-Api-Key: key of mine")
    )
    (request,), failure = await sent(hook, httpx.Response(204))
    assert not failure
    assert request.method == "POST"
    assert request.content == NOTICE.encode()
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == "photo-1"
    assert request.headers["webhook-timestamp"] == "1674087231"
    expected = signature("s", "photo-1", 1674087231, NOTICE.encode())
    assert request.headers["webhook-signature"] == expected
    assert request.headers["x-api-key"] == "key of mine"


async def test_without_a_secret_nothing_is_signed_and_a_body_of_ones_own_is_sent_as_it_is() -> None:
    """Immich and PhotoPrism want their own JSON, or none."""
    hook = Hook(url="http://hook.test", body='{"path":"/"}')
    (request,), _ = await sent(hook, httpx.Response(200))
    assert "webhook-signature" not in request.headers
    assert request.content == b'{"path":"/"}'


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(301, headers={"location": "http://elsewhere.test"}),
        httpx.Response(404),
        httpx.Response(500, content=b"x" * 100_000),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("late"),
    ],
    ids=str,
)
async def test_only_a_2xx_is_a_success(answer: httpx.Response | Exception) -> None:
    """A redirect is none: notices would go where nobody sent them."""
    requests, failure = await sent(Hook(url="http://hook.test"), answer)
    assert failure
    assert len(requests) == 1


def test_the_path_of_a_webhook_is_shown_to_nobody() -> None:
    """It is the key of many: whoever knows it may post there."""
    assert host_of("https://me:word@hook.test:8443/services/T0/B0?x=1") == "https://hook.test:8443"
