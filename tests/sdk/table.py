#!/usr/bin/env python3
"""Prints the results of the client matrix, which are the tables of docs/clients.md.

Reads `matrix.json` and `target/sdk/*.json`, which the tests in three languages write, and prints the matrix.
Fails if a cell is missing or failed, or if the page differs from the results. `--write` updates the tables
of the page.

`native` in `matrix.json` has the clients of Gemini's and of Anthropic's protocol. The result of a cell is `unable`
if the client fails for a reason of its own, which the test asserts; `notes` has that reason.

`cures` in `matrix.json` has the actions that run twice, without the sidecar's cures (`--compat off`) and
with those of `compat`. `red` of a client lists the actions that fail without them, and `uncured` those that
fail with them, too. The result of a client has `"cures": {"off": {ACTION: {"result": "pass", "fail" or "none",
"says": TEXT}}, "on": {…}}`. `says` is the client's error, or a sentence about its wrong result. `notes` has
the reason of each `none` and of each `uncured`.
"""

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MARKS = {"pass": "✓", "fail": "✗", "unable": "✗", "none": "–", "missing": "?"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="update the tables of docs/clients.md")
    write = parser.parse_args().write

    matrix = json.loads((ROOT / "tests/sdk/matrix.json").read_text("utf-8"))
    results = {client["id"]: result_of(client["id"]) for client in matrix["clients"]}
    cured = {client["id"]: result_of(client["id"]) for client in matrix["cures"]["clients"]}
    native = {client["id"]: result_of(client["id"]) for client in matrix["native"]["clients"]}
    tables = {
        "matrix": matrix_table(matrix, results),
        "native": native_table(matrix["native"], native),
        "side by side": side_by_side(matrix, results),
        "cures": cures_table(matrix["cures"], cured),
        "without the cures": without_cures(matrix["cures"], cured),
    }
    print(tables["matrix"])
    print(tables["native"])
    print(tables["cures"])

    wrong = complaints(matrix, results) + cure_complaints(matrix["cures"], cured)
    wrong += cell_complaints(matrix["native"], native)
    for marker, text in tables.items():
        wrong += between_markers(ROOT / "docs/clients.md", marker, text, write)
    for sentence in dict.fromkeys(wrong):
        print(sentence, file=sys.stderr)
    return 1 if wrong else 0


def result_of(client):
    """Returns the result of a client, or `None` if its tests did not run."""
    path = ROOT / f"target/sdk/{client}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def cell(result, action):
    return (result or {}).get("cells", {}).get(action, "missing")


def cell_complaints(matrix, results):
    wrong = []
    for client, result in results.items():
        if result is None:
            wrong.append(f"{client}: no result; its tests did not run")
            continue
        actions = [action["id"] for action in matrix["actions"]]
        for action in actions:
            found = cell(result, action)
            if found in ("none", "unable") and not result["notes"].get(action):
                wrong.append(f"{client}, {action}: {found}, without a note that gives the reason")
            elif found not in ("pass", "none", "unable"):
                wrong.append(f"{client}, {action}: {found}")
        for action in result["cells"].keys() - actions:
            wrong.append(f"{client}, {action}: not in matrix.json")
    return wrong


def complaints(matrix, results):
    wrong = cell_complaints(matrix, results)
    for client, result in results.items():
        for case in matrix["errors"] if result else []:
            if not {"raw", "layer"} <= result["sees"].get(case, {}).keys():
                wrong.append(f"{client}, {case}: the text of the error is missing")
    return wrong


def cure(result, column, action):
    return (result or {}).get("cures", {}).get(column, {}).get(action, {"result": "missing"})


def cure_complaints(cures, results):
    """Without the cures exactly the actions of `red` fail, and with them those of `uncured`."""
    wrong = []
    actions = [action["id"] for action in cures["actions"]]
    for client in cures["clients"]:
        name, result = client["id"], results[client["id"]]
        if result is None:
            wrong.append(f"{name}: no result; its tests did not run")
            continue
        for action in actions:
            found = {column: cure(result, column, action) for column in ("off", "on")}
            outcomes = {column: of["result"] for column, of in found.items()}
            if "none" in outcomes.values():
                expected = {"off": "none", "on": "none"}
                if not result["notes"].get(action):
                    wrong.append(f"{name}, {action}: none, without a note that gives the reason")
            else:
                red = action in client["red"]
                uncured = action in client.get("uncured", [])
                expected = {"off": "fail" if red else "pass", "on": "fail" if uncured else "pass"}
                if red and not found["off"].get("says"):
                    wrong.append(f"{name}, {action}: the text of the failure is missing")
                if uncured and not result["notes"].get(action):
                    wrong.append(f"{name}, {action}: uncured, without a note that gives the reason")
            for column in ("off", "on"):
                if outcomes[column] != expected[column]:
                    wrong.append(
                        f"{name}, {action}, cures {column}: {outcomes[column]}, "
                        f"and {expected[column]} is expected"
                    )
        recorded = {action for column in result.get("cures", {}).values() for action in column}
        listed = recorded.union(client["red"], client.get("uncured", []))
        for action in listed - set(actions):
            wrong.append(f"{name}, {action}: not in matrix.json")
    return wrong


