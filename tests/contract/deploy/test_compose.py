"""What the production stack promises, as far as it can be seen without Docker."""

import importlib
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import AliasChoices
from pydantic_settings import BaseSettings

from polaris_common.settings import DatabaseSettings

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("migrate", "gateway", "notifier", "sync-worker", "billing-bridge", "sim")
WITH_SETTINGS = ("migrate", "gateway", "notifier", "sync-worker", "billing-bridge")
WITHOUT_HTTP = ("sync-worker", "billing-bridge")
ONE_SHOT = ("migrate",)

_VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>[A-Z0-9_]+)(?:(?P<operator>:-|:\?)(?P<rest>[^}]*))?\}")
_SECRET = re.compile(r"(SECRET|PASSWORD|_KEY)$")


def variables(text: str) -> dict[str, set[str]]:
    """The operators that each variable in ``text`` is read with."""
    found: dict[str, set[str]] = {}
    for match in _VARIABLE.finditer(text):
        found.setdefault(match["name"], set()).add(match["operator"] or "")
    return found


def example() -> dict[str, str]:
    """Every variable of ``.env.example`` with its value."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


FILLED_IN = {
    "POSTGRES_PASSWORD": "p" * 48,
    "AUTH_SECRET": "a" * 64,
    "CUSTOMER_BASE_URL": "https://polaris.example.com",
    "ADMIN_BASE_URL": "https://manage.example.com",
    "COOKIE_DOMAIN": ".example.com",
    "STEVE_BASE_URL": "https://ocpp.example.com/steve",
    "STEVE_API_USERNAME": "polaris",
    "STEVE_API_KEY": "s" * 48,
}
"""What ``.env.example`` says is required."""


def interpolated(value: str, env: Mapping[str, str]) -> str:
    """``value`` as compose passes it on."""

    def replaced(match: re.Match[str]) -> str:
        if env.get(match["name"]):
            return env[match["name"]]
        assert match["operator"] != ":?", f"{match['name']} is required"
        return match["rest"] or ""

    return _VARIABLE.sub(replaced, value)


def environment(service: str, env: Mapping[str, str]) -> dict[str, str]:
    """What the container of ``service`` finds in its environment."""
    return {name: interpolated(str(value), env) for name, value in SERVICES[service].get("environment", {}).items()}


def settings_of(service: str) -> type[BaseSettings]:
    """The class that ``service`` reads its environment with."""
    if service == "migrate":
        return DatabaseSettings
    module = importlib.import_module(service.replace("-", "_") + ".settings")
    name = "".join(word.capitalize() for word in service.split("-")) + "Settings"
    found: type[BaseSettings] = getattr(module, name)
    return found


def names_of(settings: type[BaseSettings]) -> list[tuple[str, set[str], bool]]:
    """Each field, the variables that set it, and whether it must be set."""
    return [
        (
            name,
            {str(choice) for choice in field.validation_alias.choices}
            if isinstance(field.validation_alias, AliasChoices)
            else {name.upper()},
            field.is_required(),
        )
        for name, field in settings.model_fields.items()
    ]


@pytest.mark.parametrize("service", WITH_SETTINGS)
def test_a_service_gets_what_it_cannot_start_without(service: str) -> None:
    passed = set(SERVICES[service]["environment"])

    missing = [names for _, names, required in names_of(settings_of(service)) if required and not names & passed]

    assert not missing


@pytest.mark.parametrize("service", [service for service in WITH_SETTINGS if service not in ONE_SHOT])
def test_a_service_gets_everything_that_can_be_set(service: str) -> None:
    passed = set(SERVICES[service]["environment"])
    of_no_use = set() if service in WITHOUT_HTTP else {"alive_file"}

    forgotten = [
        names for name, names, _ in names_of(settings_of(service)) if not names & passed and name not in of_no_use
    ]

    assert not forgotten, f"compose.yaml does not pass {forgotten} to {service}"


@pytest.mark.parametrize("service", WITH_SETTINGS)
def test_a_service_gets_nothing_that_it_does_not_read(service: str) -> None:
    read = set().union(*(names for _, names, _ in names_of(settings_of(service))))

    assert set(SERVICES[service]["environment"]) <= read


@pytest.mark.parametrize("service", WITH_SETTINGS)
def test_a_service_starts_with_only_the_required_variables_filled_in(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(service, {**example(), **FILLED_IN}).items():
        monkeypatch.setenv(name, value)

    settings_of(service)()


def test_what_is_required_fails_with_a_sentence() -> None:
    text = (ROOT / "compose.yaml").read_text()
    messages = {match["name"]: match["rest"] for match in _VARIABLE.finditer(text) if match["operator"] == ":?"}

    assert messages == {name: f"set {name} in .env" for name in FILLED_IN}


def test_a_variable_is_required_everywhere_or_nowhere() -> None:
    mixed = {name for name, operators in variables((ROOT / "compose.yaml").read_text()).items() if len(operators) > 1}

    assert not mixed


def test_an_unset_variable_is_never_read_without_default() -> None:
    bare = {name for name, operators in variables((ROOT / "compose.yaml").read_text()).items() if "" in operators}

    assert not bare


def test_the_example_names_exactly_what_compose_reads() -> None:
    read = set(variables((ROOT / "compose.yaml").read_text()))

    assert set(example()) == read | {"COMPOSE_PROFILES"}  # compose reads this one for itself


def test_the_example_sets_nothing() -> None:
    assert not any(example().values())


def test_the_example_explains_each_variable() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    unexplained = [
        line for before, line in pairwise(lines) if line and not line.startswith("#") and not before.startswith("# ")
    ]

    assert not unexplained


def test_no_secret_is_written_down() -> None:
    literal = [
        f"{service}: {name}"
        for service, definition in SERVICES.items()
        for name, value in definition.get("environment", {}).items()
        if _SECRET.search(name) and not re.fullmatch(r"\$\{[A-Z_]+(:-|:\?[^}]+)\}", str(value))
    ]

    assert literal == ["mariadb: MARIADB_RANDOM_ROOT_PASSWORD"]  # "yes": the image makes one


@pytest.mark.parametrize("service", [service for service in SERVICES if service not in ONE_SHOT])
def test_every_service_has_a_health_check(service: str) -> None:
    assert SERVICES[service]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


@pytest.mark.parametrize("service", WITHOUT_HTTP)
def test_the_health_check_looks_at_the_file_that_the_worker_touches(service: str) -> None:
    assert SERVICES[service]["environment"]["ALIVE_FILE"] in SERVICES[service]["healthcheck"]["test"]


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_can_gain_privileges(service: str) -> None:
    definition = SERVICES[service]

    assert definition["cap_drop"] == ["ALL"]
    assert definition["security_opt"] == ["no-new-privileges:true"]
    assert definition.get("cap_add", []) == (["NET_BIND_SERVICE"] if service == "caddy" else [])
    assert not {"privileged", "network_mode", "pid"} & set(definition)


@pytest.mark.parametrize("service", OURS)
def test_our_services_run_as_nobody_on_a_read_only_system(service: str) -> None:
    definition = SERVICES[service]

    assert definition["user"] == "10001:10001"
    assert definition["read_only"] is True
    assert definition["tmpfs"] == ["/tmp"]  # noqa: S108 - a path in the container


@pytest.mark.parametrize("service", ["postgres", "redis", "mariadb"])
def test_databases_do_not_run_as_root_and_have_no_way_out(service: str) -> None:
    definition = SERVICES[service]

    assert definition["user"] not in {"root", "0", 0}
    assert all(COMPOSE["networks"][network]["internal"] for network in definition["networks"])


def test_only_the_edge_is_open_to_the_world() -> None:
    published = {
        name: [interpolated(port, {}) for port in definition["ports"]]
        for name, definition in SERVICES.items()
        if "ports" in definition
    }

    assert published == {
        "caddy": ["80:80", "443:443", "443:443/udp"],
        "gateway": ["127.0.0.1:8000:8000"],
        "notifier": ["127.0.0.1:8001:8001"],
        "steve": ["127.0.0.1:8180:8180"],
    }


@pytest.mark.parametrize("service", ["gateway", "notifier", "sync-worker", "billing-bridge"])
def test_services_start_after_the_migration_and_come_back_after_a_crash(service: str) -> None:
    definition = SERVICES[service]

    assert definition["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert definition["restart"] == "unless-stopped"


def test_the_migration_waits_for_the_database_and_runs_once() -> None:
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert SERVICES["migrate"]["restart"] == "no"


def test_memory_limits_fit_a_host_of_4_gb() -> None:
    running = [
        definition
        for name, definition in SERVICES.items()
        if name not in ONE_SHOT and definition.get("profiles") != ["sim"]
    ]

    assert sum(int(definition["mem_limit"].removesuffix("m")) for definition in running) <= 3_584


@pytest.mark.parametrize("service", OURS)
def test_every_image_is_a_target_of_the_dockerfile(service: str) -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE))

    assert SERVICES[service]["build"]["target"] in targets
    assert (ROOT / SERVICES[service]["build"]["dockerfile"]).exists()


def test_no_two_services_build_the_same_tag() -> None:
    tags = [SERVICES[service]["image"] for service in OURS]

    assert len(tags) == len(set(tags))


@pytest.mark.parametrize("service", ["gateway", "notifier", "sync-worker", "billing-bridge"])
def test_the_image_runs_a_module_that_exists(service: str) -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    command = re.search(rf'AS {service}\n(?:(?!FROM).*\n)*?CMD \["python", "-m", "(\w+)"\]', dockerfile)

    assert command is not None
    assert (ROOT / "services" / service / "src" / command[1] / "__main__.py").exists()


def test_the_edge_gives_streams_to_the_notifier_without_delay() -> None:
    caddyfile = (ROOT / "deploy/caddy/Caddyfile").read_text()
    streams = re.search(r"@streams path (.+)", caddyfile)
    to_notifier = re.search(r"handle @streams \{\s+reverse_proxy notifier:8001 \{\s+flush_interval -1", caddyfile)

    assert streams is not None
    assert set(streams[1].split()) >= {
        "/api/stream/*",
        "/api/admin/stream/*",
        "/api/admin/notifications/stream",
        "/api/devices/scan-stream",
        "/api/auth/scan-detect",
        "/api/admin/devices/*/logs-stream",
    }
    assert to_notifier is not None


def test_the_edge_reads_only_what_it_is_given() -> None:
    read = set(re.findall(r"\{\$([A-Z_]+)", (ROOT / "deploy/caddy/Caddyfile").read_text()))

    assert read == set(SERVICES["caddy"]["environment"])
