"""What is tried again when another system does not answer, and what never is."""

import httpx
import pytest

from polaris_common.http import transport
from polaris_common.http.transport import ATTEMPTS, backoff_seconds, create_client, get_with_retries
from polaris_common.lago import LagoClient, LagoRefused, LagoUnavailable
from polaris_common.settings import LagoSettings, SteveSettings
from polaris_common.steve import SteveClient, SteveProtocolError, SteveRefused, SteveUnavailable
from polaris_common.steve.tag_calls import NewTag, create_tag


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "BASE_DELAY_SECONDS", 0.0)
    monkeypatch.setattr(transport, "MAX_DELAY_SECONDS", 0.0)


class Upstream:
    """Answers what it is told, in turn; the last answer for ever."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers, self.asked = list(answers), list[str]()
        self.transport = httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.method)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def _steve(upstream: Upstream) -> SteveClient:
    settings = SteveSettings(STEVE_BASE_URL="http://steve.test", steve_api_username="polaris", steve_api_key="key")
    return SteveClient(settings, transport=upstream.transport)


def _lago(upstream: Upstream) -> LagoClient:
    settings = LagoSettings(lago_api_url="http://lago.test", lago_api_key="key")
    return LagoClient(settings, transport=upstream.transport)


LOST = [
    httpx.ReadTimeout("signal has been aborted"),
    httpx.ConnectTimeout(""),
    httpx.ConnectError("refused"),
    httpx.RemoteProtocolError("disconnected"),
]


@pytest.mark.parametrize("lost", LOST, ids=lambda error: type(error).__name__)
async def test_a_read_without_an_answer_is_tried_again_whatever_the_error_says(lost: Exception) -> None:
    upstream = Upstream(lost, lost, httpx.Response(200, json=[]))
    assert await _steve(upstream).tags() == []
    assert upstream.asked == ["GET"] * 3


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_read_that_is_told_to_come_later_is_tried_again_so_often_and_no_more(status: int) -> None:
    upstream = Upstream(httpx.Response(status, text="later"))
    with pytest.raises(SteveUnavailable):
        await _steve(upstream).tags()
    assert len(upstream.asked) == ATTEMPTS


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
async def test_a_refusal_is_final_although_its_text_names_other_statuses(status: int) -> None:
    text = {"status": status, "error": "network timeout 500 502 503 504"}
    steve, lago = Upstream(httpx.Response(status, json=text)), Upstream(httpx.Response(status, json=text))
    with pytest.raises((SteveRefused, SteveProtocolError)):
        await _steve(steve).tags()
    with pytest.raises(LagoRefused):
        await _lago(lago).billable_metric("kwh")
    assert (steve.asked, lago.asked) == (["GET"], ["GET"])


@pytest.mark.parametrize("answer", [*LOST, *(httpx.Response(status, text="500") for status in (429, 500, 503, 504))])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_what_could_change_something_at_a_charger_is_sent_once(
    method: str, answer: httpx.Response | Exception
) -> None:
    upstream = Upstream(answer)
    with pytest.raises((SteveUnavailable, SteveProtocolError)):
        await _steve(upstream).write(method, "/operations/RemoteStartTransaction", {"connectorId": 1})
    assert upstream.asked == [method]


@pytest.mark.parametrize("lost", LOST, ids=lambda error: type(error).__name__)
async def test_a_tag_whose_creation_got_no_answer_is_looked_for_and_not_created_again(lost: Exception) -> None:
    upstream = Upstream(lost, httpx.Response(200, json=[]))
    with pytest.raises(SteveUnavailable):
        await create_tag(_steve(upstream), NewTag("META-23456789", 1))
    assert upstream.asked.count("POST") == 1


async def test_lagos_wait_is_taken_from_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = Upstream(httpx.Response(429, headers={"retry-after": "37"}, json={}))
    with pytest.raises(LagoUnavailable) as raised:
        await _lago(upstream).send_events(["{}"])
    assert raised.value.retry_after == 37
    assert upstream.asked == ["POST"]


def test_waits_grow_are_bounded_and_never_the_same_for_everybody() -> None:
    waits = [backoff_seconds(attempt, base=1.0, ceiling=60.0) for attempt in range(1, 2_000)]
    assert all(0 <= wait <= 60 for wait in waits)
    assert all(wait <= 2 for wait in (backoff_seconds(1, base=1.0, ceiling=60.0) for _ in range(200)))
    assert len(set(waits)) == len(waits)


async def test_a_redirect_is_not_followed() -> None:
    upstream = Upstream(httpx.Response(302, headers={"location": "http://elsewhere.test"}))
    client = create_client("http://steve.test", read_seconds=1, transport=upstream.transport)
    response = await get_with_retries(lambda: client.get("/x"))
    assert (response.status_code, upstream.asked) == (302, ["GET"])
    await client.aclose()
