package dev.segue

import com.sun.jna.Pointer
import com.sun.jna.internal.Cleaner
import dev.segue.internal.PixelFormat
import dev.segue.internal.VideoFrame as NativeFrame
import dev.segue.internal.VideoOptions
import dev.segue.internal.VideoSource as NativeSource
import java.lang.ref.Reference
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.concurrent.atomic.AtomicLong

/** The seam's "captured just now". */
private const val NOW = -1L

/** What a time left out is. */
private fun Long?.orNow() = this ?: NOW

/** One plane of a picture: [height] rows of [width] bytes, [stride] bytes apart, from index 0 of [buffer] on. */
public class Plane
public constructor(public val buffer: ByteBuffer, public val width: Int, public val height: Int, public val stride: Int = width) {
    /** The sample of this place, 0 to 255. */
    public operator fun get(x: Int, y: Int): Int = buffer.get(y * stride + x).toInt() and 0xff
}

/**
 * A decoded picture: close it soon, it occupies a buffer of its decoder. [y], [u] and [v] are views of its memory, without a copy. They stay
 * valid for as long as anybody holds them, even after [close]; but then the buffer goes back only when they are collected. Who reads every
 * picture of a track does better with [copyTo] and one buffer of its own.
 */
public class VideoFrame internal constructor(frame: NativeFrame) : AutoCloseable {
    private val layout = Layout.of(frame)
    private var native: NativeFrame? = frame
    private var planes: List<Plane>? = null
    private var pinned = false

    /** In pixels. */
    public val width: Int
        get() = layout.width

    /** In pixels. */
    public val height: Int
        get() = layout.height

    /** Capture time in microseconds, from a zero of the publisher's own. */
    public val timestampUs: Long
        get() = layout.timestampUs

    /** Brightness, read-only. */
    public val y: Plane
        get() = planes()[0]

    /** Blue difference, half as wide and high, read-only. */
    public val u: Plane
        get() = planes()[1]

    /** Red difference, half as wide and high, read-only. */
    public val v: Plane
        get() = planes()[2]

    /** Bytes of the picture as I420 without gaps. */
    public val size: Int
        get() = width * height * 3 / 2

    /** Copies the picture as I420 without gaps into [target], which is [size] bytes further afterwards. */
    @Synchronized
    public fun copyTo(target: ByteBuffer) {
        val frame = held()
        if (target.isReadOnly || target.remaining() < size) {
            val detail = "${target.remaining()} bytes for a picture that takes $size: give it more, and a buffer that can be written"
            throw InvalidArgumentException(detail, "size")
        }
        if (!target.isDirect) {
            target.put(Native.call { frame.toBytes() })
            return
        }
        Native.call { frame.copyTo((target.address() + target.position()).toULong(), target.remaining().toULong()) }
        target.position(target.position() + size)
    }

    /** The picture as I420 without gaps, copied. */
    @Synchronized public fun toI420(): ByteArray = Native.call { held().toBytes() }

    /** Gives the buffer back; as far as views hold it, when they go. The frame is of no use after that. Closing twice does no harm. */
    @Synchronized
    override fun close() {
        if (!pinned) native?.destroy()
        native = null
        planes = null
    }

    override fun toString(): String = "VideoFrame(${width}x$height, $timestampUs us)"

    @Synchronized internal fun <T> lend(work: (NativeFrame) -> T): T = work(held())

    private fun held(): NativeFrame =
        native ?: throw InvalidStateException("this frame was closed: look at a frame before you close it", "released")

    @Synchronized
    private fun planes(): List<Plane> {
        val frame = held()
        planes?.let { return it }
        val length = layout.length.toInt()
        val memory = Views.pin(frame, layout.address, length)
        pinned = memory != null
        return layout.planes(memory ?: Views.copy(layout.address, length)).also { planes = it }
    }
}

