package dev.segue

import dev.segue.internal.VideoOptions
import dev.segue.internal.VideoSource as NativeSource
import java.lang.ref.Reference
import java.nio.ByteBuffer

/** The seam's "captured just now". */
private const val NOW = -1L

/** What a time left out is. */
private fun Long?.orNow() = this ?: NOW

/**
 * One plane of a picture: [height] rows of [width] bytes, [stride] bytes apart. Of a [VideoFrame] it is a view without a copy, read-only, and ends
 * with the frame: afterwards it throws.
 */
public class Plane
private constructor(
    private val bytes: ByteBuffer,
    public val width: Int,
    public val height: Int,
    public val stride: Int,
    private val frame: VideoFrame?,
    private val offset: Int,
) {
    /** A plane of the application's own, from index 0 of [buffer] on. */
    public constructor(buffer: ByteBuffer, width: Int, height: Int, stride: Int = width) : this(buffer, width, height, stride, null, 0)

    /**
     * The bytes, from index 0 on. Of a [VideoFrame] they stay as they are for as long as anybody holds the buffer, even after the frame is closed: its
     * memory then goes back only when the buffer is collected. Where many pictures of a track are looked at, [VideoFrame.lend] costs less.
     */
    public val buffer: ByteBuffer by lazy { frame?.keep()?.part(offset, bytes.capacity())?.asReadOnlyBuffer() ?: bytes }

    /** The sample of this place, 0 to 255. */
    public operator fun get(x: Int, y: Int): Int = memory().get(y * stride + x).toInt() and 0xff

    /** Copies row [y] to [target], from index [at] on. */
    public fun copyRow(y: Int, target: ByteArray, at: Int = 0) {
        memory().part(y * stride, width).get(target, at, width)
    }

    /** The bytes where they lie; to be looked at and not to be kept. */
    internal fun memory(): ByteBuffer {
        frame?.requireOpen()
        return bytes
    }

    internal companion object {
        fun of(frame: VideoFrame, memory: ByteBuffer, offset: Int, width: Int, height: Int, stride: Int) =
            Plane(memory.part(offset, stride * height).asReadOnlyBuffer(), width, height, stride, frame, offset)
    }
}

/**
 * A decoded picture: close it soon, it occupies a buffer of its decoder. [y], [u] and [v] are views of its memory, without a copy, until it is
 * closed.
 */
public class VideoFrame internal constructor(private val handle: Long, layout: LongArray) : AutoCloseable {
    /** In pixels. */
    public val width: Int = layout[0].toInt()

    /** In pixels. */
    public val height: Int = layout[1].toInt()

    /** Capture time in microseconds, from a zero of the publisher's own. */
    public val timestampUs: Long = layout[6]

    private val address = layout[2]
    private val length = layout[3].toInt()
    private val strideY = layout[4].toInt()
    private val strideUv = layout[5].toInt()
    private val release = handle.let { Media.atEnd(this) { Media.freeFrame(it) } }
    @Volatile private var open = true
    private var memory: ByteBuffer? = null
    private var kept: ByteBuffer? = null

    /** Brightness. */
    public val y: Plane
        get() = Plane.of(this, memory(), 0, width, height, strideY)

    /** Blue difference, half as wide and high. */
    public val u: Plane
        get() = Plane.of(this, memory(), strideY * height, width / 2, height / 2, strideUv)

    /** Red difference, half as wide and high. */
    public val v: Plane
        get() = Plane.of(this, memory(), strideY * height + strideUv * (height / 2), width / 2, height / 2, strideUv)

    /** Bytes of the picture as I420 without gaps. */
    public val size: Int
        get() = width * height * 3 / 2

    /**
     * Lends the three planes to [work] as buffers of the memory they lie in, for what takes buffers (textures, encoders, files): without a copy, and
     * without anything that waits for the collector. They are good while [work] runs and the frame is open. A buffer that is looked at later does no
     * harm on a JVM, but shows other pictures; on Android it must not be.
     */
    public fun <T> lend(work: (y: Plane, u: Plane, v: Plane) -> T): T {
        val planes = listOf(y, u, v).map { Plane(it.memory(), it.width, it.height, it.stride) }
        try {
            return work(planes[0], planes[1], planes[2])
        } finally {
            Reference.reachabilityFence(this)
        }
    }

