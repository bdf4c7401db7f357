"""The door: who comes in, what is refused, and which headers every answer has."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from taggerd.web import door
from taggerd.web.door import HEADERS, LONGEST_BODY, Door, Keys
from taggerd.web.passwords import FIRST_SECONDS, MOST_SECONDS, Passwords, Throttle, keep
from taggerd.web.sessions import IDLE_SECONDS, LONGEST_SECONDS, MOST_SESSIONS, Sessions
from taggerd.web.site import done, form_of, notice, page, who

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request

PASSWORD = "a heron by the weir"  # noqa: S105 - a test's
HERE = "http://127.0.0.1:8437"


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        """Begin."""
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the door."""
    return Clock()


@pytest.fixture
def keys(tmp_path: Path, clock: Clock) -> Keys:
    """Return who may come in: links, and a password once one is kept."""
    return Keys(
        sessions=Sessions(clock),
        passwords=Passwords(tmp_path),
        throttle=Throttle(clock),
        cookie="taggerd-8437",
        names=frozenset({"nas.example"}),
    )


@pytest.fixture
def app(keys: Keys) -> Door:
    """Return a door before an app that tells what it was sent."""

    async def told(request: Request) -> Response:
        return JSONResponse({"who": who(request), "words": form_of(request).getlist("word")})

    async def changed(request: Request) -> Response:
        notice(request, "Changed.")
        return done(request, form_of(request).get("to", "/"), changed=1)

    async def form(request: Request) -> Response:
        return page(request, "error.html", number=1, text=request.query_params.get("text", ""))

    inner = Starlette(
        routes=[
            *door.routes,
            Route("/", told, methods=["GET", "POST"]),
            Route("/change", changed, methods=["POST"]),
            Route("/form", form),
        ]
    )
    inner.state.keys = keys
    return Door(inner, keys)


@asynccontextmanager
async def browser(
    app: Door, here: str = HERE, *, address: str = "127.0.0.1"
) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client that keeps cookies and follows nothing."""
    transport = httpx.ASGITransport(app, client=(address, 50000))
    async with httpx.AsyncClient(transport=transport, base_url=here) as client:
        yield client


async def logged_in(client: httpx.AsyncClient, keys: Keys) -> str:
    """Log *client* in by a link, and return its session's token."""
    answer = await client.get(f"/?token={keys.sessions.new_link()}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    session = keys.sessions.find(client.cookies["taggerd-8437"], password="")
    assert session
    return session.csrf


async def test_a_link_logs_in_once_and_leaves_the_address(app: Door, keys: Keys) -> None:
    """A link that somebody reads over a shoulder, or in a history, opens nothing any more."""
    token = keys.sessions.new_link()
    async with browser(app) as first, browser(app) as second:
        answer = await first.get(f"/?token={token}")
        assert answer.headers["location"] == "/"
        assert token not in str(answer.headers)
        assert (await first.get("/")).json()["who"]
        again = await second.get(f"/?token={token}")
        assert again.headers["location"] == "/login?used=1"
        assert (await second.get(again.headers["location"])).status_code == 401
        assert (await second.get("/")).status_code == 303


async def test_a_new_link_makes_the_one_before_void(app: Door, keys: Keys) -> None:
    """There is one open link at a time: the one that was printed last."""
    old = keys.sessions.new_link()
    keys.sessions.new_link()
    async with browser(app) as client:
        assert "used" in (await client.get(f"/?token={old}")).headers["location"]


async def test_the_cookie_is_kept_from_scripts_and_other_sites(app: Door, keys: Keys) -> None:
    """It is sent to this site alone, and read by the server alone."""
    async with browser(app) as client:
        answer = await client.get(f"/?token={keys.sessions.new_link()}")
    (cookie,) = answer.headers.get_list("set-cookie")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie
    assert "Secure" not in cookie  # http: a browser would not send it back


@pytest.mark.parametrize("path", ["/", "/?q=x", "/form", "/no-such", "/thumbnails/..%2f..%2fetc"])
async def test_nothing_is_served_without_a_session(app: Door, path: str) -> None:
    """What exists is told to nobody who is not logged in."""
    async with browser(app) as client:
        answer = await client.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login")
        asked = await client.get(path, headers={"Accept": "application/json"})
        assert (asked.status_code, asked.json()) == (401, {"error": "log in first"})
        assert (await client.post(path)).status_code == 401


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8437",
        "127.0.0.1.evil.example",
        "[::1]evil.example",
        "localhost.evil",
        "",
        "127.1",
    ],
)
async def test_a_name_that_is_not_ours_gets_nothing(app: Door, keys: Keys, host: str) -> None:
    """A page whose name resolves to this machine reads nothing, though the cookie were sent."""
    async with browser(app) as client:
        csrf = await logged_in(client, keys)
        for method in ("GET", "POST"):
            answer = await client.request(
                method,
                "/",
                headers={"Host": host},
                data={"csrf": csrf} if method == "POST" else None,
            )
            assert answer.status_code == 421, host
            assert "web.hosts" in answer.text


