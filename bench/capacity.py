"""`make capacity`: what 500 million accounts and a billion uploads a day take, from what one core was measured to do.

Nothing is written down but the inputs: unit costs that `make load` measured (`bench/unit-costs.json`, or another run's
file), and givens with their source (`bench/capacity-givens.json`). Each line of the plan is a formula over their names
and over the lines above it, and is printed with it. `docs/operate/capacity.md` holds the same table; a test compares.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
COSTS, GIVENS = HERE / "unit-costs.json", HERE / "capacity-givens.json"


class Input(NamedTuple):
    """A number that is given. source: where it is from."""

    value: float
    unit: str
    source: str


class Line(NamedTuple):
    """A line of the plan. formula: over inputs and earlier lines, with + - * / and up() for whole things."""

    name: str
    unit: str
    formula: str


USED_COSTS = {
    # name in formulas: name in the file of unit costs
    "commit_us": "full.commits_of_one_file.cpu_us",
    "commit_db_us": "full.commits_of_one_file.database_cpu_us",
    "read_us": "full.changes_after_a_cursor.cpu_us",
    "read_db_us": "full.changes_after_a_cursor.database_cpu_us",
    "up_us": "full.blocks_up.cpu_us",
    "down_us": "full.blocks_down.cpu_us",
    "open_us": "full.streams_opened.cpu_us",
    "woken_us": "full.followers_woken.cpu_us",
    "idle_us": "full.streams_held_idle.value",
    "held_kib": "full.streams_held_memory.value",
    "file_bytes": "full.row_bytes_of_a_file.value",
    "version_bytes": "full.row_bytes_of_an_edit.value",
    "log_bytes": "full.log_bytes_of_a_file.value",
}
"""What the plan takes from a load run: of the full stack, since that is what is planned."""

PLAN: Sequence[Line] = (
    Line("uploads", "commits/s", "uploads_a_day / seconds_a_day"),
    Line("uploads_peak", "commits/s", "uploads * peak"),
    Line("up_mb", "MB/s at peak", "uploads_peak * file_mb"),
    Line("down_mb", "MB/s at peak", "up_mb * downloads"),
    Line("connected", "connections at peak", "active_devices * connected_share"),
    Line("openings", "streams opened/s at peak", "active_devices * streams_a_day / seconds_a_day * peak"),
    Line("reads", "requests/s at peak", "active_devices * reads_a_day / seconds_a_day * peak"),
    Line("commit_cores", "cores", "uploads_peak * commit_us / 1e6"),
    Line("block_cores", "cores", "(up_mb * up_us + down_mb * down_us) / 1e6"),
    Line("read_cores", "cores", "reads * read_us / 1e6"),
    Line("push_cores", "cores", "uploads_peak * followers * woken_us / 1e6"),
    Line("stream_cores", "cores", "(openings * open_us + connected * idle_us) / 1e6"),
    Line(
        "gateway_cores",
        "cores at 70 %",
        "up((commit_cores + block_cores + read_cores + push_cores + stream_cores) / busy)",
    ),
    Line("gateway_processes", "processes, for connections", "up(connected / connections_each)"),
    Line("held_gib", "GiB for connections", "connected * held_kib / 1048576"),
    Line(
        "gateway_servers",
        "servers",
        "up(most(gateway_cores / server_cores, gateway_processes / server_cores, held_gib / server_gib / busy))",
    ),
    Line("metadata_tb", "TB of rows", "(files * file_bytes + (versions - files) * version_bytes) / 1e12"),
    Line("database_cores_used", "cores at 70 %", "(uploads_peak * commit_db_us + reads * read_db_us) / 1e6 / busy"),
    Line("shards", "shards", "up(most(metadata_tb / database_tb, database_cores_used / database_cores))"),
    Line("database_servers", "servers", "shards * database_copies"),
    Line("log_mb", "MB/s of log at peak", "uploads_peak * log_bytes / 1e6"),
    Line("commits_of_shard", "commits/s of a shard at peak", "uploads_peak / shards"),
    Line("block_pb", "PB of blocks", "versions * file_mb * new_share / 1e9"),
    Line("block_growth_pb", "PB a day at most", "uploads_a_day * file_mb / 1e9"),
    Line("disks", "disks", "up(block_pb * 1000 * object_copies / (disk_tb * disk_full))"),
    Line("valkey_renewals", "operations/s at peak", "connected / presence_s"),
    Line("valkey_lookups", "operations/s at peak", "uploads_peak * followers"),
    Line("valkey_work", "operations/s at 70 %", "(valkey_renewals + valkey_lookups + 2 * openings) / busy"),
    Line("valkey_memory_gib", "GiB", "connected * presence_bytes / 1073741824"),
    Line(
        "valkey_servers",
        "servers",
        "up(most(valkey_work / valkey_ops, valkey_memory_gib / valkey_gib))",
    ),
    Line("kafka_mb", "MB/s at peak, copies included", "uploads_peak * kafka_bytes * kafka_copies / 1e6"),
    Line("kafka_partitions", "partitions", "up(uploads_peak / partition_events)"),
    Line("kafka_brokers", "brokers", "up(most(3, uploads_peak * kafka_copies / kafka_events / busy))"),
    Line("kafka_tb", "TB", "uploads_a_day * kafka_days * kafka_bytes * kafka_copies / 1e12"),
    Line(
        "servers",
        "servers without disks of blocks",
        "gateway_servers + database_servers + valkey_servers + kafka_brokers",
    ),
    Line("server_cost", "USD a year", "servers * (price_server / disk_years + price_power_server)"),
    Line("disk_cost", "USD a year", "disks * (price_disk / disk_years + price_power_disk)"),
    Line("egress_cost", "USD a year", "uploads_a_day * 365 * file_mb * downloads / 1e6 * price_egress_tb"),
    Line("cost", "USD a year", "server_cost + disk_cost + egress_cost"),
    Line("account_cost", "USD a year and account", "cost / accounts"),
)


def read_inputs(costs: Path = COSTS, givens: Path = GIVENS) -> dict[str, Input]:
    """Return all inputs by the name that formulas have for them. Raises: KeyError for one that is missing."""
    measured = json.loads(costs.read_text())
    inputs = {name: Input(*given) for name, given in json.loads(givens.read_text()).items()}
    for name, key in USED_COSTS.items():
        found = measured[key]
        source = found["source"]
        told = ", ".join(source[part] for part in ("command", "date", "note") if part in source)
        inputs[name] = Input(found["value"], found["unit"], told)
    return inputs


def planned(inputs: Mapping[str, Input], plan: Sequence[Line] = PLAN) -> dict[str, float]:
    """Return the value of each line. Raises: KeyError for a name that is neither input nor earlier line."""
    known = {name: given.value for name, given in inputs.items()}
    for line in plan:
        known[line.name] = evaluated(line.formula, known)
    return {line.name: known[line.name] for line in plan}


_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_FUNCTIONS: Mapping[str, Callable[..., float]] = {"up": math.ceil, "most": max}


def evaluated(formula: str, known: Mapping[str, float]) -> float:
    """Return what a formula gives. Raises: KeyError for an unknown name, ValueError for anything but arithmetic."""

    def value(node: ast.expr) -> float:
        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.Name(id=name):
                return known[name]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](value(left), value(right))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
                return float(_FUNCTIONS[name](*map(value, args)))
        raise ValueError(formula)

    return value(ast.parse(formula, mode="eval").body)


def table(inputs: Mapping[str, Input]) -> str:
    """Return the plan and its inputs as two tables, as the document has them."""
    values = planned(inputs)
    plan = ["| quantity | value | unit | from |", "|---|---|---|---|"]
    plan += [f"| `{line.name}` | {shown(values[line.name])} | {line.unit} | `{line.formula}` |" for line in PLAN]
    given = ["| input | value | unit | source |", "|---|---|---|---|"]
    given += [
        f"| `{name}` | {shown(each.value)} | {each.unit} | {each.source} |" for name, each in sorted(inputs.items())
    ]
    return "\n".join([*plan, "", *given])


def shown(value: float) -> str:
    """Return a number with three digits that count."""
    if value >= 100 or value == int(value):
        digits = max(0, len(str(int(value))) - 3)
        return f"{round(value / 10**digits) * 10**digits:,}"
    return f"{value:.3g}"


def main() -> None:
    """Print the plan."""
    parser = argparse.ArgumentParser(prog="make capacity", description=__doc__)
    parser.add_argument("--costs", type=Path, default=COSTS, help="unit costs, as `make load` writes them")
    print(table(read_inputs(parser.parse_args().costs)))


if __name__ == "__main__":
    main()
