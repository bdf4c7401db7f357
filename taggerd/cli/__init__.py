"""The command line, one module per command: they parse, call and print.

Exit codes: 0 all well; 1 some photos failed; 2 usage or configuration; 3 the backend is unusable;
130 stopped by Ctrl-C.
"""

from __future__ import annotations

import io
import os
import stat
import sys
import traceback
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from typer.exceptions import Abort, TyperException

from taggerd.cli.commands import COMMANDS, loaded, program
from taggerd.cli.ending import INTERRUPTED, end_as_interrupted
from taggerd.errors import TaggerdError
from taggerd.logs import complain
from taggerd.photo import escape_controls
from taggerd.workers.cage import hide

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line *arguments* (default: the process's) and return its exit code."""
    typed = sys.argv[1:] if arguments is None else arguments
    given = _usual_form(typed)
    _keep_others_from_writing()
    hide()  # the keys are in its memory
    for name in ("stdout", "stderr"):
        if type(stream := getattr(sys, name)) is io.TextIOWrapper:
            setattr(sys, name, _Output.over(stream))
    verbose = "--verbose" in given or "-v" in given
    try:
        if not typed and resolve_name("taggerd.cli.setup:offered")():
            given = ["setup"]
        code = program(whole=False)(given, prog_name="taggerd", standalone_mode=False)
    except TyperException as error:
        message = error.format_message().rstrip(".").replace(": Value error, ", ": ")
        return _fail(f"{message}; {_hint(given, error)}", error.exit_code)
    except TaggerdError as error:
        if verbose:
            traceback.print_exc()
        return _fail(str(error), error.exit_code)
    except (Abort, KeyboardInterrupt):
        return _ended(INTERRUPTED)
    except BaseExceptionGroup as group:
        return _several(group, verbose=verbose)
    except BrokenPipeError:
        # Nobody reads our output any more. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return _ended(code if isinstance(code, int) else 0)


def _ended(code: int) -> int:
    """Return the exit *code*, from typer too, which makes one of a Ctrl-C within a command."""
    if code == INTERRUPTED:
        end_as_interrupted()
    return code


def _keep_others_from_writing() -> None:
    """Replace a umask with which everybody may write what is made.

    Nobody chooses that one: a service manager or a container has forgotten to set another. One that
    keeps others out, or lets the group write, stays.
    """
    mask = os.umask(0o022)
    if mask & stat.S_IWOTH:
        os.umask(mask)


class _Output(io.TextIOWrapper):
    """Where all commands print: nothing in it moves the cursor or turns a text around.

    Names, words and messages come from photos, sidecars and backends; some program has to print
    each. What the terminal cannot display is escaped as well.
    """

    @classmethod
    def over(cls, stream: io.TextIOWrapper) -> _Output:
        """Return a stream in the place of *stream*."""
        return cls(
            stream.buffer,
            stream.encoding,
            "backslashreplace",
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )

    def write(self, text: str) -> int:
        """Write *text*."""
        return super().write(escape_controls(text))


def _several(group: BaseExceptionGroup[BaseException], *, verbose: bool) -> int:
    """Print one line per error that ended a part of the daemon; raise what is unexpected."""
    known, unknown = group.split(TaggerdError)
    if unknown is not None or known is None:
        raise group
    if verbose:
        traceback.print_exception(known)
    errors = [error for error in _leaves(known) if isinstance(error, TaggerdError)]
    return _fail("\n".join(dict.fromkeys(map(str, errors))), max(e.exit_code for e in errors))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _usual_form(arguments: Sequence[str]) -> list[str]:
    """Return *arguments* in the one form that Typer knows."""
    match list(arguments):
        case [] | ["help"]:
            return ["--help"]
        case ["config" | "ledger" | "service" as group]:
            return [group, "--help"]
        case ["help", command, *_] as given if command in COMMANDS:
            return [*given[1:], "--help"]
        case [first, *_] as given if first.partition("=")[0] == "--input-dir":
            return ["scan", *given]  # the older tool's form; no other option starts a scan
        case given:
            return given


def _hint(given: Sequence[str], error: TyperException) -> str:
    """Return where to look after a mistake in the command line."""
    command = given[0] if given and given[0] in COMMANDS else ""
    option = getattr(error, "option_name", "")  # of a class that Typer does not export
    if command == "run" and any(option in each.opts for each in loaded("scan").params):
        return "it belongs to taggerd scan"
    return f"see taggerd {command} --help" if command else "see taggerd --help"


def _fail(message: str, code: int) -> int:
    """Print each line of *message* as an error."""
    complain(message)
    return code
