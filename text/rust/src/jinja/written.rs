//! An expression as it is written for minijinja.

/// How tightly the written text binds.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub enum Binding {
    Primary,  // may be called, subscripted, filtered
    Filtered, // may be filtered
    Loose,    // needs parentheses
}

pub struct Written {
    pub text: String,
    pub binding: Binding,
    pub is_call: bool,
}

impl Written {
    pub fn new(text: impl Into<String>, binding: Binding) -> Self {
        Self { text: text.into(), binding, is_call: false }
    }
    pub fn within(self, loosest: Binding) -> String {
        if self.binding > loosest {
            format!("({})", self.text)
        } else {
            self.text
        }
    }
    pub fn filter(self, name: &str, arguments: &str) -> Self {
        let mut text = self.within(Binding::Filtered);
        text.push('|');
        text.push_str(name);
        if !arguments.is_empty() {
            text.push('(');
            text.push_str(arguments);
            text.push(')');
        }
        Self::new(text, Binding::Filtered)
    }
}

/// A string literal that minijinja reads back as `text`.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

pub fn joined(items: Vec<Written>) -> String {
    items.into_iter().map(|item| item.text).collect::<Vec<_>>().join(", ")
}
