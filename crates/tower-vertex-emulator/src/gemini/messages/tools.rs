//! The tools of a request, and the schemas of their parameters.

use super::{
    super::proto::{
        Enum, Field,
        Kind::{self, Any, Bool, Double, Int64, Text},
        Message,
    },
    list, of, one,
};

pub(super) static TOOL: Message = Message {
    name: "Tool",
    fields: &[
        list("function_declarations", of(&FUNCTION_DECLARATION)),
        one("retrieval", Any),
        one("google_search", Any),
        one("google_search_retrieval", Any),
        one("google_maps", Any),
        one("enterprise_web_search", Any),
        one("parallel_ai_search", Any),
        one("exa_ai_search", Any),
        one("code_execution", Any),
        one("url_context", Any),
        one("computer_use", Any),
    ],
};

static FUNCTION_DECLARATION: Message = Message {
    name: "FunctionDeclaration",
    fields: &[
        one("name", Text),
        one("description", Text),
        one("parameters", of(&SCHEMA)),
        one("parameters_json_schema", Any),
        one("response", of(&SCHEMA)),
        one("response_json_schema", Any),
        one("behavior", Text),
    ],
};

pub(super) static SCHEMA: Message = Message {
    name: "Schema",
    fields: &[
        one("type", Kind::Enum(&TYPE)),
        one("format", Text),
        one("title", Text),
        one("description", Text),
        one("nullable", Bool),
        one("default", Any),
        one("items", of(&SCHEMA)),
        one("min_items", Int64),
        one("max_items", Int64),
        list("enum", Text),
        Field::map("properties", of(&SCHEMA)),
        list("property_ordering", Text),
        list("required", Text),
        one("min_properties", Int64),
        one("max_properties", Int64),
        one("minimum", Double),
        one("maximum", Double),
        one("min_length", Int64),
        one("max_length", Int64),
        one("pattern", Text),
        one("example", Any),
        list("any_of", of(&SCHEMA)),
        one("additional_properties", Any),
        one("ref", Text).json("$ref"),
        Field::map("defs", of(&SCHEMA)).json("$defs"),
    ],
};

static TYPE: Enum = Enum {
    name: "Type",
    values: &[
        "TYPE_UNSPECIFIED",
        "STRING",
        "NUMBER",
        "INTEGER",
        "BOOLEAN",
        "ARRAY",
        "OBJECT",
        "NULL",
    ],
};

pub(super) static TOOL_CONFIG: Message = Message {
    name: "ToolConfig",
    fields: &[
        one("function_calling_config", of(&FUNCTION_CALLING_CONFIG)),
        one("retrieval_config", Any),
        one("include_server_side_tool_invocations", Bool),
    ],
};

static FUNCTION_CALLING_CONFIG: Message = Message {
    name: "FunctionCallingConfig",
    fields: &[
        one("mode", Kind::Enum(&MODE)),
        list("allowed_function_names", Text),
        one("stream_function_call_arguments", Bool),
    ],
};

static MODE: Enum = Enum {
    name: "FunctionCallingConfig.Mode",
    values: &["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"],
};
