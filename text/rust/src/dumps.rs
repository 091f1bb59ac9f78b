//! json.dumps, as transformers' filter `tojson` calls it.

use std::fmt::Write;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

use crate::python::{float_repr, number, str_of, too_deep, MAX_DEPTH};

pub struct Dumps {
    pub ensure_ascii: bool,
    pub indent: Option<String>,
    pub item: String,
    pub key: String,
    pub sort_keys: bool,
}

impl Dumps {
    /// tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False)
    pub fn from_arguments(
        ensure_ascii: Option<Value>,
        indent: Option<Value>,
        kwargs: &Kwargs,
    ) -> Result<Self, Error> {
        let named = |positional: Option<Value>, name| match positional {
            Some(value) => Ok(Some(value)),
            None => kwargs.get::<Option<Value>>(name),
        };
        let ensure_ascii = named(ensure_ascii, "ensure_ascii")?.is_some_and(|v| v.is_true());
        let indent = match named(indent, "indent")?.filter(|v| !v.is_none()) {
            None => None,
            Some(v) if v.as_str().is_some() => v.as_str().map(str::to_owned),
            Some(v) => Some(" ".repeat(i64::try_from(v)?.clamp(0, 64) as usize)),
        };
        let separators = kwargs.get::<Option<Value>>("separators")?.filter(|v| !v.is_none());
        let sort_keys = kwargs.get::<Option<Value>>("sort_keys")?.is_some_and(|v| v.is_true());
        kwargs.assert_all_used()?;
        let (item, key) = match separators {
            Some(pair) => (str_of(&pair.get_item_by_index(0)?)?, str_of(&pair.get_item_by_index(1)?)?),
            None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        };
        Ok(Self { ensure_ascii, indent, item, key, sort_keys })
    }

    pub fn dump(&self, value: &Value) -> Result<String, Error> {
        let mut out = String::new();
        self.write(&mut out, value, 0)?;
        Ok(out)
    }

    fn write(&self, out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?.collect::<Vec<_>>();
                self.write_items(out, '[', ']', depth, items, |out, item| self.write(out, &item, depth + 1))
            }
            ValueKind::Map => {
                let mut keys = value.try_iter()?.collect::<Vec<_>>();
                if self.sort_keys {
                    keys.sort();
                }
                self.write_items(out, '{', '}', depth, keys, |out, key| {
                    let name = match key.as_str() {
                        Some(text) => text.to_owned(),
                        None => self.scalar(&key)?,
                    };
                    self.write_string(out, &name);
                    out.push_str(&self.key);
                    self.write(out, &value.get_item(&key)?, depth + 1)
                })
            }
            ValueKind::String => {
                self.write_string(out, value.as_str().unwrap_or_default());
                Ok(())
            }
            _ => {
                out.push_str(&self.scalar(value)?);
                Ok(())
            }
        }
    }

    fn write_items(
        &self,
        out: &mut String,
        open: char,
        close: char,
        depth: usize,
        items: Vec<Value>,
        mut write: impl FnMut(&mut String, Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let empty = items.is_empty();
        out.push(open);
        for (i, item) in items.into_iter().enumerate() {
            out.push_str(if i > 0 { &self.item } else { "" });
            self.new_line(out, depth + 1);
            write(out, item)?;
        }
        if !empty {
            self.new_line(out, depth);
        }
        out.push(close);
        Ok(())
    }

    fn new_line(&self, out: &mut String, depth: usize) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    }

    fn scalar(&self, value: &Value) -> Result<String, Error> {
        match value.kind() {
            ValueKind::None => Ok("null".into()),
            ValueKind::Bool => Ok(if value.is_true() { "true" } else { "false" }.into()),
            ValueKind::Number if value.is_integer() => Ok(value.to_string()),
            ValueKind::Number => Ok(match number(value)? {
                x if x.is_nan() => "NaN".into(),
                x if x.is_infinite() => if x > 0.0 { "Infinity" } else { "-Infinity" }.into(),
                x => float_repr(x),
            }),
            kind => Err(Error::new(ErrorKind::InvalidOperation, format!("{kind} is not JSON serializable"))),
        }
    }

    fn write_string(&self, out: &mut String, text: &str) {
        out.push('"');
        for c in text.chars() {
            let _ = match c {
                '"' => out.write_str("\\\""),
                '\\' => out.write_str("\\\\"),
                '\n' => out.write_str("\\n"),
                '\r' => out.write_str("\\r"),
                '\t' => out.write_str("\\t"),
                '\u{8}' => out.write_str("\\b"),
                '\u{c}' => out.write_str("\\f"),
                '\0'..='\u{1f}' => write!(out, "\\u{:04x}", c as u32),
                '\u{7f}'.. if self.ensure_ascii => {
                    c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))
                }
                _ => out.write_char(c),
            };
        }
        out.push('"');
    }
}
