"""The mailbox as HTML pages."""

from collections.abc import Sequence
from html import escape

from polaris_sim.email_worker.worker import Mail

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .5rem; border-bottom: 1px solid #8884; vertical-align: top; }
td.time { white-space: nowrap; opacity: .75; }
iframe { width: 100%; height: 36rem; border: 1px solid #8884; border-radius: .5rem; background: #fff; }
pre { white-space: pre-wrap; border: 1px solid #8884; border-radius: .5rem; padding: 1rem; }
dt { opacity: .75; } dd { margin: 0 0 .5rem; }
"""


def mailbox(mails: Sequence[Mail]) -> str:
    """All mails, newest first."""
    rows = "".join(
        f'<tr><td class="time"><time datetime="{mail.received_at.isoformat()}">{_when(mail)}</time></td>'
        f'<td><a href="/mails/{mail.number}">{escape(mail.subject)}</a></td>'
        f"<td>{escape(mail.to)}</td><td>{escape(mail.category)}</td></tr>"
        for mail in reversed(mails)
    )
    table = (
        "<table><thead><tr><th>Received</th><th>Subject</th><th>To</th><th>Category</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
        if mails
        else "<p>No mail yet. What the system sends appears here.</p>"
    )
    return _page("Mailbox", f"<h1>Mailbox</h1>{table}", refresh=True)


def mail_page(mail: Mail) -> str:
    """One mail: HTML in a frame that may run nothing, and the text alternative."""
    facts = [("From", mail.sender), ("To", mail.to), ("Reply to", mail.reply_to or "none"), ("Received", _when(mail))]
    listed = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return _page(
        mail.subject,
        f'<p><a href="/">Back to the mailbox</a></p><h1>{escape(mail.subject)}</h1><dl>{listed}</dl>'
        f'<iframe title="HTML version" sandbox="allow-popups" srcdoc="{escape(mail.html)}"></iframe>'
        f"<h2>Text version</h2><pre>{escape(mail.text)}</pre>",
    )


def _when(mail: Mail) -> str:
    return mail.received_at.strftime("%Y-%m-%d %H:%M:%S UTC")


def _page(title: str, content: str, *, refresh: bool = False) -> str:
    meta = '<meta http-equiv="refresh" content="5">' if refresh else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{meta}'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>{content}</body></html>"
    )
