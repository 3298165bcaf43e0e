"""Which files a command line imports."""

import subprocess
import sys

import pytest
from typer.main import get_command

from satchel.cli.main import FILES, program


def commands_of(first: str) -> list[str]:
    return list(getattr(get_command(program(first)), "commands", {}))


def test_the_table_of_files_names_every_command_once() -> None:
    listed = [word for words in FILES.values() for word in words]
    assert sorted(listed) == sorted(commands_of(""))


@pytest.mark.parametrize("file", FILES)
def test_each_command_is_in_its_file_with_its_neighbours(file: str) -> None:
    for word in FILES[file]:
        assert sorted(commands_of(word)) == sorted(FILES[file])


def test_an_unknown_command_is_refused_by_the_whole_program() -> None:
    assert sorted(commands_of("statu")) == sorted(commands_of(""))


def test_a_command_starts_without_the_heavy_libraries_and_other_commands() -> None:
    heavy = "{'aiohttp', 'litestar', 'rich', 'apsw', 'asyncio', 'pyfastcdc', 'ctypes', 'satchel.cli.doctor'}"
    code = (
        f"import sys; from satchel.cli.main import program; program('sync'); print(sorted({heavy} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
