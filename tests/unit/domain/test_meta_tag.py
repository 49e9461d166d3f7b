"""The names of the idTags we create."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polaris_common.domain.meta_tag import (
    MAX_ID_TAG_LENGTH,
    UnusableIdTag,
    device_id_tag,
    fitting,
    is_device_tag,
    is_legacy_meta_tag,
    is_meta_tag,
    meta_id_tag,
)
from polaris_common.ids import PUBLIC_ID_ALPHABET, new_public_id

public_ids = st.text(PUBLIC_ID_ALPHABET, min_size=8, max_size=8)


@given(public_ids, st.uuids())
def test_every_id_tag_we_create_fits_into_twenty_characters(public_id: str, device: UUID) -> None:
    assert len(meta_id_tag(public_id)) == 13
    assert len(device_id_tag(public_id, device)) == 19 <= MAX_ID_TAG_LENGTH


@pytest.mark.parametrize("unusable", ["", "T" * 21, "with space", "Ümlaut", "semi;colon", "new\nline"])
def test_what_a_charge_point_or_steve_would_refuse_never_becomes_an_id_tag(unusable: str) -> None:
    with pytest.raises(UnusableIdTag):
        fitting(unusable)


@given(public_ids)
def test_a_meta_tag_is_recognised_in_any_case_and_is_no_device_tag(public_id: str) -> None:
    for id_tag in (meta_id_tag(public_id), meta_id_tag(public_id).lower(), f"OCPP-{public_id}"):
        assert is_meta_tag(id_tag)
        assert not is_device_tag(id_tag)


@pytest.mark.parametrize(
    "id_tag", ["OCPP-D-ABCDEFGH-00FF00", "ocpp-d-abcdefgh-00ff00", device_id_tag("23456789", UUID(int=7 << 104))]
)
def test_a_device_tag_is_no_meta_tag(id_tag: str) -> None:
    assert is_device_tag(id_tag)
    assert not is_meta_tag(id_tag)


@pytest.mark.parametrize("id_tag", ["04A1B2C3", "QR-1", "METALLICA", "OCPP"])
def test_a_card_is_neither(id_tag: str) -> None:
    assert not is_meta_tag(id_tag)
    assert not is_device_tag(id_tag)


def test_only_the_predecessors_names_are_legacy() -> None:
    assert is_legacy_meta_tag("OCPP-customer-1")
    assert not is_legacy_meta_tag(meta_id_tag(new_public_id()))
