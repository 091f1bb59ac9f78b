//! Encodes a text of which the caller says where the control tokens are; "<|im_end|>" anywhere else is text.
//!
//! The libraries only know "all control tokens" or "none". So here each control token gets a second name that no user
//! can write (it contains a random number), as a user-defined token with the same flags. In the text, the given control
//! tokens are replaced by these names, and the libraries encode it with control tokens taken as text. Spaces and
//! prefixes beside a control token are thereby treated as the libraries always do.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use serde_json::{json, Value};

use crate::border::Failure;
use crate::encoder::{added_tokens, Encoder};

/// Layout: `penstock_text_control` in text/c_abi.h.
#[repr(C)]
pub struct Control {
    begin: usize,
    end: usize,
}

/// Most requests never need it, so the second encoder is built when the first one does.
pub struct Controls {
    json: String,
    complete: bool,
    renamed: OnceLock<Result<Renamed, Failure>>,
}

struct Renamed {
    encoder: Encoder,
    names: HashMap<String, String>, // control token → its second name
    ids: HashMap<u32, u32>,         // id of the second name → the control token's
}

impl Controls {
    /// `json` and `complete` are those of Encoder::new.
    pub fn new(json: &Value, complete: bool) -> Self {
        Self { json: json.to_string(), complete, renamed: OnceLock::new() }
    }

    pub fn encode(&self, text: &str, controls: &[Control]) -> Result<Vec<u32>, Failure> {
        let build = || Renamed::new(&self.json, self.complete);
        self.renamed.get_or_init(build).as_ref().map_err(Failure::clone)?.encode(text, controls)
    }
}

impl Renamed {
    fn new(json: &str, complete: bool) -> Result<Self, Failure> {
        let mut json: Value =
            serde_json::from_str(json).map_err(|e| Failure::corrupt(format!("tokenizer.json: {e}")))?;
        let secret = RandomState::new().hash_one(0u8);
        let mut names = HashMap::new();
        let mut real = Vec::new();
        let mut more = Vec::new();
        for token in added_tokens(&json).filter(|token| token["special"] == json!(true)) {
            let (Some(text), Some(id)) = (token["content"].as_str(), token["id"].as_u64()) else { continue };
            let name = format!("\u{F0000}{secret:016x}.{id}\u{F0001}");
            let mut renamed = token.clone();
            renamed["content"] = json!(name);
            renamed["special"] = json!(false);
            renamed["id"] = json!(first_free_id(&json) + more.len() as u64);
            real.push((name.clone(), id as u32));
            names.insert(text.to_owned(), name);
            more.push(renamed);
        }
        if let Some(added) = json["added_tokens"].as_array_mut() {
            added.extend(more);
        }
        let encoder = Encoder::new(json, complete)?;
        let ids = real.into_iter().map(|(name, id)| Ok((id_of(&encoder, &name)?, id))).collect::<Result<_, _>>()?;
        Ok(Self { encoder, names, ids })
    }

    fn encode(&self, text: &str, controls: &[Control]) -> Result<Vec<u32>, Failure> {
        let mut renamed = String::with_capacity(text.len() + 40 * controls.len());
        let mut at = 0;
        for control in controls {
            let part = |begin, end| text.get(begin..end).ok_or_else(|| Failure::invalid("a control token's place"));
            let token = part(control.begin, control.end)?;
            let name = self.names.get(token);
            renamed += part(at, control.begin)?;
            renamed += name.ok_or_else(|| Failure::invalid(format!("{token:?} is no control token")))?;
            at = control.end;
        }
        renamed += &text[at..];
        let ids = self.encoder.encode(&renamed, false)?;
        Ok(ids.into_iter().map(|id| *self.ids.get(&id).unwrap_or(&id)).collect())
    }
}

fn id_of(encoder: &Encoder, name: &str) -> Result<u32, Failure> {
    match encoder.encode(name, false)?[..] {
        [id] => Ok(id),
        _ => Err(Failure::unsupported(format!("the tokenizer splits {name:?}"))),
    }
}

/// The libraries number added tokens after the vocabulary, in their order.
fn first_free_id(json: &Value) -> u64 {
    let vocabulary = match &json["model"]["vocab"] {
        Value::Object(vocab) => vocab.values().filter_map(Value::as_u64).max(),
        Value::Array(vocab) => (vocab.len() as u64).checked_sub(1),
        _ => None,
    };
    let added = added_tokens(json).filter_map(|token| token["id"].as_u64()).max();
    vocabulary.max(added).map_or(0, |id| id + 1)
}
