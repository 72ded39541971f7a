"""What errors tell, and what is kept of one that was dealt with."""

import pytest

from gateway.domain.errors import Code, Denied, GatewayError, MissingError, drop_traceback
from gateway.domain.keys.key import compose


def raised(error: Exception) -> Exception:
    with pytest.raises(type(error)):
        raise error
    assert error.__traceback__ is not None
    return error


def test_the_way_that_an_error_came_is_forgotten_with_that_of_what_caused_it() -> None:
    error, cause, before = raised(ValueError()), raised(KeyError()), raised(TypeError())
    error.__cause__, cause.__context__ = cause, before
    drop_traceback(error)
    assert error.__traceback__ is cause.__traceback__ is before.__traceback__ is None


def test_errors_that_come_of_each_other_are_let_go_of_too() -> None:
    """A reader raises the error that it was given each time it is read, also while another one is
    dealt with that came of it: then each leads to the other, and who follows them never ends."""
    error, cause = raised(ValueError()), raised(KeyError())
    error.__cause__, cause.__context__ = cause, error
    drop_traceback(error)
    assert error.__traceback__ is cause.__traceback__ is None


SENTENCE = f"There is no model {compose('live', 'a' * 12, 'b' * 32).text}."


@pytest.mark.parametrize("error", [MissingError(SENTENCE), Denied(Code.NOT_FOUND, SENTENCE)])
def test_a_key_that_somebody_sent_as_a_name_is_told_without_its_secret(error: GatewayError) -> None:
    assert str(error) == "There is no model agk_live_aaaaaaaaaaaa_…."
