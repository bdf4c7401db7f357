"""``taggerd scan`` as its user runs it."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from support.foreign import exiftool

from taggerd.inference import describer

if TYPE_CHECKING:
    from support.program import CountingBackend, Program


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_photo_gets_a_sidecar_that_an_independent_reader_reads(
    taggerd: Program, card: Path
) -> None:
    """Each photo has description, caption and keywords in all the lists that readers look at."""
    done = taggerd("scan", card)
    assert done.returncode == 0, done.stderr
    assert "tagged 5 of 5 photos" in done.stdout
    for photo in card.glob("*.jpg"):
        seen = exiftool(photo.with_name(photo.name + ".xmp"))
        assert seen["Headline"]
        assert seen["Description"]
        keywords = seen["Subject"]
        assert keywords
        assert seen["HierarchicalSubject"] == keywords
        assert seen["TagsList"] == keywords


def test_the_photos_themselves_are_not_touched(taggerd: Program, card: Path) -> None:
    """Not a byte and not a time of a photo changes."""
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in card.glob("*.jpg")}
    taggerd("scan", card)
    after = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in card.glob("*.jpg")}
    assert after == before


def test_a_second_scan_sends_no_request_and_writes_nothing(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """What is tagged is left alone, to the byte; the backend is not even probed."""
    taggerd.base_url = backend.base_url
    taggerd("scan", card)
    assert backend.photo_requests == 15
    before, requests, records = tree(card), backend.requests.total(), taggerd.records()
    again = taggerd("scan", card)
    assert again.returncode == 0
    assert "5 tagged before" in again.stdout
    assert tree(card) == before
    assert backend.requests.total() == requests
    assert taggerd.records() == records


def test_overwrite_metadata_asks_again(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """With --overwrite-metadata every photo is asked about again, and only then."""
    taggerd.base_url = backend.base_url
    taggerd("scan", card)
    again = taggerd("scan", "--overwrite-metadata", card)
    assert "tagged 5 of 5 photos" in again.stdout
    assert backend.photo_requests == 30
    assert len(taggerd.records()) == 10


def sizes(backend: CountingBackend) -> list[tuple[int, int]]:
    """Return the sizes of the pictures in the requests about photos."""
    pictures = []
    for _, body in backend.asked:
        [url] = re.findall(rb'data:image/jpeg;base64,([^"]+)', body)
        pictures.append(Image.open(io.BytesIO(base64.b64decode(url))).size)
    return pictures


def called(backend: CountingBackend, model: str) -> None:
    """Let the describer go by the name of another *model*."""

    def script(path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        asked = body.replace(model.encode(), describer.MODEL.encode())
        status, answer = describer.respond("POST" if body else "GET", path, asked)
        return status, {}, json.dumps(answer).replace(describer.MODEL, model).encode()

    backend.script = script


@pytest.mark.long
def test_the_model_decides_the_size_of_the_picture(
    taggerd: Program, tmp_path: Path, backend: CountingBackend
) -> None:
    """By "auto" alone: a number counts as it is. Another size asks nobody again by itself."""
    taggerd.base_url = backend.base_url
    called(backend, "qwen2.5vl:7b")
    card = tmp_path / "card"
    card.mkdir()
    Image.effect_noise((1500, 1000), 90).save(card / "a.jpg")
    taggerd.environment["TAGGERD__IMAGE__MAX_EDGE"] = "auto"
    done = taggerd("scan", card)
    assert done.returncode == 0, done.stderr
    assert sizes(backend) == [(1008, 672)] * 3
    taggerd.environment["TAGGERD__IMAGE__MAX_EDGE"] = "1200"
    taggerd("scan", card)
    assert len(backend.asked) == 3
    taggerd("scan", "--retag", card)
    assert sizes(backend)[3:] == [(1200, 800)] * 3


def test_a_dry_run_asks_and_records_but_writes_no_sidecar(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """--dry-run leaves the folder as it was, marks its records, and what it paid for is kept."""
    taggerd.base_url = backend.base_url
    before = tree(card)
    dry = taggerd("scan", "--dry-run", card)
    assert dry.returncode == 0, dry.stderr
    assert tree(card) == before
    assert [record["dry_run"] for record in taggerd.records()] == [True] * 5
    assert all(record["caption"] for record in taggerd.records())
    assert list((taggerd.outputs / "summaries").glob("*.md"))
    asked = backend.photo_requests
    real = taggerd("scan", card)
    assert "tagged 5 of 5 photos" in real.stdout
    assert backend.photo_requests == asked
    assert len(list(card.glob("*.xmp"))) == 5


@pytest.mark.long
def test_no_meta_records_once_without_the_mark(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """--no-meta writes no sidecar and no mark; repeated, it does nothing; a scan then writes."""
    taggerd.base_url = backend.base_url
    for _ in range(2):
        assert taggerd("scan", "--no-meta", card).returncode == 0
        assert not list(card.glob("*.xmp"))
        assert [record["dry_run"] for record in taggerd.records()] == [False] * 5
    assert backend.photo_requests == 15
    taggerd("scan", card)
    assert len(list(card.glob("*.xmp"))) == 5
    assert backend.photo_requests == 15


def test_list_sends_no_request_and_names_what_is_left_and_why(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """--list prints what would be taken and what is skipped, with the reason."""
    taggerd.base_url = backend.base_url
    (card / "notes.txt").write_text("x")
    (card / ".hidden.jpg").write_bytes(b"x")
    taggerd("scan", card / "IMG_0000.jpg")
    requests = backend.requests.total()
    listed = taggerd("scan", "--list", card)
    assert listed.returncode == 0
    assert f"tag   {card}/IMG_0001.jpg" in listed.stdout
    assert f"skip  {card}/notes.txt: not an image extension" in listed.stdout
    assert f"skip  {card}/.hidden.jpg: hidden" in listed.stdout
    assert f"skip  {card}/IMG_0000.jpg: tagged on " in listed.stdout
    assert "4 photos would be tagged" in listed.stdout
    assert backend.requests.total() == requests


@pytest.mark.long
def test_list_counts_photos_and_other_files_apart_and_no_sidecars(
    taggerd: Program, card: Path
) -> None:
    """A folder that is tagged has its photos left as they are; their sidecars are no photos."""
    (card / "notes.txt").write_text("x")
    taggerd("scan", card)
    listed = taggerd("scan", "--list", card)
    assert ".xmp" not in listed.stdout
    assert listed.stdout.splitlines()[-1] == (
        "0 photos would be tagged; 5 photos left as they are; 1 other file skipped"
    )
    shown = json.loads(taggerd("scan", "--list", "--json", card).stdout)
    assert [len(shown[key]) for key in ("taken", "left", "skipped")] == [0, 5, 1]


def test_list_says_what_a_named_sidecar_is(taggerd: Program, card: Path) -> None:
    """A sidecar that was named itself is answered for: it is no photo."""
    (card / "a.jpg.xmp").write_text("x")
    listed = taggerd("scan", "--list", card / "a.jpg.xmp")
    assert f"skip  {card}/a.jpg.xmp: sidecar" in listed.stdout


READERS = (
    "note: darktable, digiKam, Immich and PhotoPrism read these sidecars; Lightroom reads them for "
    'raw files only: for JPEG set metadata.target = "both"'
)


@pytest.mark.long
def test_the_first_sidecars_of_jpegs_say_which_programs_read_them(
    taggerd: Program, card: Path
) -> None:
    """Once, and only when such a sidecar was written: a Lightroom user would see nothing of it."""
    silent = taggerd("scan", "--no-meta", card / "IMG_0000.jpg")
    assert "Lightroom" not in silent.stdout + silent.stderr
    first = taggerd("scan", card / "IMG_0000.jpg")
    assert READERS in first.stderr.splitlines()
    second = taggerd("scan", card / "IMG_0001.jpg")
    assert "tagged 1 of 1 photo" in second.stdout
    assert "Lightroom" not in second.stdout + second.stderr


@pytest.mark.long
def test_nobody_is_told_of_lightroom_where_it_sees_the_words(taggerd: Program, card: Path) -> None:
    """Tags in the photo itself, or sidecars of other formats, need no word about JPEG."""
    taggerd.environment["TAGGERD__METADATA__TARGET"] = "both"
    both = taggerd("scan", card / "IMG_0000.jpg")
    assert "tagged 1 of 1 photo" in both.stdout
    taggerd.environment["TAGGERD__METADATA__TARGET"] = "sidecar"
    Image.new("RGB", (64, 64), "red").save(card / "a.png")
    png = taggerd("scan", card / "a.png")
    assert "tagged 1 of 1 photo" in png.stdout
    assert "Lightroom" not in both.stderr + png.stderr


@pytest.mark.long
def test_one_named_photo_is_all_that_is_tagged(taggerd: Program, card: Path) -> None:
    """Naming a file tags that file, not its neighbours, also when those are waiting."""
    taggerd("scan", "--no-meta", card)
    taggerd("retry", "--failed")  # the neighbours are queued
    taggerd("scan", card / "IMG_0003.jpg")
    assert [p.name for p in card.glob("*.xmp")] == ["IMG_0003.jpg.xmp"]


def test_extensions_choose(taggerd: Program, card: Path) -> None:
    """--image-exts takes those alone."""
    Image.new("RGB", (64, 64), "red").save(card / "a.png")
    taggerd("scan", "--image-exts", ".PNG", card)
    assert [p.name for p in card.glob("*.xmp")] == ["a.png.xmp"]


@pytest.mark.long
def test_not_recursive_stays_in_the_folder(taggerd: Program, card: Path) -> None:
    """--no-recursive leaves folders below alone; without it they are taken."""
    below = card / "below"
    below.mkdir()
    shutil.move(card / "IMG_0000.jpg", below)
    taggerd("scan", "--no-recursive", card)
    assert not list(below.glob("*.xmp"))
    taggerd("scan", card)
    assert list(below.glob("*.xmp"))


@pytest.mark.long
def test_the_older_tools_form_means_scan(taggerd: Program, card: Path) -> None:
    """``taggerd --input-dir DIR`` is ``taggerd scan --input-dir DIR``."""
    done = taggerd("--input-dir", card)
    assert "tagged 5 of 5 photos" in done.stdout


def test_raw_and_jpeg_are_one_photo_with_one_inference(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """A pair is asked about once, and every program finds its sidecar; one record names both."""
    taggerd.base_url = backend.base_url
    for other in card.glob("IMG_000[1-4].jpg"):
        other.unlink()
    (card / "IMG_0000.CR3").write_bytes(b"a raw file that nobody has to decode")
    done = taggerd("scan", card)
    assert done.returncode == 0, done.stdout + done.stderr
    assert backend.photo_requests == 3
    (record,) = taggerd.records()
    assert [Path(file).name for file in record["files"]] == ["IMG_0000.jpg", "IMG_0000.CR3"]
    assert {p.name for p in card.glob("*.xmp")} == {"IMG_0000.jpg.xmp", "IMG_0000.xmp"}


def test_a_raw_that_joins_its_jpeg_is_not_paid_for(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """When the raw file of a tagged JPEG arrives later, it gets its sidecar without a request."""
    taggerd.base_url = backend.base_url
    taggerd("scan", card)
    asked = backend.photo_requests
    (card / "IMG_0000.CR3").write_bytes(b"a raw file that nobody has to decode")
    assert taggerd("scan", card).returncode == 0
    assert (card / "IMG_0000.xmp").exists()
    assert backend.photo_requests == asked


def test_the_same_bytes_elsewhere_are_not_paid_for_again(
    taggerd: Program, card: Path, tmp_path: Path, backend: CountingBackend
) -> None:
    """A copy of a tagged photo gets its sidecar from the answers held."""
    taggerd.base_url = backend.base_url
    taggerd("scan", card)
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(card / "IMG_0001.jpg", copy / "other name.jpg")
    taggerd("scan", copy)
    assert (copy / "other name.jpg.xmp").exists()
    assert backend.photo_requests == 15


def test_a_lost_ledger_costs_nothing(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """Sidecars say which bytes they are about: without the ledger they are recognised."""
    taggerd.base_url = backend.base_url
    taggerd("scan", card)
    before = tree(card)
    shutil.rmtree(taggerd.state)
    again = taggerd("scan", card)
    assert again.returncode == 0
    assert backend.photo_requests == 15
    assert tree(card) == before


def test_named_output_files_hold_this_scan(taggerd: Program, card: Path, tmp_path: Path) -> None:
    """--output-jsonl and --summary write this scan's records and summary where they are told."""
    jsonl, summary = tmp_path / "out.jsonl", tmp_path / "out.md"
    taggerd("scan", "--output-jsonl", jsonl, "--summary", summary, card)
    assert len(jsonl.read_text().splitlines()) == 5
    assert "IMG_0000.jpg" in summary.read_text()


