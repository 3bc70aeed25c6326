"""Checks the values that the emulator makes for JSON schemas with a JSON Schema validator."""

import json

import jsonschema

from clients.subjects import MODEL


def with_defs(schema, **definitions):
    return schema | {"$defs": definitions}


NUMBERS = [
    {"type": kind} | bounds
    for kind in ("integer", "number")
    for bounds in (
        {"minimum": 0, "exclusiveMinimum": 0},
        {"minimum": 5, "exclusiveMinimum": 3},
        {"maximum": -1, "exclusiveMaximum": -1},
        {"exclusiveMinimum": 0, "exclusiveMaximum": 2},
        {"minimum": 1.5, "maximum": 2.5},
        {"minimum": 10, "multipleOf": 7},
        {"maximum": -10, "multipleOf": 2.5},
    )
]
SCHEMAS = [
    *NUMBERS,
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001},
    {"type": "number", "minimum": 0.25, "multipleOf": 0.1},
    {"type": "integer", "minimum": 2**53 + 1},
    {"type": "integer", "enum": [1, 2, 3], "minimum": 2},
    {"type": "object", "const": {"a": [None]}},
    {"type": "string", "minLength": 50},
    {"type": "string", "maxLength": 2},
    {"type": "string", "maxLength": 0},
    {"type": "string", "pattern": r"^[a-z][a-z0-9-]{2,30}[a-z0-9]$"},
    {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}Z$"},
    {"type": "string", "pattern": r"^(feat|fix)(\([a-z]+\))?: .{5,}", "minLength": 40},
    {"type": "string", "pattern": r"\.py$"},
    *(
        {"type": "string", "format": name}
        for name in ("date-time", "date", "time", "email", "ipv4", "ipv6", "uuid")
    ),
    {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3},
    {"type": "array", "items": {"type": "string"}, "minItems": 4, "uniqueItems": True},
    {"type": "array", "prefixItems": [{"type": "null"}, {"const": 1}], "items": False},
    {"type": "object", "required": ["a"], "additionalProperties": {"type": "boolean"}},
    {"type": "object", "minProperties": 3, "maxProperties": 3},
    {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 0}, {"type": "null"}]},
    {"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 2}]},
    {"allOf": [{"type": "integer", "minimum": 3}, {"minimum": 7}, {"multipleOf": 4}]},
    {"type": ["string", "null"], "minLength": 3},
    with_defs(
        {"$ref": "#/$defs/node"},
        node={
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 1},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["name", "children", "next"],
            "additionalProperties": False,
        },
    ),
]
DRAFT_4 = [
    {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
    {"type": "number", "maximum": 0, "exclusiveMaximum": True, "minimum": -0.5},
    {"type": "array", "items": [{"type": "integer"}], "additionalItems": False},
]
CASES = [
    *((jsonschema.Draft202012Validator, schema) for schema in SCHEMAS),
    *((jsonschema.Draft4Validator, schema) for schema in DRAFT_4),
]


def wrapped(schema):
    """Wraps a schema in an object, because the arguments of a tool are an object."""
    definitions = {name: schema[name] for name in ("$defs",) if name in schema}
    value = {name: part for name, part in schema.items() if name != "$defs"}
    return {"type": "object", "properties": {"value": value}, "required": ["value"]} | definitions


def test_arguments_and_responses_fit_their_schema(client, subtests):
    for kind, schema in CASES:
        with subtests.test(schema=json.dumps(schema)):
            assert_fits(client, kind, wrapped(schema))


def assert_fits(client, kind, schema):
    kind.check_schema(schema)
    validator = kind(schema, format_checker=kind.FORMAT_CHECKER)
    messages = [{"role": "user", "content": "the text of the user"}]
    tool = {"type": "function", "function": {"name": "tool", "parameters": schema}}
    answer = client.chat.completions.create(
        model=MODEL, messages=messages, tools=[tool], tool_choice="required"
    )
    (call,) = answer.choices[0].message.tool_calls
    assert "text of the user" not in call.function.arguments
    validator.validate(json.loads(call.function.arguments))

    json_schema = {"name": "answer", "schema": schema}
    answer = client.chat.completions.create(
        model=MODEL,
        messages=messages,
        response_format={"type": "json_schema", "json_schema": json_schema},
    )
    validator.validate(json.loads(answer.choices[0].message.content))
