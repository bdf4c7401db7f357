"""The architecture: who imports whom, where foreign libraries live, and which words are used.

ARCHITECTURE.md says why; this says that it is so.
"""

from __future__ import annotations

import ast
import io
import keyword
import re
import tokenize
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import taggerd

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(taggerd.__file__).parent
REPOSITORY = PACKAGE.parent

PACKAGES = frozenset(
    {
        "arrivals",
        "catalogue",
        "hooks",
        "imaging",
        "inference",
        "journal",
        "ledger",
        "metadata",
        "pages",
    }
)
"""Each does one thing to a photo, and knows none of the others: the pipeline calls them."""
SHARED = frozenset({"__version__", "errors", "files", "lazy", "logs", "photo", "retry", "settings"})
"""What each of them may use; it uses nothing but itself."""
ROOT_MODULES = 15
"""More than fit one glance belong into packages."""
LAYERS = (
    {"testing"},  # fakes for tests: used by nothing here
    {"__main__"},
    {"cli"},
    {"web"},
    {"compare", "daemon", "review", "scan", "setup", "show", "undo"},
    {"runner"},
    {"pipeline"},
    {"attempt", "context"},
    {"services"},
    {"relay"},
    PACKAGES | {"burst", "docs", "observe", "units", "workers"},
    {"files"},
    {"logs", "retry", "settings"},
    {"photo"},
    {"__version__", "errors", "lazy"},
)
"""From top to bottom: a part imports parts further down."""
HOMES = {
    "babel": ("inference/languages.py", "settings/metadata.py"),
    "h11": ("observe/server.py", "web/server.py"),
    "httpx": ("inference/", "hooks/", "testing.py"),
    "inflect": ("metadata/keywords/",),
    "jinja2": ("pages/",),
    "logging_journald": ("logs.py",),
    "markdown_it": ("pages/",),
    "PIL": ("imaging/", "inference/describer/"),  # the describer sees nothing but our own JPEG
    "pillow_heif": ("imaging/",),
    "pillow_jxl": ("imaging/",),
    "procrastinate": ("ledger/postgres/",),
    "prometheus_client": ("observe/metrics.py",),
    "psycopg": ("ledger/postgres/",),
    "pydantic_settings": ("settings/",),
    "pyexiv2": ("metadata/",),  # it reads EXIF and IPTC, in a decoder process
    "pyvips": ("imaging/",),
    "rawpy": ("imaging/",),
    "rich": ("cli/",),
    "sdnotify": ("daemon/systemd.py",),
    "sqlite3": ("catalogue/", "ledger/"),
    "starlette": ("web/",),
    "structlog": ("logs.py",),  # it is imported there as if rich were not installed
    "tomlkit": ("settings/editing.py",),
    "typer": ("cli/",),
    "uvicorn": ("web/",),
    "watchdog": ("arrivals/inotify.py",),
}
"""Where a library may be imported: there its errors and its bytes are dealt with."""


def _modules() -> dict[str, Path]:
    """Return the file of each module of the package by its dotted name."""
    names = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(REPOSITORY).with_suffix("").parts
        names[".".join(part for part in parts if part != "__init__")] = file
    return names


@cache
def _imports() -> tuple[tuple[str, str], ...]:
    """Return each module's path in the package, and the name of each thing that it imports.

    Every import counts: those inside functions, and those for type checkers alone. A type is known
    to its user as well.
    """
    return tuple(_read_imports())


def _read_imports() -> Iterator[tuple[str, str]]:
    for module in sorted(PACKAGE.rglob("*.py")):
        path = module.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path}: a relative import"
                yield from ((path, f"{node.module}.{alias.name}") for alias in node.names)


def _part(path: str) -> str:
    """Return the package that *path* is in, or the root module that it is."""
    return path.split("/", maxsplit=1)[0].removesuffix(".py")


def test_a_package_imports_no_other_package() -> None:
    """It knows itself and what all share; what all share knows nothing else."""
    met = set()
    for path, name in _imports():
        part = _part(path)
        if name.startswith("taggerd.") and part in PACKAGES | SHARED:
            used = name.split(".")[1]
            allowed = SHARED | {part} if part in PACKAGES else SHARED
            assert used in allowed, f"{path} imports {name}"
            met.add(part)
    assert met > PACKAGES