@pytest.mark.long
def test_a_named_jsonl_is_added_to(taggerd: Program, card: Path, tmp_path: Path) -> None:
    """What an earlier scan wrote into the file stays, also when there is nothing to do."""
    jsonl = tmp_path / "out.jsonl"
    taggerd("scan", "--output-jsonl", jsonl, card / "IMG_0000.jpg")
    taggerd("scan", "--output-jsonl", jsonl, card / "IMG_0000.jpg")
    taggerd("scan", "--output-jsonl", jsonl, card)
    assert len(jsonl.read_text().splitlines()) == 5


@pytest.mark.long
def test_named_output_files_are_made_when_there_is_nothing_to_do(
    taggerd: Program, card: Path, tmp_path: Path
) -> None:
    """A script finds its files after every scan that went well, in folders that are made."""
    jsonl, summary = tmp_path / "today" / "out.jsonl", tmp_path / "today" / "out.md"
    assert taggerd("scan", card).returncode == 0
    done = taggerd("scan", "--output-jsonl", jsonl, "--summary", summary, card)
    assert done.returncode == 0, done.stderr
    assert jsonl.read_text() == ""
    assert "0 photos" in summary.read_text()


@pytest.mark.long
def test_a_missing_path_of_several_is_said_and_the_others_are_scanned(
    taggerd: Program, card: Path, tmp_path: Path
) -> None:
    """One typing error does not keep the rest from being tagged; exit 1 says that it was there."""
    lost = tmp_path / "lost"
    listed = taggerd("scan", "--list", lost, card)
    assert (listed.returncode, f"{lost}: does not exist" in listed.stdout) == (1, True)
    done = taggerd("scan", lost, card)
    assert done.returncode == 1, done.stderr
    assert f"failed: {lost}: does not exist" in done.stdout
    assert len(list(card.glob("*.xmp"))) == 5
    none = taggerd("scan", lost, tmp_path / "gone")
    assert none.returncode == 2
    assert len(none.stderr.splitlines()) == 2


