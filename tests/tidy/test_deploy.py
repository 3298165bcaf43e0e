"""deploy/ and docs/operate/ name what is there: each setting, metric, role and path of them is the program's own."""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from satchel.server.gateway.health import ROUTES
from satchel.server.monitor import METRICS
from satchel.server.settings import DRAIN_WAIT_S_MAX, ROLES, SECRET_VARIABLES, SETTINGS
from tests.tidy.sources import ROOT, document, rows

DEPLOY = ROOT / "deploy"
FILES = sorted(path.relative_to(ROOT).as_posix() for path in DEPLOY.rglob("*") if path.is_file())
PAGES = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "operate").glob("*.md")]
VARIABLES = {setting.variable for setting in SETTINGS} | {"SATCHEL_BACKUP_PASSPHRASE"}
METRIC = re.compile(r"\b(?:satchel|process)_[a-z][a-z_]+")
PATHS = {path for route in ROUTES for path in route.paths}
STOP_S = 30
"""What a stop takes at most behind the drain: requests, then a task of upkeep."""
UNITS = ["deploy/systemd/satchel.service", "deploy/systemd/satchel@.service"]


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(document(f"deploy/{name}")))


def kubernetes() -> list[dict[str, Any]]:
    pages = [documents(f"kubernetes/{name}") for name in documents("kubernetes/kustomization.yaml")[0]["resources"]]
    return [each for page in pages for each in page]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in kubernetes() if each["kind"] == kind}


def metrics_in(text: str) -> set[str]:
    # A histogram's parts are named by its name and what they are.
    named = {re.sub(r"_(bucket|sum|count)$", "", name) for name in METRIC.findall(text)}
    return {name for name in named if name not in ("satchel_env",)}


def known_variables(found: set[str]) -> set[str]:
    return {name for name in found if name in VARIABLES or name in SECRET_VARIABLES}


@pytest.mark.parametrize("path", [*FILES, *PAGES])
def test_every_variable_is_a_setting(path: str) -> None:
    assert set(re.findall(r"SATCHEL_[A-Z_]+\b", document(path))) - VARIABLES == set()


@pytest.mark.parametrize("path", [path for path in FILES if path.endswith((".yaml", ".json"))])
def test_every_file_is_what_its_name_says(path: str) -> None:
    text = document(path)
    assert json.loads(text) if path.endswith(".json") else list(yaml.safe_load_all(text))


def test_every_metric_and_alert_is_told_with_what_to_do() -> None:
    told = rows("docs/operate/metrics.md", "What each means")
    said = {each.name: f" {each.kind} | {', '.join(each.labels)} | {each.help} " for each in METRICS}
    assert {name: text for name, text in told.items() if said.get(name) != text} == {}
    assert told.keys() == said.keys()
    alerts = {each["alert"]: each for each in documents("prometheus/alerts.yaml")[0]["groups"][0]["rules"]}
    advice = rows("docs/operate/metrics.md", "What to do at each alert")
    assert advice.keys() == alerts.keys()
    assert [name for name, each in alerts.items() if each["annotations"]["summary"] not in advice[name]] == []
    assert [name for name, text in advice.items() if len(text.rpartition("|")[2].split()) < 5] == []


@pytest.mark.parametrize("path", ["deploy/prometheus/alerts.yaml", "deploy/grafana/satchel.json"])
def test_every_metric_that_is_drawn_or_watched_exists(path: str) -> None:
    known = {metric.name for metric in METRICS}
    assert metrics_in(document(path)) - known == set()


def test_every_label_that_is_drawn_or_watched_exists() -> None:
    labels = {metric.name: {*metric.labels, "le", "instance"} for metric in METRICS}
    alerts = [each["expr"] for each in documents("prometheus/alerts.yaml")[0]["groups"][0]["rules"]]
    board = json.loads(document("deploy/grafana/satchel.json"))
    drawn = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    wrong = []
    for expression in (*alerts, *drawn):
        used = {word.strip() for by in re.findall(r" by \(([^)]*)\)", expression) for word in by.split(",")}
        used |= set(re.findall(r"[{,]([a-z]+)[=!]", expression)) - {"job"}
        known = set().union(*(labels[name] for name in metrics_in(expression)), set())
        wrong += [f"{expression}: {used - known}"] if used - known else []
        assert expression.count("(") == expression.count(")"), expression
    assert wrong == []


def test_most_metrics_are_drawn() -> None:
    drawn = metrics_in(document("deploy/grafana/satchel.json"))
    assert len(drawn) > len(METRICS) / 2


def test_every_role_of_the_examples_exists() -> None:
    compose = documents("compose.yaml")[0]
    started = [
        service["command"] for service in compose["services"].values() if "--roles" in service.get("command", ())
    ]
    started += [each["spec"]["template"]["spec"]["containers"][0]["args"] for each in of_kind("Deployment").values()]
    assert {words[1] for words in started} == set(ROLES)
    assert [words for words in started if words[0] != "--roles" or words[1] not in ROLES] == []


