//! Python's methods of texts, lists and dictionaries, as far as jinja2's sandbox allows them in templates.

use minijinja::value::{from_args, Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use crate::comparison;
use crate::python::{is_space, str_of};
use crate::values::{elements, invalid, is_list, is_tuple, tuple, type_name, view, Number, MAX_TEXT};

pub fn call(state: &State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let result = match value.as_str() {
        Some(text) => text_method(text, method, args),
        None if value.kind() == ValueKind::Map => map_method(value, method, args),
        None if is_list(value) => list_method(value, method, args),
        None => None,
    };
    result.unwrap_or_else(|| minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args))
}

type Answer = Option<Result<Value, Error>>;

/// A call's arguments, by position or name.
pub struct Arguments {
    positional: Vec<Value>,
    named: Kwargs,
}

impl Arguments {
    pub fn of(args: &[Value]) -> Result<Self, Error> {
        let (positional, named): (&[Value], Kwargs) = from_args(args)?;
        Ok(Self { positional: positional.to_vec(), named })
    }
    /// `None`: not given, or given as None.
    pub fn get(&self, at: usize, name: &str) -> Result<Option<Value>, Error> {
        let value = match self.positional.get(at) {
            Some(value) => Some(value.clone()),
            None => self.named.get::<Option<Value>>(name)?,
        };
        Ok(value.filter(|v| !v.is_none()))
    }
    pub fn text(&self, at: usize, name: &str) -> Result<String, Error> {
        let value = self.get(at, name)?.ok_or_else(|| invalid(format!("missing argument '{name}'")))?;
        text_of(&value)
    }
    pub fn int(&self, at: usize, name: &str) -> Result<Option<i64>, Error> {
        match self.get(at, name)?.as_ref().map(Number::of) {
            None => Ok(None),
            Some(Some(Number::Int(n))) => Ok(Some(n.clamp(i64::MIN.into(), i64::MAX.into()) as i64)),
            _ => Err(invalid(format!("argument '{name}' must be an integer"))),
        }
    }
    pub fn flag(&self, at: usize, name: &str) -> Result<bool, Error> {
        Ok(self.get(at, name)?.is_some_and(|v| v.is_true()))
    }
    pub fn none_left(&self, most: usize) -> Result<(), Error> {
        if self.positional.len() > most {
            return Err(invalid(format!("takes at most {most} arguments")));
        }
        self.named.assert_all_used()
    }
}

pub fn text_of(value: &Value) -> Result<String, Error> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| invalid(format!("expected str, not {}", type_name(value))))
}

fn text_method(text: &str, method: &str, args: &[Value]) -> Answer {
    let args = match Arguments::of(args) {
        Ok(args) => args,
        Err(e) => return Some(Err(e)),
    };
    let plain = |value: Value| args.none_left(0).map(|()| value);
    Some(match method {
        "strip" | "lstrip" | "rstrip" => {
            args.get(0, "chars").and_then(|chars| strip(text, method, chars.as_ref()))
        }
        "upper" => plain(text.to_uppercase().into()),
        "lower" => plain(text.to_lowercase().into()),
        "casefold" => plain(text.to_lowercase().replace('ß', "ss").into()),
        "title" => plain(title(text).into()),
        "capitalize" => plain(capitalize(text).into()),
        "swapcase" => plain(swap_case(text).into()),
        "count" | "find" | "rfind" | "index" | "rindex" => search(text, method, &args),
        "startswith" | "endswith" => starts_or_ends(text, method == "startswith", &args),
        "removeprefix" => {
            args.text(0, "prefix").map(|p| text.strip_prefix(p.as_str()).unwrap_or(text).into())
        }
        "removesuffix" => {
            args.text(0, "suffix").map(|p| text.strip_suffix(p.as_str()).unwrap_or(text).into())
        }
        "partition" | "rpartition" => partition(text, method == "partition", &args),
        "split" | "rsplit" => split(text, method == "split", &args),
        "splitlines" => args
            .flag(0, "keepends")
            .map(|keep| split_lines(text, keep).into_iter().map(Value::from).collect()),
        "join" => args.get(0, "iterable").and_then(|items| strict_join(text, &items.unwrap_or_default())),
        "replace" => replace_method(text, &args),
        "zfill" => args.int(0, "width").and_then(|width| zero_fill(text, width.unwrap_or(0))),
        "center" | "ljust" | "rjust" => justify(text, method, &args),
        "expandtabs" => args.int(0, "tabsize").and_then(|size| expand_tabs(text, size.unwrap_or(8))),
        "format_map" => Err(invalid("str.format_map is not supported")),
        _ => return case_test(text, method).map(|is| plain(is.into())),
    })
}

