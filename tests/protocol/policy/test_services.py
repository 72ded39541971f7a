"""Services in policy files: what each line means, and each mistake with its place."""

import pytest

from gateway.domain.policies.references import Reference
from gateway.domain.policies.services import SENT_WHOLE, Scheme, Sign
from gateway.protocol.policy.read import read_policies
from tests.protocol.policy.files import read, told


def test_everything_that_a_service_can_say_is_understood() -> None:
    policies = read("""version: 1
services:
  crm:
    upstream: [https://a.example.com/api, {url: "https://b.example.com", public: true}]
    inject:
      headers: {X-Token: "a ${credentials.crm.value} b"}
      query: {key: "${user.own.value}"}
      body: {api_key: "${credentials.crm}"}
      credential: ${credentials.whole}
    sign: {scheme: aws4, credential: "${credentials.aws}", region: eu, service: s3, body: unsigned}
    timeouts: {connect: 1s}
    max_body: 1MB
    paths: {allow: ["//"]}
""")
    crm = policies.services["crm"]
    assert [str(one) for one in crm.upstreams] == [
        "https://a.example.com/api",
        "https://b.example.com",
    ]
    assert [one.public for one in crm.upstreams] == [False, True]
    assert (crm.timeouts.connect, crm.timeouts.idle, crm.max_body) == (1.0, 300.0, 1_000_000)
    assert crm.allowed_oddities == policies.oddities == {"//"}
    (header,) = crm.inject.headers
    assert (header[0], str(header[1])) == ("X-Token", "a ${credentials.crm.value} b")
    assert crm.inject.whole == Reference("whole")
    expected = Sign(Scheme.AWS4, Reference("aws"), "eu", "s3", hashes_body=False)
    assert crm.inject.sign == expected and crm.inject.needs_body
    assert policies.origins["services/crm"].line == 3


def test_every_credential_is_mentioned_with_its_place_and_an_access_key_by_its_fields() -> None:
    policies = read("""version: 1
services:
  crm:
    upstream: https://a.example.com
    inject: {headers: {X-Token: "${credentials.crm.value}"}, credential: "${credentials.whole}"}
    sign: {scheme: acs3, credential: "${credentials.aliyun}"}
""")
    assert [m.types for m in policies.mentions] == [(), SENT_WHOLE, (), ()]
    assert [(m.place.line, str(m.reference)) for m in policies.mentions] == [
        (5, "${credentials.crm.value}"),
        (5, "${credentials.whole}"),
        (6, "${credentials.aliyun.access_key_id}"),
        (6, "${credentials.aliyun.access_key_secret}"),
    ]


