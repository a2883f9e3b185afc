//! Pictures on a JVM without what a call of UniFFI costs there: the native methods of `dev.segue.Media`, over the same objects. A handle is what
//! UniFFI hands out for an object, a counted reference; who got it there lets it go here.
//!
//! Nothing here is checked by a generator: `Media.kt` declares what [`methods`] lists.

mod env;

use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use segue::MemoryHold;

use self::env::{Env, Method, NativeMethod, Object, Value, Vm};
use crate::error::CallError;
use crate::measure::measure_frame;
use crate::runtime::set_thread_start_hook;
use crate::video::{PixelFormat, VideoFrame, VideoSource, VideoStream};

/// The JVM this process has, and whom to tell of failures.
struct Host {
    vm: Vm,
    media: Object,
    fail: Method,
}

// SAFETY: the class is a global reference and the method belongs to it: both may be used from any thread.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

static HOST: OnceLock<Host> = OnceLock::new();

/// Steps of [`segue_media_open`], told when they fail.
const DONE: i32 = 0;
const NO_CLASS: i32 = 1;
const NO_METHOD: i32 = 2;
const NO_MACHINE: i32 = 3;
const NOT_REGISTERED: i32 = 4;

/// Called once by the package, from a native method of a class beside `dev.segue.Media`, before anything else of the SDK: from then on that
/// class's methods work, and every thread of the SDK is one of the JVM's from its first moment. 0, or the step that failed.
#[unsafe(no_mangle)]
extern "system" fn segue_media_open(env: Env) -> i32 {
    let Some(media) = env.class(c"dev/segue/Media").and_then(|class| env.global(class)) else { return NO_CLASS };
    let Some(fail) = env.static_method(media, c"fail", c"(ILjava/lang/String;Ljava/lang/String;)V") else { return NO_METHOD };
    let Some(vm) = env.vm() else { return NO_MACHINE };
    if !env.register(media, &methods()) {
        return NOT_REGISTERED;
    }
    // Opened a second time, by another class loader: the first goes on being told.
    let _ = HOST.set(Host { vm, media, fail });
    set_thread_start_hook(attach);
    DONE
}

/// The native methods of `dev.segue.Media`. One that is declared otherwise there is not found, and nothing is registered.
fn methods() -> [NativeMethod; 12] {
    let method = |name: &'static CStr, signature: &'static CStr, function: *const c_void| NativeMethod {
        name: name.as_ptr(),
        signature: signature.as_ptr(),
        function,
    };
    let planes = c"(JLjava/nio/ByteBuffer;Ljava/nio/ByteBuffer;Ljava/nio/ByteBuffer;IIJ)Z";
    [
        method(c"nextFrame", c"(J[J)J", next_frame as *const c_void),
        method(c"sampleFrame", c"(II[J)J", sample_frame as *const c_void),
        method(c"shareFrame", c"(J)J", share_frame as *const c_void),
        method(c"memory", c"(J)Ljava/nio/ByteBuffer;", memory as *const c_void),
        method(c"hold", c"(J)J", hold as *const c_void),
        method(c"copyTo", c"(JLjava/nio/ByteBuffer;I)V", copy_to as *const c_void),
        method(c"pushFrame", c"(JJJ)Z", push_frame as *const c_void),
        method(c"pushPlanes", planes, push_planes as *const c_void),
        method(c"freeStream", c"(J)V", free::<VideoStream> as *const c_void),
        method(c"freeFrame", c"(J)V", free::<VideoFrame> as *const c_void),
        method(c"freeSource", c"(J)V", free::<VideoSource> as *const c_void),
        method(c"freeHold", c"(J)V", free::<MemoryHold> as *const c_void),
    ]
}

/// Detaches a thread that was attached when it ends, as the JVM demands.
struct Attached(Cell<bool>);

impl Drop for Attached {
    fn drop(&mut self) {
        if self.0.get()
            && let Some(host) = HOST.get()
        {
            host.vm.detach();
        }
    }
}

thread_local! {
    static ATTACHED: Attached = const { Attached(Cell::new(false)) };
}

fn attach() {
    if let Some(host) = HOST.get()
        && host.vm.attach(c"segue")
    {
        ATTACHED.with(|attached| attached.0.set(true));
    }
}

/// Runs a native method: what goes wrong, a panic too, is thrown by the JVM when it returns.
fn answer<T>(env: Env, otherwise: T, work: impl FnOnce() -> Result<T, CallError>) -> T {
    let panicked = |_| Err(CallError::internal("panic", "the SDK failed: please report it"));
    match catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked) {
        Ok(answer) => answer,
        Err(error) => {
            if let Some(host) = HOST.get() {
                let (kind, code, detail) = parts(&error);
                let arguments = [Value { int: kind }, Value { object: env.text(code) }, Value { object: env.text(detail) }];
                env.call_static(host.media, host.fail, &arguments);
            }
            otherwise
        }
    }
}

/// An error as `Media.fail` takes it.
fn parts(error: &CallError) -> (i32, &str, &str) {
    match error {
        CallError::InvalidArgument { code, detail } => (0, code, detail),
        CallError::InvalidState { code, detail } => (1, code, detail),
        CallError::Left { code, detail } => (2, code, detail),
        CallError::Timeout { code, detail } => (3, code, detail),
        CallError::Refused { code, detail } => (4, code, detail),
        CallError::Cancelled { code, detail } => (5, code, detail),
        CallError::Callback { code, detail } => (6, code, detail),
        CallError::Internal { code, detail } => (7, code, detail),
    }
}

