"""The ``polaris`` command. Each subcommand imports what it needs, so that ``polaris --help`` is quick."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from polaris_cli.problems import CommandError

app = typer.Typer(
    name="polaris", help="Run, try and check Polaris Express.", no_args_is_help=True, add_completion=False
)

StateFolder = Annotated[Path, typer.Option("--state", help="Where data, secrets and logs are kept.")]
DEFAULT_STATE = Path(".polaris")
LARGEST_ID = 2**63 - 1


@app.callback()
def _commands() -> None:
    """Run, try and check Polaris Express."""


@app.command()
def demo(
    *,
    headless: Annotated[bool, typer.Option("--headless", help="Print one line of JSON when ready, no table.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the data and secrets of last time.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The one port that browsers use.")] = 8000,
    cars: Annotated[int, typer.Option(min=1, max=200, help="How many cars charge.")] = 6,
    state: StateFolder = DEFAULT_STATE,
) -> None:
    """Start everything on this machine with simulated chargers and a simulated Lago, and charge a few cars."""
    from polaris_cli.demo.command import DemoOptions, run_demo  # noqa: PLC0415

    _leave(lambda: run_demo(DemoOptions(state=state, port=port, cars=cars, headless=headless, fresh=fresh)))


@app.command()
def replay(
    csv: Annotated[Path, typer.Argument(help="Charging sessions, one a row.")],
    *,
    no_hooks: Annotated[bool, typer.Option("--no-hooks", help="SteVe sends no hooks: polling alone.")] = False,
    chaos: Annotated[int | None, typer.Option(help="Kill services and disturb Lago, by this seed.")] = None,
    profile: Annotated[str, typer.Option(help="SteVe version: 3.12-fork, 3.13+ or HEAD.")] = "3.12-fork",
    lago_store: Annotated[str, typer.Option(help="Lago's event store: postgres or clickhouse.")] = "postgres",
    state: StateFolder = DEFAULT_STATE,
) -> None:
    """Charge every row of CSV, bill it, and compare the books. The last line of output is one JSON object."""
    from polaris_cli.replay.command import ReplayOptions, run_replay  # noqa: PLC0415

    options = ReplayOptions(
        csv=csv, state=state, hooks=not no_hooks, chaos=chaos, profile=profile, lago_store=lago_store
    )
    _leave(lambda: run_replay(options))


billing_app = typer.Typer(help="The energy books.", no_args_is_help=True)
session_app = typer.Typer(help="One charging session.", no_args_is_help=True)
tags_app = typer.Typer(help="Tags in SteVe.", no_args_is_help=True)
app.add_typer(billing_app, name="billing")
app.add_typer(session_app, name="session")
app.add_typer(tags_app, name="tags")

Reason = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
AlthoughClosed = Annotated[
    bool, typer.Option("--although-closed", help="Even if Lago has closed the period and may bill nothing.")
]


@billing_app.callback()
def _billing_commands() -> None:
    """The energy books."""


@billing_app.command()
def verify() -> None:
    """Compare meters, ledger, delivered events, Lago and invoices; status 1 on any difference."""
    from polaris_cli.billing.command import verify as run  # noqa: PLC0415

    _leave(run)


@billing_app.command()
def status() -> None:
    """Print what waits, what is stopped and what a person must look at; status 1 if there is such a thing."""
    from polaris_cli.billing.command import status as run  # noqa: PLC0415

    _leave(run)


@billing_app.command()
def resend(
    subscription: Annotated[str, typer.Argument(help="The subscription's external id.")],
    *,
    reason: Reason,
    although_closed: AlthoughClosed = False,
) -> None:
    """Send again, unchanged, what the last comparison found Lago to have lost."""
    from polaris_cli.billing.command import Again  # noqa: PLC0415
    from polaris_cli.billing.command import resend as run  # noqa: PLC0415

    _leave(lambda: run(subscription, Again(reason, although_closed)))


@billing_app.command(name="retry-event")
def retry_event(
    transaction_id: Annotated[str, typer.Argument(help="The event's transaction_id.")],
    *,
    reason: Reason,
    although_closed: AlthoughClosed = False,
) -> None:
    """Send a quarantined event again, once the cause is gone."""
    from polaris_cli.billing.command import Again  # noqa: PLC0415
    from polaris_cli.billing.command import retry as run  # noqa: PLC0415

    _leave(lambda: run(transaction_id, Again(reason, although_closed)))


@billing_app.command(name="webhooks")
def billing_webhooks() -> None:
    """Print Lago's webhooks that were given up, and why; status 1 when there is one."""
    from polaris_cli.billing.command import webhooks as run  # noqa: PLC0415

    _leave(run)


