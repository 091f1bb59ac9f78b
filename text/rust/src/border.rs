//! The C ABI's data: what a call borrows, what it gives away, and how failures and panics are returned.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Once;

/// As `penstock_text_status` in text/c_abi.h.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Status {
    Ok = 0,
    Invalid = 1,
    Unsupported = 2,
    Corrupt = 3,
    Internal = 4,
}

#[derive(Clone, Debug)]
pub struct Failure {
    pub status: Status,
    pub message: String,
}

impl Failure {
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { status: Status::Invalid, message: message.into() }
    }
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self { status: Status::Unsupported, message: message.into() }
    }
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self { status: Status::Corrupt, message: message.into() }
    }
}

/// Bytes borrowed from the C++ side for one call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct View {
    data: *const u8,
    size: usize,
}

impl View {
    pub fn of(text: &'static str) -> Self {
        Self { data: text.as_ptr(), size: text.len() }
    }
    /// # Safety
    /// The C++ side keeps the bytes readable for `'a`.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        borrow(self.data, self.size)
    }
    /// # Safety
    /// As `bytes`.
    pub unsafe fn text<'a>(self) -> Result<&'a str, Failure> {
        std::str::from_utf8(self.bytes()).map_err(|e| Failure::invalid(format!("not UTF-8: {e}")))
    }
}

/// An array of the C++ side; a null pointer is an empty array.
///
/// # Safety
/// `data` is null or readable for `count` elements during `'a`.
pub unsafe fn borrow<'a, T>(data: *const T, count: usize) -> &'a [T] {
    if data.is_null() || count == 0 {
        &[]
    } else {
        std::slice::from_raw_parts(data, count)
    }
}

/// A Vec that is given to the C++ side, and returned to be freed.
#[repr(C)]
pub struct Owned<T> {
    data: *mut T,
    size: usize,
    capacity: usize,
}
pub type OwnedBytes = Owned<u8>;
pub type OwnedIds = Owned<u32>;

impl<T> From<Vec<T>> for Owned<T> {
    fn from(vec: Vec<T>) -> Self {
        let mut vec = ManuallyDrop::new(vec);
        Self { data: vec.as_mut_ptr(), size: vec.len(), capacity: vec.capacity() }
    }
}

impl<T> Owned<T> {
    /// # Safety
    /// Made by `from` and not converted back before, or all zero.
    pub unsafe fn into_vec(self) -> Vec<T> {
        if self.data.is_null() {
            Vec::new()
        } else {
            Vec::from_raw_parts(self.data, self.size, self.capacity)
        }
    }
}

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The default hook prints to stderr; ours keeps the message for the returned Error.
fn keep_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let _ = LAST_PANIC.try_with(|last| {
                if let Ok(mut last) = last.try_borrow_mut() {
                    *last = info.to_string();
                }
            });
        }));
    });
}

/// Runs one call of the ABI: a failure or a panic becomes a status, with its message in `error`.
pub fn guard(error: *mut OwnedBytes, call: impl FnOnce() -> Result<(), Failure>) -> Status {
    keep_panics_quiet();
    let failure = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => return Status::Ok,
        Ok(Err(failure)) => failure,
        Err(_) => {
            let words = LAST_PANIC.with(|last| std::mem::take(&mut *last.borrow_mut()));
            Failure { status: Status::Internal, message: format!("the text library failed: {words}") }
        }
    };
    if !error.is_null() {
        unsafe { *error = OwnedBytes::from(failure.message.into_bytes()) };
    }
    failure.status
}