fn case_test(text: &str, method: &str) -> Option<bool> {
    let each = |is: &dyn Fn(char) -> bool| !text.is_empty() && text.chars().all(is);
    Some(match method {
        "isascii" => text.is_ascii(),
        "isspace" => each(&is_space),
        "isalpha" => each(&char::is_alphabetic),
        "isalnum" => each(&char::is_alphanumeric),
        "isdecimal" | "isdigit" | "isnumeric" => each(&char::is_numeric),
        "islower" => text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase),
        "isupper" => text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase),
        "istitle" => text.chars().any(char::is_uppercase) && title(text) == text,
        "isidentifier" => {
            !text.is_empty()
                && !text.starts_with(char::is_numeric)
                && text.chars().all(|c| c.is_alphanumeric() || c == '_')
        }
        "isprintable" => text.chars().all(crate::python::is_printable),
        _ => return None,
    })
}

/// str.title(): a letter after no letter is upper case, any other lower case.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_word = false;
    for c in text.chars() {
        if in_word {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        in_word = c.is_alphabetic();
    }
    out
}

pub fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    first + &chars.as_str().to_lowercase()
}

fn swap_case(text: &str) -> String {
    let swapped = |c: char| -> String {
        if c.is_uppercase() {
            c.to_lowercase().collect()
        } else {
            c.to_uppercase().collect()
        }
    };
    text.chars().map(swapped).collect()
}

/// The part [start, end) of a text, and the number of characters before it; `None` if start is beyond the text.
fn part<'a>(text: &'a str, args: &Arguments, at: usize) -> Result<Option<(&'a str, i64)>, Error> {
    let (start, end) = (args.int(at, "start")?, args.int(at + 1, "end")?);
    if start.is_none() && end.is_none() {
        return Ok(Some((text, 0)));
    }
    let size = text.chars().count() as i64;
    let place = |n: i64| if n < 0 { (n + size).max(0) } else { n };
    let (start, end) = (place(start.unwrap_or(0)), place(end.unwrap_or(size)).min(size));
    if start > end {
        return Ok(None);
    }
    let byte = |n: i64| text.char_indices().nth(n as usize).map_or(text.len(), |(at, _)| at);
    Ok(Some((&text[byte(start)..byte(end)], start)))
}

fn search(text: &str, method: &str, args: &Arguments) -> Result<Value, Error> {
    let what = args.text(0, "sub")?;
    let within = part(text, args, 1)?;
    if method == "count" {
        let count = within.map_or(0, |(text, _)| match what.is_empty() {
            true => text.chars().count() + 1,
            false => text.matches(&what).count(),
        });
        return Ok(count.into());
    }
    let found = within.and_then(|(text, before)| {
        let at = if method.starts_with('r') { text.rfind(&what) } else { text.find(&what) };
        at.map(|at| before + text[..at].chars().count() as i64)
    });
    match found {
        Some(at) => Ok(at.into()),
        None if method.ends_with("find") => Ok((-1).into()),
        None => Err(invalid("substring not found")),
    }
}

fn starts_or_ends(text: &str, starts: bool, args: &Arguments) -> Result<Value, Error> {
    let what = args.get(0, "prefix")?.unwrap_or_default();
    let options = if is_tuple(&what) { elements(&what)? } else { vec![what] };
    let Some((text, _)) = part(text, args, 1)? else { return Ok(false.into()) };
    for option in options {
        let option = text_of(&option)?;
        if if starts { text.starts_with(&option) } else { text.ends_with(&option) } {
            return Ok(true.into());
        }
    }
    Ok(false.into())
}