@pytest.mark.parametrize(
    "host",
    ["localhost:9", "127.0.0.1", "[::1]:8437", "192.168.1.5:80", "NAS.example", "nas.example."],
)
async def test_our_own_names_are_answered(app: Door, keys: Keys, host: str) -> None:
    """A number cannot be made to lead elsewhere, and what the settings name is meant."""
    async with browser(app) as client:
        await logged_in(client, keys)
        assert (await client.get("/", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "http://127.0.0.1:8437.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_another_sites_page_posts_nothing(
    app: Door, keys: Keys, headers: dict[str, str]
) -> None:
    """Not even with the token: the browser says where a form came from."""
    async with browser(app) as client:
        csrf = await logged_in(client, keys)
        for path in ("/change", "/login", "/logout"):
            answer = await client.post(path, data={"csrf": csrf}, headers=headers)
            assert (answer.status_code, "another site" in answer.text) == (403, True)
        assert (await client.get("/")).status_code == 200


@pytest.mark.parametrize("given", [{}, {"csrf": ""}, {"csrf": "guess"}, {"csrf": "é"}])
async def test_a_post_needs_the_sessions_token(
    app: Door, keys: Keys, given: dict[str, str]
) -> None:
    """The cookie alone changes nothing; nor does a token of another session."""
    async with browser(app) as client, browser(app) as other:
        await logged_in(client, keys)
        foreign = await logged_in(other, keys)
        for data in (given, {"csrf": foreign}):
            answer = await client.post("/change", data=data, headers={"Origin": HERE})
            assert answer.status_code == 403
        assert (await client.post("/logout", data=given)).status_code == 403


async def test_a_form_of_ours_is_taken(app: Door, keys: Keys) -> None:
    """A browser without scripts is sent on; a script gets JSON; the words arrive as they were."""
    async with browser(app) as client:
        csrf = await logged_in(client, keys)
        answer = await client.post(
            "/change", data={"csrf": csrf, "to": "/photos?day=1"}, headers={"Origin": HERE}
        )
        assert (answer.status_code, answer.headers["location"]) == (303, "/photos?day=1")
        script = {"X-CSRF-Token": csrf, "Accept": "application/json"}
        assert (await client.post("/change", headers=script)).json() == {"changed": 1}
        words = {"csrf": csrf, "word": ["grey heron", "a&b=<c>", "", "鳥"]}
        assert (await client.post("/", data=words)).json()["words"] == words["word"]


@pytest.mark.parametrize(
    "to",
    ["//evil.example", "/\\evil.example", "http://evil.example", "/a\r\nSet-Cookie: x=1", "x", ""],
)
async def test_no_answer_leads_elsewhere(app: Door, keys: Keys, to: str) -> None:
    """What a link says comes after the log-in leads to a page of this site, or to the first."""
    async with browser(app) as client:
        csrf = await logged_in(client, keys)
        answer = await client.post("/change", data={"csrf": csrf, "to": to})
        assert answer.headers["location"] == "/"
        assert answer.headers.get_list("set-cookie") == []


async def test_each_answer_has_the_headers(app: Door, keys: Keys) -> None:
    """Refusals and errors have them as well."""
    async with browser(app) as client:
        answers = [
            await client.get("/"),
            await client.get("/login"),
            await client.get("/", headers={"Host": "evil.example"}),
            await client.put("/"),
        ]
        await logged_in(client, keys)
        answers += [await client.get("/"), await client.get("/none"), await client.post("/")]
    for answer in answers:
        assert HEADERS.items() <= {name: answer.headers.get(name) for name in HEADERS}.items(), (
            answer
        )
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


async def test_a_text_in_a_page_stays_text(app: Door, keys: Keys) -> None:
    """Markup from a photo or an address is shown, not obeyed."""
    async with browser(app) as client:
        await logged_in(client, keys)
        text = "<script>alert(1)</script>\u202e'\""
        answer = await client.get("/form", params={"text": text})
    assert "<script>" not in answer.text
    assert "\u202e" not in answer.text


async def test_a_huge_body_is_refused_before_it_is_read(app: Door, keys: Keys) -> None:
    """By what it says of its length, and by what comes if it says nothing."""
    async with browser(app) as client:
        csrf = await logged_in(client, keys)
        length = {"Content-Length": str(LONGEST_BODY + 1), "X-CSRF-Token": csrf}
        assert (await client.post("/change", headers=length)).status_code == 413
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 1 << 16
                yield b"x" * (1 << 16)

        answer = await client.post("/change", content=endless(), headers={"X-CSRF-Token": csrf})
        assert answer.status_code == 413
        assert sent <= LONGEST_BODY + (1 << 17)


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"a": 1}', "application/json", 415),
        (b"a=1", "text/plain", 415),
        (b"--x\r\n\r\n--x--", "multipart/form-data; boundary=x", 415),
        (b"a=\xff", "application/x-www-form-urlencoded", 400),
        (b"a&" * 60_000, "application/x-www-form-urlencoded", 400),
    ],
)
async def test_what_is_no_form_is_refused(
    app: Door, keys: Keys, content: bytes, kind: str, status: int
) -> None:
    """A form of text is all that any page sends; the kinds that other sites may send are none."""
    async with browser(app) as client:
        csrf = await logged_in(client, keys)
        headers = {"X-CSRF-Token": csrf, "Content-Type": kind}
        answer = await client.post("/change", content=content, headers=headers)
        assert answer.status_code == status


