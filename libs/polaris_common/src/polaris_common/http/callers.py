"""Who may call a route. Every route names its callers; a service does not start with one that does not.

A dependency that admits a caller is marked with ``admits``; a plain Starlette endpoint (the hooks) is marked itself.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TypeVar

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Route

_MARK = "__polaris_admits__"

READING = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""

F = TypeVar("F", bound=Callable[..., object])


class Caller(StrEnum):
    """Everybody who may call one of our services."""

    ANYONE = "anyone"
    DRIVER = "driver"
    OPERATOR = "operator"
    SUPERADMIN = "superadmin"
    DEVICE = "device"
    SIGNED_IN = "signed_in"
    """A driver or an operator with a session."""
    STEVE_HOOK = "steve_hook"
    LAGO = "lago"


def admits(caller: Caller) -> Callable[[F], F]:
    """Mark a dependency or a plain endpoint as the one that lets ``caller`` in and nobody else."""

    def mark(function: F) -> F:
        setattr(function, _MARK, caller)
        return function

    return mark


def callers_of(route: BaseRoute) -> frozenset[Caller]:
    """Whom ``route`` admits; empty when it does not say."""
    if isinstance(route, APIRoute):
        return frozenset(_marks(_calls(route.dependant)))
    if isinstance(route, Route):
        return frozenset(_marks([route.endpoint]))
    return frozenset()


def require_callers(routes: Iterable[BaseRoute]) -> None:
    """Deny by default.

    Raises:
        RuntimeError: a route names no caller, or more than one.
    """
    for route in routes:
        if len(callers_of(route)) != 1:
            raise RuntimeError(f"{route} must say who may call it: once, with a dependency that admits them")


def _calls(dependant: Dependant) -> list[Callable[..., object]]:
    calls = [] if dependant.call is None else [dependant.call]
    for each in dependant.dependencies:
        calls += _calls(each)
    return calls


def _marks(calls: Iterable[Callable[..., object]]) -> list[Caller]:
    return [getattr(call, _MARK) for call in calls if hasattr(call, _MARK)]
