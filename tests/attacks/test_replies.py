"""What a decoder that is taken over sends is a value that was asked for, or the decoder is killed.

It may write any bytes to its channel. None of them call anything, build anything but listed types,
take more than a moment or a few megabytes, or answer somebody else's question.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from taggerd import settings
from taggerd.errors import WorkerLost
from taggerd.photo import FINGERPRINT_EDGE, Fingerprint, Keyword, Picture, Stamp
from taggerd.services.pools import DECODED
from taggerd.workers.pool import Workers
from taggerd.workers.replies import MOST_LEVELS, NotAReplyError, Replies

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MOST = 200_000
STAMP = {"size": 1, "mtime_ns": 2, "inode": 3, "device": 4}
GREY = bytes(FINGERPRINT_EDGE**2)
FINGERPRINT = {"grey": {"bytes": len(GREY)}, "sharpness": 0.5}
PICTURE = {
    "jpeg": {"bytes": 0},
    "width": 1,
    "height": 2,
    "thumbnail": {"bytes": 0},
    "digest": "d",
    "stamp": {"Stamp": STAMP},
    "notes": {"tuple": ["n"]},
    "fingerprint": {"Fingerprint": FINGERPRINT},
}
"""As JSON has them; the tests change one thing."""

TAKEN_OVER = """
import os, pickle, struct, sys
from taggerd.workers.process import BEGUN, ERROR, HEAD, READY, SWELLED, VALUE
frame = sys._getframe()
while "replies" not in frame.f_locals:
    frame = frame.f_back
channel, number = frame.f_locals["replies"], frame.f_locals["number"]
def say(tag, number, content=b"", length=None):
    channel.write(HEAD.pack(tag, number, len(content) if length is None else length) + content)
    channel.flush()