fn partition(text: &str, first: bool, args: &Arguments) -> Result<Value, Error> {
    let separator = args.text(0, "sep")?;
    if separator.is_empty() {
        return Err(invalid("empty separator"));
    }
    let cut = if first { text.split_once(&separator) } else { text.rsplit_once(&separator) };
    let parts = match cut {
        Some((before, after)) => [before, &separator, after],
        None if first => [text, "", ""],
        None => ["", "", text],
    };
    Ok(tuple(parts.into_iter().map(Value::from).collect()))
}

fn split(text: &str, from_left: bool, args: &Arguments) -> Result<Value, Error> {
    let most = args.int(1, "maxsplit")?.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let parts: Vec<&str> = match args.get(0, "sep")? {
        None => split_spaces(text, from_left, most),
        Some(separator) => {
            let separator = text_of(&separator)?;
            if separator.is_empty() {
                return Err(invalid("empty separator"));
            }
            if from_left {
                text.splitn(most.saturating_add(1), &separator).collect()
            } else {
                let mut parts: Vec<&str> = text.rsplitn(most.saturating_add(1), &separator).collect();
                parts.reverse();
                parts
            }
        }
    };
    args.none_left(2)?;
    Ok(parts.into_iter().map(Value::from).collect())
}

fn split_spaces(text: &str, from_left: bool, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_matches(is_space);
    while !rest.is_empty() {
        let cut = if from_left { rest.find(is_space) } else { rest.rfind(is_space) };
        match cut.filter(|_| parts.len() < most) {
            None => {
                parts.push(rest);
                break;
            }
            Some(at) if from_left => {
                parts.push(&rest[..at]);
                rest = rest[at..].trim_start_matches(is_space);
            }
            Some(at) => {
                let space = rest[at..].chars().next().map_or(1, char::len_utf8);
                parts.push(&rest[at + space..]);
                rest = rest[..at].trim_end_matches(is_space);
            }
        }
    }
    if !from_left {
        parts.reverse();
    }
    parts
}

/// str.splitlines(): Python has more line ends than Rust.
pub fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let ends = ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let at = rest.find(ends).unwrap_or(rest.len());
        let size = rest[at..].chars().next().map_or(0, char::len_utf8);
        let size = if rest[at..].starts_with("\r\n") { 2 } else { size };
        lines.push(&rest[..if keep_ends { at + size } else { at }]);
        rest = &rest[at + size..];
    }
    lines
}

pub fn strip(text: &str, method: &str, chars: Option<&Value>) -> Result<Value, Error> {
    let set = chars.map(text_of).transpose()?;
    let goes = |c: char| set.as_ref().map_or_else(|| is_space(c), |set| set.contains(c));
    Ok(Value::from(match method {
        "lstrip" => text.trim_start_matches(goes),
        "rstrip" => text.trim_end_matches(goes),
        _ => text.trim_matches(goes),
    }))
}

/// str.join takes only texts; the filter `join` takes any value.
fn strict_join(separator: &str, items: &Value) -> Result<Value, Error> {
    let items = elements(items)?;
    if let Some(other) = items.iter().find(|item| item.as_str().is_none()) {
        return Err(invalid(format!("join: expected str instance, {} found", type_name(other))));
    }
    join(separator, &items)
}

pub fn join(separator: &str, items: &[Value]) -> Result<Value, Error> {
    let mut out = String::new();
    for (i, item) in items.iter().enumerate() {
        out.push_str(if i > 0 { separator } else { "" });
        out.push_str(&str_of(item)?);
        if out.len() > MAX_TEXT {
            return Err(invalid("a text is too long"));
        }
    }
    Ok(Value::from(out))
}

fn replace_method(text: &str, args: &Arguments) -> Result<Value, Error> {
    let (old, new, count) = (args.text(0, "old")?, args.text(1, "new")?, args.int(2, "count")?);
    args.none_left(3)?;
    replace(text, &old, &new, count).map(Value::from)
}

