//! Text → ids: by fastokens, or by `tokenizers`, the reference, for what fastokens does not support.

use std::sync::OnceLock;

use fastokens::added_tokens::Segment;
use fastokens::AddedTokenPolicy;
use serde_json::{json, Value};

use crate::border::Failure;

pub enum Encoder {
    Fast(Box<Fast>),
    Reference(Reference),
}

pub struct Fast {
    tokenizer: fastokens::Tokenizer,
    digits_apart: bool,
    incomplete: Option<Incomplete>,
}

/// A byte-level vocabulary without some of the bytes (SmolLM2's): fastokens fails at such a byte, the
/// reference skips it. The reference is built at the first such text, because such texts are rare.
struct Incomplete {
    json: String,
    reference: OnceLock<Result<Reference, Failure>>,
}

/// In `tokenizers`, "ignore special tokens" is a setting of the tokenizer, so there is one for each value.
pub struct Reference {
    special: tokenizers::Tokenizer,
    plain: tokenizers::Tokenizer,
}

fn refused(error: impl std::fmt::Display) -> Failure {
    Failure::invalid(format!("this text cannot be tokenized: {error}"))
}

impl Encoder {
    /// `json`: a tokenizer.json. `complete`: its vocabulary spells every byte.
    pub fn new(mut json: Value, complete: bool) -> Result<Self, Failure> {
        strip_to_encoding(&mut json);
        match Fast::new(&json, complete) {
            Ok(fast) => Ok(Self::Fast(Box::new(fast))),
            Err(why) => Ok(Self::Reference(
                Reference::new(json)
                    .map_err(|e| Failure { message: format!("{} (fastokens: {why})", e.message), ..e })?,
            )),
        }
    }

    pub fn encode(&self, text: &str, parse_special: bool) -> Result<Vec<u32>, Failure> {
        match self {
            Self::Fast(fast) => fast.encode(text, parse_special),
            Self::Reference(reference) => reference.encode(text, parse_special),
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Fast(_) => "fastokens",
            Self::Reference(_) => "tokenizers",
        }
    }
}

impl Fast {
    fn new(json: &Value, complete: bool) -> Result<Self, String> {
        if added_tokens(json).any(|token| token["single_word"] == json!(true)) {
            return Err("it does not support single_word".into());
        }
        let incomplete =
            (!complete).then(|| Incomplete { json: json.to_string(), reference: OnceLock::new() });
        let mut json = json.clone();
        let digits_apart = take_digits(&mut json);
        let tokenizer = fastokens::Tokenizer::from_json(json).map_err(|e| e.to_string())?;
        Ok(Self { tokenizer, digits_apart, incomplete })
    }

    fn encode(&self, text: &str, parse_special: bool) -> Result<Vec<u32>, Failure> {
        let policy = if parse_special { AddedTokenPolicy::All } else { AddedTokenPolicy::SkipSpecial };
        let ids = match self.digits_apart {
            true => encode_digits_apart(&self.tokenizer, text, !parse_special),
            false => self.tokenizer.encode_with_policy(text, false, policy),
        };
        match (ids, &self.incomplete) {
            (Err(_), Some(incomplete)) => incomplete.reference()?.encode(text, parse_special),
            (ids, _) => ids.map_err(refused),
        }
    }
}

impl Incomplete {
    fn reference(&self) -> Result<&Reference, Failure> {
        let build = || Reference::new(serde_json::from_str(&self.json).map_err(refused)?);
        self.reference.get_or_init(build).as_ref().map_err(Failure::clone)
    }
}

impl Reference {
    fn new(json: Value) -> Result<Self, Failure> {
        let special: tokenizers::Tokenizer = serde_json::from_value(json).map_err(|e| {
            Failure::unsupported(format!("no tokenizer library supports this tokenizer: {e}"))
        })?;
        let mut plain = special.clone();
        plain.set_encode_special_tokens(true); // this library's name for "treat them as text"
        Ok(Self { special, plain })
    }

    fn encode(&self, text: &str, parse_special: bool) -> Result<Vec<u32>, Failure> {
        let tokenizer = if parse_special { &self.special } else { &self.plain };
        Ok(tokenizer.encode_fast(text, false).map_err(refused)?.get_ids().to_vec())
    }
}

/// Keeps only what text → ids needs: no truncation, no padding, no BOS, and nothing random. The decoder
/// is removed too, because our tables decode.
fn strip_to_encoding(json: &mut Value) {
    for key in ["truncation", "padding", "post_processor", "decoder"] {
        json[key] = Value::Null;
    }
    if let Some(dropout) = json.pointer_mut("/model/dropout") {
        *dropout = Value::Null;
    }
}

pub fn added_tokens(json: &Value) -> impl Iterator<Item = &Value> {
    json["added_tokens"].as_array().into_iter().flatten()
}

/// Digits, then ByteLevel: fastokens has a fast scanner for ByteLevel alone; after Digits it uses a regex that is
/// several times slower and fails on long runs of spaces. So we split digits ourselves (SmolLM2, StarCoder) and
/// remove the step here. Returns whether it was removed.
fn take_digits(json: &mut Value) -> bool {
    let steps = json["pre_tokenizer"]["pretokenizers"].as_array().map_or(&[][..], |steps| steps);
    let [digits, bytes] = steps else { return false };
    let ours = json["normalizer"].is_null()
        && *digits == json!({"type": "Digits", "individual_digits": true})
        && bytes["type"] == json!("ByteLevel")
        && bytes["add_prefix_space"] == json!(false)
        && bytes["use_regex"] != json!(false);
    if ours {
        json["pre_tokenizer"] = bytes.clone();
    }
    ours
}

/// Encodes added tokens first, then each digit (as `tokenizers` defines it) and the text between digits separately.
fn encode_digits_apart(
    tokenizer: &fastokens::Tokenizer,
    text: &str,
    skip_special: bool,
) -> Result<Vec<u32>, fastokens::Error> {
    let segments = match tokenizer.added_tokens() {
        Some(added) => added.split_with(text, skip_special),
        None => vec![Segment::Text(text)],
    };
    let mut ids = Vec::with_capacity(text.len() / 3 + 1);
    for segment in segments {
        match segment {
            Segment::Token(id) => ids.push(id),
            Segment::Text(text) => {
                let mut start = 0;
                for (at, digit) in text.match_indices(char::is_numeric) {
                    ids.extend(tokenizer.encode_ordinary(&text[start..at])?);
                    ids.extend(tokenizer.encode_ordinary(digit)?);
                    start = at + digit.len();
                }
                ids.extend(tokenizer.encode_ordinary(&text[start..])?);
            }
        }
    }
    Ok(ids)
}