"""
"""What code in a process has then: its channel, and the number of the request."""


def read(content: bytes | str, expected: object = object) -> object:
    """Read a reply as the main process reads that of a decoder."""
    content = content.encode() if isinstance(content, str) else content
    return Replies(DECODED, MOST).value(content, expected)


def read_picture(picture: dict[str, Any], number: str = "77", grey: bytes = GREY) -> object:
    """Read a picture; its 77, if it has one, is written as *number*; *grey* is behind it."""
    text = json.dumps({"Picture": picture}).replace("77", number)
    return read(text.encode() + b"\0" + grey, Picture)


@contextlib.asynccontextmanager
async def working(processes: int = 1) -> AsyncIterator[Workers]:
    """Decoders that are closed again."""
    given = settings.Workers(processes=processes, deadline_seconds=60)
    workers = Workers(given, caged=True, returns=DECODED)
    try:
        yield workers
    finally:
        await workers.close()


def test_what_is_changed_below_was_a_reply() -> None:
    """Else the refusals would prove nothing."""
    picture = read_picture(PICTURE)
    assert picture == Picture(
        jpeg=b"",
        width=1,
        height=2,
        thumbnail=b"",
        digest="d",
        stamp=Stamp(1, 2, 3, 4),
        notes=("n",),
        fingerprint=Fingerprint(GREY, 0.5),
    )


@pytest.mark.parametrize(
    "content",
    [
        "[" * 190_000 + "]" * 190_000,
        '{"tuple":[' * 90_000 + "]}" * 90_000,
        "[" * 190_000,
        "[" * 100 + "]" * 100,
        "[" * (MOST_LEVELS + 2) + "]" * (MOST_LEVELS + 2),
        '{"dict":{"a":' * 30 + "1" + "}}" * 30,
        "[" + "0," * MOST + "0]",
        "[" + "[]," * MOST + "0]",
        "[" + "{}," * MOST + "0]",
    ],
)
def test_nothing_nests_or_counts_without_end(content: str) -> None:
    """A tuple nested 190,000 deep ended the process as it was hashed; a million lists filled it."""
    with pytest.raises(NotAReplyError):
        read(content)


@pytest.mark.parametrize(
    "content",
    [
        '{"set":[1]}',
        '{"frozenset":[1]}',
        json.dumps({"set": [n * (2**61 - 1) for n in range(1, 1000)]}),
        '{"dict":{"1":1},"tuple":[]}',
        "{}",
        '{"dict":[]}',
        '{"dict":[[1,2]]}',
        '{"tuple":{}}',
        '{"tuple":5}',
    ],
)
def test_nothing_is_hashed_but_text(content: str) -> None:
    """Multiples of 2^61-1 all have the hash 0: a set of 20,000 blocked the main process."""
    with pytest.raises(NotAReplyError):
        read(content)


@pytest.mark.parametrize(
    "name",
    [
        *("Load", "taggerd.cli.options.Load", "Settings", "Photo", "PhotoFile", "Sidecar"),
        *("Exception", "PhotoGone", "object", "type", "bytearray", "Popen", "os.system", "eval"),
        *("__class__", "__reduce__", "PosixPath", "View", "UndoOutcome", ""),
    ],
)
@pytest.mark.parametrize("inner", [{}, {"config": {"path": "L2E="}}, [], 900_000_000, None, "a"])
def test_types_that_are_not_listed_are_not_built(name: str, inner: object) -> None:
    """Whatever else is loaded: a decoder builds what decoders return, and calls nothing."""
    with pytest.raises(NotAReplyError, match="not listed"):
        read(json.dumps({name: inner}))


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x04\x8f()" + b"\x85" * 1000 + b"\x90.",
        b"\x80\x05\x96" + (900_000_000).to_bytes(8, "little") + b".",
        b"",
        b"\xff\xfe[\0]\0",
        b"\xef\xbb\xbf[]",
        b"[]x",
        b"[1,]",
        b"'a'",
        b"\xff",
        b'"\xed\xa0\x80"',
        b'{"bytes":"a"}',
        b'{"bytes":"YQ==\\n"}',
        b'{"bytes":5}',
        b'{"bytes":-1}\0',
        b'{"bytes":true}\0a',
        b'{"bytes":1.0}\0a',
        b'{"bytes":2}\0a',
        b'{"bytes":1}\0ab',
        b'[{"bytes":1},{"bytes":-1},{"bytes":1}]\0a',
        b'[{"bytes":2},{"bytes":2}]\0abc',
        b"1\0a",
        b"\0",
        b'{"path":"YQBi"}',
        b'{"path":["a"]}',
    ],
)
def test_what_is_not_the_format_is_nothing(content: bytes) -> None:
    """No pickle, no other encoding, not a byte more or less than it says, no path with NUL."""
    with pytest.raises(NotAReplyError):
        read(content)


@pytest.mark.parametrize(
    "number",
    [
        *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 39 + "e999"),
        *(str(2**63), str(-(2**63) - 1), "9" * 4000, "9" * 1_000_000, "-" + "9" * 100),
        *("1." + "1" * 1_000_000, "1e-" + "9" * 1_000_000),
    ],
)
def test_numbers_are_finite_and_of_64_bits(number: str) -> None:
    """Nothing downstream has to know what SQLite, JSON or a comparison make of others."""
    with pytest.raises(NotAReplyError):
        read(number)
    with pytest.raises(NotAReplyError):
        read_picture(PICTURE | {"width": 77}, number)


@pytest.mark.parametrize("length", [0, 1, len(GREY) - 1, len(GREY) + 1, 1000])
def test_a_fingerprint_can_be_compared(length: int) -> None:
    """Else the next photo of the camera, which another process decodes, would fail over it."""
    changed = {"fingerprint": {"Fingerprint": FINGERPRINT | {"grey": {"bytes": length}}}}
    with pytest.raises(NotAReplyError, match="pixels"):
        read_picture(PICTURE | changed, grey=bytes(length))


@pytest.mark.parametrize("escaped", [r'"\ud800"', r'"a\udcffb"', r'{"dict":{"\udfff":1}}'])
def test_text_can_be_stored(escaped: str) -> None:
    """JSON can escape half of a character, which no file and no database takes."""
    with pytest.raises(NotAReplyError):
        read(escaped)


def test_no_name_comes_twice() -> None:
    """Of two fields of one name, one would have been checked and the other used."""
    twice = json.dumps(PICTURE)[:-1] + ', "width": 1}'
    for content in (f'{{"Picture":{twice}}}', '{"dict":{"a":1,"a":2}}', '{"tuple":[],"tuple":[]}'):
        with pytest.raises(NotAReplyError, match="twice"):
            read(content)


@pytest.mark.parametrize(
    "changed",
    [
        *({"width": "1"}, {"width": True}, {"width": 1.0}, {"width": None}, {"digest": None}),
        *({"jpeg": "aGk="}, {"jpeg": None}, {"stamp": STAMP}, {"stamp": {"dict": STAMP}}),
        *({"stamp": {"tuple": [1, 2, 3, 4]}}, {"stamp": {"Stamp": STAMP | {"size": "1"}}}),
        *({"stamp": {"Stamp": {"size": 1}}}, {"stamp": {"Picture": PICTURE}}),
        *({"notes": ["n"]}, {"notes": {"tuple": [1]}}, {"notes": "n"}, {"notes": {"tuple": [[]]}}),
        *({"fingerprint": FINGERPRINT}, {"fingerprint": {"Stamp": STAMP}}),
        *({"fingerprint": {"Fingerprint": FINGERPRINT | {"sharpness": "1"}}},),
        *({"fingerprint": {"Fingerprint": FINGERPRINT | {"grey": "aGk="}}},),
        *({"more": 1}, {"__class__": 1}, {"self": 1}),
    ],
)
def test_fields_are_those_that_the_type_has(changed: dict[str, Any]) -> None:
    """None is missing, none is too many, and each holds what its annotation says."""
    with pytest.raises(NotAReplyError):
        read_picture(PICTURE | changed)
    for missing in PICTURE:
        fewer = {name: value for name, value in PICTURE.items() if name != missing}
        with pytest.raises(NotAReplyError, match="other fields"):
            read_picture(fewer)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ('"text"', Picture),
        ('{"Stamp":{"size":1,"mtime_ns":1,"inode":1,"device":1}}', Picture),
        ("1", str),
        ("true", int),
        ("[]", tuple[Keyword, ...]),
        ('{"tuple":["a"]}', tuple[Keyword, ...]),
        ('{"tuple":["a"]}', tuple[str, str]),
        ('{"dict":{"a":1}}', dict[str, str]),
        ("[1]", list[str]),
        ("null", str),
    ],
)
def test_a_value_is_the_one_that_was_asked_for(sent: str, expected: object) -> None:
    """What a function says it returns is what comes back, or nothing."""
    with pytest.raises(NotAReplyError, match="not asked for"):
        read(sent, expected)


@pytest.mark.parametrize(
    "sent",
    [
        *("null", "5", "[]", '{"tuple":["a","b"]}', '{"tuple":["a","b","c","d"]}'),
        *('{"tuple":["a","b",1]}', '{"tuple":["\\ud800","b","c"]}', '"PhotoGone"'),
    ],
)
def test_an_error_is_three_texts(sent: str) -> None:
    """Its class by name, what it says, and where it was raised: no arguments, no attributes."""
    with pytest.raises(NotAReplyError):
        Replies((), MOST).error(sent.encode())


@pytest.mark.parametrize(
    "name",
    ["SystemExit", "KeyboardInterrupt", "OSError", "Popen", "TaggerdErrorX", "", "a" * 99999],
)
def test_an_error_of_another_family_is_its_text(name: str) -> None:
    """No class is looked up but those of taggerd; a text is bounded and can be stored."""
    sent = json.dumps({"tuple": [name, "a\0b" + "c" * 100_000, "d" * 100_000]})
    error = Replies((), MOST).error(sent.encode())
    assert type(error) is RuntimeError
    assert "\0" not in str(error)
    assert len(str(error)) < 25_000
    assert len(error.__notes__[0]) < 12_000


# ── Through a process ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "code",
    [
        "say(VALUE, number, b'\\x80\\x04N.')",
        "say(VALUE, number, b'[' * 190_000)",
        "say(VALUE, number, b'{\"Load\":{}}')",
        "say(ERROR, number, b'null')",
        "say(VALUE, number + 1, b'null')",
        "say(VALUE, 0, b'null')",
        "say(BEGUN, number)",
        "say(READY, number)",
        "say(b'Z', number, b'null')",
        "say(VALUE, number, length=1 << 62)",
    ],
)
async def test_a_process_that_sends_no_answer_is_killed(code: str) -> None:
    """The photo is charged, as for a crash, and the process is not used again."""
    async with working() as workers:
        pid = await workers.run(os.getpid)
        with pytest.raises(WorkerLost):
            await workers.run(exec, f"{TAKEN_OVER}\n{code}\nwhile True: pass", {})
        assert await workers.run(os.getpid) != pid


SURPLUS = "say(VALUE, number, b'null')\n"


@pytest.mark.parametrize(
    "more",
    [
        "say(BEGUN, number); say(VALUE, number, b'\"forged\"')",
        "say(BEGUN, number + 1); say(VALUE, number + 1, b'\"forged\"')",
        "say(BEGUN, 0); say(VALUE, 0, b'\"forged\"')",
        "[(say(BEGUN, n), say(VALUE, n, b'\"forged\"')) for n in range(1000)]",
        "channel.write(b'x'); channel.flush()",
    ],
)
async def test_the_next_caller_gets_its_own_answer(more: str) -> None:
    """One frame too many was the answer to the next photo, and all later ones came one late."""
    async with working() as workers:
        pid = await workers.run(os.getpid)
        await workers.run(exec, f"{TAKEN_OVER}\n{SURPLUS}\n{more}", {})
        for number in range(3):
            assert await workers.run(abs, -number) == number
        assert await workers.run(os.getpid) != pid


async def test_a_process_that_speaks_unasked_is_killed() -> None:
    """Also after its answer, and before anybody asks it again."""
    later = """
