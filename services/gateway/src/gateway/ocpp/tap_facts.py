"""What the database knows of a tag and a connector at the moment of a tap, in one round trip."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from gateway.ocpp.schemas import Tap
from polaris_common.charging.reservations import BLOCKING
from polaris_common.db import Database
from polaris_common.db.gathered import GatheredQuery
from polaris_common.domain.tag_owner import MAX_DEPTH, MappingValue
from polaris_common.domain.tap_decision import TapFacts

_COLUMNS = (
    "id",
    "is_active",
    "user_id",
    "lago_customer_external_id",
    "lago_subscription_external_id",
    "billing_tier",
    "deactivation_reason",
)
_MAPPING = ", ".join(f"m.{column}" for column in _COLUMNS)
_NEAREST = ", ".join(
    f"CASE WHEN own.id IS NULL THEN above.{column} ELSE own.{column} END AS {column}" for column in _COLUMNS
)

# Like the sync-worker's upkeep, a reservation is its tag's and its driver's. Without a connector only one of the whole
# charge box counts. A driver whose car is charging there may always come back to stop it.
_FACTS = f"""
SELECT
    EXISTS (
        SELECT FROM pairings AS p
        WHERE p.pairable_type = 'charger' AND p.target = tap.charge_box_id
          AND p.expires_at > now() AND p.status IN ('armed', 'matched')) AS awaited,
    coalesce(tag.expiry_date <= now(), false) AS expired,
    own.id IS NOT NULL AS has_own,
    {_NEAREST},
    CASE
        WHEN kept.id IS NULL THEN false
        WHEN tap.is_start THEN true
        ELSE NOT EXISTS (
            SELECT FROM charging_sessions AS s
            WHERE s.charge_box_id = tap.charge_box_id AND s.state = 'open'
              AND (lower(s.id_tag) = lower(tap.id_tag) OR s.user_id = coalesce(own.user_id, above.user_id)))
    END AS reserved
FROM unnest($1::text[], $2::text[], $3::int[], $4::bool[])
    WITH ORDINALITY AS tap (id_tag, charge_box_id, connector_id, is_start, number)
LEFT JOIN LATERAL (
    SELECT {_MAPPING} FROM tag_mappings AS m WHERE lower(m.id_tag) = lower(tap.id_tag) LIMIT 1
) AS own ON true
LEFT JOIN LATERAL (
    SELECT t.parent_id_tag, t.expiry_date FROM ocpp_tags AS t
    WHERE lower(t.id_tag) = lower(tap.id_tag) AND t.deleted_at IS NULL LIMIT 1
) AS tag ON true
LEFT JOIN LATERAL (
    WITH RECURSIVE line (id_tag, depth) AS (
        SELECT lower(tag.parent_id_tag), 1 WHERE own.id IS NULL AND tag.parent_id_tag IS NOT NULL
        UNION ALL
        SELECT lower(t.parent_id_tag), line.depth + 1 FROM line
        JOIN ocpp_tags AS t ON lower(t.id_tag) = line.id_tag AND t.deleted_at IS NULL
        WHERE t.parent_id_tag IS NOT NULL AND line.depth < {MAX_DEPTH - 1}
    )
    SELECT {_MAPPING} FROM line JOIN tag_mappings AS m ON lower(m.id_tag) = line.id_tag ORDER BY line.depth LIMIT 1
) AS above ON true
LEFT JOIN LATERAL (
    SELECT r.id FROM reservations AS r
    WHERE lower(r.charge_box_id) = lower(tap.charge_box_id)
      AND r.status IN ({", ".join(f"'{status.value}'" for status in BLOCKING)})
      AND tstzrange(r.start_at, r.end_at) @> now()
      AND (r.connector_id = 0 OR r.connector_id = tap.connector_id)
      AND lower(r.id_tag) <> lower(tap.id_tag)
      AND (r.user_id = coalesce(own.user_id, above.user_id)) IS NOT TRUE
    LIMIT 1
) AS kept ON true
ORDER BY tap.number
"""  # noqa: S608 - nothing but our own names


@dataclass(frozen=True)
class KnownTap:
    """What is known at the moment of a tap."""

    facts: TapFacts
    mapping_id: int | None
    awaited: bool
    """Somebody waits for a card to be held to this charge box."""


class TapFactsQuery:
    """Asks for them."""

    def __init__(self, database: Database, *, protected: Collection[str], timeout_seconds: float) -> None:
        """``protected``: tags that no conclusion blocks."""
        self._protected = frozenset(tag.lower() for tag in protected)
        self._query = GatheredQuery(database, _FACTS, timeout_seconds=timeout_seconds)

    def start(self) -> None:
        """Connect already: the first tap waits for nothing."""
        self._query.start()

    async def known_of(self, tap: Tap) -> KnownTap:
        """What is known of ``tap`` now.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: the database did not answer.
        """
        row = await self._query.ask(tap.id_tag, tap.charge_box_id, tap.connector_id, tap.is_start)
        nearest = _mapping(row)
        facts = TapFacts(
            own=nearest if row["has_own"] else None,
            nearest=nearest,
            deactivation_reason=row["deactivation_reason"],
            expired=row["expired"],
            protected=tap.id_tag.lower() in self._protected,
            reserved_for_others=row["reserved"],
        )
        return KnownTap(facts, row["id"], row["awaited"])

    async def close(self) -> None:
        """Close the connections."""
        await self._query.close()


def _mapping(row: Any) -> MappingValue | None:
    if row["id"] is None:
        return None
    return MappingValue(
        id=row["id"],
        is_active=row["is_active"],
        user_id=row["user_id"],
        lago_customer_external_id=row["lago_customer_external_id"],
        lago_subscription_external_id=row["lago_subscription_external_id"],
        billing_tier=row["billing_tier"],
    )
