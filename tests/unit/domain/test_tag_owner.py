"""Whose tag is it?"""

from polaris_common.domain.tag_owner import MappingValue, owner_of


def _mapping(number: int, *, active: bool = True) -> MappingValue:
    return MappingValue(number, active, None, "customer", None, "standard")


def test_a_tags_own_mapping_wins_over_its_parents() -> None:
    mappings = {"card": _mapping(1), "meta": _mapping(2)}
    assert owner_of("CARD", mappings, {"card": "META"}) == mappings["card"]


def test_a_tag_without_a_mapping_inherits_its_nearest_ancestors() -> None:
    mappings = {"meta": _mapping(2), "root": _mapping(3)}
    parents: dict[str, str | None] = {"card": "Fob", "fob": "META", "meta": "ROOT", "root": None}
    assert owner_of("card", mappings, parents) == mappings["meta"]


def test_an_inactive_card_belongs_to_nobody_even_if_its_parent_is_active() -> None:
    mappings = {"card": _mapping(1, active=False), "meta": _mapping(2)}
    assert owner_of("card", mappings, {"card": "meta"}) is None


def test_an_unknown_tag_belongs_to_nobody() -> None:
    assert owner_of("stranger", {}, {}) is None


def test_a_circle_of_parents_ends() -> None:
    assert owner_of("a", {}, {"a": "b", "b": "a"}) is None
