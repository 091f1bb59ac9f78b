//! Tokenizer: an encoder, and the tables id → piece and id → bytes that the C++ side reads in place.

use std::collections::HashSet;

use serde_json::{json, Value};

use crate::border::Failure;
use crate::charsmap;
use crate::controls::{Control, Controls};
use crate::encoder::{added_tokens, Encoder};
use crate::vocabulary::{self, Kind, Vocabulary};

/// Strings by id, concatenated.
#[derive(Default)]
pub struct Strings {
    pub data: Vec<u8>,
    pub offsets: Vec<u32>, // one more than there are strings
}

impl Strings {
    fn new() -> Self {
        Self { data: Vec::new(), offsets: vec![0] }
    }
    fn push(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.data.extend_from_slice(bytes);
        let end = u32::try_from(self.data.len());
        self.offsets.push(end.map_err(|_| Failure::corrupt("the vocabulary is over 4 GB of text"))?);
        Ok(())
    }
}

pub struct Tables {
    pub pieces: Strings,
    pub bytes: Strings,
    pub control: Vec<bool>,
}

/// How a piece's text represents bytes.
#[derive(Clone, Copy, PartialEq)]
pub enum Spelling {
    ByteLevel,     // GPT-2's map: one character per byte
    SentencePiece, // U+2581 for a space, <0xNN> for a byte
}

pub struct Tokenizer {
    encoder: Encoder,
    tables: Tables,
    controls: Controls,
}

impl Tokenizer {
    pub fn from_json(bytes: &[u8]) -> Result<Self, Failure> {
        let json: Value = serde_json::from_slice(bytes)
            .map_err(|e| Failure::corrupt(format!("tokenizer.json is not JSON: {e}")))?;
        let spelling = spelling_of(&json)?;
        let entries = entries_of(&json)?;
        let tables = tables(entries.iter().map(|(text, kind)| (text.as_bytes(), *kind)), spelling)?;
        Self::new(json, tables)
    }

    pub fn from_vocabulary(vocabulary: &Vocabulary) -> Result<Self, Failure> {
        let (json, spelling) = vocabulary::to_json(vocabulary)?;
        let tables = tables(
            vocabulary.tokens.iter().enumerate().map(|(id, text)| (*text, vocabulary.kind(id))),
            spelling,
        )?;
        Self::new(json, tables)
    }

    fn new(json: Value, tables: Tables) -> Result<Self, Failure> {
        charsmap::check_all(&json["normalizer"])?;
        let controls = Controls::new(&json, tables.spell_every_byte());
        let encoder = Encoder::new(json, tables.spell_every_byte())?;
        // fastokens builds its tables at the first encode (a tenth of a second); do it before the first request.
        encoder.encode("Warm up. 1", true)?;
        encoder.encode("Warm up. 1", false)?;
        Ok(Self { encoder, tables, controls })
    }

    pub fn encode(&self, text: &str, parse_special: bool) -> Result<Vec<u32>, Failure> {
        self.checked(self.encoder.encode(text, parse_special)?)
    }

    /// Exactly `controls` of `text` are control tokens; everything else is text.
    pub fn encode_controls(&self, text: &str, controls: &[Control]) -> Result<Vec<u32>, Failure> {
        self.checked(self.controls.encode(text, controls)?)
    }

    /// Only ids in the tables: a damaged file may use an id twice, and then the encoder invents an id beyond the
    /// vocabulary.
    fn checked(&self, ids: Vec<u32>) -> Result<Vec<u32>, Failure> {
        let size = self.tables.control.len();
        match ids.iter().find(|id| **id as usize >= size) {
            None => Ok(ids),
            Some(id) => Err(Failure::corrupt(format!(
                "the tokenizer is damaged: it returns token {id}, but its vocabulary has {size} tokens"
            ))),
        }
    }

    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    pub fn backend(&self) -> &'static str {
        self.encoder.name()
    }
}

impl Tables {
    /// Whether any text can be encoded, byte by byte if necessary.
    fn spell_every_byte(&self) -> bool {
        let singles = self.bytes.offsets.windows(2).filter(|w| w[1] - w[0] == 1);
        singles.map(|w| self.bytes.data[w[0] as usize]).collect::<HashSet<u8>>().len() == 256
    }
}

