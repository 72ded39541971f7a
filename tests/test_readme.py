"""The README names every error code and every setting that the code has."""

import re
from pathlib import Path

from gateway.domain.errors import DENIALS
from gateway.protocol.policy.read import read_policies

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_error_code_is_explained_with_its_status() -> None:
    rows = [line for line in section("Errors").splitlines() if line.startswith("| `")]
    for denial in DENIALS.values():
        row = next((row for row in rows if f"`{denial.name}`" in row), "")
        assert str(denial.status) in row, denial.name


def test_every_setting_is_explained() -> None:
    source = "".join(path.read_text() for path in (REPOSITORY / "gateway").rglob("*.py"))
    read = set(re.findall(r"\bGATEWAY_[A-Z_]+\b", source))
    told = set(re.findall(r"\bGATEWAY_[A-Z_]+\b", section("Settings")))
    assert read == told


def test_no_setting_has_a_name_that_kubernetes_injects() -> None:
    for name in re.findall(r"\bGATEWAY_[A-Z_]+\b", section("Settings")):
        assert not name.endswith(("_PORT", "_HOST"))
        assert not name.startswith("GATEWAY_SERVICE")


def test_the_policies_that_it_shows_are_understood() -> None:
    whole = re.findall(r"```yaml\n(version.*?)```", README, re.DOTALL)
    assert whole
    for text in whole:
        assert read_policies({"README.yaml": text.encode()}).problems == ()


def test_every_link_leads_somewhere() -> None:
    for page in (REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
