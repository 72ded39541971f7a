"""`cors:` of an agent, as it is written in a policy file."""

import jsonschema
import pytest
import yaml

from gateway.domain.policies.cors import Cors
from gateway.protocol.policy.models import json_schema
from gateway.protocol.policy.read import read_policies
from tests.protocol.policy import files

AGENT = "version: 1\nagents: {{a: {{upstream: 'http://x', cors: {{{}}}}}}}\n"


def read(text: str) -> Cors | None:
    written = AGENT.format(text)
    jsonschema.validate(yaml.safe_load(written), json_schema())
    return files.read(written).agents["a"].cors


def test_origins_are_compared_as_browsers_spell_them() -> None:
    written = (
        "origins: [https://App.example.com:443, http://localhost:3000, 'http://[::1]:80', "
        "capacitor://localhost], headers: [Content-Type, X-User-Id], credentials: true, max_age: 1h"
    )
    assert read(written) == Cors(
        frozenset(
            {
                b"https://app.example.com",
                b"http://localhost:3000",
                b"http://[::1]",
                b"capacitor://localhost",
            }
        ),
        ("Content-Type", "X-User-Id"),
        credentials=True,
        max_age=3600.0,
    )


def test_left_out_it_lets_no_page_in() -> None:
    cors = read("")
    assert cors == Cors(frozenset(), (), False, 600.0)
    assert not cors.granted(b"https://app.example.com")
    assert not cors.granted(b"")


def test_any_page_may_be_let_in() -> None:
    cors = read("origins: ['*'], max_age: 0s")
    assert cors is not None
    assert (cors.granted(b"https://a.test"), cors.granted(b"null"), cors.granted(b"")) == (
        b"*",
        b"*",
        b"",
    )
    assert cors.max_age == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("origins: ['*'], credentials: true", "every origin has to be named"),
        ("origins: [https://a.test, '*'], credentials: true", "every origin has to be named"),
        ("origins: [https://a.test/]", "is not an origin"),
        ("origins: [https://a.test/app]", "is not an origin"),
        ("origins: [a.test]", "is not an origin"),
        ("origins: ['https://*.a.test']", "is not an origin"),
        ("origins: ['https://u:hush@a.test']", "is not an origin"),
        ("origins: ['https://a.test:0']", "is not an origin"),
        ("origins: ['https://ä.test']", "is not an origin"),
        ("origins: ['null']", "is not an origin"),
        ("origins: ['']", "is not an origin"),
        ("origins: https://a.test", "must be a list"),
        ("headers: ['*']", "name each one"),
        ("headers: ['X Y']", "is not the name of a header"),
        ("headers: ['X: Y']", "is not the name of a header"),
        ("credentials: 1", "must be true or false"),
        ("max_age: 600", "is not a duration"),
        ("origin: []", "did you mean 'origins'?"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, problem: str) -> None:
    loaded = read_policies({"p.yaml": AGENT.format(text).encode()})
    assert len(loaded.problems) == 1, loaded.problems
    assert problem in str(loaded.problems[0])
    assert "hush" not in str(loaded.problems[0])
