"""Keys derived from the one secret: each for one use, and no two lists of fields alike."""

import itertools

from polaris_common.identity.keys import KeyUse, derive_key, keyed_hash

SECRET = "a-secret-of-more-than-32-characters-"


def test_what_is_made_for_one_use_is_worthless_for_another() -> None:
    keys = [derive_key(SECRET, use) for use in KeyUse]

    assert len(set(keys)) == len(KeyUse)
    assert SECRET.encode() not in keys
    assert derive_key(SECRET + "x", KeyUse.SCAN_NONCE) not in keys


def test_fields_cannot_be_shifted_into_each_other() -> None:
    key = derive_key(SECRET, KeyUse.SCAN_NONCE)
    lists = [("a", "b"), ("ab", ""), ("", "ab"), ("ab",), ("a:b",), ("a:", "b"), ("a", ":b"), ("a", "b", "")]

    hashes = {fields: keyed_hash(key, *fields) for fields in lists}

    assert all(hashes[one] != hashes[other] for one, other in itertools.combinations(lists, 2))