def test_imports_go_down() -> None:
    """The command line is at the top, values are at the bottom, and nothing looks up."""
    depth = {part: number for number, layer in enumerate(LAYERS) for part in layer}
    for path, name in _imports():
        part = _part(path)
        if name.startswith("taggerd.") and part != "__init__":
            used = name.split(".")[1]
            assert used == part or depth[used] > depth[part], f"{path} imports {name}"


def test_nothing_but_the_program_itself_imports_the_command_line() -> None:
    """Commands call; nobody calls them."""
    users = {path for path, name in _imports() if name.startswith("taggerd.cli")}
    assert {path for path in users if not path.startswith("cli/")} == {"__main__.py"}


@pytest.mark.parametrize("library", HOMES)
def test_a_foreign_library_stays_at_home(library: str) -> None:
    """One border a library: its errors and its untrusted bytes are dealt with there."""
    users = {path for path, name in _imports() if name.split(".")[0] == library}
    assert users
    assert [path for path in sorted(users) if not path.startswith(HOMES[library])] == []


@pytest.mark.parametrize(
    "library", ["httpx", "PIL", "pyexiv2", "sdnotify", "structlog", "watchdog"]
)
def test_the_libraries_that_the_project_is_given_do_their_work(library: str) -> None:
    """A well-kept library beats a parser of our own: Exiv2 reads EXIF and IPTC, in decoders."""
    assert any(name.split(".")[0] == library for _, name in _imports())


OWN_PATHS = {
    "catalogue/": "the state directory",
    "cli/__init__.py": "/dev/null",
    "cli/adopt.py": "records that the user names",
    "cli/config.py": "the settings",
    "compare/kept.py": "comparisons, in the state directory",
    "daemon/": "status and state",
    "docs/": "its own chapters",
    "files.py": "the module that does it",
    "inference/": "slots, prompts, the registry",
    "journal/": "the outputs",
    "ledger/": "the state directory",
    "metadata/keywords/vocabulary.py": "the user's list of keywords",
    "services/settings_history.py": "the same list",
    "observe/": "its socket and its text file",
    "pages/": "templates and static files of the package",
    "setup/": "settings of photo programs, and folders before they are roots",
    "settings/": "the settings, and whether folders that they name are there",
    "testing.py": "fakes",
    "units/": "systemd's files",
    "web/": "the state directory",
    "workers/": "the kernel's files",
}
"""Where paths are opened that lie below no import folder, and which."""
NOT_BELOW_A_ROOT = {
    ("arrivals/archives.py", "archive.open"): "a member of a ZIP",
    ("arrivals/archives.py", "file.stat"): "an open file",
    ("arrivals/archives.py", "folder.stat"): "an open folder",
    ("arrivals/archives.py", "folder.unlink"): "in an open folder",
    ("arrivals/archives.py", "os.utime"): "a descriptor",
    ("arrivals/archives.py", "probe.stat"): "an open file",
    ("arrivals/archives.py", "scratch.stat"): "an open folder",
    ("arrivals/find.py", "path.stat"): "what the user named, before it is a root",
    ("arrivals/inotify.py", "Path.read_bytes"): "/proc",
    ("arrivals/inotify.py", "os.path.realpath"): "of a root",
    ("arrivals/probe.py", "MOUNTINFO.read_bytes"): "/proc",
    ("arrivals/probe.py", "os.path.realpath"): "of a root",
    ("arrivals/release.py", "first.stat"): "an open file",
    ("arrivals/release.py", "old.stat"): "an open file or folder",
    ("arrivals/release.py", "os.utime"): "a descriptor",
    ("arrivals/release.py", "second.stat"): "an open file",
    ("arrivals/walk.py", "entry.is_dir"): "of a folder that is open",
    ("arrivals/walk.py", "entry.stat"): "of a folder that is open",
    ("arrivals/watch.py", "_LIMIT.read_text"): "/proc",
    ("cli/report.py", "journal.open"): "the outputs",
    ("cli/report.py", "webbrowser.open"): "no file, a browser",
    ("cli/web.py", "webbrowser.open"): "an address",
    ("context.py", "open"): "data of the package",
    ("imaging/decode.py", "Image.open"): "an open file",
    ("imaging/raw.py", "Image.open"): "an open file",
    ("imaging/versions.py", "Path.read_bytes"): "a library",
    ("metadata/atomic.py", "file.stat"): "an open file",
    ("metadata/atomic.py", "os.utime"): "a descriptor",
    ("metadata/embedding/heif.py", "open"): "a file in memory",
    ("metadata/embedding/replacement.py", "os.utime"): "a descriptor",
    ("metadata/embedding/replacement.py", "shutil.copyfileobj"): "open files",
    ("metadata/versions.py", "shutil.which"): "exiftool",
    ("review/feed.py", "stat"): "the ledger",
    ("review/pictures.py", "file.stat"): "an open file",
    ("review/pictures.py", "os.utime"): "a descriptor",
    ("services/services.py", "SqliteLedger.open"): "the state directory",
    ("services/services.py", "PostgresLedger.open"): "a database",
}
"""Calls elsewhere that look as if they took a path below an import folder, and what they take."""
OF_OS = re.compile(
    r"os\.(path\.(exists|lexists|is\w+|get\w+|realpath|samefile)|open|l?stat|statvfs|access|scandir"
    r"|listdir|f?walk|readlink|link|symlink|renames?|replace|unlink|remove|rmdir|removedirs|mkdir"
    r"|makedirs|mkfifo|mknod|l?chmod|l?chown|truncate|utime|\w+xattr)|shutil\.\w+"
)
"""Functions that look a path up."""
OF_PATH = re.compile(
    r"open|l?stat|exists|is_(file|dir|symlink|fifo|mount|socket)|iterdir|r?glob|walk|resolve|readlink"
    r"|(read|write)_(bytes|text)|touch|mkdir|rmdir|unlink|rename|\w+link_to|l?chmod|samefile|owner"
)
"""Methods of `Path` that do. Not `replace`, which texts and dates have as well."""


