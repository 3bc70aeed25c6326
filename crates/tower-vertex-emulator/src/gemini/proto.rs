//! Requests in the JSON form of protocol buffers, read as strictly as Google's front end does.
//!
//! The front end takes each field by its JSON name and by its name in the definition, and one
//! message where a list belongs. It refuses all faults of a request in one 400, with a violation for
//! each (BerriAI/litellm issue 6453, datastax/astra-assistants-api issue 73, decolua/9router issue
//! 1081).

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value};

use super::super::google_errors::{GoogleError, Violation};

/// The largest number of violations in a refusal, because the client chooses how many there are.
const MOST: usize = 100;
/// The largest number of characters of a value that a refusal repeats.
const QUOTED: usize = 100;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// A message of the API.
pub(super) struct Message {
    /// The name within the API's package, such as `GenerationConfig.ThinkingConfig`.
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
}

/// An enumeration.
pub(super) struct Enum {
    pub(super) name: &'static str,
    /// The values, by their numbers.
    pub(super) values: &'static [&'static str],
}

/// A field of a message.
pub(super) struct Field {
    /// The name in the definition, such as `max_output_tokens`.
    name: &'static str,
    /// The JSON name, if it is not the same in camel case.
    json: Option<&'static str>,
    count: Count,
    kind: Kind,
    /// The name of the `oneof` that the field belongs to.
    oneof: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq)]
enum Count {
    One,
    List,
    /// A map from texts.
    Map,
}

/// The type of a field.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    Bytes,
    Bool,
    Int32,
    Int64,
    Float,
    Double,
    /// Any JSON value.
    Any,
    /// A JSON object.
    Struct,
    Enum(&'static Enum),
    Message(&'static Message),
}

impl Field {
    const fn new(name: &'static str, count: Count, kind: Kind) -> Self {
        Self { name, json: None, count, kind, oneof: None }
    }

    pub(super) const fn one(name: &'static str, kind: Kind) -> Self {
        Self::new(name, Count::One, kind)
    }

    pub(super) const fn list(name: &'static str, kind: Kind) -> Self {
        Self::new(name, Count::List, kind)
    }

    pub(super) const fn map(name: &'static str, kind: Kind) -> Self {
        Self::new(name, Count::Map, kind)
    }

    pub(super) const fn json(mut self, name: &'static str) -> Self {
        self.json = Some(name);
        self
    }

    pub(super) const fn oneof(mut self, name: &'static str) -> Self {
        self.oneof = Some(name);
        self
    }

    fn json_name(&self) -> String {
        self.json.map_or_else(|| camel_case(self.name), str::to_owned)
    }

    fn has_name(&self, name: &str) -> bool {
        self.name == name || self.json_name() == name
    }
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut characters = word.chars();
        camel.extend(characters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(characters.as_str());
    }
    camel
}

/// Reads a request. The result has the JSON names and no null.
pub(super) fn read(
    message: &Message,
    version: &str,
    body: Map<String, Value>,
) -> Result<Map<String, Value>, GoogleError> {
    let mut reader = Reader { version, violations: Vec::new() };
    let read = reader.message(message, body, "");
    if reader.violations.is_empty() {
        return Ok(read);
    }
    Err(GoogleError::bad_request(reader.violations))
}

struct Reader<'a> {
    version: &'a str,
    violations: Vec<Violation>,
}

