"""The two limited processes import nothing of ours, so what they give up stands in each: it must be the same."""

import inspect

from satchel.server.documents import extractor, thumbnailer


def test_both_give_up_the_same() -> None:
    assert inspect.getsource(extractor.limit) == inspect.getsource(thumbnailer.limit)
    assert extractor.CPU_S_MAX == thumbnailer.CPU_S_MAX
