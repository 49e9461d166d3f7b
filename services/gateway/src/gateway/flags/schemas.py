"""Feature flags on the wire (contract-admin §15.7, §15.8, §20.12)."""

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from gateway.wire import Wire, WireTime
from polaris_common.feature_flags import FLAGS, Flag, Value

MAX_ENTRIES = 50


class FlagChange(Wire):
    """One flag's new value; null takes the value away, so that the next tier decides."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    key: Annotated[str, Field(min_length=1, max_length=128, examples=["customer.connectivityCheck"])]
    value: Annotated[Any, Field(examples=[False])]


class FlagChanges(Wire):
    """Flags to set; of two entries for one key the last counts."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    flags: Annotated[list[FlagChange], Field(min_length=1, max_length=MAX_ENTRIES)]


class GlobalFlagsChanged(Wire):
    """What was changed for everybody."""

    ok: bool = True
    changed_keys: list[str]


class FlagsChanged(Wire):
    """What holds now, where it differs from the default."""

    ok: bool = True
    flags: dict[str, Any]


class FlagRead(Wire):
    """One flag of the registry, and what it is set to; ``source`` is null when the default holds."""

    key: str
    type: str
    description: str
    default_value: Any
    global_value: Any = None
    effective_value: Any
    source: str | None = None
    updated_at: WireTime | None = None
    updated_by: str | None = None

    @classmethod
    def of(cls, flag: Flag, value: Value | None, everybody: Value | None) -> Self:
        """A flag with its value."""
        return cls(
            key=flag.key,
            type=flag.type_name,
            description=flag.description,
            default_value=flag.default,
            global_value=everybody.value if everybody else None,
            effective_value=value.value if value else flag.default,
            source=value.source if value else None,
            updated_at=value.updated_at if value else None,
            updated_by=value.updated_by if value else None,
        )


class FlagList(Wire):
    """The whole registry."""

    items: list[FlagRead]
    total: int

    @classmethod
    def of(cls, values: dict[str, Value], everybody: dict[str, Value]) -> Self:
        """Every flag, by key."""
        items = [FlagRead.of(flag, values.get(key), everybody.get(key)) for key, flag in sorted(FLAGS.items())]
        return cls(items=items, total=len(items))
