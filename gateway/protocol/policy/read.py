"""Read the files of a policies directory as one checked whole, or report all their mistakes."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from gateway.domain.keys.limits import Concurrency, Limits
from gateway.domain.policies.cors import Cors
from gateway.domain.policies.plans import Plan
from gateway.domain.policies.problems import Place, Problem
from gateway.domain.policies.providers import PROVIDERS, provider_of
from gateway.domain.policies.routes import Route, parse_path
from gateway.domain.policies.snapshot import Agent, Mention, Policies
from gateway.protocol.policy.mistakes import problems_of
from gateway.protocol.policy.models import (
    AgentSection,
    CorsSection,
    LimitsSection,
    PlanSection,
    PolicyFile,
    RouteSection,
)
from gateway.protocol.policy.outbound import model_of, service_of, unusable_fallbacks
from gateway.protocol.policy.references import mentions
from gateway.protocol.policy.tools import tool_server_of
from gateway.protocol.policy.tree import Path, Tree, read_tree
from gateway.protocol.policy.warnings import warnings


@dataclass(frozen=True, slots=True)
class Loaded:
    """`policies` None: there are `problems`. `warnings`: oddities that are no mistakes.

    `readable`: the parts that make sense by themselves, for checks that find further problems;
    None: nothing was read. `files`: the contents of the files, by name. `passing`: the problems may
    end without a change of these files.
    """

    policies: Policies | None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    readable: Policies | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    passing: bool = False


def read_policies(files: Mapping[str, bytes]) -> Loaded:
    """Return what these files say together. Messages show their names as given."""
    trees = [read_tree(name, content) for name, content in files.items()]
    problems = [problem for tree in trees for problem in tree.problems]
    parsed: list[tuple[str, PolicyFile]] = []
    for tree in trees:
        if tree.data is None:
            continue
        try:
            parsed.append((tree.file, PolicyFile.model_validate(tree.data)))
        except ValidationError as error:
            problems += problems_of(error, tree)
            parsed.append((tree.file, _sound_parts(tree, error)))
    places, twice = _places(trees)
    mentioned, senseless = mentions(trees)
    built = _build(parsed, _revision(files), places, mentioned)
    unusable = unusable_fallbacks(built, _fallbacks(trees), _of_no_provider(trees))
    wrong = {*problems, *twice, *senseless, *unusable}
    if wrong:
        return Loaded(None, tuple(sorted(wrong)), readable=built)
    return Loaded(built, (), warnings(trees, places), built, files)


def _sound_parts(tree: Tree, error: ValidationError) -> PolicyFile:
    """Return what is left of a file without the fields that `error` is about, without entries that
    are invalid then, and without sections that still are."""
    rest = tree.data if isinstance(tree.data, dict) else {}
    for depth in (None, 2, 1):
        rest = _without({detail["loc"][:depth] for detail in error.errors()}, rest)
        try:
            return PolicyFile.model_validate({"version": 1, **rest})
        except ValidationError as more:
            error = more
    return PolicyFile(version=1)


def _without(paths: set[Path], data: Any, here: Path = ()) -> Any:
    def kept(items: Iterable[tuple[str | int, Any]]) -> dict[str | int, Any]:
        inner = (((*here, name), name, value) for name, value in items)
        return {name: _without(paths, value, at) for at, name, value in inner if at not in paths}

    if isinstance(data, list):
        return list(kept(enumerate(data)).values())
    return kept(data.items()) if isinstance(data, dict) else data


def _build(
    parsed: list[tuple[str, PolicyFile]],
    revision: str,
    places: Mapping[str, Place],
    mentioned: tuple[Mention, ...],
) -> Policies:
    files = [(PurePath(name).parent, file) for name, file in parsed]
    agents = {n: _agent(n, s, at) for at, file in files for n, s in file.agents.items()}
    services = {n: service_of(n, s, at) for at, file in files for n, s in file.services.items()}
    models = {s.name: model_of(s, at) for at, file in files for s in file.models}
    tools = {n: tool_server_of(n, s, at) for at, file in files for n, s in file.tools.items()}
    plans = {n: _plan(n, s) for _, file in files for n, s in file.plans.items()}
    return Policies(
        revision,
        MappingProxyType(agents),
        MappingProxyType(plans),
        tuple(network for _, file in files for network in file.trusted_proxies),
        MappingProxyType(dict(places)),
        mentioned,
        MappingProxyType(services),
        MappingProxyType(models),
        MappingProxyType(tools),
    )


def _places(trees: Iterable[Tree]) -> tuple[dict[str, Place], list[Problem]]:
    """Return where each name is defined, and a problem for each second definition."""
    places: dict[str, Place] = {}
    twice = []
    for tree in trees:
        for name, place in _definitions(tree):
            first = places.setdefault(name, place)
            if first is not place:
                twice.append(Problem(place, f"{name} is defined already: {first}"))
    return places, twice


def _of_no_provider(trees: Iterable[Tree]) -> set[str]:
    """Return the models whose provider is neither given nor known by the name."""
    found = set()
    for tree in trees:
        for i, name in _models(tree):
            provider = tree.data["models"][i].get("provider") or provider_of(name)
            if provider not in PROVIDERS:
                found.add(name)
    return found


def _fallbacks(trees: Iterable[Tree]) -> Iterator[tuple[str, str, Place]]:
    """Yield each model and fallback of it, and where this is written."""
    for tree in trees:
        for i, model in _models(tree):
            names = tree.data["models"][i].get("fallback")
            for j, name in enumerate(names if isinstance(names, list) else ()):
                yield model, str(name), tree.place(("models", i, "fallback", j))


def _definitions(tree: Tree) -> Iterator[tuple[str, Place]]:
    """Yield every definition in a file, read leniently: the models report what is wrong."""
    for section in ("agents", "services", "tools", "plans"):
        for name in _mapping(tree.data, section):
            yield f"{section}/{name}", tree.place((section, name), key=True)
    for i, name in _models(tree):
        yield f"models/{name}", tree.place(("models", i, "name"))
    for agent, fields in _mapping(tree.data, "agents").items():
        hosts = fields.get("hosts") if isinstance(fields, dict) else None
        for i, host in enumerate(hosts if isinstance(hosts, list) else ()):
            yield f"host {str(host).lower()}", tree.place(("agents", agent, "hosts", i))


def _models(tree: Tree) -> Iterator[tuple[int, str]]:
    """Yield index and name of each model that has a name."""
    found = tree.data.get("models") if isinstance(tree.data, dict) else None
    for i, model in enumerate(found if isinstance(found, list) else ()):
        if isinstance(model, dict) and isinstance(model.get("name"), str):
            yield i, model["name"]


def _mapping(data: object, name: str) -> dict[str, object]:
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, dict) else {}


def _revision(files: Mapping[str, bytes]) -> str:
    """Without the directory: hosts that keep the same files elsewhere are compared by this."""
    digest = sha256()
    for path, content in sorted(files.items()):
        name = PurePath(path).name
        digest.update(sha256(name.encode(errors="replace")).digest() + sha256(content).digest())
    return digest.hexdigest()[:12]


def _plan(name: str, section: PlanSection) -> Plan:
    agents = {agent: _limits(own) for agent, own in section.agents.items()}
    limits = replace(_limits(section), tokens=tuple(section.tokens))
    return Plan(name, limits, MappingProxyType(agents), section.enforce)


def _limits(section: LimitsSection) -> Limits:
    at_a_time = Concurrency(section.concurrency) if section.concurrency else None
    return Limits(section.rate, section.burst, tuple(section.quota), at_a_time)


def _agent(name: str, section: AgentSection, folder: PurePath) -> Agent:
    return Agent(
        name,
        tuple(one.read(folder) for one in section.upstream),
        tuple(section.hosts),
        None if section.routes is None else tuple(_routes(section.routes)),
        section.timeouts.read(),
        section.max_body,
        section.preserve_host,
        frozenset(section.paths.allow) if section.paths else frozenset(),
        _cors(section.cors),
    )


def _cors(section: CorsSection | None) -> Cors | None:
    if section is None:
        return None
    origins, headers = frozenset(section.origins), tuple(section.headers)
    return Cors(origins, headers, section.credentials, section.max_age)


def _routes(sections: Iterable[RouteSection]) -> Iterator[Route]:
    for section in sections:
        raw, segments = parse_path(section.path)
        methods = frozenset(section.methods)
        yield Route(raw, segments, section.action, methods, section.public, section.enforce)
