//! Python's `format % values`.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use crate::python;
use crate::values::{invalid, is_tuple, type_name, Number, MAX_TEXT};

const MAX_WIDTH: usize = 1 << 20;

#[derive(Default)]
struct Spec {
    left: bool,
    plus: bool,
    space: bool,
    zero: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
}

/// The values, taken one after the other; a single value that is no tuple stands for one.
struct Values<'a> {
    all: &'a Value,
    next: usize,
}

impl Values<'_> {
    fn take(&mut self) -> Result<Value, Error> {
        let at = self.next;
        self.next += 1;
        let missing = || invalid("not enough arguments for format string");
        if is_tuple(self.all) {
            let size = self.all.len().unwrap_or(0);
            return if at < size { self.all.get_item_by_index(at) } else { Err(missing()) };
        }
        if at == 0 {
            Ok(self.all.clone())
        } else {
            Err(missing())
        }
    }
    fn all_taken(&self) -> bool {
        match is_tuple(self.all) {
            true => self.next >= self.all.len().unwrap_or(0),
            // A dictionary or list may stay unused, as in Python.
            false => {
                self.next > 0
                    || matches!(self.all.kind(), ValueKind::Map | ValueKind::Seq | ValueKind::Iterable)
            }
        }
    }
}

pub fn format(format: &str, values: &Value) -> Result<String, Error> {
    let mut out = String::new();
    let mut values = Values { all: values, next: 0 };
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let named = match rest.strip_prefix('(') {
            Some(inner) => {
                let end = inner.find(')').ok_or_else(|| invalid("incomplete format key"))?;
                rest = &inner[end + 1..];
                if values.all.kind() != ValueKind::Map {
                    return Err(invalid("format requires a mapping"));
                }
                let value = values.all.get_item(&Value::from(&inner[..end]))?;
                if value.is_undefined() {
                    return Err(invalid(format!("KeyError: '{}'", &inner[..end])));
                }
                Some(value)
            }
            None => None,
        };
        let (spec, after) = read_spec(rest, &mut values)?;
        let kind = after.chars().next().ok_or_else(|| invalid("incomplete format"))?;
        rest = &after[kind.len_utf8()..];
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = match named {
            Some(value) => value,
            None => values.take()?,
        };
        out.push_str(&padded(&spec, kind, &value)?);
        if out.len() > MAX_TEXT {
            return Err(invalid("a text is too long"));
        }
    }
    out.push_str(rest);
    if !values.all_taken() {
        return Err(invalid("not all arguments converted during string formatting"));
    }
    Ok(out)
}

fn read_spec<'a>(text: &'a str, values: &mut Values) -> Result<(Spec, &'a str), Error> {
    let mut spec = Spec::default();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        match c {
            '-' => spec.left = true,
            '+' => spec.plus = true,
            ' ' => spec.space = true,
            '0' => spec.zero = true,
            '#' => spec.alternate = true,
            _ => break,
        }
        rest = &rest[1..];
    }
    let mut count = |rest: &mut &'a str| -> Result<usize, Error> {
        if let Some(after) = rest.strip_prefix('*') {
            *rest = after;
            return match Number::of(&values.take()?) {
                Some(Number::Int(n)) => usize::try_from(n).map_err(|_| invalid("negative width")),
                _ => Err(invalid("* wants int")),
            };
        }
        let size = rest.bytes().take_while(u8::is_ascii_digit).count();
        let digits = &rest[..size];
        *rest = &rest[size..];
        Ok(if digits.is_empty() { 0 } else { digits.parse().unwrap_or(usize::MAX) })
    };
    spec.width = count(&mut rest)?;
    if let Some(after) = rest.strip_prefix('.') {
        rest = after;
        spec.precision = Some(count(&mut rest)?);
    }
    if spec.width > MAX_WIDTH || spec.precision.is_some_and(|p| p > MAX_WIDTH) {
        return Err(invalid("a format's width is too large"));
    }
    Ok((spec, rest.trim_start_matches(['h', 'l', 'L'])))
}

fn padded(spec: &Spec, kind: char, value: &Value) -> Result<String, Error> {
    let (sign, digits) = match kind {
        's' | 'r' | 'a' => {
            let text = if kind == 's' { python::str_of(value)? } else { python::repr_of(value)? };
            let text = if kind == 'a' { python::ascii(&text) } else { text };
            (String::new(), spec.precision.map_or(text.clone(), |n| text.chars().take(n).collect()))
        }
        'c' => (String::new(), character(value)?),
        'd' | 'i' | 'u' | 'x' | 'X' | 'o' => integer(spec, kind, value)?,
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => float(spec, kind, value)?,
        other => return Err(invalid(format!("unsupported format character '{other}'"))),
    };
    let length = sign.chars().count() + digits.chars().count();
    let fill = spec.width.saturating_sub(length);
    let is_number = !matches!(kind, 's' | 'r' | 'a' | 'c');
    Ok(if spec.left {
        sign + &digits + &" ".repeat(fill)
    } else if spec.zero && is_number {
        sign + &"0".repeat(fill) + &digits
    } else {
        " ".repeat(fill) + &sign + &digits
    })
}

fn character(value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str().filter(|text| text.chars().count() == 1) {
        return Ok(text.to_owned());
    }
    let code = u32::try_from(value.clone()).ok().and_then(char::from_u32);
    code.map(String::from).ok_or_else(|| invalid("%c requires int or char"))
}

fn signed(spec: &Spec, negative: bool) -> String {
    let sign = match negative {
        true => "-",
        false if spec.plus => "+",
        false if spec.space => " ",
        false => "",
    };
    sign.to_owned()
}

fn integer(spec: &Spec, kind: char, value: &Value) -> Result<(String, String), Error> {
    let decimal = matches!(kind, 'd' | 'i' | 'u');
    let n = match Number::of(value) {
        Some(Number::Int(n)) => n,
        Some(Number::Float(x)) if decimal && x.is_finite() => x as i128,
        _ => return Err(invalid(format!("%{kind} format: a number is required, not {}", type_name(value)))),
    };
    let size = n.unsigned_abs();
    let (prefix, digits) = match kind {
        'x' => ("0x", format!("{size:x}")),
        'X' => ("0X", format!("{size:X}")),
        'o' => ("0o", format!("{size:o}")),
        _ => ("", size.to_string()),
    };
    let digits = match spec.precision {
        Some(least) if digits.len() < least => "0".repeat(least - digits.len()) + &digits,
        _ => digits,
    };
    let prefix = if spec.alternate { prefix } else { "" };
    Ok((signed(spec, n < 0) + prefix, digits))
}

fn float(spec: &Spec, kind: char, value: &Value) -> Result<(String, String), Error> {
    let x =
        Number::of(value).ok_or_else(|| invalid(format!("must be real number, not {}", type_name(value))))?;
    let x = x.float();
    let digits = python::float_digits(x.abs(), kind, spec.precision.unwrap_or(6).min(1000), spec.alternate);
    Ok((signed(spec, x.is_sign_negative() && !x.is_nan()), digits))
}
