//! Python's operators on template values, as filters that jinja/ writes into the templates. Work and memory are
//! limited: a text has at most MAX_TEXT bytes, a list at most MAX_ITEMS elements.

use std::sync::Arc;

use minijinja::value::{Object, ObjectRepr, Rest, ValueKind};
use minijinja::{Environment, Error, State, Value};

use crate::values::{
    elements, int_value, invalid, is_list, is_tuple, tuple, type_name, Number, MAX_ITEMS, MAX_TEXT,
};
use crate::{methods, printf, python};

fn unsupported(operator: &str, a: &Value, b: &Value) -> Error {
    invalid(format!("unsupported operand types for {operator}: '{}' and '{}'", type_name(a), type_name(b)))
}

fn listed(items: Vec<Value>, as_tuple: bool) -> Value {
    if as_tuple {
        tuple(items)
    } else {
        Value::from(items)
    }
}

pub fn add(a: &Value, b: &Value) -> Result<Value, Error> {
    if let (Some(x), Some(y)) = (a.as_str(), b.as_str()) {
        if x.len() + y.len() > MAX_TEXT {
            return Err(invalid("a text is too long"));
        }
        return Ok(Value::from([x, y].concat()));
    }
    if is_list(a) && is_list(b) && is_tuple(a) == is_tuple(b) {
        let mut items = elements(a)?;
        items.extend(elements(b)?);
        if items.len() > MAX_ITEMS {
            return Err(invalid("a list has too many elements"));
        }
        return Ok(listed(items, is_tuple(a)));
    }
    arithmetic("+", a, b, i128::checked_add, |x, y| x + y)
}

fn arithmetic(
    operator: &str,
    a: &Value,
    b: &Value,
    ints: impl Fn(i128, i128) -> Option<i128>,
    floats: impl Fn(f64, f64) -> f64,
) -> Result<Value, Error> {
    match (Number::of(a), Number::of(b)) {
        (Some(Number::Int(x)), Some(Number::Int(y))) => {
            ints(x, y).map(int_value).ok_or_else(|| invalid(format!("the result of {operator} is too large")))
        }
        (Some(x), Some(y)) => Ok(floats(x.float(), y.float()).into()),
        _ => Err(unsupported(operator, a, b)),
    }
}

fn sub(a: &Value, b: &Value) -> Result<Value, Error> {
    arithmetic("-", a, b, i128::checked_sub, |x, y| x - y)
}

fn mul(a: &Value, b: &Value) -> Result<Value, Error> {
    let repeated = |what: &Value, times: &Value| -> Option<Result<Value, Error>> {
        let Some(Number::Int(times)) = Number::of(times) else { return None };
        let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
        if let Some(text) = what.as_str() {
            let size = text.len().checked_mul(times).filter(|size| *size <= MAX_TEXT);
            return Some(
                size.map(|_| Value::from(text.repeat(times))).ok_or_else(|| invalid("a text is too long")),
            );
        }
        if !is_list(what) {
            return None;
        }
        Some(elements(what).and_then(|items| {
            let size = items.len().checked_mul(times).filter(|size| *size <= MAX_ITEMS);
            let size = size.ok_or_else(|| invalid("a list has too many elements"))?;
            Ok(listed(items.iter().cycle().take(size).cloned().collect(), is_tuple(what)))
        }))
    };
    match repeated(a, b).or_else(|| repeated(b, a)) {
        Some(result) => result,
        None => arithmetic("*", a, b, i128::checked_mul, |x, y| x * y),
    }
}

fn not_zero(b: &Value) -> Result<(), Error> {
    match Number::of(b) {
        Some(n) if n.float() == 0.0 => Err(invalid("division by zero")),
        _ => Ok(()),
    }
}

fn div(a: &Value, b: &Value) -> Result<Value, Error> {
    match (Number::of(a), Number::of(b)) {
        (Some(x), Some(y)) => not_zero(b).map(|()| (x.float() / y.float()).into()),
        _ => Err(unsupported("/", a, b)),
    }
}

fn floor_div(a: &Value, b: &Value) -> Result<Value, Error> {
    not_zero(b)?;
    let ints = |x: i128, y: i128| {
        let quotient = x.checked_div(y)?;
        Some(if x % y != 0 && (x < 0) != (y < 0) { quotient - 1 } else { quotient })
    };
    arithmetic("//", a, b, ints, |x, y| (x / y).floor())
}

/// The remainder has the divisor's sign; a text on the left is formatted.
fn rem(a: &Value, b: &Value) -> Result<Value, Error> {
    if let Some(format) = a.as_str() {
        return printf::format(format, b).map(Value::from);
    }
    not_zero(b)?;
    let ints = |x: i128, y: i128| {
        let rest = x.checked_rem(y)?;
        Some(if rest != 0 && (rest < 0) != (y < 0) { rest + y } else { rest })
    };
    let floats = |x: f64, y: f64| {
        let rest = x % y;
        match rest {
            0.0 => 0f64.copysign(y),
            rest if (rest < 0.0) != (y < 0.0) => rest + y,
            rest => rest,
        }
    };
    arithmetic("%", a, b, ints, floats)
}