/// Whether any step of a (possibly nested) pipeline stage has one of these types.
fn has_step(stage: &Value, types: &[&str]) -> bool {
    let nested = ["decoders", "pretokenizers", "normalizers"];
    stage["type"].as_str().is_some_and(|t| types.contains(&t))
        || nested.iter().any(|key| {
            stage[*key].as_array().is_some_and(|steps| steps.iter().any(|step| has_step(step, types)))
        })
}

fn spelling_of(json: &Value) -> Result<Spelling, Failure> {
    if has_step(&json["decoder"], &["ByteLevel"]) || has_step(&json["pre_tokenizer"], &["ByteLevel"]) {
        Ok(Spelling::ByteLevel)
    } else if has_step(&json["decoder"], &["ByteFallback", "Metaspace"])
        || json["model"]["byte_fallback"] == json!(true)
    {
        Ok(Spelling::SentencePiece)
    } else {
        Err(Failure::unsupported(format!(
            "this tokenizer.json has the decoder {}; supported: byte-level and sentencepiece vocabularies",
            json["decoder"]["type"]
        )))
    }
}

/// The text and kind of every id; gaps are unused. Unigram models have a list of tokens, others a map.
fn entries_of(json: &Value) -> Result<Vec<(String, Kind)>, Failure> {
    const LIMIT: u64 = 1 << 24; // much larger than any vocabulary; an id beyond it would need gigabytes
    let corrupt = || Failure::corrupt("tokenizer.json: model.vocab or added_tokens is not as specified");
    let mut entries: Vec<(String, Kind)> = Vec::new();
    let mut put = |id: u64, text: &str, kind: Kind| {
        let at = usize::try_from(id).ok().filter(|_| id < LIMIT).ok_or_else(corrupt)?;
        if entries.len() <= at {
            entries.resize(at + 1, (String::new(), Kind::Unused));
        }
        entries[at] = (text.to_owned(), kind);
        Ok::<_, Failure>(())
    };
    match &json["model"]["vocab"] {
        Value::Object(vocab) => {
            for (text, id) in vocab {
                put(id.as_u64().ok_or_else(corrupt)?, text, Kind::Normal)?;
            }
        }
        Value::Array(vocab) => {
            for (id, entry) in vocab.iter().enumerate() {
                put(id as u64, entry[0].as_str().ok_or_else(corrupt)?, Kind::Normal)?;
            }
        }
        _ => return Err(corrupt()),
    }
    for token in added_tokens(json) {
        let kind = if token["special"] == json!(true) { Kind::Control } else { Kind::UserDefined };
        let text = token["content"].as_str().ok_or_else(corrupt)?;
        put(token["id"].as_u64().ok_or_else(corrupt)?, text, kind)?;
    }
    Ok(entries)
}

fn tables<'a>(
    entries: impl Iterator<Item = (&'a [u8], Kind)>,
    spelling: Spelling,
) -> Result<Tables, Failure> {
    let mut tables = Tables { pieces: Strings::new(), bytes: Strings::new(), control: Vec::new() };
    for (text, kind) in entries {
        tables.pieces.push(text)?;
        tables.bytes.push(&bytes_of(text, kind, spelling))?;
        tables.control.push(matches!(kind, Kind::Control | Kind::Unknown));
    }
    Ok(tables)
}

/// The bytes that a token adds to the output.
fn bytes_of(text: &[u8], kind: Kind, spelling: Spelling) -> Vec<u8> {
    let piece = String::from_utf8_lossy(text);
    match kind {
        Kind::Control | Kind::Unknown | Kind::Unused => Vec::new(),
        Kind::UserDefined if spelling == Spelling::ByteLevel => text.to_vec(), // its text is its bytes
        _ if spelling == Spelling::ByteLevel => byte_level(&piece),
        _ => match byte_token(&piece) {
            Some(byte) => vec![byte],
            None => piece.replace('\u{2581}', " ").into_bytes(),
        },
    }
}

/// "<0x0A>" → 10.
fn byte_token(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// The inverse of GPT-2's map: printable Latin-1 characters are their own bytes, U+0100 and up are the other
/// 68 bytes. A piece with any other character is its own UTF-8 text, as in `tokenizers`.
fn byte_level(piece: &str) -> Vec<u8> {
    let byte = |c: char| match c as u32 {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(code as u8),
        code @ 0x100..=0x120 => Some((code - 0x100) as u8), // 0x00–0x20
        code @ 0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8), // 0x7f–0xa0
        0x143 => Some(0xad),
        _ => None,
    };
    piece.chars().map(byte).collect::<Option<Vec<u8>>>().unwrap_or_else(|| piece.as_bytes().to_vec())
}
