"""The one organization that a simulated Lago serves: everything it stores."""

from collections.abc import Iterable

from polaris_sim.lago.agenda import Agenda
from polaris_sim.lago.config import LagoConfig
from polaris_sim.lago.errors import NotFound
from polaris_sim.lago.event_log import EventLog
from polaris_sim.lago.models import Customer, Invoice, Metric, Plan, Subscription, SubscriptionStatus, Wallet
from polaris_sim.lago.webhooks import Webhooks
from polaris_sim.lago.wire import JsonObject, micros, new_id


class Organization:
    """State only; the rules live in the modules that take an organization."""

    def __init__(self, config: LagoConfig) -> None:
        self.config = config
        self.lago_id = new_id()
        self.agenda = Agenda()
        self.events = EventLog(config)
        self.webhooks = Webhooks(config, self.lago_id)
        self.metrics: dict[str, Metric] = {}
        self.plans: dict[str, Plan] = {}
        self.customers: dict[str, Customer] = {}
        self.subscriptions: dict[str, list[Subscription]] = {}
        self.invoices: dict[str, Invoice] = {}
        self.wallets: dict[str, Wallet] = {}
        self.usage_cache: dict[str, JsonObject] = {}
        self.count_cache: dict[str, int] = {}
        self.created_at = self.now()

    def now(self) -> int:
        """The simulated time in microseconds."""
        return micros(self.config.clock.now())

    def customer(self, external_id: str | None) -> Customer:
        """Find a customer.

        Raises:
            NotFound: there is none.
        """
        found = self.customers.get(external_id or "")
        if found is None:
            raise NotFound("customer")
        return found

    def plan(self, code: str | None) -> Plan:
        """Find a plan.

        Raises:
            NotFound: there is none.
        """
        found = self.plans.get(code or "")
        if found is None:
            raise NotFound("plan")
        return found

    def metric(self, code: str | None) -> Metric:
        """Find a billable metric.

        Raises:
            NotFound: there is none.
        """
        found = self.metrics.get(code or "")
        if found is None:
            raise NotFound("billable_metric")
        return found

    def subscription(self, external_id: str, *statuses: SubscriptionStatus) -> Subscription:
        """Find the newest subscription with that external id in one of ``statuses``.

        Raises:
            NotFound: there is none.
        """
        for subscription in reversed(self.subscriptions.get(external_id, ())):
            if subscription.status in statuses:
                return subscription
        raise NotFound("subscription")

    def all_subscriptions(self) -> Iterable[Subscription]:
        """Every subscription there ever was, oldest external id first."""
        for chain in self.subscriptions.values():
            yield from chain

    def subscriptions_of(self, customer: Customer) -> Iterable[Subscription]:
        """The subscriptions of one customer."""
        return (subscription for subscription in self.all_subscriptions() if subscription.customer is customer)
