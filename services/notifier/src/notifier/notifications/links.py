"""Where a notification leads: a path on its reader's own host, or a page of Lago's dashboard (domain.md §5.1)."""

from urllib.parse import quote

from polaris_common.models import Role
from polaris_common.notifications.topics import SourceType

_OPERATORS = {
    SourceType.INVOICE: "/invoices/{}",
    # There is no page for one event; the list opens it (contract-admin §20.13).
    SourceType.WEBHOOK_EVENT: "/admin/webhook-events?open={}",
    SourceType.SUBSCRIPTION: "/tags?linked=1",
    SourceType.MAPPING: "/tags?linked=1",
    SourceType.CHARGER: "/chargers/{}",
    SourceType.RESERVATION: "/reservations/{}",
    SourceType.SESSION: "/transactions/{}",
}
"""A session is named by SteVe's transaction id there."""

_DRIVERS = {
    SourceType.INVOICE: "/billing/invoices/{}",
    SourceType.MAPPING: "/cards/{}",
    SourceType.CHARGER: "/chargers/{}",
    SourceType.RESERVATION: "/reservations/{}",
    SourceType.SESSION: "/sessions/{}",
}
"""A session is named by our id there."""

_LAGO = {SourceType.ALERT: "/alerts/{}", SourceType.WALLET_TRANSACTION: "/wallet-transactions/{}"}


def link(reader: Role, source_type: SourceType | None, source_id: str | None, *, dashboard: str | None) -> str | None:
    """The address, or None where there is no page. ``dashboard``: Lago's; drivers are never sent there."""
    if source_type is None or not source_id:
        return None
    name = quote(source_id, safe="")
    if reader is Role.CUSTOMER:
        path = _DRIVERS.get(source_type)
        return None if path is None else path.format(name)
    if source_type in _LAGO:
        return None if dashboard is None else dashboard + _LAGO[source_type].format(name)
    path = _OPERATORS.get(source_type)
    return None if path is None else path.format(name)
