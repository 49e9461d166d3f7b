"""Notifications and what their readers made of them. Every read starts from who is reading."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, literal, or_, select, text
from sqlalchemy.dialects.postgresql import insert

from polaris_common.db import Repository, UnitOfWork
from polaris_common.db.pages import Page, Paging, on_page, total_of
from polaris_common.identity.principals import Device, Driver, Operator, Principal
from polaris_common.models import Notification, NotificationReceipt
from polaris_common.notifications.preferences import PreferenceRepository
from polaris_common.notifications.topics import Severity, SourceType, Topic

RETENTION_DAYS = 90

_ADD = text("""
INSERT INTO notifications
    (dedupe_key, kind, topic, severity, title, body, user_id, source_type, source_id, source_url, context, created_at)
SELECT dedupe_key, kind, topic, severity, title, body, user_id, source_type, source_id, source_url, context, created_at
FROM ROWS FROM (jsonb_to_recordset(CAST(:rows AS jsonb)) AS (
    dedupe_key text, kind text, topic text, severity text, title text, body text, user_id uuid, source_type text,
    source_id text, source_url text, context jsonb, created_at timestamptz)) WITH ORDINALITY
ORDER BY ordinality
ON CONFLICT (dedupe_key) DO NOTHING
RETURNING *
""")

_DELETE_OLD = text("DELETE FROM notifications WHERE created_at < now() - make_interval(days => :days)")


@dataclass(frozen=True)
class NewNotification:
    """What is to be told, once for each ``dedupe_key``."""

    dedupe_key: str
    kind: str
    topic: Topic
    severity: Severity
    title: str
    body: str
    created_at: datetime
    """When it happened."""
    user_id: UUID | None = None
    """None: all operators."""
    source_type: SourceType | None = None
    source_id: str | None = None
    source_url: str | None = None
    context: dict[str, Any] | None = None


@dataclass(frozen=True)
class Wanted:
    """Which notifications of a list; None: any."""

    severity: Severity | None = None
    kind: str | None = None
    source_type: SourceType | None = None
    unread: bool | None = None


@dataclass(frozen=True)
class Seen:
    """A notification and what its reader made of it."""

    notification: Notification
    receipt: NotificationReceipt | None


class NotificationRepository(Repository[Notification]):
    """Every query on notifications and receipts."""

    model = Notification

    def readable_by(self, principal: Principal) -> Select[Notification]:
        """What is addressed to ``principal``, newest first; for operators also what goes to all of them."""
        return select(Notification).where(_addressed_to(principal)).order_by(Notification.id.desc())

    async def archive(self, principal: Principal, wanted: Wanted, paging: Paging) -> Page[Seen]:
        """One page of everything, what was read or dismissed included."""
        query = _matching(self._with_receipts(principal), wanted)
        found = await self._seen(on_page(query, Notification, paging))
        return Page(found, await total_of(self.uow, query), paging)

    async def unread(self, principal: Principal, *, limit: int) -> list[Seen]:
        """The newest that are neither read nor dismissed, without the topics that the reader has switched off."""
        return await self._seen((await self._unread(principal)).limit(limit))

    async def count_unread(self, principal: Principal) -> int:
        """How many those are."""
        return await total_of(self.uow, _ids(await self._unread(principal)))

    async def get(self, principal: Principal, notification_id: int) -> Seen | None:
        """One notification, or None when it does not exist for ``principal``."""
        found = await self._seen(self._with_receipts(principal).where(Notification.id == notification_id))
        return next(iter(found), None)

    async def mark_read(self, principal: Principal, notification_id: int) -> bool:
        """Note that the reader has read one; False if they had, or may not see it."""
        query = _ids(self.readable_by(principal)).where(Notification.id == notification_id)
        return await self._note(principal, query, "read_at") == 1

    async def dismiss(self, principal: Principal, notification_id: int) -> bool:
        """Note that the reader wants to see one no more; False if they had said so, or may not see it."""
        query = _ids(self.readable_by(principal)).where(Notification.id == notification_id)
        return await self._note(principal, query, "dismissed_at") == 1

    async def mark_all_read(self, principal: Principal) -> int:
        """Note that the reader has read whatever they had not read or dismissed; how many that were."""
        query = _matching(self._with_receipts(principal), Wanted(unread=True))
        return await self._note(principal, _ids(query), "read_at")

    async def add(self, new: Sequence[NewNotification]) -> Sequence[Notification]:
        """Tell them, in order; what comes back is what had not been told before. One round trip however many."""
        if not new:
            return ()
        rows = json.dumps([vars(each) for each in new], default=str)
        return (await self.uow.session.scalars(select(Notification).from_statement(_ADD), {"rows": rows})).all()

    async def told_shortly_before(self, told: Notification, *, within: timedelta) -> bool:
        """Whether another one of the same kind happened shortly before."""
        query = select(Notification.id).where(
            Notification.kind == told.kind,
            Notification.id < told.id,
            Notification.created_at > told.created_at - within,
        )
        return (await self.uow.execute(query.limit(1))).first() is not None

    def _with_receipts(self, principal: Principal) -> Select[Any]:
        mine = and_(
            NotificationReceipt.notification_id == Notification.id, NotificationReceipt.user_id == _reader(principal)
        )
        return self.readable_by(principal).outerjoin(NotificationReceipt, mine).add_columns(NotificationReceipt)

    async def _unread(self, principal: Principal) -> Select[Any]:
        query = _matching(self._with_receipts(principal), Wanted(unread=True))
        silenced = await PreferenceRepository(self.uow).silenced(_reader(principal))
        return query.where(Notification.topic.not_in(silenced)) if silenced else query

    async def _seen(self, query: Select[Any]) -> list[Seen]:
        rows = (await self.uow.execute(query)).all()
        return [Seen(row.Notification, row.NotificationReceipt) for row in rows]

    async def _note(self, principal: Principal, ids: Select[Any], column: str) -> int:
        chosen = select(literal(_reader(principal)), ids.subquery().c.id, func.now())
        receipt = insert(NotificationReceipt).from_select(["user_id", "notification_id", column], chosen)
        return await self.uow.write(
            receipt.on_conflict_do_update(
                index_elements=["user_id", "notification_id"],
                set_={column: func.now()},
                where=getattr(NotificationReceipt, column).is_(None),
            )
        )


async def delete_old(uow: UnitOfWork) -> int:
    """Forget what is older than the retention, with its receipts; how many."""
    return await uow.write(_DELETE_OLD, {"days": RETENTION_DAYS})


def _reader(principal: Principal) -> UUID:
    match principal:
        case Operator(user_id=user_id) | Driver(user_id=user_id) | Device(owner_user_id=user_id):
            return user_id


def _addressed_to(principal: Principal) -> ColumnElement[bool]:
    match principal:
        case Operator(user_id=user_id):
            return or_(Notification.user_id.is_(None), Notification.user_id == user_id)
        case Driver(user_id=user_id) | Device(owner_user_id=user_id):
            return Notification.user_id == user_id


def _ids(query: Select[Any]) -> Select[Any]:
    return query.with_only_columns(Notification.id).order_by(None)


def _matching(query: Select[Any], wanted: Wanted) -> Select[Any]:
    if wanted.severity is not None:
        query = query.where(Notification.severity == wanted.severity)
    if wanted.kind is not None:
        query = query.where(Notification.kind == wanted.kind)
    if wanted.source_type is not None:
        query = query.where(Notification.source_type == wanted.source_type)
    if wanted.unread is not None:
        open_ = and_(NotificationReceipt.read_at.is_(None), NotificationReceipt.dismissed_at.is_(None))
        query = query.where(open_ if wanted.unread else ~open_)
    return query
