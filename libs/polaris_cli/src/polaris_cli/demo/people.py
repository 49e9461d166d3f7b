"""The demo's people: one operator, and a driver for each car of the simulated fleet."""

from collections.abc import Sequence

from polaris_cli.seed import Person
from polaris_common.models import Role

ADMIN_EMAIL = "operator@demo.polaris.example"

_NAMES = (
    "Ada Winter",
    "Bruno Keller",
    "Chiara Rossi",
    "David Okafor",
    "Elif Aydin",
    "Frida Holm",
    "Goran Petrov",
    "Hana Sato",
    "Ines Duarte",
    "Jonas Brandt",
    "Karim Haddad",
    "Lena Moreau",
)


def fleet_boxes(cars: int) -> int:
    """How many charge boxes with two connectors ``cars`` cars need."""
    return -(-cars // 2)


def id_tag_of(number: int) -> str:
    """The card of the fleet's driver ``number``, counted from 0, as the simulator names it."""
    return f"51A0{number:04X}"


def drivers(cars: int, password_hash: str) -> Sequence[Person]:
    """A driver for every car that the fleet may bring; all have the same password."""
    return [
        Person(
            name=name,
            email=f"{name.lower().replace(' ', '.')}@demo.polaris.example",
            password_hash=password_hash,
            id_tag=id_tag_of(number),
            customer=f"demo-driver-{number + 1}",
        )
        for number in range(2 * fleet_boxes(cars))
        for name in [_NAMES[number] if number < len(_NAMES) else f"Driver {number + 1}"]
    ]


def operator(password_hash: str) -> Person:
    """Who signs in on the admin host."""
    return Person(name="Olivia Operator", email=ADMIN_EMAIL, role=Role.ADMIN, password_hash=password_hash)
