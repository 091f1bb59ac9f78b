//! A GGUF's vocabulary → the tokenizer.json that Hugging Face would publish for it. The file contains
//! only the name of its pre-tokenizer; pretokenizers.rs has what each name means.

use std::collections::HashMap;

use serde_json::{json, Map, Value};

use crate::border::Failure;
use crate::pretokenizers::{self, Row};
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
    pub scores: &'a [f32], // sentencepiece and Unigram only
    pub merges: Vec<&'a [u8]>,
    pub unknown: i32,
    pub add_space_prefix: bool,
    pub charsmap: &'a [u8],        // Unigram only
    pub remove_extra_spaces: bool, // Unigram only
    pub lowercase: bool,           // WordPiece only
    pub strip_accents: bool,       // WordPiece only
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
        "gpt2" | "gemma4" => {
            let raw = row_of(vocabulary)?.escapes_spaces;
            let spelling = if raw { Spelling::SentencePiece } else { Spelling::ByteLevel };
            Ok((byte_pair_json(vocabulary, &names)?, spelling))
        }
        "llama" => Ok((sentencepiece_json(vocabulary, &names)?, Spelling::SentencePiece)),
        "bert" => Ok((word_piece_json(vocabulary, &names), Spelling::SentencePiece)),
        "t5" => Ok((unigram_json(vocabulary, &names)?, Spelling::SentencePiece)),
        other => Err(Failure::unsupported(format!(
            "vocabularies of type \"{other}\" (tokenizer.ggml.model) are not supported; supported: gpt2, gemma4 \
             (byte-pair), llama (sentencepiece), bert (WordPiece), t5 (Unigram)"
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

fn byte_pair_json(vocabulary: &Vocabulary, names: &[String]) -> Result<Value, Failure> {
    let row = row_of(vocabulary)?;
    let merges = vocabulary.merges.iter().map(|merge| split_merge(merge)).collect::<Result<_, _>>()?;
    Ok(json!({
        "added_tokens": added_tokens(vocabulary, names),
        "normalizer": row.normalizer(),
        "pre_tokenizer": row.pre_tokenizer(),
        "model": {
            "type": "BPE",
            "ignore_merges": row.whole_words,
            "byte_fallback": row.escapes_spaces,
            "fuse_unk": false,
            "vocab": vocab(names),
            "merges": Value::Array(merges),
        },
    }))
}

/// By tokenizer.ggml.pre. Gemma 4's files have the name in tokenizer.ggml.model.
fn row_of(vocabulary: &Vocabulary) -> Result<&'static Row, Failure> {
    let name = if vocabulary.model == "gemma4" { "gemma4" } else { vocabulary.pre };
    pretokenizers::find(name).ok_or_else(|| {
        Failure::unsupported(format!(
            "pre-tokenizer \"{name}\" (tokenizer.ggml.pre) is not known to this version: update Penstock, or use the \
             model's Hugging Face folder, whose tokenizer.json says how text is cut"
        ))
    })
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

fn check_scores(vocabulary: &Vocabulary) -> Result<(), Failure> {
    let (tokens, scores) = (vocabulary.tokens.len(), vocabulary.scores.len());
    if tokens == scores {
        return Ok(());
    }
    Err(Failure::corrupt(format!(
        "a vocabulary of {tokens} tokens with scores (tokenizer.ggml.scores) has {scores}"
    )))
}

/// The id of the unknown token: the file's, or the type's usual one.
fn unknown(vocabulary: &Vocabulary, usual: usize) -> usize {
    usize::try_from(vocabulary.unknown).unwrap_or(usual)
}

/// The file marks the beginnings of words with U+2581; WordPiece marks what continues a word with "##".
fn word_piece_json(vocabulary: &Vocabulary, names: &[String]) -> Value {
    let piece = |(id, name): (usize, &String)| match (vocabulary.kind(id), name.strip_prefix('\u{2581}')) {
        (Kind::Normal, Some(word)) if !word.is_empty() => word.to_owned(),
        (Kind::Normal, None) if !name.starts_with('\u{10FFFD}') => format!("##{name}"),
        _ => name.clone(),
    };
    let pieces: Vec<String> = names.iter().enumerate().map(piece).collect();
    let unknown = unknown(vocabulary, 100);
    json!({
        "added_tokens": added_tokens(vocabulary, names),
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": true,
            "strip_accents": vocabulary.strip_accents,
            "lowercase": vocabulary.lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {
            "type": "WordPiece",
            "unk_token": pieces.get(unknown).map_or("[UNK]", |name| name),
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocab(&pieces),
        },
    })
}

fn unigram_json(vocabulary: &Vocabulary, names: &[String]) -> Result<Value, Failure> {
    check_scores(vocabulary)?;
    let pieces: Vec<Value> =
        names.iter().zip(vocabulary.scores).map(|(name, score)| json!([name, f64::from(*score)])).collect();
    let normalizer = match vocabulary.charsmap {
        [] => Value::Null,
        map => json!({"type": "Precompiled", "precompiled_charsmap": base64::encode(map)}),
    };
    let words = |scheme: &str, split: bool| json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": split});
    let pre_tokenizer = match (vocabulary.remove_extra_spaces, vocabulary.add_space_prefix) {
        (true, _) => {
            json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, words("always", true)]})
        }
        (false, true) => words("always", false),
        (false, false) => words("never", false),
    };
    Ok(json!({
        "added_tokens": added_tokens(vocabulary, names),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "model": {"type": "Unigram", "unk_id": unknown(vocabulary, 2), "vocab": pieces, "byte_fallback": false},
    }))
}

fn sentencepiece_json(vocabulary: &Vocabulary, names: &[String]) -> Result<Value, Failure> {
    check_scores(vocabulary)?;
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
