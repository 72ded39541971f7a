"""What the pages show is true: commands run, policies are understood, JSON is JSON."""

import json
import re
from pathlib import Path

import pytest

from gateway.protocol.policy.read import read_policies
from tests.cli.demos import tool
from tests.docs.blocks import ALL, LANGUAGES, PAGES, RUN, Block
from tests.docs.script import agrees, conversation, script
from tests.docs.stage import stage

# How many blocks may be shown without being run. Each says why; fewer is better.
NOT_RUN = 14


def of(*languages: str) -> list[Block]:
    return [block for block in ALL if block.language in languages and not block.not_run]


# A page that is a translation tells to type the same: that is compared, and run once.
RUN_PAGES = [
    page
    for page in PAGES
    if not page.endswith(".zh.md") and any(block.page == page for block in of(*RUN))
]


@pytest.mark.parametrize("block", ALL, ids=str)
def test_every_block_says_what_it_is_in_so_that_none_escapes(block: Block) -> None:
    assert block.language in LANGUAGES


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    left_out = [block for block in ALL if block.not_run and not block.page.endswith(".zh.md")]
    assert len(left_out) <= NOT_RUN, [str(block) for block in left_out]
    assert all(len(block.not_run.split()) >= 3 for block in left_out)


@pytest.mark.parametrize("block", of("yaml"), ids=str)
def test_policies_are_understood(block: Block) -> None:
    whole = block.text if "version:" in block.text else f"version: 1\n{block.text}"
    assert read_policies({"shown.yaml": whole.encode()}).problems == ()


@pytest.mark.parametrize("block", of("json"), ids=str)
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("page", RUN_PAGES)
async def test_what_a_page_tells_to_type_works_from_top_to_bottom(
    page: str, tmp_path: Path
) -> None:
    blocks = [b for b in ALL if b.page == page and not b.not_run and (b.language in RUN or b.file)]
    for program in ("curl", "redis-cli", "openssl"):
        if any(program in block.text for block in blocks):
            tool(program)
    async with stage() as here:
        code, printed = await here.shell(await script(here, blocks, tmp_path))
        assert code == 0, printed
        for number, block in enumerate(blocks):
            if block.language != "console":
                continue
            for step, (command, said) in enumerate(conversation(here.here(block.text))):
                told = (tmp_path / f"{number}.{step}").read_text()
                assert agrees(said, told), f"{block}: $ {command}\n{told}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.endswith(".zh.md")])
def test_a_chinese_page_tells_to_type_what_the_english_one_does(page: str) -> None:
    english = page.replace(".zh.md", ".md")
    assert typed(page) == typed(english)


def typed(page: str) -> list[tuple[str, str, str, str]]:
    """Without comments, which are translated."""
    return [
        (block.language, re.sub(r"#.*", "", block.text), block.not_run, block.file)
        for block in ALL
        if block.page == page
    ]


def test_a_page_that_is_wrong_is_found() -> None:
    shown = '$ curl -s \\\n  http://here/\n{"a": 1, …}\n$ true\n'
    assert conversation(shown) == [
        ("curl -s \\\n  http://here/", '{"a": 1, …}\n'),
        ("true", ""),
    ]
    assert agrees('{"a": 1, …}\n', '{"a": 1, "b": 2}')
    assert not agrees('{"a": 1, …}\n', '{"a": 2, "b": 2}')
    assert not agrees("", "a failure")
