"""The retry policy: one row per error, and waits that grow as the rows say."""

from __future__ import annotations

import pytest

from taggerd import errors
from taggerd.errors import BackendDenied, ConfigurationError, Conflict, PhotoChanged, TaggerdError
from taggerd.retry import DISK, ENDPOINT, PHOTO, POLICIES, Backoff, policy_of

ERRORS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, TaggerdError)
]


@pytest.mark.parametrize("kind", sorted(ERRORS, key=str))
def test_every_error_has_a_row_or_a_base_class_with_one(kind: type[TaggerdError]) -> None:
    """Two have none, and meet no photo in the queue: a wrong setting, and two people's edits."""
    found = any(base in POLICIES for base in kind.__mro__)
    assert found == (kind not in {TaggerdError, ConfigurationError, Conflict})


def test_what_the_backend_or_the_machine_does_costs_no_photo_anything() -> None:
    """Only the photo's own faults do."""
    for kind, policy in POLICIES.items():
        assert (policy.costs == "nothing") == (policy.at_fault != "photo"), kind


def test_what_pauses_something_says_for_how_long_and_the_rest_waits_for_nothing() -> None:
    """But for an endpoint that nobody has looked at yet: it is probed at once."""
    for kind, policy in POLICIES.items():
        assert bool(policy.pauses) == (policy.backoff is not None) or kind in {
            errors.NotProbed,
            errors.BudgetSpent,
        }


def test_an_error_without_a_row_follows_its_base_class() -> None:
    """A subclass may be added without a row; what nobody foresaw is the photo's own fault."""
    assert policy_of(PhotoChanged("grew")).at_fault == "nobody"
    assert policy_of(type("Locked", (BackendDenied,), {})).pauses == "endpoint"
    assert policy_of(ZeroDivisionError()).costs == "an attempt"


@pytest.mark.parametrize(
    ("backoff", "seconds"),
    [
        (ENDPOINT, [1, 2, 4, 8, 16, 32, 60, 60]),
        (PHOTO, [2, 4, 8, 16, 32, 64, 128, 256, 300]),
        (DISK, [5, 5, 5]),
    ],
)
def test_waits_double_up_to_the_longest(backoff: Backoff, seconds: list[float]) -> None:
    """However many failures there were."""
    assert [backoff.seconds(n) for n in range(1, len(seconds) + 1)] == seconds
    assert backoff.seconds(1_000_000) == backoff.longest


def test_a_wait_that_the_server_asked_for_is_never_cut_short() -> None:
    """Retry-After of half an hour means half an hour, or a little more."""
    assert ENDPOINT.seconds(1, asked=1800) == 1800
    assert ENDPOINT.seconds(1, asked=1800, chance=1.0) == 1800 * 1.25
    assert ENDPOINT.seconds(7, asked=5) == 60