@billing_app.command(name="replay")
def billing_replay(
    inbox_id: Annotated[int, typer.Argument(help="As polaris billing webhooks shows it.", min=1, max=LARGEST_ID)],
    *,
    reason: Reason,
) -> None:
    """Work off a webhook of Lago again, once the cause of its failure is gone."""
    from polaris_cli.billing.command import replay as run  # noqa: PLC0415

    _leave(lambda: run(inbox_id, reason))


@billing_app.command(name="accept-lago")
def accept_lago(
    *,
    code: Annotated[str | None, typer.Option("--code", help="What the first call printed.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for the record.")] = None,
) -> None:
    """Show what a deliberate move to another Lago organisation would mean, then accept it."""
    from polaris_cli.billing.command import accept_lago as run  # noqa: PLC0415

    _leave(lambda: run(code, reason))


@session_app.callback()
def _session_commands() -> None:
    """One charging session."""


@session_app.command()
def explain(session_id: Annotated[int, typer.Argument(help="The session's id.", min=1, max=LARGEST_ID)]) -> None:
    """Print readings, slices, events, answers and reasons behind a session's bill."""
    from polaris_cli.session.command import explain as run  # noqa: PLC0415

    _leave(lambda: run(session_id))


@session_app.command()
def release(
    session_id: Annotated[int, typer.Argument(help="The session's id.", min=1, max=LARGEST_ID)],
    *,
    reason: Reason,
    stop_wh: Annotated[int | None, typer.Option(min=0, help="The register at its end, in Wh.")] = None,
    as_measured: Annotated[bool, typer.Option("--as-measured", help="Take the value that was measured.")] = False,
    stopped_at: Annotated[str | None, typer.Option(help="When it ended, if nothing says so.")] = None,
) -> None:
    """Settle a session that was set aside, so that it is billed."""
    from polaris_cli.session.command import Stop  # noqa: PLC0415
    from polaris_cli.session.command import release as run  # noqa: PLC0415

    _leave(lambda: run(session_id, Stop(stop_wh, as_measured, stopped_at), reason))


@tags_app.callback()
def _tags_commands() -> None:
    """Tags in SteVe."""


@tags_app.command()
def consent(
    consent_id: Annotated[int | None, typer.Argument(help="The request to answer; without one, what waits.")] = None,
    *,
    approve: Annotated[bool, typer.Option("--approve", help="Block these tags.")] = False,
    refuse: Annotated[bool, typer.Option("--refuse", help="Do not block them.")] = False,
) -> None:
    """Show the request to block many tags that waits for a person, or answer it."""
    from polaris_cli.tags.command import consent as run  # noqa: PLC0415

    _leave(lambda: run(consent_id, approve=approve, refuse=refuse))


config_app = typer.Typer(help="The configuration.", no_args_is_help=True)
app.add_typer(config_app, name="config")


@config_app.callback()
def _config_commands() -> None:
    """The configuration."""


@config_app.command()
def check(
    env_file: Annotated[Path | None, typer.Option("--env-file", help="Read this file over the environment.")] = None,
) -> None:
    """Say of each variable whether it is set, missing or unusable; status 1 when a service would not start."""
    from polaris_cli.config.command import check as run  # noqa: PLC0415

    _leave(lambda: run(env_file))


