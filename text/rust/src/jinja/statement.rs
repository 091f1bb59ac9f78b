//! Statements by jinja2's grammar, written again for minijinja. Text between tags, comments and the whitespace
//! control of tags stay as they are; a tag keeps its number of lines, so messages name the right line.

use super::expression::Parser;
use super::lexer::{read_tag, Token};
use super::written::joined;
use super::SyntaxError;

/// The template for minijinja, which must keep trailing newlines: the one at the end is removed here.
pub fn rewrite(source: &str) -> Result<String, SyntaxError> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut out = String::with_capacity(source.len() * 5 / 4);
    let mut at = 0;
    while let Some(found) = source[at..].find('{') {
        let tag = at + found;
        out.push_str(&source[at..tag]);
        at = match source.as_bytes().get(tag + 1) {
            Some(b'#') => copy_comment(source, tag, &mut out)?,
            Some(b'%') => match raw_end(source, tag) {
                Some(end) => {
                    out.push_str(&source[tag..end]);
                    end
                }
                None => write_tag(source, tag, "%}", &mut out)?,
            },
            Some(b'{') => write_tag(source, tag, "}}", &mut out)?,
            _ => {
                out.push('{');
                tag + 1
            }
        };
    }
    out.push_str(&source[at..]);
    Ok(out)
}

fn copy_comment(source: &str, at: usize, out: &mut String) -> Result<usize, SyntaxError> {
    let size =
        source[at + 2..].find("#}").ok_or_else(|| SyntaxError::at(source, at, "a comment has no end"))?;
    let end = at + 2 + size + 2;
    out.push_str(&source[at..end]);
    Ok(end)
}

/// The tag at `at` with this word: where its content begins after the word, else nothing.
fn after_word(source: &str, at: usize, word: &str) -> Option<usize> {
    let inner = source[at..].strip_prefix("{%")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner).trim_start();
    let rest = inner.strip_prefix(word)?.trim_start();
    let end = rest.strip_prefix(['-', '+']).unwrap_or(rest).strip_prefix("%}")?;
    Some(source.len() - end.len())
}

/// `{% raw %}` … `{% endraw %}`: where it ends.
fn raw_end(source: &str, at: usize) -> Option<usize> {
    let mut from = after_word(source, at, "raw")?;
    loop {
        let tag = from + source[from..].find("{%")?;
        match after_word(source, tag, "endraw") {
            Some(end) => return Some(end),
            None => from = tag + 2,
        }
    }
}

fn write_tag(source: &str, at: usize, close: &str, out: &mut String) -> Result<usize, SyntaxError> {
    let opening = &source[at..at + 2];
    let marker = usize::from(source[at + 2..].starts_with(['-', '+']));
    let tag = read_tag(source, at + 2 + marker, close)?;
    let mut parser = Parser::new(&tag.tokens);
    let written = if close == "}}" {
        parser.tuple(true, &[]).map(|v| Statement::Print(v.text))
    } else {
        statement(&mut parser)
    };
    let written = written.and_then(|text| parser.finished().map(|()| text));
    let fails = |what| SyntaxError::at(source, at, what);
    let (opening, text, close) = match written.map_err(fails)? {
        Statement::Block(text) => (opening, text, close),
        Statement::Print(text) => ("{{", text, "}}"),
    };
    for part in [opening, &source[at + 2..at + 2 + marker], " ", &text, " "] {
        out.push_str(part);
    }
    let lines = source[at..tag.end].matches('\n').count();
    out.extend(std::iter::repeat_n('\n', lines));
    // A `+` before `}}` cannot occur; `{% print %}` keeps its own.
    out.push_str(if close == "}}" && tag.closing == "+" { "" } else { tag.closing });
    out.push_str(close);
    Ok(tag.end)
}

enum Statement {
    Block(String),
    Print(String),
}

fn statement(parser: &mut Parser) -> Result<Statement, String> {
    let keyword = parser.name()?;
    let text = match keyword {
        "print" => return print(parser),
        "set" => set(parser)?,
        "for" => for_loop(parser)?,
        "if" | "elif" => format!("{keyword} {}", parser.tuple(false, &[])?.text),
        "with" => with(parser)?,
        "macro" => format!("macro {}({})", parser.name()?, signature(parser)?),
        "call" => call(parser)?,
        "filter" => format!("filter {}", filter_chain(parser, true)?),
        "block" => {
            let name = parser.name()?;
            let _ = parser.skip_name("scoped") || parser.skip_name("required");
            format!("block {name}")
        }
        "endblock" => {
            if !matches!(parser.peek(), Token::End) {
                parser.name()?;
            }
            "endblock".into()
        }
        // The text does not depend on these; they mark the assistant's text for training.
        "generation" => "if true".into(),
        "endgeneration" => "endif".into(),
        "include" | "extends" | "import" | "from" => {
            return Err(format!("a chat template cannot use {{% {keyword} %}}: it has no other templates"))
        }
        "autoescape" => format!("autoescape {}", parser.expression()?.text),
        "else" | "endif" | "endfor" | "endset" | "endwith" | "endmacro" | "endcall" | "endfilter"
        | "endautoescape" | "break" | "continue" => keyword.to_owned(),
        other => return Err(format!("unknown tag '{other}'")),
    };
    parser.skip_operator(":");
    Ok(Statement::Block(text))
}

