"""Structured JSON logs on stdout, one object a line, secrets removed."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

REDACTED = "[redacted]"
_SECRET_KEY = re.compile(
    r"(secret|password|passwd|token|authorization|cookie|api_?key|signature|hmac|credential|private|nonce)", re.I
)
_SECRET_TEXT = re.compile(
    r"(?i)(bearer\s+|basic\s+)[a-z0-9._~+/=-]{8,}|(://[^:/@\s]*:)[^@/\s]+(?=@)|\beyJ[\w-]+\.[\w-]+\.[\w-]+"
)


def redact(value: Any) -> Any:
    """``value`` without secrets: values under secret-looking keys, bearer tokens, passwords in addresses, JWTs."""
    if isinstance(value, Mapping):
        return {key: REDACTED if _SECRET_KEY.search(str(key)) else redact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    if isinstance(value, str):
        return _SECRET_TEXT.sub(lambda match: (match.group(1) or match.group(2) or "") + REDACTED, value)
    return value


def _redact_line(_: object, __: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
    cleaned: dict[str, Any] = redact(line)
    return cleaned


def configure_logging(service: str, level: str, *, version: str = "dev") -> None:
    """Log as ``service`` at ``level`` and above; the standard library's loggers come along."""
    number = logging.getLevelName("WARNING" if level == "WARN" else level)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.UnicodeDecoder(),
    ]
    structlog.configure(
        processors=[*shared, _redact_line, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service, version=version)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, lambda _, __, line: {**line, "service": service}],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _redact_line,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
