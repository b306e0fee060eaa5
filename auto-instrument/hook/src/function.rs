//! Functions of the program: where they stand and how their bodies become spans.

use std::mem::ManuallyDrop;

use crate::current::{self, Level, Scope};
use crate::hand::Hands;
use crate::held::{Held, contained};
use crate::span::Span;

/// Where a function stands in the original source.
#[derive(Debug)]
pub struct Site {
    name: &'static str,
    module: &'static str,
    file: &'static str,
    line: u32,
}

impl Site {
    /// Made by [`site!`](crate::site).
    #[must_use]
    pub const fn new(
        name: &'static str,
        module: &'static str,
        file: &'static str,
        line: u32,
    ) -> Self {
        Self {
            name,
            module,
            file,
            line,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The crate that the function belongs to: the instrumentation scope of its spans.
    pub(crate) fn scope(&self) -> &'static str {
        self.module.split("::").next().unwrap_or(self.module)
    }

    pub(crate) fn qualified_name(&self) -> String {
        format!("{}::{}", self.module, self.name)
    }

    pub(crate) fn file(&self) -> &'static str {
        self.file
    }

    pub(crate) fn line(&self) -> u32 {
        self.line
    }
}

/// The span of a function's body, current while the body runs.
#[derive(Debug)]
#[must_use = "the span ends when this is dropped"]
pub struct Entered {
    // Not dropped by the program's code, which would be compiled there, but by this type's own drop.
    inner: ManuallyDrop<Option<(Scope, Span)>>,
}

/// Begins the span of a function's body.
#[inline(never)]
pub fn enter(site: &'static Site) -> Entered {
    let span = Span::of_function(site);
    let scope = span.scope();
    Entered {
        inner: ManuallyDrop::new(scope.map(|scope| (scope, span))),
    }
}

impl Drop for Entered {
    #[inline(never)]
    fn drop(&mut self) {
        // Before the span ends, and only when there is one.
        if let Some((scope, mut span)) = self.inner.take() {
            let was_in_frame = current::is_in_frame();
            let level = leave(scope.leave(), &mut span);
            current::returned(level, was_in_frame);
        }
    }
}

/// Leaves the level of a function, whose span ends when it asked for the next message within the
/// handling of one.
fn leave(level: Level, span: &mut Span) -> Level {
    if level.has_left() {
        let span = std::mem::take(span);
        if let Some(context) = span.context() {
            current::left(&context.trace);
        }
        span.end_where_asked();
    }
    level
}

/// What does not depend on the body's type. Its functions are compiled here, once, and not in each
/// program again for each of its functions.
#[derive(Debug)]
pub struct State {
    /// Present until the first poll.
    #[doc(hidden)]
    pub site: Option<&'static Site>,
    /// Something of ours, of a body that has a span or messages.
    #[doc(hidden)]
    pub begun: Held,
}

#[derive(Debug, Default)]
struct Begun {
    span: Span,
    /// Messages that the body received, between polls.
    hands: Option<Box<Hands>>,
    /// Of its level, while it is polled.
    serial: u32,
}

/// One poll of a body.
#[doc(hidden)]
#[derive(Debug)]
#[repr(transparent)]
pub struct Polling<'a>(&'a mut State);

impl State {
    fn begun(&mut self) -> Option<&mut Begun> {
        self.begun.get_mut()
    }