import threading
def speak():
    told.wait(0.1)
    say(BEGUN, number), say(VALUE, number, b'"forged"')
told = threading.Event()
threading.Thread(target=speak, daemon=True).start()
"""
    async with working() as workers:
        ended = os.pidfd_open(await workers.run(os.getpid))
        loop, gone = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(ended, gone.set)
        try:
            await workers.run(exec, TAKEN_OVER + later, {})
            await asyncio.wait_for(gone.wait(), 180)
        finally:
            loop.remove_reader(ended)
            os.close(ended)
        assert await workers.run(abs, -1) == 1


async def test_a_large_reply_leaves_the_main_process_time_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What takes more than a moment to read is read beside the event loop."""
    threads: dict[int, bool] = {}
    value = Replies.value

    def noting(self: Replies, content: bytes, expected: object) -> object:
        threads[len(content)] = threading.current_thread() is threading.main_thread()
        return value(self, content, expected)

    monkeypatch.setattr(Replies, "value", noting)
    async with working() as workers:
        for size in (0, 10, 3000, 30_000):
            assert len(await workers.run(eval, f"[0] * {size}")) == size
        for size in (300_000, 5_000_000):  # a picture is taken as it is
            assert len(await workers.run(eval, f"b'0' * {size}")) == size
    assert list(threads.values()) == [True, True, False, False, True, False]


async def test_paths_are_absolute_for_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module in the folder that this process went to is not loaded by the next process."""
    (tmp_path / "taggerd").mkdir()
    (tmp_path / "taggerd" / "__init__.py").write_text("raise SystemExit('from the card')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ".")
    async with working() as workers:
        assert await workers.run(abs, -1) == 1
        path = await workers.run(eval, "__import__('sys').path")
    assert "." not in path
    assert str(tmp_path) not in path