pub fn replace(text: &str, old: &str, new: &str, count: Option<i64>) -> Result<String, Error> {
    let most = count.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let found = if old.is_empty() { text.chars().count() + 1 } else { text.matches(old).count() }.min(most);
    if found.saturating_mul(new.len()).saturating_add(text.len()) > MAX_TEXT {
        return Err(invalid("a text is too long"));
    }
    Ok(text.replacen(old, new, most))
}

fn zero_fill(text: &str, width: i64) -> Result<Value, Error> {
    let fill = padding(text, width)?;
    let sign = usize::from(text.starts_with(['+', '-']));
    Ok(Value::from(format!("{}{}{}", &text[..sign], "0".repeat(fill), &text[sign..])))
}

fn padding(text: &str, width: i64) -> Result<usize, Error> {
    let fill = usize::try_from(width).unwrap_or(0).saturating_sub(text.chars().count());
    if fill > MAX_TEXT / 4 {
        return Err(invalid("a text is too long"));
    }
    Ok(fill)
}

fn justify(text: &str, method: &str, args: &Arguments) -> Result<Value, Error> {
    let width = args.int(0, "width")?.ok_or_else(|| invalid("missing argument 'width'"))?;
    let with = args.get(1, "fillchar")?.map_or(Ok(" ".into()), |v| text_of(&v))?;
    args.none_left(2)?;
    if with.chars().count() != 1 {
        return Err(invalid("the fill character must be exactly one character long"));
    }
    let fill = padding(text, width)?;
    let left = match method {
        "center" => fill / 2 + (fill & width as usize & 1),
        "rjust" => fill,
        _ => 0,
    };
    Ok(Value::from(format!("{}{text}{}", with.repeat(left), with.repeat(fill - left))))
}

fn expand_tabs(text: &str, size: i64) -> Result<Value, Error> {
    let size = usize::try_from(size).unwrap_or(0);
    if text.matches('\t').count().saturating_mul(size) > MAX_TEXT {
        return Err(invalid("a text is too long"));
    }
    let mut out = String::new();
    let mut column = 0;
    for c in text.chars() {
        if c == '\t' {
            let fill = if size == 0 { 0 } else { size - column % size };
            out.extend(std::iter::repeat_n(' ', fill));
            column += fill;
        } else {
            out.push(c);
            column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
        }
    }
    Ok(out.into())
}

fn map_method(value: &Value, method: &str, args: &[Value]) -> Answer {
    let object = value.as_object()?.clone();
    let pairs = || object.try_iter_pairs().into_iter().flatten();
    let args = match Arguments::of(args) {
        Ok(args) => args,
        Err(e) => return Some(Err(e)),
    };
    let none = |value: Value| args.none_left(0).map(|()| value);
    Some(match method {
        "items" => none(view("dict_items", pairs().map(|(k, v)| tuple(vec![k, v])).collect())),
        "keys" => none(view("dict_keys", pairs().map(|(k, _)| k).collect())),
        "values" => none(view("dict_values", pairs().map(|(_, v)| v).collect())),
        "copy" => none(value.clone()),
        "clear" | "pop" | "popitem" | "setdefault" | "update" => Err(unsafe_call("dict", method)),
        _ => return None,
    })
}

fn unsafe_call(kind: &str, method: &str) -> Error {
    invalid(format!("access to attribute '{method}' of '{kind}' object is unsafe"))
}

fn list_method(value: &Value, method: &str, args: &[Value]) -> Answer {
    let found = || -> Result<Vec<usize>, Error> {
        let what = args.first().ok_or_else(|| Error::from(ErrorKind::MissingArgument))?;
        let mut places = Vec::new();
        for (at, item) in elements(value)?.iter().enumerate() {
            if comparison::equal(item, what)? {
                places.push(at);
            }
        }
        Ok(places)
    };
    Some(match method {
        "count" => found().map(|places| places.len().into()),
        "index" => found().and_then(|places| {
            places.first().map(|at| Value::from(*at)).ok_or_else(|| invalid("the value is not in the list"))
        }),
        "copy" => Ok(value.clone()),
        "append" | "clear" | "pop" | "reverse" | "insert" | "sort" | "extend" | "remove" => {
            Err(unsafe_call("list", method))
        }
        _ => return None,
    })
}