def test_every_reference_in_a_text_that_makes_no_sense_is_told() -> None:
    text = "${secrets.a} ${credentials.crm} ${credentials.B} ${user.crm"
    found = told(f"""version: 1
services:
  crm:
    upstream: https://a.example.com
    inject: {{headers: {{X-A: '{text}'}}}}
""")
    assert [one.partition(":5:29: ")[2][:38] for one in found] == [
        "reference 1 in this text: this is no r",
        "reference 3 in this text: a reference ",
        "reference 4 in this text: a reference ",
    ]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ("inject: {headers: {Host: a}}", "5:24: 'Host' is between the gateway and the service"),
        ("inject: {headers: {content-length: a}}", "5:24: 'content-length' is between"),
        ("inject: {headers: {Accept-Encoding: a}}", "5:24: 'Accept-Encoding' is between"),
        ("inject: {headers: {X-Request-Id: a}}", "5:24: 'X-Request-Id' is between"),
        ("inject: {headers: {Traceparent: a}}", "5:24: 'Traceparent' is between"),
        ("inject: {headers: {'X Y': a}}", "5:24: this is not the name of a header, such as"),
        ("inject: {headers: {X-A: a, x-a: b}}", "5:13: two of these headers have the same name"),
        ('inject: {headers: {X-A: "a\\nb"}}', "5:29: this cannot be sent in a header"),
        ("inject: {headers: {X-A: '${credentials.crm'}}", "5:29: a reference is not closed"),
        ("inject: {headers: {X-A: '${secrets.crm}'}}", "5:29: this is no reference"),
        ("inject: {headers: {X-A: 1}}", "5:29: this must be text: put it in quotes"),
        ("inject: {query: {'': a}}", "this must not be empty"),
        (f"inject: {{query: {{{'k' * 129}: a}}}}", "this is longer than 128 characters"),
        ("inject: {hedders: {}}", "5:14: unknown field 'hedders': did you mean 'headers'?"),
        ("inject: {credential: os.environ/CRM_KEY}", "5:26: no environment variable is read here"),
        ("sign: {credential: '${credentials.a_b}'}", "5:5: 'scheme' is missing"),
        ("sign: {scheme: aws4, credential: '${credentials.a_b.c}'}", "5:38: this names a whole"),
        ("sign: {scheme: aws4, credential: 'x ${credentials.a_b}'}", "5:38: this names a whole"),
        ("sign: {scheme: aws4, credential: '${credentials.a_b}'}", "aws4 needs 'region' and"),
        (
            "sign: {scheme: aws4, credential: '${credentials.a_b}', region: eu}",
            "aws4 needs 'region' and",
        ),
        (
            "sign: {scheme: acs3, credential: '${credentials.a_b}', body: unsigned}",
            "acs3 signs every body",
        ),
        ("inject: {credential: '${credentials.a_b.c}'}", "5:26: this names a whole credential"),
        ("routes: []", "5:5: unknown field 'routes'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence_and_its_place(
    fields: str, problem: str
) -> None:
    text = f"version: 1\nservices:\n  crm:\n    upstream: https://a.example.com\n    {fields}\n"
    found = told(text)
    assert any(problem in one for one in found), found


@pytest.mark.parametrize(
    ("upstream", "fine"),
    [
        ("http://127.0.0.1:9", True),
        ("http://localhost:9", True),
        ("http://[::1]:9", True),
        ("http://10.0.0.1", False),
        ("http://localhost.example.com", False),
        ("[https://a.example.com, http://b.example.com]", False),
        ("{url: 'http://127.0.0.1:9', proxy: 'http://10.0.0.1:3128'}", False),
        ("{url: 'https://a.example.com', proxy: 'http://10.0.0.1:3128'}", True),
    ],
)
def test_a_credential_goes_over_tls_or_stays_on_this_machine(upstream: str, fine: bool) -> None:
    text = f"version: 1\nservices:\n  crm:\n    upstream: {upstream}\n"
    assert (told(text) == []) is fine
    assert told(f"{text}    allow_http: true\n") == []


def test_a_body_that_is_not_signed_goes_over_tls_alone() -> None:
    sign = "{scheme: aws4, credential: '${credentials.a_b}', region: eu, service: s3, body: %s}"
    text = "version: 1\nservices:\n  crm:\n    upstream: %s\n    allow_http: true\n    sign: %s\n"
    for upstream in ("http://127.0.0.1:9", "[https://a.example.com, http://b.example.com]"):
        (problem,) = told(text % (upstream, sign % "unsigned"))
        assert "an unsigned body needs https" in problem
        assert told(text % (upstream, sign % "signed")) == []
    assert told(text % ("https://a.example.com", sign % "unsigned")) == []


def test_a_service_is_there_once_and_may_be_called_as_an_agent_is() -> None:
    text = "services: {a: {upstream: 'https://a.example.com'}}\n"
    agent = "agents: {a: {upstream: 'https://a.example.com'}}\n"
    again = read_policies(
        {"p.yaml": f"version: 1\n{text}".encode(), "q.yaml": b"version: 1\n" + text.encode()}
    )
    assert ["services/a is defined already" in str(one) for one in again.problems] == [True]
    both = read(f"version: 1\n{text}{agent}")
    assert (both.agents.keys(), both.services.keys()) == ({"a"}, {"a"})
