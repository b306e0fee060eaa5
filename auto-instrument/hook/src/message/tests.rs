//! The table of the module, row by row. Consumers are queues here, and polls are made by hand.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context as Task, Poll, Waker};

use super::*;
use crate::context::enter_foreign;
use crate::current::{Scope, SharedFrame, carry};
use crate::export;
use crate::function::enter;
use crate::sink::testing::ended;
use crate::span::{Finished, Kind};

crate::futures!(SpanloomFn);

/// A message as a library hands it out. It comes in the trace of its number.
#[derive(Debug)]
struct Message {
    number: u64,
    _token: Token,
}

/// Gives its messages one after the other, and then nothing.
#[derive(Debug)]
struct Consumer {
    id: usize,
    waiting: VecDeque<u64>,
    is_sampled: bool,
}

fn consumer(id: usize, waiting: impl IntoIterator<Item = u64>) -> Consumer {
    Consumer {
        id,
        waiting: waiting.into_iter().collect(),
        is_sampled: true,
    }
}

impl Consumer {
    fn take(&mut self, is_blocking: bool) -> Option<Message> {
        asked(self.id);
        let number = self.waiting.pop_front()?;
        let flags = u8::from(self.is_sampled);
        let token = received(Received {
            scope: "test",
            destination: "orders",
            traceparent: Some(&format!("00-{number:032x}-{number:016x}-{flags:02x}")),
            consumer: self.id,
            is_blocking,
            ..Received::default()
        });
        if let Some(open) = &token.0 {
            GIVEN.with_borrow_mut(|given| given.insert(number, Arc::downgrade(open)));
        }
        Some(Message {
            number,
            _token: token,
        })
    }

    /// As the `poll_next` of a library: no frame of its own. `None` at the end, as of a stream.
    async fn next(&mut self) -> Option<Message> {
        let mut has_waited = false;
        poll_fn(move |_| match self.take(false) {
            Some(message) => Poll::Ready(Some(message)),
            None if std::mem::replace(&mut has_waited, true) => Poll::Ready(None),
            None => Poll::Pending,
        })
        .await
    }

    /// The same, and when nothing comes it waits for ever.
    async fn wait(&mut self) -> Message {
        poll_fn(|_| self.take(false).map_or(Poll::Pending, Poll::Ready)).await
    }
}

/// The number of the message in whose trace this code runs.
fn in_trace() -> Option<u64> {
    current::current().map(|context| context.trace.id as u64)
}

thread_local! {
    /// What this test's consumers gave, by number. Who looked at the messages of other tests would
    /// have them while those are dropped.
    static GIVEN: RefCell<BTreeMap<u64, Weak<Open>>> = const { RefCell::new(BTreeMap::new()) };
}

fn open(number: u64) -> Option<Arc<Open>> {
    GIVEN.with_borrow(|given| given.get(&number)?.upgrade())
}

fn is_open(number: u64) -> bool {
    open(number).is_some()
}

/// Waits for one poll.
async fn pause() {
    let mut has_waited = false;
    poll_fn(|_| match std::mem::replace(&mut has_waited, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    let polled = future.poll(&mut Task::from_waker(Waker::noop()));
    assert_eq!(in_trace(), None, "what was current in a task left it");
    polled
}

fn finish<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    for _ in 0..100 {
        if let Poll::Ready(output) = poll_once(future.as_mut()) {
            return output;
        }
    }
    panic!("the future waits for ever");
}

/// As a set of futures does.
fn poll_member<F: Future>(
    frame: &SharedFrame,
    future: Pin<&mut F>,
    task: &mut Task,
) -> Poll<F::Output> {
    let mut poll = frame.enter();
    let polled = future.poll(task);
    if polled.is_ready() {
        poll.returned();
    }
    polled
}

/// Runs a task to its end.
fn run<F: Future>(task: F) -> F::Output {
    finish(pin!(carry(task)))
}

/// An `async fn` of the workspace.
macro_rules! function {
    ($name:literal, $body:expr) => {
        SpanloomFn {
            state: crate::state!($name),
            body: $body,
        }
    };
}

/// Handles a message, with a wait; where it was at the end.
async fn handle(message: Message) -> (u64, Option<u64>) {
    function!("handle", async move {
        pause().await;
        (message.number, in_trace())
    })
    .await
}

fn named<'a>(spans: &'a [Finished], name: &str, number: u64) -> &'a Finished {
    spans
        .iter()
        .find(|span| span.name == name && span.trace.id == u128::from(number))
        .unwrap_or_else(|| panic!("no {name} of {number}: {spans:#?}"))
}

