//! Expressions by jinja2's grammar (its parser.py), written again for minijinja.

use super::lexer::Token;
use super::written::{joined, Binding, Written};

const MAX_DEPTH: usize = 100;

pub type Parsed = Result<Written, String>;

pub struct Parser<'t, 'a> {
    tokens: &'t [Token<'a>],
    pub(super) at: usize,
    depth: usize,
}

impl<'t, 'a> Parser<'t, 'a> {
    pub fn new(tokens: &'t [Token<'a>]) -> Self {
        Self { tokens, at: 0, depth: 0 }
    }

    pub fn peek(&self) -> &Token<'a> {
        self.look(0)
    }
    pub(super) fn look(&self, ahead: usize) -> &Token<'a> {
        self.tokens.get(self.at + ahead).unwrap_or(&Token::End)
    }
    pub fn next(&mut self) -> Token<'a> {
        let token = self.peek().clone();
        self.at += 1;
        token
    }
    pub fn at_operator(&self, operator: &str) -> bool {
        matches!(self.peek(), Token::Operator(op) if *op == operator)
    }
    pub fn at_name(&self, name: &str) -> bool {
        matches!(self.peek(), Token::Name(n) if *n == name)
    }
    pub fn skip_operator(&mut self, operator: &str) -> bool {
        let here = self.at_operator(operator);
        self.at += usize::from(here);
        here
    }
    pub fn skip_name(&mut self, name: &str) -> bool {
        let here = self.at_name(name);
        self.at += usize::from(here);
        here
    }
    pub fn expect(&mut self, operator: &str) -> Result<(), String> {
        if self.skip_operator(operator) {
            Ok(())
        } else {
            Err(format!("expected '{operator}', got {}", self.described()))
        }
    }
    pub fn name(&mut self) -> Result<&'a str, String> {
        match self.peek() {
            Token::Name(name) => {
                let name = *name;
                self.at += 1;
                Ok(name)
            }
            _ => Err(format!("expected a name, got {}", self.described())),
        }
    }
    pub fn finished(&self) -> Result<(), String> {
        match self.peek() {
            Token::End => Ok(()),
            _ => Err(format!("unexpected {}", self.described())),
        }
    }
    pub(super) fn described(&self) -> String {
        match self.peek() {
            Token::Name(text) => format!("'{text}'"),
            Token::Number(text) => format!("'{text}'"),
            Token::Text(text) => format!("the string {text:?}"),
            Token::Operator(text) => format!("'{text}'"),
            Token::End => "the end of the tag".into(),
        }
    }

    /// Expressions separated by commas are a tuple. `stops`: names that end it.
    pub fn tuple(&mut self, with_condition: bool, stops: &[&str]) -> Parsed {
        self.tuple_or_empty(with_condition, stops, false)
    }

    pub(super) fn tuple_or_empty(
        &mut self,
        with_condition: bool,
        stops: &[&str],
        may_be_empty: bool,
    ) -> Parsed {
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            let ends = matches!(self.peek(), Token::End | Token::Operator(")"))
                || matches!(self.peek(), Token::Name(n) if stops.contains(n));
            if ends {
                break;
            }
            items.push(if with_condition { self.expression()? } else { self.or()? });
            if !self.skip_operator(",") {
                break;
            }
            is_tuple = true;
        }
        match items.pop() {
            Some(only) if !is_tuple => Ok(only),
            None if !may_be_empty => Err(format!("expected an expression, got {}", self.described())),
            last => {
                items.extend(last);
                Ok(Written::new("[]", Binding::Primary).filter("py_tuple", &joined(items)))
            }
        }
    }

    /// `a if b else c`, and all that binds tighter.
    pub fn expression(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("an expression is nested too deeply".into());
        }
        let mut value = self.or()?;
        while self.skip_name("if") {
            let test = self.or()?.within(Binding::Filtered);
            let mut text = format!("{} if {test}", value.within(Binding::Filtered));
            if self.skip_name("else") {
                text += " else ";
                text += &self.expression()?.within(Binding::Filtered);
            }
            value = Written::new(text, Binding::Loose);
        }
        self.depth -= 1;
        Ok(value)
    }

    fn or(&mut self) -> Parsed {
        let mut left = self.and()?;
        while self.skip_name("or") {
            let right = self.and()?.within(Binding::Filtered);
            left = Written::new(format!("{} or {right}", left.within(Binding::Filtered)), Binding::Loose);
        }
        Ok(left)
    }

    fn and(&mut self) -> Parsed {
        let mut left = self.not()?;
        while self.skip_name("and") {
            let right = self.not()?.within(Binding::Filtered);
            left = Written::new(format!("{} and {right}", left.within(Binding::Filtered)), Binding::Loose);
        }
        Ok(left)
    }

    fn not(&mut self) -> Parsed {
        let mut negations = 0;
        while self.skip_name("not") {
            negations += 1;
        }
        let value = self.compare()?;
        let not = ["", "not ", "not not "][if negations < 2 { negations } else { 2 - negations % 2 }];
        Ok(if not.is_empty() {
            value
        } else {
            Written::new(not.to_owned() + &value.within(Binding::Filtered), Binding::Loose)
        })
    }

    /// `a < b < c` compares both pairs.
    fn compare(&mut self) -> Parsed {
        let first = self.sum()?;
        let mut chain = Vec::new();
        loop {
            let operator = match (self.peek(), self.look(1)) {
                (Token::Operator(op @ ("==" | "!=" | "<" | "<=" | ">" | ">=")), _) => op,
                (Token::Name("in"), _) => "in",
                (Token::Name("not"), Token::Name("in")) => {
                    self.at += 1;
                    "not in"
                }
                _ => break,
            };
            self.at += 1;
            chain.push((operator, self.sum()?));
        }
        Ok(match chain.len() {
            0 => first,
            1 => {
                let (operator, right) = chain.remove(0);
                let filter = match operator {
                    "==" => "py_eq",
                    "!=" => "py_ne",
                    "<" => "py_lt",
                    "<=" => "py_le",
                    ">" => "py_gt",
                    ">=" => "py_ge",
                    "in" => "py_in",
                    _ => "py_not_in",
                };
                first.filter(filter, &right.text)
            }
            _ => {
                let parts: Vec<String> =
                    chain.into_iter().map(|(op, v)| format!("\"{op}\", {}", v.text)).collect();
                first.filter("py_compare", &parts.join(", "))
            }
        })
    }

    fn sum(&mut self) -> Parsed {
        let mut left = self.concatenation()?;
        loop {
            let filter = match self.peek() {
                Token::Operator("+") => "py_add",
                Token::Operator("-") => "py_sub",
                _ => return Ok(left),
            };
            self.at += 1;
            left = left.filter(filter, &self.concatenation()?.text);
        }
    }

    fn concatenation(&mut self) -> Parsed {
        let first = self.product()?;
        let mut rest = Vec::new();
        while self.skip_operator("~") {
            rest.push(self.product()?);
        }
        Ok(if rest.is_empty() { first } else { first.filter("py_concat", &joined(rest)) })
    }

    fn product(&mut self) -> Parsed {
        let mut left = self.power()?;
        loop {
            let filter = match self.peek() {
                Token::Operator("*") => "py_mul",
                Token::Operator("/") => "py_div",
                Token::Operator("//") => "py_floordiv",
                Token::Operator("%") => "py_mod",
                _ => return Ok(left),
            };
            self.at += 1;
            left = left.filter(filter, &self.power()?.text);
        }
    }

    fn power(&mut self) -> Parsed {
        let mut left = self.unary(true)?;
        while self.skip_operator("**") {
            left = left.filter("py_pow", &self.unary(true)?.text);
        }
        Ok(left)
    }

    fn unary(&mut self, with_filter: bool) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("an expression is nested too deeply".into());
        }
        let mut value = if self.skip_operator("-") {
            match self.unary(false)? {
                Written { text, binding: Binding::Primary, .. }
                    if text.starts_with(|c: char| c.is_ascii_digit()) =>
                {
                    Written::new(format!("(-{text})"), Binding::Primary)
                }
                other => other.filter("py_neg", ""),
            }
        } else if self.skip_operator("+") {
            self.unary(false)?.filter("py_pos", "")
        } else {
            self.primary()?
        };
        value = self.postfix(value)?;
        if with_filter {
            value = self.filters(value)?;
        }
        self.depth -= 1;
        Ok(value)
    }
}
