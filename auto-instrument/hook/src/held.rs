//! What a program's own values hold of ours, by a type that says nothing of it, and the edge between
//! the program's code and ours.
//!
//! A compiler describes, in each part of a program that uses a type, everything that it holds in turn;
//! it writes for each call what is to be dropped if it panics; and it does both again after every
//! edit. So what is compiled in a program, once for each of its types, is kept as small as it can be.

use std::any::TypeId;
use std::fmt;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::ptr;

/// Perhaps a value on the heap: a pointer of which the program's compiler knows nothing more. It takes
/// away no trait that the compiler gives by itself.
#[doc(hidden)]
pub struct Held(*mut ());

/// What is on the heap.
#[repr(C)]
struct Whole<T> {
    head: Head,
    value: T,
}

/// Its beginning, whatever the value is.
struct Head {
    of: TypeId,
    drop: unsafe fn(*mut ()),
}

#[expect(unsafe_code, reason = "the compiler cannot see through the pointer")]
// SAFETY: `Held::new` takes only what is `Send`, and a `Held` alone has its value.
unsafe impl Send for Held {}
#[expect(unsafe_code, reason = "the compiler cannot see through the pointer")]
// SAFETY: `Held::new` takes only what is `Sync`, and `&Held` gives only `&` to the value.
unsafe impl Sync for Held {}

impl fmt::Debug for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.is_empty() { "Nothing" } else { "Held" })
    }
}

impl Default for Held {
    fn default() -> Self {
        Self::NOTHING
    }
}

impl Held {
    /// No value.
    pub const NOTHING: Self = Self(ptr::null_mut());

    pub(crate) fn new<T: 'static + Send + Sync + UnwindSafe + RefUnwindSafe>(value: T) -> Self {
        #[expect(unsafe_code, reason = "drops what stands behind a pointer")]
        unsafe fn drop_whole<T>(whole: *mut ()) {
            // SAFETY: this stands in the head of such a box, and is called once, when it is dropped.
            drop(unsafe { Box::from_raw(whole.cast::<Whole<T>>()) });
        }
        let head = Head {
            of: TypeId::of::<T>(),
            drop: drop_whole::<T>,
        };
        Self(Box::into_raw(Box::new(Whole { head, value })).cast())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_null()
    }

    fn head(&self) -> Option<&Head> {
        #[expect(unsafe_code, reason = "looks behind the pointer")]
        // SAFETY: it is null or that of a box, which begins with its head.
        unsafe {
            self.0.cast::<Head>().as_ref()
        }
    }

    /// Where the value is; `None` also when it is of another type.
    fn whole<T: 'static>(&self) -> Option<*mut Whole<T>> {
        let head = self.head()?;
        (head.of == TypeId::of::<T>()).then(|| self.0.cast())
    }

    pub(crate) fn get<T: 'static>(&self) -> Option<&T> {
        let whole = self.whole::<T>()?;
        #[expect(unsafe_code, reason = "looks behind the pointer")]
        // SAFETY: the type is right, and the box is borrowed as long as `self`.
        Some(unsafe { &(*whole).value })
    }

    pub(crate) fn get_mut<T: 'static>(&mut self) -> Option<&mut T> {
        let whole = self.whole::<T>()?;
        #[expect(unsafe_code, reason = "looks behind the pointer")]
        // SAFETY: the type is right, and the box is borrowed as long as `self`, by nobody else.
        Some(unsafe { &mut (*whole).value })
    }

    pub(crate) fn take<T: 'static>(&mut self) -> Option<T> {
        let whole = self.whole::<T>()?;
        self.0 = ptr::null_mut();
        #[expect(unsafe_code, reason = "takes what is behind the pointer")]
        // SAFETY: the type is right, and nobody else has the box any more.
        Some(unsafe { Box::from_raw(whole) }.value)
    }
}

impl Drop for Held {
    #[inline(never)]
    fn drop(&mut self) {
        if let Some(drop) = self.head().map(|head| head.drop) {
            #[expect(unsafe_code, reason = "drops what is behind the pointer")]
            // SAFETY: the head is that of this box, which nobody has after this.
            unsafe {
                drop(self.0);
            }
        }
    }
}

/// Runs what the program's code calls by `extern "C"`, so that its compiler knows that it does not
/// panic. Nor does it: a panic of ours, or of what an SDK does with a span, is nothing to the program.
pub(crate) fn contained(work: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(work));
}

/// What is pinned, of one of our own futures, to be taken apart.
macro_rules! unpinned {
    ($pinned:expr) => {{
        #[expect(
            unsafe_code,
            reason = "structural pinning, which std offers no safe way to"
        )]
        // SAFETY: the future in it is never moved out: this is the only access to it, it is pinned
        // again by `pinned`, and none of our futures has a `Drop` of its own, or is `Unpin` when the one
        // in it is not. Its other parts are never pinned. `Pin` has the layout of the pointer in it, by
        // its documentation; its own functions would be compiled for each of a program's futures.
        unsafe {
            std::mem::transmute::<Pin<&mut Self>, &mut Self>($pinned)
        }
    }};
}
pub(crate) use unpinned;

/// The future, an `F`, in what [`unpinned`] gave.
macro_rules! pinned {
    ($future:expr) => {{
        #[expect(
            unsafe_code,
            reason = "structural pinning, which std offers no safe way to"
        )]
        // SAFETY: as of `unpinned`.
        unsafe {
            std::mem::transmute::<&mut F, Pin<&mut F>>($future)
        }
    }};
}
pub(crate) use pinned;

#[cfg(test)]
#[expect(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    reason = "what `futures!` brings"
)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Carry, InSpan, SharedFrame, Span};

    crate::futures!(SpanloomFn SpanloomTry);

    fn has_every_trait<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe>() {}

    #[test]
    fn no_trait_is_taken_from_what_a_program_has() {
        has_every_trait::<SpanloomFn<()>>();
        has_every_trait::<SpanloomTry<()>>();
        has_every_trait::<Carry<()>>();
        has_every_trait::<InSpan<(), ()>>();
        has_every_trait::<SharedFrame>();
        has_every_trait::<Span>();
    }

    #[test]
    fn what_is_held_is_dropped_with_what_holds_it() {
        let value = Arc::new(());
        let held = Held::new(Arc::clone(&value));
        assert_eq!(Arc::strong_count(&value), 2);
        drop(held);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn a_panic_of_ours_stays_ours() {
        contained(|| panic!("of ours"));
    }

    #[test]
    fn what_is_held_comes_back() {
        let mut held = Held::new(7_u32);
        assert_eq!(held.get::<u32>(), Some(&7));
        assert_eq!(held.get_mut::<u8>(), None);
        assert_eq!(held.take::<u8>(), None);
        assert_eq!(held.take::<u32>(), Some(7));
        assert!(held.is_empty());
    }
}
