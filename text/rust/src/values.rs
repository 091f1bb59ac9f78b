//! Python's values on minijinja's: tuples, views of dictionaries, numbers, and lists of limited size.

use std::cmp::Ordering;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr, ValueKind};
use minijinja::{Error, ErrorKind, Value};

pub const MAX_TEXT: usize = 64 << 20;
pub const MAX_ITEMS: usize = 4 << 20;

pub fn invalid(what: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}

/// Python's tuple: equal only to tuples, written with parentheses.
#[derive(Debug)]
pub struct Tuple(pub Vec<Value>);

impl Object for Tuple {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_usize()?).cloned()
    }
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.len())
    }
}

pub fn tuple(items: Vec<Value>) -> Value {
    Value::from_object(Tuple(items))
}

/// What dict.items(), keys() and values() return: neither list nor tuple.
#[derive(Debug)]
pub struct View {
    pub name: &'static str,
    items: Vec<Value>,
}

impl Object for View {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.items.clone())
    }
}

pub fn view(name: &'static str, items: Vec<Value>) -> Value {
    Value::from_object(View { name, items })
}

pub fn is_tuple(value: &Value) -> bool {
    value.downcast_object_ref::<Tuple>().is_some()
}

pub enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    /// bool is an int in Python.
    pub fn of(value: &Value) -> Option<Self> {
        match value.kind() {
            ValueKind::Bool => Some(Self::Int(i128::from(value.is_true()))),
            ValueKind::Number if value.is_integer() => i128::try_from(value.clone()).ok().map(Self::Int),
            ValueKind::Number => f64::try_from(value.clone()).ok().map(Self::Float),
            _ => None,
        }
    }
    pub fn float(&self) -> f64 {
        match self {
            Self::Int(n) => *n as f64,
            Self::Float(x) => *x,
        }
    }
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            _ => self.float().partial_cmp(&other.float()),
        }
    }
}

pub fn int_value(n: i128) -> Value {
    i64::try_from(n).map_or_else(|_| Value::from(n), Value::from)
}

/// The type's name in Python.
pub fn type_name(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "Undefined",
        ValueKind::None => "NoneType",
        ValueKind::Bool => "bool",
        ValueKind::Number if value.is_integer() => "int",
        ValueKind::Number => "float",
        ValueKind::String => "str",
        ValueKind::Seq | ValueKind::Iterable if is_tuple(value) => "tuple",
        ValueKind::Seq | ValueKind::Iterable => "list",
        ValueKind::Map => "dict",
        _ => "object",
    }
}

pub fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

/// The elements of a list, tuple or other iterable; a text's are its characters, a dictionary's its keys.
pub fn elements(value: &Value) -> Result<Vec<Value>, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.chars().map(|c| Value::from(c.to_string())).collect());
    }
    if value.is_undefined() {
        return Ok(Vec::new());
    }
    if value.len().is_some_and(|n| n > MAX_ITEMS) {
        return Err(invalid("a list has too many elements"));
    }
    let iter = value.try_iter().ok().filter(|_| !value.is_none());
    let iter = iter.ok_or_else(|| invalid(format!("'{}' object is not iterable", type_name(value))))?;
    let items: Vec<Value> = iter.take(MAX_ITEMS + 1).collect();
    if items.len() > MAX_ITEMS {
        return Err(invalid("a list has too many elements"));
    }
    Ok(items)
}
