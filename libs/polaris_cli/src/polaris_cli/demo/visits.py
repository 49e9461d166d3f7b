"""The demo's driver comes and goes, so that a whole session is seen within minutes: live, billed, told, mailed.

The fleet's other cars stay as long as cars do.
"""

import asyncio
from contextlib import suppress

import httpx

from polaris_cli.seed import Person

STAY_SECONDS = 60.0
AWAY_SECONDS = 120.0
CHARGE_BOX = "CB-GARAGE-1"


class Visits:
    """One driver's cars at one charge box, by SteVe's remote operations, as an operator would."""

    def __init__(self, http: httpx.AsyncClient, steve_url: str, auth: tuple[str, str], driver: Person) -> None:
        self._http, self._auth, self._id_tag = http, auth, driver.id_tag
        self._api = f"{steve_url}/steve/api/v1"

    async def arrive(self) -> None:
        """Plug in; nothing happens where no connector is free.

        Raises:
            httpx.HTTPError: SteVe gives no answer.
        """
        await self._operate("RemoteStartTransaction", {"idTag": self._id_tag})

    async def leave(self) -> None:
        """End whatever this driver charges there.

        Raises:
            httpx.HTTPError: SteVe gives no answer.
        """
        query = {"type": "ACTIVE", "chargeBoxId": CHARGE_BOX, "ocppIdTag": self._id_tag}
        charging = await self._http.get(f"{self._api}/transactions", params=query, auth=self._auth)
        charging.raise_for_status()
        for transaction in charging.json():
            await self._operate("RemoteStopTransaction", {"transactionId": transaction["id"]})

    async def go_on(self) -> None:
        """Leave and come back, until cancelled; a SteVe that is away is asked again."""
        while True:
            await asyncio.sleep(STAY_SECONDS)
            with suppress(httpx.HTTPError):
                await self.leave()
            await asyncio.sleep(AWAY_SECONDS)
            with suppress(httpx.HTTPError):
                await self.arrive()

    async def _operate(self, operation: str, form: dict[str, object]) -> None:
        body = {"chargeBoxIdList": [CHARGE_BOX], **form}
        await self._http.post(f"{self._api}/operations/{operation}", json=body, auth=self._auth)
