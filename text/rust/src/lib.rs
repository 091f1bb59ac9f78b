//! Penstock's text library: well-known tokenizers and a template engine behind a C ABI
//! (text/c_abi.h is its contract). No panic and no error type of a crate crosses the ABI.

mod border;
mod charsmap;
mod chat_template;
mod collections;
mod comparison;
mod controls;
mod dumps;
mod encoder;
mod filters;
mod jinja;
mod methods;
mod operators;
mod pretokenizers;
mod printf;
mod python;
mod tokenizer;
mod values;
mod vocabulary;

use border::{borrow, guard, Failure, OwnedBytes, OwnedIds, Status, View};
use chat_template::ChatTemplate;
use controls::Control;
use tokenizer::Tokenizer;
use vocabulary::Vocabulary;

/// A GGUF's vocabulary, borrowed for the call. Layout: `penstock_text_vocabulary` in text/c_abi.h.
#[repr(C)]
pub struct RawVocabulary {
    model: View,
    pre: View,
    tokens: *const View,
    token_count: usize,
    types: *const i32,  // token_count elements, or null
    scores: *const f32, // token_count elements, or null
    merges: *const View,
    merge_count: usize,
    unknown: i32,
    add_space_prefix: bool,
    charsmap: View,
    remove_extra_spaces: bool,
    lowercase: bool,
    strip_accents: bool,
}

/// Borrowed from a tokenizer and valid as long as it exists. Layout: `penstock_text_tables`.
#[repr(C)]
pub struct RawTables {
    count: usize,
    pieces: *const u8,
    piece_offsets: *const u32, // count + 1
    bytes: *const u8,
    byte_offsets: *const u32, // count + 1
    control: *const bool,
    backend: View,
}

/// # Safety
/// `json` is readable; `out` and `error` are writable.
#[no_mangle]
pub unsafe extern "C" fn penstock_tokenizer_from_json(
    json: View,
    out: *mut *mut Tokenizer,
    error: *mut OwnedBytes,
) -> Status {
    guard(error, || {
        let tokenizer = Tokenizer::from_json(json.bytes())?;
        *out = Box::into_raw(Box::new(tokenizer));
        Ok(())
    })
}

/// # Safety
/// Every array that `raw` names is readable; `out` and `error` are writable.
#[no_mangle]
pub unsafe extern "C" fn penstock_tokenizer_from_vocabulary(
    raw: *const RawVocabulary,
    out: *mut *mut Tokenizer,
    error: *mut OwnedBytes,
) -> Status {
    guard(error, || {
        let raw = &*raw;
        let vocabulary = Vocabulary {
            model: raw.model.text()?,
            pre: raw.pre.text()?,
            tokens: borrow(raw.tokens, raw.token_count).iter().map(|v| v.bytes()).collect(),
            types: borrow(raw.types, raw.token_count),
            scores: borrow(raw.scores, raw.token_count),
            merges: borrow(raw.merges, raw.merge_count).iter().map(|v| v.bytes()).collect(),
            unknown: raw.unknown,
            add_space_prefix: raw.add_space_prefix,
            charsmap: raw.charsmap.bytes(),
            remove_extra_spaces: raw.remove_extra_spaces,
            lowercase: raw.lowercase,
            strip_accents: raw.strip_accents,
        };
        let tokenizer = Tokenizer::from_vocabulary(&vocabulary)?;
        *out = Box::into_raw(Box::new(tokenizer));
        Ok(())
    })
}

/// # Safety
/// `tokenizer` came from this library; `out` is writable.
#[no_mangle]
pub unsafe extern "C" fn penstock_tokenizer_tables(tokenizer: *const Tokenizer, out: *mut RawTables) {
    let tokenizer = &*tokenizer;
    let tables = tokenizer.tables();
    *out = RawTables {
        count: tables.control.len(),
        pieces: tables.pieces.data.as_ptr(),
        piece_offsets: tables.pieces.offsets.as_ptr(),
        bytes: tables.bytes.data.as_ptr(),
        byte_offsets: tables.bytes.offsets.as_ptr(),
        control: tables.control.as_ptr(),
        backend: View::of(tokenizer.backend()),
    };
}

/// # Safety
/// `tokenizer` came from this library; `text` is readable; `out` and `error` are writable.
#[no_mangle]
pub unsafe extern "C" fn penstock_tokenizer_encode(
    tokenizer: *const Tokenizer,
    text: View,
    parse_special: bool,
    out: *mut OwnedIds,
    error: *mut OwnedBytes,
) -> Status {
    guard(error, || {
        let text = String::from_utf8_lossy(text.bytes());
        *out = OwnedIds::from((*tokenizer).encode(&text, parse_special)?);
        Ok(())
    })
}

/// # Safety
/// `tokenizer` came from this library; `text` and `controls[0, count)` are readable; `out` and `error` are
/// writable.
#[no_mangle]
pub unsafe extern "C" fn penstock_tokenizer_encode_controls(
    tokenizer: *const Tokenizer,
    text: View,
    controls: *const Control,
    count: usize,
    out: *mut OwnedIds,
    error: *mut OwnedBytes,
) -> Status {
    guard(error, || {
        *out = OwnedIds::from((*tokenizer).encode_controls(text.text()?, borrow(controls, count))?);
        Ok(())
    })
}

/// # Safety
/// `tokenizer` came from this library and is used no more; null is allowed.
#[no_mangle]
pub unsafe extern "C" fn penstock_tokenizer_free(tokenizer: *mut Tokenizer) {
    if !tokenizer.is_null() {
        drop(Box::from_raw(tokenizer));
    }
}

/// # Safety
/// `source` is readable; `out` and `error` are writable.
#[no_mangle]
pub unsafe extern "C" fn penstock_template_compile(
    source: View,
    out: *mut *mut ChatTemplate,
    error: *mut OwnedBytes,
) -> Status {
    guard(error, || {
        *out = Box::into_raw(Box::new(ChatTemplate::compile(source.text()?)?));
        Ok(())
    })
}

/// # Safety
/// `template` came from this library; `context_json` is readable; `out` and `error` are writable.
#[no_mangle]
pub unsafe extern "C" fn penstock_template_render(
    template: *const ChatTemplate,
    context_json: View,
    out: *mut OwnedBytes,
    error: *mut OwnedBytes,
) -> Status {
    guard(error, || {
        *out = OwnedBytes::from((*template).render(context_json.bytes())?);
        Ok(())
    })
}

/// # Safety
/// `template` came from this library and is used no more; null is allowed.
#[no_mangle]
pub unsafe extern "C" fn penstock_template_free(template: *mut ChatTemplate) {
    if !template.is_null() {
        drop(Box::from_raw(template));
    }
}

/// # Safety
/// `bytes` was filled by this library and not freed before, or is all zero.
#[no_mangle]
pub unsafe extern "C" fn penstock_text_free_bytes(bytes: OwnedBytes) {
    drop(bytes.into_vec());
}

/// # Safety
/// `ids` was filled by this library and not freed before, or is all zero.
#[no_mangle]
pub unsafe extern "C" fn penstock_text_free_ids(ids: OwnedIds) {
    drop(ids.into_vec());
}

/// For the test of how panics are returned; nothing else calls it, so the linker removes it.
///
/// # Safety
/// `error` is writable.
#[no_mangle]
pub unsafe extern "C" fn penstock_text_panic(error: *mut OwnedBytes) -> Status {
    guard(error, || -> Result<(), Failure> { panic!("asked to") })
}
