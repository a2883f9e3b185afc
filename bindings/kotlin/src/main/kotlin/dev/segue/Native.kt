package dev.segue

import com.sun.jna.Native as Jna
import com.sun.jna.Pointer
import dev.segue.internal.CallException
import dev.segue.internal.InternalException as NativePanic
import dev.segue.internal.SDK_VERSION
import dev.segue.internal.sdkVersion
import java.nio.ByteBuffer
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob

/** The native library, checked before it is used first, and what calls of it have in common. */
internal object Native {
    private val failure: NativeLibraryException? = check()

    /** For what has to end although nobody waits for it any more. */
    val scope: CoroutineScope = CoroutineScope(SupervisorJob() + Dispatchers.Default)

    private fun check(): NativeLibraryException? =
        try {
            mismatch(sdkVersion(), SDK_VERSION).also { if (it == null) Media.open() }
        } catch (missing: UnsatisfiedLinkError) {
            // JNA throws the same for a library that lacks a function and for none at all.
            if (missing.message.orEmpty().contains("looking up function")) stale(missing)
            else NativeLibraryException(
                "the native library of segue does not load here (${missing.message}): use a jar made for this system", "missing", missing,
            )
        } catch (stale: LinkageError) {
            stale(stale)
        } catch (stale: RuntimeException) {
            // What UniFFI throws where a checksum differs.
            stale(stale)
        }

    private fun stale(cause: Throwable) =
        NativeLibraryException("the native library and its bindings do not fit (${cause.message}): use the jar of one build", "build", cause)

    /** What is wrong with a library of version [found] under bindings for [expected]. */
    fun mismatch(found: String, expected: String): NativeLibraryException? =
        if (found == expected) null
        else NativeLibraryException("the native library is $found, the bindings are for $expected: use the jar of one build", "build")

    fun require() {
        failure?.let { throw NativeLibraryException(it.message.orEmpty(), it.code, it) }
    }

    /** The public form of what the native library threw. */
    fun translate(error: Throwable): SegueException =
        when (error) {
            is SegueException -> error
            is CallException.InvalidArgument -> InvalidArgumentException(error.detail, error.code)
            is CallException.InvalidState -> InvalidStateException(error.detail, error.code)
            is CallException.Left -> RoomLeftException(error.detail, error.code)
            is CallException.Timeout -> ConnectTimeoutException(error.detail, error.code)
            is CallException.Refused -> RefusedException(error.detail, error.code)
            is CallException.Cancelled -> CallCancelledException(error.detail, error.code)
            is CallException.Callback -> CallbackException(error.detail, error.code)
            is CallException.Internal -> InternalException(error.detail, error.code)
            else -> InternalException("the SDK failed: $error", "panic", error)
        }

    /** Runs a call of the native library; what it throws comes out in its public form. */
    inline fun <T> call(work: () -> T): T {
        require()
        try {
            return work()
        } catch (error: CallException) {
            throw translate(error)
        } catch (error: NativePanic) {
            throw translate(error)
        }
    }
}

/** The member of the same name of another enumeration. */
internal inline fun <reified T : Enum<T>> Enum<*>.named(): T = enumValueOf(name)

/** Where index 0 of a direct buffer lies. The buffer has to stay reachable for as long as the address is used. */
internal fun ByteBuffer.address(): Long = Pointer.nativeValue(Jna.getDirectBufferPointer(this))

/** [length] bytes from [from] on. As `slice(from, length)`, which Android has only since version 14. */
internal fun ByteBuffer.part(from: Int, length: Int): ByteBuffer {
    val all = duplicate()
    all.limit(from + length)
    all.position(from)
    return all.slice()
}
