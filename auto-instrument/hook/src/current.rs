//! What is current on a thread, and how it travels: over `await` points, to spawned tasks and to
//! other threads.
//!
//! A thread has a stack of *levels*, one for each scope that is entered. A level has a context, and
//! perhaps [messages](crate::message) that were received while it was the innermost. The levels of
//! futures, *frames*, are kept between their polls. An `async fn` outside of a trace, the most usual
//! of all frames, has none before it receives a message: it only counts.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll};

use crate::Carry;
use crate::context::{Context, Trace};
use crate::hand::{Hands, InHand};

/// One level of a thread's stack.
#[derive(Debug, Default)]
pub(crate) struct Level {
    context: Option<Context>,
    hands: Option<Box<Hands>>,
    /// How many frames there were when it was entered, itself among them.
    n_frames: u32,
    /// Whether the context was left, because the consumer of its message was asked again.
    has_left: bool,
    /// What is below, if a frame made the level after it had begun.
    below: Option<Box<Below>>,
}

#[derive(Debug)]
struct Below {
    level: Level,
    late: u32,
}

impl Level {
    const EMPTY: Self = Self {
        context: None,
        hands: None,
        n_frames: 0,
        has_left: false,
        below: None,
    };

    pub(crate) fn new(context: Option<Context>, hands: Option<Box<Hands>>) -> Self {
        Self {
            context,
            hands,
            ..Self::EMPTY
        }
    }

    /// The context, apart from messages in hand.
    pub(crate) fn context(&self) -> Option<&Context> {
        self.context.as_ref()
    }

    fn current(&self) -> Option<&Context> {
        match self.hands.as_ref().map(|hands| hands.in_hand()) {
            None | Some(InHand::Nothing) => self.context.as_ref(),
            Some(InHand::One(message)) => Some(message),
            Some(InHand::Several) => None,
        }
    }

    pub(crate) fn has_left(&self) -> bool {
        self.has_left
    }

    pub(crate) fn leave_trace(&mut self) {
        self.context = None;
        self.has_left = true;
    }

    pub(crate) fn hands(&mut self) -> &mut Hands {
        self.hands.get_or_insert_with(Box::default)
    }

    pub(crate) fn hands_if_any(&mut self) -> Option<&mut Hands> {
        self.hands.as_deref_mut()
    }

    pub(crate) fn into_hands(self) -> Option<Box<Hands>> {
        self.hands.filter(|hands| !hands.is_empty())
    }
}

thread_local! {
    static LEVEL: RefCell<Level> = const { RefCell::new(Level::EMPTY) };
    /// The frames of futures that are being polled, one within the other.
    static N_FRAMES: Cell<u32> = const { Cell::new(0) };
    /// Which of them was the last that made its level late; zero is none.
    static LATE: Cell<u32> = const { Cell::new(0) };
}

/// Whether this code runs in a future that has a frame.
pub(crate) fn is_in_frame() -> bool {
    N_FRAMES.with(Cell::get) > 0
}

/// Works on the innermost level; `None` when the thread ends.
pub(crate) fn with_level<R>(work: impl FnOnce(&mut Level) -> R) -> Option<R> {
    LEVEL
        .try_with(|slot| Some(work(&mut *slot.try_borrow_mut().ok()?)))
        .ok()?
}

/// Works on the level of the innermost frame, which is made if there is none yet.
pub(crate) fn with_own_level<R>(work: impl FnOnce(&mut Level) -> R) -> Option<R> {
    with_level(|level| {
        let n_frames = N_FRAMES.with(Cell::get);
        if level.n_frames < n_frames {
            let own = Level::new(level.current().cloned(), None);
            let below = Below {
                level: std::mem::replace(level, own),
                late: LATE.with(|late| late.replace(n_frames)),
            };
            level.n_frames = n_frames;
            level.below = Some(Box::new(below));
        }
        work(level)
    })
}

/// The span that is current on this thread.
#[must_use]
pub fn current() -> Option<Context> {
    with_current(Context::clone)
}

