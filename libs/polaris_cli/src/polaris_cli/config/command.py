"""``polaris config check``: whether the environment configures the services that are installed here."""

import importlib
import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from pydantic_settings import BaseSettings

from polaris_cli.problems import BadInput
from polaris_common.config_report import State, Variable, no_longer_read, report

SERVICES = ("gateway", "notifier", "sync_worker", "billing_bridge")
_ORDER = [State.MISSING, State.UNUSABLE, State.NOT_READ, State.SET, State.DEFAULT]


def check(env_file: Path | None) -> int:
    """Print how each variable stands, and never a value; 1 when a service would not start.

    ``env_file``: read it over the environment.

    Raises:
        BadInput: the file cannot be read.
    """
    environment = {**os.environ, **(_read(env_file) if env_file else {})}
    found = _merged([report(settings, environment) for settings in _installed()])
    lines = sorted([*found, *no_longer_read(environment)], key=lambda each: (_ORDER.index(each.state), each.name))
    for each in lines:
        sys.stdout.write(f"{each.state:<10}{each.name}{f'  ({each.note})' if each.note else ''}\n")
    problems = sum(each.is_problem for each in lines)
    sys.stdout.write("The configuration is usable.\n" if not problems else f"{problems} to put right.\n")
    return 1 if problems else 0


def _installed() -> list[type[BaseSettings]]:
    """The settings of each service that is here: an image holds one, a development tree all."""
    return [
        getattr(importlib.import_module(f"{name}.settings"), f"{name.title().replace('_', '')}Settings")
        for name in SERVICES
        if find_spec(name) is not None
    ]


def _merged(reports: list[list[Variable]]) -> list[Variable]:
    """One line a variable: the worst that a service says about it."""
    worst: dict[tuple[str, str], Variable] = {}
    for each in (variable for one in reports for variable in one):
        key = (each.name, each.note if each.name == "(together)" else "")
        if key not in worst or _ORDER.index(each.state) < _ORDER.index(worst[key].state):
            worst[key] = each
    return list(worst.values())


def _read(env_file: Path) -> Mapping[str, str]:
    try:
        lines = env_file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{env_file} cannot be read ({type(error).__name__}).") from None
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip().strip("'\"") for name, value in pairs}
