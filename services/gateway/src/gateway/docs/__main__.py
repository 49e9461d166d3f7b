"""``python -m gateway.docs FOLDER``: write the OpenAPI documents."""

import json
import sys
from pathlib import Path

from gateway.app import ROUTERS
from gateway.docs.documents import DOCUMENTS, document


def write(folder: Path) -> None:
    """Write each document into ``folder``, to be kept with the code."""
    routes = [route for router in ROUTERS for route in router.routes]
    folder.mkdir(parents=True, exist_ok=True)
    for name in DOCUMENTS:
        text = json.dumps(document(name, routes), indent=2, ensure_ascii=False)
        (folder / f"{name}.json").write_text(f"{text}\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
