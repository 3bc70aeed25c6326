"""Saves the results of the tests, one file for each client, for `tests/sdk/table.py`."""

import json
from pathlib import Path

from clients import CLIENTS
from matrix import CURES, MATRIX, NATIVES, actions
from native import NATIVE

DIRECTORY = Path(__file__).parents[3] / "target" / "sdk"


class Results:
    """A pytest plugin. With xdist only the controller has it, which gets the reports of all workers."""

    def __init__(self):
        self.clients = {client.id: client for client in [*CLIENTS, *NATIVE] if client.installed}
        self.results = {}
        # Results of an earlier run are removed.
        for client in self.clients:
            self.file(client).unlink(missing_ok=True)

    @staticmethod
    def file(client):
        return DIRECTORY / f"{client}.json"

    def of(self, client):
        kind = self.clients[client]
        if kind in NATIVE:
            cells = {action: "none" for action in actions(NATIVES) if action in kind.lacks}
            notes = kind.notes | kind.lacks | kind.unable
            empty = {"client": client, "version": kind.version, "cells": cells, "notes": notes}
            return self.results.setdefault(client, empty)
        none = {action: {"result": "none"} for action in actions(CURES) if action in kind.lacks}
        empty = {
            "client": client,
            "version": kind.version,
            "cells": {action: "none" for action in actions(MATRIX) if action in kind.lacks},
            "cures": {"off": dict(none), "on": dict(none)},
            "notes": kind.notes | kind.lacks,
            "sees": {},
        }
        return self.results.setdefault(client, empty)

    def pytest_runtest_logreport(self, report):
        """A cell fails if any phase of any of its tests fails."""
        properties = dict(report.user_properties)
        if "cell" in properties:
            client, action = properties["cell"]
            cells = self.of(client)["cells"]
            if cells.get(action) != "fail":
                unable = action in getattr(self.clients[client], "unable", {})
                cells[action] = ("unable" if unable else "pass") if report.passed else "fail"
            if "sees" in properties:
                case, texts = properties["sees"]
                self.of(client)["sees"][case] = texts
        # The test passes if the client fails as expected.
        if "cure" in properties and report.when == "call":
            client, column, action, found = properties["cure"]
            self.of(client)["cures"][column][action] = found

    def pytest_sessionfinish(self):
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        for client, result in self.results.items():
            text = json.dumps(result, indent=2, ensure_ascii=False, sort_keys=True)
            self.file(client).write_text(text + "\n")
