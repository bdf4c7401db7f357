"""XMP as text: parsed with byte offsets, edited by a splice, proved by parsing again."""

from typing import NoReturn

from taggerd.errors import SidecarRefused


def refuse(reason: str) -> NoReturn:
    """Refuse a file that cannot be read or changed safely: nothing in it is guessed.

    Raises:
        SidecarRefused: always, with the *reason*, which goes on from the file's name.
    """
    raise SidecarRefused(reason)
