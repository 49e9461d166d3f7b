"""Routes of customers, subscriptions, plans, metrics, wallets, webhook endpoints and the organization."""

from polaris_sim.lago import views
from polaris_sim.lago.errors import NotFound
from polaris_sim.lago.listing import Call, listed
from polaris_sim.lago.models import Customer, Subscription, SubscriptionStatus
from polaris_sim.lago.wire import JsonObject

_STATUSES = list(SubscriptionStatus)


def upsert_customer(call: Call) -> JsonObject:
    """``POST /customers``"""
    return {"customer": views.customer(call.simulator.customers.upsert(call.root("customer")))}


def list_customers(call: Call) -> JsonObject:
    """``GET /customers``"""
    customers = [one for one in call.simulator.organization.customers.values() if _wanted_customer(call, one)]
    return listed(call, "customers", customers, views.customer)


def _wanted_customer(call: Call, customer: Customer) -> bool:
    external_id, term = call.one("external_id"), (call.one("search_term") or "").lower()
    currencies, countries = call.many("currencies"), call.many("countries")
    fields = customer.fields
    searched = " ".join(str(fields.get(name) or "") for name in ("name", "firstname", "lastname", "email"))
    return (
        external_id in (None, customer.external_id)
        and term in f"{searched} {customer.external_id}".lower()
        and (not currencies or customer.currency in currencies)
        and (not countries or fields.get("country") in countries)
    )


def get_customer(call: Call) -> JsonObject:
    """``GET /customers/{external_id}``"""
    return {"customer": views.customer(call.simulator.organization.customer(call.params["external_id"]))}


def delete_customer(call: Call) -> JsonObject:
    """``DELETE /customers/{external_id}``"""
    return {"customer": views.customer(call.simulator.subscriptions.delete_customer(call.params["external_id"]))}


def portal_url(call: Call) -> JsonObject:
    """``GET /customers/{external_id}/portal_url``"""
    customer = call.simulator.organization.customer(call.params["external_id"])
    return {"customer": {"portal_url": f"{call.simulator.config.base_url}/customer-portal/{customer.lago_id}"}}


def current_usage(call: Call) -> JsonObject:
    """``GET /customers/{external_id}/current_usage``"""
    usage = call.simulator.current_usage(
        call.params["external_id"],
        call.one("external_subscription_id"),
        metric_code=call.one("billable_metric_code"),
    )
    return {"customer_usage": usage}


def past_usage(call: Call) -> JsonObject:
    """``GET /customers/{external_id}/past_usage``"""
    periods = call.simulator.past_usage(call.params["external_id"], call.one("external_subscription_id"))
    count = call.one("periods_count")
    return listed(call, "usage_periods", periods[: int(count)] if count else periods, lambda period: period)


def create_subscription(call: Call) -> JsonObject:
    """``POST /subscriptions``"""
    return _subscription(call, call.simulator.subscriptions.create(call.root("subscription")))


def list_subscriptions(call: Call) -> JsonObject:
    """``GET /subscriptions``; only active ones unless asked otherwise."""
    statuses = call.choices(_STATUSES, "status") or [SubscriptionStatus.ACTIVE]
    customer, plan, external_id = call.one("external_customer_id"), call.one("plan_code"), call.one("external_id")
    found = [
        one
        for one in call.simulator.organization.all_subscriptions()
        if one.status in statuses
        and customer in (None, one.customer.external_id)
        and plan in (None, one.plan.code)
        and external_id in (None, one.external_id)
    ]
    now = call.simulator.organization.now()
    return listed(call, "subscriptions", found, lambda one: views.subscription(one, now))


def get_subscription(call: Call) -> JsonObject:
    """``GET /subscriptions/{external_id}``; an active one unless ``status`` says otherwise."""
    return _subscription(call, _find_subscription(call), with_plan=True)


def update_subscription(call: Call) -> JsonObject:
    """``PUT /subscriptions/{external_id}``"""
    return _subscription(call, call.simulator.subscriptions.update(_find_subscription(call), call.root("subscription")))


def terminate_subscription(call: Call) -> JsonObject:
    """``DELETE /subscriptions/{external_id}``"""
    invoice = call.one("on_termination_invoice")
    return _subscription(call, call.simulator.subscriptions.terminate(_find_subscription(call), invoice=invoice))


def _find_subscription(call: Call) -> Subscription:
    status = SubscriptionStatus((call.choices(_STATUSES, "status") or [SubscriptionStatus.ACTIVE])[0])
    return call.simulator.organization.subscription(call.params["external_id"], status)


def _subscription(call: Call, subscription: Subscription, *, with_plan: bool = False) -> JsonObject:
    shown = views.subscription(subscription, call.simulator.organization.now())
    if with_plan:
        shown["plan"] = views.plan(subscription.plan)
    return {"subscription": shown}


