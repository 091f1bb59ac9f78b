//! A chat template rendered as transformers renders it: its sandboxed jinja2 environment
//! (transformers.utils.chat_template_utils) rebuilt on minijinja, with limits.

use std::ffi::CString;
use std::fmt;
use std::io::{self, Write};

use minijinja::value::{Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value};

use crate::border::Failure;
use crate::{comparison, filters, jinja, methods, operators, python};

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
        let source = jinja::rewrite(source)
            .map_err(|e| Failure::invalid(format!("the chat template does not compile: {e}")))?;
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
        let context = with_defaults(context);
        match render(&self.quick, &context) {
            Err(e) if out_of_fuel(&e) => {
                stacker::grow(MORE_STACK, || render(&self.patient, &context).map_err(failure))
            }
            result => result.map_err(failure),
        }
    }
}

/// transformers passes these always; without them `documents is defined` would be false.
fn with_defaults(context: Value) -> Value {
    let names = ["tools", "documents"];
    let missing = names.iter().filter(|name| context.get_attr(name).is_ok_and(|v| v.is_undefined()));
    let defaults: Value = missing.map(|name| (*name, Value::from(()))).collect();
    minijinja::value::merge_maps([context, defaults])
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
    env.set_keep_trailing_newline(true); // the rewriting removed the one that Jinja does not keep
    env.set_fuel(Some(fuel));
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    env.set_formatter(|out, _, value| match value.as_str() {
        Some(text) => out.write_str(text).map_err(Error::from),
        None => out.write_str(&python::str_of(value)?).map_err(Error::from),
    });
    env.set_unknown_method_callback(methods::call);
    env.add_function("raise_exception", |words: &str| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, "raised").with_source(Raised(words.to_owned())))
    });
    env.add_function("strftime_now", |format: &str| strftime_now(format));
    env.add_function("cycler", |items: Rest<Value>| minijinja_contrib::globals::cycler(items.to_vec()));
    env.add_function("joiner", minijinja_contrib::globals::joiner);
    operators::add_to(&mut env);
    comparison::add_to(&mut env);
    filters::add_to(&mut env);
    env
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
