"""Saves the results of the matrix, one file for each client, for `tests/sdk/table.py`."""

import json
from pathlib import Path

from clients import CLIENTS

DIRECTORY = Path(__file__).parents[3] / "target" / "sdk"


class Results:
    """A pytest plugin. With xdist only the controller has it, which gets the reports of all workers."""

    def __init__(self):
        self.clients = {kind.id: kind for kind in CLIENTS}
        self.cells = {}
        self.sees = {}
        # Results of an earlier run are removed.
        for kind in CLIENTS:
            self.file(kind).unlink(missing_ok=True)

    @staticmethod
    def file(kind):
        return DIRECTORY / f"{kind.id}.json"

    def pytest_runtest_logreport(self, report):
        """A cell fails if any phase of any of its tests fails."""
        properties = dict(report.user_properties)
        if "cell" not in properties:
            return
        client, action = properties["cell"]
        cells = self.cells.setdefault(client, {})
        if cells.get(action) != "fail":
            cells[action] = "pass" if report.passed else "fail"
        if "sees" in properties:
            case, texts = properties["sees"]
            self.sees.setdefault(client, {})[case] = texts

    def pytest_sessionfinish(self):
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        for client, cells in self.cells.items():
            kind = self.clients[client]
            result = {
                "client": client,
                "version": kind.version,
                "cells": cells | dict.fromkeys(kind.lacks, "none"),
                "notes": kind.notes | kind.lacks,
                "sees": self.sees.get(client, {}),
            }
            text = json.dumps(result, indent=2, ensure_ascii=False, sort_keys=True)
            self.file(kind).write_text(text + "\n")
