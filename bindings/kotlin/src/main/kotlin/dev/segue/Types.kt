package dev.segue

import dev.segue.internal.EdgeStats as NativeEdgeStats
import dev.segue.internal.LegStats as NativeLegStats
import dev.segue.internal.PathInfo as NativePathInfo
import dev.segue.internal.PublicationStats as NativePublicationStats
import dev.segue.internal.RoomStats as NativeRoomStats
import dev.segue.internal.TrackStats as NativeTrackStats

/** What the edges of a room are, taken together. */
public enum class Topology {
    /** Every edge is direct. */
    MESH,

    /** Some are direct, some relayed. */
    MIXED,

    /** Every edge is relayed. */
    RELAYED,
}

/** The way media takes along one edge (publisher to subscriber). */
public enum class MediaPath {
    /** Peer to peer. */
    DIRECT,

    /** Through the relay. */
    RELAYED,
}

/** Which paths an application allows. */
public enum class TopologyPolicy {
    /** Mesh while small, relay when grown. */
    AUTO,

    /** Direct edges wherever they connect. */
    MESH_ONLY,

    /** Everything through the relay. */
    RELAY_ONLY,

    /** Through the relay, and no address is told to other participants. */
    HIDE_ADDRESS,
}

/** Which local addresses are used for media. */
public enum class Interfaces {
    /** All but loopback, and loopback where the relay is there. */
    AUTOMATIC,

    /** All but loopback. */
    ALL,

    /** All. */
    ALL_AND_LOOPBACK,

    /** For tests. */
    LOOPBACK_ONLY,
}

/** Audio or video. */
public enum class TrackKind {
    /** Sound. */
    AUDIO,

    /** Pictures. */
    VIDEO,
}

/** Where a track comes from. */
public enum class TrackSource {
    /** A microphone. */
    MICROPHONE,

    /** A camera. */
    CAMERA,

    /** A shared screen. */
    SCREEN,

    /** The sound of a shared screen. */
    SCREEN_AUDIO,
}

/** What pictures show. */
public enum class VideoContent {
    /** Faces and rooms: every picture is sent, coarser if need be. */
    CAMERA,

    /** Text and windows: sharp, at the cost of pictures left out. */
    SCREEN,
}

/** The most that is wanted of a track. */
public enum class Quality {
    /** Nothing: paused by wish. */
    OFF,

    /** The smallest encoding. */
    LOW,

    /** The middle one. */
    MEDIUM,

    /** The largest there is. */
    HIGH,
}

/** Where 20 ms of sound come from. */
public enum class Playout {
    /** The sender's frame. */
    DECODED,

    /** Lost, and rebuilt from the repair data in the next packet. */
    RECOVERED,

    /** Lost, and made up from what was before it. */
    CONCEALED,

    /** The sender sends nothing. */
    SILENCE,
}

/** Why somebody is not in the room any more. */
public enum class LeaveReason {
    /** Not known. */
    UNKNOWN,

    /** Left. */
    LEFT,

    /** Lost the connection and did not come back in time. */
    TIMEOUT,

    /** Joined again from elsewhere. */
    REPLACED,

    /** Was put out. */
    KICKED,

    /** The room was closed. */
    ROOM_CLOSED,

    /** The relay stops. */
    SHUTDOWN,

    /** Did not read fast enough. */
    TOO_SLOW,

    /** Was refused; the code says why. */
    REFUSED,
}

/** This participant's own connection. */
public sealed interface ConnectionState {
    /** Joining. */
    public data object Connecting : ConnectionState

    /** In the room. */
    public data object Connected : ConnectionState

    /** The relay is out of reach and sought; direct media goes on meanwhile. */
    public data object Reconnecting : ConnectionState

    /** Out of the room for good. [code] is the relay's, `unspecified` for none. */
    public data class Disconnected(val reason: LeaveReason, val code: String, val message: String) : ConnectionState
}

/** One encoding of a track: its size in pixels and the upper end of its rate in kbit/s. */
public data class VideoEncoding(val width: Int, val height: Int, val maxKbps: Int)

