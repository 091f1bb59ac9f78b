//! Checks a SentencePiece character map (`precompiled_charsmap`) before the library reads it: the library trusts
//! its sizes and positions, so a damaged map would allocate gigabytes or panic at some later text.
//!
//! The format is sentencepiece's `Normalizer::DecodePrecompiledCharsMap`: a u32 with the trie's size in bytes,
//! the trie (a Darts double array of u32 units), then the replacement strings, each ended by NUL.

use serde_json::Value;

use crate::border::Failure;

/// Checks every map in a tokenizer.json's normalizer, however deeply it is nested.
pub fn check_all(normalizer: &Value) -> Result<(), Failure> {
    match normalizer {
        Value::Array(steps) => steps.iter().try_for_each(check_all),
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| match value {
            Value::String(text) if name == "precompiled_charsmap" => {
                check(&base64::decode(text).map_err(|e| damaged(&format!("it is not base64 ({e})")))?)
            }
            _ => check_all(value),
        }),
        _ => Ok(()),
    }
}

/// The maps of published models have less than 1 MiB; this bounds the time of the check.
const LARGEST_TRIE: usize = 16 << 20;

fn damaged(why: &str) -> Failure {
    Failure::corrupt(format!("the character map (precompiled_charsmap) is damaged: {why}"))
}

fn check(map: &[u8]) -> Result<(), Failure> {
    let (size, rest) = map.split_first_chunk::<4>().ok_or_else(|| damaged("it has no size"))?;
    let size = u32::from_le_bytes(*size) as usize;
    if size == 0 || size % 4 != 0 || size > rest.len() || size > LARGEST_TRIE {
        return Err(damaged(&format!("a trie of {size} bytes in {} bytes", rest.len())));
    }
    let (trie, replacements) = rest.split_at(size);
    let replacements =
        std::str::from_utf8(replacements).map_err(|_| damaged("its replacements are not UTF-8"))?;
    let units = trie.chunks_exact(4).map(|unit| Unit(u32::from_le_bytes(unit.try_into().unwrap()))).collect();
    walk(units, replacements)
}

/// A unit of the double array, as Darts-clone lays it out.
#[derive(Clone, Copy)]
struct Unit(u32);

impl Unit {
    fn has_leaf(self) -> bool {
        self.0 >> 8 & 1 == 1
    }
    fn value(self) -> usize {
        (self.0 & 0x7FFF_FFFF) as usize
    }
    fn is_child_by(self, byte: usize) -> bool {
        (self.0 & 0x8000_00FF) as usize == byte
    }
    fn offset(self) -> usize {
        ((self.0 >> 10) as usize) << ((self.0 & 1 << 9) >> 6)
    }
}

/// Visits every node that some text can reach. A search reads `base ^ byte` for any byte of a text.
fn walk(units: Vec<Unit>, replacements: &str) -> Result<(), Failure> {
    let mut seen = vec![false; units.len()];
    let mut bases = vec![units[0].offset()];
    while let Some(base) = bases.pop() {
        if base | 0xFF >= units.len() {
            return Err(damaged("its trie points beyond its end"));
        }
        seen[base] = true;
        for byte in 1..=255 {
            let unit = units[base ^ byte];
            if !unit.is_child_by(byte) {
                continue;
            }
            let child = (base ^ byte) ^ unit.offset();
            if unit.has_leaf() {
                let value = units.get(child).map(|leaf| leaf.value());
                if !value.is_some_and(|start| replacements.is_char_boundary(start)) {
                    return Err(damaged("its trie points outside its replacements"));
                }
            }
            if !seen.get(child).copied().unwrap_or(false) {
                bases.push(child);
            }
        }
    }
    Ok(())
}