impl Reader<'_> {
    fn report(&mut self, field: &str, description: String) {
        if self.violations.len() < MOST {
            self.violations.push(Violation { field: field.to_owned(), description });
        }
    }

    fn unknown(&mut self, path: &str, name: &str, why: &str) {
        let at = if path.is_empty() { String::new() } else { format!(" at '{path}'") };
        let name = shortened(name);
        self.report(
            path,
            format!("Invalid JSON payload received. Unknown name \"{name}\"{at}: {why}"),
        );
    }

    fn invalid(&mut self, path: &str, kind: Kind, value: &Value) {
        let kind = match kind {
            Kind::Text => "TYPE_STRING".to_owned(),
            Kind::Bytes => "TYPE_BYTES".to_owned(),
            Kind::Bool => "TYPE_BOOL".to_owned(),
            Kind::Int32 => "TYPE_INT32".to_owned(),
            Kind::Int64 => "TYPE_INT64".to_owned(),
            Kind::Float => "TYPE_FLOAT".to_owned(),
            Kind::Double => "TYPE_DOUBLE".to_owned(),
            Kind::Any => "type.googleapis.com/google.protobuf.Value".to_owned(),
            Kind::Struct => "type.googleapis.com/google.protobuf.Struct".to_owned(),
            Kind::Enum(Enum { name, .. }) | Kind::Message(Message { name, .. }) => {
                format!("type.googleapis.com/google.cloud.aiplatform.{}.{name}", self.version)
            }
        };
        let value = match value {
            Value::Object(_) => "Starting an object on a scalar field".to_owned(),
            Value::String(text) => Value::from(shortened(text)).to_string(),
            other => shortened(&other.to_string()),
        };
        self.report(path, format!("Invalid value at '{path}' ({kind}), {value}"));
    }

    fn message(
        &mut self,
        message: &Message,
        object: Map<String, Value>,
        path: &str,
    ) -> Map<String, Value> {
        let mut read = Map::new();
        let mut set: Vec<&str> = Vec::new();
        for (name, value) in object {
            let Some(field) = message.fields.iter().find(|field| field.has_name(&name)) else {
                self.unknown(path, &name, "Cannot find field.");
                continue;
            };
            if value.is_null() {
                continue;
            }
            if let Some(oneof) = field.oneof {
                if set.contains(&oneof) {
                    let json = field.json_name();
                    self.report(
                        path,
                        format!(
                            "Invalid value at '{path}' (oneof), oneof field '{oneof}' is already \
                             set. Cannot set '{json}'"
                        ),
                    );
                    continue;
                }
                set.push(oneof);
            }
            if let Some(value) = self.field(field, &name, value, path) {
                read.insert(field.json_name(), value);
            }
        }
        read
    }

    fn field(&mut self, field: &Field, name: &str, value: Value, path: &str) -> Option<Value> {
        let inner = match path {
            "" => field.name.to_owned(),
            path => format!("{path}.{}", field.name),
        };
        match (field.count, value) {
            (Count::One, value) if value.is_array() && !matches!(field.kind, Kind::Any) => {
                self.unknown(path, name, "Proto field is not repeating, cannot start list.");
                None
            }
            (Count::One, value) => self.one(field.kind, value, &inner),
            (Count::List, Value::Array(items)) => {
                let items = items.into_iter().enumerate();
                let read = items
                    .filter_map(|(at, item)| self.one(field.kind, item, &format!("{inner}[{at}]")));
                Some(read.collect())
            }
            // Google's own samples have one message in place of a list.
            (Count::List, value) => {
                let one = self.one(field.kind, value, &format!("{inner}[0]"))?;
                Some(Value::Array(vec![one]))
            }
            (Count::Map, Value::Object(entries)) => {
                let entries = entries.into_iter().enumerate();
                let read = entries.filter_map(|(at, (name, value))| {
                    let value = self.one(field.kind, value, &format!("{inner}[{at}].value"))?;
                    Some((name, value))
                });
                Some(Value::Object(read.collect()))
            }
            (Count::Map, value) => {
                self.invalid(&inner, Kind::Struct, &value);
                None
            }
        }
    }

    fn one(&mut self, kind: Kind, value: Value, path: &str) -> Option<Value> {
        let read = match (kind, value) {
            (Kind::Any, value) => Ok(value),
            (Kind::Message(message), Value::Object(object)) => {
                Ok(Value::Object(self.message(message, object, path)))
            }
            (Kind::Struct, value) if value.is_object() => Ok(value),
            (Kind::Text, value) if value.is_string() => Ok(value),
            (Kind::Bytes, Value::String(text)) => {
                if STANDARD.decode(&text).is_err() && URL_SAFE.decode(&text).is_err() {
                    let text = shortened(&text);
                    self.report(
                        path,
                        format!(
                            "Invalid value at '{path}' (TYPE_BYTES), Base64 decoding failed for \
                             \"{text}\""
                        ),
                    );
                    return None;
                }
                Ok(text.into())
            }
            (Kind::Bool, value) => match &value {
                Value::Bool(_) => Ok(value),
                Value::String(text) if text == "true" => Ok(true.into()),
                Value::String(text) if text == "false" => Ok(false.into()),
                _ => Err(value),
            },
            (Kind::Int32, value) => whole(&value)
                .filter(|number| i32::try_from(*number).is_ok())
                .map(Value::from)
                .ok_or(value),
            (Kind::Int64, value) => whole(&value).map(Value::from).ok_or(value),
            (Kind::Float | Kind::Double, value) => match &value {
                Value::Number(_) => Ok(value),
                Value::String(text) => text.parse::<f64>().map(Value::from).map_err(|_| value),
                _ => Err(value),
            },
            (Kind::Enum(of), value) => of.read(&value).map(Value::from).ok_or(value),
            (_, value) => Err(value),
        };
        read.map_err(|value| self.invalid(path, kind, &value)).ok()
    }
}

impl Enum {
    /// The value, by its name in any case (Google's samples of schemas have `"type": "object"`), or
    /// by its number.
    fn read(&self, value: &Value) -> Option<&'static str> {
        match value {
            Value::String(name) => {
                self.values.iter().find(|known| known.eq_ignore_ascii_case(name)).copied()
            }
            number => self.values.get(usize::try_from(number.as_u64()?).ok()?).copied(),
        }
    }
}

/// A whole number, which may be written as `1.0` or as a text.
fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::String(digits) => digits.parse().ok(),
        Value::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
            // The text of a whole number has no fraction.
            format!("{float:.0}").parse().ok()
        }),
        _ => None,
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(QUOTED).collect()
}