async def test_a_session_ends(app: Door, keys: Keys, clock: Clock) -> None:
    """By itself when it is not used, in any case after a month, and when somebody logs out."""
    async with browser(app) as client:
        await logged_in(client, keys)
        clock.now += IDLE_SECONDS + 1
        assert (await client.get("/")).status_code == 303
        csrf = await logged_in(client, keys)
        for _ in range(int(LONGEST_SECONDS / IDLE_SECONDS)):
            clock.now += IDLE_SECONDS - 1
            assert (await client.get("/")).status_code == 200
        clock.now += IDLE_SECONDS - 1
        assert (await client.get("/")).status_code == 303
        csrf = await logged_in(client, keys)
        kept = client.cookies["taggerd-8437"]
        assert (await client.post("/logout", data={"csrf": csrf})).status_code == 303
        client.cookies.set("taggerd-8437", kept)
        assert (await client.get("/")).status_code == 303


async def test_an_id_that_was_given_before_the_log_in_is_never_taken(app: Door, keys: Keys) -> None:
    """Whoever fixes a cookie in a browser does not share the session that begins there."""
    async with browser(app) as client:
        client.cookies.set("taggerd-8437", "chosen", domain="127.0.0.1")
        answer = await client.get(f"/?token={keys.sessions.new_link()}")
        assert "chosen" not in answer.headers["set-cookie"]
    assert keys.sessions.find("chosen", password="") is None


