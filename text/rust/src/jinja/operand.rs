//! What operators apply to: literals, names, calls, subscripts, filters and tests, by jinja2's grammar.

use super::expression::{Parsed, Parser};
use super::lexer::Token;
use super::written::{joined, quoted, Binding, Written};

// Python's methods of dictionaries: as attributes they come before an item of that name.
const DICT_METHODS: [&str; 11] =
    ["clear", "copy", "fromkeys", "get", "items", "keys", "pop", "popitem", "setdefault", "update", "values"];

impl<'a> Parser<'_, 'a> {
    pub fn primary(&mut self) -> Parsed {
        let text = match self.next() {
            Token::Name(name @ ("true" | "false" | "none" | "True" | "False" | "None")) => {
                name.to_lowercase()
            }
            Token::Name(name) => name.to_owned(),
            Token::Text(first) => {
                let mut text = first;
                while let Token::Text(more) = self.peek() {
                    text.push_str(more);
                    self.at += 1;
                }
                quoted(&text)
            }
            Token::Number(digits) => digits,
            Token::Operator("(") => {
                let inner = self.tuple_or_empty(true, &[], true)?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Operator("[") => format!("[{}]", joined(self.items("]", Self::expression)?)),
            Token::Operator("{") => {
                let pairs = self.items("}", |parser| {
                    let key = parser.expression()?.text;
                    parser.expect(":")?;
                    Ok(Written::new(format!("{key}: {}", parser.expression()?.text), Binding::Loose))
                })?;
                format!("{{{}}}", joined(pairs))
            }
            _ => {
                self.at -= 1;
                return Err(format!("unexpected {}", self.described()));
            }
        };
        Ok(Written::new(text, Binding::Primary))
    }

    /// Until `close`, separated by commas; a last comma is allowed.
    pub(super) fn items(
        &mut self,
        close: &str,
        mut item: impl FnMut(&mut Self) -> Parsed,
    ) -> Result<Vec<Written>, String> {
        let mut items = Vec::new();
        while !self.skip_operator(close) {
            items.push(item(self)?);
            if !self.skip_operator(",") {
                self.expect(close)?;
                break;
            }
        }
        Ok(items)
    }

    pub fn postfix(&mut self, mut value: Written) -> Parsed {
        loop {
            if self.skip_operator(".") {
                value = self.attribute(value)?;
            } else if self.skip_operator("[") {
                value = self.subscript(value)?;
            } else if self.at_operator("(") {
                value = self.call(value)?;
            } else {
                return Ok(value);
            }
        }
    }

    pub(super) fn attribute(&mut self, value: Written) -> Parsed {
        match self.next() {
            Token::Name(name) if DICT_METHODS.contains(&name) && !self.at_operator("(") => {
                Ok(value.filter("py_attribute", &quoted(name)))
            }
            Token::Name(name) => {
                Ok(Written::new(format!("{}.{name}", value.within(Binding::Primary)), Binding::Primary))
            }
            Token::Number(index) if index.bytes().all(|b| b.is_ascii_digit()) => {
                Ok(Written::new(format!("{}[{index}]", value.within(Binding::Primary)), Binding::Primary))
            }
            _ => Err("expected a name or number after '.'".into()),
        }
    }

    pub(super) fn subscript(&mut self, value: Written) -> Parsed {
        let mut bounds = Vec::new();
        let mut colons = 0;
        loop {
            if self.skip_operator("]") {
                break;
            } else if self.skip_operator(":") {
                colons += 1;
                bounds.resize_with(colons, || "none".to_owned());
            } else {
                bounds.resize_with(colons, || "none".to_owned());
                bounds.push(self.expression()?.text);
                if !matches!(self.peek(), Token::Operator(":" | "]")) {
                    return Err(format!("expected ']', got {}", self.described()));
                }
            }
        }
        match (colons, bounds.pop()) {
            (0, Some(index)) => {
                Ok(Written::new(format!("{}[{index}]", value.within(Binding::Primary)), Binding::Primary))
            }
            (0, None) => Err("expected a subscript".into()),
            (1 | 2, last) => {
                bounds.extend(last);
                bounds.resize_with(3, || "none".to_owned());
                Ok(value.filter("py_slice", &bounds.join(", ")))
            }
            _ => Err("unexpected ':' in a subscript".into()),
        }
    }

    pub(super) fn call(&mut self, value: Written) -> Parsed {
        let text = format!("{}({})", value.within(Binding::Primary), self.arguments()?);
        Ok(Written { is_call: true, ..Written::new(text, Binding::Primary) })
    }

    /// With the parentheses; the text is without them.
    pub(super) fn arguments(&mut self) -> Result<String, String> {
        self.expect("(")?;
        let arguments = self.items(")", |parser| {
            let prefix = match (parser.peek().clone(), parser.look(1)) {
                (Token::Operator(op @ ("*" | "**")), _) => {
                    parser.at += 1;
                    op.to_owned()
                }
                (Token::Name(name), Token::Operator("=")) => {
                    parser.at += 2;
                    format!("{name}=")
                }
                _ => String::new(),
            };
            Ok(Written::new(prefix + &parser.expression()?.text, Binding::Loose))
        })?;
        Ok(joined(arguments))
    }

    /// `|filter(…)` and `is test`, repeated.
    pub(super) fn filters(&mut self, mut value: Written) -> Parsed {
        loop {
            if self.at_operator("|") {
                self.at += 1;
                let (name, arguments) = self.filter()?;
                value = value.filter(&name, &arguments);
            } else if self.skip_name("is") {
                value = self.test(value)?;
            } else if self.at_operator("(") {
                value = self.call(value)?;
            } else {
                return Ok(value);
            }
        }
    }

    /// A filter's name and arguments.
    pub fn filter(&mut self) -> Result<(String, String), String> {
        let name = self.name()?.to_owned();
        let arguments = if self.at_operator("(") { self.arguments()? } else { String::new() };
        Ok((name, arguments))
    }

    pub(super) fn test(&mut self, value: Written) -> Parsed {
        let negated = self.skip_name("not");
        let name = self.name()?;
        let name = if name == "None" { "none" } else { name };
        let arguments = match self.peek() {
            Token::Operator("(") => self.arguments()?,
            Token::Name("is") => return Err("tests with 'is' cannot be chained".into()),
            Token::Name("else" | "or" | "and") => String::new(),
            Token::Name(_) | Token::Text(_) | Token::Number(_) | Token::Operator("[" | "{") => {
                let argument = self.primary()?;
                self.postfix(argument)?.text
            }
            _ => String::new(),
        };
        let not = if negated { "not " } else { "" };
        let arguments = if arguments.is_empty() { arguments } else { format!("({arguments})") };
        Ok(Written::new(
            format!("({} is {not}{name}{arguments})", value.within(Binding::Filtered)),
            Binding::Primary,
        ))
    }
}
