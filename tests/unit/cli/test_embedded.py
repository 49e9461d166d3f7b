"""Embedded servers: what prevents a start is said, and a killed user of last time does not keep them running."""

import json
from pathlib import Path

import psutil
import pytest
from redis import Redis

from polaris_cli.embedded import EmbeddedError, EmbeddedPostgres, EmbeddedRedis


def test_a_data_folder_of_another_version_is_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    folder.mkdir()
    (folder / "PG_VERSION").write_text("12\n")

    with pytest.raises(EmbeddedError) as refusal:
        EmbeddedPostgres(folder)

    assert str(refusal.value).startswith(f"The embedded PostgreSQL did not start in {folder}: ")
    assert "\n" not in str(refusal.value)


def test_a_server_whose_other_user_was_killed_stops_all_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    EmbeddedPostgres(folder).stop()
    (folder / ".handle_pids.json").write_text(json.dumps([2**22 + 1]))

    server = EmbeddedPostgres(folder)
    pid = int((folder / "postmaster.pid").read_text().split("\n", 1)[0])
    server.stop()

    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_redis_keeps_its_socket_in_the_folder_unless_the_name_is_too_long(tmp_path: Path) -> None:
    for folder, is_inside in ((tmp_path / "redis", True), (tmp_path / ("long" * 30), False)):
        with EmbeddedRedis(folder) as server:
            assert (str(folder) in server.url) is is_inside
            with Redis.from_url(server.url) as client:
                assert client.ping()
