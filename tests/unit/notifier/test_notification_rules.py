"""The table of notifications: complete, and nothing in it names what an event does not have."""

import pytest
from jinja2 import Environment, meta

from notifier.notifications import rules
from notifier.notifications.links import link
from notifier.notifications.rule import Rule
from notifier.notifications.rules import DRIVERS, OPERATORS, RULES, rules_for
from polaris_common.events.catalogue import OperatorNotice
from polaris_common.models import Role
from polaris_common.notifications.topics import TOPICS, Channel, SourceType

OF_THE_CONTRACT = {
    "session.complete",
    "reservation.cancelled",
    "card.lost",
    "auto_stop",
    "steve_sync_failed",
    "lago_webhook_dispatch_disabled",
    "lago_webhook_recovered",
    "lago_alert_triggered",
    "lago_invoice_payment_failed",
    "lago_invoice_created",
    "lago_invoice_drafted",
    "lago_invoice_generated",
    "lago_wallet_transaction_payment_failure",
    "lago_subscription_started",
    "lago_subscription_terminated",
    "lago_email_backfilled",
    "lago_email_drift",
}
"""The kinds that the predecessor's clients know."""

OF_OUR_SERVICES = {
    "auto_stop_failed",
    "lago_event_error",
    "ledger_restored",
    "lago_event_errors",
    "lago_event_quarantined",
    "lago_events_delayed",
    "lago_events_recovered",
    "lago_period_closed_unsent",
    "lago_plan_without_charge",
    "mail_given_up",
    "reservation_not_held",
    "steve_ids_used_again",
    "tag_blocks_need_consent",
}
"""What our services tell operators besides."""


def _fields(rule: Rule) -> set[str]:
    return {field.alias or name for name, field in rule.event.model_fields.items()}


def test_every_kind_that_clients_know_can_be_told() -> None:
    assert {rule.kind for rule in RULES} >= OF_THE_CONTRACT | OF_OUR_SERVICES


def test_a_kind_stands_in_the_table_once() -> None:
    kinds = [rule.kind for rule in RULES]
    assert len(kinds) == len(set(kinds))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_a_rule_names_only_what_its_event_has(rule: Rule) -> None:
    texts = Environment()  # noqa: S701 - only parsed
    texts.filters["words"] = str
    named = meta.find_undeclared_variables(texts.parse(rule.title + rule.body))
    named |= {name for name in (rule.source_id, rule.link_id, rule.subject) if name}

    assert named <= _fields(rule)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_a_rule_and_its_topic_speak_to_the_same_people_on_the_same_channels(rule: Rule) -> None:
    topic = TOPICS[rule.topic]

    assert topic.reader is rule.reader
    assert rule in (DRIVERS if rule.reader is Role.CUSTOMER else OPERATORS)
    assert rule.mail is None or Channel.EMAIL in topic.channels


def test_a_notice_without_a_rule_is_shown_as_it_is() -> None:
    (rule,) = rules_for(OperatorNotice.type, {"kind": "something"})
    assert rule is rules._OTHER_NOTICE


@pytest.mark.parametrize(
    ("reader", "source", "expected"),
    [
        (Role.ADMIN, SourceType.INVOICE, "/invoices/x%2Fy"),
        (Role.ADMIN, SourceType.SUBSCRIPTION, "/tags?linked=1"),
        (Role.ADMIN, SourceType.MAPPING, "/tags?linked=1"),
        (Role.ADMIN, SourceType.CHARGER, "/chargers/x%2Fy"),
        (Role.ADMIN, SourceType.RESERVATION, "/reservations/x%2Fy"),
        (Role.ADMIN, SourceType.WEBHOOK_EVENT, "/admin/webhook-events?open=x%2Fy"),
        (Role.ADMIN, SourceType.ALERT, "https://lago.test/alerts/x%2Fy"),
        (Role.ADMIN, SourceType.WALLET_TRANSACTION, "https://lago.test/wallet-transactions/x%2Fy"),
        (Role.ADMIN, SourceType.SYSTEM, None),
        (Role.CUSTOMER, SourceType.ALERT, None),
        (Role.CUSTOMER, SourceType.WEBHOOK_EVENT, None),
        (Role.CUSTOMER, SourceType.SESSION, "/sessions/x%2Fy"),
    ],
)
def test_a_link_opens_a_page_that_its_reader_has(reader: Role, source: SourceType, expected: str | None) -> None:
    assert link(reader, source, "x/y", dashboard="https://lago.test") == expected


def test_without_an_id_or_lagos_address_there_is_no_link() -> None:
    assert link(Role.ADMIN, SourceType.INVOICE, None, dashboard=None) is None
    assert link(Role.ADMIN, SourceType.ALERT, "a", dashboard=None) is None
