"""Config files of agents: references are resolved when they are used."""

import copy
import pickle
from pathlib import Path

import pytest

from gateway.client import Config, ConfigError, load_config
from tests.client.agents import Pulling
from tests.until import until

YAML = """\
models:
  - name: gpt-4
    api_key: ${credentials.openai_key}
    header: "Bearer ${credentials.crm.value} $${literal} ${HOME}"
plain: {number: 5, maybe: no, text: hello}
"""
BAD = """\
a: ${credentials.other}
b: [1, "${credentials.crm.nope}"]
c: ${user.github.value}
d: ${credentials.Crm}
"""


async def test_values_are_the_newest_at_the_time_of_use(pulling: Pulling, tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text(YAML)
    async with pulling.credentials() as credentials:
        config = load_config(tmp_path / "agent.yaml", credentials)
        model = config["models"][0]
        assert model["api_key"] == "openai_key-1"
        assert model["header"] == "Bearer crm-1 ${literal} ${HOME}"
        assert dict(config["plain"]) == {"number": 5, "maybe": False, "text": "hello"}
        await pulling.vault.write("openai_key", 2)
        await until(lambda: bool(model["api_key"] == "openai_key-2"))
        assert "openai_key-2" not in repr(config) and "${credentials.openai_key}" in repr(config)
        assert [entry["name"] for entry in config["models"]] == ["gpt-4"]


async def test_a_copy_holds_the_newest_values_too_and_a_pickle_is_refused(
    pulling: Pulling, tmp_path: Path
) -> None:
    (tmp_path / "agent.yaml").write_text(YAML)
    async with pulling.credentials() as credentials:
        config = load_config(tmp_path / "agent.yaml", credentials)
        for same in (copy.copy(config), copy.deepcopy(config), copy.deepcopy({"a": config})["a"]):
            assert same["models"][0]["api_key"] == "openai_key-1"
        assert copy.deepcopy(config["models"])[0]["name"] == "gpt-4"
        for view in (config, config["models"]):
            with pytest.raises(TypeError, match="load its file again"):
                pickle.dumps(view)


async def test_json_does_as_well(pulling: Pulling, tmp_path: Path) -> None:
    text = '\ufeff{"key": "${credentials.crm}",\n "deep": [{"a": null}]}'
    (tmp_path / "agent.json").write_text(text)
    async with pulling.credentials() as credentials:
        config = load_config(tmp_path / "agent.json", credentials)
        assert config["key"] == "crm-1" and config["deep"][0]["a"] is None


async def test_every_reference_that_means_nothing_is_named_with_its_place(
    pulling: Pulling, tmp_path: Path
) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(BAD)
    async with pulling.credentials() as credentials:
        with pytest.raises(ConfigError) as refused:
            load_config(path, credentials)
        lines = str(refused.value).splitlines()
        assert [line.split(": ")[0] for line in lines] == [
            f"{path}:{at}" for at in ("1:4", "2:8", "3:4", "4:4")
        ]
        (tmp_path / "agent.json").write_text('{"a": 1,\n  "b": "${credentials.other}"}')
        with pytest.raises(ConfigError, match=r"agent.json:2:8: "):
            load_config(tmp_path / "agent.json", credentials)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "a: ["),
        ("a.json", "{"),
        ("a.yaml", "- a"),
        ("a.yaml", "a: \udce9"),
        ("a.yaml", "a: &a ['${credentials.crm}', *a]"),
        ("a.yaml", "a: " + 3000 * "[" + 3000 * "]"),
        ("a.json", '{"a": ' + 100_000 * "[" + 100_000 * "]" + "}"),
    ],
)
async def test_what_is_no_config_is_refused_with_its_place(
    name: str, text: str, pulling: Pulling, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text, errors="surrogateescape")
    async with pulling.credentials() as credentials:
        with pytest.raises(ConfigError, match=rf"{name}:1:\d+: |{name}:2:1: "):
            load_config(tmp_path / name, credentials)


def test_a_config_is_a_mapping() -> None:
    config = Config({"a": [1, 2, {"b": 3}]}, {})  # type: ignore[arg-type]
    assert config["a"][0:2][1] == 2 and config["a"][-1]["b"] == 3 and len(config["a"]) == 3
