"""The server as a process: one on a data folder, administered beside it or alone, stopped in order."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import pytest

from satchel.core.errors import AlreadyExists, AlreadyRunning, MessageInvalid, NotFound
from satchel.server.admin import run_admin
from satchel.server.folder import data_lock
from satchel.server.settings import load_settings
from tests.support.server import PASSWORD, RunningServer, User, ask, running_server


def admin(folder: Path, command: str, **arguments: object) -> object:
    return asyncio.run(run_admin(load_settings({"data": str(folder)}), command, arguments))


def test_a_second_server_on_a_data_folder_is_refused(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        second = RunningServer(server.data)
        with pytest.raises(RuntimeError, match="Another server uses this data folder"):
            second.start()
        assert ask(server.url, "GET", "/health").status == 200


def test_a_folder_that_is_locked_without_an_answer_is_not_opened_beside(tmp_path: Path) -> None:
    with data_lock(str(tmp_path)), pytest.raises(AlreadyRunning):
        admin(tmp_path, "user.list")


def test_accounts_are_administered_alike_with_and_without_a_server(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    admin(folder, "user.add", name="alone", password=PASSWORD)
    with running_server(tmp_path) as server:
        server.admin("user.add", name="beside", password=PASSWORD, quota_bytes=5)
        with pytest.raises(AlreadyExists):
            server.admin("user.add", name="ALONE", password=PASSWORD)
        with pytest.raises(NotFound):
            server.admin("user.quota", name="nobody")
        with pytest.raises(MessageInvalid):
            server.admin("user.add", name="x")
        with pytest.raises(MessageInvalid):
            server.admin("nothing")
        assert User(server.url, "alone", PASSWORD).sign_in().ask("GET", "/api/v1/account").status == 200
    accounts = admin(folder, "user.list")
    assert isinstance(accounts, list)
    assert [(account["name"], account["quota_bytes"]) for account in accounts] == [("alone", None), ("beside", 5)]


def test_a_new_password_signs_every_device_out_and_the_old_one_no_longer_works(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        user = server.add_user()
        session = user.sign_in()
        server.admin("user.passwd", name=user.name, password="another good one")
        assert session.ask("GET", "/api/v1/account").status == 401
        login = {"user": user.name, "password": PASSWORD, "device_name": "x"}
        assert ask(server.url, "POST", "/api/v1/login", login).status == 401
        assert User(server.url, user.name, "another good one").sign_in().ask("GET", "/api/v1/account").status == 200


def test_a_disabled_account_is_out_until_it_is_let_in_again(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        user = server.add_user()
        session = user.sign_in()
        server.admin("user.disable", name=user.name)
        assert session.ask("GET", "/api/v1/account").status == 401
        server.admin("user.disable", name=user.name, is_disabled=False)
        assert session.ask("GET", "/api/v1/account").status == 200


def test_the_data_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        server.add_user()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in server.data.rglob("*")}
        assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
        assert {name: mode for name, mode in modes.items() if mode & 0o077} == {}


def test_a_deep_data_folder_has_a_socket_like_any_other(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with running_server(deep) as server:
        assert server.add_user("deep").sign_in().ask("GET", "/api/v1/account").status == 200


def test_a_stop_during_an_open_connection_ends_in_order(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, socket.create_connection(("127.0.0.1", server.port)) as idle:
        idle.sendall(b"GET /health HTTP/1.1\r\n")
        assert server.stop() == 0


@pytest.mark.parametrize("arguments", [("--listen", "0.0.0.0:0"), ("--log-level", "loud")])
def test_an_unsafe_or_wrong_setting_stops_the_start_by_name(tmp_path: Path, arguments: tuple[str, str]) -> None:
    server = RunningServer(tmp_path / "data", arguments)
    with pytest.raises(RuntimeError, match=arguments[0].removeprefix("--").replace("-", "_")):
        server.start()
