"""The password: how it is kept, and how fast it may be guessed."""

from __future__ import annotations

import asyncio
import stat
from typing import TYPE_CHECKING

import pytest

from taggerd.errors import ConfigurationError
from taggerd.web.passwords import (
    FIRST_SECONDS,
    FORGET_SECONDS,
    MOST_ADDRESSES,
    MOST_SECONDS,
    Passwords,
    Throttle,
    hashed,
    keep,
    matches,
    why_unfit,
)

if TYPE_CHECKING:
    from pathlib import Path

WORDS = "a heron by the weir"


def test_the_file_keeps_a_hash_for_its_owner_alone(tmp_path: Path) -> None:
    """Neither the password nor two equal hashes of it are anywhere."""
    path = keep(tmp_path / "state", WORDS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = path.read_text()
    assert WORDS not in first
    keep(tmp_path / "state", WORDS)
    assert path.read_text() != first
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("password", ["", "short", "a" * 30, "ab" * 10, "x" * 2000])
def test_a_password_that_guards_nothing_is_refused(tmp_path: Path, password: str) -> None:
    """The old one stays."""
    keep(tmp_path, WORDS)
    with pytest.raises(ConfigurationError, match="not used"):
        keep(tmp_path, password)
    assert matches(WORDS, Passwords(tmp_path).kept)
    assert why_unfit(password)


@pytest.mark.usefixtures("costly")
def test_a_hash_costs_what_owasp_asks_for() -> None:
    """32 MB and three passes: https://cheatsheetseries.owasp.org, Password Storage."""
    assert hashed(WORDS).startswith("scrypt$32768$8$3$")


def test_the_right_one_alone_matches() -> None:
    """Other letters, more or fewer of them, or another case are wrong."""
    kept = hashed(WORDS)
    assert matches(WORDS, kept)
    for wrong in ("", WORDS[:-1], WORDS + " ", WORDS.upper()):
        assert not matches(wrong, kept)


@pytest.mark.parametrize(
    "kept",
    [
        "secret",
        "scrypt$32768$8$3$$",
        "scrypt$1$8$1$AAAA$AAAA",
        "scrypt$1073741824$8$1$AAAA$AAAA",
        "argon2$32768$8$3$AAAA$AAAA",
        "scrypt$x$8$3$AAAA$AAAA",
        "scrypt$32768$8$3$AAAA$not base64",
    ],
)
def test_what_is_no_hash_lets_nobody_in(kept: str) -> None:
    """A password written where its hash belongs, or one that would take all memory, is an error."""
    with pytest.raises(ConfigurationError, match="--set-password"):
        matches("secret", kept)


async def test_the_settings_hash_goes_before_the_files(tmp_path: Path) -> None:
    """A credential outranks what was set before."""
    keep(tmp_path, WORDS)
    other = Passwords(tmp_path, hashed("another heron there"))
    assert await other.check("another heron there") == other.version
    assert await other.check(WORDS) == ""
    assert other.version != Passwords(tmp_path).version


async def test_without_a_password_nobody_comes_in(tmp_path: Path) -> None:
    """No file is no empty password."""
    passwords = Passwords(tmp_path)
    assert passwords.version == ""
    assert await passwords.check("") == ""
    assert await passwords.check("anything else") == ""


def test_a_file_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    """Whoever can read it can guess as fast as their machine goes."""
    keep(tmp_path, WORDS).chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        _ = Passwords(tmp_path).kept


async def test_checks_take_the_memory_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred who try at once wait for each other."""
    keep(tmp_path, WORDS)
    now = most = 0

    async def thread(check: object, *_: object) -> bool:
        nonlocal now, most
        assert check is matches
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return False

    monkeypatch.setattr(asyncio, "to_thread", thread)
    passwords = Passwords(tmp_path)
    await asyncio.gather(*(passwords.check("a wrong password") for _ in range(100)))
    assert most == 1


class Clock:
    """A clock that stands until it is set."""

    now = 50.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_each_wrong_password_costs_twice_the_wait() -> None:
    """Ten thousand guesses take a week; the owner who mistypes waits seconds."""
    clock = Clock()
    throttle = Throttle(clock)
    waited = 0.0
    for number in range(12):
        assert throttle.wait("10.0.0.9") == 0
        wait = throttle.wait("10.0.0.9")
        assert wait == min(FIRST_SECONDS * 2**number, MOST_SECONDS)
        clock.now += wait
        waited += wait
    assert waited > 300
    throttle.forgive("10.0.0.9")
    assert throttle.wait("10.0.0.9") == 0
    assert throttle.wait("10.0.0.9") == FIRST_SECONDS
    clock.now += FORGET_SECONDS + 1
    assert throttle.wait("10.0.0.9") == 0


def test_one_who_guesses_slows_no_other() -> None:
    """But who has a network of addresses has one wait for all of them."""
    throttle = Throttle(Clock())
    assert throttle.wait("10.0.0.9") == 0
    assert throttle.wait("10.0.0.8") == 0
    assert throttle.wait("fd00::1") == 0
    assert throttle.wait("fd00::ffff:1") > 0
    assert throttle.wait("fd00:0:0:1::1") == 0
    assert throttle.wait("::ffff:10.0.0.9") > 0
    assert throttle.wait("fe80::1%eth0") == 0
    assert throttle.wait("") == 0


def test_a_slow_check_shortens_no_wait() -> None:
    """It is counted from when the answer was given."""
    clock = Clock()
    throttle = Throttle(clock)
    throttle.wait("10.0.0.9")
    clock.now += 5
    throttle.renew("10.0.0.9")
    assert throttle.wait("10.0.0.9") == FIRST_SECONDS


def test_addresses_are_not_remembered_without_end() -> None:
    """A million of them take no memory."""
    throttle = Throttle(Clock())
    for number in range(MOST_ADDRESSES + 10):
        throttle.wait(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(throttle._wrong) == MOST_ADDRESSES
