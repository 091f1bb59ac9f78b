//! jinja2's language on minijinja. minijinja's grammar and operators differ from Python's in small and silent ways,
//! and its operators cannot be replaced. So a template is parsed here by jinja2's grammar and written again in the
//! subset that both agree on: each operator becomes a filter whose name begins with `py_` (operators.rs has them).

use std::fmt;

mod expression;
mod lexer;
mod operand;
mod statement;
mod written;

pub use statement::rewrite;

#[derive(Debug)]
pub struct SyntaxError {
    pub line: usize,
    pub what: String,
}

impl SyntaxError {
    fn at(source: &str, at: usize, what: impl Into<String>) -> Self {
        let line = 1 + source[..at].matches('\n').count();
        Self { line, what: what.into() }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "syntax error: {} (in chat:{})", self.what, self.line)
    }
}