    /// Begins the span at the first poll, and makes it current for this one.
    pub extern "C" fn enter(&mut self) -> Polling<'_> {
        contained(|| self.begin_poll());
        Polling(self)
    }

    fn begin_poll(&mut self) {
        if let Some(site) = self.site.take() {
            let span = Span::of_function(site);
            if span.context().is_some() {
                self.begun = Held::new(Begun {
                    span,
                    ..Begun::default()
                });
            }
        }
        match self.begun() {
            // The usual case: no span, and no message received.
            None => current::count(),
            Some(begun) => {
                let context = begun.span.context().cloned().or_else(current::current);
                begun.serial = current::enter_frame(Level::new(context, begun.hands.take()));
            }
        }
    }

    fn end_poll(&mut self) -> Option<Level> {
        match self.begun() {
            None => current::uncount(),
            Some(begun) => {
                let level = current::leave_frame(begun.serial);
                Some(leave(level, &mut begun.span))
            }
        }
    }

    fn pause(&mut self) {
        let hands = self.end_poll().and_then(Level::into_hands);
        match self.begun() {
            Some(begun) => begun.hands = hands,
            None if hands.is_none() => {}
            None => {
                self.begun = Held::new(Begun {
                    hands,
                    ..Begun::default()
                });
            }
        }
    }

    fn end(&mut self, error: Option<fn() -> &'static str>) {
        if let Some(level) = self.end_poll() {
            current::returned(level, true);
        }
        if let (Some(error), Some(begun)) = (error, self.begun()) {
            begun.span.fail(error());
        }
        self.begun = Held::NOTHING;
    }
}

impl Polling<'_> {
    /// The body waits.
    pub extern "C" fn waits(self) {
        drop(self);
    }

    /// The body has returned.
    pub extern "C" fn returned(self) {
        contained(|| ManuallyDrop::new(self).0.end(None));
    }

    #[expect(
        improper_ctypes_definitions,
        reason = "both sides are compiled by the same compiler"
    )]
    /// The body has returned an error of this type.
    pub extern "C" fn failed(self, error: fn() -> &'static str) {
        contained(|| ManuallyDrop::new(self).0.end(Some(error)));
    }
}

impl Drop for Polling<'_> {
    /// Also of a body that panics.
    #[inline(never)]
    fn drop(&mut self) {
        contained(|| self.0.pause());
    }
}

/// A value that inference may count on and that nobody gets; see [`returns!`](crate::returns).
#[inline(always)]
pub fn never<T>() -> T {
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
#[expect(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    reason = "what `futures!` brings"
)]
mod tests {
    use std::future::Future;
    use std::task::{Context as TaskContext, Poll};

    use super::*;

    crate::futures!(SpanloomTry);
    use crate::span::Kind;

    fn current_span() -> Option<u64> {
        current::current().map(|context| context.span_id)
    }

    fn parent() -> (Span, Option<u64>) {
        let span = Span::root("test", Kind::Server, "parent");
        let id = span.context().map(|context| context.span_id);
        (span, id)
    }

    #[test]
    fn a_function_outside_a_trace_is_nothing() {
        crate::enter!("lonely");
        assert_eq!(current_span(), None);
    }

    #[test]
    fn a_function_is_current_while_it_runs() {
        fn body() -> Option<u64> {
            crate::enter!("body");
            current_span()
        }
        let (span, id) = parent();
        let inside = span.in_scope(|| {
            let inside = body();
            assert_eq!(current_span(), id);
            inside
        });
        assert!(inside.is_some() && inside != id);
    }

    #[test]
    fn an_async_function_is_current_only_while_it_is_polled() {
        let (span, id) = parent();
        let _scope = span.scope();
        fn body() -> crate::future_of!(Result<Option<u64>, String>) {
            SpanloomTry {
                state: crate::state!("body"),
                body: async {
                    crate::returns!(Result<Option<u64>, String>);
                    Ok(current_span())
                },
            }
        }
        let mut body = Box::pin(body());
        let mut task = TaskContext::from_waker(std::task::Waker::noop());
        let inside = body.as_mut().poll(&mut task);
        assert!(matches!(inside, Poll::Ready(Ok(Some(inside))) if Some(inside) != id));
        assert_eq!(current_span(), id);
    }

    #[test]
    fn a_site_knows_its_crate() {
        let site = crate::site!("here");
        assert_eq!(site.scope(), "spanloom_hook");
        assert_eq!(
            site.qualified_name(),
            "spanloom_hook::function::tests::here"
        );
        assert!(site.file().ends_with("function.rs") && site.line() > 0);
    }
}
