#!/usr/bin/env python3
"""Prints the results of the client matrix, which are the tables of docs/clients.md.

Reads `matrix.json` and `target/sdk/*.json`, which the tests in three languages write, and prints the matrix.
Fails if a cell is missing or failed, or if the page differs from the results. `--write` updates the tables
of the page.

`cures` in `matrix.json` has the actions that run twice, without the sidecar's cures (`--compat off`) and with
them. `red` of a client lists the actions that fail without them; with them none fails. The result of a client
has `"cures": {"off": {ACTION: {"result": "pass", "fail" or "none", "says": TEXT}}, "on": {…}}`. `says` is the
client's error, or a sentence about its wrong result. `notes` has the reason of each `none`.
"""

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MARKS = {"pass": "✓", "fail": "✗", "none": "–", "missing": "?"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="update the tables of docs/clients.md")
    write = parser.parse_args().write

    matrix = json.loads((ROOT / "tests/sdk/matrix.json").read_text("utf-8"))
    results = {client["id"]: result_of(client["id"]) for client in matrix["clients"]}
    tables = {
        "matrix": matrix_table(matrix, results),
        "side by side": side_by_side(matrix, results),
    }
    print(tables["matrix"])

    wrong = complaints(matrix, results)
    for marker, text in tables.items():
        wrong += between_markers(ROOT / "docs/clients.md", marker, text, write)
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    return 1 if wrong else 0


def result_of(client):
    """Returns the result of a client, or `None` if its tests did not run."""
    path = ROOT / f"target/sdk/{client}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def cell(result, action):
    return (result or {}).get("cells", {}).get(action, "missing")


def complaints(matrix, results):
    wrong = []
    for client, result in results.items():
        if result is None:
            wrong.append(f"{client}: no result; its tests did not run")
            continue
        actions = [action["id"] for action in matrix["actions"]]
        for action in actions:
            found = cell(result, action)
            if found == "none" and not result["notes"].get(action):
                wrong.append(f"{client}, {action}: none, without a note that gives the reason")
            elif found not in ("pass", "none"):
                wrong.append(f"{client}, {action}: {found}")
        for action in result["cells"].keys() - actions:
            wrong.append(f"{client}, {action}: not in matrix.json")
        for case in matrix["errors"]:
            if not {"raw", "layer"} <= result["sees"].get(case, {}).keys():
                wrong.append(f"{client}, {case}: the text of the error is missing")
    return wrong


def row(cells):
    return f"| {' | '.join(cells)} |"


def matrix_table(matrix, results):
    names = [
        f"{client['name']} {result['version'] if (result := results[client['id']]) else ''}".strip()
        for client in matrix["clients"]
    ]
    clients = {client["id"]: client["name"] for client in matrix["clients"]}
    lines = [row(["client", *names]), row(["---", *[":-:"] * len(names)])]
    notes = []
    for action in matrix["actions"]:
        cells = [action["name"]]
        for result in results.values():
            mark = MARKS[cell(result, action["id"])]
            if note := (result or {}).get("notes", {}).get(action["id"]):
                note = f"{clients[result['client']]}: {note}."
                if note not in notes:
                    notes.append(note)
                mark += f" <sup>{notes.index(note) + 1}</sup>"
            cells.append(mark)
        lines.append(row(cells))
    numbered = [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    return "\n".join([*lines, "", *numbered])


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