fn released() -> CallError {
    CallError::state("released", "this object was closed: use it before you close it")
}

/// The object of a handle.
///
/// # Safety
/// 0, or a handle of a `T` that is not let go before the call ends.
unsafe fn borrowed<'a, T>(handle: i64) -> Result<&'a T, CallError> {
    // SAFETY: UniFFI's handles, and ours, are addresses that `Arc::into_raw` gave.
    unsafe { (handle as usize as *const T).as_ref() }.ok_or_else(released)
}

fn give(env: Env, frame: Arc<VideoFrame>, layout: Object) -> i64 {
    env.set_longs(layout, &frame.layout().map(u64::cast_signed));
    Arc::into_raw(frame) as usize as i64
}

// SAFETY of the blocks below: `Media.kt` passes handles it got here or from UniFFI, of the type named, and keeps them for the length of the call.

extern "system" fn next_frame(env: Env, _class: Object, stream: i64, layout: Object) -> i64 {
    answer(env, 0, || {
        let stream: &VideoStream = unsafe { borrowed(stream) }?;
        Ok(stream.try_next().map_or(0, |frame| give(env, frame, layout)))
    })
}

extern "system" fn sample_frame(env: Env, _class: Object, width: i32, height: i32, layout: Object) -> i64 {
    answer(env, 0, || Ok(give(env, measure_frame(width.cast_unsigned(), height.cast_unsigned())?, layout)))
}

/// Another reference to the same picture.
extern "system" fn share_frame(env: Env, _class: Object, frame: i64) -> i64 {
    answer(env, 0, || {
        let shared: &VideoFrame = unsafe { borrowed(frame) }?;
        unsafe { Arc::increment_strong_count(&raw const *shared) };
        Ok(frame)
    })
}

/// A buffer over the picture, good until the frame is let go.
extern "system" fn memory(env: Env, _class: Object, frame: i64) -> Object {
    answer(env, std::ptr::null_mut(), || {
        let frame: &VideoFrame = unsafe { borrowed(frame) }?;
        Ok(env.direct_buffer(frame.data_ptr() as usize as *const u8, frame.data_len() as usize))
    })
}

/// Keeps the memory of the picture from being freed until the hold is, whoever writes to it meanwhile.
extern "system" fn hold(env: Env, _class: Object, frame: i64) -> i64 {
    answer(env, 0, || {
        let frame: &VideoFrame = unsafe { borrowed(frame) }?;
        Ok(Arc::into_raw(Arc::new(frame.hold_memory())) as usize as i64)
    })
}

extern "system" fn copy_to(env: Env, _class: Object, frame: i64, target: Object, position: i32) {
    answer(env, (), || {
        let frame: &VideoFrame = unsafe { borrowed(frame) }?;
        let (address, capacity) = env.direct_bytes(target).ok_or_else(not_direct)?;
        let position = usize::try_from(position).unwrap_or(usize::MAX).min(capacity);
        frame.copy_to((address as usize + position) as u64, (capacity - position) as u64).map(drop)
    })
}

extern "system" fn push_frame(env: Env, _class: Object, source: i64, frame: i64, timestamp_us: i64) -> bool {
    answer(env, false, || {
        let source: &VideoSource = unsafe { borrowed(source) }?;
        let frame: &VideoFrame = unsafe { borrowed(frame) }?;
        source.push_shared(frame, timestamp_us)
    })
}

#[allow(clippy::too_many_arguments, reason = "as the JVM passes them")]
extern "system" fn push_planes(
    env: Env,
    _class: Object,
    source: i64,
    y: Object,
    u: Object,
    v: Object,
    stride_y: i32,
    stride_uv: i32,
    timestamp_us: i64,
) -> bool {
    answer(env, false, || {
        let source: &VideoSource = unsafe { borrowed(source) }?;
        let (width, height) = source.size();
        let [y, u, v] = [(y, stride_y, 1), (u, stride_uv, 2), (v, stride_uv, 2)].map(|(buffer, stride, part)| {
            let (address, capacity) = env.direct_bytes(buffer).ok_or_else(not_direct)?;
            let needed = i64::from(stride) * (i64::from(height) / part - 1) + i64::from(width) / part;
            if i64::from(stride) < i64::from(width) / part || (capacity as i64) < needed {
                let detail = format!("rows {stride} bytes apart in {capacity} bytes: this plane takes {needed} in all");
                return Err(CallError::argument("stride", detail));
            }
            Ok(address as usize as u64)
        });
        let strides = (stride_y.cast_unsigned(), stride_uv.cast_unsigned());
        source.push_planes(PixelFormat::I420, y?, u?, v?, strides.0, strides.1, timestamp_us)
    })
}

/// Lets an object go, whose handle nobody uses any more.
extern "system" fn free<T>(env: Env, _class: Object, handle: i64) {
    answer(env, (), || {
        if handle != 0 {
            drop(unsafe { Arc::from_raw(handle as usize as *const T) });
        }
        Ok(())
    });
}

fn not_direct() -> CallError {
    CallError::argument("buffer", "the buffer is not direct: make it by ByteBuffer.allocateDirect")
}
