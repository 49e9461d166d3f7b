"""``python -m notifier``: serve streams until told to stop."""

import os
import sys
from errno import errorcode

import uvloop
from sqlalchemy.exc import ProgrammingError

from notifier.outages import DATABASE_OUTAGE
from notifier.process import Notifier
from notifier.server import StreamServer, listen
from notifier.settings import NotifierSettings
from polaris_common.observability import configure_logging
from polaris_common.settings import load_or_exit


def main() -> None:
    """Read the configuration, serve, leave with a status that says whether all was well."""
    settings = load_or_exit(NotifierSettings)
    configure_logging("notifier", settings.debug_level, version=settings.app_version)
    raise SystemExit(uvloop.run(_serve(settings)))


async def _serve(settings: NotifierSettings) -> int:
    try:
        listener = listen(settings.notifier_host, settings.notifier_port)
    except OSError as error:
        where = f"{settings.notifier_host}:{settings.notifier_port}"
        why = os.strerror(error.errno) if error.errno and error.errno in errorcode else error.strerror
        return _refuse(f"The notifier cannot listen on {where} (NOTIFIER_HOST, NOTIFIER_PORT): {why}.")
    with listener:
        notifier = Notifier(settings)
        problem = await _database_problem(notifier)
        if problem is not None:
            await notifier.close()
            return _refuse(problem)
        server = StreamServer(notifier)
        await server.serve(sockets=[listener])
        return int(server.failed)


async def _database_problem(notifier: Notifier) -> str | None:
    try:
        await notifier.hub.start()
    except ProgrammingError:
        return "The notifier finds no event log in the database: run the migrations first."
    except DATABASE_OUTAGE as error:
        return f"The notifier cannot reach the database ({type(error).__name__}): check DATABASE_URL."
    return None


def _refuse(sentence: str) -> int:
    sys.stderr.write(sentence + "\n")
    return 1


if __name__ == "__main__":
    main()
