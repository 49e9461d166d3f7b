"""Live telemetry over Redis: what a car draws right now. Not durable and without ids; the next value replaces it."""

from datetime import datetime
from uuid import UUID

import structlog
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from redis.asyncio import Redis
from redis.exceptions import RedisError

CHANNEL = "polaris:telemetry"

log = structlog.get_logger(__name__)


class MeterTelemetry(BaseModel):
    """The latest values of one transaction; ``session_wh`` is the energy since the start when that is known."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    transaction_id: int
    charge_box_id: str
    connector_id: int
    meter_timestamp: datetime
    register_wh: int | None = None
    power_w: int | None = None
    session_wh: int | None = None
    session_id: int | None = None
    user_mapping_id: int | None = None
    user_id: UUID | None = None
    """Who may see it besides operators."""
    ended_at: datetime | None = None
    """When charging ended; on the final sample alone."""


async def publish(redis: Redis, telemetry: list[MeterTelemetry]) -> None:
    """Tell every notifier; a lost message is replaced by the next one."""
    if not telemetry:
        return
    try:
        async with redis.pipeline(transaction=False) as pipeline:
            for item in telemetry:
                pipeline.publish(CHANNEL, item.model_dump_json(by_alias=True, exclude_none=True))
            await pipeline.execute()
    except (OSError, RedisError) as error:
        log.warning("telemetry_lost", error=type(error).__name__)
