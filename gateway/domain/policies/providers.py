"""Model providers: the names of their models, their addresses and their dialects."""

from collections.abc import Mapping
from types import MappingProxyType

from gateway.domain.policies.services import Dialect
from gateway.domain.policies.snapshot import Upstream

_BY_NAME = (
    ("gpt-", "openai"),
    ("chatgpt-", "openai"),
    ("text-embedding-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("claude-", "anthropic"),
    ("qwen", "qwen"),
)
UPSTREAMS: Mapping[str, Upstream] = MappingProxyType(
    {
        "openai": Upstream("https", "api.openai.com", 443, "/v1"),
        "anthropic": Upstream("https", "api.anthropic.com", 443),
        "qwen": Upstream("https", "dashscope.aliyuncs.com", 443, "/compatible-mode/v1"),
    }
)
PROVIDERS = (*UPSTREAMS, "compatible")


def provider_of(model: str) -> str | None:
    """Return the provider by its usual model names; None if that cannot be told."""
    lower = model.lower()
    return next((provider for begin, provider in _BY_NAME if lower.startswith(begin)), None)


def dialect_of(provider: str) -> Dialect:
    return Dialect.ANTHROPIC if provider == "anthropic" else Dialect.OPENAI
