"""Settings: flags over environment over file; what is unknown or unsafe stops the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from satchel.core.errors import SettingInvalid
from satchel.server.settings import SETTINGS, load_settings


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for setting in SETTINGS:
        monkeypatch.delenv(setting.variable, raising=False)
    monkeypatch.chdir(tmp_path)


def test_flags_win_over_environment_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "satchel.toml"
    file.write_text('listen = "127.0.0.1:1"\nlog_level = "debug"\npublic_url = "https://file.example/"\n')
    monkeypatch.setenv("SATCHEL_LISTEN", "127.0.0.1:2")
    monkeypatch.setenv("SATCHEL_LOG_LEVEL", "error")
    found = load_settings({"listen": "127.0.0.1:3", "log_level": None}, config=str(file))
    assert (found.port, found.log_level, found.public_url) == (3, "error", "https://file.example")


def test_without_anything_all_is_embedded_below_the_data_folder(tmp_path: Path) -> None:
    found = load_settings({"data": "d"})
    assert found.data == str(tmp_path / "d")
    assert found.database_url == f"sqlite:///{tmp_path}/d/metadata.db"
    assert found.blocks_folder == f"{tmp_path}/d/blocks"
    assert found.host == "127.0.0.1"


def test_the_file_in_the_data_folder_is_read_unless_another_is_named(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "satchel.toml").write_text("log_json = true\n")
    assert load_settings({"data": "d"}).log_json is True


@pytest.mark.parametrize("text", ["databse_url = 'x'\n", "[server]\nlisten = 'x'\n", "not toml"])
def test_an_unknown_key_or_a_broken_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "satchel.toml"
    file.write_text(text)
    with pytest.raises(SettingInvalid):
        load_settings({}, config=str(file))


def test_an_unknown_flag_is_refused_by_name() -> None:
    with pytest.raises(SettingInvalid) as refused:
        load_settings({"lisen": "x"})
    assert refused.value.fields["setting"] == "lisen"


@pytest.mark.parametrize("listen", ["0.0.0.0:80", "192.0.2.1:80", "[::]:80"])
def test_listening_beyond_this_machine_needs_tls_or_a_proxy(listen: str) -> None:
    with pytest.raises(SettingInvalid):
        load_settings({"listen": listen})
    assert load_settings({"listen": listen, "behind_proxy": "10.0.0.1, 10.0.0.2"}).behind_proxy == (
        "10.0.0.1",
        "10.0.0.2",
    )
    assert load_settings({"listen": listen, "tls_certificate": "c", "tls_key": "k"}).tls_key == "k"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("listen", "8484"),
        ("listen", "127.0.0.1:99999"),
        ("log_level", "loud"),
        ("log_json", "maybe"),
        ("blocks_url", "ftp://x"),
        ("state_url", "kafka://x"),
        ("bus_url", "nats://x"),
        ("roles", "gateway,cook"),
        ("roles", ","),
        ("tls_key", "alone"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingInvalid) as refused:
        load_settings({name: value})
    assert refused.value.fields["setting"] == name


def test_a_log_needs_a_state_store_that_all_processes_share() -> None:
    with pytest.raises(SettingInvalid) as refused:
        load_settings({"bus_url": "kafka://x"})
    assert refused.value.fields["setting"] == "state_url"
    assert load_settings({"bus_url": "kafka://x", "state_url": "redis://y"}).roles == {"gateway", "notifier", "upkeep"}


def test_loopback_of_both_families_needs_nothing() -> None:
    assert load_settings({"listen": "[::1]:0"}).host == "::1"
    assert load_settings({"listen": "localhost:0"}).host == "localhost"