/// `{% print a, b %}` writes both.
fn print(parser: &mut Parser) -> Result<Statement, String> {
    let first = parser.expression()?;
    let mut rest = Vec::new();
    while parser.skip_operator(",") {
        rest.push(parser.expression()?);
    }
    let all = if rest.is_empty() { first } else { first.filter("py_concat", &joined(rest)) };
    Ok(Statement::Print(all.text))
}

/// Names, `namespace.attribute`, or several of them in parentheses or not.
fn target(parser: &mut Parser, with_namespace: bool) -> Result<String, String> {
    let mut names = Vec::new();
    let mut is_tuple = false;
    let grouped = parser.skip_operator("(");
    loop {
        if parser.at_operator("(") {
            names.push(target(parser, with_namespace)?);
        } else if matches!(parser.peek(), Token::Name(_)) && !parser.at_name("in") {
            let mut name = parser.name()?.to_owned();
            if matches!(name.as_str(), "true" | "false" | "none" | "True" | "False" | "None") {
                return Err(format!("can't assign to '{name}'"));
            }
            if with_namespace && parser.skip_operator(".") {
                name = format!("{name}.{}", parser.name()?);
            }
            names.push(name);
        }
        if !parser.skip_operator(",") {
            break;
        }
        is_tuple = true;
    }
    if grouped {
        parser.expect(")")?;
    }
    match names.len() {
        0 => Err("expected a name to assign to".into()),
        1 if !is_tuple => Ok(names.remove(0)),
        _ => Ok(format!("({},)", names.join(", "))),
    }
}

fn set(parser: &mut Parser) -> Result<String, String> {
    let to = target(parser, true)?;
    if parser.skip_operator("=") {
        return Ok(format!("set {to} = {}", parser.tuple(true, &[])?.text));
    }
    let filters = filter_chain(parser, false)?;
    Ok(if filters.is_empty() { format!("set {to}") } else { format!("set {to} | {filters}") })
}

fn filter_chain(parser: &mut Parser, first_is_bare: bool) -> Result<String, String> {
    let mut filters = Vec::new();
    while (filters.is_empty() && first_is_bare) || parser.skip_operator("|") {
        let (name, arguments) = parser.filter()?;
        filters.push(if arguments.is_empty() { name } else { format!("{name}({arguments})") });
    }
    Ok(filters.join(" | "))
}

fn for_loop(parser: &mut Parser) -> Result<String, String> {
    let to = target(parser, false)?;
    if !parser.skip_name("in") {
        return Err("expected 'in' in a for loop".into());
    }
    let mut text = format!("for {to} in {}|py_iter", bracketed(parser.tuple(false, &["recursive"])?.text));
    if parser.skip_name("if") {
        text += &format!(" if {}", bracketed(parser.expression()?.text));
    }
    if parser.skip_name("recursive") {
        text += " recursive";
    }
    Ok(text)
}

fn bracketed(text: String) -> String {
    format!("({text})")
}

fn with(parser: &mut Parser) -> Result<String, String> {
    let mut assignments = Vec::new();
    while !matches!(parser.peek(), Token::End) {
        let to = target(parser, false)?;
        parser.expect("=")?;
        assignments.push(format!("{to} = {}", parser.expression()?.text));
        if !parser.skip_operator(",") {
            break;
        }
    }
    Ok(format!("with {}", assignments.join(", ")))
}

/// A macro's parameters, after and with their parentheses.
fn signature(parser: &mut Parser) -> Result<String, String> {
    parser.expect("(")?;
    let mut parameters = Vec::new();
    while !parser.skip_operator(")") {
        let name = parser.name()?;
        parameters.push(if parser.skip_operator("=") {
            format!("{name}={}", parser.expression()?.text)
        } else {
            name.to_owned()
        });
        if !parser.skip_operator(",") {
            parser.expect(")")?;
            break;
        }
    }
    Ok(parameters.join(", "))
}

fn call(parser: &mut Parser) -> Result<String, String> {
    let parameters =
        if parser.at_operator("(") { format!("({})", signature(parser)?) } else { String::new() };
    let called = parser.expression()?;
    if !called.is_call {
        return Err("expected a call after 'call'".into());
    }
    Ok(format!("call{parameters} {}", called.text))
}
