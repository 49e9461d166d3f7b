"""How the gateway writes values: camelCase names, UTC times with milliseconds and ``Z``."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel

from polaris_common.clock import to_wire

WireTime = Annotated[datetime, PlainSerializer(to_wire, return_type=str)]
"""UTC with milliseconds and ``Z``."""

MAX_BIGINT = 2**63 - 1
"""The largest id or offset that PostgreSQL knows."""


class Wire(BaseModel):
    """The base of everything that goes over the wire."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)
