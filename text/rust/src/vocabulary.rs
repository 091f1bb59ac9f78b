//! A GGUF's vocabulary → the tokenizer.json that Hugging Face would publish for it. The file contains
//! only the name of its pre-tokenizer; this file has the pipelines for these names.

use std::collections::HashMap;

use serde_json::{json, Map, Value};

use crate::border::Failure;
use crate::tokenizer::Spelling;

/// tokenizer.ggml.token_type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

pub struct Vocabulary<'a> {
    pub model: &'a str,
    pub pre: &'a str,
    pub tokens: Vec<&'a [u8]>,
    pub types: &'a [i32],  // by id; empty: all normal
    pub scores: &'a [f32], // sentencepiece only
    pub merges: Vec<&'a [u8]>,
    pub unknown: i32,
    pub add_space_prefix: bool,
}

impl Vocabulary<'_> {
    pub fn kind(&self, id: usize) -> Kind {
        match self.types.get(id) {
            Some(2) => Kind::Unknown,
            Some(3) => Kind::Control,
            Some(4) => Kind::UserDefined,
            Some(5) => Kind::Unused,
            Some(6) => Kind::Byte,
            _ => Kind::Normal,
        }
    }
}

pub fn to_json(vocabulary: &Vocabulary) -> Result<(Value, Spelling), Failure> {
    if vocabulary.tokens.is_empty() {
        return Err(Failure::corrupt("the vocabulary has no tokens"));
    }
    let names = names(vocabulary)?;
    match vocabulary.model {
        "gpt2" => Ok((byte_level_json(vocabulary, &names)?, Spelling::ByteLevel)),
        "llama" => Ok((sentencepiece_json(vocabulary, &names)?, Spelling::SentencePiece)),
        other => Err(Failure::unsupported(format!(
            "tokenizer.ggml.model \"{other}\" is not supported; supported: gpt2 (byte-level BPE), llama (sentencepiece)"
        ))),
    }
}

/// Each id's name in model.vocab: its text, or, if text must never become this token (unused, or a
/// duplicate), a private name that no pre-tokenizer produces. Ids stay contiguous.
fn names(vocabulary: &Vocabulary) -> Result<Vec<String>, Failure> {
    let mut taken = HashMap::with_capacity(vocabulary.tokens.len());
    let mut names = Vec::with_capacity(vocabulary.tokens.len());
    for (id, text) in vocabulary.tokens.iter().enumerate() {
        let text = std::str::from_utf8(text)
            .map_err(|_| Failure::corrupt(format!("token {id} of the vocabulary is not UTF-8")))?;
        let usable = vocabulary.kind(id) != Kind::Unused && taken.insert(text, id).is_none();
        names.push(if usable { text.to_owned() } else { format!("\u{10FFFD}{id}") });
    }
    Ok(names)
}

fn byte_level_json(vocabulary: &Vocabulary, names: &[String]) -> Result<Value, Failure> {
    let pipeline = pipeline(vocabulary.pre)?;
    let merges = vocabulary.merges.iter().map(|merge| split_merge(merge)).collect::<Result<_, _>>()?;
    Ok(json!({
        "added_tokens": added_tokens(vocabulary, names),
        "normalizer": pipeline.normalizer,
        "pre_tokenizer": pipeline.pre_tokenizer,
        "model": {
            "type": "BPE",
            "ignore_merges": pipeline.ignore_merges,
            "vocab": vocab(names),
            "merges": Value::Array(merges),
        },
    }))
}

fn vocab(names: &[String]) -> Map<String, Value> {
    names.iter().enumerate().map(|(id, name)| (name.clone(), json!(id))).collect()
}

/// "left right" → ["left", "right"]. Neither side is empty, so a leading space belongs to the left.
fn split_merge(merge: &[u8]) -> Result<Value, Failure> {
    let text = String::from_utf8_lossy(merge);
    let mut spaces = text.char_indices().skip(1).filter(|(_, c)| *c == ' ');
    let at = spaces.next().map(|(at, _)| at).filter(|at| at + 1 < text.len());
    let at = at.ok_or_else(|| Failure::corrupt(format!("merge \"{text}\" is not two tokens")))?;
    Ok(json!([text[..at], text[at + 1..]]))
}

