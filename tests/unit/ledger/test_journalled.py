"""What the ledger keeps of the records that hosts have journalled."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ledger import PostgresState
from support.postgres import name_in
from support.records import record_of

from taggerd.ledger.postgres.packing import packed, unpacked
from taggerd.ledger.postgres.reading import SharedJournal
from taggerd.photo import Keyword, Tags

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.postgres import PostgresServer

KEPT = bytes.fromhex(
    "01b5965b0e82301045b7d20d48daf8a5abf0c30d805421340c69418cabf7b6f8a09487c4c8673be963ca9c33b3"
    "30d048854e37c243802be267f5e2b9538700113280fff6099f2133bbce92e34cb7a0bc07e50fa55ea5629ae274"
    "29d4d44d92c036e7dca67921b8a2160e5279892b2c84a68d29962984bbb0932663a481fe7ac786d7ea169d00ab"
    "5b62de19cd28b9d006b8c59ebeadb3fc5430385dad5ede89591115c6e9bad3aed5abc9a8511071c40e9f3430fc"
    "872c56545e9ca933d2f91d464f245a146c59c558575e6589bec3363f9147d86962bad14d3c04676f7890816e26"
    "5985d14bd5446878fe06d157c5f629fa7f7e0aebfb23dfedb978f3938ff3338cdffaf1237045c4d7701d803220"
    "23e7536cb4137daefec64a74b46587bc90960f"
)
TAGS = Tags(
    caption="A fox crosses a gravel road between two stubble fields",
    description="A red fox with a thick tail crosses a gravel road between two stubble fields and "
    "looks back over its shoulder. Power lines run along the horizon below a pale evening sky.",
    keywords=tuple(map(Keyword, ("fox", "gravel road", "stubble field", "power lines", "dusk"))),
)


@pytest.fixture
async def state(postgres_server: PostgresServer) -> AsyncIterator[PostgresState]:
    """A database of its own; whoever is still there at the end is closed."""
    made = PostgresState(postgres_server)
    yield made
    for ledger in made.opened:
        await ledger.close()
    made.close()


@given(st.text())
def test_a_record_comes_back_as_it_was(line: str) -> None:
    """Whatever a line says, also if it is none of JSON."""
    encodable = line.encode("utf-8", "replace").decode()
    assert unpacked(packed(encodable)) == encodable


def test_what_was_kept_once_is_read_for_ever() -> None:
    """The text that records are compressed by may not change under those that are kept."""
    assert json.loads(unpacked(KEPT)) == json.loads(json.dumps(record_of(tags=TAGS).to_json()))


def test_a_record_takes_a_third_of_its_length() -> None:
    """Its keys and its numbers' places are those of every record."""
    line = json.dumps(record_of(tags=TAGS).to_json())
    assert len(packed(line)) < len(line) / 3


async def test_records_older_than_day_files_are_forgotten(state: PostgresState) -> None:
    """Those of the days before, however many; what was not journalled yet stays."""
    ledger = await state.open()
    state._server.execute(
        "INSERT INTO taggerd.outbox (record, day, line, stream) "
        "SELECT n, '2025-06-' || 10 + n % 3, '{\"id\": \"' || n || '\"}', '' "
        "FROM generate_series(1, 3000) n",
        database=name_in(state.url),
    )
    while lines := await ledger.outbox(700):
        await ledger.delivered([line.id for line in lines])
    whole = SharedJournal(state.url)
    assert sorted(whole.days()) == ["2025-06-10", "2025-06-11", "2025-06-12"]
    await ledger.fleet.forget_records("2025-06-12")
    assert whole.days() == ["2025-06-12"]
    numbers = [int(json.loads(line)["id"]) for line in whole.lines("2025-06-12")]
    assert numbers == list(range(2, 3001, 3)), "all, in their order"