async def test_sessions_do_not_grow_without_end(keys: Keys, clock: Clock) -> None:
    """The one that was used longest ago goes first."""
    names = []
    for _ in range(MOST_SESSIONS + 1):
        clock.now += 1
        names.append(keys.sessions.begin("somebody"))
    assert keys.sessions.find(names[0], password="") is None
    assert keys.sessions.find(names[1], password="")


async def test_a_password_logs_in_and_its_change_logs_out(
    app: Door, keys: Keys, tmp_path: Path
) -> None:
    """Whoever was logged in by the old one is out at once; a link's session stays."""
    keep(tmp_path, PASSWORD)
    async with browser(app) as client, browser(app) as linked:
        await logged_in(linked, keys)
        assert 'type="password"' in (await client.get("/login?next=/form")).text
        sent = {"password": PASSWORD, "name": "Ann\u202e", "next": "/form"}
        answer = await client.post("/login", data=sent, headers={"Origin": HERE})
        assert (answer.status_code, answer.headers["location"]) == (303, "/form")
        assert (await client.get("/")).json()["who"].startswith("Ann")
        assert "\u202e" not in (await client.get("/")).text
        keep(tmp_path, "another heron there")
        assert (await client.get("/")).status_code == 303
        assert (await linked.get("/")).status_code == 200


async def test_a_log_in_begins_another_session(app: Door, keys: Keys, tmp_path: Path) -> None:
    """The one that the browser had ends: whoever knew its id is out."""
    keep(tmp_path, PASSWORD)
    async with browser(app) as client:
        csrf = await logged_in(client, keys)
        before = client.cookies["taggerd-8437"]
        await client.post("/login", data={"password": PASSWORD, "csrf": csrf})
        assert client.cookies["taggerd-8437"] != before
        assert keys.sessions.find(before, password=keys.version()) is None


async def test_by_https_the_cookie_is_sent_by_https_alone(app: Door, tmp_path: Path) -> None:
    """Also where a proxy speaks HTTPS, and HTTP to us."""
    keep(tmp_path, PASSWORD)
    async with browser(app, "http://127.0.0.1:8437") as client:
        headers = {"Host": "nas.example", "Origin": "https://nas.example"}
        answer = await client.post("/login", data={"password": PASSWORD}, headers=headers)
    assert "Secure" in answer.headers["set-cookie"]


async def test_wrong_passwords_are_slowed(app: Door, tmp_path: Path, clock: Clock) -> None:
    """Also the right one, for the while; an address that did nothing wrong comes in."""
    keep(tmp_path, PASSWORD)
    async with browser(app, address="10.0.0.9") as client, browser(app) as other:
        for number in range(4):
            answer = await client.post("/login", data={"password": "a wrong guess"})
            assert (answer.status_code, "not the password" in answer.text) == (401, True)
            answer = await client.post("/login", data={"password": PASSWORD})
            assert answer.status_code == 429
            assert answer.headers["Retry-After"] == str(int(FIRST_SECONDS * 2**number))
            assert "set-cookie" not in answer.headers
            clock.now += min(FIRST_SECONDS * 2**number, MOST_SECONDS)
        assert (await other.post("/login", data={"password": PASSWORD})).status_code == 303
        assert (await client.post("/login", data={"password": PASSWORD})).status_code == 303


async def test_many_guesses_at_once_are_one(app: Door, tmp_path: Path) -> None:
    """Whoever sends a hundred before the first answer has had one try."""
    keep(tmp_path, PASSWORD)
    async with browser(app) as client:
        answers = await asyncio.gather(
            *(client.post("/login", data={"password": f"a wrong guess {n}"}) for n in range(20))
        )
    assert sorted(answer.status_code for answer in answers) == [401] + [429] * 19


async def test_a_hash_that_cannot_be_read_lets_nobody_in(
    app: Door, keys: Keys, tmp_path: Path
) -> None:
    """A link's session goes on."""
    keep(tmp_path, PASSWORD).chmod(0o666)
    async with browser(app) as client, browser(app) as linked:
        await logged_in(linked, keys)
        assert (await client.post("/login", data={"password": PASSWORD})).status_code == 401
        assert (await linked.get("/")).status_code == 200
