"""`gateway keys`: the keys that callers hold."""

from gateway.cli.command import group
from gateway.cli.keys.change import delete, disable, enable, revoke, update
from gateway.cli.keys.issue import create, rotate
from gateway.cli.keys.move import export_keys, import_keys
from gateway.cli.keys.show import list_keys, show

keys = group(
    "keys",
    "Create, find, change, revoke and move the keys that callers hold.",
    "gateway keys create --consumer sales --scope agents/support --expires 30d",
    *(create, list_keys, show, revoke, disable, enable, rotate, update, delete),
    *(export_keys, import_keys),
)
