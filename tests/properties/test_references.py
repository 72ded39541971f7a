"""References in texts: what is written comes back, and nothing but a reference is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.policies.references import Reference, Template, parse

names = st.from_regex(r"[a-z][a-z0-9_]{1,20}", fullmatch=True)
fields = st.just("") | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
references = st.builds(Reference, names, fields, st.booleans())
texts = st.text(alphabet=st.sampled_from("ab${}. \n"), min_size=1)


def _joined(parts: list[str | Reference]) -> tuple[str | Reference, ...]:
    """Neighbouring texts as one; one that ends in `$` would run into what follows it."""
    made: list[str | Reference] = []
    for part in parts:
        last = made[-1] if made else None
        if isinstance(part, str) and isinstance(last, str):
            made[-1] = last + part
        else:
            made.append(part)
    return tuple(p.rstrip("$") + "." if isinstance(p, str) and p.endswith("$") else p for p in made)


@given(st.lists(references | texts).map(_joined))
def test_a_template_reads_back_as_it_was_written(parts: tuple[str | Reference, ...]) -> None:
    written = str(Template(parts))
    # `$${` is the only escape: a text that holds it cannot be told from one that holds `${`.
    if any(isinstance(part, str) and "$${" in part for part in parts):
        return
    assert parse(written).parts == parts
    assert parse(written, strict=False).parts == parts


@given(st.text())
def test_any_text_is_read_or_refused_with_a_sentence(text: str) -> None:
    try:
        template = parse(text)
    except ValueError as problem:
        assert "reference" in str(problem)
    else:
        assert template.references or "${" not in text.replace("$${", "")


@given(st.text(alphabet=st.sampled_from("ab${}. \n$")))
def test_a_text_without_a_reference_is_itself_but_for_the_escape(text: str) -> None:
    assert parse(text, strict=False).render(str) == text.replace("$${", "${")


@given(references, st.text(alphabet="xyz"), st.text(alphabet="xyz"))
def test_a_value_stands_where_its_reference_stood_and_is_not_read_again(
    reference: Reference, before: str, after: str
) -> None:
    template = parse(f"{before}{reference}{after}")
    assert template.references == (reference,)
    assert template.render(lambda _: "${credentials.other}") == (
        f"{before}${{credentials.other}}{after}"
    )


@pytest.mark.parametrize(
    "text",
    [
        *("${credentials.ab", "${}", "${credentials}", "${credentials.}", "${credential.ab}"),
        *("${credentials.a}", "${credentials.AB}", "${credentials.ab.}", "${credentials.ab.a b}"),
        *("${ENV}", "${user}", "${user.ab.}", "${ credentials.ab}"),
    ],
)
def test_what_is_almost_a_reference_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"reference|write \$\{credentials\.NAME\}"):
        parse(text)


def test_in_files_of_others_their_own_variables_stay() -> None:
    assert parse("${HOME}/${credentialsx.ab}", strict=False).parts == (
        "${HOME}/${credentialsx.ab}",
    )
    with pytest.raises(ValueError, match="reference"):
        parse("${credentials.AB}", strict=False)


def test_an_escaped_reference_is_text() -> None:
    assert parse("$${credentials.ab} $5").parts == ("${credentials.ab} $5",)
