package dev.segue

import dev.segue.internal.AudioFrame as NativeFrame
import dev.segue.internal.AudioSource as NativeSource
import java.lang.ref.Reference
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.ShortBuffer

/** Samples per second and channel, everywhere. */
public const val SAMPLE_RATE: Int = 48_000

private const val SAMPLE_BYTES = 2

/** Sound to play, normally 20 ms. */
public class AudioFrame
internal constructor(
    /** Samples of 16 bits, little-endian, channels interleaved. */
    public val data: ByteArray,
    /** 1 or 2. */
    public val channels: Int,
    /** Time of the first sample in microseconds, from a zero of the publisher's own. */
    public val timestampUs: Long,
    /** Whether it was sent like this, rebuilt, made up, or is silence. */
    public val playout: Playout,
) {
    /** The samples, interleaved: a view without a copy, read-only. */
    public val samples: ShortBuffer
        get() = ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN).asShortBuffer().asReadOnlyBuffer()

    override fun toString(): String = "AudioFrame(${data.size / SAMPLE_BYTES / channels} samples, $channels channels, $playout)"

    internal companion object {
        fun of(frame: NativeFrame) = AudioFrame(frame.samples, frame.channels.toInt(), frame.timestampUs, frame.playout.named())
    }
}

/** Sound to publish: `room.localParticipant.publish(source)`, then [push] from any thread as it is captured. */
public class AudioSource(public val channels: Int = 1) : LocalSource {
    internal val native: NativeSource =
        if (channels in 1..2) Native.call { NativeSource(channels.toUByte()) }
        else throw InvalidArgumentException("$channels channels: give 1 or 2", "channels")

    private var scratch: ByteBuffer = ByteBuffer.allocateDirect(SAMPLE_RATE / 50 * SAMPLE_BYTES * channels).order(ByteOrder.nativeOrder())

    /** Adds samples captured just now, interleaved, any number of them; false while the source is not published. */
    @Synchronized
    public fun push(samples: ShortArray, offset: Int = 0, count: Int = samples.size - offset): Boolean {
        if (offset < 0 || count < 0 || count > samples.size - offset) {
            throw InvalidArgumentException("$count samples from $offset of an array of ${samples.size}", "size")
        }
        if (count == 0) return isPublished
        if (scratch.capacity() < count * SAMPLE_BYTES) {
            scratch = ByteBuffer.allocateDirect(count * SAMPLE_BYTES).order(ByteOrder.nativeOrder())
        }
        scratch.clear()
        scratch.asShortBuffer().put(samples, offset, count)
        return Native.call { native.pushAt(scratch.address().toULong(), count.toULong()) }
    }

    /** The same from the remaining bytes of a direct buffer in the machine's byte order, without a copy here. */
    public fun push(samples: ByteBuffer): Boolean {
        if (!samples.isDirect) throw InvalidArgumentException("the buffer is not direct: make it by ByteBuffer.allocateDirect", "buffer")
        if (samples.remaining() % (SAMPLE_BYTES * channels) != 0) {
            val detail = "${samples.remaining()} bytes are no whole samples of $channels channels with 16 bits each"
            throw InvalidArgumentException(detail, "size")
        }
        if (!samples.hasRemaining()) return isPublished
        val address = samples.address() + samples.position()
        try {
            return Native.call { native.pushAt(address.toULong(), (samples.remaining() / SAMPLE_BYTES).toULong()) }
        } finally {
            Reference.reachabilityFence(samples)
        }
    }

    /** A frame as it came. */
    public fun push(frame: AudioFrame): Boolean {
        if (frame.channels != channels) {
            throw InvalidArgumentException("a frame of ${frame.channels} channels for a source of $channels", "channels")
        }
        return push(ShortArray(frame.data.size / SAMPLE_BYTES).also { frame.samples.get(it) })
    }

    /** Frames of 20 ms that went nowhere because the encoder had no time. */
    public val dropped: Long
        get() = Native.call { native.dropped() }.toLong()

    /** Somebody takes what is pushed. */
    public val isPublished: Boolean
        get() = Native.call { native.isPublished() }
}