def row(cells):
    return f"| {' | '.join(cells)} |"


class Notes:
    """Numbered notes below a table. Clients with the same note share a number."""

    def __init__(self):
        self.clients = {}

    def mark(self, client, note):
        """Returns the number of a note as a superscript, or nothing without a note."""
        if not note:
            return ""
        clients = self.clients.setdefault(note, [])
        if client not in clients:
            clients.append(client)
        return f" <sup>{list(self.clients).index(note) + 1}</sup>"

    def lines(self):
        notes = enumerate(self.clients.items(), 1)
        return [f"{number}. {', '.join(clients)}: {note}." for number, (note, clients) in notes]


def matrix_table(matrix, results):
    names = [
        f"{client['name']} {result['version'] if (result := results[client['id']]) else ''}".strip()
        for client in matrix["clients"]
    ]
    clients = {client["id"]: client["name"] for client in matrix["clients"]}
    lines = [row(["client", *names]), row(["---", *[":-:"] * len(names)])]
    notes = Notes()
    for action in matrix["actions"]:
        cells = [action["name"]]
        for client, result in results.items():
            note = (result or {}).get("notes", {}).get(action["id"])
            cells.append(MARKS[cell(result, action["id"])] + notes.mark(clients[client], note))
        lines.append(row(cells))
    return "\n".join([*lines, "", *notes.lines()])


def native_table(native, results):
    """A row for each client."""
    names = [action["name"] for action in native["actions"]]
    lines = [row(["client", *names]), row(["---", *[":-:"] * len(names)])]
    notes = Notes()
    for client in native["clients"]:
        result = results[client["id"]]
        cells = [f"{client['name']} {result['version'] if result else ''}".strip()]
        for action in native["actions"]:
            note = (result or {}).get("notes", {}).get(action["id"])
            cells.append(MARKS[cell(result, action["id"])] + notes.mark(client["name"], note))
        lines.append(row(cells))
    return "\n".join([*lines, "", *notes.lines()])


def cures_table(cures, results):
    """A row for each client. A cell has one mark, or two if the cures make a difference."""
    names = [action["name"] for action in cures["actions"]]
    lines = [row(["client", *names]), row(["---", *[":-:"] * len(names)])]
    notes = Notes()
    for client in cures["clients"]:
        result = results[client["id"]]
        cells = [f"{client['name']} {result['version'] if result else ''}".strip()]
        for action in cures["actions"]:
            off, on = (MARKS[cure(result, c, action["id"])["result"]] for c in ("off", "on"))
            note = (result or {}).get("notes", {}).get(action["id"])
            mark = on if off == on else f"{off} → {on}"
            cells.append(mark + notes.mark(client["name"], note))
        lines.append(row(cells))
    return "\n".join([*lines, "", *notes.lines()])


def without_cures(cures, results):
    """A section for each action that fails without the cures. Clients with the same text share a row."""
    blocks = []
    for action in cures["actions"]:
        names = {}
        for client in cures["clients"]:
            off = cure(results[client["id"]], "off", action["id"])
            if off["result"] == "fail":
                names.setdefault(code(off.get("says", "?")), []).append(client["name"])
        if names:
            lines = [f"### Without the cures: {action['name']}", ""]
            lines += [row(["client", "result"]), row(["---"] * 2)]
            lines += [row([", ".join(clients), text]) for text, clients in names.items()]
            blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def side_by_side(matrix, results):
    actions = {action["id"]: action for action in matrix["actions"]}
    blocks = []
    for case in matrix["errors"]:
        # Clients with the same texts share a row.
        names = {}
        for client in matrix["clients"]:
            sees = (results[client["id"]] or {}).get("sees", {}).get(case, {})
            texts = tuple(code(sees.get(kind, "?")) for kind in ("raw", "layer"))
            names.setdefault(texts, []).append(client["name"])
        what = actions[case]["means"].partition(":")[0]
        lines = [f"### {actions[case]['name']}: {what}", ""]
        lines.append(row(["client", "straight from Vertex AI", "through the error layer"]))
        lines.append(row(["---"] * 3))
        lines += [row([", ".join(clients), *texts]) for texts, clients in names.items()]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def code(text):
    """Formats any text as code within a table."""
    text = " ".join(text.split()).replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


def between_markers(path, marker, text, write):
    """Compares the text between the markers, or replaces it."""
    name = path.relative_to(ROOT)
    before = path.read_text("utf-8")
    head, opening, rest = before.partition(f"<!-- {marker} -->\n")
    _, closing, tail = rest.partition(f"<!-- /{marker} -->")
    if not opening or not closing:
        return [f"{name}: no <!-- {marker} --> with <!-- /{marker} --> after it"]
    after = f"{head}{opening}{text}\n{closing}{tail}"
    if write and after != before:
        path.write_text(after, "utf-8")
    elif after != before:
        return [f"{name}: differs from the results; run `python3 tests/sdk/table.py --write`"]
    return []


if __name__ == "__main__":
    sys.exit(main())
