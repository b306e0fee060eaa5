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
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll};

use crate::Carry;
use crate::context::{Context, Trace};
use crate::hand::{Hands, InHand};
use crate::held::{Held, pinned, unpinned};

/// One level of a thread's stack.
#[derive(Debug, Default)]
pub(crate) struct Level {
    context: Option<Context>,
    hands: Option<Box<Hands>>,
    /// How many frames there were when it was entered, itself among them.
    n_frames: u32,
    /// Whether the context was left, because the consumer of its message was asked again.
    has_left: bool,
    /// What its [`Entered`] knows it by; zero for the lowest level and late ones, which have none.
    serial: u32,
    /// What [`LATE`] was, if a frame made the level after it had begun.
    late_before: Option<u32>,
}

impl Level {
    const EMPTY: Self = Self {
        context: None,
        hands: None,
        n_frames: 0,
        has_left: false,
        serial: 0,
        late_before: None,
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
    /// The innermost last. The lowest is made when it is needed.
    static LEVELS: RefCell<Vec<Level>> = const { RefCell::new(Vec::new()) };
    static SERIAL: Cell<u32> = const { Cell::new(0) };
    /// The frames of futures that are being polled, one within the other.
    static N_FRAMES: Cell<u32> = const { Cell::new(0) };
    /// Which of them was the last that made its level late; zero is none.
    static LATE: Cell<u32> = const { Cell::new(0) };
}

/// Whether this code runs in a future that has a frame.
pub(crate) fn is_in_frame() -> bool {
    N_FRAMES.with(Cell::get) > 0
}

/// Works on the stack, which has at least one level; `None` when the thread ends.
fn with_levels<R>(work: impl FnOnce(&mut Vec<Level>) -> R) -> Option<R> {
    LEVELS
        .try_with(|slot| {
            let mut levels = slot.try_borrow_mut().ok()?;
            if levels.is_empty() {
                levels.push(Level::EMPTY);
            }
            Some(work(&mut levels))
        })
        .ok()?
}

/// Works on the innermost level; `None` when the thread ends.
pub(crate) fn with_level<R>(work: impl FnOnce(&mut Level) -> R) -> Option<R> {
    with_levels(|levels| levels.last_mut().map(work))?
}

/// Works on the level of the innermost frame, which is made if there is none yet.
pub(crate) fn with_own_level<R>(work: impl FnOnce(&mut Level) -> R) -> Option<R> {
    with_levels(|levels| {
        let n_frames = N_FRAMES.with(Cell::get);
        let innermost = levels.last()?;
        if innermost.n_frames < n_frames {
            levels.push(Level {
                n_frames,
                late_before: Some(LATE.with(|late| late.replace(n_frames))),
                ..Level::new(innermost.current().cloned(), None)
            });
        }
        levels.last_mut().map(work)
    })?
}

/// The span that is current on this thread.
#[must_use]
pub fn current() -> Option<Context> {
    with_current(Context::clone)
}

/// Looks at the current span without cloning it; `None` outside a trace.
pub(crate) fn with_current<R>(look: impl FnOnce(&Context) -> R) -> Option<R> {
    LEVELS
        .try_with(|slot| Some(look(slot.try_borrow().ok()?.last()?.current()?)))
        .ok()?
}

/// The current span, for work that goes on elsewhere.
#[must_use]
pub fn taken_along() -> Option<Context> {
    with_level(|level| {
        if let Some(hands) = &level.hands {
            hands.carry();
        }
        level.current().cloned()
    })?
}

/// Puts a level above what is current; its serial.
fn push(mut level: Level, is_frame: bool) -> u32 {
    level.n_frames = N_FRAMES.with(Cell::get) + u32::from(is_frame);
    N_FRAMES.with(|frames| frames.set(level.n_frames));
    let serial = SERIAL.with(Cell::get).checked_add(1).unwrap_or(1);
    SERIAL.with(|last| last.set(serial));
    level.serial = serial;
    with_levels(|levels| levels.push(level));
    serial
}

/// Takes a level away again; `None` when it has gone with another, or the thread ends.
fn pop(serial: u32, is_frame: bool) -> Option<Level> {
    let (level, above) = with_levels(|levels| {
        let at = levels.iter().rposition(|level| level.serial == serial)?;
        // What a future left behind goes with its frame. Another level may be outlived by those
        // above it: a function may return a guard of another tracing library.
        let above = match is_frame {
            true => levels.split_off(at + 1),
            false => Vec::new(),
        };
        Some((levels.remove(at), above))
    })??;
    if is_frame {
        // Whatever panicked within has not said so.
        N_FRAMES.with(|frames| frames.set(level.n_frames.saturating_sub(1)));
    }
    // Not before the stack is free again.
    drop(above);
    Some(level)
}

/// Begins a poll of what has a frame; the serial of its level.
pub(crate) fn enter_frame(level: Level) -> u32 {
    push(level, true)
}

/// Ends a poll that [`enter_frame`] began on this thread.
pub(crate) fn leave_frame(serial: u32) -> Level {
    pop(serial, true).unwrap_or_default()
}

/// Begins a frame without a level of its own, as long as it receives no message.
pub(crate) fn count() {
    N_FRAMES.with(|frames| frames.set(frames.get() + 1));
}

/// Ends a frame that only counted; its level, if it made one.
pub(crate) fn uncount() -> Option<Level> {
    let own = N_FRAMES.with(|frames| frames.replace(frames.get().saturating_sub(1)));
    (LATE.with(Cell::get) == own).then(|| take_late(own))?
}

#[cold]
fn take_late(own: u32) -> Option<Level> {
    let mut levels = with_levels(|levels| {
        let is_own = |level: &Level| level.late_before.is_some() && level.n_frames == own;
        let at = levels.iter().rposition(is_own)?;
        Some(levels.split_off(at))
    })??;
    let level = levels.swap_remove(0);
    LATE.with(|late| late.set(level.late_before.unwrap_or_default()));
    Some(level)
}

/// Makes a context current until it is dropped; then the one before is current again.
#[derive(Debug)]
pub struct Scope {
    serial: u32,
    // Levels belong to the stack of one thread.
    _thread: PhantomData<*const ()>,
}

impl Scope {
    /// Enters `context`; `None` leaves every trace.
    #[must_use]
    pub fn enter(context: Option<Context>) -> Self {
        Self {
            serial: push(Level::new(context, None), false),
            _thread: PhantomData,
        }
    }

