"""The request that is asked about, as it would be read."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.domain.errors import UsageError
from gateway.domain.policies.snapshot import Policies, ToolServer
from gateway.domain.policies.unknown_names import unknown_name
from gateway.protocol.http.request import RequestHead, read_head
from gateway.protocol.mcp.rpc import read
from gateway.protocol.models.request import MODELS_PREFIX, read_path, read_prompt
from gateway.protocol.strict_json import encode
from gateway.services.admission.locate import (
    Located,
    locate,
    locate_model,
    locate_no_model,
    locate_tools,
)
from gateway.services.admission.steps import asked_for


@dataclass(frozen=True, slots=True)
class Question:
    """`url`: a path such as `/agents/faq/chat`, or a whole URL. `key_id` empty: no key is sent.
    `tool`: the tool that is called; empty: none. `model`: the model that the body names."""

    method: str
    url: str
    key_id: str = ""
    user: str = ""
    tool: str = ""
    model: str = ""


def located_by(head: RequestHead, question: Question, policies: Policies) -> Located:
    """Return where the request goes, also by what its body says of a tool or model."""
    located = locate(head, policies)
    if located.callee is None and head.target.path.startswith(MODELS_PREFIX):
        return _located_model(head, question, policies)
    if question.model:
        raise UsageError("This URL is not one where models are called: /models/….")
    if not question.tool:
        return located
    if not isinstance(located.callee, ToolServer):
        asked = asked_for(located, head)
        if asked is not None and asked.kind == "tools" and unknown_name(asked, policies):
            return located
        raise UsageError("This URL is not the one of a server of tools: /tools/NAME/mcp.")
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": question.tool}}
    return locate_tools(located.callee, head.method, read(encode(message)))


def _located_model(head: RequestHead, question: Question, policies: Policies) -> Located:
    asked = read_path(head.target.path)
    if not question.model:
        raise UsageError("Say which model the body names: the URL alone does not tell.")
    if head.method != "POST" or not asked.is_call:
        return locate_no_model(asked)
    return locate_model(asked, read_prompt(encode({"model": question.model})).model, policies)


def head_of(question: Question) -> RequestHead:
    """Return the head of the request; Denied if its shape is refused."""
    try:
        parts = urlsplit(question.url)
        raw = question.url.encode("ascii")
    except ValueError:
        raise UsageError("Write the URL as a client would send it, percent-encoded.") from None
    headers: list[tuple[bytes, bytes]] = []
    if parts.scheme and parts.netloc:
        headers.append((b"Host", parts.netloc.encode("ascii")))
        raw = raw.partition(b"://")[2]
        raw = raw[len(parts.netloc) :].partition(b"#")[0]
        # Clients send `/` for a URL without a path.
        raw = raw if raw.startswith(b"/") else b"/" + raw
    if question.user:
        headers.append((b"X-User-Id", question.user.encode("utf-8", "replace")))
    return read_head(question.method, raw, tuple(headers))
