//! Values as text in the way of Python where Rust differs, because templates are written for Python.

use std::fmt::Write;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

const MAX_DEPTH: usize = 100; // of nested containers that are written as text

fn too_deep() -> Error {
    Error::new(ErrorKind::InvalidOperation, "a value is nested too deeply")
}

/// str.isspace(): Rust's White_Space and the four separators U+001C to U+001F.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// repr(float): the shortest digits, as 1.0, 0.0001, 1e-05, 1e+16.
pub fn float_repr(x: f64) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.into();
    }
    let scientific = format!("{x:e}"); // the shortest digits that parse to the same number
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if x != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{x}");
    if plain.contains('.') {
        plain
    } else {
        plain + ".0"
    }
}

/// str(value).
pub fn str_of(value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None if value.is_undefined() => Ok(String::new()),
        None => {
            let mut out = String::new();
            write_repr(&mut out, value, 0)?;
            Ok(out)
        }
    }
}

fn write_repr(out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    match value.kind() {
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number if !value.is_integer() => out.push_str(&float_repr(number(value)?)),
        ValueKind::String => write_string_repr(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (i, item) in value.try_iter()?.enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write_repr(out, &item, depth + 1)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (i, key) in value.try_iter()?.enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write_repr(out, &key, depth + 1)?;
                out.push_str(": ");
                write_repr(out, &value.get_item(&key)?, depth + 1)?;
            }
            out.push('}');
        }
        _ => {
            let _ = write!(out, "{value}");
        }
    }
    Ok(())
}

fn number(value: &Value) -> Result<f64, Error> {
    f64::try_from(value.clone())
}

fn write_string_repr(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        let code = c as u32;
        let _ = match c {
            '\\' => out.write_str("\\\\"),
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            _ if c == quote => write!(out, "\\{c}"),
            ' '..='~' => out.write_char(c),
            _ if code < 0x100 && (code < 0xa1 || code == 0xad) => write!(out, "\\x{code:02x}"),
            _ if is_printable(c) => out.write_char(c),
            _ if code < 0x10000 => write!(out, "\\u{code:04x}"),
            _ => write!(out, "\\U{code:08x}"),
        };
    }
    out.push(quote);
}

/// str.isprintable(), except for unassigned code points.
fn is_printable(c: char) -> bool {
    !is_space(c)
        && !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}' | '\u{e0001}'..='\u{e007f}' | '\u{f0000}'..='\u{10ffff}')
}

/// json.dumps as transformers' `tojson` filter calls it.
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

/// The string methods for which the crate differs from Python, or does not end (count of "").
/// `None`: any other method.
pub fn string_method(text: &str, method: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    let first = args.first().filter(|v| !v.is_none());
    let chars_before = |at: Option<usize>| at.map_or(-1, |at| text[..at].chars().count() as i64);
    let argument = || {
        first
            .and_then(|v| v.as_str())
            .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, format!("str.{method} takes a string")))
    };
    let with = |f: &dyn Fn(&str) -> Value| argument().map(f);
    Some(match method {
        "strip" | "lstrip" | "rstrip" => strip(text, method, first),
        "count" => with(&|what| {
            let count = if what.is_empty() { text.chars().count() + 1 } else { text.matches(what).count() };
            Value::from(count)
        }),
        "find" => with(&|what| Value::from(chars_before(text.find(what)))),
        "rfind" => with(&|what| Value::from(chars_before(text.rfind(what)))),
        "removeprefix" => with(&|what| Value::from(text.strip_prefix(what).unwrap_or(text))),
        "removesuffix" => with(&|what| Value::from(text.strip_suffix(what).unwrap_or(text))),
        // For an empty string Python returns False; only isascii returns True.
        _ if text.is_empty() && method.starts_with("is") && method != "isascii" => Ok(false.into()),
        "isspace" => Ok(text.chars().all(is_space).into()),
        "index" => {
            with(&|what| Value::from(chars_before(text.find(what)))).and_then(|at| match at.as_i64() {
                Some(-1) => Err(Error::new(ErrorKind::InvalidOperation, "substring not found")),
                _ => Ok(at),
            })
        }
        "rsplit" if !args.is_empty() => rsplit(text, args),
        "split" if args.is_empty() => {
            Ok(text.split(is_space).filter(|word| !word.is_empty()).map(Value::from).collect())
        }
        "splitlines" if args.is_empty() => Ok(split_lines(text).into_iter().map(Value::from).collect()),
        "join" => first.map_or_else(|| argument().map(Value::from), |items| join(text, items)),
        _ => return None,
    })
}

pub fn strip(text: &str, method: &str, chars: Option<&Value>) -> Result<Value, Error> {
    let set = match chars {
        None => None,
        Some(v) => Some(v.as_str().ok_or_else(|| {
            Error::new(ErrorKind::InvalidOperation, format!("str.{method} takes a string"))
        })?),
    };
    let goes = |c: char| set.map_or_else(|| is_space(c), |set| set.contains(c));
    Ok(Value::from(match method {
        "lstrip" => text.trim_start_matches(goes),
        "rstrip" => text.trim_end_matches(goes),
        _ => text.trim_matches(goes),
    }))
}

pub fn join(separator: &str, items: &Value) -> Result<Value, Error> {
    let mut out = String::new();
    for (i, item) in items.try_iter()?.enumerate() {
        out.push_str(if i > 0 { separator } else { "" });
        out.push_str(&str_of(&item)?);
    }
    Ok(Value::from(out))
}

fn rsplit(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (separator, most): (&str, Option<i64>) = minijinja::value::from_args(args)?;
    if separator.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
    }
    let parts = match most.and_then(|n| usize::try_from(n).ok()) {
        Some(most) => text.rsplitn(most.saturating_add(1), separator).collect::<Vec<_>>(),
        None => text.rsplit(separator).collect(),
    };
    Ok(parts.into_iter().rev().map(Value::from).collect())
}

/// replace(s, old, new, count=None)
pub fn replace(text: &Value, old: &str, new: &str, count: Option<i64>) -> Result<String, Error> {
    let text = str_of(text)?;
    Ok(match count.and_then(|n| usize::try_from(n).ok()) {
        Some(count) => text.replacen(old, new, count),
        None => text.replace(old, new),
    })
}

/// int(value, default=0)
pub fn int(value: &Value, default: Option<i64>) -> Value {
    let parsed = match value.as_str() {
        Some(text) => {
            text.trim_matches(is_space).parse().ok().or_else(|| text.parse::<f64>().ok().map(|x| x as i64))
        }
        None => i64::try_from(value.clone()).ok().or_else(|| number(value).ok().map(|x| x as i64)),
    };
    Value::from(parsed.unwrap_or(default.unwrap_or(0)))
}

/// str.splitlines(): Python has more line ends than Rust.
fn split_lines(text: &str) -> Vec<&str> {
    let ends = ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let at = rest.find(ends).unwrap_or(rest.len());
        lines.push(&rest[..at]);
        let end = rest[at..].chars().next().map_or(0, char::len_utf8);
        let crlf = rest[at..].starts_with("\r\n");
        rest = &rest[at + end + usize::from(crlf)..];
    }
    lines
}
