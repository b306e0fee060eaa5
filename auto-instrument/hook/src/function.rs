//! Functions of the program: where they stand and how their bodies become spans.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use crate::current::{self, Counted, Level, Scope};
use crate::hand::Hands;
use crate::span::Span;
use crate::{Fallible, Function};

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
    scope: Option<Scope>,
    span: Span,
}

/// Begins the span of a function's body.
#[inline(never)]
pub fn enter(site: &'static Site) -> Entered {
    let span = Span::of_function(site);
    Entered {
        scope: span.scope(),
        span,
    }
}

impl Drop for Entered {
    #[inline(never)]
    fn drop(&mut self) {
        // Before the span ends, and only when there is one.
        if let Some(scope) = self.scope.take() {
            let was_in_frame = current::is_in_frame();
            let level = leave(scope.leave(), &mut self.span);
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
    site: Option<&'static Site>,
    span: Span,
    /// Messages that the body received, between polls.
    hands: Option<Box<Hands>>,
}

/// The frame of a body that is being polled.
enum InFrame {
    /// Of a body without a span that has received no message.
    Counted(Counted),
    Own(current::Entered),
}

impl State {
    /// Of a function at this place that has not begun.
    #[must_use]
    #[inline(never)]
    pub fn of(site: &'static Site) -> Self {
        Self {
            site: Some(site),
            span: Span::none(),
            hands: None,
        }
    }

    /// Begins the span at the first poll, and makes it current for this one.
    #[inline(never)]
    fn enter(&mut self) -> InFrame {
        if let Some(site) = self.site.take() {
            self.span = Span::of_function(site);
        }
        let context = match self.span.context() {
            Some(context) => Some(context.clone()),
            None if self.hands.is_none() => return InFrame::Counted(Counted::enter()),
            None => current::current(),
        };
        InFrame::Own(current::Entered::frame(Level::new(
            context,
            self.hands.take(),
        )))
    }

    fn leave(&mut self, frame: InFrame) -> Option<Level> {
        match frame {
            InFrame::Counted(frame) => frame.leave(),
            InFrame::Own(frame) => Some(leave(frame.leave(), &mut self.span)),
        }
    }

    #[inline(never)]
    fn pause(&mut self, frame: InFrame) {
        self.hands = self.leave(frame).and_then(Level::into_hands);
    }

    #[inline(never)]
    fn end(&mut self, frame: InFrame, error: Option<&'static str>) {
        if let Some(level) = self.leave(frame) {
            current::returned(level, true);
        }
        if let Some(error) = error {
            self.span.fail(error);
        }
        self.span = Span::none();
    }
}

/// A value that inference may count on and that nobody gets; see [`returns!`](crate::returns).
pub fn never<T>() -> T {
    loop {
        std::thread::park();
    }
}

macro_rules! project {
    ($self:ident) => {{
        #[expect(
            unsafe_code,
            reason = "structural pinning, which std offers no safe way to"
        )]
        // SAFETY: `body` is never moved out of what is pinned: this is the only access to it, and
        // neither type has a `Drop` of its own. `state` is never pinned.
        unsafe {
            let this = $self.get_unchecked_mut();
            (&mut this.state, Pin::new_unchecked(&mut this.body))
        }
    }};
}

impl<F: Future> Future for Function<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<F::Output> {
        let (state, body) = project!(self);
        let frame = state.enter();
        let polled = body.poll(task);
        if polled.is_ready() {
            state.end(frame, None);
        } else {
            state.pause(frame);
        }
        polled
    }
}

impl<F, T, E> Future for Fallible<F>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<F::Output> {
        let (state, body) = project!(self);
        let frame = state.enter();
        let polled = body.poll(task);
        match &polled {
            Poll::Ready(Ok(_)) => state.end(frame, None),
            Poll::Ready(Err(_)) => state.end(frame, Some(std::any::type_name::<E>())),
            Poll::Pending => state.pause(frame),
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            Fallible {
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