#[test]
fn a_message_is_in_hand_while_the_loop_handles_it() {
    let spans = ended(|| {
        run(async {
            let mut orders = consumer(1, [101, 102]);
            while let Some(message) = orders.next().await {
                let number = message.number;
                assert_eq!(in_trace(), Some(number));
                pause().await;
                assert_eq!(in_trace(), Some(number));
                assert_eq!(handle(message).await, (number, Some(number)));
                assert_eq!(in_trace(), None);
                assert!(!is_open(number));
            }
        });
    });
    for number in [101, 102] {
        let process = named(&spans, "process orders", number);
        assert_eq!(
            (process.kind, process.parent_id),
            (Kind::Consumer, Some(number))
        );
        let handler = named(&spans, "handle", number);
        assert_eq!(handler.parent_id, Some(process.span_id));
        assert!(process.end_unix_ns >= handler.start_unix_ns);
    }
}

#[test]
fn a_message_that_is_decoded_and_dropped_is_in_hand_no_longer() {
    run(async {
        let mut orders = consumer(2, [111]);
        let message = orders.wait().await;
        let begun = function!("early", async {
            pause().await;
            in_trace()
        });
        let mut begun = pin!(begun);
        assert!(
            poll_fn(|task| Poll::Ready(begun.as_mut().poll(task)))
                .await
                .is_pending()
        );
        drop(message);
        assert_eq!(in_trace(), None);
        // What began before keeps its span.
        assert_eq!(begun.await, Some(111));
    });
}

#[test]
fn a_timer_beside_a_consumer_runs_in_no_trace() {
    run(async {
        let mut orders = consumer(3, [121, 122]);
        for is_order in [true, false, true] {
            // The timer's branch wins where `select!` does not even ask the consumer.
            if is_order {
                let message = orders.wait().await;
                let number = message.number;
                assert_eq!(handle(message).await, (number, Some(number)));
            } else {
                pause().await;
                assert_eq!(in_trace(), None);
            }
        }
    });
}

#[test]
fn a_task_for_each_message_has_its_own() {
    let spans = ended(|| {
        let mut tasks = Vec::new();
        run(async {
            let mut orders = consumer(4, [131, 132, 133]);
            while let Some(message) = orders.next().await {
                tasks.push(Box::pin(carry(handle(message))));
            }
            assert_eq!(in_trace(), None);
        });
        for (mut task, number) in tasks.into_iter().zip(131..) {
            assert!(poll_once(task.as_mut()).is_pending());
            assert!(is_open(number));
            assert_eq!(finish(task.as_mut()), (number, Some(number)));
            assert!(!is_open(number));
        }
    });
    for number in 131..134 {
        let process = named(&spans, "process orders", number);
        assert_eq!(
            named(&spans, "handle", number).parent_id,
            Some(process.span_id)
        );
    }
}

#[test]
fn futures_of_an_unordered_set_run_each_with_its_message() {
    run(async {
        let mut orders = consumer(5, [141, 142, 143]);
        let mut set = Vec::new();
        while let Some(message) = orders.next().await {
            // Without a function around it: nothing but the set's own frame.
            let number = message.number;
            let handler = async move {
                let _message = message;
                for _ in 0..2 {
                    assert_eq!(in_trace(), Some(number));
                    pause().await;
                }
            };
            set.push((SharedFrame::carried(), Box::pin(handler)));
            // As `for_each_concurrent` does: all that are there, after each message.
            poll_fn(|task| {
                set.retain_mut(|(frame, handler)| {
                    poll_member(frame, handler.as_mut(), task).is_pending()
                });
                Poll::Ready(())
            })
            .await;
        }
        assert_eq!(set.len(), 2);
    });
}

