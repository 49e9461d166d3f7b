"""The secrets of one run: made once, kept in a file that only its owner reads, never printed but for the sign-ins."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from polaris_cli.problems import BadInput

READABLE = "abcdefghjkmnpqrstuvwxyz23456789"


def _secret() -> str:
    return secrets.token_urlsafe(36)


def _password() -> str:
    return "-".join("".join(secrets.choice(READABLE) for _ in range(5)) for _ in range(3))


@dataclass(frozen=True)
class StackSecrets:
    """Keys that the processes share, and the passwords of the demo's people."""

    auth_secret: str
    steve_password: str
    preauth_key: str
    metervalue_key: str
    lago_key: str
    email_secret: str
    driver_password: str
    admin_password: str

    @classmethod
    def new(cls) -> "StackSecrets":
        """Fresh ones."""
        return cls(
            **{
                field.name: _password() if field.name.endswith(("driver_password", "admin_password")) else _secret()
                for field in fields(cls)
            }
        )

    @classmethod
    def kept_in(cls, path: Path) -> "StackSecrets":
        """Those in ``path``, or fresh ones that are written there.

        Raises:
            BadInput: the file is there and cannot be used.
        """
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            made = cls.new()
        except (OSError, ValueError, TypeError):
            raise BadInput(f"{path} cannot be read as the demo's secrets; start again with --fresh.") from None
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(made), file, indent=2)
        return made
