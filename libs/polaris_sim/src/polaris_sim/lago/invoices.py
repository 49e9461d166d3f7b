"""Invoices: billing a period, grace, finalising, voiding and what goes with them."""

from polaris_sim.lago import money_views
from polaris_sim.lago.errors import INVALID_VALUE, Forbidden, Invalid, NotAllowed, NotFound
from polaris_sim.lago.models import Customer, Fee, Invoice, InvoiceStatus, PaymentStatus, Subscription
from polaris_sim.lago.organization import Organization
from polaris_sim.lago.periods import Period, billing_run_after, local_date
from polaris_sim.lago.usage import charge_fees, subscription_fee
from polaris_sim.lago.wire import DAY, JsonObject, integer, iso, mapping, new_id, objects, text

_STARTING, _PERIODIC = "subscription_starting", "subscription_periodic"


class Invoices:
    """The invoices of the organization."""

    def __init__(self, organization: Organization) -> None:
        self._org = organization

    def bill(self, subscription: Subscription, period: Period, reason: str, time: int) -> Invoice:
        """Invoice ``period``; with a grace period (premium) the invoice is a draft first."""
        customer = subscription.customer
        grace = self._grace_days(customer)
        customer.invoice_count += 1
        invoice = Invoice(
            customer=customer,
            subscription=subscription,
            period=period,
            reason=reason,
            number=f"LAG-0001-{customer.sequential_id:03d}-{customer.invoice_count:03d}",
            currency=subscription.plan.currency,
            issuing_date=local_date(time + grace * DAY, customer.zone).isoformat(),
            status=InvoiceStatus.DRAFT if grace else InvoiceStatus.FINALIZED,
            created_at=time,
            updated_at=time,
            sequential_id=customer.invoice_count,
        )
        invoice.fees = self._fees(invoice, time)
        self._settle_nothing(invoice)
        self._org.invoices[invoice.lago_id] = invoice
        self._emit("drafted" if grace else "created", invoice)
        if grace:
            due = billing_run_after(time + grace * DAY)
            self._org.agenda.at(due, lambda when: self._end_of_grace(invoice, when))
        return invoice

    def get(self, lago_id: str, *statuses: InvoiceStatus) -> Invoice:
        """Find an invoice in one of ``statuses`` (none given: any).

        Raises:
            NotFound: there is none, or it is in another state.
        """
        invoice = self._org.invoices.get(lago_id)
        if invoice is None or (statuses and invoice.status not in statuses):
            raise NotFound("invoice")
        return invoice

    def refresh(self, lago_id: str) -> Invoice:
        """Compute a draft again; its fees get new ids. Any other invoice stays as it is."""
        invoice = self.get(lago_id)
        if invoice.status is InvoiceStatus.DRAFT:
            self._recompute(invoice, self._org.now())
        return invoice

    def finalize(self, lago_id: str) -> Invoice:
        """Finalise a draft; anything else is "not found"."""
        invoice = self.get(lago_id, InvoiceStatus.DRAFT)
        self._finalize(invoice, self._org.now())
        return invoice

    def void(self, lago_id: str, body: JsonObject) -> Invoice:
        """Void a finalised invoice."""
        invoice = self.get(lago_id)
        if invoice.status is not InvoiceStatus.FINALIZED:
            raise NotAllowed("not_voidable")
        if body.get("generate_credit_note") and not self._org.config.premium:
            raise Forbidden
        invoice.status, invoice.updated_at = InvoiceStatus.VOIDED, self._org.now()
        self._emit("voided", invoice)
        return invoice

    def update(self, lago_id: str, body: JsonObject) -> Invoice:
        """Set the payment status or the metadata."""
        invoice = self.get(lago_id)
        if invoice.status is InvoiceStatus.VOIDED:
            raise NotAllowed("update_on_voided_invoice")
        status = text(body, "payment_status")
        if status is not None and status not in list(PaymentStatus):
            raise Invalid({"payment_status": [INVALID_VALUE]})
        metadata = objects(body, "metadata")
        if len(metadata) > 5:
            raise Invalid({"metadata": ["invalid_count"]})
        invoice.updated_at = self._org.now()
        if metadata:
            stamp = {"created_at": iso(invoice.updated_at)}
            invoice.metadata = [{**item, **stamp, "lago_id": item.get("id") or new_id()} for item in metadata]
        if status is not None and status != invoice.payment_status:
            invoice.payment_status = PaymentStatus(status)
            self._emit("payment_status_updated", invoice)
        return invoice

    def retry_payment(self, lago_id: str) -> None:
        """Without a payment provider the attempt fails, which only a webhook tells."""
        invoice = self.get(lago_id)
        if invoice.status is not InvoiceStatus.FINALIZED or invoice.payment_status is PaymentStatus.SUCCEEDED:
            raise NotAllowed("invalid_status")
        self._org.webhooks.emit(
            "invoice.payment_failure",
            "payment_provider_invoice_payment_error",
            lambda: money_views.payment_failure(invoice),
        )

    def download(self, lago_id: str) -> Invoice | None:
        """The invoice when its PDF exists; otherwise None, and the PDF is being made."""
        invoice = self.get(lago_id, InvoiceStatus.FINALIZED)
        if invoice.file_ready:
            return invoice
        invoice.file_ready = True
        self._emit("generated", invoice)
        return None

    def _grace_days(self, customer: Customer) -> int:
        if not self._org.config.premium:
            return 0
        own = mapping(customer.fields, "billing_configuration")
        return integer(own, "invoice_grace_period", self._org.config.invoice_grace_period)

    def _fees(self, invoice: Invoice, time: int) -> list[Fee]:
        subscription, period = invoice.subscription, invoice.period
        fees: list[Fee] = []
        if invoice.reason != _STARTING:
            fees = [fee for fee in charge_fees(self._org.events, subscription, period, time) if fee.events_count]
        fee_period: Period | None = period
        if subscription.plan.pay_in_advance and invoice.reason != _STARTING:
            fee_period = subscription.period(period.end) if invoice.reason == _PERIODIC else None
        fixed = subscription_fee(subscription, fee_period, time) if fee_period else None
        return [*([fixed] if fixed else []), *fees]

    def _recompute(self, invoice: Invoice, time: int) -> None:
        invoice.fees = self._fees(invoice, invoice.created_at)
        invoice.updated_at = time

    def _end_of_grace(self, invoice: Invoice, time: int) -> None:
        if invoice.status is InvoiceStatus.DRAFT:
            self._finalize(invoice, time)

    def _finalize(self, invoice: Invoice, time: int) -> None:
        self._recompute(invoice, time)
        invoice.status = InvoiceStatus.FINALIZED
        invoice.issuing_date = local_date(time, invoice.customer.zone).isoformat()
        self._settle_nothing(invoice)
        self._emit("created", invoice)

    def _settle_nothing(self, invoice: Invoice) -> None:
        """An invoice over nothing needs no payment."""
        if invoice.status is InvoiceStatus.FINALIZED and not invoice.fees_amount_cents:
            invoice.payment_status = PaymentStatus.SUCCEEDED

    def _emit(self, what: str, invoice: Invoice) -> None:
        self._org.webhooks.emit(
            f"invoice.{what}",
            "invoice",
            lambda: money_views.invoice(invoice, self._org.config.base_url, self._org.now(), extended=True),
        )
