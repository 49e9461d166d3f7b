"""What operators do with drivers' printed cards."""

from datetime import timedelta
from uuid import UUID

from gateway.app_sign_in.repository import QrCardRepository, expiry_of
from gateway.app_sign_in.schemas import QrCardRead
from gateway.settings import GatewaySettings
from polaris_common.db import UnitOfWork
from polaris_common.http.errors import NotFound
from polaris_common.identity.audit import Audit, AuditEvent, Origin
from polaris_common.identity.principals import Operator


class QrCards:
    """The card of one driver, handled by one operator."""

    def __init__(
        self, uow: UnitOfWork, settings: GatewaySettings, audit: Audit, origin: Origin, operator: Operator
    ) -> None:
        self._cards, self._uow = QrCardRepository(uow), uow
        self._settings, self._audit, self._origin, self._operator = settings, audit, origin, operator

    async def read(self, user_id: UUID) -> QrCardRead:
        """The driver's card.

        Raises:
            NotFound: nobody with this id is a driver.
        """
        found = await self._cards.of_driver(user_id)
        if found is None:
            raise NotFound
        card, now = found.QrCard, found.now
        expires_at = expiry_of(card.issued_at, timedelta(days=self._settings.qr_card_days))
        return QrCardRead(
            printed_id=card.printed_id,
            link=f"{self._settings.customer_base_url}/u/{card.printed_id}",
            issued_at=card.issued_at,
            expires_at=expires_at,
            enabled=card.disabled_at is None,
            expired=expires_at <= now,
            last_used_at=card.last_used_at,
        )

    async def rotate(self, user_id: UUID) -> QrCardRead:
        """Give the card a new number and a new term; whoever has the old number has nothing.

        Raises:
            NotFound: nobody with this id is a driver.
        """
        await self.read(user_id)
        await self._cards.issue(user_id)
        return await self._changed(user_id, "qr-rotate")

    async def switch(self, user_id: UUID, *, enabled: bool) -> QrCardRead:
        """Switch the card on or off.

        Raises:
            NotFound: nobody with this id is a driver.
        """
        await self.read(user_id)
        await self._cards.switch(user_id, enabled=enabled)
        return await self._changed(user_id, "qr-enable" if enabled else "qr-disable")

    async def _changed(self, user_id: UUID, action: str) -> QrCardRead:
        await self._audit.record(
            self._uow,
            AuditEvent.CUSTOMER_ACTION,
            self._origin,
            user_id=self._operator.user_id,
            action=action,
            customerUserId=str(user_id),
        )
        return await self.read(user_id)
