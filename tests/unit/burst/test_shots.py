"""Which photos show the same: sets of frames with known truth, and what must never be mixed."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import pytest
from PIL import Image
from support.bursts import Frame, handheld, slide

from taggerd.burst import Shot, taken_at
from taggerd.burst.shots import belongs
from taggerd.imaging.fingerprints import fingerprint_of
from taggerd.photo import Fingerprint
from taggerd.settings import Burst

WANTED = Burst(enabled=True)


def shot(frame: Frame) -> Shot:
    """Return what is compared of a frame, as the camera wrote it."""
    with Image.open(BytesIO(frame.jpeg())) as image:
        return Shot(frame.camera, frame.bias, frame.at, fingerprint_of(image.convert("RGB")))


def chained(frames: list[Frame]) -> list[list[Frame]]:
    """Return the bursts of *frames*, in their order."""
    bursts: list[list[tuple[Frame, Shot]]] = []
    for frame in frames:
        now = shot(frame)
        found = next((b for b in bursts if belongs(now, [s for _, s in b], WANTED)), None)
        if found is None:
            bursts.append(found := [])
        found.append((frame, now))
    return [[frame for frame, _ in burst] for burst in bursts]


def test_frames_from_the_hand_are_one_burst() -> None:
    """The hand shakes, the subject moves, the light flickers: nine of ten need no request."""
    bursts = [chained(handheld(scene, 8)) for scene in range(6)]
    assert sum(map(len, bursts)) <= 6 * 8 * 0.25


@pytest.mark.parametrize("step", [64, 128])
def test_panning_to_another_subject_is_no_burst(step: int) -> None:
    """Nor are its first and last photo one by way of those between them."""
    across = [Frame(scene=3, at=n * 0.1, across=float(n * step - 120)) for n in range(4)]
    assert all(len(burst) == 1 for burst in chained(across))


def test_a_slow_pan_ends_a_burst_before_another_subject_is_in_it() -> None:
    """Each photo shows the same as the one before; all of one burst show the same as each other."""
    across = [Frame(scene=5, at=n * 0.05, across=float(n * 4 - 140)) for n in range(60)]
    bursts = chained(across)
    assert max(burst[-1].across - burst[0].across for burst in bursts) <= 40
    assert len(bursts) > 5


@pytest.mark.parametrize("stops", [-2.0, -1.0, 1.0, 2.0])
def test_an_exposure_bracket_is_no_burst(stops: float) -> None:
    """A difference hash does not see it: the exposure is compared by itself."""
    for scene in range(6):
        plain, other = Frame(scene=scene), Frame(scene=scene, at=0.1, stops=stops)
        assert not belongs(shot(other), [shot(plain)], WANTED)
        flickers = replace(other, stops=0.2)
        assert belongs(shot(flickers), [shot(plain)], WANTED)


def test_what_is_clipped_says_nothing_of_the_exposure() -> None:
    """A sky that is white in both frames of a bracket would be most of what is compared."""
    sky, ground = [255] * 54, [30 + 3 * n for n in range(27)]
    brighter = [round(1.5 * each) for each in ground]
    dark, bright = (
        Shot("c", "s", 0.0, Fingerprint(bytes(sky + g), 1.0)) for g in (ground, brighter)
    )
    assert not dark.shows_the_same(bright, distance=128)
    assert dark.shows_the_same(dark, distance=0)


def test_where_nearly_all_is_clipped_all_of_it_counts() -> None:
    """A bird in a white sky that turns to the light is no other exposure."""
    sky = [255] * 40
    shots = [Shot("c", "s", 0.0, Fingerprint(bytes([*sky, bird, *sky]), 1.0)) for bird in (90, 140)]
    assert shots[0].shows_the_same(shots[1], distance=0)


def test_what_else_must_be_equal() -> None:
    """The folder, the size, what a prompt says: the words of one are not those of the other."""
    fingerprint = Fingerprint(bytes(range(81)), 1.0)
    here, there = (Shot("c", setting, 0.0, fingerprint) for setting in ("here", "there"))
    assert not here.shows_the_same(there, distance=128)


def test_two_cameras_are_no_burst() -> None:
    """Not even two of one model, by their serial numbers."""
    one = shot(Frame(scene=1))
    for camera in (("Nikon", "Z6", "1"), ("Canon", "EOS R6", "2")):
        assert not belongs(shot(Frame(scene=1, camera=camera)), [one], WANTED)


def test_a_slow_slide_show_is_no_burst() -> None:
    """Slides of one talk look alike; nobody takes two of them within a second."""
    slides = [slide(number, at=number * 3.0) for number in range(12)]
    assert all(len(burst) == 1 for burst in chained(slides))


def test_the_same_a_while_later_is_no_burst() -> None:
    """By the photo nearest in time, in either order: queues have the newest first."""
    one, two, three = (shot(Frame(scene=1, at=at)) for at in (0.0, 0.9, 1.8))
    assert not belongs(three, [one], WANTED)
    assert belongs(three, [one, two], WANTED)
    assert belongs(one, [three, two], WANTED)


def test_what_shows_nothing_is_like_nothing() -> None:
    """Fog, a wall, a lens cap: the hash would be one of noise."""
    grey = bytes(100 + n % 2 for n in range(81))
    assert Shot("c", "s", 0.0, Fingerprint(grey, 1.0)).is_flat
    assert not shot(Frame(scene=1)).is_flat


def test_the_camera_tilts() -> None:
    """Rows alone would not see it."""
    for scene in range(6):
        assert not belongs(shot(Frame(scene=scene, down=-35)), [shot(Frame(scene=scene))], WANTED)


def test_a_sharper_picture_has_more_sharpness() -> None:
    """A camera that shakes costs it."""
    values = [shot(Frame(scene=2, blur=blur)).fingerprint.sharpness for blur in (0, 0.6, 1.2, 3)]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize(
    ("text", "other", "seconds"),
    [
        ("2026-05-01T12:00:00.25", "2026-05-01T12:00:01", 0.75),
        ("2026-05-01T12:00:00+02:00", "2026-05-01T12:00:00.5", 0.5),
        ("2026-05-01T23:59:59.999", "2026-05-02T00:00:00.001", 0.002),
    ],
)
def test_times_of_capture(text: str, other: str, seconds: float) -> None:
    """With fractions of a second, by the camera's clock."""
    one, two = taken_at(text), taken_at(other)
    assert one is not None
    assert two is not None
    assert two - one == pytest.approx(seconds, abs=1e-5)


@pytest.mark.parametrize("text", ["", "0000-00-00T00:00:00", "2026-13-45T99:00:00", "yesterday"])
def test_no_time_of_capture(text: str) -> None:
    """A clock that was never set says nothing."""
    assert taken_at(text) is None
