"""Refusing drivers what their cards do not allow."""

from sqlalchemy import exists, select

from polaris_common.db import Database, UnitOfWork
from polaris_common.domain.driver_capabilities import DriverCapability, capabilities_of
from polaris_common.http.errors import Forbidden
from polaris_common.identity.audit import Audit, AuditEvent, Origin
from polaris_common.identity.principals import Driver
from polaris_common.models import TagMapping


class AccountInactive(Forbidden):
    """None of the driver's cards is active (contract §3.2)."""

    code, message = "Account inactive", "None of your cards is active, so this is not possible."

    def __init__(self, capability: DriverCapability | None = None) -> None:
        super().__init__(fields={} if capability is None else {"capability": capability.value})


async def capabilities(uow: UnitOfWork, driver: Driver) -> frozenset[DriverCapability]:
    """What ``driver`` may do now."""
    active = exists().where(TagMapping.user_id == driver.user_id, TagMapping.is_active)
    return capabilities_of(has_active_card=bool((await uow.execute(select(active))).scalar_one()))


async def require(
    database: Database, audit: Audit, driver: Driver, capability: DriverCapability, origin: Origin
) -> None:
    """Pass when ``driver`` has ``capability``.

    Raises:
        AccountInactive: they have not; it is audited.
    """
    async with database.unit_of_work() as uow:
        if capability in await capabilities(uow, driver):
            return
        user_id = driver.impersonated_by or driver.user_id
        await audit.record(uow, AuditEvent.CAPABILITY_DENIED, origin, user_id=user_id, capability=capability.value)
    raise AccountInactive(capability)
