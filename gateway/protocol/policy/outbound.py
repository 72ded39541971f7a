"""Build services and models from sections of policy files."""

from collections.abc import Iterable, Set
from pathlib import PurePath

from gateway.domain.policies.problems import Place, Problem
from gateway.domain.policies.providers import UPSTREAMS, dialect_of, provider_of
from gateway.domain.policies.references import Template
from gateway.domain.policies.services import Dialect, Inject, Sign
from gateway.domain.policies.snapshot import Model, Policies, Service
from gateway.protocol.policy.outbound_sections import (
    InjectSection,
    ModelSection,
    ServiceSection,
    SignSection,
)

LONGEST_PROMPT = 32 * 2**20


def service_of(name: str, section: ServiceSection, folder: PurePath) -> Service:
    return Service(
        name,
        tuple(one.read(folder) for one in section.upstream),
        section.timeouts.read(),
        section.max_body,
        frozenset(section.paths.allow) if section.paths else frozenset(),
        _inject(section.inject, section.sign),
    )


def model_of(section: ModelSection, folder: PurePath) -> Model:
    provider = section.provider or provider_of(section.name) or "compatible"
    dialect = dialect_of(provider)
    # Always injected: where this model is a fallback, the caller asked for another one.
    body = (("model", Template((section.upstream_model or section.name,))),)
    return Model(
        section.name,
        tuple(one.read(folder) for one in section.upstream or ()) or (UPSTREAMS[provider],),
        section.timeouts.read(),
        min(section.max_body or LONGEST_PROMPT, LONGEST_PROMPT),
        Inject(_proof(section.credential, dialect), body=body),
        dialect,
        tuple(section.fallback),
    )


def _proof(credential: Template | None, dialect: Dialect) -> tuple[tuple[str, Template], ...]:
    if credential is None:
        return ()
    if dialect is Dialect.ANTHROPIC:
        return (("x-api-key", credential),)
    return (("Authorization", Template(("Bearer ", *credential.parts))),)


def unusable_fallbacks(
    policies: Policies, written: Iterable[tuple[str, str, Place]], unclear: Set[str]
) -> tuple[Problem, ...]:
    """Return problems of fallbacks that do not exist or speak another dialect.

    `written`: each model and fallback of it, and where this is written. `unclear`: models whose
    dialect is not known, because their provider is not.
    """
    found = []
    for of, name, place in written:
        model, other = policies.models.get(of), policies.models.get(name)
        if model is None or name not in model.fallback:
            # It has a problem of its own, which is reported. So has the other one below.
            continue
        if f"models/{name}" not in policies.origins or other is model:
            found.append(Problem(place, f"the fallback {name!r} is no other model"))
        elif other is None or not unclear.isdisjoint((name, of)):
            continue
        elif other.dialect is not model.dialect:
            message = f"the fallback {name!r} speaks another dialect than {of!r}"
            found.append(Problem(place, message))
    return tuple(found)


def _inject(section: InjectSection, sign: SignSection | None) -> Inject:
    signed = None
    if sign is not None:
        hashes = sign.body == "signed"
        region, service = sign.region or "", sign.service or ""
        signed = Sign(sign.scheme, sign.credential, region, service, hashes_body=hashes)
    return Inject(
        tuple(section.headers.items()),
        tuple(section.query.items()),
        tuple(section.body.items()),
        signed,
        section.credential,
    )
