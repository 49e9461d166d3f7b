"""Who receives what: every event type for every kind of principal, over real streams.

A new event type needs a row here, or the first test fails: deny by default starts with deciding.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
from polyfactory.factories.pydantic_factory import ModelFactory
from tests.integration.notifier.conftest import Person, Phone, Replica, StreamWorld, until
from tests.integration.notifier.ios_parser import App
from tests.integration.notifier.stream_client import ADMIN_HOST, CUSTOMER_STREAM, HOST, Received, StreamClient
from tests.integration.notifier.test_telemetry import listens, measured

from notifier.stream.frames import METER
from notifier.stream.topics import CUSTOMER_TYPES, LOG_TYPES, TOPICS
from polaris_common import events
from polaris_common.events.catalogue import OPERATORS, PUBLIC, Audience, DomainEvent, FeatureFlagsChanged
from polaris_common.events.live import ChargerStateChanged
from polaris_common.models import Role
from polaris_common.telemetry import publish

OPERATOR, LOGS, OWNER, OTHER_DRIVER, VIEWER, DEVICE, OTHER_DEVICE = (
    "operator",
    "operator following the device's log",
    "owner",
    "other driver",
    "operator viewing the owner",
    "owner's device",
    "other device",
)
DRIVERS = frozenset({OWNER, VIEWER, OTHER_DRIVER})

NOBODY: frozenset[str] = frozenset()
STAFF = frozenset({OPERATOR})
THEIRS = frozenset({OPERATOR, OWNER, VIEWER})
THEIR_OWN = frozenset({OWNER, VIEWER})
DEVICES_OWN = frozenset({DEVICE})

FOR_OPERATORS, FOR_OWNER, FOR_BOTH, FOR_DEVICE, FOR_ALL = "operators", "owner", "both", "device", "all"

RECEIVERS: dict[str, tuple[str, frozenset[str]]] = {
    "session.started": (FOR_BOTH, THEIRS),
    "session.stopped": (FOR_BOTH, THEIRS),
    "session.quarantined": (FOR_OPERATORS, STAFF),
    "session.released": (FOR_OPERATORS, STAFF),
    "session.stop_wanted": (FOR_OPERATORS, STAFF),
    "transaction.billing": (FOR_BOTH, THEIRS),
    "billing.events_requeued": (FOR_OPERATORS, STAFF),
    "billing.books_differ": (FOR_OPERATORS, STAFF),
    "billing.late_energy": (FOR_OPERATORS, STAFF),
    "billing.stopped": (FOR_OPERATORS, STAFF),
    "billing.resumed": (FOR_OPERATORS, STAFF),
    "operation.completed": (FOR_OPERATORS, STAFF),
    "reservation.changed": (FOR_BOTH, THEIRS),
    "reservation.cancelled": (FOR_BOTH, THEIRS),
    "invoice.updated": (FOR_BOTH, THEIRS),
    "cards.switched": (FOR_BOTH, STAFF),
    "usage.limit_reached": (FOR_BOTH, STAFF),
    "card.reported_lost": (FOR_OPERATORS, STAFF),
    "component.down": (FOR_OPERATORS, STAFF),
    "component.recovered": (FOR_OPERATORS, STAFF),
    "account.viewed": (FOR_OWNER, NOBODY),
    "operator.notice": (FOR_OPERATORS, STAFF),
    "customer.account.auto_provisioned": (FOR_OPERATORS, STAFF),
    "customer.account.auto_create_blocked_admin_email": (FOR_OPERATORS, STAFF),
    "device.registered": (FOR_BOTH, STAFF),
    "device.token.revoked": (FOR_DEVICE, NOBODY),
    "device.scan.requested": (FOR_DEVICE, DEVICES_OWN),
    "device.scan.cancelled": (FOR_DEVICE, DEVICES_OWN),
    "device.scan.completed": (FOR_OPERATORS, STAFF),
    "device.session.replaced": (FOR_DEVICE, DEVICES_OWN),
    "device.capabilities.changed": (FOR_DEVICE, DEVICES_OWN),
    "device.settings.changed": (FOR_DEVICE, DEVICES_OWN),
    "device.feature-flags.changed": (FOR_DEVICE, DEVICES_OWN),
    "device.logs.appended": (FOR_OPERATORS, frozenset({LOGS})),
    "sign_in.by_card": (FOR_BOTH, STAFF),
    "sign_in.qr_guessing": (FOR_OPERATORS, STAFF),
    "feature-flags.changed": (FOR_ALL, frozenset({OPERATOR, DEVICE, OTHER_DEVICE})),
    "notification.created": (FOR_OWNER, THEIR_OWN),
    "notification.read": (FOR_OWNER, THEIR_OWN),
    "charger.state": (FOR_ALL, frozenset({OPERATOR, *DRIVERS})),
    "tag.seen": (FOR_OPERATORS, STAFF),
    "sync.started": (FOR_OPERATORS, STAFF),
    "sync.progress": (FOR_OPERATORS, STAFF),
    "sync.completed": (FOR_OPERATORS, STAFF),
}
"""Type → whom it is addressed to, and who receives it. The token that is revoked here is another one of the device."""

SAMPLE = "the sample"

WIRE_NAMES = {"scan.requested": "device.scan.requested", "scan.cancelled": "device.scan.cancelled"}


def event_types() -> dict[str, type[DomainEvent]]:
    """Every domain event there is."""
    for module in pkgutil.iter_modules(events.__path__):
        importlib.import_module(f"{events.__name__}.{module.name}")
    ours = (kind for kind in _descendants(DomainEvent) if kind.__module__.startswith(f"{events.__name__}."))
    return {kind.type: kind for kind in ours if "type" in vars(kind)}


def _descendants(kind: type[DomainEvent]) -> Iterator[type[DomainEvent]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


@dataclass(frozen=True)
class Cast:
    """Everybody, and their streams."""

    owner: Person
    phone: Phone
    browsers: dict[str, StreamClient]
    apps: dict[str, App]

    def sample(self, kind: type[DomainEvent], to: str) -> DomainEvent:
        """An event of ``kind`` that concerns the owner and their device."""
        user, operators = self.owner.audience, Audience((OPERATORS,))
        audience = {
            FOR_OPERATORS: operators,
            FOR_OWNER: user,
            FOR_BOTH: Audience.operators_and(self.owner.user.id),
            FOR_DEVICE: self.phone.audience,
            FOR_ALL: Audience((PUBLIC,)),
        }[to]
        about: dict[str, Any] = {"audience": audience}
        if "device_id" in kind.model_fields:
            about["device_id"] = self.phone.id
        if "title" in kind.model_fields:
            about["title"] = SAMPLE
        return ModelFactory.create_factory(kind).build(**about)

    async def heard(self, world: StreamWorld) -> dict[str, set[str]]:
        """What each stream has got, up to a mark that all of them get."""
        await world.emit(
            ChargerStateChanged(charge_box_id="THE-MARK", status="Available", updated_at="x"),
            FeatureFlagsChanged(audience=Audience((PUBLIC,)), keys=["the mark"]),
        )
        heard: dict[str, set[str]] = {}
        for who, stream in self.browsers.items():
            if who == LOGS:
                continue
            got = await stream.until(lambda event: "THE-MARK" in event.text)
            heard[who] = {event.event for event in got[:-1] if not _is_follow_up(event)}
        for who, app in self.apps.items():
            names: set[str] = set()
            while (event := await app.next()).data.get("keys") != ["the mark"]:
                names.add(WIRE_NAMES.get(event.name, event.name))
            heard[who] = names - {"connected"}
        return heard


def _is_follow_up(event: Received) -> bool:
    """The notifier tells of some of these events in notifications of its own."""
    return event.event == "notification.created" and event.data["title"] != SAMPLE


async def _cast(world: StreamWorld, replica: Replica, stack: AsyncExitStack) -> Cast:
    owner, other, operator = await world.person(), await world.person(), await world.person(Role.ADMIN)
    phone, other_phone = await world.phone(owner), await world.phone(other)
    paths = {
        OPERATOR: (operator, "/api/admin/stream"),
        LOGS: (operator, f"/api/admin/devices/{phone.id}/logs-stream"),
        OWNER: (owner, CUSTOMER_STREAM),
        OTHER_DRIVER: (other, CUSTOMER_STREAM),
        VIEWER: (operator, f"{CUSTOMER_STREAM}?as={owner.user.id}"),
    }
    browsers = {
        who: await stack.enter_async_context(StreamClient(replica.port, person.token, path=path))
        for who, (person, path) in paths.items()
    }
    apps = {
        who: await stack.enter_async_context(App(replica.port, each.token))
        for who, each in {DEVICE: phone, OTHER_DEVICE: other_phone}.items()
    }
    return Cast(owner, phone, browsers, apps)


def test_every_event_type_has_been_given_its_receivers() -> None:
    assert RECEIVERS.keys() == event_types().keys()


def test_every_type_that_operators_may_see_can_be_asked_for() -> None:
    shown = frozenset().union(*TOPICS.values()) | LOG_TYPES
    to_operators = {kind for kind, (_, who) in RECEIVERS.items() if who & {OPERATOR, LOGS}}

    assert to_operators == shown & RECEIVERS.keys() - {"notification.created", "notification.read"} - (
        {"device.feature-flags.changed"}
    )
    assert METER in shown & CUSTOMER_TYPES


async def test_each_event_reaches_exactly_those_it_is_for(world: StreamWorld) -> None:
    replica = await world.notifier()
    async with AsyncExitStack() as stack:
        cast = await _cast(world, replica, stack)
        log = cast.browsers[LOGS]
        kinds = event_types()
        received: dict[str, set[str]] = {}
        # One round for each of the types that share a wire name with another, one for all the others.
        apart = ["feature-flags.changed", "device.feature-flags.changed", "device.token.revoked"]
        last = "device.session.replaced"
        for batch in [[kind for kind in kinds if kind not in (*apart, last)], *([kind] for kind in apart)]:
            await world.emit(*(cast.sample(kinds[kind], RECEIVERS[kind][0]) for kind in batch))
            heard = await cast.heard(world)
            for kind in batch:
                on_wire = {kind, "device.feature-flags.changed"} if kind == "feature-flags.changed" else {kind}
                received[kind] = {who for who, names in heard.items() if names & on_wire}
            if "device.logs.appended" in batch:
                assert (await log.next()).event == "device.logs.appended"
                received["device.logs.appended"].add(LOGS)

        await world.emit(cast.sample(kinds[last], FOR_DEVICE))
        assert await cast.apps.pop(DEVICE).names_until_end() == [last]
        received[last] = {who for who, names in (await cast.heard(world)).items() if last in names} | {DEVICE}

    assert received == {kind: set(who) for kind, (_, who) in RECEIVERS.items()}


async def test_what_cars_draw_is_shown_to_their_driver_and_to_operators(world: StreamWorld) -> None:
    replica = await world.notifier()
    await listens(world)
    async with AsyncExitStack() as stack:
        cast = await _cast(world, replica, stack)
        async with world.redis() as redis:
            await publish(redis, [measured(cast.owner.user.id, 7, ended_at=datetime(2025, 3, 1, 13, tzinfo=UTC))])
        event = (await cast.browsers[OWNER].until(lambda event: event.event == METER))[-1]
        heard = await cast.heard(world)

    assert event.data["endedAt"] == "2025-03-01T13:00:00.000Z"
    assert {who for who, names in heard.items() if METER in names} == {OPERATOR, VIEWER}


async def test_an_operators_notification_reaches_no_driver_and_one_operators_own_no_other(world: StreamWorld) -> None:
    replica = await world.notifier()
    operator, colleague, driver = await world.person(Role.ADMIN), await world.person(Role.ADMIN), await world.person()
    created = event_types()["notification.created"]

    def notification(audience: Audience, title: str) -> DomainEvent:
        return ModelFactory.create_factory(created).build(audience=audience, title=title)

    path = "/api/admin/notifications/stream"
    async with (
        StreamClient(replica.port, operator.token, path=path) as mine,
        StreamClient(replica.port, colleague.token, path=path) as theirs,
        StreamClient(replica.port, driver.token) as drivers,
    ):
        await world.emit(
            notification(Audience((OPERATORS,)), "to all operators"),
            notification(operator.audience, "to one"),
            notification(driver.audience, "to the driver"),
            notification(colleague.audience, "to the other"),
        )
        titles = [(await mine.next()).data["title"] for _ in range(2)]
        assert titles == ["to all operators", "to one"]
        assert [(await theirs.next()).data["title"] for _ in range(2)] == ["to all operators", "to the other"]
        assert (await drivers.next()).data["title"] == "to the driver"


async def test_the_anonymous_and_the_wrong_kind_of_caller_get_no_stream(world: StreamWorld) -> None:
    replica, driver, operator = await world.notifier(), await world.person(), await world.person(Role.ADMIN)
    phone = await world.phone(driver)
    admin = [
        "/api/admin/stream",
        "/api/admin/stream/chargers",
        "/api/admin/stream/invoices?invoiceId=1",
        "/api/admin/notifications/stream",
        f"/api/admin/devices/{phone.id}/logs-stream",
    ]
    nobody: dict[str, str] = {}
    a_driver, an_operator = _cookie(driver), _cookie(operator)
    bearer = {"Authorization": f"Bearer {phone.token}"}
    expected = [
        *((path, ADMIN_HOST, who, 401) for path in admin for who in (nobody, bearer)),
        *((path, ADMIN_HOST, a_driver, 404) for path in admin),
        *((path, HOST, an_operator, 404) for path in admin),
        (CUSTOMER_STREAM, HOST, nobody, 401),
        (CUSTOMER_STREAM, HOST, bearer, 401),
        (CUSTOMER_STREAM, ADMIN_HOST, an_operator, 404),
        ("/api/admin/stream/invoices", ADMIN_HOST, an_operator, 400),
        ("/api/admin/stream?topics=nonsense", ADMIN_HOST, an_operator, 400),
        (f"/api/admin/devices/{uuid4()}/logs-stream", ADMIN_HOST, an_operator, 404),
        ("/api/admin/devices/no-uuid/logs-stream", ADMIN_HOST, an_operator, 404),
        ("/api/admin/stream/", ADMIN_HOST, an_operator, 404),
    ]
    async with httpx.AsyncClient() as http:
        for path, host, who, status in expected:
            url = f"http://127.0.0.1:{replica.port}{path}"
            refused = await http.get(url, headers={"Host": host, **who})
            assert refused.status_code == status, (path, host, status)
            assert refused.headers["content-type"] == "application/json"
            assert {"error", "message", "requestId"} <= refused.json().keys()
    await until(lambda: len(replica.notifier.hub) == 0)


def _cookie(person: Person) -> dict[str, str]:
    return {"Cookie": f"polaris.session={person.token}"}
