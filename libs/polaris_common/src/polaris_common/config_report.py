"""What the environment says for a settings class, variable by variable; never a secret's value."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import AliasChoices, ValidationError
from pydantic_settings import BaseSettings

from polaris_common.settings import NO_LONGER_READ, OLD_NAMES


class State(StrEnum):
    """How a variable stands."""

    SET = "set"
    DEFAULT = "default"
    MISSING = "missing"
    UNUSABLE = "unusable"
    NOT_READ = "not read"


@dataclass(frozen=True)
class Variable:
    """One variable: how it stands, and what is to be said about it."""

    name: str
    state: State
    note: str = ""

    @property
    def is_problem(self) -> bool:
        """Whether a service would not start with it."""
        return self.state in {State.MISSING, State.UNUSABLE}


def report(settings: type[BaseSettings], environment: Mapping[str, str]) -> list[Variable]:
    """Every variable that ``settings`` reads, by name; what is empty counts as not set."""
    given = {name.upper(): value for name, value in environment.items() if value}
    problems = _problems(settings, given)
    found = [_variable(names, required, given, problems) for names, required in _fields(settings)]
    return sorted(found + _general(problems, {each.name for each in found}), key=lambda each: each.name)


def no_longer_read(environment: Mapping[str, str]) -> list[Variable]:
    """What is set and means nothing here."""
    return [Variable(name, State.NOT_READ, why) for name, why in NO_LONGER_READ.items() if environment.get(name)]


def _fields(settings: type[BaseSettings]) -> Iterable[tuple[list[str], bool]]:
    for name, field in settings.model_fields.items():
        alias = field.validation_alias
        names = [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [name.upper()]
        yield names, field.is_required()


def _variable(names: list[str], required: bool, given: Mapping[str, str], problems: Mapping[str, str]) -> Variable:
    name = names[0]
    used = next((each for each in names if each in given), None)
    note = f"by its old name {used}" if used is not None and OLD_NAMES.get(used) == name else ""
    if used is None:
        return Variable(name, State.MISSING if required else State.DEFAULT)
    complaint = next((problems[each] for each in names if each in problems), None)
    return Variable(name, State.UNUSABLE, complaint) if complaint else Variable(name, State.SET, note)


def _problems(settings: type[BaseSettings], given: Mapping[str, str]) -> dict[str, str]:
    """What pydantic says, by variable; "" for what it says about several at once."""
    values: dict[str, Any] = {}
    for name, field in settings.model_fields.items():
        alias = field.validation_alias
        names = [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [name.upper()]
        value = next((given[each] for each in names if each in given), None)
        if value is not None:
            values[names[0] if alias is not None else name] = value
    try:
        settings.model_validate(values)
    except ValidationError as problem:
        return {
            str(error["loc"][0]).upper() if error["loc"] else "": error["msg"].removeprefix("Value error, ")
            for error in problem.errors(include_input=False)
            if error["type"] != "missing"
        }
    return {}


def _general(problems: Mapping[str, str], names: set[str]) -> list[Variable]:
    return [Variable("(together)", State.UNUSABLE, text) for name, text in problems.items() if name not in names]
