"""On a terminal: tables fit it, an id is seen whole, and colours are there for eyes."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

from redis.asyncio import Redis

from gateway.cli.table import lay_out
from gateway.domain.settings import StoreSettings
from tests.cli.commands import COMMAND, Commands

HEADER = ("ID", "CONSUMER", "SCOPES", "EXPIRES")
ROW = ("4xT9mQ2LrB7c", "customer-relations-europe", "agents/echo agents/chat:chat", "2027-01-31")


def on_terminal(keys: Commands, *words: str, columns: int = 80, **environment: str) -> list[str]:
    """What a program writes on a terminal so wide."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    around = {**keys.environment(), **environment}
    for name in {"COLUMNS", "NO_COLOR"} - set(environment):
        around.pop(name, None)
    subprocess.run(
        words, cwd=keys.folder, env=around, stdout=its, stderr=its, timeout=60, check=True
    )
    os.close(its)
    shown = os.read(ours, 65_536).decode()
    os.close(ours)
    return shown.splitlines()


def test_what_fits_is_one_line_a_row() -> None:
    header, line = lay_out((HEADER, ROW), 90)
    assert line.split("  ") == list(ROW)
    assert header.index("SCOPES") == line.index("agents/echo")


def test_cells_are_broken_between_words_and_then_between_parts_of_names() -> None:
    assert lay_out((HEADER, ROW), 52) == [
        "ID            CONSUMER      SCOPES        EXPIRES",
        "4xT9mQ2LrB7c  customer-     agents/echo   2027-01-31",
        "              relations-    agents/chat:",
        "              europe        chat",
    ]


def test_nothing_is_lost_where_the_terminal_is_too_narrow() -> None:
    told = "".join("".join(lay_out((HEADER, ROW), 20)).split())
    for cell in (*HEADER, "4xT9mQ2LrB7c", "2027-01-31"):
        assert cell in told


def test_a_name_without_parts_is_cut_and_takes_no_column_away() -> None:
    header, *lines = lay_out((HEADER, ("4xT9mQ2LrB7c", "w" * 128, "agents/*", "2027-01-31")), 80)
    assert header.split() == list(HEADER)
    assert all(len(line) <= 80 for line in lines)
    assert "".join(lines).count("w") == 128


def test_one_cell_that_is_very_long_makes_no_other_line_long() -> None:
    long = "w" * 100_000
    header, first, second = lay_out((HEADER, ("1", long, "x", "y"), ("2", "w", "x", "y")), None)
    assert first.split() == ["1", long, "x", "y"]
    assert len(header) < 300 and len(second) < 300


def test_chinese_characters_take_two_columns() -> None:
    _, chinese, latin = lay_out((("A", "B"), ("审计", "x"), ("abcd", "y")), None)
    assert (chinese, latin) == ("审计  x", "abcd  y")


def test_chinese_is_broken_between_any_two_characters() -> None:
    name, label = "销售部门的一个很长的名字" * 3, "标签 用于每天的销售数据汇总" * 2
    lines = lay_out((("A", "B", "C"), ("x" * 24, name, label)), 60)
    assert all(len(line) + sum(c > "⺀" for c in line) <= 60 for line in lines)
    assert "标签 用于" in "\n".join(lines)


async def test_a_list_fits_eighty_columns_and_no_colours_means_none(
    store: StoreSettings, tmp_path: Path, client: Redis
) -> None:
    keys = Commands(store, tmp_path)
    fields = {"hash": "h", "status": "active", "plan": "default", "expires_at": "1893456000"}
    named = {"consumer": "customer-relations-" * 6, "scopes": "agents/echo agents/chat:chat"}
    label = "the job that collects the numbers of the day before"
    await client.hset(
        "gw:key:{000000000000}", mapping={**fields, **named, "label": label, "users": ""}
    )
    shown = on_terminal(keys, *COMMAND, "keys", "list", NO_COLOR="1")
    assert all(len(line) <= 80 and "\x1b" not in line for line in shown)
    text = "\n".join(shown)
    for whole in ("000000000000", "unusable", "default", "2030-01-01", "LABEL"):
        assert whole in text
    assert on_terminal(keys, *COMMAND, "keys", "list")[0].startswith("\x1b[1m")


def test_a_rotation_of_many_keys_shows_on_a_terminal_how_far_it_is(
    store: StoreSettings, tmp_path: Path
) -> None:
    keys = Commands(store, tmp_path)
    for _ in range(2):
        keys.create()
    words = (*COMMAND, "keys", "rotate", "--consumer", "sales", "--yes", "--out")
    shown = on_terminal(keys, *words, f"{tmp_path}/first")
    assert any("Rotating" in line and "100%" in line for line in shown)
    assert "Rotating" not in keys(*words[len(COMMAND) + 1 :], f"{tmp_path}/second").said


def test_the_log_has_colours_on_a_terminal_that_wants_them(
    store: StoreSettings, tmp_path: Path
) -> None:
    say = "from gateway.cli.logs import configure; from gateway.log import log"
    words = (COMMAND[0], "-c", f"{say}; configure('auto', 'info'); log.info('listening')")
    coloured = on_terminal(Commands(store, tmp_path), *words)
    plain = on_terminal(Commands(store, tmp_path), *words, NO_COLOR="1")
    assert "\x1b[" in coloured[0]
    assert "listening" in plain[0] and "\x1b" not in plain[0]