fn pow(a: &Value, b: &Value) -> Result<Value, Error> {
    match (Number::of(a), Number::of(b)) {
        (Some(Number::Int(x)), Some(Number::Int(y))) if y >= 0 => u32::try_from(y)
            .ok()
            .and_then(|y| x.checked_pow(y))
            .map(int_value)
            .ok_or_else(|| invalid("the result of ** is too large")),
        (Some(x), Some(y)) => {
            let (x, y) = (x.float(), y.float());
            match x.powf(y) {
                _ if x == 0.0 && y < 0.0 => Err(invalid("0.0 cannot be raised to a negative power")),
                z if z.is_infinite() && x.is_finite() && y.is_finite() => {
                    Err(invalid("the result of ** is too large"))
                }
                z if z.is_nan() && !x.is_nan() && !y.is_nan() => {
                    Err(invalid("complex numbers are not supported"))
                }
                z => Ok(z.into()),
            }
        }
        _ => Err(unsupported("**", a, b)),
    }
}

fn neg(a: &Value) -> Result<Value, Error> {
    match Number::of(a) {
        Some(Number::Int(n)) => {
            n.checked_neg().map(int_value).ok_or_else(|| invalid("a number is too large"))
        }
        Some(Number::Float(x)) => Ok((-x).into()),
        None => Err(invalid(format!("bad operand type for unary -: '{}'", type_name(a)))),
    }
}

fn pos(a: &Value) -> Result<Value, Error> {
    match Number::of(a) {
        Some(Number::Int(n)) => Ok(int_value(n)),
        Some(Number::Float(x)) => Ok(x.into()),
        None => Err(invalid(format!("bad operand type for unary +: '{}'", type_name(a)))),
    }
}

fn concat(first: &Value, rest: Rest<Value>) -> Result<String, Error> {
    let mut out = python::str_of(first)?;
    for value in rest.iter() {
        out.push_str(&python::str_of(value)?);
        if out.len() > MAX_TEXT {
            return Err(invalid("a text is too long"));
        }
    }
    Ok(out)
}

/// value[start:stop:step]
fn slice(value: &Value, start: &Value, stop: &Value, step: &Value) -> Result<Value, Error> {
    let bound = |v: &Value| match (v.is_none(), Number::of(v)) {
        (true, _) => Ok(None),
        (_, Some(Number::Int(n))) => Ok(Some(n.clamp(i64::MIN.into(), i64::MAX.into()))),
        _ => Err(invalid("slice indices must be integers or None")),
    };
    let (start, stop, step) = (bound(start)?, bound(stop)?, bound(step)?.unwrap_or(1));
    if step == 0 {
        return Err(invalid("slice step cannot be zero"));
    }
    if value.is_undefined() {
        return Ok(Value::UNDEFINED);
    }
    if value.as_str().is_none() && !is_list(value) {
        return Ok(Value::UNDEFINED); // as jinja2 answers for what cannot be subscripted
    }
    let items = elements(value)?;
    let size = items.len() as i128;
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let place = |at: Option<i128>, missing: i128| match at {
        None => missing,
        Some(at) if at < 0 => (at + size).clamp(low, high),
        Some(at) => at.clamp(low, high),
    };
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    let (mut at, end) = (place(start, first), place(stop, last));
    let mut picked = Vec::new();
    while if step > 0 { at < end } else { at > end } {
        picked.push(items[at as usize].clone());
        at += step;
    }
    if value.as_str().is_some() {
        return Ok(Value::from(picked.iter().filter_map(|c| c.as_str()).collect::<String>()));
    }
    Ok(listed(picked, is_tuple(value)))
}

/// A method that was named but not called: `schema.items` is one, also if the dictionary has an item "items".
#[derive(Debug)]
struct Method {
    of: Value,
    name: String,
}

impl Object for Method {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
    fn call(self: &Arc<Self>, state: &State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        methods::call(state, &self.of, &self.name, args)
    }
    fn render(self: &Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<built-in method {} of dict object>", self.name)
    }
}

fn attribute(value: &Value, name: &str) -> Result<Value, Error> {
    if value.kind() == ValueKind::Map && value.as_object().is_some() {
        return Ok(Value::from_object(Method { of: value.clone(), name: name.to_owned() }));
    }
    value.get_attr(name)
}

/// What a for loop goes over: a text's characters too.
fn iterated(value: &Value) -> Result<Value, Error> {
    match value.as_str() {
        Some(_) => elements(value).map(Value::from),
        None => Ok(value.clone()),
    }
}

pub fn add_to(env: &mut Environment) {
    env.add_filter("py_tuple", |_: &Value, items: Rest<Value>| tuple(items.to_vec()));
    env.add_filter("py_add", add);
    env.add_filter("py_sub", sub);
    env.add_filter("py_mul", mul);
    env.add_filter("py_div", div);
    env.add_filter("py_floordiv", floor_div);
    env.add_filter("py_mod", rem);
    env.add_filter("py_pow", pow);
    env.add_filter("py_neg", neg);
    env.add_filter("py_pos", pos);
    env.add_filter("py_concat", concat);
    env.add_filter("py_slice", slice);
    env.add_filter("py_attribute", attribute);
    env.add_filter("py_iter", iterated);
}
