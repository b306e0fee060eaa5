//! The end of the process: `exit` runs our flush, and the signals that end a process by default
//! flush first. A signal that the program handles itself stays the program's.

/// Registers both; called once, when the exporter starts.
pub(crate) fn install() {
    imp::install();
}

/// Where `struct sigaction` has the layout below.
#[cfg(any(
    all(
        target_os = "linux",
        any(target_env = "gnu", target_env = "musl"),
        any(
            target_arch = "x86_64",
            target_arch = "aarch64",
            target_arch = "riscv64"
        ),
    ),
    target_os = "macos",
))]
#[expect(
    unsafe_code,
    reason = "std has neither atexit nor signals; std itself links the C library"
)]
mod imp {
    use std::ffi::{c_int, c_void};
    use std::io::Read;
    use std::os::fd::{AsRawFd, IntoRawFd};
    use std::os::unix::net::UnixStream;
    use std::ptr;
    use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

    use crate::{export, message};

    const SIGHUP: c_int = 1;
    const SIGINT: c_int = 2;
    const SIGTERM: c_int = 15;
    const SIG_DFL: usize = 0;
    #[cfg(target_os = "linux")]
    const SA_RESTART: c_int = 0x1000_0000;
    #[cfg(target_os = "macos")]
    const SA_RESTART: c_int = 0x2;

    /// `struct sigaction` of glibc, musl and macOS.
    #[repr(C)]
    struct Action {
        handler: usize,
        #[cfg(target_os = "linux")]
        mask: [u64; 16],
        #[cfg(target_os = "macos")]
        mask: u32,
        flags: c_int,
        #[cfg(target_os = "linux")]
        restorer: usize,
    }

    unsafe extern "C" {
        fn atexit(call: extern "C" fn()) -> c_int;
        fn sigaction(number: c_int, new: *const Action, old: *mut Action) -> c_int;
        fn raise(number: c_int) -> c_int;
        fn write(fd: c_int, bytes: *const c_void, count: usize) -> isize;
    }

    /// The end of a socket pair that the handler writes to; a write is all that it may do.
    static WAKE: AtomicI32 = AtomicI32::new(-1);
    /// The process that installed this: a fork has no exporter thread.
    static PROCESS: AtomicU32 = AtomicU32::new(0);

    /// The last spans, and all that wait.
    fn end() {
        message::end_all();
        export::flush();
    }

    fn is_installer() -> bool {
        PROCESS.load(Ordering::Relaxed) == std::process::id()
    }

    extern "C" fn at_exit() {
        if is_installer() {
            end();
        }
    }

    extern "C" fn on_signal(number: c_int) {
        if !is_installer() {
            end_by_default(number);
            return;
        }
        let byte = [number as u8];
        // SAFETY: `write` is async-signal-safe, the buffer is one valid byte, and the descriptor
        // stays open for the life of the process.
        unsafe {
            write(WAKE.load(Ordering::Relaxed), byte.as_ptr().cast(), 1);
        }
    }

    pub(super) fn install() {
        PROCESS.store(std::process::id(), Ordering::Relaxed);
        // SAFETY: `at_exit` is a function for the life of the process and does not unwind.
        unsafe {
            atexit(at_exit);
        }
        let Ok((near, far)) = UnixStream::pair() else {
            return;
        };
        WAKE.store(near.as_raw_fd(), Ordering::Relaxed);
        let thread = std::thread::Builder::new().name("spanloom-signal".to_owned());
        if thread.spawn(move || watch(far)).is_ok() {
            // The handler needs the descriptor for ever.
            let _ = near.into_raw_fd();
            for number in [SIGHUP, SIGINT, SIGTERM] {
                if handler(number) == Some(SIG_DFL) {
                    set_handler(number, on_signal as *const () as usize);
                }
            }
        }
    }

    /// Flushes when a signal came, then lets it end the process, unless the program has since
    /// installed its own handler (which may call ours, as `signal-hook` does): then that decides.
    fn watch(mut signals: UnixStream) {
        let mut number = [0u8];
        while signals.read_exact(&mut number).is_ok() {
            end();
            let number = c_int::from(number[0]);
            if handler(number) == Some(on_signal as *const () as usize) {
                end_by_default(number);
            }
        }
    }

    fn end_by_default(number: c_int) {
        set_handler(number, SIG_DFL);
        // SAFETY: `raise` is async-signal-safe and takes any number.
        unsafe {
            raise(number);
        }
    }

    fn handler(number: c_int) -> Option<usize> {
        let mut now = action(SIG_DFL);
        // SAFETY: with a null `new` this only writes the current action to a valid `Action`.
        let asked = unsafe { sigaction(number, ptr::null(), &mut now) };
        (asked == 0).then_some(now.handler)
    }

    fn set_handler(number: c_int, handler: usize) {
        // SAFETY: the action is valid, and `handler` is `SIG_DFL` or `on_signal`, which does only
        // what a signal handler may.
        unsafe {
            sigaction(number, &action(handler), ptr::null_mut());
        }
    }

    fn action(handler: usize) -> Action {
        Action {
            handler,
            #[cfg(target_os = "linux")]
            mask: [0; 16],
            #[cfg(target_os = "macos")]
            mask: 0,
            flags: SA_RESTART,
            #[cfg(target_os = "linux")]
            restorer: 0,
        }
    }
}

/// Elsewhere the last interval of spans is lost at the end.
#[cfg(not(any(
    all(
        target_os = "linux",
        any(target_env = "gnu", target_env = "musl"),
        any(
            target_arch = "x86_64",
            target_arch = "aarch64",
            target_arch = "riscv64"
        ),
    ),
    target_os = "macos",
)))]
mod imp {
    pub(super) fn install() {}
}
