"""A page's blocks as one script, so that what one block sets the next one has."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.cli import asking
from tests.cli.forks import place
from tests.docs.blocks import Block
from tests.docs.stage import ADMIN, Stage

# `set -a`: a reader types `export` where it matters to them; programs of a page see all.
# `strict`: a refusal ends the script, unless the page shows what it says. What was started a
# moment ago may not listen yet, so it is asked again first.
# `gateway`: as in tests.cli.forks, unless it is to be told signals.
# `reload`: a file that rests for a second is loaded, and whoever reads a page takes longer.
_BEGIN = """\
set -eua
again="--fail-with-body --retry 5 --retry-delay 1 --retry-all-errors"
strict=$again
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
gateway() {{
  case $1 in
    demo|run|serve) command gateway "$@" ;;
    *) python -IS {asking} {place} "$@" ;;
  esac
}}
curl() {{ command curl --silent --show-error $strict "$@"; }}
redis-cli() {{ command redis-cli -s .gateway/store.sock "$@"; }}
reload() {{
  curl -X POST http://127.0.0.1:{admin}/admin/v1/policies/reload \\
    -H "Authorization: Bearer $ADMIN_KEY" > /dev/null
}}
"""
_PYTHON = """\
import ast, asyncio, inspect, sys
flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
code = compile(open(sys.argv[1]).read(), sys.argv[1], "exec", flags)
made = eval(code, {"__name__": "__main__"})
if inspect.iscoroutine(made):
    asyncio.run(made)
"""
# What stands for the id of some key.
_ID = re.compile(r"\bID\b")


async def script(stage: Stage, blocks: Sequence[Block], folder: Path) -> str:
    """`folder` gets what each command of `console` blocks printed, as `<block>.<command>`."""
    (folder / "run.py").write_text(_PYTHON)
    fits = {"admin": stage.ports[ADMIN], "asking": asking.__file__, "place": place()}
    lines = [_BEGIN.format(**fits)]
    for number, block in enumerate(blocks):
        text = stage.here(block.text)
        if _ID.search(text):
            text = _ID.sub(await stage.new_key_id(), text)
        lines.append(f"echo '== {block}'")
        lines += _lines(block, text, folder / str(number))
    return "\n".join(lines)


def _lines(block: Block, text: str, place: Path) -> Iterator[str]:
    if block.file or block.language == "python":
        place.write_text(text, encoding="utf-8")
    if block.file:
        # By a rename, so that nothing half-written is read.
        yield f'mkdir -p "$(dirname {block.file})"; cp {place} {block.file}.new'
        yield f"mv {block.file}.new {block.file}; reload"
    if block.file.endswith(".py"):
        yield f"python {block.file}"
    elif block.file:
        return
    elif block.language == "python":
        yield f"python {place.parent / 'run.py'} {place}"
    elif block.language == "sh":
        yield f"{text}{'reload' if 'policies/' in text else ''}"
    else:
        for step, (command, _) in enumerate(conversation(text)):
            yield f"strict=\n{{ {command}\n}} > {place}.{step} 2>&1 || true"
        yield "strict=$again"


def conversation(text: str) -> list[tuple[str, str]]:
    """Commands of a `console` block, and what each is said to print."""
    found: list[tuple[str, str]] = []
    more = False
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif more:
            found[-1] = (f"{found[-1][0]}\n{line}", "")
        else:
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
        more = (line.startswith("$ ") or more) and line.endswith("\\")
    return found


def agrees(said: str, printed: str) -> bool:
    """`…` stands for anything. Blanks at the end do not count."""
    pattern = ".*?".join(map(re.escape, said.strip().split("…")))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None