def create_plan(call: Call) -> JsonObject:
    """``POST /plans``"""
    return {"plan": views.plan(call.simulator.catalog.create_plan(call.root("plan")))}


def list_plans(call: Call) -> JsonObject:
    """``GET /plans``"""
    return listed(call, "plans", list(call.simulator.organization.plans.values()), views.plan)


def get_plan(call: Call) -> JsonObject:
    """``GET /plans/{code}``"""
    return {"plan": views.plan(call.simulator.organization.plan(call.params["code"]))}


def update_plan(call: Call) -> JsonObject:
    """``PUT /plans/{code}``"""
    return {"plan": views.plan(call.simulator.catalog.update_plan(call.params["code"], call.root("plan")))}


def delete_plan(call: Call) -> JsonObject:
    """``DELETE /plans/{code}``"""
    return {"plan": views.plan(call.simulator.catalog.delete_plan(call.params["code"]))}


def create_metric(call: Call) -> JsonObject:
    """``POST /billable_metrics``"""
    return {"billable_metric": views.metric(call.simulator.catalog.create_metric(call.root("billable_metric")))}


def list_metrics(call: Call) -> JsonObject:
    """``GET /billable_metrics``"""
    return listed(call, "billable_metrics", list(call.simulator.organization.metrics.values()), views.metric)


def get_metric(call: Call) -> JsonObject:
    """``GET /billable_metrics/{code}``"""
    return {"billable_metric": views.metric(call.simulator.organization.metric(call.params["code"]))}


def update_metric(call: Call) -> JsonObject:
    """``PUT /billable_metrics/{code}``"""
    metric = call.simulator.catalog.update_metric(call.params["code"], call.root("billable_metric"))
    return {"billable_metric": views.metric(metric)}


def delete_metric(call: Call) -> JsonObject:
    """``DELETE /billable_metrics/{code}``"""
    return {"billable_metric": views.metric(call.simulator.catalog.delete_metric(call.params["code"]))}


def create_wallet(call: Call) -> JsonObject:
    """``POST /wallets``"""
    return {"wallet": views.wallet(call.simulator.create_wallet(call.root("wallet")))}


def list_wallets(call: Call) -> JsonObject:
    """``GET /wallets``"""
    customer = call.one("external_customer_id")
    wallets = call.simulator.organization.wallets.values()
    return listed(
        call, "wallets", [one for one in wallets if customer in (None, one.customer.external_id)], views.wallet
    )


def get_wallet(call: Call) -> JsonObject:
    """``GET /wallets/{lago_id}``"""
    wallet = call.simulator.organization.wallets.get(call.params["lago_id"])
    if wallet is None:
        raise NotFound("wallet")
    return {"wallet": views.wallet(wallet)}


def get_organization(call: Call) -> JsonObject:
    """``GET /organizations``"""
    org = call.simulator.organization
    urls = [endpoint.url for endpoint in org.webhooks.endpoints.values()]
    return {"organization": views.organization(org.lago_id, org.created_at, call.simulator.config, urls)}


def create_webhook_endpoint(call: Call) -> JsonObject:
    """``POST /webhook_endpoints``"""
    org = call.simulator.organization
    endpoint = org.webhooks.register(call.root("webhook_endpoint"), org.now())
    return {"webhook_endpoint": views.webhook_endpoint(endpoint, org.lago_id)}


def list_webhook_endpoints(call: Call) -> JsonObject:
    """``GET /webhook_endpoints``"""
    org = call.simulator.organization
    endpoints = list(org.webhooks.endpoints.values())
    return listed(call, "webhook_endpoints", endpoints, lambda one: views.webhook_endpoint(one, org.lago_id))


def get_webhook_endpoint(call: Call) -> JsonObject:
    """``GET /webhook_endpoints/{lago_id}``"""
    org = call.simulator.organization
    endpoint = org.webhooks.endpoint(call.params["lago_id"])
    return {"webhook_endpoint": views.webhook_endpoint(endpoint, org.lago_id)}


def update_webhook_endpoint(call: Call) -> JsonObject:
    """``PUT /webhook_endpoints/{lago_id}``"""
    org = call.simulator.organization
    endpoint = org.webhooks.endpoint(call.params["lago_id"])
    org.webhooks.register(call.root("webhook_endpoint"), org.now(), endpoint)
    return {"webhook_endpoint": views.webhook_endpoint(endpoint, org.lago_id)}


def delete_webhook_endpoint(call: Call) -> JsonObject:
    """``DELETE /webhook_endpoints/{lago_id}``"""
    org = call.simulator.organization
    endpoint = org.webhooks.endpoint(call.params["lago_id"])
    del org.webhooks.endpoints[endpoint.lago_id]
    return {"webhook_endpoint": views.webhook_endpoint(endpoint, org.lago_id)}
