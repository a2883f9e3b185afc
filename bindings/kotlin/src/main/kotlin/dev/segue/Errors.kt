package dev.segue

/**
 * The root of everything this library throws, but for `CancellationException`: [code] is stable and for programs, the message a sentence that
 * says what to do.
 */
public sealed class SegueException(message: String, public val code: String, cause: Throwable? = null) : Exception(message, cause)

/** What was passed cannot be used: an address, a size, a stride, a time. */
public class InvalidArgumentException internal constructor(message: String, code: String) : SegueException(message, code)

/** The call does not fit what was before: published twice, a frame that was released. */
public class InvalidStateException internal constructor(message: String, code: String) : SegueException(message, code)

/** The room was left, or its connection ended for good: connect again. */
public class RoomLeftException internal constructor(message: String, code: String = "left") : SegueException(message, code)

/** The relay did not answer in time. */
public class ConnectTimeoutException internal constructor(message: String, code: String) : SegueException(message, code)

/** The relay said no; [code] is its own, such as `token_invalid` or `room_full`. */
public class RefusedException internal constructor(message: String, code: String) : SegueException(message, code)

/** A function of the application that the SDK called has failed, such as a token provider. */
public class CallbackException internal constructor(message: String, code: String) : SegueException(message, code)

/** The call was cancelled from inside the SDK. A cancelled coroutine throws `CancellationException` instead. */
public class CallCancelledException internal constructor(message: String, code: String) : SegueException(message, code)

/** Not the application's fault. */
public class InternalException internal constructor(message: String, code: String, cause: Throwable? = null) :
    SegueException(message, code, cause)

/** The native library is not here (code `missing`), or it and its bindings are of different builds (`build`). */
public class NativeLibraryException internal constructor(message: String, code: String, cause: Throwable? = null) :
    SegueException(message, code, cause)
