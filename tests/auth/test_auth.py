"""Google's authentication libraries against the emulator: every cell of the table."""

import re

import pytest
from clients import CLIENTS, WAYS
from table import EXPECTED, Fails

CELLS = [
    pytest.param(client, way, flow, cells[number], id=f"{client}, {flow}, by {way}")
    for client in CLIENTS
    for number, way in enumerate(WAYS)
    for flow, cells in EXPECTED[client].items()
]


@pytest.mark.parametrize("client, way, flow, expected", CELLS)
def test_the_flow_ends_as_in_the_table(results, client, way, flow, expected):
    result = results[client, way][flow]
    if isinstance(expected, Fails):
        assert re.search(expected.error, result.get("error", "")), result
    else:
        assert result == {"principal": expected}


@pytest.mark.parametrize("client", CLIENTS)
def test_every_flow_of_a_client_is_in_the_table(results, client):
    for way in WAYS:
        assert list(results[client, way]) == list(EXPECTED[client])
