"""What no source file may do. Each exception is listed here with its reason."""

import ast
import re

from tests.tidy.sources import ROOT, called_name, sources

BROAD_CATCHES = {
    "src/satchel/server/event_log.py": "a consumer's main loop: logged, and the same events come again",
    # path: why it may catch everything and go on.
    "src/satchel/device/keeper.py": "a link's main loop: halted, with the trace in the log; the other links go on",
    "src/satchel/simulation/minimise.py": "whatever ends a simulated run is a finding, and is told",
    "src/satchel/server/db/postgres.py": "group commit: the error belongs to one caller, the batch goes on",
    "src/satchel/server/db/sqlite.py": "the threads of the store outlive any job; its caller gets the error",
    "src/satchel/server/gateway/device.py": "a request's main loop: logged with the route, answered with a code",
    "src/satchel/server/upkeep/schedule.py": "the main loop of all tasks: logged, tried again; the others go on",
    "src/satchel/server/gateway/webdav/app.py": "a request's main loop: logged with the route, answered with a code",
    "src/satchel/server/gateway/stream.py": "a stream's main loop: logged, closed with a code, the device comes again",
}

TASK_MAKERS = {
    "asyncio.create_task",
    "asyncio.gather",
    "asyncio.ensure_future",
    "create_task",
    "ensure_future",
    "gather",
}

# The terms of the product have no synonyms; these words stand for none of them.
BANNED_NAMES = re.compile(r"(Manager|Helper|Utils?)$")
BANNED_WORDS = {
    "chunk": "block",
    "chunks": "blocks",
    "blob": "block",
    "blobs": "blocks",
    "revision": "rev",
    "etag_cursor": "cursor",
}
FOREIGN_WORDS = {
    # path: words of a library or a standard that this file speaks to.
    "src/satchel/core/cutting.py": {"chunk"},
}
PLACES_OF_TEXT = ("README.md", "SECURITY.md", "docs")


def test_the_environment_is_read_in_settings_files_only() -> None:
    readers = [
        f"{source.path}:{node.lineno}"
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb")
        if not source.path.endswith("settings.py")
    ]
    assert readers == []


def test_only_the_command_line_prints() -> None:
    printers = [
        f"{source.path}:{node.lineno}"
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and called_name(node) == "print"
        if not source.path.startswith("src/satchel/cli/")
    ]
    assert printers == []


def test_everything_is_caught_only_where_a_reason_is_written() -> None:
    broad = set()
    for source in sources():
        for node in ast.walk(source.tree):
            # What goes on to raise swallows nothing: it undoes something on the way, such as a transaction.
            if (
                isinstance(node, ast.ExceptHandler)
                and _is_broad(node.type)
                and not isinstance(node.body[-1], ast.Raise)
            ):
                broad.add(source.path)
    assert broad - set(BROAD_CATCHES) == set()
    assert set(BROAD_CATCHES) - broad == set(), "a listed exception is no longer needed"


def _is_broad(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    types = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(isinstance(one, ast.Name) and one.id in ("Exception", "BaseException") for one in types)


def test_tasks_are_made_in_task_groups_only() -> None:
    makers = [
        f"{source.path}:{node.lineno}"
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        and (called_name(node) in TASK_MAKERS or called_name(node).endswith("loop.create_task"))
    ]
    assert makers == []


def test_every_queue_has_a_bound() -> None:
    unbounded = [
        f"{source.path}:{node.lineno}"
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        and called_name(node).rpartition(".")[2] in ("Queue", "LifoQueue", "PriorityQueue")
        if not node.args and not any(keyword.arg == "maxsize" for keyword in node.keywords)
    ]
    assert unbounded == []


def test_no_class_is_named_after_nothing() -> None:
    vague = [
        f"{source.path}:{node.name}"
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef) and BANNED_NAMES.search(node.name)
    ]
    assert vague == []


def test_the_terms_have_no_synonyms_in_names() -> None:
    used = []
    for source in sources():
        allowed = FOREIGN_WORDS.get(source.path, set())
        for node in ast.walk(source.tree):
            name = node.id if isinstance(node, ast.Name) else node.arg if isinstance(node, ast.arg) else ""
            words = set(name.lower().split("_")) & set(BANNED_WORDS)
            used += [f"{source.path}: {name}" for word in words if word not in allowed]
    assert sorted(set(used)) == []


def test_the_terms_have_no_synonyms_in_documents() -> None:
    pages = [page for place in PLACES_OF_TEXT for page in _pages(place)]
    used = [
        f"{page.relative_to(ROOT)}: {word}"
        for page in pages
        for word in set(re.findall(r"[a-z]+", page.read_text().lower())) & (set(BANNED_WORDS) - {"chunk"})
    ]
    assert used == []


def _pages(place: str) -> list:  # type: ignore[type-arg]
    path = ROOT / place
    return [path] if path.is_file() else sorted(path.rglob("*.md"))


def test_a_todo_names_its_issue() -> None:
    loose = [
        f"{source.path}: {line.strip()}"
        for source in sources("src", "tests")
        for line in source.text.splitlines()
        if re.search(r"#\s*(TODO|FIXME|XXX)(?!\(#\d+\))", line)
    ]
    assert loose == []


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    marks = re.compile(
        r"pytest\.(skip|importorskip|xfail|mark\.(skip|skipif|xfail))|unittest\.mock|from unittest import mock|@skip"
    )
    evasive = [
        f"{source.path}: {line.strip()}"
        for source in sources("tests")
        for line in source.text.splitlines()
        if marks.search(line) and source.path != "tests/tidy/test_bans.py"
    ]
    assert evasive == []
