"""Sockets to listen on: what cannot be had is said so that it can be mended."""

import socket

import pytest

from gateway.domain.errors import OperationError
from gateway.domain.settings import Address
from gateway.proxy.sockets import AddressTakenError, bound


async def test_a_name_that_leads_nowhere_is_said_to() -> None:
    with pytest.raises(OperationError) as told:
        await bound(Address("no.such.host.invalid", 0))
    assert "no.such.host.invalid:0: " in str(told.value)
    assert "Unknown error" not in str(told.value)


async def test_an_address_that_another_program_has_is_told_from_others() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = Address("127.0.0.1", other.getsockname()[1])
        with pytest.raises(AddressTakenError, match="Address already in use"):
            await bound(address)
    # RFC 5737: nobody's.
    nobodys = Address("192.0.2.1", 0)
    with pytest.raises(OperationError, match="Cannot assign requested address"):
        await bound(nobodys)