/// Looks at the current span without cloning it; `None` outside a trace.
pub(crate) fn with_current<R>(look: impl FnOnce(&Context) -> R) -> Option<R> {
    LEVEL
        .try_with(|slot| Some(look(slot.try_borrow().ok()?.current()?)))
        .ok()?
}

/// The current span, for work that goes on elsewhere.
fn taken_along() -> Option<Context> {
    with_level(|level| {
        if let Some(hands) = &level.hands {
            hands.carry();
        }
        level.current().cloned()
    })?
}

/// A level above what was current, until it is dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    before: Option<Level>,
    is_frame: bool,
    late: u32,
    // Levels belong to the stack of one thread.
    _thread: PhantomData<*const ()>,
}

impl Entered {
    fn enter(mut level: Level, is_frame: bool) -> Self {
        level.n_frames = N_FRAMES.with(Cell::get) + u32::from(is_frame);
        N_FRAMES.with(|frames| frames.set(level.n_frames));
        Self {
            before: with_level(|now| std::mem::replace(now, level)),
            is_frame,
            late: LATE.with(Cell::get),
            _thread: PhantomData,
        }
    }

    pub(crate) fn frame(level: Level) -> Self {
        Self::enter(level, true)
    }

    /// Ends the level as a drop does, and returns it.
    pub(crate) fn leave(mut self) -> Level {
        self.restore().unwrap_or_default()
    }

    fn restore(&mut self) -> Option<Level> {
        if std::mem::take(&mut self.is_frame) {
            N_FRAMES.with(|frames| frames.set(frames.get().saturating_sub(1)));
            // A scope that the future left behind is above a late level, which goes with it.
            LATE.with(|late| late.set(self.late));
        }
        let before = self.before.take()?;
        with_level(|now| std::mem::replace(now, before))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        drop(self.restore());
    }
}

/// A frame without a level of its own, as long as it receives no message.
#[derive(Debug)]
pub(crate) struct Counted {
    _thread: PhantomData<*const ()>,
}

impl Counted {
    #[inline]
    pub(crate) fn enter() -> Self {
        N_FRAMES.with(|frames| frames.set(frames.get() + 1));
        Self {
            _thread: PhantomData,
        }
    }

    /// Ends the frame as a drop does; its level, if it made one.
    #[inline]
    pub(crate) fn leave(self) -> Option<Level> {
        std::mem::forget(self);
        Self::end()
    }

    #[inline]
    fn end() -> Option<Level> {
        let own = N_FRAMES.with(|frames| frames.replace(frames.get().saturating_sub(1)));
        (LATE.with(Cell::get) == own).then(|| Self::take_late(own))?
    }

    #[cold]
    fn take_late(own: u32) -> Option<Level> {
        with_level(|level| {
            if level.n_frames != own {
                return None;
            }
            let below = *level.below.take()?;
            LATE.with(|late| late.set(below.late));
            Some(std::mem::replace(level, below.level))
        })?
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        drop(Self::end());
    }
}

/// Makes a context current until it is dropped; then the one before is current again.
#[derive(Debug)]
pub struct Scope(Entered);

impl Scope {
    /// Enters `context`; `None` leaves every trace.
    #[must_use]
    pub fn enter(context: Option<Context>) -> Self {
        Self(Entered::enter(Level::new(context, None), false))
    }

    pub(crate) fn leave(self) -> Level {
        self.0.leave()
    }
}

/// A function or future has returned: what it received and the program still has, its caller got.
/// Was it in a frame, then so must be its caller: a task's message is no affair of the thread that
/// happens to run it.
pub(crate) fn returned(level: Level, was_in_frame: bool) {
    let Some(inner) = level.into_hands().filter(|_| is_in_frame() == was_in_frame) else {
        return;
    };
    let _ = with_own_level(|level| {
        let is_at_work = level.is_at_work();
        level.hands().take_over(*inner, is_at_work);
    });
}

