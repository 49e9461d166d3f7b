"""One clock for the simulators, the workers and the database.

The database's ``now()`` is replaced by one that runs a settable time ahead of the machine's, so that days pass in no
time for everything that compares stored times.
"""

from datetime import UTC, datetime, timedelta

import asyncpg

from polaris_sim.clock import SimClock

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
"""Long enough before the end of a month for sessions, short enough for it to end in an example."""

REPLACED_NOW = """
CREATE SCHEMA shifted;
CREATE TABLE shifted.clock (shift INTERVAL NOT NULL);
INSERT INTO shifted.clock VALUES ('0');
CREATE FUNCTION shifted.now() RETURNS timestamptz LANGUAGE sql STABLE AS
    'SELECT pg_catalog.now() + (SELECT shift FROM shifted.clock)';
CREATE FUNCTION shifted.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    'SELECT pg_catalog.clock_timestamp() + (SELECT shift FROM shifted.clock)';
"""


class CityClock(SimClock):
    """The time of an example; runs on at normal speed between jumps."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        super().__init__(NOON)
        self._connection = connection

    async def begin(self) -> None:
        """It is noon again."""
        self.set(NOON)
        await self.agree()

    async def pass_minutes(self, minutes: int) -> None:
        """So much time passes, here and in the database."""
        self.advance(minutes * 60)
        await self.jump(minutes)

    async def jump(self, minutes: int) -> None:
        """Our servers' clock is corrected, or no longer right; the stations' is not touched."""
        await self._connection.execute(
            "UPDATE shifted.clock SET shift = shift + $1::interval", timedelta(minutes=minutes)
        )

    async def agree(self) -> None:
        """Everybody's clock is right."""
        await self._connection.execute("UPDATE shifted.clock SET shift = $1 - pg_catalog.clock_timestamp()", self.now())

    def minute(self) -> datetime:
        """The minute that has begun."""
        return self.now().replace(second=0, microsecond=0)
