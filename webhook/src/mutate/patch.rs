//! JSON Patch (RFC 6902), written by hand: a diff of two whole objects costs six times the CPU.

use std::fmt::Write as _;

/// A growing list of operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    operations: String,
}

/// What an operation puts in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A string.
    Text(&'a str),
    /// An object.
    Map(Vec<(&'a str, Self)>),
    /// A list.
    List(Vec<Self>),
    /// JSON that somebody else wrote and we have read.
    Raw(&'a str),
}

impl Patch {
    /// Adds a member or list element, or replaces a member.
    pub fn add(&mut self, path: &str, value: &Value<'_>) {
        self.open("add", path);
        self.operations.push_str(",\"value\":");
        value.write(&mut self.operations);
        self.operations.push('}');
    }

    /// Removes a member that is there.
    pub fn remove(&mut self, path: &str) {
        self.open("remove", path);
        self.operations.push('}');
    }

    fn open(&mut self, operation: &str, path: &str) {
        if self.operations.is_empty() {
            // Most patches fit; growing step by step copies each of them four times.
            self.operations.reserve(1024);
        }
        self.operations.push_str(if self.operations.is_empty() { "[{\"op\":" } else { ",{\"op\":" });
        quote(&mut self.operations, operation);
        self.operations.push_str(",\"path\":");
        quote(&mut self.operations, path);
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The patch document.
    pub fn into_json(mut self) -> String {
        self.operations.push_str(if self.operations.is_empty() { "[]" } else { "]" });
        self.operations
    }
}

impl Value<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Self::Text(text) => quote(out, text),
            Self::Raw(json) => out.push_str(json),
            Self::Map(entries) => {
                out.push('{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    quote(out, key);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
            Self::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
        }
    }
}

/// Writes a JSON string (RFC 8259 §7). What needs no escape, nearly everything, is copied in pieces.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(place) = rest.find(|one: char| one < ' ' || one == '"' || one == '\\') {
        let (plain, special) = rest.split_at(place);
        out.push_str(plain);
        let mut characters = special.chars();
        match characters.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            // Writing to a String cannot fail.
            other => {
                let _ = write!(out, "\\u{:04x}", other.map_or(0, u32::from));
            }
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

/// Writes a member's name as one step of a JSON pointer (RFC 6901 §3).
pub fn step(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_patch_is_an_empty_list() {
        assert_eq!(Patch::default().into_json(), "[]");
    }

    #[test]
    fn operations_follow_one_another() {
        let mut patch = Patch::default();
        patch.add("/a", &Value::Map(vec![("k", Value::List(vec![Value::Text("v")]))]));
        patch.remove("/b");
        assert_eq!(
            patch.into_json(),
            r#"[{"op":"add","path":"/a","value":{"k":["v"]}},{"op":"remove","path":"/b"}]"#
        );
    }

    #[test]
    fn copied_json_stays_as_it_is() {
        let mut patch = Patch::default();
        patch.add("/a", &Value::List(vec![Value::Raw(r#"{"b": 1.50}"#)]));
        assert_eq!(patch.into_json(), r#"[{"op":"add","path":"/a","value":[{"b": 1.50}]}]"#);
    }

    proptest! {
        #[test]
        fn every_text_is_quoted_as_json(text in any::<String>()) {
            let mut quoted = String::new();
            quote(&mut quoted, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
        }

        #[test]
        fn every_name_makes_a_pointer_that_finds_it(name in any::<String>()) {
            let document = serde_json::json!({ name.clone(): 1 });
            let found = document.pointer(&format!("/{}", step(&name)));
            prop_assert!(found.is_some());
        }
    }
}