/// A function within the handling of a message asked for the next one, and so did those around it
/// that are part of the same handling.
pub(crate) fn left(trace: &Arc<Trace>) {
    let _ = with_level(|level| {
        let is_same = |context: &Context| Arc::ptr_eq(&context.trace, trace);
        if level.context.as_ref().is_some_and(is_same) {
            level.leave_trace();
        }
    });
}

/// What a future has of its thread's stack between polls.
#[derive(Debug, Default)]
pub struct Frame {
    context: Option<Context>,
    hands: Option<Box<Hands>>,
}

impl Frame {
    /// A frame in the current context.
    #[must_use]
    pub fn carried() -> Self {
        Self {
            context: taken_along(),
            hands: None,
        }
    }

    fn enter(&mut self) -> Entered {
        Entered::frame(Level::new(self.context.take(), self.hands.take()))
    }

    fn leave(&mut self, entered: Entered, has_returned: bool) {
        let mut level = entered.leave();
        self.context = level.context.take();
        if has_returned {
            returned(level, true);
        } else {
            self.hands = level.into_hands();
        }
    }
}

/// The same for a future that is polled through a shared reference.
#[derive(Debug, Default)]
pub struct SharedFrame(Mutex<Frame>);

impl SharedFrame {
    /// A frame in the current context.
    #[must_use]
    pub fn carried() -> Self {
        Self(Mutex::new(Frame::carried()))
    }

    /// Polls the future in its frame.
    pub fn poll<T>(&self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        let mut frame = std::mem::take(&mut *self.lock());
        let entered = frame.enter();
        let polled = poll();
        frame.leave(entered, polled.is_ready());
        *self.lock() = frame;
        polled
    }

    fn lock(&self) -> MutexGuard<'_, Frame> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Binds `future` to the current context: for tasks that are spawned.
pub fn carry<F>(future: F) -> Carry<F> {
    Carry {
        frame: Frame::carried(),
        future,
    }
}

impl<F: Future> Future for Carry<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<F::Output> {
        let (frame, future) = project(self);
        let entered = frame.enter();
        let polled = future.poll(task);
        // What a task leaves over went elsewhere, and not to whoever polls it.
        frame.leave(entered, false);
        polled
    }
}

#[expect(
    unsafe_code,
    reason = "structural pinning, which std offers no safe way to"
)]
fn project<F>(carry: Pin<&mut Carry<F>>) -> (&mut Frame, Pin<&mut F>) {
    // SAFETY: `future` is never moved out of a pinned `Carry`: this is the only access to it, and
    // `Carry` has no `Drop` and is `Unpin` only when `F` is. `frame` is never pinned.
    unsafe {
        let this = carry.get_unchecked_mut();
        (&mut this.frame, Pin::new_unchecked(&mut this.future))
    }
}

/// Binds a closure to the current context: for work that moves to another thread.
pub fn carry_call<F: FnOnce() -> R, R>(call: F) -> impl FnOnce() -> R {
    let context = taken_along();
    move || {
        let _scope = Scope::enter(context);
        call()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(span_id: u64) -> Context {
        Context::new(Trace::new(7, true, "".into(), 3, None), span_id)
    }

    fn current_span() -> Option<u64> {
        current().map(|context| context.span_id)
    }

    #[test]
    fn a_scope_ends_where_it_began() {
        assert_eq!(current_span(), None);
        let outer = Scope::enter(Some(context(1)));
        {
            let _inner = Scope::enter(Some(context(2)));
            assert_eq!(current_span(), Some(2));
        }
        assert_eq!(current_span(), Some(1));
        drop(outer);
        assert_eq!(current_span(), None);
    }

    #[test]
    fn carried_work_runs_in_the_context_of_its_maker() {
        let scope = Scope::enter(Some(context(9)));
        let call = carry_call(current_span);
        let mut future = Box::pin(carry(async { current_span() }));
        drop(scope);
        assert_eq!(std::thread::spawn(call).join().ok().flatten(), Some(9));
        let mut task = TaskContext::from_waker(std::task::Waker::noop());
        assert_eq!(future.as_mut().poll(&mut task), Poll::Ready(Some(9)));
        assert_eq!(current_span(), None);
    }
}
