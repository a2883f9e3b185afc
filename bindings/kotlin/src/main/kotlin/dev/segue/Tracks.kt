package dev.segue

import dev.segue.internal.ReadyListener
import dev.segue.internal.RemoteTrack as NativeTrack
import dev.segue.internal.TrackKind as NativeKind
import java.util.concurrent.atomic.AtomicLong
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.FlowCollector
import kotlinx.coroutines.flow.flow

/** Most frames that may wait for a reader. */
public const val MAX_QUEUE: Int = 1_024

/**
 * Frames of a track, in order: a cold flow, decoded while somebody collects it, that ends with the track. When the collector is slower than
 * the track, the oldest are dropped and counted.
 */
public class Frames<T> internal constructor(private val open: (ReadyListener, AtomicLong) -> Source<T>) : Flow<T> {
    private val counted = AtomicLong()

    /** Frames dropped so far because they were not taken in time, all collectors together. */
    public val dropped: Long
        get() = counted.get()

    /** The reading end of a queue towards this library. */
    internal interface Source<T> {
        fun tryNext(): T?

        fun hasEnded(): Boolean

        fun close()
    }

    override suspend fun collect(collector: FlowCollector<T>): Unit = read().collect(collector)

    private fun read(): Flow<T> = flow {
        val wake = Channel<Unit>(Channel.CONFLATED)
        val source = Native.call { open(Wake(wake), counted) }
        try {
            while (true) {
                val frame = Native.call { source.tryNext() }
                when {
                    frame != null -> emit(frame)
                    Native.call { source.hasEnded() } -> break
                    else -> wake.receive()
                }
            }
        } finally {
            source.close()
        }
    }

    /** Comes on the SDK's thread, and only wakes. */
    private class Wake(private val wake: Channel<Unit>) : ReadyListener {
        override fun onReady() {
            wake.trySend(Unit)
        }
    }
}

/** Adds what one native queue has dropped to what its flow tells, once per frame dropped. */
internal class Drops(private val total: AtomicLong, private val now: () -> ULong) {
    private var seen = 0L

    fun note() {
        val dropped = now().toLong()
        total.addAndGet(dropped - seen)
        seen = dropped
    }
}

/** A track of somebody else: the same object from publication to end, whatever path it takes. */
public sealed class RemoteTrack(internal val native: NativeTrack, public val participant: RemoteParticipant) {
    internal val info = native.info()

    /** Given by the room, and again only long after the track is gone. */
    public val id: Int
        get() = info.id.toInt()

    /** Audio or video. */
    public abstract val kind: TrackKind

    /** What it shows or sounds. */
    public val source: TrackSource
        get() = info.source.named()

    /** The publisher's name for it. */
    public val name: String
        get() = info.name

    /** Silenced by its publisher. */
    public val isMuted: Boolean
        get() = Native.call { native.info().muted }

    /** Unpublished, or its publisher left. */
    public val hasEnded: Boolean
        get() = Native.call { native.info().ended }

    /** Whether the track is to be sent here at all. */
    public fun setSubscribed(subscribed: Boolean): Unit = Native.call { native.setSubscribed(subscribed) }

    /**
     * Encoded frames from the moment they are collected, beginning at a keyframe, for decoders of the application's own; at most [maxQueue] wait. After
     * one was dropped, a [RemoteVideoTrack] has to be asked for a keyframe.
     */
    public fun encodedFrames(maxQueue: Int = 120): Frames<EncodedFrame> {
        val queue = queue(maxQueue)
        return Frames { ready, total ->
            val stream = native.encodedFrames(queue, ready)
            val drops = Drops(total, stream::dropped)
            object : Frames.Source<EncodedFrame> {
                override fun tryNext() = stream.tryNext()?.let { EncodedFrame.of(it) }.also { drops.note() }

                override fun hasEnded() = stream.hasEnded()

                override fun close() {
                    stream.stop()
                    stream.destroy()
                }
            }
        }
    }

    /** What it measures. */
    public suspend fun stats(): TrackStats = Native.call { native.stats().toPublic() }

    override fun toString(): String = "${this::class.simpleName}($id, of ${participant.identity})"

    internal companion object {
        fun of(native: NativeTrack, participant: RemoteParticipant): RemoteTrack =
            when (native.kind()) {
                NativeKind.VIDEO -> RemoteVideoTrack(native, participant)
                NativeKind.AUDIO -> RemoteAudioTrack(native, participant)
            }

        fun queue(length: Int): UInt {
            if (length !in 1..MAX_QUEUE) {
                throw InvalidArgumentException("a queue of $length: give it room for 1 to $MAX_QUEUE items", "queue")
            }
            return length.toUInt()
        }
    }
}

/** Pictures of somebody else. */
public class RemoteVideoTrack internal constructor(native: NativeTrack, participant: RemoteParticipant) :
    RemoteTrack(native, participant) {
    override val kind: TrackKind
        get() = TrackKind.VIDEO

    /** The encodings announced, largest first. */
    public val encodings: List<VideoEncoding>
        get() = info.encodings.map { VideoEncoding(it.width.toInt(), it.height.toInt(), it.maxKbps.toInt()) }

    /** Decoded pictures from the moment they are collected, of which at most [maxQueue] wait: the newest win. Close each one. */
    public fun frames(maxQueue: Int = 2): Frames<VideoFrame> {
        val queue = queue(maxQueue)
        return Frames { ready, total ->
            val stream = native.videoFrames(queue, ready)
            val handle = stream.uniffiCloneHandle()
            val layout = LongArray(Media.LAYOUT)
            val drops = Drops(total, stream::dropped)
            object : Frames.Source<VideoFrame> {
                override fun tryNext(): VideoFrame? {
                    val frame = Media.nextFrame(handle, layout)
                    drops.note()
                    return if (frame == 0L) null else VideoFrame(frame, layout)
                }

                override fun hasEnded() = stream.hasEnded()

                override fun close() {
                    stream.stop()
                    stream.destroy()
                    Media.freeStream(handle)
                }
            }
        }
    }

    /** The most that is wanted of the track. */
    public fun setQuality(quality: Quality): Unit = Native.call { native.setQuality(quality.named()) }

    /** For a decoder of the application's own that lost its way. */
    public fun requestKeyframe(): Unit = Native.call { native.requestKeyframe() }
}

/** Sound of somebody else. */
public class RemoteAudioTrack internal constructor(native: NativeTrack, participant: RemoteParticipant) :
    RemoteTrack(native, participant) {
    override val kind: TrackKind
        get() = TrackKind.AUDIO

    /** Decoded sound from the moment it is collected, 20 ms at a time, of which at most [maxQueue] frames wait. */
    public fun frames(maxQueue: Int = 10): Frames<AudioFrame> {
        val queue = queue(maxQueue)
        return Frames { ready, total ->
            val stream = native.audioFrames(queue, ready)
            val drops = Drops(total, stream::dropped)
            object : Frames.Source<AudioFrame> {
                override fun tryNext() = stream.tryNext()?.let { AudioFrame.of(it) }.also { drops.note() }

                override fun hasEnded() = stream.hasEnded()

                override fun close() {
                    stream.stop()
                    stream.destroy()
                }
            }
        }
    }
}