/** What the seam tells of a frame in one call. */
private class Layout(
    val width: Int,
    val height: Int,
    val address: Long,
    val length: Long,
    val strideY: Int,
    val strideUv: Int,
    val timestampUs: Long,
) {
    fun planes(memory: ByteBuffer): List<Plane> {
        val luma = strideY * height
        val chroma = strideUv * (height / 2)
        val part = { from: Int, length: Int -> memory.part(from, length).asReadOnlyBuffer() }
        return listOf(
            Plane(part(0, luma), width, height, strideY),
            Plane(part(luma, chroma), width / 2, height / 2, strideUv),
            Plane(part(luma + chroma, chroma), width / 2, height / 2, strideUv),
        )
    }

    companion object {
        /** Eight words of 64 bits. */
        private const val BYTES = 64
        private val SCRATCH = ThreadLocal.withInitial { ByteBuffer.allocateDirect(BYTES).order(ByteOrder.nativeOrder()) }

        fun of(frame: NativeFrame): Layout {
            val words = SCRATCH.get()
            Native.call { frame.writeLayout(words.address().toULong()) }
            val word = { at: Int -> words.getLong(at * Long.SIZE_BYTES) }
            return Layout(word(0).toInt(), word(1).toInt(), word(2), word(3), word(4).toInt(), word(5).toInt(), word(6))
        }
    }
}

/** Views of native memory, which they keep. */
internal object Views {
    /**
     * Most native memory that views may keep, in bytes: the collector knows nothing of its size and takes its time. Beyond it views are of
     * copies, which the collector does count. About 45 pictures of 720p.
     */
    private const val LIMIT = 64L shl 20

    private val kept = AtomicLong()

    /** Whether a slice keeps the buffer it is of. On Android it keeps the memory only of buffers that Java allocated: views are of copies there. */
    private val slicesKeep = System.getProperty("java.vm.name") != "Dalvik"

    /** A view that keeps the frame until it, and everything sliced from it, is collected; null where views keep too much already, or could not keep it. */
    fun pin(frame: NativeFrame, address: Long, length: Int): ByteBuffer? {
        if (!slicesKeep) return null
        if (kept.addAndGet(length.toLong()) > LIMIT) {
            kept.addAndGet(-length.toLong())
            return null
        }
        val memory = Pointer(address).getByteBuffer(0, length.toLong())
        Cleaner.getCleaner().register(memory, Release(frame, length.toLong()))
        return memory
    }

    fun copy(address: Long, length: Int): ByteBuffer {
        val copy = ByteBuffer.allocateDirect(length)
        copy.put(Pointer(address).getByteBuffer(0, length.toLong())).clear()
        return copy
    }

    private class Release(private val frame: NativeFrame, private val length: Long) : Runnable {
        override fun run() {
            frame.destroy()
            kept.addAndGet(-length)
        }
    }
}

/** A picture of the application's own, I420 without gaps: three planes to write to and to push. It starts black. */
public class VideoBuffer(public val width: Int, public val height: Int) {
    init {
        if (width < 2 || height < 2 || width % 2 != 0 || height % 2 != 0 || width.toLong() * height > MAX_PIXELS) {
            throw InvalidArgumentException("a picture of $width x $height: both have to be even and at least 16", "size")
        }
    }

    /** All of it: Y, U, V. */
    public val data: ByteBuffer = ByteBuffer.allocateDirect(width * height * 3 / 2)

    /** Brightness. */
    public val y: Plane = Plane(data.part(0, width * height), width, height)

    /** Blue difference. */
    public val u: Plane = Plane(data.part(width * height, width * height / 4), width / 2, height / 2)

    /** Red difference. */
    public val v: Plane = Plane(data.part(width * height * 5 / 4, width * height / 4), width / 2, height / 2)

    init {
        for (at in 0 until width * height) data.put(at, BLACK)
        for (at in width * height until data.capacity()) data.put(at, GREY)
    }

    private companion object {
        /** More than any source takes, and far from where numbers overflow. */
        const val MAX_PIXELS = 1L shl 26
        const val BLACK: Byte = 16
        const val GREY: Byte = -128
    }
}

/** What [LocalParticipant.publish] takes. */
public sealed interface LocalSource

/**
 * Pictures to publish: `room.localParticipant.publish(source)`, then [push] from any thread. [encodings]: how many sizes are made, each half of
 * the one before (1 to 3). [maxKbps]: upper end of the largest one's rate, 0 for one chosen by size and frame rate; below it the rate
 * follows the path.
 */