#[test]
fn what_buffers_futures_has_no_message_itself() {
    run(async {
        let mut orders = consumer(24, [311, 312]);
        let mut buffered = Vec::new();
        for number in 311..313 {
            let message =
                poll_fn(|_| passing_on(|| orders.take(false).map_or(Poll::Pending, Poll::Ready)));
            let handler = Box::pin(handle(message.await));
            assert_eq!(in_trace(), Some(number));
            buffered.push((SharedFrame::carried(), handler));
            passed_on();
            assert_eq!(in_trace(), None);
        }
        for ((frame, handler), number) in buffered.iter_mut().zip(311..) {
            let handled = poll_fn(|task| poll_member(frame, handler.as_mut(), task)).await;
            assert_eq!(handled, (number, Some(number)));
            assert_eq!(in_trace(), None);
        }
        // Items that come without a message leave the one in hand where it is.
        orders.waiting.push_back(313);
        let _message = orders.wait().await;
        passing_on(|| ());
        passed_on();
        assert_eq!(in_trace(), Some(313));
    });
}

#[test]
fn what_an_inner_frame_gathers_is_not_in_hand_outside() {
    run(async {
        let mut orders = consumer(25, [321, 322]);
        let mut batch = Vec::new();
        for _ in 0..2 {
            // As `select_all` does.
            let frame = SharedFrame::default();
            let mut next = Box::pin(orders.wait());
            batch.push(poll_fn(|task| poll_member(&frame, next.as_mut(), task)).await);
            assert_eq!(in_trace(), Some(321).filter(|_| batch.len() == 1));
        }
    });
}

#[test]
fn of_messages_that_are_gathered_none_is_in_hand() {
    run(async {
        let mut orders = consumer(6, [151, 152, 153, 154, 155]);
        let mut batch = Vec::new();
        for _ in 0..4 {
            batch.push(orders.wait().await);
        }
        assert_eq!(in_trace(), None);
        // One after the other, as the consumer of a peekable stream has them.
        for message in batch.drain(..3) {
            assert!(is_open(message.number));
            assert_eq!(in_trace(), None);
            drop(message);
        }
        let last = orders.wait().await;
        assert_eq!(in_trace(), None, "154 is still there");
        drop((batch, last));
        orders.waiting.push_back(156);
        let _next = orders.wait().await;
        assert_eq!(in_trace(), Some(156));
    });
}

