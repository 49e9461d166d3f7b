"""``/ocppTags``."""

import re
from collections.abc import Callable
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from polaris_sim.steve.dates import parse_moment
from polaris_sim.steve.edge import Edge, ExactRoute, json_object, json_response
from polaris_sim.steve.errors import NotFound, TagExists, ValidationFailed
from polaris_sim.steve.model import Tag
from polaris_sim.steve.queries import Query, path_id
from polaris_sim.steve.simulator import SteveSimulator
from polaris_sim.steve.state import DuplicateTag

_ID_TAG = re.compile(r"[a-zA-Z0-9.:_#-]{1,20}")
_BOOLEAN = ("ALL", "TRUE", "FALSE")
_USER_FILTER = ("All", "OnlyTagsWithUser", "OnlyTagsWithoutUser")


def tag_routes(simulator: SteveSimulator, edge: Edge) -> list[Route]:
    """The routes on tags that this version has."""
    tags = _TagEndpoints(simulator)
    one = "/ocppTags/{ocppTagPk}"
    routes: list[Route] = [
        ExactRoute("/ocppTags", edge.guarded(tags.list_tags), methods=["GET"]),
        ExactRoute("/ocppTags", edge.guarded(tags.create), methods=["POST"]),
        ExactRoute(one, edge.guarded(tags.read), methods=["GET"]),
        ExactRoute(one, edge.guarded(tags.replace), methods=["PUT"]),
        ExactRoute(one, edge.guarded(tags.delete), methods=["DELETE"]),
    ]
    if simulator.features.expire:
        routes.append(ExactRoute(one + "/expire", edge.guarded(tags.expire), methods=["PATCH"]))
    return routes


class _TagEndpoints:
    def __init__(self, simulator: SteveSimulator) -> None:
        self._simulator, self._state = simulator, simulator.state

    async def list_tags(self, request: Request) -> Response:
        """Every tag that passes all filters."""
        tests = self._filters(Query(request.query_params, self._simulator.features))
        return json_response([self._row(tag) for tag in self._state.tags() if all(test(tag) for test in tests)])

    async def read(self, request: Request) -> Response:
        """One tag."""
        return json_response(self._row(self._find(request)))

    async def create(self, request: Request) -> Response:
        """A new tag; an unknown parent looks like a duplicate."""
        form = _TagForm(await json_object(request), self._simulator.clock.now())
        try:
            tag = self._state.add_tag(form.id_tag, parent_id_tag=form.parent_id_tag)
        except DuplicateTag:
            raise TagExists(form.id_tag) from None
        form.apply(tag)
        return json_response(self._row(tag), 201)

    async def replace(self, request: Request) -> Response:
        """Every field but idTag takes the value of the body, or the default if the body leaves it out."""
        form = _TagForm(await json_object(request), self._simulator.clock.now())
        tag = self._find(request)
        self._state.set_parent(tag, form.parent_id_tag)
        form.apply(tag)
        return json_response(self._row(tag))

    async def delete(self, request: Request) -> Response:
        """Delete the tag and its transactions; answers what it was."""
        tag = self._find(request)
        row = self._row(tag)
        self._state.delete_tag(tag)
        return json_response(row)

    async def expire(self, request: Request) -> Response:
        """The tag expires now."""
        tag = self._find(request)
        tag.expiry_date = self._simulator.clock.now()
        return json_response(self._row(tag))

    def _find(self, request: Request) -> Tag:
        tag = self._state.tag_by_pk(path_id(request.path_params["ocppTagPk"]))
        if tag is None:
            raise NotFound("Could not find this ocppTag")
        return tag

    def _row(self, tag: Tag) -> dict[str, object]:
        parent = self._state.tag(tag.parent_id_tag) if tag.parent_id_tag else None
        return self._simulator.wire.tag(tag, parent)

    def _filters(self, query: Query) -> list[Callable[[Tag], bool]]:
        now = self._simulator.clock.now()
        tests: list[Callable[[Tag], bool]] = []
        if (pk := query.integer("ocppTagPk")) is not None:
            tests.append(lambda tag: tag.ocpp_tag_pk == pk)
        if (id_tag := query.text("idTag")) is not None:
            tests.append(lambda tag: tag.id_tag.casefold() == id_tag.casefold())
        if (parent := query.text("parentIdTag")) is not None:
            tests.append(lambda tag: (tag.parent_id_tag or "").casefold() == parent.casefold())
        if (expired := query.choice("expired", _BOOLEAN, "ALL")) != "ALL":
            tests.append(lambda tag: tag.expired(now) is (expired == "TRUE"))
        if (busy := query.choice("inTransaction", _BOOLEAN, "ALL")) != "ALL":
            tests.append(lambda tag: bool(tag.active_ids) is (busy == "TRUE"))
        if (blocked := query.choice("blocked", _BOOLEAN, "ALL")) != "ALL":
            tests.append(lambda tag: tag.blocked is (blocked == "TRUE"))
        if self._simulator.features.user_pk:
            tests += _user_filters(query)
        return tests


def _user_filters(query: Query) -> list[Callable[[Tag], bool]]:
    tests: list[Callable[[Tag], bool]] = []
    if (user_id := query.integer("userId")) is not None:
        tests.append(lambda tag: tag.user_pk == user_id)
    if (note := query.text("note")) is not None:
        tests.append(lambda tag: note.casefold() in (tag.note or "").casefold())
    if (users := query.choice("userFilter", _USER_FILTER, "All")) != "All":
        tests.append(lambda tag: (tag.user_pk is not None) is (users == "OnlyTagsWithUser"))
    return tests


class _TagForm:
    """``OcppTagForm`` after validation."""

    def __init__(self, body: dict[str, object], now: datetime) -> None:
        self.id_tag = _text(body, "idTag") or ""
        self.parent_id_tag = _text(body, "parentIdTag")
        self.note = _text(body, "note")
        self.max_active_transaction_count = _limit(body)
        self.expiry_date = _date(body, "expiryDate")
        if not _ID_TAG.fullmatch(self.id_tag) or (self.expiry_date is not None and self.expiry_date <= now):
            raise ValidationFailed

    def apply(self, tag: Tag) -> None:
        """Put the fields into the tag."""
        tag.max_active_transaction_count = self.max_active_transaction_count
        tag.expiry_date, tag.note = self.expiry_date, self.note


def _text(body: dict[str, object], name: str) -> str | None:
    value = body.get(name)
    return str(value).strip() or None if value is not None else None


def _date(body: dict[str, object], name: str) -> datetime | None:
    text = _text(body, name)
    try:
        return parse_moment(text) if text else None
    except ValueError:
        raise ValidationFailed from None


def _limit(body: dict[str, object]) -> int:
    limit = body.get("maxActiveTransactionCount", 1)
    if limit is None:
        return 1
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise ValidationFailed
    return limit
