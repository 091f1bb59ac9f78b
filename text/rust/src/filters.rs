//! jinja2's filters and tests where minijinja's differ.

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, Value};

use crate::dumps::Dumps;
use crate::methods::{self, Arguments};
use crate::python::{is_space, str_of};
use crate::values::{elements, int_value, invalid, is_list, tuple, type_name, Number, MAX_TEXT};
use crate::{comparison, operators, printf, python};

pub fn add_to(env: &mut Environment) {
    env.add_filter("tojson", |value: &Value, ascii: Option<Value>, indent: Option<Value>, kwargs: Kwargs| {
        Dumps::from_arguments(ascii, indent, &kwargs)?.dump(value)
    });
    env.add_filter("string", |value: &Value| str_of(value));
    env.add_filter("list", |value: &Value| elements(value).map(Value::from));
    env.add_filter("trim", |value: &Value, args: Rest<Value>| {
        methods::strip(&str_of(value)?, "strip", Arguments::of(&args)?.get(0, "chars")?.as_ref())
    });
    env.add_filter("upper", |value: &Value| Ok::<_, Error>(str_of(value)?.to_uppercase()));
    env.add_filter("lower", |value: &Value| Ok::<_, Error>(str_of(value)?.to_lowercase()));
    env.add_filter("capitalize", |value: &Value| Ok::<_, Error>(methods::capitalize(&str_of(value)?)));
    env.add_filter("title", |value: &Value| Ok::<_, Error>(title(&str_of(value)?)));
    env.add_filter("center", center);
    env.add_filter("indent", indent);
    env.add_filter("wordcount", |value: &Value| Ok::<_, Error>(word_count(&str_of(value)?)));
    for name in ["e", "escape", "forceescape"] {
        env.add_filter(name, |value: &Value| Ok::<_, Error>(escape(&str_of(value)?)));
    }
    env.add_filter("format", |value: &Value, args: Rest<Value>| format(value, &args));
    env.add_filter("join", join);
    env.add_filter("replace", replace);
    for name in ["length", "count"] {
        env.add_filter(name, length);
    }
    env.add_filter("int", int);
    env.add_filter("float", float);
    env.add_filter("abs", abs);
    env.add_filter("round", round);
    env.add_filter("sum", sum);
    env.add_filter("first", |value: &Value| {
        Ok::<_, Error>(elements(value)?.first().cloned().unwrap_or_default_undefined())
    });
    env.add_filter("last", |value: &Value| {
        Ok::<_, Error>(elements(value)?.last().cloned().unwrap_or_default_undefined())
    });
    env.add_filter("items", |value: &Value| pairs(value).map(Value::from));
    env.add_filter("reverse", reverse);
    add_tests(env);
}

trait OrUndefined {
    fn unwrap_or_default_undefined(self) -> Value;
}
impl OrUndefined for Option<Value> {
    fn unwrap_or_default_undefined(self) -> Value {
        self.unwrap_or(Value::UNDEFINED)
    }
}

fn add_tests(env: &mut Environment) {
    let is_int = |v: &Value| v.kind() == ValueKind::Number && v.is_integer();
    env.add_test("number", |v: &Value| matches!(v.kind(), ValueKind::Number | ValueKind::Bool));
    env.add_test("integer", is_int);
    env.add_test("float", |v: &Value| v.kind() == ValueKind::Number && !v.is_integer());
    // In jinja2, strings, mappings and undefined values are sequences too.
    env.add_test("sequence", |v: &Value| {
        matches!(
            v.kind(),
            ValueKind::Seq | ValueKind::Iterable | ValueKind::String | ValueKind::Map | ValueKind::Undefined
        )
    });
    env.add_test("iterable", |v: &Value| {
        matches!(
            v.kind(),
            ValueKind::Seq | ValueKind::Iterable | ValueKind::String | ValueKind::Map | ValueKind::Undefined
        )
    });
    env.add_test("lower", |v: &Value| Ok::<_, Error>(has_case(&str_of(v)?, false)));
    env.add_test("upper", |v: &Value| Ok::<_, Error>(has_case(&str_of(v)?, true)));
    env.add_test("in", |v: &Value, container: &Value| comparison::contains(v, container));
    for name in ["eq", "==", "equalto"] {
        env.add_test(name, comparison::equal);
    }
    for name in ["ne", "!="] {
        env.add_test(name, |a: &Value, b: &Value| comparison::equal(a, b).map(|same| !same));
    }
    let ordered = |names: [&'static str; 3], is: fn(std::cmp::Ordering) -> bool, env: &mut Environment| {
        for name in names {
            env.add_test(name, move |a: &Value, b: &Value| {
                Ok::<_, Error>(comparison::order(a, b)?.is_some_and(is))
            });
        }
    };
    ordered(["lt", "<", "lessthan"], std::cmp::Ordering::is_lt, env);
    ordered(["gt", ">", "greaterthan"], std::cmp::Ordering::is_gt, env);
    ordered(["le", "<=", "le"], std::cmp::Ordering::is_le, env);
    ordered(["ge", ">=", "ge"], std::cmp::Ordering::is_ge, env);
}

