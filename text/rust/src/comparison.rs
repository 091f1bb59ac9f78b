//! Python's comparisons: numbers of every type by value, lists and dictionaries by their elements, no order between types.

use std::cmp::Ordering;

use minijinja::value::{Rest, ValueKind};
use minijinja::{Environment, Error, Value};

use crate::values::{elements, invalid, is_list, is_tuple, type_name, Number};

const MAX_DEPTH: usize = 100; // of values that are compared

pub fn equal(a: &Value, b: &Value) -> Result<bool, Error> {
    equal_at(a, b, 0)
}

fn equal_at(a: &Value, b: &Value, depth: usize) -> Result<bool, Error> {
    if depth > MAX_DEPTH {
        return Err(invalid("a value is nested too deeply"));
    }
    if let (Some(x), Some(y)) = (a.as_str(), b.as_str()) {
        return Ok(x == y);
    }
    if let (Some(x), Some(y)) = (Number::of(a), Number::of(b)) {
        return Ok(x.compare(&y) == Some(Ordering::Equal));
    }
    if is_list(a) && is_list(b) {
        if is_tuple(a) != is_tuple(b) || a.len() != b.len() {
            return Ok(false);
        }
        for (x, y) in elements(a)?.iter().zip(&elements(b)?) {
            if !equal_at(x, y, depth + 1)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    if a.kind() == ValueKind::Map && b.kind() == ValueKind::Map {
        if a.len() != b.len() {
            return Ok(false);
        }
        for key in elements(a)? {
            let other = b.get_item(&key)?;
            if other.is_undefined() || !equal_at(&a.get_item(&key)?, &other, depth + 1)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    Ok(a.kind() == b.kind() && !is_list(a) && a == b)
}

/// `a < b` and the like; Python orders only values of one kind.
pub fn order(a: &Value, b: &Value) -> Result<Option<Ordering>, Error> {
    order_at(a, b, 0)
}

fn order_at(a: &Value, b: &Value, depth: usize) -> Result<Option<Ordering>, Error> {
    if depth > MAX_DEPTH {
        return Err(invalid("a value is nested too deeply"));
    }
    if let (Some(x), Some(y)) = (a.as_str(), b.as_str()) {
        return Ok(Some(x.cmp(y)));
    }
    if let (Some(x), Some(y)) = (Number::of(a), Number::of(b)) {
        return Ok(x.compare(&y));
    }
    if !is_list(a) || !is_list(b) || is_tuple(a) != is_tuple(b) {
        return Err(invalid(format!("'{}' and '{}' cannot be ordered", type_name(a), type_name(b))));
    }
    let (left, right) = (elements(a)?, elements(b)?);
    for (x, y) in left.iter().zip(&right) {
        if !equal_at(x, y, depth + 1)? {
            return order_at(x, y, depth + 1);
        }
    }
    Ok(Some(left.len().cmp(&right.len())))
}

pub fn contains(item: &Value, container: &Value) -> Result<bool, Error> {
    if let Some(text) = container.as_str() {
        let part = item.as_str().ok_or_else(|| {
            invalid(format!("'in <string>' requires string as left operand, not {}", type_name(item)))
        })?;
        return Ok(text.contains(part));
    }
    if container.kind() == ValueKind::Map {
        return Ok(!container.get_item(item)?.is_undefined() || {
            let mut keys = container.try_iter()?;
            keys.any(|key| key == *item)
        });
    }
    for element in elements(container)? {
        if equal(&element, item)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn compare_by(operator: &str, a: &Value, b: &Value) -> Result<bool, Error> {
    match operator {
        "==" => equal(a, b),
        "!=" => equal(a, b).map(|same| !same),
        "in" => contains(a, b),
        "not in" => contains(a, b).map(|found| !found),
        _ => order(a, b).map(|order| {
            order.is_some_and(|order| match operator {
                "<" => order.is_lt(),
                "<=" => order.is_le(),
                ">" => order.is_gt(),
                _ => order.is_ge(),
            })
        }),
    }
}

/// `a < b <= c`: the arguments after `a` are the operators and values in turn.
fn compare(first: &Value, rest: Rest<Value>) -> Result<bool, Error> {
    let mut left = first;
    for pair in rest.chunks(2) {
        let [operator, right] = pair else { break };
        if !compare_by(operator.as_str().unwrap_or_default(), left, right)? {
            return Ok(false);
        }
        left = right;
    }
    Ok(true)
}

pub fn add_to(env: &mut Environment) {
    env.add_filter("py_compare", compare);
    for (filter, operator) in [
        ("py_eq", "=="),
        ("py_ne", "!="),
        ("py_lt", "<"),
        ("py_le", "<="),
        ("py_gt", ">"),
        ("py_ge", ">="),
        ("py_in", "in"),
        ("py_not_in", "not in"),
    ] {
        env.add_filter(filter, move |a: &Value, b: &Value| compare_by(operator, a, b));
    }
}