/// Control tokens are in the vocabulary and here; with `special` they are not matched in untrusted text.
fn added_tokens(vocabulary: &Vocabulary, names: &[String]) -> Vec<Value> {
    let mut added = Vec::new();
    for (id, name) in names.iter().enumerate() {
        let kind = vocabulary.kind(id);
        let is_added = matches!(kind, Kind::Control | Kind::Unknown | Kind::UserDefined);
        if is_added && !name.is_empty() {
            added.push(json!({
                "id": id, "content": name, "special": kind != Kind::UserDefined,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            }));
        }
    }
    added
}

struct Pipeline {
    normalizer: Value,
    pre_tokenizer: Value,
    ignore_merges: bool, // a word that is in the vocabulary is that token, regardless of merges
}

const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const DEEPSEEK_V3: [&str; 3] = [
    r"\p{N}{1,3}",
    "[一-龥\u{3040}-ゟ゠-ヿ]+",
    concat!(
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|",
        r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
];

/// By tokenizer.ggml.pre.
fn pipeline(pre: &str) -> Result<Pipeline, Failure> {
    let split = |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    let sequence = |steps: Vec<Value>| json!({"type": "Sequence", "pretokenizers": steps});
    let digits = json!({"type": "Digits", "individual_digits": true});
    let (normalizer, pre_tokenizer, ignore_merges) = match pre {
        "qwen2" | "deepseek-r1-qwen" => {
            (json!({"type": "NFC"}), sequence(vec![split(QWEN2), bytes(false)]), false)
        }
        "llama-bpe" | "llama3" | "llama-v3" => {
            (Value::Null, sequence(vec![split(LLAMA3), bytes(false)]), true)
        }
        "smollm" | "starcoder" => (Value::Null, sequence(vec![digits, bytes(true)]), false),
        "deepseek-v3" => {
            let mut steps: Vec<Value> = DEEPSEEK_V3.iter().map(|regex| split(regex)).collect();
            steps.push(bytes(false));
            (Value::Null, sequence(steps), false)
        }
        "gpt-2" | "default" | "" => (Value::Null, bytes(true), false),
        other => {
            return Err(Failure::unsupported(format!(
                "pre-tokenizer \"{other}\" is not supported; supported: qwen2, deepseek-r1-qwen, deepseek-v3, llama-bpe, smollm, starcoder, gpt-2"
            )))
        }
    };
    Ok(Pipeline { normalizer, pre_tokenizer, ignore_merges })
}

fn sentencepiece_json(vocabulary: &Vocabulary, names: &[String]) -> Result<Value, Failure> {
    if vocabulary.scores.len() != names.len() {
        return Err(Failure::corrupt(format!(
            "a sentencepiece vocabulary of {} tokens has {} scores",
            names.len(),
            vocabulary.scores.len()
        )));
    }
    let mut normalizers = vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"})];
    if vocabulary.add_space_prefix {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": "\u{2581}"}));
    }
    let unknown = usize::try_from(vocabulary.unknown).ok().and_then(|id| names.get(id));
    Ok(json!({
        "added_tokens": added_tokens(vocabulary, names),
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": Value::Null,
        "model": {
            "type": "BPE",
            "unk_token": unknown,
            "fuse_unk": true,
            "byte_fallback": true,
            "vocab": vocab(names),
            "merges": merges_from_scores(vocabulary, names),
        },
    }))
}

/// Sentencepiece stores no merges: every split of a piece into two pieces is a merge, the best score
/// first. Ties are ordered by the id of the piece and then of its parts, as in Llama 2's tokenizer.json.
fn merges_from_scores(vocabulary: &Vocabulary, names: &[String]) -> Vec<Value> {
    let pieces = || names.iter().enumerate().filter(|(id, _)| vocabulary.kind(*id) == Kind::Normal);
    let ids: HashMap<&str, usize> = pieces().map(|(id, name)| (name.as_str(), id)).collect();
    let mut by_score: Vec<(usize, &String)> = pieces().collect();
    by_score.sort_by(|a, b| vocabulary.scores[b.0].total_cmp(&vocabulary.scores[a.0]));
    let mut merges = Vec::new();
    for (_, name) in by_score {
        let cut = |(at, _)| Some((*ids.get(&name[..at])?, *ids.get(&name[at..])?, at));
        let mut cuts: Vec<(usize, usize, usize)> = name.char_indices().skip(1).filter_map(cut).collect();
        cuts.sort_unstable();
        merges.extend(cuts.iter().map(|(_, _, at)| json!([name[..*at], name[*at..]])));
    }
    merges
}