def _path_calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of each use of a function that looks a path up."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute() if OF_OS.fullmatch(name := ast.unparse(node)):
                yield node.lineno, name
            case ast.Call(func=ast.Attribute(value=value, attr=attr)) if OF_PATH.fullmatch(attr):
                while isinstance(value, ast.Call):  # Path(…).read_text
                    value = value.func
                if (of := ast.unparse(value)) not in {"files", "os"}:
                    yield node.lineno, f"{of}.{attr}" if isinstance(value, ast.Name) else attr
            case ast.Call(func=ast.Name(id="open"), keywords=keywords):
                # With closefd=False it takes nothing but a descriptor.
                if not any(each.arg == "closefd" for each in keywords):
                    yield node.lineno, "open"
            case ast.ImportFrom(module="os" | "os.path" | "shutil" | "glob"):
                yield node.lineno, f"from {node.module} import"


def test_nothing_but_one_module_opens_a_path_below_an_import_folder() -> None:
    """Whoever may write there may exchange any folder for a link: `files` alone is proof to it."""
    wrong, met = [], set()
    for module in sorted(PACKAGE.rglob("*.py")):
        path = module.relative_to(PACKAGE).as_posix()
        for line, name in _path_calls(ast.parse(module.read_text(encoding="utf-8"))):
            own = next((prefix for prefix in OWN_PATHS if path.startswith(prefix)), None)
            met.add(own or (path, name))
            if own is None and (path, name) not in NOT_BELOW_A_ROOT:
                wrong.append(f"taggerd/{path}:{line}: {name}: use taggerd.files")
    assert not wrong, "\n".join(wrong)
    assert met == OWN_PATHS.keys() | NOT_BELOW_A_ROOT.keys(), "remove what is not needed any more"


def test_there_are_no_import_cycles() -> None:
    """In a cycle no module can be understood, tested or changed alone."""
    modules = _modules()
    names = {file.relative_to(PACKAGE).as_posix(): name for name, file in modules.items()}
    users: dict[str, set[str]] = {name: set() for name in modules}
    for path, name in _imports():
        # `from taggerd.ledger import Ledger` and `from taggerd.ledger import queue` read the same.
        used = name if name in modules else name.rpartition(".")[0]
        if used in modules and used != names[path]:
            users[names[path]].add(used)
    while free := {name for name, used in users.items() if not used & users.keys()}:
        for name in free:
            del users[name]
    cycles = {name: sorted(used & users.keys()) for name, used in users.items()}
    assert cycles == {}, "each of these is part of a cycle or leads into one"


