import itertools

import pytest

from satchel.core.access import Right, Role, allows

GRANTED = {
    (Role.OWNER, Right.READ),
    (Role.OWNER, Right.WRITE),
    (Role.OWNER, Right.DELETE),
    (Role.OWNER, Right.SHARE),
    (Role.OWNER, Right.PURGE),
    (Role.OWNER, Right.REWIND),
    (Role.OWNER, Right.ADMINISTER),
    (Role.EDITOR, Right.READ),
    (Role.EDITOR, Right.WRITE),
    (Role.EDITOR, Right.DELETE),
    (Role.EDITOR, Right.SHARE),
    (Role.EDITOR, Right.LEAVE),
    (Role.VIEWER, Right.READ),
    (Role.VIEWER, Right.LEAVE),
}


@pytest.mark.parametrize(("role", "right"), list(itertools.product(Role, Right)))
def test_the_table_grants_exactly_what_is_written_here(role: Role, right: Right) -> None:
    assert allows(role, right) is ((role, right) in GRANTED)