public class VideoSource(
    public val width: Int,
    public val height: Int,
    fps: Float = 30f,
    encodings: Int = 3,
    maxKbps: Int = 0,
    content: VideoContent = VideoContent.CAMERA,
) : LocalSource {
    internal val native: NativeSource

    init {
        if (encodings !in 1..3) throw InvalidArgumentException("$encodings encodings: make 1 to 3", "size")
        listOf(width, height, maxKbps).find { it < 0 }?.let {
            throw InvalidArgumentException("$it is no number of pixels or kbit/s", "size")
        }
        val options =
            VideoOptions(width.toUInt(), height.toUInt(), fps, encodings.toUByte(), maxKbps.toUInt(), content.named())
        native = Native.call { NativeSource(options) }
    }

    /**
     * Adds a picture that was received: shared, not copied. [timestampUs] counts from any zero and grows; left out: captured just now. False
     * where it goes nowhere: the source is not published, or the encoder is behind.
     */
    public fun push(frame: VideoFrame, timestampUs: Long? = null): Boolean =
        frame.lend { Native.call { native.pushFrame(it, timestampUs.orNow()) } }

    /** The same of the application's own picture: copied once. */
    public fun push(picture: VideoBuffer, timestampUs: Long? = null): Boolean = push(picture.data.duplicate().clear(), timestampUs)

    /** The same of the remaining bytes of a direct buffer: I420 without gaps. */
    public fun push(i420: ByteBuffer, timestampUs: Long? = null): Boolean {
        val needed = width.toLong() * height * 3 / 2
        if (i420.remaining().toLong() != needed) {
            val detail = "${i420.remaining()} bytes for a picture of $width x $height: I420 without gaps takes $needed"
            throw InvalidArgumentException(detail, "size")
        }
        val luma = width * height
        val planes = i420.slice()
        return pushPlanes(
            Plane(planes.part(0, luma), width, height),
            Plane(planes.part(luma, luma / 4), width / 2, height / 2),
            Plane(planes.part(luma * 5 / 4, luma / 4), width / 2, height / 2),
            timestampUs,
        )
    }

    /** Adds a picture whose planes lie anywhere in direct buffers, rows at any distance: what cameras and decoders give. */
    public fun pushPlanes(y: Plane, u: Plane, v: Plane, timestampUs: Long? = null): Boolean {
        check(y, width, height)
        check(u, width / 2, height / 2)
        check(v, width / 2, height / 2)
        if (u.stride != v.stride) {
            throw InvalidArgumentException("rows of u and v have different distances: pass copies of the planes", "stride")
        }
        val (luma, blue, red) = listOf(y, u, v).map { it.buffer.address().toULong() }
        try {
            return Native.call {
                native.pushPlanes(PixelFormat.I420, luma, blue, red, y.stride.toUInt(), u.stride.toUInt(), timestampUs.orNow())
            }
        } finally {
            listOf(y, u, v).forEach { Reference.reachabilityFence(it.buffer) }
        }
    }

    /** Pictures that went nowhere because the encoder had no time. */
    public val dropped: Long
        get() = Native.call { native.dropped() }.toLong()

    /** Somebody takes what is pushed. */
    public val isPublished: Boolean
        get() = Native.call { native.isPublished() }

    private fun check(plane: Plane, width: Int, height: Int) {
        if (!plane.buffer.isDirect) {
            throw InvalidArgumentException("the buffer is not direct: make it by ByteBuffer.allocateDirect", "buffer")
        }
        if (plane.width != width || plane.height != height) {
            throw InvalidArgumentException("a plane of ${plane.width} x ${plane.height} for one of $width x $height", "size")
        }
        val needed = plane.stride.toLong() * (height - 1) + width
        if (plane.stride < width || plane.buffer.capacity() < needed) {
            val detail = "rows ${plane.stride} bytes apart in ${plane.buffer.capacity()} bytes: this plane takes $width bytes a row, $needed in all"
            throw InvalidArgumentException(detail, "stride")
        }
    }
}
