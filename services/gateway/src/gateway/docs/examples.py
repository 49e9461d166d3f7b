"""An example for every body, made from its schema: the same each time."""

from collections.abc import Mapping
from typing import Any

_BY_FORMAT = {
    "date-time": "2026-03-01T12:00:00.000Z",
    "date": "2026-03-01",
    "uuid": "7d3f0b52-6f0e-4a58-9d5e-2f1c8a9b0c4d",
    "uri": "https://polaris.example.com/",
    "binary": "",
}
_BY_NAME = {
    "email": "ann@example.org",
    "password": "correct horse battery",
    "publicId": "7KQ2MX9A",
    "chargeBoxId": "CP-1",
    "idTag": "04A1B2C3",
    "token": "Vr3kq0m2bB8xw1uYf5n7cZ4sT6hJ9pLdGaEeRiOoUxA",
}
_DEEP = 8


def example_of(schema: Mapping[str, Any], schemas: Mapping[str, Any], *, name: str = "", depth: int = 0) -> Any:
    """A value that fits ``schema``; ``schemas`` are the components that it may refer to."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rsplit("/", 1)[1]]
    for key in ("example", "const", "default"):
        if key in schema:
            return schema[key]
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    if depth > _DEEP:
        return None
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return example_of(schema[key][0], schemas, name=name, depth=depth + 1)
    return _of_type(schema, schemas, name, depth)


def _of_type(schema: Mapping[str, Any], schemas: Mapping[str, Any], name: str, depth: int) -> Any:
    match schema.get("type"):
        case "object":
            parts: Mapping[str, Any] = schema.get("properties", {})
            return {key: example_of(part, schemas, name=key, depth=depth + 1) for key, part in parts.items()}
        case "array":
            return [example_of(schema.get("items", {}), schemas, name=name, depth=depth + 1)]
        case "integer" | "number":
            return max(1, schema.get("minimum", 1))
        case "boolean":
            return True
        case "string":
            if "23456789ABCDEFGHJKMNPQRSTVWXYZ" in schema.get("pattern", ""):
                return _BY_NAME["publicId"]
            text = _BY_FORMAT.get(schema.get("format", "")) or _BY_NAME.get(name) or "text"
            return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]
        case _:
            return None
