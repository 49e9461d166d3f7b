"""``/operations`` and the fork's ``/chargeBoxes``."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from polaris_sim.steve.edge import Edge, ExactRoute, json_object, json_response
from polaris_sim.steve.errors import NotFound
from polaris_sim.steve.operation_forms import OPERATIONS
from polaris_sim.steve.queries import path_id
from polaris_sim.steve.simulator import SteveSimulator


def operation_routes(simulator: SteveSimulator, edge: Edge) -> list[Route]:
    """The routes on operations, tasks and charge boxes that this version has."""
    routes: list[Route] = []
    if simulator.features.operations:
        routes += [
            ExactRoute(f"/operations/{name}", edge.guarded(_operation(simulator, name)), methods=["POST"])
            for name in OPERATIONS
        ]
    if simulator.features.tasks:
        routes.append(ExactRoute("/operations/tasks/{taskId}", edge.guarded(_task(simulator)), methods=["GET"]))
    if simulator.features.charge_boxes:
        routes.append(ExactRoute("/chargeBoxes", edge.guarded(_charge_boxes(simulator)), methods=["GET"]))
    return routes


def _operation(simulator: SteveSimulator, name: str) -> Callable[[Request], Awaitable[Response]]:
    async def run(request: Request) -> Response:
        task = await simulator.tasks.run(name, await json_object(request))
        return json_response(task.as_json())

    return run


def _task(simulator: SteveSimulator) -> Callable[[Request], Awaitable[Response]]:
    async def read(request: Request) -> Response:
        task = simulator.tasks.get(path_id(request.path_params["taskId"]))
        if task is None:
            raise NotFound("There is no task with this id")
        return json_response(task.as_json())

    return read


def _charge_boxes(simulator: SteveSimulator) -> Callable[[Request], Awaitable[Response]]:
    async def list_charge_boxes(_: Request) -> Response:
        now = simulator.clock.now()
        return json_response([simulator.wire.charge_box(box, now) for box in simulator.state.charge_boxes()])

    return list_charge_boxes
