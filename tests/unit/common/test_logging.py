"""Secrets never reach a log line."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from polaris_common.observability import configure_logging
from polaris_common.observability.logging import redact


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """What a test configures must not outlive it: its captured output is closed afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize(
    "key",
    ["password", "AUTH_SECRET", "Authorization", "cookie", "lago_api_key", "deviceToken", "X-Signature", "hmacKey"],
)
def test_values_under_secret_names_are_removed_at_any_depth(key: str) -> None:
    assert redact({"outer": [{key: "s3cret-value"}]}) == {"outer": [{key: "[redacted]"}]}


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://polaris:s3cret-value@db/polaris",
        "Authorization: Bearer s3cret-value",
        "redis://:s3cret-value@cache:6379/0",
        "eyJhbGciOiJIUzI1NiJ9.s3cret-value.signature",
    ],
)
def test_secrets_inside_texts_are_removed(text: str) -> None:
    assert "s3cret-value" not in redact(text)


def test_a_log_line_is_one_json_object_and_an_exception_keeps_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("test", "INFO")
    log = structlog.get_logger("a")
    try:
        raise OSError("cannot reach postgresql://polaris:s3cret-value@db/polaris")
    except OSError:
        log.exception("outage", token="s3cret-value", transactions=[1, 2])
    logging.getLogger("library").error("cannot reach amqp://user:s3cret-value@host")
    lines = capsys.readouterr().out.splitlines()
    first, second = (json.loads(line) for line in lines)
    assert (first["event"], first["service"], first["transactions"]) == ("outage", "test", [1, 2])
    assert second["level"] == "error"
    assert "s3cret-value" not in "".join(lines)
