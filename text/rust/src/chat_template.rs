//! A chat template rendered as transformers renders it: its sandboxed jinja2 environment
//! (transformers.utils.chat_template_utils) rebuilt on minijinja, with limits.

use std::ffi::CString;
use std::fmt;
use std::io::{self, Write};

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

use crate::border::Failure;
use crate::python;

// Fuel counts instructions; Qwen3's template uses 76 per message. A template can nest a value as deeply as its
// fuel allows, and dropping that value recurses, with up to 200 bytes of stack per level. So the fuel of the first
// try fits any thread's stack, and a template that needs more starts again on a larger stack (mapping that stack
// takes longer than most renderings; only the used part becomes memory).
const FUEL: u64 = 20_000;
const MORE_FUEL: u64 = 1_000_000;
const MORE_STACK: usize = 256 << 20;
const MAX_OUTPUT: usize = 64 << 20; // bytes

pub struct ChatTemplate {
    quick: Environment<'static>,
    patient: Environment<'static>,
}

impl ChatTemplate {
    pub fn compile(source: &str) -> Result<Self, Failure> {
        let source = without_generation_tags(source);
        let with_fuel = |fuel| {
            let mut environment = environment(fuel);
            environment
                .add_template_owned("chat", source.clone())
                .map_err(|e| Failure::invalid(format!("the chat template does not compile: {e}")))?;
            Ok(environment)
        };
        Ok(Self { quick: with_fuel(FUEL)?, patient: with_fuel(MORE_FUEL)? })
    }

    pub fn render(&self, context_json: &[u8]) -> Result<Vec<u8>, Failure> {
        let context: Value = serde_json::from_slice(context_json)
            .map_err(|e| Failure::invalid(format!("the chat template's context is not JSON: {e}")))?;
        if context.kind() != ValueKind::Map {
            return Err(Failure::invalid("the chat template's context is not a JSON object"));
        }
        match render(&self.quick, &context) {
            Err(e) if out_of_fuel(&e) => {
                stacker::grow(MORE_STACK, || render(&self.patient, &context).map_err(failure))
            }
            result => result.map_err(failure),
        }
    }
}

fn render(environment: &Environment, context: &Value) -> Result<Vec<u8>, Error> {
    let mut out = Bounded(Vec::new());
    environment.get_template("chat")?.render_captured_to(context, &mut out)?;
    Ok(out.0)
}

/// A buffer for the rendered text, limited to MAX_OUTPUT.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::Error::other("the chat template wrote more than 64 MB"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The template's own message, from raise_exception.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Raised {}

/// The error, its cause, the cause of that, and so on.
fn causes(error: &Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |cause| cause.source())
}

fn out_of_fuel(error: &Error) -> bool {
    causes(error).any(|cause| cause.downcast_ref::<Error>().is_some_and(|e| e.kind() == ErrorKind::OutOfFuel))
}

fn failure(error: Error) -> Failure {
    if let Some(Raised(words)) = causes(&error).find_map(|cause| cause.downcast_ref()) {
        let silent = words.trim().is_empty();
        return Failure::invalid(if silent {
            "the chat template refuses this conversation and gives no reason".to_owned()
        } else {
            words.clone()
        });
    }
    if out_of_fuel(&error) {
        return Failure::invalid(format!("the chat template ran for more than {MORE_FUEL} steps"));
    }
    Failure::invalid(format!("the chat template failed: {error}"))
}

fn environment(fuel: u64) -> Environment<'static> {
    let mut env = Environment::new();
    env.set_trim_blocks(true);
    env.set_lstrip_blocks(true);
    env.set_fuel(Some(fuel));
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    env.set_formatter(|out, _, value| match value.as_str() {
        Some(text) => out.write_str(text).map_err(Error::from),
        None => out.write_str(&python::str_of(value)?).map_err(Error::from),
    });
    env.set_unknown_method_callback(method);
    env.add_function("raise_exception", |words: &str| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, "raised").with_source(Raised(words.to_owned())))
    });
    env.add_function("strftime_now", |format: &str| strftime_now(format));
    env.add_filter("tojson", |value: &Value, ascii: Option<Value>, indent: Option<Value>, kwargs: Kwargs| {
        python::Dumps::from_arguments(ascii, indent, &kwargs)?.dump(value)
    });
    env.add_filter("string", |value: &Value| python::str_of(value));
    env.add_filter("trim", |value: &Value, chars: Option<&Value>| {
        python::strip(&python::str_of(value)?, "strip", chars)
    });
    env.add_filter("join", join);
    env.add_filter("replace", python::replace);
    env.add_filter("int", python::int);
    // In jinja2, strings and mappings are sequences too.
    env.add_test("sequence", |v: &Value| {
        matches!(v.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map)
    });
    env.add_test("iterable", |v: &Value| v.kind() == ValueKind::String || v.try_iter().is_ok());
    env
}

fn method(state: &State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        if let Some(result) = python::string_method(text, name, args) {
            return result;
        }
    }
    pycompat::unknown_method_callback(state, value, name, args)
}

/// join(value, d="", attribute=None)
fn join(items: &Value, separator: Option<&str>, kwargs: Kwargs) -> Result<Value, Error> {
    let separator = match separator {
        Some(separator) => separator.to_owned(),
        None => kwargs.get::<Option<&str>>("d")?.unwrap_or_default().to_owned(),
    };
    let attribute = kwargs.get::<Option<&str>>("attribute")?;
    kwargs.assert_all_used()?;
    match attribute {
        None => python::join(&separator, items),
        Some(name) => {
            let picked = items.try_iter()?.map(|item| item.get_attr(name)).collect::<Result<Vec<_>, _>>()?;
            python::join(&separator, &Value::from(picked))
        }
    }
}

/// datetime.now().strftime(format), with the C library's strftime as in Python.
fn strftime_now(format: &str) -> Result<String, Error> {
    let invalid = || Error::new(ErrorKind::InvalidOperation, "strftime_now: invalid format");
    let c_format = CString::new(format).map_err(|_| invalid())?;
    if format.is_empty() {
        return Ok(String::new());
    }
    let mut out = vec![0u8; 256 + 64 * format.len().min(1024)];
    // SAFETY: `now` and `local` outlive the calls; strftime writes at most out.len() bytes.
    let size = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut local: libc::tm = std::mem::zeroed();
        libc::localtime_r(&now, &mut local);
        libc::strftime(out.as_mut_ptr().cast(), out.len(), c_format.as_ptr(), &local)
    };
    out.truncate(size);
    String::from_utf8(out).map_err(|_| invalid())
}

/// `{% generation %}` … `{% endgeneration %}` mark the assistant's text for training; the rendered
/// text does not depend on them. They are replaced by blocks that are always rendered.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let word_at = 2 + tag[2..].len() - tag[2..].trim_start_matches(['-', '+']).trim_start().len();
        let word = tag[word_at..].split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next();
        let (word, replacement) = match word {
            Some("generation") => ("generation", "if true"),
            Some("endgeneration") => ("endgeneration", "endif"),
            _ => ("", ""),
        };
        out.push_str(&tag[..word_at]);
        out.push_str(replacement);
        rest = &tag[word_at + word.len()..];
    }
    out.push_str(rest);
    out
}
