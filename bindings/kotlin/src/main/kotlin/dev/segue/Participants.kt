package dev.segue

import dev.segue.internal.ParticipantInfo
import dev.segue.internal.Publication as NativePublication
import dev.segue.internal.PublishOptions
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow

/** Somebody else in the room: the same object for as long as they stay. */
public class RemoteParticipant internal constructor(private val info: ParticipantInfo) {
    private val mutableTracks = MutableStateFlow<List<RemoteTrack>>(emptyList())

    /** Given by the room, never reused in it. */
    public val id: Long
        get() = info.id.toLong()

    /** Who it is, from the token. */
    public val identity: String
        get() = info.identity

    /** For people. */
    public val name: String
        get() = info.name

    /** The application's own. */
    public val metadata: String
        get() = info.metadata

    /** A participant of this SDK; others are browsers. */
    public val isNative: Boolean
        get() = info.native

    /** What it sends. */
    public val tracks: StateFlow<List<RemoteTrack>> = mutableTracks.asStateFlow()

    override fun toString(): String = "RemoteParticipant($id, $identity)"

    /** The track of this id; the one of [make] where there is none yet. The room's lock is held. */
    internal fun track(id: Int, make: () -> RemoteTrack): RemoteTrack =
        tracks.value.find { it.id == id } ?: make().also { mutableTracks.value += it }

    internal fun forget(track: RemoteTrack) {
        mutableTracks.value -= track
    }
}

/** A published track. It stays published when this object goes. */
public class LocalTrackPublication
internal constructor(
    private val room: Room,
    private val native: NativePublication,
    /** What is published. */
    public val source: LocalSource,
) {
    /** Given by the room. */
    public val id: Int = native.id().toInt()

    /** Audio or video. */
    public val kind: TrackKind = native.kind().named()

    /** Silences the track, or not any more: nothing is encoded or sent while it is silent, and everybody is told. */
    public suspend fun setMuted(muted: Boolean): Unit = room.ask { native.setMuted(muted) }

    /** Takes the track back. Its source may be published again. */
    public suspend fun unpublish(): Unit = room.ask { native.unpublish() }

    /** What it measures. */
    public suspend fun stats(): PublicationStats = room.ask { native.stats().toPublic() }

    override fun toString(): String = "LocalTrackPublication($id, $kind)"
}

/** This participant. */
public class LocalParticipant internal constructor(private val room: Room, info: ParticipantInfo) {
    /** Given by the room. */
    public val id: Long = info.id.toLong()

    /** Who this is, from the token. */
    public val identity: String = info.identity

    /** For people. */
    public val name: String = info.name

    /**
     * Publishes a [VideoSource], an [AudioSource], or what the application encodes itself ([EncodedSource]). [source]: what it shows or sounds,
     * left out: camera or microphone, by kind. It is sent until it is unpublished or the room left.
     */
    public suspend fun publish(
        track: LocalSource,
        name: String = "",
        source: TrackSource? = null,
        muted: Boolean = false,
    ): LocalTrackPublication {
        val options = PublishOptions(source?.named(), name, muted)
        val publication = room.ask {
            when (track) {
                is VideoSource -> it.publishVideo(track.native, options, null)
                is AudioSource -> it.publishAudio(track.native, options, null)
                is EncodedSource -> it.publishEncoded(track.native, options, null)
            }
        }
        return LocalTrackPublication(room, publication, track)
    }

    /**
     * Sends a message: reliable ones to everybody, once and in order, at most 60,000 bytes; lossy ones as they come, at most 15 KiB, to one
     * participant where [to] is given.
     */
    public suspend fun sendData(payload: ByteArray, topic: String = "", reliable: Boolean = true, to: RemoteParticipant? = null): Unit =
        room.ask { it.sendData(topic, payload, reliable, to?.id?.toUInt()) }

    /** The same of a text. */
    public suspend fun sendData(text: String, topic: String = "", reliable: Boolean = true, to: RemoteParticipant? = null): Unit =
        sendData(text.encodeToByteArray(), topic, reliable, to)

    override fun toString(): String = "LocalParticipant($id, $identity)"
}
