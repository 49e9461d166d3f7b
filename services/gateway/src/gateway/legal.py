"""The operator's privacy notice and terms: public on both surfaces (contract-devices §0.1, rule 16)."""

from html import escape

from fastapi import APIRouter, Depends
from starlette.responses import HTMLResponse, RedirectResponse, Response

from gateway.dependencies import Process, anyone

router = APIRouter(tags=["legal"], dependencies=[Depends(anyone)], include_in_schema=False)

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<h1>{title}</h1>
<p>The operator of this charging platform answers questions about it{contact}.</p>
</html>
"""


@router.get("/privacy")
async def privacy(process: Process) -> Response:
    """How data is used."""
    return _answer("Privacy", process.settings.privacy_url, process.settings.operator_contact_email)


@router.get("/terms")
async def terms(process: Process) -> Response:
    """What charging here means in law."""
    return _answer("Terms", process.settings.terms_url, process.settings.operator_contact_email)


def _answer(title: str, published: str | None, email: str | None) -> Response:
    if published is not None:
        return RedirectResponse(published, status_code=302)
    contact = f': <a href="mailto:{escape(email)}">{escape(email)}</a>' if email else ""
    return HTMLResponse(_PAGE.format(title=title, contact=contact))
