"""The page about streams names every stream and every topic with its events."""

import re
from pathlib import Path

from tests.contract.deploy.test_stream_routes import STREAMS

from notifier.stream.topics import TOPICS

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "streams.md").read_text()


def test_every_stream_is_named() -> None:
    assert [path for path in STREAMS if path not in PAGE] == []


def test_every_topic_is_listed_with_its_events() -> None:
    rows = re.findall(r"^\| `([a-z]+)` \| (.*) \|$", PAGE, re.MULTILINE)
    listed = {topic: frozenset(re.findall(r"`([^`]+)`", events)) for topic, events in rows}
    assert listed == TOPICS
