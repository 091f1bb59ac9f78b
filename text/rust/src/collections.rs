//! jinja2's filters of lists and dictionaries where minijinja's differ.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;

use minijinja::value::{Object, ObjectRepr, Rest, ValueKind};
use minijinja::{filters, Environment, Error, ErrorKind, State, Value};

use crate::methods::Arguments;
use crate::values::{elements, group, invalid, is_list, tuple, type_name};
use crate::{comparison, filters::member, operators};

pub fn add_to(env: &mut Environment) {
    type Name<'a> = Option<Cow<'a, str>>;
    env.add_filter("map", |state: &State, value: Value, args: Rest<Value>| {
        filters::map(state, listed(value)?, args).map(Value::from)
    });
    env.add_filter("select", |state: &State, value: Value, test: Name, args: Rest<Value>| {
        filters::select(state, listed(value)?, test, args)
    });
    env.add_filter("reject", |state: &State, value: Value, test: Name, args: Rest<Value>| {
        filters::reject(state, listed(value)?, test, args)
    });
    env.add_filter(
        "selectattr",
        |state: &State, value: Value, name: Cow<str>, test: Name, args: Rest<Value>| {
            filters::selectattr(state, listed(value)?, name, test, args)
        },
    );
    env.add_filter(
        "rejectattr",
        |state: &State, value: Value, name: Cow<str>, test: Name, args: Rest<Value>| {
            filters::rejectattr(state, listed(value)?, name, test, args)
        },
    );
    env.add_filter("first", |value: &Value| {
        Ok::<_, Error>(elements(value)?.first().cloned().unwrap_or(Value::UNDEFINED))
    });
    env.add_filter("last", |value: &Value| {
        Ok::<_, Error>(elements(value)?.last().cloned().unwrap_or(Value::UNDEFINED))
    });
    env.add_filter("items", |value: &Value| pairs(value).map(Value::from));
    env.add_filter("dictsort", dict_sort);
    env.add_filter("groupby", group_by);
    env.add_filter("reverse", reverse);
    env.add_filter("sum", sum);
    env.add_filter("sort", sorted);
    env.add_filter("min", |value: &Value, args: Rest<Value>| best(value, &args, Ordering::is_lt));
    env.add_filter("max", |value: &Value, args: Rest<Value>| best(value, &args, Ordering::is_gt));
    // minijinja's, which accept none.
    env.add_filter("slice", |state: &State, value: Value, count: usize, fill: Option<Value>| {
        filters::slice(state, elements(&value)?.into(), count, fill)
    });
    env.add_filter("batch", |state: &State, value: Value, count: usize, fill: Option<Value>| {
        filters::batch(state, elements(&value)?.into(), count, fill)
    });
    env.add_function("cycler", |items: Rest<Value>| match items.is_empty() {
        true => Err(invalid("at least one item has to be provided")),
        false => Ok(Value::from_object(Cycler { items: items.to_vec(), next: AtomicUsize::new(0) })),
    });
}

