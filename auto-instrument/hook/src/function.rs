//! Functions of the program: where they stand and how their bodies become spans.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use crate::current::{self, Level, Scope};
use crate::hand::Hands;
use crate::held::{Held, project};
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
    /// A [`Begun`], of a body that has a span or messages.
    begun: Option<Held>,
}

#[derive(Debug, Default)]
struct Begun {
    span: Span,
    /// Messages that the body received, between polls.
    hands: Option<Box<Hands>>,
}

/// One poll of a body.
#[derive(Debug)]
struct Polling<'a> {
    state: &'a mut State,
    /// Absent for a body without a span that has received no message.
    entered: Option<current::Entered>,
    end: End,
}

/// How a poll ended.
#[derive(Clone, Copy, Debug)]
enum End {
    Panicked,
    Waiting,
    Returned,
    /// With an error of this type.
    Failed(fn() -> &'static str),
}

impl State {
    /// Of a function at this place that has not begun.
    #[must_use]
    #[inline(never)]
    pub fn of(site: &'static Site) -> Self {
        Self {
            site: Some(site),
            begun: None,
        }
    }

    fn begun(&mut self) -> Option<&mut Begun> {
        self.begun.as_mut()?.get_mut()
    }

    /// Begins the span at the first poll, and makes it current for this one.
    #[inline(never)]
    fn enter(&mut self) -> Polling<'_> {
        if let Some(site) = self.site.take() {
            let span = Span::of_function(site);
            if span.context().is_some() {
                self.begun = Some(Held::new(Begun { span, hands: None }));
            }
        }
        let entered = self.begun().map(|begun| {
            let context = begun.span.context().cloned().or_else(current::current);
            current::Entered::frame(Level::new(context, begun.hands.take()))
        });
        if entered.is_none() {
            current::count();
        }
        Polling {
            state: self,
            entered,
            end: End::Panicked,
        }
    }

    fn pause(&mut self, level: Option<Level>) {
        let hands = level.and_then(Level::into_hands);
        match self.begun() {
            Some(begun) => begun.hands = hands,
            None if hands.is_none() => {}
            None => {
                let span = Span::none();
                self.begun = Some(Held::new(Begun { span, hands }));
            }
        }
    }

    fn end(&mut self, level: Option<Level>, error: Option<fn() -> &'static str>) {
        if let Some(level) = level {
            current::returned(level, true);
        }
        if let (Some(error), Some(begun)) = (error, self.begun()) {
            begun.span.fail(error());
        }
        self.begun = None;
    }
}

impl Drop for Polling<'_> {
    #[inline(never)]
    fn drop(&mut self) {
        let level = match self.entered.take() {
            None => current::uncount(),
            Some(entered) => {
                let level = entered.leave();
                Some(match self.state.begun() {
                    Some(begun) => leave(level, &mut begun.span),
                    None => level,
                })
            }
        };
        match self.end {
            End::Panicked => {}
            End::Waiting => self.state.pause(level),
            End::Returned => self.state.end(level, None),
            End::Failed(error) => self.state.end(level, Some(error)),
        }
    }
}

/// A value that inference may count on and that nobody gets; see [`returns!`](crate::returns).
#[inline(always)]
pub fn never<T>() -> T {
    loop {
        std::thread::park();
    }
}

impl<F: Future> Future for Function<F> {
    type Output = F::Output;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<F::Output> {
        project!(let state; body = self);
        let mut polling = state.enter();
        let polled = body.poll(task);
        polling.end = match polled {
            Poll::Ready(_) => End::Returned,
            Poll::Pending => End::Waiting,
        };
        polled
    }
}

impl<F, T, E> Future for Fallible<F>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = F::Output;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<F::Output> {
        project!(let state; body = self);
        let mut polling = state.enter();
        let polled = body.poll(task);
        polling.end = match polled {
            Poll::Ready(Ok(_)) => End::Returned,
            Poll::Ready(Err(_)) => End::Failed(std::any::type_name::<E>),
            Poll::Pending => End::Waiting,
        };
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
