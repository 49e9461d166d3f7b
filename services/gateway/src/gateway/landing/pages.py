"""Small pages that need nothing but themselves: no file, no font, no script from anywhere else."""

import json
import secrets
from collections.abc import Mapping
from html import escape

from starlette.responses import HTMLResponse

_STYLE = """
:root { color-scheme: light dark }
body { font: 1.05rem/1.5 system-ui, sans-serif; margin: 12vh auto; max-width: 28rem; padding: 0 1.25rem }
h1 { font-size: 1.4rem }
a { display: inline-block; margin-top: .5rem }
button { font: inherit; padding: .6rem 1.2rem; cursor: pointer }
"""


def page(title: str, *paragraphs: str, status: int = 200) -> HTMLResponse:
    """A page of plain text."""
    return _html(title, "".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs), status=status)


def page_with_link(title: str, paragraph: str, *, label: str, address: str) -> HTMLResponse:
    """A page with one link."""
    return _html(title, f'<p>{escape(paragraph)}</p><p><a href="{escape(address)}">{escape(label)}</a></p>')


def page_with_form(
    title: str, *paragraphs: str, action: str, fields: Mapping[str, str], label: str, status: int = 200
) -> HTMLResponse:
    """A page with one button that sends ``fields`` to ``action``, a path of ours."""
    hidden = "".join(f'<input type="hidden" name="{escape(n)}" value="{escape(v)}">' for n, v in fields.items())
    form = f'<form method="post" action="{escape(action)}">{hidden}<button>{escape(label)}</button></form>'
    return _html(title, "".join(f"<p>{escape(p)}</p>" for p in paragraphs) + form, sends=True, status=status)


def page_that_leads_to(address: str, *, title: str, label: str) -> HTMLResponse:
    """A page that goes on to ``address`` by itself, by script or without, and has a link for when neither works."""
    leave = json.dumps(address).replace("<", "\\u003c")
    return _html(
        title,
        f'<p><a href="{escape(address)}">{escape(label)}</a></p>',
        head=f'<meta http-equiv="refresh" content="0;url={escape(address)}">',
        script=f"location.replace({leave})",
    )


def _html(
    title: str, body: str, *, head: str = "", script: str = "", sends: bool = False, status: int = 200
) -> HTMLResponse:
    nonce = secrets.token_urlsafe(16)
    scripts = f'<script nonce="{nonce}">{script}</script>' if script else ""
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
        f'{head}<style nonce="{nonce}">{_STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1>{body}{scripts}</body></html>"
    )
    allowed = f"style-src 'nonce-{nonce}'" + (f"; script-src 'nonce-{nonce}'" if script else "")
    target = "'self'" if sends else "'none'"
    policy = f"default-src 'none'; {allowed}; base-uri 'none'; form-action {target}; frame-ancestors 'none'"
    # Without any referrer browsers would hide the form's origin too, and we refuse changes from nowhere.
    referrer = "same-origin" if sends else "no-referrer"
    headers = {"content-security-policy": policy, "cache-control": "no-store", "referrer-policy": referrer}
    return HTMLResponse(text, status, headers)
