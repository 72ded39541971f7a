"""What is in deploy/ is read by the programs that it is for."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from kubernetes_validate import validate

from gateway.protocol.policy.read import read_policies
from gateway.services.traffic import Traffic

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


def program(name: str, package: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        reason = f"{name} is not installed ({package})"
        pytest.fail(reason) if os.environ.get("GATEWAY_REQUIRE_TOOLS") else pytest.skip(reason)
    return found


def run(*words: str | Path, cwd: Path = DEPLOY) -> str:
    ended = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_image_is_built_as_its_linter_would_build_it() -> None:
    run(program("hadolint", "a test dependency"), DEPLOY / "Dockerfile")


def test_alert_rules_strike_when_they_should() -> None:
    promtool = program("promtool", "Debian: prometheus")
    run(promtool, "check", "rules", "rules.yml", cwd=DEPLOY / "prometheus")
    run(promtool, "test", "rules", "rules_test.yml", cwd=DEPLOY / "prometheus")
    run(promtool, "check", "config", "prometheus.yml", cwd=DEPLOY / "prometheus")


def test_alert_rules_ask_for_metrics_that_there_are() -> None:
    rules = (DEPLOY / "prometheus" / "rules.yml").read_text()
    asked = set(re.findall(r"\bgateway_\w+", rules))
    told = Traffic().exposition().decode()
    families = set(re.findall(r"^# TYPE (gateway_\w+) ", told, re.MULTILINE))
    assert asked
    assert asked <= families, asked - families


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


def test_what_compose_is_given_is_there() -> None:
    told = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert told["services"].keys() == {"gateway", "redis"}
    gateway = told["services"]["gateway"]
    assert gateway["read_only"] is True
    assert gateway["deploy"]["replicas"] == 2
    build = gateway["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()
    assert set(gateway["secrets"]) == told["secrets"].keys()
