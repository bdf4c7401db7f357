"""``taggerd web``: the review in the browser."""

from __future__ import annotations

import asyncio
import getpass
import sys
import webbrowser
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from taggerd.cli import interrupts, options
from taggerd.daemon.web import SERVING
from taggerd.errors import ConfigurationError, TaggerdError
from taggerd.photo import printable
from taggerd.settings.metrics import parse_address
from taggerd.web.passwords import keep
from taggerd.web.server import END_SECONDS, PORT, address_of, listening, make_keys, serve
from taggerd.web.site import open_site

if TYPE_CHECKING:
    import socket

    from taggerd.settings import Address
    from taggerd.settings.configuration import Configuration
    from taggerd.web.door import Keys
    from taggerd.web.site import Site

LISTEN = options.Switch(
    "--listen",
    "web.listen",
    "Address and port, instead of 127.0.0.1:8437; on the network it wants a password.",
    "ADDRESS",
)


@options.configured(LISTEN, options.STATE)
def web(
    load: options.Load,
    *,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the link in this machine's browser.")
    ] = False,
    set_password: Annotated[
        bool,
        typer.Option(
            "--set-password", help="Ask for a password, keep its hash, and serve nothing."
        ),
    ] = False,
    supervised: Annotated[bool, typer.Option("--supervised", hidden=True)] = False,
) -> int:
    """Review photos in the browser.

    Serves this machine alone and prints a link, which logs one browser in. Ctrl-C ends it; taggerd
    run goes on beside it, and serves the review itself where web.listen says so.
    """
    loaded = load(log_level=None if supervised else "warning")
    if set_password:
        _set_password(loaded)
        return 0
    serving = _supervised(loaded) if supervised else _serve(loaded, open_browser=open_browser)
    interrupts.run(serving, drain_seconds=END_SECONDS)
    return 0


async def _serve(loaded: Configuration, *, open_browser: bool) -> None:
    """Serve until the command is ended."""
    # Where the settings have the daemon listen is the daemon's.
    asked = loaded.origins["web.listen"] == "command line"
    given = loaded.settings.web.address if asked else None
    address = given or parse_address(str(PORT))
    bound = listening(address, instead=given is None)
    url = address_of(bound)
    keys: Keys

    def link() -> str:
        return f"{url}/?token={keys.sessions.new_link()}"

    def link_used() -> None:
        typer.echo(f"for one more browser: {link()}")

    keys = make_keys(loaded, bound.getsockname()[1], link_used)
    if not address.is_local:
        _want_password(keys, address)
    async with open_site(loaded) as site:
        first = link() if address.is_local else url
        typer.echo(f"taggerd web: {first}")
        if open_browser:
            webbrowser.open(first)
        await serve(site, keys, bound)


async def _supervised(loaded: Configuration) -> None:
    """Serve as the daemon's child: nobody sees a link, and it ends with the daemon."""
    try:
        address = loaded.settings.web.address or parse_address(str(PORT))
        bound = listening(address)
        keys = make_keys(loaded, bound.getsockname()[1])
        _want_password(keys, address)
        async with open_site(loaded) as site:
            typer.echo(f"{SERVING}{address_of(bound)}")
            await _serve_while_parent_lives(site, keys, bound)
    except TaggerdError as error:
        typer.echo(str(error))
        raise typer.Exit(error.exit_code) from error  # the daemon logs it, once


async def _serve_while_parent_lives(site: Site, keys: Keys, bound: socket.socket) -> None:
    """Serve until the daemon has ended, or the command is."""
    serving = asyncio.create_task(serve(site, keys, bound))
    gone = asyncio.create_task(_parent_gone())
    try:
        await asyncio.wait({serving, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


async def _parent_gone() -> None:
    """Wait until the daemon has ended, however that was: it holds our standard input open."""
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    await reader.read()


def _want_password(keys: Keys, address: Address) -> None:
    """Refuse to serve others without a password."""
    if not keys.passwords.kept:
        message = f"{address} needs a password: set one with taggerd web --set-password"
        raise ConfigurationError(message)


def _set_password(loaded: Configuration) -> None:
    """Ask for a password, twice in a terminal, and keep its hash."""
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            message = "these were two different passwords; the old one stays"
            raise ConfigurationError(message)
    else:
        password = sys.stdin.readline().rstrip("\n")
    path = keep(loaded.settings.state_directory, password)
    typer.echo(f"kept in {printable(path)}; whoever was logged in by another one is logged out")