def test_the_root_of_the_package_fits_one_glance() -> None:
    """What belongs to a package lies in it."""
    names = sorted(file.name for file in PACKAGE.glob("*.py"))
    assert len(names) <= ROOT_MODULES, names


IDENTIFIERS = {
    "absence": "missing",
    "anew": "again",
    "carried": "embedded",
    "dress": "copy_owner",
    "fate": "outcome",
    "filling": "placeholders",
    "finding": "find",
    "forgetting": "forget",
    "gate": "health",
    "house": "services",
    "job": "RunOptions",
    "lane": "executor",
    "lasting": "fsync_…",
    "look": "probe, or what it is",
    "patience": "retry",
    "place": "endpoint, town, placeholder, permit, position, folder, …",
    "placing": "image_position",
    "rests": "pauses",
    "resting": "paused, off schedule",
    "reversal": "undo",
    "room": "services, package",
    "sameness": "health",
    "scribe": "relay",
    "shift": "runner",
    "sibling": "stems",
    "spell": "normalise",
    "standing": "FileState, ServiceStatus",
    "stoppage": "blocked",
    "surroundings": "dependencies",
    "turn": "attempt",
    "undoing": "undo",
    "way": "attempt",
    "withdraw": "undo",
    "withdrawal": "undo",
    "withdrawing": "undo",
    "withdrawn": "undo",
    "wording": "text",
    "yield": "undo",
    "give_up": "raise_mapped",
    "make_last": "fsync_…",
    "roll_call": "missing-file sweep",
    "set_aside": "quarantined",
    "take_back": "undo",
    "under_way": "in_flight",
}
"""Words that name nothing in code, and what is said instead."""

PROSE = {
    r"anew": "again",
    r"asks all the same": "continues anyway",
    r"asked about but not written": "answered, not written yet",
    r"asks? nothing": "sends no request",
    r"belongs? into": "belongs in",
    r"fates?": "outcome",
    r"had their tags already": "already tagged",
    r"held back, it refuses": "rejected: the model refused",
    r"import folder is watching": "watching",
    r"in vain": "say what failed",
    r"is no \w+ that is known": "unknown …",
    r"it is told": "say who does what",
    r"lanes?": "executor",
    r"machine words alone change": "only machine words change",
    r"middle brightness": "medium brightness",
    r"recorded again": "processed more than once",
    r"resting": "paused, off schedule",
    r"reversals?": "undo",
    r"roll\Wcalls?": "missing-file sweep",
    r"(house|rooms)": "services, packages",
    r"scribe": "relay",
    r"sets? aside": "quarantined; to people: failed, gave up on",
    r"stoppages?": "blocked",
    r"surroundings": "dependencies, environment",
    r"(an?|another|its|their|new|this|each|every|whose) turns?": "attempt",
    r"(take|takes|taken|took|taking) (\w+ )?back": "undo",
    r"under way": "in flight",
    r"what becomes of": "what happens to",
    r"withdraw\w*": "undo",
}
"""What is not written in comments, docstrings, messages, tests' names and documents."""

TEXTS = {".py", ".md", ".toml", ".sql", ".html", ".css", ".service", ".timer", ".conf"}

ALLOWED = [
    # word, where (a pattern of paths), why
    ("place", "taggerd/context.py", 'the nearest town, `prompts.context = ["place"]`'),
    ("house", "scripts/benchmarks/ledger.py", "the words of a photo"),
    ("lane", "scripts/benchmarks/ledger.py", "the words of a photo"),
    ("house", "scripts/samples/landscapes.py", "one is drawn there"),
    ("turn", "taggerd/inference/completion.py", "`<start_of_turn>`, a token of Gemma's template"),
    ("job", "tests/support/observing.py", "`job_name`, a setting of Prometheus"),
    ("job", "taggerd/ledger/postgres/*", "procrastinate's word, in its tables and functions"),
    ("job", "tests/unit/ledger/test_jobs.py", "procrastinate's word"),
    ("job", "scripts/benchmarks/shared.py", "procrastinate's word"),
    ("job", "tests/support/hosts.py", "procrastinate's word"),
    ("yield", "taggerd/workers/cage.py", "`sched_yield`, a system call"),
    ("yield", "tests/attacks/test_cage.py", "`sched_yield`, a system call"),
]