@pytest.mark.long
def test_a_dry_run_of_an_overwrite_changes_nothing(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """--dry-run --overwrite-metadata asks and records, and the photos stay tagged."""
    taggerd.base_url = backend.base_url
    taggerd("scan", card)
    before = tree(card)
    assert taggerd("scan", "--dry-run", "--overwrite-metadata", card).returncode == 0
    assert tree(card) == before
    assert backend.photo_requests == 30
    assert "5 tagged before" in taggerd("scan", card).stdout


def test_json_tells_how_it_went(taggerd: Program, card: Path) -> None:
    """--json prints one object and nothing else."""
    (card / "bad.jpg").write_text("no picture")
    done = taggerd("scan", "--json", card)
    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert (told["found"], told["tagged"]) == (6, 5)
    assert told["failed"][0]["path"].endswith("bad.jpg")
    assert told["failed"][0]["reason"]


@pytest.mark.long
def test_backups_keep_the_sidecar_as_it_was(taggerd: Program, card: Path) -> None:
    """--backup-originals keeps the bytes of a sidecar before it changes."""
    sidecar = card / "IMG_0000.jpg.xmp"
    sidecar.write_text(
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/></rdf:RDF></x:xmpmeta>'
    )
    before = sidecar.read_bytes()
    taggerd("scan", "--backup-originals", card)
    assert sidecar.read_bytes() != before
    (backup,) = card.glob("IMG_0000.jpg.xmp.orig-*")
    assert backup.read_bytes() == before


@pytest.mark.long
def test_a_registry_names_the_model_of_each_role(
    taggerd: Program, card: Path, tmp_path: Path, backend: CountingBackend
) -> None:
    """--use-registry asks the model that the registry gives, where it says it is served."""
    from taggerd.inference import describer  # noqa: PLC0415 - for its model id

    registry = tmp_path / "models.json"
    entry = {
        "name": "eyes",
        "backend_config": {"base_url": backend.base_url},
        "capabilities": {"vision": True},
        "roles": ["caption", "keywords", "description"],
        "served_model_id": describer.MODEL,
    }
    registry.write_text(json.dumps([entry]))
    taggerd.base_url = "auto"
    done = taggerd("scan", "--use-registry", "--registry-path", registry, card)
    assert done.returncode == 0, done.stderr
    assert {record["models"]["caption"] for record in taggerd.records()} == {describer.MODEL}
    assert backend.photo_requests == 15


@pytest.mark.long
def test_every_photo_of_the_corpus_is_tagged_or_named(taggerd: Program, tmp_path: Path) -> None:
    """On real files of every format: each is tagged, or named with a reason."""
    from support.program import corpus  # noqa: PLC0415 - skips where it is absent

    photos = tmp_path / "photos"
    shutil.copytree(corpus("photos"), photos)
    photos.chmod(0o755)
    done = taggerd("scan", "--input-dir", photos, "--json", seconds=300)
    told = json.loads(done.stdout)
    named = {skip["path"] for skip in told["failed"] + told["skipped"]}
    tagged = {file for r in taggerd.records() if not r["error"] for file in r["files"]}
    files = {str(p) for p in photos.iterdir() if p.suffix.lower() != ".xmp"}
    assert tagged | named == files
    assert not tagged & named
    assert all(skip["reason"] for skip in told["failed"])
    assert len(tagged) >= 34


@pytest.mark.long
def test_a_photo_without_its_last_rows_is_tagged_and_says_so(
    taggerd: Program, tmp_path: Path
) -> None:
    """Its record has the note; with image.accept_truncated = false it fails as damaged."""
    noise = np.random.default_rng(1).integers(0, 255, (1200, 900, 3), np.uint8)
    folder = tmp_path / "cut"
    folder.mkdir()
    Image.fromarray(noise).save(folder / "a.jpg")
    data = (folder / "a.jpg").read_bytes()
    (folder / "a.jpg").write_bytes(data[: len(data) * 98 // 100])
    taggerd.environment["TAGGERD__IMAGE__ACCEPT_TRUNCATED"] = "false"
    done = taggerd("scan", "--dry-run", folder)
    assert done.returncode == 1
    assert "truncated: 97 % of the picture is there; copy it again" in done.stdout + done.stderr
    del taggerd.environment["TAGGERD__IMAGE__ACCEPT_TRUNCATED"]
    assert taggerd("scan", folder).returncode == 0
    record = taggerd.records()[-1]
    assert record["metadata_written"]
    assert "the file is cut off: tagged by the 97 % of its rows that are there" in record["notes"]
