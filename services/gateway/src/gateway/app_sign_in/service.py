"""Signing a driver in on a phone: by the printed id of a card, or by a mailed link.

The session, the device and its credentials come into being together or not at all; the device's charging tag is noted
there and made by the sync-worker.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from gateway.app_sign_in.repository import (
    QrCardRepository,
    count_failures_in_turn,
    failures_within,
    has_used_device,
)
from gateway.app_sign_in.schemas import AppSignInBody, MagicLinkSignInBody, QrSignInBody
from gateway.auth.magic_link import consume_magic_link
from gateway.devices.enrolment import Enrolled, Enrolment, Flow
from gateway.settings import GatewaySettings, QrSignInMode
from polaris_common.db import Database, UnitOfWork
from polaris_common.email.queue import queue_mail
from polaris_common.email.templates import MagicLink, TokenLink
from polaris_common.events.catalogue import QrSignInSuspicious
from polaris_common.http.errors import ApiError, Forbidden, NotFound, Unauthorized
from polaris_common.identity.audit import AuditEvent
from polaris_common.identity.sessions import Opened, open_in_browser
from polaris_common.models import Role, TokenPurpose, User

FAILURE_BUDGET = 200
FAILURE_SPAN = timedelta(minutes=10)
"""So many wrong ids in so long, from anywhere, and nobody signs in with a printed id: somebody tries them out."""


class InvalidLink(Unauthorized):
    """The mailed link is unknown, used or too old."""

    code, message = "invalid_or_expired_token", "This link has expired or was used. Ask for a new one."


class NotACustomer(Forbidden):
    """Operators do not sign in here."""

    code, message = "not_a_customer", "This is for drivers."


class ConfirmationRequired(Forbidden):
    """The operator wants a second step for new phones; a link to it was mailed."""

    code, message = "confirmation_required", "A new phone: open the link that was just mailed to you on this phone."


class GuessingStopped(ApiError):
    """Too many printed ids were wrong lately."""

    status, code, message = 429, "rate_limited", "Signing in with a card rests for some minutes. Use a mailed link."

    def __init__(self) -> None:
        super().__init__(headers={"retry-after": str(int(FAILURE_SPAN.total_seconds()))})


class Refused(StrEnum):
    """Why a printed id did not work, for the audit alone: callers get one answer for all."""

    OFF = "mode_off"
    UNKNOWN = "unknown_id"
    DISABLED = "card_disabled"
    EXPIRED = "card_expired"


@dataclass(frozen=True)
class SignedInOnPhone:
    """A driver with a session and a registered phone."""

    user: User
    session: Opened
    enrolled: Enrolled


@dataclass(frozen=True)
class AppSignIn:
    """Signs drivers in for requests from one origin."""

    database: Database
    settings: GatewaySettings
    enrolment: Enrolment
    browser: str | None
    """The cookie that names the browser or app, if it has one."""

    async def with_card(self, body: QrSignInBody) -> SignedInOnPhone:
        """Sign in whoever has the card with this number.

        Raises:
            NotFound: there is no such card, or it is not to be used; no caller learns which.
            ConfirmationRequired: the phone is new and new phones need a mailed link.
            GuessingStopped: too many wrong numbers lately, from anywhere.
        """
        async with self.database.unit_of_work() as uow:
            if await failures_within(uow, FAILURE_SPAN) >= FAILURE_BUDGET:
                raise GuessingStopped
            user = await self._holder(uow, body)
            confirmed = user is not None and not await self._wants_mail(uow, user, body)
            signed_in = await self._sign_in(uow, user, body, Flow.QR) if user is not None and confirmed else None
        if user is None:
            raise NotFound
        if signed_in is None:
            raise ConfirmationRequired
        return signed_in

    async def with_link(self, body: MagicLinkSignInBody) -> SignedInOnPhone:
        """Sign in whoever got the mail with this token.

        Raises:
            InvalidLink: unknown, used or too old.
            NotACustomer: it was mailed to an operator; it stays usable where operators sign in.
        """
        async with self.database.unit_of_work() as uow:
            user = await consume_magic_link(uow, body.token)
            if user is None:
                raise InvalidLink
            if user.role != Role.CUSTOMER:
                raise NotACustomer
            audit, origin = self.enrolment.audit, self.enrolment.origin
            await audit.record(uow, AuditEvent.MAGIC_LINK_CONSUMED, origin, user_id=user.id, source="ios_post_verify")
            return await self._sign_in(uow, user, body, Flow.MAGIC_LINK)

    async def _holder(self, uow: UnitOfWork, body: QrSignInBody) -> User | None:
        """Whose card it is, if it may be used; otherwise the failure is noted."""
        lifetime = timedelta(days=self.settings.qr_card_days)
        card = await QrCardRepository(uow).present(body.user_public_id, lifetime=lifetime)
        if self.settings.qr_sign_in_mode is QrSignInMode.OFF:
            reason = Refused.OFF
        elif card is None:
            reason = Refused.UNKNOWN
        elif card.disabled:
            reason = Refused.DISABLED
        elif card.expired:
            reason = Refused.EXPIRED
        else:
            return card.user
        await self._note_failure(uow, reason)
        return None

    async def _note_failure(self, uow: UnitOfWork, reason: Refused) -> None:
        await count_failures_in_turn(uow)
        await self.enrolment.audit.record(uow, AuditEvent.QR_LOGIN_FAILED, self.enrolment.origin, reason=reason)
        if await failures_within(uow, FAILURE_SPAN) == FAILURE_BUDGET:
            minutes = int(FAILURE_SPAN.total_seconds() // 60)
            uow.emit(QrSignInSuspicious(failures=FAILURE_BUDGET, minutes=minutes))

    async def _wants_mail(self, uow: UnitOfWork, user: User, body: QrSignInBody) -> bool:
        """Mail a link instead, when the operator wants that for phones that the driver has not used before."""
        if self.settings.qr_sign_in_mode is not QrSignInMode.CONFIRM or user.email is None:
            return False
        if await has_used_device(uow, user.id, label=body.device_label, model=body.model):
            return False
        lifetime = timedelta(seconds=self.settings.magic_link_ttl_seconds)
        link = TokenLink(f"{self.settings.customer_base_url}/m/", TokenPurpose.MAGIC_LINK, lifetime, Role.CUSTOMER)
        await queue_mail(uow, MagicLink(link), user.email, origin=self.enrolment.origin)
        return True

    async def _sign_in(self, uow: UnitOfWork, user: User, body: AppSignInBody, flow: Flow) -> SignedInOnPhone:
        origin = self.enrolment.origin
        session = await open_in_browser(
            uow,
            user,
            lifetime=self.settings.customer_lifetime,
            browser=self.browser,
            ip_address=origin.ip_address,
            user_agent=origin.user_agent,
        )
        enrolled = await self.enrolment.enrol(uow, user, body.details(body.device_label), flow)
        if flow is Flow.QR:
            await QrCardRepository(uow).used(user.id)
            details = {"deviceId": str(enrolled.device.id)}
            await self.enrolment.audit.record(uow, AuditEvent.QR_LOGIN_SUCCESS, origin, user_id=user.id, **details)
        return SignedInOnPhone(user, session, enrolled)
