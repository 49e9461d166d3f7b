"""Customers: upsert by external id."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from polaris_sim.lago import views
from polaris_sim.lago.errors import INVALID_VALUE, MANDATORY, ErrorDetails, Invalid
from polaris_sim.lago.models import Customer
from polaris_sim.lago.organization import Organization
from polaris_sim.lago.wire import JsonObject, new_id, objects, text

MAX_METADATA = 5


class Customers:
    """The customers of the organization."""

    def __init__(self, organization: Organization) -> None:
        self._org = organization
        self._created = 0

    def upsert(self, body: JsonObject) -> Customer:
        """Create the customer or change the fields that are given.

        Raises:
            Invalid: no external id, an unknown time zone, a changed currency, too much metadata.
        """
        external_id = text(body, "external_id")
        existing = self._org.customers.get(external_id or "")
        errors = self._check(body, existing)
        if errors or external_id is None:
            raise Invalid(errors)
        if existing is None:
            created = self.create(external_id, body)
            self._emit("created", created)
            return created
        existing.fields = {**existing.fields, **_completed(body)}
        existing.zone = self._zone(existing.fields)
        existing.updated_at = self._org.now()
        self._emit("updated", existing)
        return existing

    def create(self, external_id: str, body: JsonObject) -> Customer:
        """Create a customer without checks and without webhook, as ``POST /subscriptions`` does."""
        self._created += 1
        now = self._org.now()
        customer = Customer(external_id, self._created, _completed(body), self._zone(body), now, now)
        self._org.customers[external_id] = customer
        return customer

    def _check(self, body: JsonObject, existing: Customer | None) -> ErrorDetails:
        errors: ErrorDetails = {}
        if text(body, "external_id") is None:
            errors["external_id"] = [MANDATORY]
        zone, currency = text(body, "timezone"), text(body, "currency")
        if zone is not None and not _is_zone(zone):
            errors["timezone"] = [INVALID_VALUE]
        if currency is not None and not (len(currency) == 3 and currency.isupper()):
            errors["currency"] = [INVALID_VALUE]
        if existing and currency and existing.currency not in (None, currency) and self._is_billed(existing):
            errors["currency"] = ["currencies_does_not_match"]
        if len(objects(body, "metadata")) > MAX_METADATA:
            errors["metadata"] = ["invalid_count"]
        return errors

    def _is_billed(self, customer: Customer) -> bool:
        return customer.invoice_count > 0 or any(True for _ in self._org.subscriptions_of(customer))

    def _zone(self, fields: JsonObject) -> ZoneInfo:
        return ZoneInfo(text(fields, "timezone") or self._org.config.timezone)

    def _emit(self, what: str, customer: Customer) -> None:
        self._org.webhooks.emit(f"customer.{what}", "customer", lambda: views.customer(customer))


def _completed(body: JsonObject) -> JsonObject:
    if "metadata" not in body:
        return dict(body)
    metadata = [
        {"display_in_invoice": False, **item, "lago_id": item.get("id") or new_id()}
        for item in objects(body, "metadata")
    ]
    return {**body, "metadata": metadata}


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
