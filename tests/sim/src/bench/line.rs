//! JSON lines whose fields stand in the order they were put.

use serde_json::Value;

/// One line, or a part of one.
pub struct Line(String);

impl Line {
    /// Without fields.
    pub fn new() -> Self {
        Self(String::from("{"))
    }

    /// Of a kind.
    pub fn of(kind: &str) -> Self {
        Self::new().put("kind", kind)
    }

    fn raw(mut self, name: &str, value: &str) -> Self {
        let comma = if self.0.len() > 1 { "," } else { "" };
        self.0.push_str(&format!("{comma}\"{name}\":{value}"));
        self
    }

    /// One field more.
    pub fn put(self, name: &str, value: impl Into<Value>) -> Self {
        self.raw(name, &value.into().to_string())
    }

    /// Fields under one name.
    pub fn within(self, name: &str, part: Self) -> Self {
        let part = part.end();
        self.raw(name, &part)
    }

    /// As it is printed.
    pub fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// A figure with so many digits; what was not measured is null.
pub fn round(value: impl Into<Option<f64>>, digits: i32) -> Value {
    let Some(value) = value.into().filter(|value| value.is_finite()) else { return Value::Null };
    let scale = 10_f64.powi(digits);
    let value = (value * scale).round() / scale;
    if value.fract() == 0.0 { Value::from(value as i64) } else { Value::from(value) }
}
