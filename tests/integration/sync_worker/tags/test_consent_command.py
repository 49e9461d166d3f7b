"""The operator's word on blocking many tags, given on the command line."""

from tests.support.command import Answer, polaris
from tests.support.tag_city import TagCity


async def _five_strangers(city: TagCity) -> int:
    await city.card("CARD")
    for number in range(5):
        city.steve.add_tag(f"STRANGER{number}")
    await city.tags.reconcile_tags()
    return int((await city.row("SELECT id FROM tag_block_consents WHERE decision IS NULL")).id)


async def test_what_waits_is_shown_and_blocked_after_consent(city: TagCity, database_url: str) -> None:
    async def consent(*arguments: str) -> Answer:
        return await polaris("tags", "consent", *arguments, database_url=database_url)

    assert (await consent()).out == "No request waits.\n"
    request = str(await _five_strangers(city))
    shown = (await consent()).out
    assert shown.startswith(f"Request {request} of ")
    assert all(f"  STRANGER{number}\n" in shown for number in range(5))

    unclear = await consent(request)
    assert (unclear.status, unclear.err) == (2, "Say either --approve or --refuse.\n")
    assert (await consent("--approve")).status == 2
    approved = await consent(request, "--approve")
    assert (approved.status, approved.out) == (0, "The next run blocks these 5 tags.\n")
    await city.tags.reconcile_tags()
    assert city.limits("STRANGER") == [0] * 5


async def test_a_refusal_keeps_the_tags_and_cannot_be_turned_round(city: TagCity, database_url: str) -> None:
    request = str(await _five_strangers(city))
    refused = await polaris("tags", "consent", request, "--refuse", database_url=database_url)
    assert (refused.status, refused.out) == (0, "These 5 tags stay unblocked.\n")
    await city.tags.reconcile_tags()
    assert city.limits("STRANGER") == [1] * 5
    late = await polaris("tags", "consent", request, "--approve", database_url=database_url)
    assert late.status == 3
    missing = await polaris("tags", "consent", "999", "--approve", database_url=database_url)
    assert (missing.status, missing.err) == (3, "There is no such request to block tags.\n")
