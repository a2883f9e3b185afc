//! What is used of the Java Native Interface: functions by their places in the two tables that a JVM gives (JNI specification, "JNI Functions" and
//! "The Invocation API"), which have been the same since the first Android and since Java 1.4. No other crate is needed for this little.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

/// A reference of the JVM: an object, a class, an array, a buffer.
pub(super) type Object = *mut c_void;

/// A method of a class.
pub(super) type Method = *mut c_void;

/// A table of functions, behind two pointers.
type Table = *const *const *const c_void;

/// `JNI_VERSION_1_6`: the newest that Android has.
const VERSION: i32 = 0x0001_0006;

/// `JNI_OK`.
const OK: i32 = 0;

/// What the JVM gives to a thread. Good on that thread only, for as long as a call of the JVM lasts.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Env(Table);

/// The JVM itself. Good on every thread, for ever.
#[derive(Clone, Copy)]
pub(super) struct Vm(Table);

// SAFETY: the invocation table may be used from any thread, as its specification says.
unsafe impl Send for Vm {}
// SAFETY: as above.
unsafe impl Sync for Vm {}

/// `jvalue`.
#[repr(C)]
pub(super) union Value {
    pub(super) int: i32,
    pub(super) object: Object,
    /// Makes it as large as the JVM's.
    _long: i64,
}

/// `JNINativeMethod`.
#[repr(C)]
pub(super) struct NativeMethod {
    pub(super) name: *const c_char,
    pub(super) signature: *const c_char,
    pub(super) function: *const c_void,
}

/// `JavaVMAttachArgs`.
#[repr(C)]
struct AttachArguments {
    version: i32,
    name: *const c_char,
    group: Object,
}

/// The function at a place of a table.
///
/// # Safety
/// The table is one of the JVM's, and `F` the type its specification gives for that place.
unsafe fn function<F: Copy>(table: Table, place: usize) -> F {
    const { assert!(size_of::<F>() == size_of::<*const c_void>(), "a function pointer") };
    // SAFETY: the table has more than `place` entries, each of which is a function of the type the caller vouches for.
    unsafe { std::mem::transmute_copy(&*(*table).add(place)) }
}

fn found(object: Object) -> Option<Object> {
    (!object.is_null()).then_some(object)
}

// SAFETY of the blocks below: places and types are those of the specification, pointers are good for the length of the call, and an `Env` is
// only ever had where the JVM has called.
impl Env {
    /// The class of this name, sought by the loader of the class whose native method is running.
    pub(super) fn class(self, name: &CStr) -> Option<Object> {
        type F = unsafe extern "system" fn(Env, *const c_char) -> Object;
        found(unsafe { function::<F>(self.0, 6)(self, name.as_ptr()) })
    }

    /// A reference that outlives this call.
    pub(super) fn global(self, object: Object) -> Option<Object> {
        type F = unsafe extern "system" fn(Env, Object) -> Object;
        found(unsafe { function::<F>(self.0, 21)(self, object) })
    }

    pub(super) fn static_method(self, class: Object, name: &CStr, signature: &CStr) -> Option<Method> {
        type F = unsafe extern "system" fn(Env, Object, *const c_char, *const c_char) -> Method;
        found(unsafe { function::<F>(self.0, 113)(self, class, name.as_ptr(), signature.as_ptr()) })
    }

    /// Calls a static method that returns nothing. What it throws is thrown when the native method that runs returns.
    pub(super) fn call_static(self, class: Object, method: Method, arguments: &[Value]) {
        type F = unsafe extern "system" fn(Env, Object, Method, *const Value);
        unsafe { function::<F>(self.0, 143)(self, class, method, arguments.as_ptr()) }
    }

    /// A string; null, with an exception on its way, where the JVM has no memory for it.
    pub(super) fn text(self, text: &str) -> Object {
        type F = unsafe extern "system" fn(Env, *const u16, i32) -> Object;
        let units: Vec<u16> = text.encode_utf16().collect();
        unsafe { function::<F>(self.0, 163)(self, units.as_ptr(), units.len() as i32) }
    }

    /// Fills the beginning of a `long[]`. One that is too short makes the JVM throw.
    pub(super) fn set_longs(self, array: Object, values: &[i64]) {
        type F = unsafe extern "system" fn(Env, Object, i32, i32, *const i64);
        unsafe { function::<F>(self.0, 212)(self, array, 0, values.len() as i32, values.as_ptr()) }
    }

    /// Gives the native methods of a class their functions.
    pub(super) fn register(self, class: Object, methods: &[NativeMethod]) -> bool {
        type F = unsafe extern "system" fn(Env, Object, *const NativeMethod, i32) -> i32;
        unsafe { function::<F>(self.0, 215)(self, class, methods.as_ptr(), methods.len() as i32) == OK }
    }

    pub(super) fn vm(self) -> Option<Vm> {
        type F = unsafe extern "system" fn(Env, *mut Table) -> i32;
        let mut vm: Table = ptr::null();
        let told = unsafe { function::<F>(self.0, 219)(self, &raw mut vm) };
        (told == OK && !vm.is_null()).then_some(Vm(vm))
    }

    /// A direct buffer over memory that is not the JVM's.
    pub(super) fn direct_buffer(self, address: *const u8, length: usize) -> Object {
        type F = unsafe extern "system" fn(Env, *mut c_void, i64) -> Object;
        unsafe { function::<F>(self.0, 229)(self, address.cast_mut().cast(), length as i64) }
    }

    /// Where index 0 of a direct buffer lies and how many bytes it has; `None` for other buffers and for none.
    pub(super) fn direct_bytes(self, buffer: Object) -> Option<(*mut u8, usize)> {
        type Address = unsafe extern "system" fn(Env, Object) -> *mut u8;
        type Capacity = unsafe extern "system" fn(Env, Object) -> i64;
        found(buffer)?;
        let address = unsafe { function::<Address>(self.0, 230)(self, buffer) };
        let capacity = unsafe { function::<Capacity>(self.0, 231)(self, buffer) };
        (!address.is_null()).then_some((address, usize::try_from(capacity).ok()?))
    }
}

impl Vm {
    /// Makes the calling thread one of the JVM's that does not keep it from ending; false where it was one already, or cannot be.
    pub(super) fn attach(self, name: &CStr) -> bool {
        type Get = unsafe extern "system" fn(Table, *mut Table, i32) -> i32;
        type Attach = unsafe extern "system" fn(Table, *mut Table, *const AttachArguments) -> i32;
        let mut env: Table = ptr::null();
        if unsafe { function::<Get>(self.0, 6)(self.0, &raw mut env, VERSION) } == OK {
            return false;
        }
        let arguments = AttachArguments { version: VERSION, name: name.as_ptr(), group: ptr::null_mut() };
        unsafe { function::<Attach>(self.0, 7)(self.0, &raw mut env, &raw const arguments) == OK }
    }

    /// Undoes [`Self::attach`] on the thread that called it.
    pub(super) fn detach(self) {
        type F = unsafe extern "system" fn(Table) -> i32;
        unsafe { function::<F>(self.0, 5)(self.0) };
    }
}