/** The truth about one direction between this participant and another. */
public data class PathInfo(
    val publisher: Long,
    val subscriber: Long,
    val path: MediaPath,
    /** Media can flow on it now, as far as this side knows. */
    val active: Boolean,
    /** A move to the other path is under way; both carry media. */
    val moving: Boolean,
    val reason: String,
)

/** Somebody who speaks: [level] is -dBov, 0 loudest, 127 silent (RFC 6464). */
public data class Speaker(val participant: Long, val level: Int)

/** One direction between this participant and another; rates in kbit/s, times in milliseconds, [loss] from 0 to 1. */
public data class EdgeStats(
    val publisher: Long,
    val subscriber: Long,
    val path: MediaPath,
    val kbps: Double,
    val loss: Double,
    val rttMs: Double?,
)

/** One transport. [participant] is at its other end; null: the relay. */
public data class LegStats(
    val participant: Long?,
    val publisher: Boolean,
    val up: Boolean,
    val sendKbps: Double,
    val estimateKbps: Double?,
    val targetKbps: Double,
    val queueMs: Double,
    val receiveKbps: Double,
    val packetsSent: Long,
    val packetsRetransmitted: Long,
    val packetsReceived: Long,
    val packetsLost: Long,
    val loss: Double,
    val rttMs: Double?,
)

/** One track received. */
public data class TrackStats(
    val track: Int,
    val participant: Long,
    val kind: TrackKind,
    val kbps: Double,
    val frames: Long,
    val keyframes: Long,
    val gaps: Long,
    val longestGapMs: Double,
    val delayMs: Double,
    val duplicates: Long,
    val decoded: Long,
    val undecoded: Long,
    val concealed: Long,
    val recovered: Long,
    val keyframeRequests: Long,
)

/** One track sent. [targetKbps] is what its encoders are to make at most now. */
public data class PublicationStats(
    val track: Int,
    val kind: TrackKind,
    val kbps: Double,
    val targetKbps: Double,
    val frames: Long,
    val keyframes: Long,
    val dropped: Long,
)

/** Everything a room measures, at one moment. [uplinkKbps] is what the uplink is thought to bear. */
public data class RoomStats(
    val uplinkKbps: Double,
    val edges: List<EdgeStats>,
    val legs: List<LegStats>,
    val tracks: List<TrackStats>,
    val publications: List<PublicationStats>,
)

internal fun NativePathInfo.toPublic() =
    PathInfo(publisher.toLong(), subscriber.toLong(), path.named(), active, moving, reason)

internal fun NativeRoomStats.toPublic() =
    RoomStats(
        uplinkKbps,
        edges.map { it.toPublic() },
        legs.map { it.toPublic() },
        tracks.map { it.toPublic() },
        publications.map { it.toPublic() },
    )

private fun NativeEdgeStats.toPublic() = EdgeStats(publisher.toLong(), subscriber.toLong(), path.named(), kbps, loss, rttMs)

private fun NativeLegStats.toPublic() =
    LegStats(
        participant?.toLong(),
        publisher,
        up,
        sendKbps,
        estimateKbps,
        targetKbps,
        queueMs,
        receiveKbps,
        packetsSent.toLong(),
        packetsRetransmitted.toLong(),
        packetsReceived.toLong(),
        packetsLost.toLong(),
        loss,
        rttMs,
    )

internal fun NativeTrackStats.toPublic() =
    TrackStats(
        track.toInt(),
        participant.toLong(),
        kind.named(),
        kbps,
        frames.toLong(),
        keyframes.toLong(),
        gaps.toLong(),
        longestGapMs,
        delayMs,
        duplicates.toLong(),
        decoded.toLong(),
        undecoded.toLong(),
        concealed.toLong(),
        recovered.toLong(),
        keyframeRequests.toLong(),
    )

internal fun NativePublicationStats.toPublic() =
    PublicationStats(track.toInt(), kind.named(), kbps, targetKbps, frames.toLong(), keyframes.toLong(), dropped.toLong())
