//! Jinja's tokens, as jinja2's lexer finds them between `{{` and `}}` or `{%` and `%}`.

use super::SyntaxError;

#[derive(Clone, Debug, PartialEq)]
pub enum Token<'a> {
    Name(&'a str),
    Number(String), // as minijinja reads it
    Text(String),   // a string literal's value
    Operator(&'static str),
    End, // of the tag
}

/// A tag's tokens, the marker before its closing delimiter ("", "-" or "+"), and where the text after it begins.
pub struct Tag<'a> {
    pub tokens: Vec<Token<'a>>,
    pub closing: &'a str,
    pub end: usize,
}

// Longer ones first.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<",
    "=", ".", ":", "|", ",", ";",
];

/// Reads the tag whose content begins at `at`; `close` is `%}` or `}}`.
pub fn read_tag<'a>(source: &'a str, at: usize, close: &str) -> Result<Tag<'a>, SyntaxError> {
    let mut tokens = Vec::new();
    let mut open = Vec::new(); // brackets: inside of them, the closing delimiter is only operators
    let mut pos = at;
    loop {
        let rest = &source[pos..];
        let Some(next) = rest.chars().next() else {
            return Err(SyntaxError::at(source, at, "unexpected end of the template inside of a tag"));
        };
        if open.is_empty() {
            let marker = usize::from(next == '-' || (next == '+' && close == "%}"));
            if rest[marker..].starts_with(close) {
                let end = pos + marker + close.len();
                return Ok(Tag { tokens, closing: &rest[..marker], end });
            }
        }
        if next.is_whitespace() {
            pos += next.len_utf8();
            continue;
        }
        let fails = |what: String| Err(SyntaxError::at(source, pos, what));
        let (token, size) = if next.is_ascii_digit() {
            number(rest)
        } else if next.is_alphanumeric() || next == '_' {
            let size = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            (Token::Name(&rest[..size]), size)
        } else if next == '\'' || next == '"' {
            match string_end(rest, next) {
                Some(size) => (Token::Text(unescape(&rest[1..size - 1])), size),
                None => return fails(format!("unexpected char {next:?}")),
            }
        } else {
            match OPERATORS.iter().find(|op| rest.starts_with(**op)) {
                Some(op) => (Token::Operator(op), op.len()),
                None => return fails(format!("unexpected char {next:?}")),
            }
        };
        match &token {
            Token::Operator("(") => open.push(")"),
            Token::Operator("[") => open.push("]"),
            Token::Operator("{") => open.push("}"),
            Token::Operator(op @ (")" | "]" | "}")) if open.pop() != Some(op) => {
                return fails(format!("unexpected '{op}'"));
            }
            _ => {}
        }
        tokens.push(token);
        pos += size;
    }
}

/// 1_000, 0xff, 0o17, 0b1, 1.5, 1e3. A dot belongs to the number only if a digit follows it.
fn number(rest: &str) -> (Token<'static>, usize) {
    let bytes = rest.as_bytes();
    for (prefix, radix) in [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2)] {
        if let Some(digits) = rest.strip_prefix(prefix) {
            let size = digits.find(|c: char| !c.is_digit(radix) && c != '_').unwrap_or(digits.len());
            if let Ok(value) = i128::from_str_radix(&digits[..size].replace('_', ""), radix) {
                return (Token::Number(value.to_string()), 2 + size);
            }
        }
    }
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let skip = |mut at: usize| {
        while digit(at) || (bytes.get(at) == Some(&b'_') && digit(at + 1)) {
            at += 1;
        }
        at
    };
    let mut end = skip(0);
    let mut float = false;
    if bytes.get(end) == Some(&b'.') && digit(end + 1) {
        float = true;
        end = skip(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if digit(end + 1 + sign) {
            float = true;
            end = skip(end + 1 + sign);
        }
    }
    let plain = rest[..end].replace('_', "");
    let text = match plain.parse::<f64>() {
        Ok(value) if float && value.is_finite() => format!("{value:e}"),
        _ => plain,
    };
    let text = if float && !text.contains('.') { text.replacen('e', ".0e", 1) } else { text };
    (Token::Number(text), end)
}

/// The size of the literal with its quotes.
fn string_end(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return Some(at + 1);
        }
    }
    None
}

/// Python's escapes; an unknown one stays as it is written.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let Some(c) = after.chars().next() else {
            out.push('\\');
            return out;
        };
        let coded = |digits: usize, radix| {
            let digits = after.get(1..1 + digits)?;
            char::from_u32(u32::from_str_radix(digits, radix).ok()?)
        };
        let simple = |c| (Some(c), 1);
        let (value, size) = match c {
            '\n' => (None, 1),
            '\\' | '\'' | '"' => simple(c),
            'a' => simple('\u{7}'),
            'b' => simple('\u{8}'),
            'f' => simple('\u{c}'),
            'n' => simple('\n'),
            'r' => simple('\r'),
            't' => simple('\t'),
            'v' => simple('\u{b}'),
            '0'..='7' => {
                let size = after.bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
                (u32::from_str_radix(&after[..size], 8).ok().and_then(char::from_u32), size)
            }
            'x' if coded(2, 16).is_some() => (coded(2, 16), 3),
            'u' if coded(4, 16).is_some() => (coded(4, 16), 5),
            'U' if coded(8, 16).is_some() => (coded(8, 16), 9),
            _ => {
                out.push('\\');
                (Some(c), c.len_utf8())
            }
        };
        out.extend(value);
        rest = &after[size..];
    }
    out.push_str(rest);
    out
}
