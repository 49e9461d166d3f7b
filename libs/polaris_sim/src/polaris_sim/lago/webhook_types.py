"""The names that a webhook endpoint may subscribe to (Lago 1.51)."""

WEBHOOK_TYPES = frozenset(
    """
    alert.triggered billable_metric.created billable_metric.deleted billable_metric.updated credit_note.created
    credit_note.generated credit_note.provider_refund_failure customer.accounting_provider_created
    customer.accounting_provider_error customer.checkout_url_generated customer.created customer.crm_provider_created
    customer.crm_provider_error customer.payment_provider_created customer.payment_provider_error
    customer.tax_provider_error customer.updated customer.vies_check dunning_campaign.finished event.error
    events.errors feature.created feature.deleted feature.updated fee.created fee.tax_provider_error
    integration.provider_error invoice.created invoice.deleted invoice.drafted invoice.generated
    invoice.one_off_created invoice.paid_credit_added invoice.payment_dispute_lost invoice.payment_failure
    invoice.payment_overdue invoice.payment_status_updated invoice.ready_to_finalize invoice.resynced invoice.voided
    order.created order.executed order_form.created order_form.expired order_form.signed order_form.voided
    payment.requires_action payment.succeeded payment_provider.error payment_receipt.created
    payment_receipt.generated payment_request.created payment_request.payment_failure
    payment_request.payment_status_updated plan.created plan.deleted plan.updated quote.approved quote.created
    quote.voided subscription.canceled subscription.incomplete subscription.started subscription.terminated
    subscription.termination_alert subscription.trial_ended subscription.updated subscription.usage_threshold_reached
    wallet.created wallet.depleted_ongoing_balance wallet.terminated wallet.updated wallet_transaction.created
    wallet_transaction.payment_failure wallet_transaction.updated
    """.split()
)