#[test]
fn consumers_joined_in_one_task_have_a_message_each() {
    async fn serve(mut consumer: Consumer) {
        function!("serve", async move {
            while let Some(message) = consumer.next().await {
                for _ in 0..3 {
                    pause().await;
                    assert_eq!(in_trace(), Some(message.number));
                }
            }
            assert_eq!(in_trace(), None);
        })
        .await;
    }
    run(async {
        let mut first = pin!(serve(consumer(7, [161, 162])));
        let mut second = pin!(serve(consumer(8, [166])));
        let mut done = [false; 2];
        poll_fn(|task| {
            done[0] = done[0] || first.as_mut().poll(task).is_ready();
            done[1] = done[1] || second.as_mut().poll(task).is_ready();
            if done == [true; 2] {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    });
}

#[test]
fn of_two_messages_in_one_function_none_is_known_to_be_worked_on() {
    run(async {
        let (mut orders, mut letters) = (consumer(9, [171, 172]), consumer(10, [176]));
        let order = orders.wait().await;
        let letter = letters.wait().await;
        assert_eq!(in_trace(), None);
        drop(order);
        assert_eq!(in_trace(), Some(176));
        // The other's next message comes while the letter is kept.
        let order = orders.wait().await;
        assert_eq!(in_trace(), None);
        drop(letter);
        assert_eq!(in_trace(), Some(order.number));
    });
}

#[test]
fn a_message_that_a_function_returns_is_its_callers() {
    fn wait_for(orders: &mut Consumer) -> impl Future<Output = Message> + '_ {
        function!("wait_for", orders.wait())
    }
    let spans = ended(|| {
        run(async {
            let mut orders = consumer(11, [181, 182, 183]);
            for number in 181..184 {
                let message = wait_for(&mut orders).await;
                assert_eq!((message.number, in_trace()), (number, Some(number)));
                pause().await;
                assert_eq!(handle(message).await, (number, Some(number)));
            }
        });
    });
    for number in 181..184 {
        named(&spans, "handle", number);
    }
    // Each message was dropped before the next was asked for, in no trace.
    assert!(spans.iter().all(|span| span.name != "wait_for"));
}

#[test]
fn a_function_that_asks_for_the_next_message_ends_where_it_asks() {
    let spans = ended(|| {
        run(async {
            let mut orders = consumer(12, [191]);
            let first = orders.wait().await;
            let inner = function!("outer", async {
                let inner = function!("inner", async {
                    pause().await;
                    assert_eq!(in_trace(), Some(191));
                    drop(first);
                    let waits = poll_fn(|task| {
                        let mut next = pin!(orders.wait());
                        Poll::Ready(next.as_mut().poll(task).is_pending())
                    });
                    assert!(waits.await);
                    let asked = export::now_unix_ns();
                    pause().await;
                    while export::now_unix_ns() <= asked {}
                    orders.waiting.push_back(192);
                    (asked, orders.next().await)
                });
                let (asked, message) = inner.await;
                assert_eq!(in_trace(), Some(192));
                (asked, message)
            });
            let (asked, message) = inner.await;
            assert_eq!((message.map(|m| m.number), in_trace()), (Some(192), None));
            LAST_ASKED.with(|at| at.set(asked));
        });
    });
    let asked = LAST_ASKED.with(Cell::get);
    for name in ["inner", "outer"] {
        assert!(named(&spans, name, 191).end_unix_ns <= asked);
    }
}

thread_local! {
    static LAST_ASKED: Cell<u64> = const { Cell::new(0) };
}

#[test]
fn on_a_thread_of_its_own_functions_hand_messages_up_as_well() {
    /// Finishes with one message and takes the next.
    fn next(orders: &mut Consumer, before: Option<Message>) -> Option<Message> {
        let _entered = enter(crate::site!("next"));
        drop(before);
        orders.take(true)
    }
    let spans = ended(|| {
        let mut orders = consumer(13, [201, 202, 203]);
        let mut order = None;
        while let Some(taken) = next(&mut orders, order.take()) {
            assert_eq!(in_trace(), Some(taken.number));
            drop(enter(crate::site!("handle")));
            assert_eq!(in_trace(), Some(taken.number));
            order = Some(taken);
        }
        assert_eq!(in_trace(), None);
    });
    for number in 201..204 {
        let handler = named(&spans, "handle", number);
        let next = named(&spans, "next", number);
        assert_eq!(next.parent_id, handler.parent_id);
        assert!(next.start_unix_ns >= handler.end_unix_ns);
    }
}

#[test]
fn a_handler_that_asks_another_consumer_stays_with_its_message() {
    let spans = ended(|| {
        run(async {
            let mut orders = consumer(14, [211]);
            let order = orders.wait().await;
            let handler = function!("handle", async {
                let mut replies = consumer(15, [216, 217]);
                while let Some(reply) = replies.next().await {
                    assert_eq!(in_trace(), Some(211));
                    pause().await;
                    assert!(is_open(reply.number));
                }
                assert_eq!(in_trace(), Some(211));
            });
            handler.await;
            assert_eq!(in_trace(), Some(order.number));
        });
    });
    assert_eq!(named(&spans, "process orders", 216).parent_id, Some(216));
}

#[test]
fn a_request_that_is_being_answered_stays_current() {
    let trace_of = |span: &Span| span.context().map(|context| context.trace.id as u64);
    let mut server = Span::root("test", Kind::Server, "GET /");
    let own = trace_of(&server);
    let task = server.in_scope(|| {
        carry(async move {
            let mut orders = consumer(16, [221, 222]);
            let order = orders.wait().await;
            assert_eq!(in_trace(), own);
            drop(order);
            pause().await;
            // The request has its answer now, and this task goes on.
            orders.wait().await.number + in_trace().unwrap_or_default()
        })
    });
    let mut task = pin!(task);
    assert!(poll_once(task.as_mut()).is_pending());
    server = Span::none();
    assert!(server.context().is_none());
    assert_eq!(finish(task), 222 + 222);
}

#[test]
fn the_span_of_another_library_stays_current() {
    run(async {
        let theirs = Some((7_u128.to_be_bytes(), 2_u64.to_be_bytes(), true));
        let _theirs = enter_foreign(theirs, "", None);
        let _order = consumer(17, [231]).wait().await;
        assert_eq!(in_trace(), Some(7));
    });
}

#[test]
fn without_a_frame_a_message_is_in_hand_nowhere() {
    let mut orders = consumer(18, [241, 242]);
    let message = poll_once(pin!(orders.wait()));
    assert!(is_open(241));
    drop(message);
    assert!(!is_open(241));
    // Nor may a function return one to the thread.
    let message = poll_once(pin!(function!("wait_for", orders.wait())));
    assert!(is_open(242));
    drop(message);
}

#[test]
fn a_task_that_ends_with_a_message_leaves_none_to_who_runs_it() {
    let mut orders = consumer(23, [301]);
    let message = run(async {
        let message = carry(orders.wait()).await;
        assert_eq!(in_trace(), None);
        message
    });
    assert!(is_open(message.number));
    assert_eq!(in_trace(), None);
}

#[test]
fn a_message_without_a_trace_begins_one() {
    run(async {
        let token = received(Received {
            scope: "test",
            destination: "_INBOX.x1",
            is_temporary: true,
            ..Received::default()
        });
        let now = current::current();
        let now = now.filter(Context::is_sampled).map(|now| now.span_id);
        assert!(now.is_some_and(|id| open_messages().contains_key(&id)));
        drop(token);
        assert_eq!(in_trace(), None);
    });
}

#[test]
fn the_context_of_an_unsampled_message_goes_on() {
    let spans = ended(|| {
        run(async {
            let mut orders = consumer(19, [251]);
            orders.is_sampled = false;
            let order = orders.wait().await;
            let handler = function!("handle", async {
                pause().await;
                current::current().map(|context| context.traceparent())
            });
            let sent = handler.await.unwrap_or_default();
            assert!(sent.starts_with("00-000000000000000000000000000000fb-"));
            assert!(sent.ends_with("-00"));
            drop(order);
            assert_eq!(in_trace(), None);
        });
    });
    assert!(spans.is_empty(), "{spans:#?}");
}

#[test]
fn a_callback_runs_in_the_span_of_its_message() {
    let token = begin(Received {
        scope: "test",
        traceparent: Some("00-00000000000000000000000000000105-0000000000000001-01"),
        ..Received::default()
    });
    let mut task = pin!(token.in_scope(|| carry(async { in_trace() })));
    assert_eq!(in_trace(), None);
    drop(token);
    assert_eq!(finish(task.as_mut()), Some(0x105));
}

#[test]
fn an_sdks_span_for_the_message_takes_the_place_of_ours() {
    let spans = ended(|| {
        run(async {
            let mut orders = consumer(20, [271]);
            let order = orders.wait().await;
            let ours = current::current().expect("it is in hand");
            let before = crate::give_way(ours.trace_id(), ours.span_id());
            assert_eq!(before, Some(Some(271_u64.to_be_bytes())));
            drop(order);
        });
    });
    assert!(spans.is_empty(), "{spans:#?}");
}

#[test]
fn a_panic_marks_the_span_of_its_message() {
    let spans = ended(|| {
        let caught = std::panic::catch_unwind(|| {
            run(async {
                let _order = consumer(21, [281]).wait().await;
                let _scope = Scope::enter(None);
                panic!("no cup");
            });
        });
        assert!(caught.is_err());
        assert_eq!(in_trace(), None);
    });
    let process = named(&spans, "process orders", 281);
    assert_eq!(process.error.as_deref(), Some("panic"));
}

#[test]
fn spans_that_are_open_end_with_the_process() {
    let spans = ended(|| {
        run(async {
            let order = consumer(22, [291]).wait().await;
            // As `end_all` does, which would end those of other tests, too.
            *open(291).expect("it is open").span() = Span::none();
            drop(order);
        });
    });
    assert_eq!(spans.len(), 1);
}
