package dev.segue

import dev.segue.internal.EncodedFrame as NativeFrame
import dev.segue.internal.EncodedSource as NativeSource
import dev.segue.internal.VideoEncoding as NativeEncoding
import java.nio.ByteBuffer

/** An encoded frame as it was received: an H.264 access unit in Annex B form, or an Opus packet. */
public class EncodedFrame
internal constructor(
    /** The encoded bytes. */
    public val payload: ByteArray,
    /** Audio or video. */
    public val kind: TrackKind,
    /** Can be decoded without any frame before it. */
    public val isKeyframe: Boolean,
    /** Which encoding, 0 the largest. */
    public val encoding: Int,
    /** Which temporal layer. */
    public val temporal: Int,
    /** Counts the frames of the encoding. */
    public val number: Long,
    /** Capture time in microseconds, from a zero of the publisher's own. */
    public val timestampUs: Long,
) {
    override fun toString(): String = "EncodedFrame($kind, ${payload.size} bytes, keyframe=$isKeyframe)"

    internal companion object {
        fun of(frame: NativeFrame) =
            EncodedFrame(
                frame.payload,
                frame.kind.named(),
                frame.keyframe,
                frame.encoding.toInt(),
                frame.temporal.toInt(),
                frame.number.toLong(),
                frame.timestampUs,
            )
    }
}

/** Frames to publish that the application encodes itself, by MediaCodec for one. */
public sealed class EncodedSource(internal val native: NativeSource) : LocalSource {
    private var scratch: ByteBuffer = ByteBuffer.allocateDirect(FIRST)

    /** Somebody takes what is pushed. */
    public val isPublished: Boolean
        get() = Native.call { native.isPublished() }

    /** Hands the remaining bytes of a buffer of any kind over: where they lie if it is direct, else by way of one that is kept for it. */
    @Synchronized
    internal fun lend(payload: ByteBuffer, push: (ByteBuffer) -> Boolean): Boolean {
        if (payload.isDirect) return Native.call { push(payload.slice()) }
        if (scratch.capacity() < payload.remaining()) scratch = ByteBuffer.allocateDirect(payload.remaining())
        scratch.clear()
        scratch.put(payload.duplicate()).flip()
        return Native.call { push(scratch) }
    }

    private companion object {
        /** Bytes: most frames of a call are shorter. */
        const val FIRST = 16 shl 10
    }
}

/** A number that crosses as one byte. */
private fun small(value: Int, most: Int, what: String): UByte {
    if (value !in 0..most) throw InvalidArgumentException("$what of $value: give 0 to $most", "size")
    return value.toUByte()
}

/** H.264 access units to publish (Annex B, constrained baseline). [encodings]: largest first, one to three. */
public class EncodedVideoSource(public val encodings: List<VideoEncoding>) : EncodedSource(make(encodings)) {
    /**
     * Adds an access unit, the remaining bytes of a buffer; false while the source is not published. [timestampUs] counts from any zero.
     * [refersBack]: how many frames of the same encoding back lies the one it refers to; left out: the one before, none for a keyframe.
     */
    public fun push(
        payload: ByteBuffer,
        timestampUs: Long,
        keyframe: Boolean,
        encoding: Int = 0,
        temporal: Int = 0,
        discardable: Boolean = false,
        refersBack: Int = if (keyframe) 0 else 1,
    ): Boolean {
        val layer = small(encoding, BYTE, "an encoding") to small(temporal, BYTE, "a temporal layer")
        val back = small(refersBack, BYTE, "a distance")
        return lend(payload) { native.pushVideo(it, timestampUs, layer.first, layer.second, keyframe, discardable, back) }
    }

    /** The same of an array. */
    public fun push(
        payload: ByteArray,
        timestampUs: Long,
        keyframe: Boolean,
        encoding: Int = 0,
        temporal: Int = 0,
        discardable: Boolean = false,
        refersBack: Int = if (keyframe) 0 else 1,
    ): Boolean = push(ByteBuffer.wrap(payload), timestampUs, keyframe, encoding, temporal, discardable, refersBack)

    /** Encodings whose next frame should be a keyframe, each once for a request. Ask before you encode a frame. */
    public fun takeKeyframeRequests(): List<Int> = Native.call { native.takeKeyframeRequests() }.map { it.toInt() }

    private companion object {
        const val BYTE = 255

        fun make(encodings: List<VideoEncoding>): NativeSource {
            encodings.flatMap { listOf(it.width, it.height, it.maxKbps) }.find { it < 0 }?.let {
                throw InvalidArgumentException("$it is no number of pixels or kbit/s", "size")
            }
            val announced = encodings.map { NativeEncoding(it.width.toUInt(), it.height.toUInt(), it.maxKbps.toUInt()) }
            return Native.call { NativeSource.video(announced) }
        }
    }
}

/** Opus packets of 20 ms to publish. */
public class EncodedAudioSource : EncodedSource(Native.call { NativeSource.audio() }) {
    /**
     * Adds a packet, the remaining bytes of a buffer; false while the source is not published. [level]: how loud it is in -dBov, 0 loudest, 127
     * silent (RFC 6464).
     */
    public fun push(payload: ByteBuffer, timestampUs: Long, level: Int = USUAL, voice: Boolean = true): Boolean {
        val loudness = small(level, SILENT, "a level")
        return lend(payload) { native.pushAudio(it, timestampUs, loudness, voice) }
    }

    /** The same of an array. */
    public fun push(payload: ByteArray, timestampUs: Long, level: Int = USUAL, voice: Boolean = true): Boolean =
        push(ByteBuffer.wrap(payload), timestampUs, level, voice)

    private companion object {
        /** Somebody who speaks. */
        const val USUAL = 40
        const val SILENT = 127
    }
}
