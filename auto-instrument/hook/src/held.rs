//! What a program's own values hold of ours, by a type that says nothing of it. A compiler describes,
//! in each part of a program that uses a type, everything that it holds in turn; and what is compiled
//! in a program for each type of its own costs more than what is compiled here.

use std::any::Any;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// Some value on the heap. It takes away no trait that the compiler gives by itself.
pub(crate) struct Held(Box<dyn Any + Send + Sync + UnwindSafe + RefUnwindSafe>);

impl fmt::Debug for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Held")
    }
}

impl Held {
    pub(crate) fn new<T: Any + Send + Sync + UnwindSafe + RefUnwindSafe>(value: T) -> Self {
        Self(Box::new(value))
    }

    /// `None` when it is of another type.
    pub(crate) fn get<T: Any>(&self) -> Option<&T> {
        let value: &dyn Any = &*self.0;
        value.downcast_ref()
    }

    pub(crate) fn get_mut<T: Any>(&mut self) -> Option<&mut T> {
        let value: &mut dyn Any = &mut *self.0;
        value.downcast_mut()
    }

    pub(crate) fn into<T: Any>(self) -> Option<Box<T>> {
        let value: Box<dyn Any> = self.0;
        value.downcast().ok()
    }
}

/// Takes a pinned future of ours apart: parts that are never pinned, and the future in it, an `F`.
macro_rules! project {
    (let $($part:ident),+; $future:ident = $pinned:expr) => {
        #[expect(
            unsafe_code,
            reason = "structural pinning, which std offers no safe way to"
        )]
        // SAFETY: the future is never moved out of what is pinned: this is the only access to it, and
        // none of our futures has a `Drop` of its own, or is `Unpin` when the one in it is not. The
        // other parts are never pinned. `Pin` has the layout of the pointer in it, by its
        // documentation; its own functions would be compiled for each of a program's futures.
        let this = unsafe { std::mem::transmute::<Pin<&mut Self>, &mut Self>($pinned) };
        $(let $part = &mut this.$part;)+
        #[expect(
            unsafe_code,
            reason = "structural pinning, which std offers no safe way to"
        )]
        // SAFETY: as above.
        let $future = unsafe { std::mem::transmute::<&mut F, Pin<&mut F>>(&mut this.$future) };
    };
}
pub(crate) use project;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Carry, Fallible, Function, InSpan, SharedFrame, Span};

    fn has_every_trait<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe>() {}

    #[test]
    fn no_trait_is_taken_from_what_a_program_has() {
        has_every_trait::<Function<()>>();
        has_every_trait::<Fallible<()>>();
        has_every_trait::<Carry<()>>();
        has_every_trait::<InSpan<(), ()>>();
        has_every_trait::<SharedFrame>();
        has_every_trait::<Span>();
    }

    #[test]
    fn what_is_held_comes_back() {
        let mut held = Held::new(7_u32);
        assert_eq!(held.get::<u32>(), Some(&7));
        assert_eq!(held.get_mut::<u8>(), None);
        assert_eq!(held.into::<u32>(), Some(Box::new(7)));
    }
}