mail_app = typer.Typer(help="Mails.", no_args_is_help=True)
app.add_typer(mail_app, name="mail")


@mail_app.callback()
def _mail_commands() -> None:
    """Mails."""


@mail_app.command("preview")
def mail_preview(
    template: Annotated[str | None, typer.Argument(help="One mail by name; without it all.")] = None,
    *,
    locale: Annotated[str, typer.Option(help="Language, e.g. de or en-GB.")] = "en",
    out: Annotated[Path | None, typer.Option(help="Write HTML and text into this folder.")] = None,
) -> None:
    """Show what mails say, with sample values."""
    from polaris_cli.mail.command import preview  # noqa: PLC0415

    _leave(lambda: preview(template, locale=locale, out=out))


@mail_app.command("test")
def mail_test(
    *,
    to: Annotated[str, typer.Option("--to", help="Who gets it.")],
    as_drivers: Annotated[
        bool, typer.Option("--as-drivers", help="From EMAIL_FROM in place of EMAIL_FROM_ADMIN.")
    ] = False,
) -> None:
    """Send one mail as configured and say what became of it; status 1 when it was not taken."""
    from polaris_cli.mail.command import send_test  # noqa: PLC0415

    _leave(lambda: send_test(to, as_drivers=as_drivers))


@mail_app.command("dead")
def mail_dead() -> None:
    """Print the mails that were given up, and why."""
    from polaris_cli.mail.command import dead  # noqa: PLC0415

    _leave(dead)


@mail_app.command("retry")
def mail_retry(
    mail_id: Annotated[UUID | None, typer.Argument(help="As polaris mail dead shows it.")] = None,
    *,
    all_of_them: Annotated[bool, typer.Option("--all", help="Every mail that was given up.")] = False,
) -> None:
    """Try a mail again that was given up."""
    from polaris_cli.mail.command import retry  # noqa: PLC0415

    _leave(lambda: retry(mail_id, all_of_them=all_of_them))


admin_app = typer.Typer(help="People who operate the platform.", no_args_is_help=True)
app.add_typer(admin_app, name="admin")

Email = Annotated[str, typer.Argument(help="Their e-mail address.")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


@admin_app.callback()
def _admin_commands() -> None:
    """People who operate the platform."""


@admin_app.command("create")
def admin_create(
    email: Email,
    *,
    name: Annotated[str, typer.Option(help="Their name.")],
    superadmin: Annotated[
        bool, typer.Option("--superadmin", help="May manage operators; the first one always.")
    ] = False,
    password_stdin: FromStdin = False,
) -> None:
    """Add an operator; asks for their password."""
    from polaris_cli.admin.command import create  # noqa: PLC0415

    _leave(lambda: create(email, name=name, superadmin=superadmin, password_stdin=password_stdin))


@admin_app.command("list")
def admin_list() -> None:
    """Print all operators."""
    from polaris_cli.admin.command import list_admins  # noqa: PLC0415

    _leave(list_admins)


@admin_app.command("promote")
def admin_promote(
    email: Email,
    *,
    to: Annotated[str, typer.Option(help="superadmin, admin or customer.")] = "superadmin",
) -> None:
    """Change what a person may do; they are signed out everywhere. The last superadmin stays one."""
    from polaris_cli.admin.command import promote  # noqa: PLC0415

    _leave(lambda: promote(email, to=to))


@admin_app.command("reset-password")
def admin_reset_password(email: Email, *, password_stdin: FromStdin = False) -> None:
    """Give an operator a new password; asks for it. They are signed out everywhere."""
    from polaris_cli.admin.command import reset_password  # noqa: PLC0415

    _leave(lambda: reset_password(email, password_stdin=password_stdin))


def _leave(command: Callable[[], int]) -> None:
    """Leave with the command's status; a problem is one sentence on stderr."""
    try:
        status = command()
    except CommandError as problem:
        sys.stderr.write(f"{problem}\n")
        status = problem.exit_code
    raise typer.Exit(status)
