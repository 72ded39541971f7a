"""Living keys that a set of policies would leave without their plan or their agent."""

from collections import Counter
from dataclasses import dataclass

from gateway.domain.keys.judgement import refused_by
from gateway.domain.keys.record import KeyRecord
from gateway.domain.keys.scopes import ANY, parse_all
from gateway.domain.policies.snapshot import Policies
from gateway.domain.units import counted
from gateway.services.keys.find import living
from gateway.store.key_reader import KeyReader


@dataclass(frozen=True, slots=True)
class Orphans:
    """A sentence for each reason why keys would be `refused`, and for each agent that they would be
    `cut_off` from."""

    refused: tuple[str, ...] = ()
    cut_off: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        return (*self.refused, *self.cut_off)


async def orphans(keys: KeyReader, policies: Policies) -> Orphans:
    """Return what living keys need and `policies` lack."""
    refused: Counter[str] = Counter()
    reach: Counter[str] = Counter()
    async for record in living(keys):
        if reason := refused_by(record, policies.plans):
            refused[reason] += 1
        for agent in _agents_of(record) - policies.agents.keys():
            reach[f"agent {agent} is gone"] += 1
    return Orphans(_sentences(refused, "would be refused"), _sentences(reach, "could not reach it"))


def _sentences(counts: Counter[str], end: str) -> tuple[str, ...]:
    return tuple(f"{what}: {counted(n, 'key')} {end}" for what, n in sorted(counts.items()))


def _agents_of(record: KeyRecord) -> set[str]:
    scopes = parse_all(record.scopes).scopes
    return {scope.name for scope in scopes if scope.kind == "agents" and scope.name != ANY}
