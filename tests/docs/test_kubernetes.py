"""The manifests and the container file of examples/kubernetes: valid, and in keeping with one another and with the command."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
yaml = pytest.importorskip("yaml", reason="PyYAML, which kubernetes-validate brings, is not installed")

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "kubernetes"
MANIFESTS = sorted(FOLDER.glob("*.yaml"))
VERSIONS = ("1.29", kubernetes_validate.latest_version())
"""The oldest that has sidecars as these manifests have them, and the newest that the validator knows."""


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def sets(path: Path) -> list[dict[str, Any]]:
    return [each for each in documents(path) if each["kind"] == "StatefulSet"]


def electors(path: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each StatefulSet with its container of the elector."""
    found = []
    for each in sets(path):
        pod = each["spec"]["template"]["spec"]
        [elector] = [c for c in [*pod.get("initContainers", []), *pod["containers"]] if c["name"] == "elector"]
        found.append((each, elector))
    return found


def arguments(container: dict[str, Any]) -> dict[str, str]:
    return dict(each.split("=", 1) for each in container["args"])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_is_valid(path: Path, version: str) -> None:
    for each in documents(path):
        kubernetes_validate.validate(each, version, strict=True)


def test_the_validator_notices_a_field_that_there_is_not() -> None:
    wrong = sets(MANIFESTS[0])[0]
    wrong["spec"]["replica"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_both_scenarios_of_the_original_are_there() -> None:
    found = {path.name: {each["metadata"]["name"]: each["spec"]["replicas"] for each in sets(path)} for path in MANIFESTS}
    assert found == {"election.yaml": {"elector": 3}, "lock.yaml": {"lock": 2, "witness": 1}}


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_the_pods_are_the_nodes_of_the_cluster(path: Path) -> None:
    [service] = [each for each in documents(path) if each["kind"] == "Service"]
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"] is True
    domain = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc.cluster.local"
    pods = [f"{each['metadata']['name']}-{number}" for each in sets(path) for number in range(each["spec"]["replicas"])]
    assert len(pods) == 3
    for each, elector in electors(path):
        assert each["spec"]["serviceName"] == service["metadata"]["name"]
        assert service["spec"]["selector"].items() <= each["spec"]["template"]["metadata"]["labels"].items()
        assert each["spec"]["selector"]["matchLabels"].items() <= each["spec"]["template"]["metadata"]["labels"].items()
        assert arguments(elector)["--cluster"].split(",") == [f"{pod}.{domain}:5466" for pod in pods]
        assert arguments(elector)["--node"] == f"$(POD_NAME).{domain}:5466"


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_an_elector_has_probes_a_volume_and_its_password_from_a_secret(path: Path) -> None:
    for each, elector in electors(path):
        ports = {port["name"]: port["containerPort"] for port in elector["ports"]}
        assert arguments(elector)["--probes"] == f"0.0.0.0:{ports['probes']}"
        probes = {kind: elector[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
        assert {probe["port"] for probe in probes.values()} == {"probes"}
        assert [probes[kind]["path"] for kind in ("startup", "readiness", "liveness")] == ["/readyz", "/readyz", "/healthz"]
        [claim] = each["spec"]["volumeClaimTemplates"]
        [mount] = elector["volumeMounts"]
        assert mount["name"] == claim["metadata"]["name"] and arguments(elector)["--directory"].startswith(
            mount["mountPath"] + "/"
        )
        environment = {one["name"]: one["valueFrom"] for one in elector["env"]}
        assert environment["COOPY_PASSWORD"]["secretKeyRef"] == {"name": "elector", "key": "password"}
        assert each["spec"]["podManagementPolicy"] == "Parallel", "the first would wait for the second for ever"


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_the_command_has_the_options_that_a_manifest_gives(path: Path) -> None:
    pytest.importorskip("click", reason="the extra [cli] is not installed")
    from coopy.cli.app import app

    command = app.get_command(None, "elector")
    known = {name for parameter in command.params for name in parameter.opts}
    for _, elector in electors(path):
        assert elector["command"] == ["coopy", "elector"] and arguments(elector).keys() <= known


def test_the_image_has_the_programs_and_ends_by_sigterm() -> None:
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    lines = dict(line.partition(" ")[::2] for line in text.splitlines() if line and not line.startswith("#"))
    assert lines["STOPSIGNAL"] == "SIGTERM" and json.loads(lines["CMD"])[:2] == ["coopy", "elector"]
    assert json.loads(lines["CMD"])[3].startswith(lines["VOLUME"] + "/")
    assert '"/src[cluster,elector]"' in text
    copied = re.findall(r"examples/kubernetes/(\w+\.py)", text)
    for path in MANIFESTS:
        for each in sets(path):
            for container in each["spec"]["template"]["spec"]["containers"]:
                if container["name"] == "example":
                    assert Path(container["command"][-1]).name in copied
    assert all((FOLDER / name).exists() for name in copied)
