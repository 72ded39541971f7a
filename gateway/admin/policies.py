"""`/admin/v1/policies`: show, reload, check, compare and explain policies."""

import asyncio

from pydantic import BaseModel

from gateway.admin.backend import Backend
from gateway.admin.fields import KeyId
from gateway.admin.routing import Answer, ApiError, Call, Input, Routes
from gateway.domain.policies.problems import Problem
from gateway.protocol.policy.read import read_policies
from gateway.services.admission.question import Question
from gateway.services.admission.steps import Step
from gateway.services.policies.diff import PolicyDiff
from gateway.services.policies.diff import diff as compare

READ = ("read",)
ROUTES = Routes()


class ProblemShape(BaseModel):
    """`place`: file:line:column."""

    place: str
    message: str


class PoliciesShape(BaseModel):
    """`places`: where each entry is written. `problems`: of the last set of files, if it was
    refused and the previous one is still in force."""

    revision: str
    agents: list[str]
    services: list[str]
    models: list[str]
    tools: list[str]
    plans: list[str]
    places: dict[str, str]
    problems: list[ProblemShape]


class ReloadShape(BaseModel):
    """`taken`: whether the files are now in force in this worker; every worker checks the files
    itself, five times a second. If not, these are members of the 409 answer."""

    taken: bool
    revision: str
    problems: list[ProblemShape]


class CheckShape(BaseModel):
    problems: list[ProblemShape]
    warnings: list[ProblemShape]


class StepShape(BaseModel):
    """`found` is `template` filled with `facts`, which are given for translations."""

    looked_at: str
    found: str
    template: str
    facts: dict[str, str]


class ExplainShape(BaseModel):
    """`code`: empty if the request would go to `upstream` or, if that is empty too, be answered by
    the gateway itself. `shadow`: the code with which a rule with `enforce: false` would refuse."""

    steps: list[StepShape]
    code: str
    status: int | None
    message: str
    upstream: str
    shadow: str


class DiffShape(BaseModel):
    """From the policies in force to the files. `revision` and `diff` are null if the files cannot
    be used because of `problems`."""

    revision: str | None
    problems: list[ProblemShape]
    diff: PolicyDiff | None


class CheckBody(Input):
    text: str


class ExplainBody(Input):
    url: str
    method: str = "GET"
    key_id: KeyId = ""
    user: str = ""
    tool: str = ""
    model: str = ""


def _problems(found: tuple[Problem, ...]) -> list[ProblemShape]:
    return [ProblemShape(place=str(one.place), message=one.message) for one in found]


def _steps(found: tuple[Step, ...]) -> list[StepShape]:
    return [
        StepShape(
            looked_at=one.about,
            found=one.text,
            template=one.found,
            facts={name: str(fact) for name, fact in one.facts.items()},
        )
        for one in found
    ]


@ROUTES.add("GET", "/policies", READ, PoliciesShape)
async def show(backend: Backend, _: Call) -> Answer:
    """Show the policies in force."""
    policies = backend.policies()
    return Answer(
        PoliciesShape(
            revision=policies.revision,
            agents=sorted(policies.agents),
            services=sorted(policies.services),
            models=sorted(policies.models),
            tools=sorted(policies.tools),
            plans=sorted(policies.plans),
            places={name: str(place) for name, place in sorted(policies.origins.items())},
            problems=_problems(backend.live.problems),
        )
    )


@ROUTES.add("POST", "/policies/reload", (), ReloadShape)
async def reload(backend: Backend, call: Call) -> Answer:
    """Read the policy files now."""
    outcome = await read_now(backend, call)
    if not outcome.taken:
        # A client that looks only at the status must not take it for success.
        detail = f"The files cannot be used: revision {outcome.revision} stays in force."
        raise ApiError(409, "refused", detail, facts=outcome.model_dump())
    return Answer(outcome)


async def read_now(backend: Backend, call: Call) -> ReloadShape:
    await backend.acts(call.caller.actor).record("policies.reload")
    loaded = await backend.live.reload(f"asked by {call.caller.actor}")
    return ReloadShape(
        taken=loaded.policies is not None,
        revision=backend.policies().revision,
        problems=_problems(loaded.problems),
    )


@ROUTES.add("POST", "/policies/check", READ, CheckShape, CheckBody)
async def check(_: Backend, call: Call) -> Answer:
    """Check the text of a policy file."""
    body: CheckBody = call.body
    files = {"text.yaml": body.text.encode("utf-8", "replace")}
    # In a thread: half a megabyte of YAML would hold up the event loop, which serves callers.
    loaded = await asyncio.to_thread(read_policies, files)
    shape = CheckShape(problems=_problems(loaded.problems), warnings=_problems(loaded.warnings))
    return Answer(shape)


@ROUTES.add("POST", "/policies/diff", READ, DiffShape)
async def diff(backend: Backend, _: Call) -> Answer:
    """Show which keys would gain or lose by a reload."""
    loaded = await backend.live.candidate()
    if loaded.policies is None:
        return Answer(DiffShape(revision=None, problems=_problems(loaded.problems), diff=None))
    found = await compare(backend.policies(), loaded.policies, backend.key_reader())
    return Answer(DiffShape(revision=loaded.policies.revision, problems=[], diff=found))


@ROUTES.add("POST", "/policies/explain", READ, ExplainShape, ExplainBody)
async def explain(backend: Backend, call: Call) -> Answer:
    """Explain what would happen to a request."""
    body: ExplainBody = call.body
    question = Question(body.method, body.url, body.key_id, body.user, body.tool, body.model)
    explanation = await backend.explainer().explain(question)
    denied = explanation.denied
    return Answer(
        ExplainShape(
            steps=_steps(explanation.steps),
            code=denied.denial.name if denied else "",
            status=denied.denial.status if denied else None,
            message=str(denied) if denied else "",
            upstream=explanation.upstream,
            shadow=explanation.shadow,
        )
    )
