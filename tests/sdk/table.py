#!/usr/bin/env python3
"""What the clients of the matrix did, as the tables of docs/clients.md.

Reads `matrix.json` and `target/sdk/*.json`, which the tests of three languages leave behind, and
prints the matrix. Fails if a cell is missing or failed, or if the page says something else.
`--write` writes its tables again.
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
    parser.add_argument("--write", action="store_true", help="write the tables again")
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
    """`None` if its tests did not run."""
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
                wrong.append(f"{client}, {action}: none, and no note says why")
            elif found not in ("pass", "none"):
                wrong.append(f"{client}, {action}: {found}")
        for action in result["cells"].keys() - actions:
            wrong.append(f"{client}, {action}: not in matrix.json")
        for case in matrix["errors"]:
            if not {"raw", "layer"} <= result["sees"].get(case, {}).keys():
                wrong.append(f"{client}, {case}: not said what its user sees")
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
        # Clients whose users read the same share a row.
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
    """As code within a table, whatever is in it."""
    text = " ".join(text.split()).replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


def between_markers(path, marker, text, write):
    """Complains if there is something else, or puts it there."""
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
        return [f"{name}: says something else; `python3 tests/sdk/table.py --write` mends that"]
    return []


if __name__ == "__main__":
    sys.exit(main())