fn has_case(text: &str, upper: bool) -> bool {
    let (want, other): (fn(char) -> bool, fn(char) -> bool) = match upper {
        true => (char::is_uppercase, char::is_lowercase),
        false => (char::is_lowercase, char::is_uppercase),
    };
    text.chars().any(want) && !text.chars().any(other)
}

/// A word begins after a space, a hyphen or an opening bracket; "c_d" is one word.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_word = false;
    for c in text.chars() {
        let separates = is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<');
        if in_word {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        in_word = !separates;
    }
    out
}

fn center(value: &Value, args: Rest<Value>) -> Result<String, Error> {
    let args = Arguments::of(&args)?;
    let width = args.int(0, "width")?.unwrap_or(80);
    args.none_left(1)?;
    let text = str_of(value)?;
    let fill = usize::try_from(width).unwrap_or(0).saturating_sub(text.chars().count());
    if fill > MAX_TEXT / 4 {
        return Err(invalid("a text is too long"));
    }
    let left = fill / 2 + (fill & width as usize & 1);
    Ok(format!("{}{text}{}", " ".repeat(left), " ".repeat(fill - left)))
}

/// indent(s, width=4, first=False, blank=False); width may be the text to indent with.
fn indent(value: &Value, args: Rest<Value>) -> Result<String, Error> {
    let args = Arguments::of(&args)?;
    let with = match args.get(0, "width")? {
        None => " ".repeat(4),
        Some(width) => match (width.as_str(), Number::of(&width)) {
            (Some(text), _) => text.to_owned(),
            (_, Some(Number::Int(n))) => " ".repeat(n.clamp(0, 1 << 20) as usize),
            _ => return Err(invalid("indent: width must be an integer or a text")),
        },
    };
    let (first, blank) = (args.flag(1, "first")?, args.flag(2, "blank")?);
    args.none_left(3)?;
    let text = str_of(value)? + "\n";
    let lines = methods::split_lines(&text, false);
    if lines.len().saturating_mul(with.len()).saturating_add(text.len()) > MAX_TEXT {
        return Err(invalid("a text is too long"));
    }
    let mut out = String::new();
    for (i, line) in lines.iter().enumerate() {
        out.push_str(if i > 0 { "\n" } else { "" });
        if if i == 0 { first } else { blank || !line.is_empty() } {
            out.push_str(&with);
        }
        out.push_str(line);
    }
    Ok(out)
}

fn word_count(text: &str) -> usize {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).count()
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            _ => out.push(c),
        }
    }
    out
}

fn format(value: &Value, args: &[Value]) -> Result<String, Error> {
    let (positional, named): (&[Value], Kwargs) = minijinja::value::from_args(args)?;
    let names: Vec<&str> = named.args().collect();
    if names.is_empty() {
        return printf::format(&str_of(value)?, &tuple(positional.to_vec()));
    }
    if !positional.is_empty() {
        return Err(invalid("can't handle positional and keyword arguments at the same time"));
    }
    let mut map = Vec::new();
    for name in names {
        map.push((Value::from(name), named.get::<Value>(name)?));
    }
    printf::format(&str_of(value)?, &map.into_iter().collect::<Value>())
}

/// join(value, d="", attribute=None)
fn join(items: &Value, args: Rest<Value>) -> Result<Value, Error> {
    let args = Arguments::of(&args)?;
    let separator = args.get(0, "d")?.map_or(Ok(String::new()), |v| str_of(&v))?;
    let attribute = args.get(1, "attribute")?;
    args.none_left(2)?;
    let items = elements(items)?;
    match attribute {
        None => methods::join(&separator, &items),
        Some(path) => {
            let picked = items.iter().map(|item| member(item, &path)).collect::<Result<Vec<_>, _>>()?;
            methods::join(&separator, &picked)
        }
    }
}

/// The value at a path like "a.b.0".
pub fn member(value: &Value, path: &Value) -> Result<Value, Error> {
    let Some(path) = path.as_str() else { return value.get_item(path) };
    let mut value = value.clone();
    for step in path.split('.') {
        value = match step.parse::<usize>() {
            Ok(index) => value.get_item_by_index(index)?,
            Err(_) => value.get_attr(step)?,
        };
    }
    Ok(value)
}

/// replace(s, old, new, count=None)
fn replace(value: &Value, args: Rest<Value>) -> Result<String, Error> {
    let args = Arguments::of(&args)?;
    let named = |at, name| args.get(at, name)?.map_or(Ok(String::new()), |v| str_of(&v));
    let (old, new, count) = (named(0, "old")?, named(1, "new")?, args.int(2, "count")?);
    args.none_left(3)?;
    methods::replace(&str_of(value)?, &old, &new, count)
}

fn length(value: &Value) -> Result<usize, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(0),
        ValueKind::String => Ok(value.as_str().unwrap_or_default().chars().count()),
        _ => {
            value.len().ok_or_else(|| invalid(format!("object of type '{}' has no len()", type_name(value))))
        }
    }
}

