"""The cells of `matrix.json` that this environment can run."""

import json
from pathlib import Path

import pytest

from clients import CLIENTS
from native import NATIVE

MATRIX = json.loads(Path(__file__).parents[1].joinpath("matrix.json").read_text())
CURES = MATRIX["cures"]
NATIVES = MATRIX["native"]

# A part of Google's sentence for each of these statuses.
SENTENCES = {
    "403": "Permission 'aiplatform.endpoints.predict' denied on resource",
    "404": "was not found or your project does not have access to it",
    "429": "Resource exhausted. Please try again later.",
    "503": "The service is currently unavailable.",
}


def of(table):
    """The installed clients of a table."""
    ids = [client["id"] for client in table["clients"]]
    clients = [*CLIENTS, *NATIVE]
    return [client for client in clients if client.id in ids and client.installed]


def actions(table):
    return [action["id"] for action in table["actions"]]


def parameters(clients, actions, columns=()):
    """A set of parameters for each of these actions that a client has, and for each column.

    The tests of one client run one after another, and in parallel with those of other clients.
    """
    return [
        pytest.param(
            *(client, action, *column),
            id="-".join([client.id, action, *column]),
            marks=pytest.mark.xdist_group(client.id),
        )
        for client in clients
        for action in actions
        if action not in client.lacks
        for column in ([[name] for name in columns] or [[]])
    ]
