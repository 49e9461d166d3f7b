"""What all tables share."""

from datetime import datetime
from typing import Annotated, Any, ClassVar

from sqlalchemy import BigInteger, DateTime, Identity, Text, func
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy.types import TypeEngine

BigId = Annotated[int, mapped_column(BigInteger, Identity(always=True), primary_key=True)]
Wh = Annotated[int, mapped_column(BigInteger)]
"""Integer watt-hours."""
CreatedAt = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]


class Base(DeclarativeBase):
    """The base of every model; text is unbounded and every time has a zone."""

    type_annotation_map: ClassVar[dict[type, TypeEngine[Any]]] = {
        str: Text(),
        datetime: DateTime(timezone=True),
    }