/// int(value, default=0, base=10)
fn int(value: &Value, args: Rest<Value>) -> Result<Value, Error> {
    let args = Arguments::of(&args)?;
    let default = args.get(0, "default")?.unwrap_or_else(|| 0.into());
    let base = args.int(1, "base")?.unwrap_or(10);
    args.none_left(2)?;
    let whole = |x: f64| if x.is_finite() && x.abs() < 1e38 { Some(int_value(x as i128)) } else { None };
    if value.is_undefined() {
        return Err(invalid("an undefined value is no number"));
    }
    Ok(match (value.as_str(), Number::of(value)) {
        (Some(text), _) => {
            python::parse_int(text, base).map(int_value).or_else(|| whole(python::parse_float(text)?))
        }
        (_, Some(Number::Int(n))) => Some(int_value(n)),
        (_, Some(Number::Float(x))) => whole(x),
        _ => None,
    }
    .unwrap_or(default))
}

/// float(value, default=0.0)
fn float(value: &Value, args: Rest<Value>) -> Result<Value, Error> {
    let args = Arguments::of(&args)?;
    let default = args.get(0, "default")?.unwrap_or_else(|| 0.0.into());
    args.none_left(1)?;
    if value.is_undefined() {
        return Err(invalid("an undefined value is no number"));
    }
    Ok(match (value.as_str(), Number::of(value)) {
        (Some(text), _) => python::parse_float(text).map_or(default, Value::from),
        (_, Some(number)) => number.float().into(),
        _ => default,
    })
}

fn abs(value: &Value) -> Result<Value, Error> {
    match Number::of(value) {
        Some(Number::Int(n)) => Ok(int_value(n.saturating_abs())),
        Some(Number::Float(x)) => Ok(x.abs().into()),
        None => Err(invalid(format!("bad operand type for abs(): '{}'", type_name(value)))),
    }
}

/// round(value, precision=0, method="common"); halves go to the even digit.
fn round(value: &Value, args: Rest<Value>) -> Result<Value, Error> {
    let args = Arguments::of(&args)?;
    let precision = args.int(0, "precision")?.unwrap_or(0).clamp(-30, 300) as i32;
    let method = args.get(1, "method")?.map_or(Ok("common".into()), |v| methods::text_of(&v))?;
    args.none_left(2)?;
    let number =
        Number::of(value).ok_or_else(|| invalid(format!("type {} cannot be rounded", type_name(value))))?;
    let scale = 10f64.powi(precision);
    match (method.as_str(), number) {
        ("common", Number::Int(n)) if precision >= 0 => Ok(int_value(n)),
        ("common", Number::Int(n)) => {
            let unit = 10i128.pow(precision.unsigned_abs());
            let (low, rest) = (n.div_euclid(unit), n.rem_euclid(unit));
            let up = rest * 2 > unit || (rest * 2 == unit && low % 2 != 0);
            Ok(int_value((low + i128::from(up)) * unit))
        }
        ("common", Number::Float(x)) if !x.is_finite() => Ok(x.into()),
        ("common", Number::Float(x)) if precision >= 0 => {
            Ok(format!("{x:.*}", precision as usize).parse().unwrap_or(x).into())
        }
        ("common", Number::Float(x)) => Ok(((x * scale).round_ties_even() / scale).into()),
        ("ceil", number) => Ok(((number.float() * scale).ceil() / scale).into()),
        ("floor", number) => Ok(((number.float() * scale).floor() / scale).into()),
        _ => Err(invalid("method must be common, ceil or floor")),
    }
}

/// sum(iterable, attribute=None, start=0)
fn sum(value: &Value, args: Rest<Value>) -> Result<Value, Error> {
    let args = Arguments::of(&args)?;
    let attribute = args.get(0, "attribute")?;
    let mut total = args.get(1, "start")?.unwrap_or_else(|| 0.into());
    args.none_left(2)?;
    for item in elements(value)? {
        let item = attribute.as_ref().map_or(Ok(item.clone()), |path| member(&item, path))?;
        if item.as_str().is_some() {
            return Err(invalid("sum() can't sum strings"));
        }
        total = operators::add(&total, &item)?;
    }
    Ok(total)
}

/// A dictionary's pairs; none of an undefined value.
fn pairs(value: &Value) -> Result<Vec<Value>, Error> {
    if value.is_undefined() {
        return Ok(Vec::new());
    }
    if value.kind() != ValueKind::Map {
        return Err(invalid("Can only get item pairs from a mapping."));
    }
    elements(value)?.into_iter().map(|key| Ok(tuple(vec![key.clone(), value.get_item(&key)?]))).collect()
}

fn reverse(value: &Value) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.chars().rev().collect::<String>().into());
    }
    if !is_list(value) && value.kind() != ValueKind::Map {
        return Err(invalid("argument must be iterable"));
    }
    let mut items = elements(value)?;
    items.reverse();
    Ok(items.into())
}