#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    next: AtomicUsize,
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (key.as_str() == Some("current"))
            .then(|| self.items[self.next.load(Relaxed) % self.items.len()].clone())
    }
    fn call_method(self: &Arc<Self>, _: &State, method: &str, _: &[Value]) -> Result<Value, Error> {
        match method {
            "next" => Ok(self.items[self.next.fetch_add(1, Relaxed) % self.items.len()].clone()),
            "reset" => {
                self.next.store(0, Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

/// sort(value, reverse=False, case_sensitive=False, attribute=None); attribute may be several, as "a,b".
fn sorted(value: &Value, args: Rest<Value>) -> Result<Value, Error> {
    let args = Arguments::of(&args)?;
    let (reverse, sensitive) = (args.flag(0, "reverse")?, args.flag(1, "case_sensitive")?);
    let attribute = args.get(2, "attribute")?;
    args.none_left(3)?;
    let paths: Vec<Value> = match attribute.as_ref().map(|v| (v.as_str(), v)) {
        None => Vec::new(),
        Some((Some(names), _)) => names.split(',').map(Value::from).collect(),
        Some((None, index)) => vec![index.clone()],
    };
    let compared = |key: Value| if sensitive { key } else { without_case(key) };
    let mut keyed = Vec::new();
    for item in elements(value)? {
        let key = match paths.as_slice() {
            [] => compared(item.clone()),
            paths => {
                paths.iter().map(|path| member(&item, path).map(compared)).collect::<Result<Value, _>>()?
            }
        };
        keyed.push((key, item));
    }
    sort(keyed, reverse).map(Value::from)
}

/// min and max(value, case_sensitive=False, attribute=None): the first of the best.
fn best(value: &Value, args: &[Value], better: fn(Ordering) -> bool) -> Result<Value, Error> {
    let args = Arguments::of(args)?;
    let (sensitive, attribute) = (args.flag(0, "case_sensitive")?, args.get(1, "attribute")?);
    args.none_left(2)?;
    let mut best: Option<(Value, Value)> = None;
    for item in elements(value)? {
        let key = attribute.as_ref().map_or(Ok(item.clone()), |path| member(&item, path))?;
        let key = if sensitive { key } else { without_case(key) };
        if match &best {
            None => true,
            Some((other, _)) => comparison::order(&key, other)?.is_some_and(better),
        } {
            best = Some((key, item));
        }
    }
    Ok(best.map_or(Value::UNDEFINED, |(_, item)| item))
}

/// jinja2 looks at no element of what is false, so map and select accept none and 0.
fn listed(value: Value) -> Result<Value, Error> {
    if value.is_true() {
        elements(&value).map(Value::from)
    } else {
        Ok(Value::from(Vec::<Value>::new()))
    }
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

fn without_case(value: Value) -> Value {
    match value.as_str() {
        Some(text) => text.to_lowercase().into(),
        None => value,
    }
}

/// Stable, by Python's order; values that have no order are an error.
fn sort(items: Vec<(Value, Value)>, reverse: bool) -> Result<Vec<Value>, Error> {
    let mut failed = None;
    let mut sorted = items;
    sorted.sort_by(|a, b| {
        let order = comparison::order(&a.0, &b.0).unwrap_or_else(|e| {
            failed.get_or_insert(e);
            None
        });
        let order = order.unwrap_or(Ordering::Equal);
        if reverse {
            order.reverse()
        } else {
            order
        }
    });
    match failed {
        Some(e) => Err(e),
        None => Ok(sorted.into_iter().map(|(_, item)| item).collect()),
    }
}

/// dictsort(value, case_sensitive=False, by="key", reverse=False)
fn dict_sort(value: &Value, args: Rest<Value>) -> Result<Value, Error> {
    let args = Arguments::of(&args)?;
    let sensitive = args.flag(0, "case_sensitive")?;
    let place = match args.get(1, "by")?.as_ref().and_then(|by| by.as_str()) {
        None | Some("key") => 0,
        Some("value") => 1,
        _ => return Err(invalid("You can only sort by either \"key\" or \"value\"")),
    };
    let reverse = args.flag(2, "reverse")?;
    args.none_left(3)?;
    if value.kind() != ValueKind::Map {
        return Err(invalid(format!("'{}' object has no attribute 'items'", type_name(value))));
    }
    let mut keyed = Vec::new();
    for pair in pairs(value)? {
        let key = pair.get_item_by_index(place)?;
        keyed.push((if sensitive { key } else { without_case(key) }, pair));
    }
    sort(keyed, reverse).map(Value::from)
}

/// groupby(value, attribute, default=None, case_sensitive=False): tuples of the value and the items that have it.
fn group_by(value: &Value, args: Rest<Value>) -> Result<Value, Error> {
    let args = Arguments::of(&args)?;
    let path = args.get(0, "attribute")?.ok_or_else(|| invalid("groupby: missing argument 'attribute'"))?;
    let default = args.get(1, "default")?;
    let sensitive = args.flag(2, "case_sensitive")?;
    args.none_left(3)?;
    let key_of = |item: &Value| -> Result<Value, Error> {
        let key = member(item, &path)?;
        Ok(match &default {
            Some(default) if key.is_undefined() => default.clone(),
            _ => key,
        })
    };
    let compared = |key: Value| if sensitive { key } else { without_case(key) };
    let mut keyed = Vec::new();
    for item in elements(value)? {
        keyed.push((compared(key_of(&item)?), item));
    }
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for item in sort(keyed, false)? {
        let key = key_of(&item)?;
        match groups.last_mut() {
            Some((last, items)) if comparison::equal(&compared(last.clone()), &compared(key.clone()))? => {
                items.push(item)
            }
            _ => groups.push((key, vec![item])),
        }
    }
    Ok(groups.into_iter().map(|(key, items)| group(key, items)).collect())
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