def test_compose_names_its_own_services_and_networks() -> None:
    compose = documents("compose.yaml")[0]
    services = compose["services"]
    lost = [
        f"{name} {what}"
        for name, service in services.items()
        for what in (*service.get("depends_on", {}), *(f"network {net}" for net in service["networks"]))
        if what not in services and what.removeprefix("network ") not in compose["networks"]
    ]
    assert lost == []
    environment = compose["x-satchel"]["environment"]
    hosts = set(re.findall(r"(?:@|//)([a-z0-9-]+):\d+", " ".join(environment.values())))
    assert hosts - {"0"} <= set(services)
    needed = set(re.findall(r"\$\{([A-Z0-9_]+)", document("deploy/compose.yaml")))
    assert needed == set(re.findall(r"^([A-Z0-9_]+)=", document("deploy/example.env"), re.MULTILINE))
    assert float(environment["SATCHEL_DRAIN_WAIT_S"]) + STOP_S <= int(compose["x-satchel"]["stop_grace_period"][:-1])
    # Nothing but the balancer is reached from outside.
    assert [name for name, service in services.items() if service.get("ports")] == ["balancer"]
    upstreams = re.findall(r"server (gateway-\d):8484", document("deploy/nginx/satchel.conf"))
    assert upstreams == [name for name in services if name.startswith("gateway")]


@pytest.mark.parametrize("name", sorted(ROLES))
def test_a_deployment_is_probed_bounded_and_without_rights(name: str) -> None:
    deployment = of_kind("Deployment")[name]["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels == {"app": "satchel", "role": name}
    probes = {kind: container[kind]["httpGet"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert [probe["path"] for probe in probes.values()] == ["/ready", "/ready", "/health"]
    assert {probe["path"] for probe in probes.values()} <= PATHS
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    config = of_kind("ConfigMap")["satchel"]["data"]
    assert ports["http"] == int(config["SATCHEL_LISTEN"].rpartition(":")[2])
    assert ports["metrics"] == int(config["SATCHEL_METRICS_LISTEN"].rpartition(":")[2])
    assert {probe["port"] for probe in probes.values()} <= set(ports)
    drain_s = float(config["SATCHEL_DRAIN_WAIT_S"])
    assert drain_s <= DRAIN_WAIT_S_MAX and pod["terminationGracePeriodSeconds"] >= drain_s + STOP_S
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert "memory" in container["resources"]["limits"]
    budget = of_kind("PodDisruptionBudget")[name]["spec"]
    assert (budget["selector"]["matchLabels"], budget["maxUnavailable"]) == (labels, 1)


def test_kubernetes_objects_name_each_other_rightly() -> None:
    deployments = of_kind("Deployment")
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in deployments.values()]

    def fits(selector: dict[str, str]) -> bool:
        return any(selector.items() <= each.items() for each in labels)

    assert fits(of_kind("Service")["gateway"]["spec"]["selector"])
    assert all(fits(each["spec"]["podSelector"]["matchLabels"]) for each in of_kind("NetworkPolicy").values())
    scaler = of_kind("HorizontalPodAutoscaler")["gateway"]["spec"]
    assert scaler["scaleTargetRef"]["name"] in deployments
    assert scaler["minReplicas"] <= deployments["gateway"]["spec"]["replicas"] <= scaler["maxReplicas"]
    for deployment in deployments.values():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["envFrom"] == [{"configMapRef": {"name": "satchel"}}, {"secretRef": {"name": "satchel"}}]
    given = {*of_kind("ConfigMap")["satchel"]["data"], *of_kind("Secret")["satchel"]["stringData"]}
    assert known_variables(given) == given
    # No secret stands in what is not secret.
    assert [name for name in of_kind("ConfigMap")["satchel"]["data"] if "PASSWORD" in name or "KEY" in name] == []
    shown = set(of_kind("Secret")["satchel"]["stringData"].values())
    assert all("CHANGE-ME" in value for value in shown)


@pytest.mark.parametrize("path", UNITS)
def test_a_unit_starts_the_program_without_rights(path: str) -> None:
    text = document(path)
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text)
    service = unit["Service"]
    assert service["ExecStart"].split()[0].endswith("/bin/satchel") and " serve" in service["ExecStart"]
    for directive in ("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome", "ProtectKernelTunables"):
        assert service[directive] == "yes", directive
    assert (service["ProtectSystem"], service["DynamicUser"], service["CapabilityBoundingSet"]) == ("strict", "yes", "")
    assert service["StateDirectoryMode"] == "0700" and service["UMask"] == "0077"
    data = re.search(r"SATCHEL_DATA=/var/lib/(\S+)", text)
    assert data is not None and data[1] == service["StateDirectory"]
    assert int(service["TimeoutStopSec"]) >= STOP_S
    assert set(unit) == {"DEFAULT", "Unit", "Service", "Install"}


def test_the_manual_names_every_example() -> None:
    told = document("docs/operate/deploy.md")
    named = re.findall(r"`(deploy/[\w./@-]*)`", told)
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert [
        path
        for path in FILES
        if not any(path.startswith(name) for name in named)
        and Path(path).suffix in (".yaml", ".conf", ".service", ".json")
    ] == []