    /** Copies the picture as I420 without gaps into [target], which is [size] bytes further afterwards. */
    public fun copyTo(target: ByteBuffer) {
        if (target.isReadOnly || target.remaining() < size) {
            requireOpen()
            val detail = "${target.remaining()} bytes for a picture that takes $size: give it more, and a buffer that can be written"
            throw InvalidArgumentException(detail, "size")
        }
        if (!target.isDirect) {
            copyRows(target)
            return
        }
        lendHandle { Media.copyTo(it, target, target.position()) }
        target.position(target.position() + size)
    }

    /** The picture as I420 without gaps, copied. */
    public fun toI420(): ByteArray = ByteArray(size).also { copyTo(ByteBuffer.wrap(it)) }

    /** Gives the memory back; what [Plane.buffer] was taken of, when that is collected. The frame is of no use after that. Closing twice does no harm. */
    @Synchronized
    override fun close() {
        open = false
        release.clean()
    }

    override fun toString(): String = "VideoFrame(${width}x$height, $timestampUs us)"

    /** Keeps the frame from being closed while [work] runs with its handle. */
    @Synchronized
    internal fun <T> lendHandle(work: (Long) -> T): T {
        requireOpen()
        try {
            return work(handle)
        } finally {
            Reference.reachabilityFence(this)
        }
    }

    internal fun requireOpen() {
        if (!open) throw InvalidStateException("this frame was closed: look at a frame before you close it", "released")
    }

    /** The picture in a buffer that keeps it. */
    @Synchronized internal fun keep(): ByteBuffer = kept ?: lendHandle { Views.kept(it, length) }.also { kept = it }

    @Synchronized private fun memory(): ByteBuffer {
        requireOpen()
        return memory ?: Views.shared(handle, address, length).also { memory = it }
    }

    @Synchronized private fun copyRows(target: ByteBuffer) {
        for (plane in listOf(y, u, v)) {
            for (row in 0 until plane.height) target.put(plane.memory().part(row * plane.stride, plane.width))
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
    private val handle: Long

    init {
        if (encodings !in 1..3) throw InvalidArgumentException("$encodings encodings: make 1 to 3", "size")
        listOf(width, height, maxKbps).find { it < 0 }?.let {
            throw InvalidArgumentException("$it is no number of pixels or kbit/s", "size")
        }
        val options =
            VideoOptions(width.toUInt(), height.toUInt(), fps, encodings.toUByte(), maxKbps.toUInt(), content.named())
        native = Native.call { NativeSource(options) }
        val handle = native.uniffiCloneHandle()
        this.handle = handle
        Media.atEnd(this) { Media.freeSource(handle) }
    }

    /**
     * Adds a picture that was received: shared, not copied. [timestampUs] counts from any zero and grows; left out: captured just now. False
     * where it goes nowhere: the source is not published, or the encoder is behind.
     */
    public fun push(frame: VideoFrame, timestampUs: Long? = null): Boolean =
        frame.lendHandle { picture -> lendHandle { Media.pushFrame(it, picture, timestampUs.orNow()) } }

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
        return lendHandle {
            Media.pushPlanes(it, y.memory(), u.memory(), v.memory(), y.stride, u.stride, timestampUs.orNow())
        }
    }

    /** Pictures that went nowhere because the encoder had no time. */
    public val dropped: Long
        get() = Native.call { native.dropped() }.toLong()

    /** Somebody takes what is pushed. */
    public val isPublished: Boolean
        get() = Native.call { native.isPublished() }

    /** Runs [work] with the handle of this source, which lives at least until then. */
    private fun <T> lendHandle(work: (Long) -> T): T {
        try {
            return work(handle)
        } finally {
            Reference.reachabilityFence(this)
        }
    }

    private fun check(plane: Plane, width: Int, height: Int) {
        val buffer = plane.memory()
        if (!buffer.isDirect) {
            throw InvalidArgumentException("the buffer is not direct: make it by ByteBuffer.allocateDirect", "buffer")
        }
        if (plane.width != width || plane.height != height) {
            throw InvalidArgumentException("a plane of ${plane.width} x ${plane.height} for one of $width x $height", "size")
        }
        val needed = plane.stride.toLong() * (height - 1) + width
        if (plane.stride < width || buffer.capacity() < needed) {
            val detail = "rows ${plane.stride} bytes apart in ${buffer.capacity()} bytes: this plane takes $width bytes a row, $needed in all"
            throw InvalidArgumentException(detail, "stride")
        }
    }
}
