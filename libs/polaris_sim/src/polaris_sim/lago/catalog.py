"""Billable metrics and plans."""

from enum import StrEnum
from typing import TypeVar

from polaris_sim.lago import views
from polaris_sim.lago.errors import ALREADY_EXISTS, INVALID_VALUE, MANDATORY, ErrorDetails, Forbidden, Invalid, NotFound
from polaris_sim.lago.models import Aggregation, Charge, ChargeFilter, ChargeModel, Metric, Plan
from polaris_sim.lago.organization import Organization
from polaris_sim.lago.periods import Interval
from polaris_sim.lago.wire import JsonObject, flag, integer, mapping, objects, strings, text

_Choice = TypeVar("_Choice", bound=StrEnum)


class Catalog:
    """What can be metered and what it costs."""

    def __init__(self, organization: Organization) -> None:
        self._org = organization

    def create_metric(self, body: JsonObject) -> Metric:
        """Create a billable metric.

        Raises:
            Invalid: a field is missing, unknown or taken.
        """
        errors = _missing(body, "name", "code", "aggregation_type")
        aggregation = _choice(Aggregation, body, "aggregation_type", errors)
        if aggregation not in (None, Aggregation.COUNT) and not text(body, "field_name") and not body.get("expression"):
            errors["field_name"] = [MANDATORY]
        code = text(body, "code") or ""
        if code in self._org.metrics:
            errors["code"] = [ALREADY_EXISTS]
        if errors or aggregation is None:
            raise Invalid(errors)
        metric = Metric(
            code=code,
            name=text(body, "name") or code,
            aggregation=aggregation,
            field_name=text(body, "field_name"),
            filters=_metric_filters(body),
            fields=body,
            created_at=self._org.now(),
        )
        self._org.metrics[code] = metric
        self._emit_metric("created", metric)
        return metric

    def update_metric(self, code: str, body: JsonObject) -> Metric:
        """Change the given fields of a metric."""
        metric = self._org.metric(code)
        metric.name = text(body, "name") or metric.name
        metric.field_name = text(body, "field_name") or metric.field_name
        if "filters" in body:
            metric.filters = _metric_filters(body)
        metric.fields = {**metric.fields, **body}
        self._emit_metric("updated", metric)
        return metric

    def delete_metric(self, code: str) -> Metric:
        """Remove a metric and the charges on it."""
        metric = self._org.metric(code)
        del self._org.metrics[code]
        for plan in self._org.plans.values():
            plan.charges = [charge for charge in plan.charges if charge.metric is not metric]
        self._emit_metric("deleted", metric)
        return metric

    def create_plan(self, body: JsonObject) -> Plan:
        """Create a plan with its charges.

        Raises:
            Invalid: a field is missing, unknown or taken.
            NotFound: a charge names an unknown metric.
            Forbidden: a charge needs a licence.
        """
        errors = _missing(body, "name", "code", "interval")
        interval = _choice(Interval, body, "interval", errors)
        code = text(body, "code") or ""
        if code in self._org.plans:
            errors["code"] = [ALREADY_EXISTS]
        if errors or interval is None:
            raise Invalid(errors)
        plan = Plan(
            code=code,
            name=text(body, "name") or code,
            interval=interval,
            amount_cents=integer(body, "amount_cents"),
            currency=text(body, "amount_currency") or self._org.config.currency,
            pay_in_advance=flag(body, "pay_in_advance"),
            charges=self._charges(body),
            fields=body,
            created_at=self._org.now(),
        )
        self._org.plans[code] = plan
        self._emit_plan("created", plan)
        return plan

    def update_plan(self, code: str, body: JsonObject) -> Plan:
        """Change the given fields of a plan; ``charges`` replaces all charges."""
        plan = self._org.plan(code)
        if "charges" in body:
            plan.charges = self._charges(body)
        plan.name = text(body, "name") or plan.name
        plan.amount_cents = integer(body, "amount_cents", plan.amount_cents)
        plan.fields = {**plan.fields, **body}
        self._emit_plan("updated", plan)
        return plan

    def delete_plan(self, code: str) -> Plan:
        """Take a plan off the catalog; what is subscribed to it goes on."""
        plan = self._org.plan(code)
        del self._org.plans[code]
        self._emit_plan("deleted", plan)
        return plan

    def _charges(self, body: JsonObject) -> list[Charge]:
        return [self._charge(item) for item in objects(body, "charges")]

    def _charge(self, body: JsonObject) -> Charge:
        metric = self._charged_metric(body)
        errors: ErrorDetails = {}
        model = _choice(ChargeModel, body, "charge_model", errors)
        if model is None:
            raise Invalid(errors or {"charge_model": [MANDATORY]})
        if model is ChargeModel.GRADUATED_PERCENTAGE and not self._org.config.premium:
            raise Forbidden
        filters = [
            ChargeFilter(
                values={key: strings(mapping(item, "values"), key) for key in mapping(item, "values")},
                properties=mapping(item, "properties"),
                invoice_display_name=text(item, "invoice_display_name"),
            )
            for item in objects(body, "filters")
        ]
        return Charge(
            metric=metric,
            code=text(body, "code") or metric.code,
            model=model,
            properties={"amount": "0", **mapping(body, "properties")},
            filters=filters,
            fields=body,
            created_at=self._org.now(),
        )

    def _charged_metric(self, body: JsonObject) -> Metric:
        lago_id, code = text(body, "billable_metric_id"), text(body, "billable_metric_code")
        for metric in self._org.metrics.values():
            if lago_id == metric.lago_id or (lago_id is None and code == metric.code):
                return metric
        raise NotFound("billable_metrics")

    def _emit_metric(self, what: str, metric: Metric) -> None:
        self._org.webhooks.emit(f"billable_metric.{what}", "billable_metric", lambda: views.metric(metric))

    def _emit_plan(self, what: str, plan: Plan) -> None:
        self._org.webhooks.emit(f"plan.{what}", "plan", lambda: views.plan(plan))


def _missing(body: JsonObject, *names: str) -> ErrorDetails:
    return {name: [MANDATORY] for name in names if text(body, name) is None}


def _choice(choices: type[_Choice], body: JsonObject, name: str, errors: ErrorDetails) -> _Choice | None:
    value = text(body, name)
    if value is None:
        return None
    try:
        return choices(value)
    except ValueError:
        errors[name] = [INVALID_VALUE]
        return None


def _metric_filters(body: JsonObject) -> dict[str, list[str]]:
    return {text(item, "key") or "": strings(item, "values") for item in objects(body, "filters")}
