"""What is in deploy/ is read by the programs that it is for."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from kubernetes_validate import validate

from gateway.domain.settings import Settings
from gateway.domain.units import duration
from gateway.protocol.policy.read import read_policies
from gateway.services.telemetry.traffic import Traffic
from tests.deploy.programs import DEPLOY, run
from tests.needed import program

ENDS = ("_bucket", "_sum", "_count")
KUBERNETES = DEPLOY / "kubernetes"


def test_the_image_is_built_as_its_linter_would_build_it() -> None:
    run(program("hadolint", "a test dependency"), DEPLOY / "Dockerfile")


def test_alert_rules_strike_when_they_should() -> None:
    promtool = program("promtool", "Debian: prometheus")
    run(promtool, "check", "rules", "rules.yml", cwd=DEPLOY / "prometheus")
    run(promtool, "test", "rules", "rules_test.yml", cwd=DEPLOY / "prometheus")
    run(promtool, "check", "config", "prometheus.yml", cwd=DEPLOY / "prometheus")


def samples() -> set[str]:
    """Every name of ours that a query may ask for."""
    told = Traffic().exposition().decode()
    families = re.findall(r"^# TYPE (gateway_\w+) (\w+)$", told, re.MULTILINE)
    parts = {f"{name}{end}" for name, kind in families if kind == "histogram" for end in ENDS}
    return parts | {name for name, kind in families if kind != "histogram"}


def test_alert_rules_ask_for_metrics_that_there_are() -> None:
    rules = (DEPLOY / "prometheus" / "rules.yml").read_text()
    asked = set(re.findall(r"\bgateway_\w+", rules))
    assert asked
    assert asked <= samples(), asked - samples()


def test_every_question_of_the_dashboard_is_one_that_prometheus_understands(
    tmp_path: Path,
) -> None:
    told = json.loads((DEPLOY / "grafana" / "dashboards" / "gateway.json").read_text())
    questions = [target["expr"] for panel in told["panels"] for target in panel["targets"]]
    asked = set(re.findall(r"\bgateway_\w+", " ".join(questions)))
    assert len(asked) > 15
    assert asked <= samples(), asked - samples()
    assert len({panel["title"] for panel in told["panels"]}) == len(told["panels"])
    rules = [
        {"record": f"asked:{number}", "expr": question.replace("$__rate_interval", "5m")}
        for number, question in enumerate(questions)
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "a", "rules": rules}]}))
    said = run(program("promtool", "Debian: prometheus"), "check", "rules", tmp_path / "rules.yml")
    assert f"{len(rules)} rules found" in said


def test_grafana_finds_its_dashboard_and_prometheus() -> None:
    provisioned = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioned / "datasources" / "prometheus.yaml").read_text())[
        "datasources"
    ]
    (provider,) = yaml.safe_load((provisioned / "dashboards" / "gateway.yaml").read_text())[
        "providers"
    ]
    services = compose()["services"]
    assert source["url"] == "http://prometheus:9090" and "prometheus" in services
    place = provider["options"]["path"]
    assert f"./grafana/dashboards:{place}:ro" in services["grafana"]["volumes"]
    told = json.loads((DEPLOY / "grafana" / "dashboards" / "gateway.json").read_text())
    assert {panel["datasource"]["uid"] for panel in told["panels"]} == {source["uid"]}


def test_every_alert_is_tested_to_strike() -> None:
    folder = DEPLOY / "prometheus"
    (group,) = yaml.safe_load((folder / "rules.yml").read_text())["groups"]
    struck = {
        case["alertname"]
        for test in yaml.safe_load((folder / "rules_test.yml").read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert struck == {rule["alert"] for rule in group["rules"]}


def objects(kustomized: str) -> Sequence[dict[str, object]]:
    return [one for one in yaml.safe_load_all(kustomized) if one]


@pytest.mark.parametrize("folder", ["base", "overlays/example"])
def test_kubernetes_takes_what_kustomize_makes(folder: str) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    made = objects(run(kubectl, "kustomize", KUBERNETES / folder))
    kinds = {str(one["kind"]) for one in made}
    assert {"Deployment", "Service", "ConfigMap", "NetworkPolicy"} <= kinds
    for one in made:
        validate(one, "1.31", strict=True)


def test_a_pod_that_ends_is_sent_no_connections_any_more_once_it_takes_none() -> None:
    made = objects((KUBERNETES / "base" / "gateway.yaml").read_text())
    (deployment,) = (one for one in made if one["kind"] == "Deployment")
    spec: Any = deployment["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    told = {one["name"]: one.get("value") for one in container["env"]}
    delay = duration(told["GATEWAY_SHUTDOWN_DELAY"])
    assert delay >= 5
    (drain,) = (one.default for one in fields(Settings) if one.name == "drain")
    assert delay + drain + 10 <= pod["terminationGracePeriodSeconds"]


def test_the_secrets_of_a_pod_are_open_to_its_gateway_alone() -> None:
    made = objects((KUBERNETES / "base" / "gateway.yaml").read_text())
    (deployment,) = (one for one in made if one["kind"] == "Deployment")
    spec: Any = deployment["spec"]
    pod = spec["template"]["spec"]
    (mode,) = (one["secret"].get("defaultMode", 0o644) for one in pod["volumes"] if "secret" in one)
    assert mode == 0o440, "gateway doctor calls wrong what others may read"
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsUser"]


def test_the_policies_of_the_example_are_good() -> None:
    text = (KUBERNETES / "base" / "policies.yaml").read_bytes()
    assert read_policies({"policies.yaml": text}).problems == ()


def test_settings_that_are_given_are_settings_that_there_are() -> None:
    manual = (DEPLOY.parent / "docs" / "reference" / "settings.md").read_text()
    for path in DEPLOY.rglob("*"):
        if path.suffix in (".yaml", ".service") or path.name == "Dockerfile":
            for name in re.findall(r"\bGATEWAY_[A-Z_]+\b", path.read_text()):
                assert f"`{name}`" in manual or name == "GATEWAY_PORT", (path.name, name)


def test_the_unit_is_one_that_systemd_reads_and_finds_safe() -> None:
    analyze = program("systemd-analyze", "Debian: systemd")
    unit = DEPLOY / "systemd" / "agent-credential-gateway.service"
    run(analyze, "security", "--offline=true", "--threshold=20", unit)
    told = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, timeout=60)
    # The program itself is not where the unit will find it.
    assert all("is not executable" in line for line in told.stderr.splitlines()), told.stderr


def compose() -> dict[str, dict[str, dict[str, Any]]]:
    told: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(
        (DEPLOY / "compose.yaml").read_text()
    )
    return told


def test_compose_is_as_its_schema_has_it() -> None:
    check = program("check-jsonschema", "a test dependency")
    run(check, "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


def test_what_compose_is_given_is_there() -> None:
    told = compose()
    services, used = told["services"], set()
    assert services.keys() == {"gateway", "redis", "agents", "prometheus", "grafana"}
    for service in services.values():
        used |= set(service.get("secrets", ()))
        assert service["cap_drop"] == ["ALL"]
        assert set(service["networks"]) <= told["networks"].keys()
        for volume in service.get("volumes", ()):
            place = volume.partition(":")[0]
            assert place in told["volumes"] or (DEPLOY / place).is_dir(), place
    assert used == told["secrets"].keys()
    gateway = services["gateway"]
    assert gateway["read_only"] is True
    assert gateway["deploy"]["replicas"] == 2
    assert (DEPLOY / gateway["build"]["context"] / gateway["build"]["dockerfile"]).is_file()
    # The admin listener is reached from within alone.
    assert gateway["ports"] == ["8080-8081:8080"]


def test_secrets_beside_the_clone_are_not_committed_with_it() -> None:
    ignored = (DEPLOY.parent / ".gitignore").read_text().splitlines()
    for secret in compose()["secrets"].values():
        assert secret["file"].removeprefix("..") in ignored


def test_prometheus_asks_the_replicas_of_compose_where_they_listen() -> None:
    promtool = program("promtool", "Debian: prometheus")
    run(promtool, "check", "config", "--syntax-only", "compose.yml", cwd=DEPLOY / "prometheus")
    (job,) = yaml.safe_load((DEPLOY / "prometheus" / "compose.yml").read_text())["scrape_configs"]
    (names,) = job["dns_sd_configs"]
    gateway = compose()["services"]["gateway"]
    assert names["names"] == ["gateway"]
    assert gateway["environment"]["GATEWAY_ADMIN_LISTEN"].endswith(f":{names['port']}")
    assert set(gateway["networks"]) & set(compose()["services"]["prometheus"]["networks"])


async def test_the_agents_of_compose_are_those_of_its_policies() -> None:
    loaded = read_policies({"a.yaml": (DEPLOY / "compose" / "policies.yaml").read_bytes()})
    assert loaded.policies is not None, loaded.problems
    words = compose()["services"]["agents"]["entrypoint"]
    ports = [one.upstreams[0].port for one in loaded.policies.agents.values()]
    assert [int(word.rpartition(":")[2]) for word in words[3:]] == ports
    assert {one.upstreams[0].host for one in loaded.policies.agents.values()} == {"agents"}
    command = [sys.executable, *words[1:3], "127.0.0.1:0", "127.0.0.1:0"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    found = re.findall(r"\d+", (await process.stdout.readline()).decode())
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{found[0]}/x") as told,
    ):
        assert told.status == 200
    process.terminate()
    assert await process.wait() == 0


def test_a_pod_reaches_what_it_needs_and_no_metadata_service() -> None:
    told = objects((KUBERNETES / "base" / "limits.yaml").read_text())
    (policy,) = (one for one in told if one["kind"] == "NetworkPolicy")
    spec: Any = policy["spec"]
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    assert all("to" in rule for rule in spec["egress"]), "a rule without `to` is for everywhere"
    blocks = [one["ipBlock"] for rule in spec["egress"] for one in rule["to"] if "ipBlock" in one]
    for address in ("169.254.169.254", "100.100.100.200", "10.1.2.3", "fd00:ec2::254", "127.0.0.1"):
        assert not any(reaches(block, address) for block in blocks), address
    assert any(reaches(block, "8.8.8.8") for block in blocks)


def reaches(block: dict[str, Any], address: str) -> bool:
    found = ip_address(address)
    left_out = any(found in ip_network(one) for one in block.get("except", ()))
    return found in ip_network(block["cidr"]) and not left_out