def _bad_identifier(identifier: str) -> str | None:
    """Return the first forbidden word of ``some_name``, ``SomeName`` or ``SOME_NAME``."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier).lower().split("_")
    name = "_".join(part if part in IDENTIFIERS else part.removesuffix("s") for part in parts)
    return next((bad for bad in IDENTIFIERS if f"_{bad}_" in f"_{name}_"), None)


_PROSE = re.compile(
    # A phrase may be broken over two lines, of a comment too.
    r"\b(" + "|".join(PROSE).replace(" ", r"[\s#]+") + r")\b",
    re.IGNORECASE,
)


def _bad_prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line, from 0, and the words of whatever *text* should say otherwise."""
    for found in _PROSE.finditer(text):
        yield text.count("\n", 0, found.start()), " ".join(found.group().lower().split())


def _bad_names(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line, from 0, and the forbidden word of each name in *text*."""
    for found in re.finditer(r"\w+_\w+", text):
        if bad := _bad_identifier(found.group()):
            yield text.count("\n", 0, found.start()), bad


def _bad_code(text: str) -> Iterator[tuple[int, str]]:
    """Yield the same for Python: names, and the prose in comments and strings."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        line = token.start[0] - 1
        if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
            if token.string.startswith("test_"):  # a sentence
                yield from ((line, bad) for _, bad in _bad_prose(token.string.replace("_", " ")))
            elif bad := _bad_identifier(token.string):
                yield line, bad
        elif token.type in {tokenize.STRING, tokenize.COMMENT}:
            for found in (_bad_prose(token.string), _bad_names(token.string)):
                yield from ((line + below, bad) for below, bad in found)


def _bad_words(path: str) -> Iterator[str]:
    """Yield what is wrong with the words of a file."""
    text = (REPOSITORY / path).read_text(encoding="utf-8")
    found = set(_bad_code(text) if path.endswith(".py") else _bad_prose(text))
    if path.endswith(".sql"):
        found |= set(_bad_names(re.sub(r"(\w+)", r"\1_", text)))
    if bad := _bad_identifier(Path(path).stem):
        found.add((0, bad))
    for line, bad in sorted(found):
        if not any(bad == word and fnmatch(path, where) for word, where, _ in ALLOWED):
            yield f"{path}:{line + 1}: {bad}"


@cache
def _files() -> tuple[str, ...]:
    """Return each text file of the project but this one."""
    found = [REPOSITORY / "pyproject.toml", *REPOSITORY.glob("*.md")]
    for folder in ("config", "scripts", "systemd", "taggerd", "tests"):
        found += (REPOSITORY / folder).rglob("*")
    found = [file for file in found if file != Path(__file__)]
    texts = (file for file in found if file.suffix in TEXTS or _is_script(file))
    return tuple(sorted(file.relative_to(REPOSITORY).as_posix() for file in texts))


def _is_script(file: Path) -> bool:
    return not file.suffix and file.parent == REPOSITORY / "scripts" and file.is_file()


def _scope(path: str) -> str:
    """Return the part of the project that *path* belongs to, as short as it can be named."""
    parts = path.split("/")
    if parts[0] == "taggerd":
        return "/".join(parts[:2])
    if parts[0] == "tests":
        return "/".join(parts[:3]) if parts[1] == "unit" and len(parts) > 3 else "/".join(parts[:2])
    return parts[0]


@pytest.mark.parametrize("scope", sorted({_scope(path) for path in _files()}))
def test_words_are_those_of_the_field(scope: str) -> None:
    """A word that only its author knows does not come back."""
    bad = [line for path in _files() if _scope(path) == scope for line in _bad_words(path)]
    assert not bad, "\n".join(bad)
