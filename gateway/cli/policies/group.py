"""`gateway policy`: the policies, as the files say them."""

from gateway.cli.command import group
from gateway.cli.policies.check import check
from gateway.cli.policies.diff import diff_policies
from gateway.cli.policies.explain import explain
from gateway.cli.policies.show import schema, show

policy = group(
    "policy",
    "Check, show, compare and explain the policies.",
    "gateway policy check policies/",
    *(check, show, diff_policies, explain, schema),
)
