"""The statements on charging sessions that work on arrays: one round trip for any number of rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text

from polaris_common.charging.session_changes import KNOWN_COLUMNS, KnownSession

_TYPES = {
    "id": "bigint",
    "steve_transaction_id": "bigint",
    "connector_id": "int",
    "started_at": "timestamptz",
    "start_wh": "bigint",
    "stop_wh": "bigint",
    "stopped_at": "timestamptz",
    "settle_after": "timestamptz",
    "tag_mapping_id": "bigint",
    "user_id": "uuid",
    "vanished_at": "timestamptz",
}
_COLUMNS = KnownSession._fields
_ARRAYS = ", ".join(f"CAST(:{name} AS {_TYPES.get(name, 'text')}[])" for name in _COLUMNS)
_NEW = [name for name in _COLUMNS if name != "id"]
_IDENTITY = ("steve_transaction_id", "charge_box_id", "connector_id", "id_tag", "started_at")
_MUTABLE = [name for name in _NEW if name not in _IDENTITY]
_PREFIXED = ", ".join(f"s.{name}" for name in _COLUMNS)

# ruff: noqa: S608 - the names above are our own
INSERT = text(f"""
INSERT INTO charging_sessions ({", ".join(_NEW)})
SELECT {", ".join(_NEW)} FROM unnest({_ARRAYS}) AS v({KNOWN_COLUMNS}) ORDER BY steve_transaction_id
ON CONFLICT (steve_transaction_id) DO NOTHING
RETURNING id, steve_transaction_id
""")

UPDATE = text(f"""
UPDATE charging_sessions AS s
SET {", ".join(f"{name} = v.{name}" for name in _MUTABLE)}, revision = s.revision + 1, updated_at = now()
FROM unnest({_ARRAYS}) AS v({KNOWN_COLUMNS})
WHERE s.id = v.id
""")

FOLLOWED = text("""
SELECT steve_transaction_id FROM charging_sessions
WHERE vanished_at IS NULL AND (stopped_at IS NULL OR stop_actor = 'manual')
  AND (stopped_at IS NULL OR state = 'stopped' OR updated_at > now() - CAST(:closed_manually AS interval))
""")

SPANS = text("""
SELECT steve_transaction_id, (array_agg(register_wh ORDER BY sampled_at))[1] AS first_wh, min(register_wh) AS lowest_wh
FROM meter_readings
WHERE steve_transaction_id = ANY(CAST(:ids AS bigint[])) AND register_wh IS NOT NULL
GROUP BY steve_transaction_id
""")

# A session that was open will never get a stop; one with a manual stop has its last word.
VANISH = text(f"""
WITH gone AS (
    SELECT id, state FROM charging_sessions
    WHERE steve_transaction_id = ANY(CAST(:ids AS bigint[])) AND vanished_at IS NULL ORDER BY id FOR UPDATE
)
UPDATE charging_sessions AS s
SET vanished_at = now(), updated_at = now(), revision = revision + 1,
    state = CASE s.state WHEN 'open' THEN 'quarantined' WHEN 'stopped' THEN 'settled' ELSE s.state END,
    quarantine_reason = CASE s.state WHEN 'open' THEN 'vanished_in_steve' ELSE s.quarantine_reason END
FROM gone WHERE s.id = gone.id
RETURNING gone.state AS was, {_PREFIXED}
""")

# SteVe has used these ids again. What we have keeps its history under an id that no SteVe gives: the negative of ours.
# By the stations' clocks, what was measured before the new charge began belongs to the old one.
_REUSED = "unnest(CAST(:ids AS bigint[]), CAST(:starts AS timestamptz[])) AS v(id, began)"

MOVE_READINGS = text(f"""
UPDATE meter_readings AS r SET steve_transaction_id = -s.id
FROM {_REUSED} JOIN charging_sessions AS s ON s.steve_transaction_id = v.id
WHERE r.steve_transaction_id = v.id AND r.sampled_at < v.began
""")

MOVE_LIVE_METERS = text(f"""
UPDATE live_meters AS m SET steve_transaction_id = -s.id
FROM {_REUSED} JOIN charging_sessions AS s ON s.steve_transaction_id = v.id
WHERE m.steve_transaction_id = v.id AND m.sampled_at < v.began
""")

GIVE_UP_IDS = text("""
UPDATE charging_sessions SET former_transaction_id = steve_transaction_id, steve_transaction_id = -id
WHERE steve_transaction_id = ANY(CAST(:ids AS bigint[]))
""")

FORMER = text("""
SELECT former_transaction_id AS transaction_id, charge_box_id, connector_id, id_tag, started_at, start_wh
FROM charging_sessions WHERE former_transaction_id = ANY(CAST(:ids AS bigint[]))
""")

# The live meter shows what was heard lately; its newest reading says whether it was the last.
STOP_EXPECTED = text("""
SELECT EXISTS (
    SELECT FROM live_meters AS m JOIN charging_sessions AS s USING (steve_transaction_id)
    WHERE m.received_at > now() - CAST(:within AS interval) AND s.stopped_at IS NULL AND s.vanished_at IS NULL
      AND EXISTS (SELECT FROM meter_readings AS r
                  WHERE r.steve_transaction_id = m.steve_transaction_id AND r.sampled_at = m.sampled_at
                    AND r.context = :last)
)
""")

OPEN_SESSIONS = text(f"""
SELECT {_PREFIXED}, s.created_at AS known_at, m.received_at AS last_reading_at,
    EXISTS (
        SELECT FROM charging_sessions AS n
        WHERE n.charge_box_id = s.charge_box_id AND n.connector_id = s.connector_id AND n.vanished_at IS NULL
          AND (n.started_at, n.steve_transaction_id) > (s.started_at, s.steve_transaction_id)
          AND n.started_at >= s.started_at
    ) AS superseded
FROM charging_sessions AS s LEFT JOIN live_meters AS m ON m.steve_transaction_id = s.steve_transaction_id
WHERE s.vanished_at IS NULL AND s.stopped_at IS NULL
  AND (s.state = 'open' OR s.quarantine_reason IN ('zombie_superseded', 'zombie_silent'))
ORDER BY s.id
FOR UPDATE OF s
""")

# Steps from tag to tag along the index instead of reading every ownerless session.
OWNERLESS_TAGS = text("""
WITH RECURSIVE tags(id_tag) AS (
    (SELECT id_tag FROM charging_sessions WHERE tag_mapping_id IS NULL ORDER BY id_tag LIMIT 1)
    UNION ALL
    SELECT (SELECT s.id_tag FROM charging_sessions AS s
            WHERE s.tag_mapping_id IS NULL AND s.id_tag > tags.id_tag ORDER BY s.id_tag LIMIT 1)
    FROM tags WHERE tags.id_tag IS NOT NULL
)
SELECT id_tag FROM tags WHERE id_tag IS NOT NULL
""")


def as_arrays(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """One array a column, for ``unnest``."""
    return {name: [row.get(name) for row in rows] for name in _COLUMNS}
