"""Whatever lies in the files that taggerd reads: settings, prompts, registry, day files, archives.

Each is understood, or refused with one of our errors, one clear line a mistake.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from support.fuzzing import explore, nearly, runs

from taggerd.arrivals import archives
from taggerd.arrivals.members import UnpackRequest
from taggerd.errors import ArchiveError, ConfigurationError
from taggerd.inference.profiles import load_profile
from taggerd.inference.registry import load_registry, resolve
from taggerd.journal import Journal
from taggerd.journal.dayfile import DayFile, Entry
from taggerd.journal.record import identity
from taggerd.photo import Stamp
from taggerd.settings import Arrivals, configuration, display

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).parents[3]
DEEP = 900


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, with nothing of the machine's own settings around."""
    for name in os.environ:
        if name.upper().startswith("TAGGERD__"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def _refused_in_lines(read: Callable[[], object], *, most: int = 1) -> None:
    """Read; a refusal is at most so many lines, each of them fit for a terminal."""
    try:
        read()
    except ConfigurationError as error:
        lines = str(error).split("\n")
        assert len(lines) <= most
        assert all(line.isprintable() for line in lines)
        assert all(len(line) < 1000 for line in lines)
        str(error).encode()


# Settings and prompts: TOML.

TOML = [
    b"=",
    b"[",
    b"]",
    b'"',
    b"'",
    b'"""',
    b"{",
    b"}",
    b"#",
    b"\n",
    b"\r",
    b"\\u0000",
    b"\\ud800",
    b"[" * DEEP,
    b"{a=" * DEEP,
    b"9" * 5000,
    b"1e999",
    b"nan",
    b"-inf",
    b"1979-05-27",
    b"0x",
    b"\0",
    b"a.b.c = 1\n",
    b'"\\n" = 1\n',
    b'"\\u009b" = 1\n',
    b"[[arrivals.roots]]\n",
    b"\xff",
    b"true",
    b"\xe2\x80\xae",
    b'["a"]',
    b"{path = 1}",
    b'[arrivals]\nroots = ["/srv\\n"]\n',
    b"arrivals = 1\n",
]
MONSTERS = [
    b"a = " + b"[" * DEEP + b"]" * DEEP,
    b"a = " + b"{a=" * DEEP + b"1" + b"}" * DEEP,
    b"a = " + b"9" * 5000,
    b"a" + b".a" * 5000 + b" = 1",
    b'"a\\nb" = 1\n',
    b'[roles."\\n"]\nprompt = 1\n',
    b'[roles.caption]\nprompt = "' + b"x" * 5000 + b'"\nmax_tokens = "' + b"y" * 5000 + b'"\n',
    b'[keywords]\nmax = "' + b"y" * 5000 + b'"\n',
    b'state_directory = "a\\u0000"\n',
    b"9 = 9\n",
]


@runs(100, 1_500)
def test_any_settings(folder: Path, examples: int) -> None:
    """Settings, or as many lines as there are mistakes, with where and what."""
    file = folder / "settings.toml"
    template = display.template()
    seeds = [
        b'[backend]\nbase_url = "http://127.0.0.1:1/v1"\ntimeout_seconds = 3\n',
        b'[arrivals]\nroots = ["/srv/import", {path = "/b", mode = "poll"}]\nrecursive = true\n',
        b'[keywords]\nmax = 12\n[roles.caption]\nmodel = "eye"\n',
        b"[queue]\nmax_attempts = 3\n",
        template.replace("\n#", "\n").encode(),
        *MONSTERS,
    ]

    def check(data: bytes) -> None:
        file.write_bytes(data)
        _refused_in_lines(lambda: configuration.load(config=file, cwd=folder), most=500)

    explore(check, nearly(seeds, TOML), examples, always=seeds)


@runs(60, 1_000)
def test_any_prompt_profile(folder: Path, examples: int) -> None:
    """A profile, or one line."""
    file = folder / "mine.toml"
    shipped = [p.read_bytes() for p in sorted((REPOSITORY / "taggerd/data/prompts").glob("*.toml"))]

    def check(data: bytes) -> None:
        file.write_bytes(data)
        _refused_in_lines(lambda: load_profile("mine", folder))

    explore(check, nearly([*shipped, *MONSTERS], TOML), examples, always=MONSTERS)


# The registry: JSON that other tools write too.

ENTRY: dict[str, object] = {
    "name": "eye",
    "backend": "ollama",
    "backend_config": {"host": "::1", "port": 11434},
    "capabilities": ["vision"],
    "roles": ["caption"],
    "role_priority": {"caption": 3},
    "model_aliases": ["e"],
    "metadata": {"a": 1},
}
JSON = [
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"null",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"\\ud800",
    b"\\n",
    b"[" * DEEP,
    b'{"a":' * DEEP,
    b"9" * 5000,
    b'"name":"\\n"',
    b'"role_priority":{"\\n":"x"}',
    b'"port":0',
    b"true",
    b"\xff\xfe",
    b"\0",
    b'"roles":[1]',
    b'"backend_config":{"base_url":"http://["}',
]


@runs(100, 3_000)
def test_any_registry(folder: Path, examples: int) -> None:
    """Entries from which a model is chosen, or one line."""
    file = folder / "models.json"
    other: dict[str, object] = {**ENTRY, "name": "b", "deprecated": True}
    real = {"curated": [ENTRY], "discovered": [other]}
    seeds = [json.dumps(found).encode() for found in (real, [ENTRY], {"models": [ENTRY, ENTRY]})]
    seeds += [(REPOSITORY / "config/models.example.json").read_bytes()]
    ranks = {"a": 1.0, "b": float("nan"), "c": 2.0, "d": 0.5}
    ranked = [{**ENTRY, "name": n, "role_priority": {"caption": r}} for n, r in ranks.items()]
    seeds.append(json.dumps(ranked).encode())
    for priority in ({"\n\ud800": "x"}, {"a" * 5000: "x"}):
        seeds.append(json.dumps([{**ENTRY, "role_priority": priority}, other]).encode())
    seeds.append(
        json.dumps([{**ENTRY, "name": "n" * 5000}, {**ENTRY, "name": "n" * 5000}]).encode()
    )

    def check(data: bytes) -> None:
        file.write_bytes(data)

        def read() -> None:
            entries = load_registry(file)
            for role in ("caption", "keywords"):
                for name in ("eye", ""):
                    chosen = resolve(entries, role, name)
                    assert chosen == resolve(entries[::-1], role, name)
                    assert not chosen.entry or chosen.entry.endpoint

        _refused_in_lines(read)

    explore(check, nearly(seeds, JSON), examples, always=seeds)


# The day file: what a crash, another program or an editor left of it.

LINES = [
    json.dumps(
        {
            "id": f"{n}-a",
            "image": f"/srv/{n}.jpg",
            "caption": "A pier",
            "digest": "ab" * 32,
            "keywords": [{"keyword": "sea", "score": 0.5}],
            "started_at": "2025-01-02T03:04:05+01:00",
            "finished_at": "2025-01-02T03:04:06+01:00",
            "duration_seconds": 1.0,
            "attempts": 1,
            "stages": {"decode": 0.5},
            "usage": {"requests": 3},
            "models": {"caption": "eye"},
        }
    ).encode()
    + b"\n"
    for n in range(3)
]
RECORD = [
    *JSON,
    b"\n",
    b"\n\n",
    b"\r\n",
    b"1e308",
    b'"0001-01-01T00:00:00+23:59"',
    b'"9999-12-31T23:59:59"',
    b'"usage":{"requests":1e308}',
    b'"attempts":1e308',
    b'"duration_seconds":1e308',
    b'"image":"\\u0000"',
    b'"image":"\\ud800"',
    b'"id":"\\ud800"',
    b'"error":"\\u202e<script>"',
]


@runs(30, 500)
def test_any_day_file(folder: Path, examples: int) -> None:
    """It is mended without a loss of any whole line, appended to once, and summarised."""

    def check(data: bytes) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            journal = Journal(Path(temporary), retention_days=0, compress_after_days=0)
            journal.open()
            file = DayFile(Path(temporary) / "results", "2025-01-02")
            file.path.write_bytes(data)
            entry = Entry("new", "2025-01-02", '{"id": "new"}')
            file.append([entry])
            DayFile(Path(temporary) / "results", "2025-01-02").append([entry])
            whole, _, torn = data.rpartition(b"\n")
            kept = file.path.read_bytes()
            assert kept.startswith(whole)
            new = [raw for raw in kept.split(b"\n")[:-1] if identity(raw) == "new"]
            assert len(new) == max(1, sum(identity(r) == "new" for r in data.split(b"\n")))
            if torn and not identity(torn):
                assert file.torn.read_bytes() == torn + b"\n"
            assert kept.endswith(b"\n")
            journal.summarise("2025-01-02")

    whole = b"".join(LINES)
    explore(check, nearly([whole, whole[:-30], LINES[0]], RECORD), examples)


# Archives.

NAMES = [
    "a.jpg",
    "DCIM/b.jpg",
    "../evil.jpg",
    "/evil.jpg",
    "a/../../evil.jpg",
    "..\\evil.jpg",
    "C:\\e.jpg",
    "a.jpg/c.jpg",
    "A.JPG",
    "a.jpg",
    ".hidden.jpg",
    "a\0.jpg",
    "x" * 300 + ".jpg",
    "a.xmp",
    "//e.jpg",
    "ä.jpg",
    "a.txt",
    "d/",
    "./a.jpg",
    "\u202egpj.a",
    "..",
    "aux.jpg",
    "evil.jpg/..",
    "b.jpg/",
]
MEMBER = st.tuples(
    st.sampled_from(NAMES),
    st.binary(max_size=60),
    st.sampled_from([0, 8, 12, 14]),
    st.sampled_from([0o100644, 0o120777, 0o040755, 0o060666, 0o010666, 0]),
    st.integers(0, 3),
)
ZIP = [
    b"PK\1\2",
    b"PK\3\4",
    b"PK\5\6",
    b"PK\6\6",
    b"PK\6\7",
    b"\xff\xff\xff\xff",
    b"\0\0",
    b"\1\0",
    b"\x63\0",
    b"../",
    b"/",
    b"\\",
    b"\xff" * 8,
    b"\0" * 8,
]
TARGET = b"outside"
CAP = 1000


def _zipped(members: list[tuple[str, bytes, int, int, int]], repeated: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content, method, mode, flags in members:
            info = zipfile.ZipInfo("placeholder")
            info.filename = name
            info.compress_type = method
            info.external_attr = mode << 16
            info.flag_bits |= flags & 2
            with suppress(ValueError):
                archive.writestr(info, content * repeated)
    return out.getvalue()


def _below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        yield from (Path(parent) / name for name in (*folders, *files))


def _unpacks_inside(data: bytes, folder: Path) -> None:
    """Look into an archive and unpack it; whatever it is, nothing comes to lie outside."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        outer = Path(scratch)
        inbox = outer / "inbox"
        inbox.mkdir()
        (outer / "evil.jpg").write_bytes(TARGET)
        archive = inbox / "card.zip"
        archive.write_bytes(data)
        arrivals = Arrivals(image_extensions=["jpg"], unpack_members=20, unpack_gigabytes=CAP / 1e9)
        request = UnpackRequest(archive, Stamp.of(archive.lstat()), arrivals)
        unpacked, said = inbox / "card", ""
        try:
            contents = archives.contents(request)
            begin = 0
            if contents.members:
                with archives.begin(request) as hidden:
                    while begin < contents.members:
                        begin = archives.unpack(request, hidden, begin, 60).begin
                    unpacked = archives.publish(request, hidden, contents.identity)
        except ArchiveError as error:
            said = str(error)
            archives.clear(request.scratch)
        assert said.isprintable()
        assert archive.read_bytes() == data
        assert (outer / "evil.jpg").read_bytes() == TARGET
        assert {p.name for p in outer.iterdir()} == {"inbox", "evil.jpg"}
        assert {p.name for p in inbox.iterdir()} <= {"card.zip", unpacked.name}
        found = list(_below(unpacked))
        assert not any(path.is_symlink() for path in found)
        assert all(path.is_dir() or path.is_file() for path in found)
        taken = [path for path in found if path.is_file() and path.name != archives.MARKER]
        assert sum(path.stat().st_size for path in taken) <= CAP


@pytest.mark.filterwarnings("ignore:Duplicate name")
@runs(80, 1_500)
def test_any_archive(tmp_path: Path, examples: int) -> None:
    """Made with hostile members, or a real one damaged: unpacked inside, or refused."""
    made = st.tuples(st.lists(MEMBER, min_size=1, max_size=6), st.sampled_from([1, 1, 1, 200]))
    plain = [("a.jpg", b"pixels" * 9, m, 0o100644, 0) for m in (0, 8, 12, 14)]
    seeds = [_zipped(plain, 1), _zipped([*plain, ("d/b.jpg", b"x", 8, 0, 0)], 1), _zipped([], 1)]
    damaged = nearly(seeds, ZIP)
    inputs = st.one_of(made.map(lambda drawn: _zipped(*drawn)), damaged)
    each = [_zipped([(name, b"x", 8, 0o100644, 0)], 1) for name in NAMES]
    explore(lambda data: _unpacks_inside(data, tmp_path), inputs, examples, always=each)