    /// Ends the scope as a drop does; its level.
    pub(crate) fn leave(self) -> Level {
        let serial = self.serial;
        std::mem::forget(self);
        pop(serial, false).unwrap_or_default()
    }
}

impl Drop for Scope {
    #[inline(never)]
    fn drop(&mut self) {
        drop(pop(self.serial, false));
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

/// What a future has of its thread's stack between polls: a frame, for a library to put beside a
/// future. A poll holds it as well, since the task may be gone when its poll ends.
#[derive(Debug, Default)]
pub struct SharedFrame {
    /// A shared [`Kept`].
    kept: Held,
}

#[derive(Debug, Default)]
struct Kept {
    levels: Mutex<(Option<Context>, Option<Box<Hands>>)>,
    /// Whether there is anything, so that nothing is locked for a task outside of traces.
    is_used: AtomicBool,
    /// Whether the future has ended, so that nothing is kept any more.
    has_ended: AtomicBool,
}

impl Kept {
    fn put(&self, context: Option<Context>, hands: Option<Box<Hands>>) {
        if self.has_ended.load(Ordering::Acquire) {
            return;
        }
        let is_used = context.is_some() || hands.is_some();
        if self.is_used.swap(is_used, Ordering::AcqRel) || is_used {
            *self.lock() = (context, hands);
        }
    }

    fn take(&self) -> (Option<Context>, Option<Box<Hands>>) {
        match self.is_used.load(Ordering::Acquire) {
            true => std::mem::take(&mut *self.lock()),
            false => (None, None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, (Option<Context>, Option<Box<Hands>>)> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedFrame {
    /// A frame in the current context.
    #[must_use]
    #[inline(never)]
    pub fn carried() -> Self {
        let kept = Kept::default();
        kept.put(taken_along(), None);
        Self {
            kept: Held::new(Arc::new(kept)),
        }
    }

    fn kept(&self) -> Option<&Arc<Kept>> {
        self.kept.get()
    }

    /// Begins a poll of the future, which ends when the result is dropped.
    #[inline(never)]
    pub fn enter(&self) -> FramePoll {
        let kept = self.kept().cloned();
        let (context, hands) = kept.as_deref().map(Kept::take).unwrap_or_default();
        FramePoll {
            serial: enter_frame(Level::new(context, hands)),
            kept,
            has_returned: false,
            _thread: PhantomData,
        }
    }

    /// Lets go of what the frame keeps: the future has ended.
    #[inline(never)]
    pub fn end(&self) {
        if let Some(kept) = self.kept() {
            kept.has_ended.store(true, Ordering::Release);
            drop(kept.take());
        }
    }
}

/// A poll of a future with a [`SharedFrame`].
#[derive(Debug)]
#[must_use = "the poll ends when this is dropped"]
pub struct FramePoll {
    kept: Option<Arc<Kept>>,
    serial: u32,
    has_returned: bool,
    // Levels belong to the stack of one thread.
    _thread: PhantomData<*const ()>,
}

impl FramePoll {
    /// The future has returned to who polls it, who got what it received and did not drop.
    pub fn returned(&mut self) {
        self.has_returned = true;
    }
}

impl Drop for FramePoll {
    #[inline(never)]
    fn drop(&mut self) {
        let mut level = leave_frame(self.serial);
        let context = level.context.take();
        let mut hands = None;
        if self.has_returned {
            returned(level, true);
        } else {
            // What a task leaves over went elsewhere, and not to whoever polls it.
            hands = level.into_hands();
        }
        if let Some(kept) = &self.kept {
            kept.put(context, hands);
        }
    }
}

/// Binds `future` to the current context: for what is polled elsewhere.
#[inline(always)]
pub fn carry<F>(future: F) -> Carry<F> {
    Carry {
        frame: SharedFrame::carried(),
        future,
    }
}

impl<F: Future> Future for Carry<F> {
    type Output = F::Output;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<F::Output> {
        let Self { frame, future } = unpinned!(self);
        let _poll = frame.enter();
        pinned!(future).poll(task)
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
    fn a_guard_may_outlive_the_function_that_returned_it() {
        let function = Scope::enter(Some(context(1)));
        let returned = Scope::enter(Some(context(2)));
        drop(function);
        assert_eq!(current_span(), Some(2));
        drop(returned);
        assert_eq!(current_span(), None);
    }

    #[test]
    fn what_a_future_leaves_behind_goes_with_its_poll() {
        let mut future = Box::pin(carry(async {
            std::mem::forget(Scope::enter(Some(context(1))));
            current_span()
        }));
        let mut task = TaskContext::from_waker(std::task::Waker::noop());
        let polled = future.as_mut().poll(&mut task);
        assert_eq!((polled, current_span()), (Poll::Ready(Some(1)), None));
        assert!(!is_in_frame());
    }

    #[test]
    fn frames_whose_levels_came_late_end_one_by_one() {
        count();
        assert_eq!(with_own_level(|level| level.n_frames), Some(1));
        count();
        count();
        assert_eq!(with_own_level(|level| level.n_frames), Some(3));
        assert_eq!(uncount().map(|level| level.n_frames), Some(3));
        assert!(uncount().is_none());
        assert_eq!(uncount().map(|level| level.n_frames), Some(1));
        assert_eq!(LEVELS.with_borrow(Vec::len), 1);
    }

    #[test]
    fn a_task_lets_go_of_its_trace_when_it_ends() {
        let context = context(1);
        let trace = Arc::downgrade(&context.trace);
        let scope = Scope::enter(Some(context));
        let frame = SharedFrame::carried();
        drop(scope);
        for _ in 0..2 {
            let _poll = frame.enter();
            assert_eq!(current_span(), Some(1));
        }
        assert_eq!((current_span(), trace.strong_count()), (None, 1));
        let poll = frame.enter();
        frame.end();
        assert_eq!(current_span(), Some(1));
        drop(poll);
        assert_eq!(trace.strong_count(), 0);
        let _poll = frame.enter();
        assert_eq!(current_span(), None);
    }

    #[test]
    fn a_task_may_be_gone_when_its_poll_ends() {
        let context = context(1);
        let trace = Arc::downgrade(&context.trace);
        let scope = Scope::enter(Some(context));
        let frame = SharedFrame::carried();
        drop(scope);
        let poll = frame.enter();
        drop(frame);
        assert_eq!(current_span(), Some(1));
        drop(poll);
        assert_eq!((current_span(), trace.strong_count()), (None, 0));
    }

    #[test]
    fn a_panic_of_what_is_carried_ends_its_poll() {
        let scope = Scope::enter(Some(context(1)));
        let future = carry(std::future::poll_fn(|_| -> Poll<()> {
            panic!("as a task may")
        }));
        drop(scope);
        let mut future = Box::pin(future);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut task = TaskContext::from_waker(std::task::Waker::noop());
            future.as_mut().poll(&mut task)
        }));
        assert!(caught.is_err());
        assert_eq!((current_span(), is_in_frame()), (None, false));
    }

    #[test]
    fn carried_work_runs_in_the_context_of_its_maker() {
        let scope = Scope::enter(Some(context(9)));
        let context = taken_along();
        let call = move || {
            let _scope = Scope::enter(context);
            current_span()
        };
        let mut future = Box::pin(carry(async { current_span() }));
        drop(scope);
        assert_eq!(std::thread::spawn(call).join().ok().flatten(), Some(9));
        let mut task = TaskContext::from_waker(std::task::Waker::noop());
        assert_eq!(future.as_mut().poll(&mut task), Poll::Ready(Some(9)));
        assert_eq!(current_span(), None);
    }
}
