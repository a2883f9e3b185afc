package dev.segue

import com.sun.jna.JNIEnv
import com.sun.jna.Native as Jna
import dev.segue.internal.UniffiLib
import java.lang.ref.WeakReference
import java.nio.ByteBuffer

/** The library's name, or where it lies: as the generated code looks for it, so that both find the same one. */
private val LIBRARY: String = System.getProperty("uniffi.component.segue_ffi.libraryOverride") ?: "segue_ffi"

/** The one function of the media module that is found by its name. */
internal object MediaEntry {
    init {
        Jna.register(MediaEntry::class.java, LIBRARY)
    }

    @JvmStatic external fun segue_media_open(env: JNIEnv): Int
}

/**
 * Native methods for pictures, which the native library registers itself (`bindings/ffi/src/jni`): a call takes nanoseconds where one by UniFFI
 * takes microseconds. Handles are those of UniFFI: counted references, 0 for none. Whoever passes one keeps it until the call returns.
 */
internal object Media {
    /** What `nextFrame` tells of a picture: width, height, address, length, distance of rows of Y and of U and V, time. */
    const val LAYOUT = 8

    /** To be called once, before anything of the SDK runs: its threads are those of this machine from then on. */
    fun open() {
        val failed = MediaEntry.segue_media_open(JNIEnv.CURRENT)
        if (failed != 0) throw LinkageError("its media module did not open, step $failed")
    }

    /** The next picture of a stream, to be freed; 0 where none waits. */
    @JvmStatic external fun nextFrame(stream: Long, layout: LongArray): Long

    /** A black picture, to be freed: for benchmarks and tests. */
    @JvmStatic external fun sampleFrame(width: Int, height: Int, layout: LongArray): Long

    /** Another reference to a picture, to be freed. */
    @JvmStatic external fun shareFrame(frame: Long): Long

    /** A buffer over a picture. Its memory is good for as long as the picture or a hold is there. */
    @JvmStatic external fun memory(frame: Long): ByteBuffer

    /** Keeps the memory of a picture, though not what is written there, until it is freed. */
    @JvmStatic external fun hold(frame: Long): Long

    /** Copies a picture as I420 without gaps into a direct buffer from [position] on. */
    @JvmStatic external fun copyTo(frame: Long, target: ByteBuffer, position: Int)

    /** As [VideoSource.push]. */
    @JvmStatic external fun pushFrame(source: Long, frame: Long, timestampUs: Long): Boolean

    /** As [VideoSource.pushPlanes], of direct buffers. */
    @JvmStatic
    external fun pushPlanes(
        source: Long, y: ByteBuffer, u: ByteBuffer, v: ByteBuffer, strideY: Int, strideUv: Int, timestampUs: Long,
    ): Boolean

    @JvmStatic external fun freeStream(stream: Long)

    @JvmStatic external fun freeFrame(frame: Long)

    @JvmStatic external fun freeSource(source: Long)

    @JvmStatic external fun freeHold(hold: Long)

    /** Called by the native methods where they fail. */
    @JvmStatic
    fun fail(kind: Int, code: String, detail: String) {
        throw when (kind) {
            0 -> InvalidArgumentException(detail, code)
            1 -> InvalidStateException(detail, code)
            2 -> RoomLeftException(detail, code)
            3 -> ConnectTimeoutException(detail, code)
            4 -> RefusedException(detail, code)
            5 -> CallCancelledException(detail, code)
            6 -> CallbackException(detail, code)
            else -> InternalException(detail, code)
        }
    }

    /** Does [work] when nobody holds [owner] any more, or when the returned value is asked to; once. */
    fun atEnd(owner: Any, work: Runnable) = UniffiLib.CLEANER.register(owner, work)
}

/** Buffers over the memory of pictures. */
internal object Views {
    /**
     * Most native memory that buffers of closed pictures may keep, in bytes: the collector knows nothing of its size and takes its time. Beyond
     * it they are copies, which the collector does count. About 45 pictures of 720p.
     */
    private const val LIMIT = 64L shl 20

    /** Whether a slice keeps the buffer it is of. On Android it keeps the memory only of buffers that Java allocated: what is kept is a copy there. */
    private val slicesKeep = System.getProperty("java.vm.name") != "Dalvik"

    private val known = HashMap<Long, WeakReference<ByteBuffer>>()
    private var kept = 0L

    /**
     * The memory a picture lies in. It can be touched for as long as anybody holds the buffer; after the picture is let go, others are written
     * there. A decoder's pictures lie in the same few places again and again, so that the buffer is there already as a rule.
     */
    @Synchronized
    fun shared(frame: Long, address: Long, length: Int): ByteBuffer {
        known[address]?.get()?.let { if (it.capacity() == length) return it }
        val hold = Media.hold(frame)
        val memory = Media.memory(frame)
        Media.atEnd(memory) {
            Media.freeHold(hold)
            forget(address)
        }
        known[address] = WeakReference(memory)
        return memory
    }

    @Synchronized
    private fun forget(address: Long) {
        if (known[address]?.get() == null) known.remove(address)
    }

    /** A buffer that keeps the picture as it is until it, and everything sliced from it, is collected; or a copy. */
    fun kept(frame: Long, length: Int): ByteBuffer {
        if (!slicesKeep || !take(length)) {
            val copy = ByteBuffer.allocateDirect(length)
            copy.put(Media.memory(frame)).clear()
            return copy
        }
        val shared = Media.shareFrame(frame)
        val memory = Media.memory(shared)
        Media.atEnd(memory) {
            Media.freeFrame(shared)
            giveBack(length)
        }
        return memory
    }

    @Synchronized
    private fun take(length: Int): Boolean {
        if (kept + length > LIMIT) return false
        kept += length
        return true
    }

    @Synchronized
    private fun giveBack(length: Int) {
        kept -= length
    }
}
