"""The sign-in of a device: private, whole after a crash, and never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from satchel.core.errors import MessageInvalid, NotSignedIn, StorageFailed
from satchel.device.credentials import Credentials, forget, load, save

ANN = Credentials("https://files.example.org", "ann", "ab" * 16, "secret token", "laptop", "cd" * 16)


def test_what_is_saved_is_loaded_and_gone_when_forgotten(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pytest.raises(NotSignedIn):
        load(home)
    save(home, ANN)
    assert load(home) == ANN
    assert load(home).device == b"\xab" * 16
    forget(home)
    forget(home)
    with pytest.raises(NotSignedIn):
        load(home)


def test_only_the_user_can_read_them_whatever_stood_there(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "credentials.json").write_text("{}")
    os.chmod(home / "credentials.json", 0o666)
    save(home, ANN)
    assert os.stat(home / "credentials.json").st_mode & 0o777 == 0o600
    assert [path.name for path in home.iterdir()] == ["credentials.json"]
    save(tmp_path / "new" / "home", ANN)
    assert os.stat(tmp_path / "new" / "home").st_mode & 0o777 == 0o700


def test_a_damaged_file_is_told_and_not_taken_for_signed_out(tmp_path: Path) -> None:
    for text in ('{"url": "https://', "{}", '{"url":"u","account":"a","device_id":"x","token":"t"}'):
        (tmp_path / "credentials.json").write_text(text)
        with pytest.raises(MessageInvalid):
            load(tmp_path)


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed):
        save(tmp_path / "file" / "home", ANN)


def test_the_token_is_in_no_text_about_them() -> None:
    assert "secret" not in repr(ANN)
    assert "secret" not in str(ANN)
