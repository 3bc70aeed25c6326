"""Cloud Run's schema from Google's description of its API, as a JSON Schema that refuses unknown
fields."""

import json
import re
from importlib.resources import files

import jsonschema

DOCUMENT = files("googleapiclient") / "discovery_cache" / "documents" / "run.v1.json"
SCHEMAS = json.loads(DOCUMENT.read_text())["schemas"]
OWN = ("run.googleapis.com/", "autoscaling.knative.dev/")


def strict(schema):
    if "Not supported by Cloud Run" in schema.get("description", "")[:40]:
        return False
    if "$ref" in schema:
        return {"$ref": f"#/$defs/{schema['$ref']}"}
    result = {"type": schema["type"]}
    if "enum" in schema:
        result["enum"] = schema["enum"]
    if "items" in schema:
        result["items"] = strict(schema["items"])
    if "properties" in schema:
        result["properties"] = {k: strict(v) for k, v in schema["properties"].items()}
        result["additionalProperties"] = False
    elif "additionalProperties" in schema:
        result["additionalProperties"] = strict(schema["additionalProperties"])
    return result


def definition(schema):
    # The description of a type says which of its fields Cloud Run lacks, not that it lacks the
    # type.
    return strict({**schema, "description": ""})


VALIDATOR = jsonschema.Draft202012Validator(
    {
        "$ref": "#/$defs/Service",
        "$defs": {
            name: definition(schema)
            for name, schema in SCHEMAS.items()
            if schema.get("type") == "object"
        },
    }
)

# The schema allows any annotation. Its text says which of Cloud Run's own a resource may have.
ANNOTATIONS = {
    name: set(re.findall(r"\w+", kinds))
    for name, kinds in re.findall(
        r"`([^`]+)`: ([^.*]+)",
        SCHEMAS["ObjectMeta"]["properties"]["annotations"]["description"],
    )
}


def validate(service):
    VALIDATOR.validate(service)
    for kind, resource in (("Service", service), ("Revision", service["spec"]["template"])):
        for name in resource["metadata"].get("annotations", {}):
            if name.startswith(OWN) and kind not in ANNOTATIONS.get(name, ()):
                raise jsonschema.ValidationError(f"{name} is not an annotation of a {kind}")
