"""Settings of a device: environment over file over default, and what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from satchel.core.errors import SettingInvalid
from satchel.device.settings import FILE_NAME, SETTINGS, file_settings, load_settings, rate_of, set_setting


def environment(home: Path, **more: str) -> dict[str, str]:
    return {"SATCHEL_HOME": str(home), **more}


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    assert load_settings(environment(tmp_path)).log_level == "info"
    set_setting(tmp_path, "log_level", "debug")
    assert load_settings(environment(tmp_path)).log_level == "debug"
    assert load_settings(environment(tmp_path, SATCHEL_LOG_LEVEL="error")).log_level == "error"
    assert load_settings(environment(tmp_path, SATCHEL_LOG_LEVEL="")).log_level == "debug"
    set_setting(tmp_path, "log_level", None)
    assert load_settings(environment(tmp_path)).log_level == "info"


def test_home_is_the_environments_or_the_platforms(tmp_path: Path) -> None:
    assert load_settings(environment(tmp_path)).home == tmp_path
    assert load_settings({}).home.name == "satchel"
    assert load_settings({"SATCHEL_HOME": "relative"}).home.is_absolute()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("log_level", "loud"),
        ("device_name", "a\nb"),
        ("device_name", " "),
        ("transfer_threads", "0"),
        ("transfer_threads", "many"),
        ("limit_up", "500"),
        ("limit_down", "15K"),
        ("home", "/elsewhere"),
        ("colour", "blue"),
    ],
)
def test_a_wrong_value_or_name_is_refused_and_named(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingInvalid) as refused:
        set_setting(tmp_path, name, value)
    assert refused.value.fields["setting"] == name
    assert file_settings(tmp_path) == {}


def test_a_wrong_environment_or_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid):
        load_settings(environment(tmp_path, SATCHEL_TRANSFER_THREADS="33"))
    for raw in (b"{", b'{"colour": "blue"}', b'{"log_level": 3}', b'{"log_level": "\xff"}'):
        (tmp_path / FILE_NAME).write_bytes(raw)
        with pytest.raises(SettingInvalid):
            load_settings(environment(tmp_path))


def test_a_limit_is_bytes_a_second_or_off() -> None:
    told = ["off", "16K", "500k", "1.5M", "2MB", "2MiB/s", "0.001G"]
    assert [rate_of(value) for value in told] == [0, 16_384, 512_000, 1_572_864, 2 << 20, 2 << 20, 1_073_741]
    assert [rate_of(value) for value in ("", "0", "15.9K", "-1M", "1e3K", "1T", "K", "on")] == [None] * 8


def test_every_setting_has_a_doc_line_and_a_variable() -> None:
    for setting in SETTINGS:
        assert setting.doc.endswith(".")
        assert setting.variable == f"SATCHEL_{setting.name.upper()}"
