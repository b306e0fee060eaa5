//! YAML as a tree that remembers its lines, with `${env:NAME}` put in.
//!
//! Substitution follows the OpenTelemetry Collector: `${env:NAME}` and `${NAME}`, `:-` before a
//! default, `$$` for a dollar sign. One thing is better here: a value from the environment keeps its
//! text until someone asks for a type, so that a password `0123` stays one.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A value and the line that it stands in.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Counted from 1; 0 when not known.
    pub(super) line: u64,
    /// What stands there.
    pub(super) value: Yaml,
}

/// A YAML value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Yaml {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// Text.
    Text(String),
    /// Text that came wholly from the environment: it may be asked for as any type.
    Environment(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in its order.
    Map(Vec<(String, Node)>),
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Yaml {
    /// What it is, for messages.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Yaml::Null => "nothing",
            Yaml::Bool(_) => "true or false",
            Yaml::Int(_) | Yaml::Float(_) => "a number",
            Yaml::Text(_) | Yaml::Environment(_) => "text",
            Yaml::List(_) => "a list",
            Yaml::Map(_) => "a mapping",
        }
    }
}

/// Reads a document, puts the environment in.
///
/// # Errors
/// A message that names the line.
pub(super) fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Node, String> {
    let options = serde_saphyr::options! {
        // YAML 1.2, as the OpenTelemetry Collector reads it: "on" and "y" are words.
        strict_booleans: true,
    };
    let mut root: Node =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?;
    substitute(&mut root, env)?;
    Ok(root)
}

fn substitute(node: &mut Node, env: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
    match &mut node.value {
        Yaml::Text(text) if text.contains('$') => {
            node.value =
                expand(text, env).map_err(|message| format!("line {}: {message}", node.line))?;
        }
        Yaml::List(items) => {
            for item in items {
                substitute(item, env)?;
            }
        }
        Yaml::Map(entries) => {
            for (_, value) in entries {
                substitute(value, env)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn expand(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Yaml, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    let mut is_whole = false;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            expanded.push('$');
            rest = tail;
        } else if let Some(tail) = after.strip_prefix('{') {
            let (reference, tail) = tail.split_once('}').ok_or_else(|| {
                format!("{text:?}: a ${{ without its }}; write $$ for a dollar sign")
            })?;
            is_whole = at == 0 && tail.is_empty() && rest.len() == text.len();
            expanded.push_str(&resolved(reference, env)?);
            rest = tail;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded.push_str(rest);
    Ok(if is_whole {
        Yaml::Environment(expanded)
    } else {
        Yaml::Text(expanded)
    })
}

fn resolved(reference: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let name = match name.split_once(':') {
        Some(("env", name)) => name,
        Some((scheme, _)) => {
            return Err(format!(
                "${{{reference}}}: no provider {scheme}; only env is here"
            ));
        }
        None => name,
    };
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.as_bytes()[0].is_ascii_digit();
    if !is_name {
        return Err(format!(
            "${{{reference}}}: {name:?} is not a name of an environment variable"
        ));
    }
    // Set but empty is set: the default is for what nobody said.
    env(name).or_else(|| default.map(str::to_owned)).ok_or_else(|| {
        format!("${{{reference}}}: the environment variable {name} is not set, and there is no default")
    })
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned {
            value, referenced, ..
        } = Spanned::<Yaml>::deserialize(deserializer)?;
        Ok(Node {
            line: referenced.line(),
            value,
        })
    }
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(YamlVisitor)
    }
}

struct YamlVisitor;

impl<'de> Visitor<'de> for YamlVisitor {
    type Value = Yaml;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E: Error>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Yaml, E> {
        Ok(Yaml::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Yaml, E> {
        Ok(Yaml::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Yaml, E> {
        i64::try_from(value)
            .map(Yaml::Int)
            .map_err(|_| E::custom("the number is too large"))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Yaml, E> {
        Ok(Yaml::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Yaml, E> {
        Ok(Yaml::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Yaml, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Yaml::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Yaml, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Yaml::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "PORT" => Some("4317".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICKY" => Some("a: ${PORT}".to_owned()),
            _ => None,
        }
    }

    fn value(text: &str) -> Result<Yaml, String> {
        expand(text, &env)
    }

    #[test]
    fn the_environment_is_put_in() {
        assert_eq!(
            value("${env:PORT}"),
            Ok(Yaml::Environment("4317".to_owned()))
        );
        assert_eq!(value("${PORT}"), Ok(Yaml::Environment("4317".to_owned())));
        assert_eq!(value("h:${env:PORT}"), Ok(Yaml::Text("h:4317".to_owned())));
        assert_eq!(
            value("${PORT}${PORT}"),
            Ok(Yaml::Text("43174317".to_owned()))
        );
        assert_eq!(
            value("${env:NO:-7:x}"),
            Ok(Yaml::Environment("7:x".to_owned()))
        );
        assert_eq!(
            value("${env:EMPTY:-7}"),
            Ok(Yaml::Environment(String::new()))
        );
        assert_eq!(value("a$$b$c$"), Ok(Yaml::Text("a$b$c$".to_owned())));
        assert_eq!(value("$${PORT}"), Ok(Yaml::Text("${PORT}".to_owned())));
        // What comes from the environment is neither YAML nor expanded again.
        assert_eq!(
            value("${TRICKY}"),
            Ok(Yaml::Environment("a: ${PORT}".to_owned()))
        );
    }

    #[test]
    fn what_cannot_be_put_in_says_why() {
        for (text, expected) in [
            ("${env:NO}", "NO is not set"),
            ("${env:}", "is not a name"),
            ("${env:1A}", "is not a name"),
            ("${file:/etc/x}", "no provider file"),
            ("${PORT", "without its }"),
        ] {
            let message = value(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn nodes_know_their_lines() {
        let root = parse("a:\n  b: 1\n  c: [x,\n   y]\n", &env).unwrap();
        let Yaml::Map(entries) = root.value else {
            panic!("a mapping")
        };
        let Yaml::Map(inner) = &entries[0].1.value else {
            panic!("a mapping")
        };
        assert_eq!(
            (inner[0].1.line, inner[0].1.value.clone()),
            (2, Yaml::Int(1))
        );
        let Yaml::List(items) = &inner[1].1.value else {
            panic!("a list")
        };
        assert_eq!(
            (items[1].line, items[1].value.clone()),
            (4, Yaml::Text("y".to_owned()))
        );
    }

    #[test]
    fn a_key_twice_is_an_error() {
        assert!(
            parse("a: 1\na: 2\n", &env)
                .unwrap_err()
                .contains("duplicate")
        );
    }
}
