"""`gateway audit`: who did what with which credential."""

from gateway.cli.audit.show import export, tail
from gateway.cli.audit.verify import anchor, verify
from gateway.cli.command import group

audit = group(
    "audit",
    "Show the audit records, and verify that none was changed.",
    "gateway audit verify",
    *(verify, anchor, tail, export),
)
