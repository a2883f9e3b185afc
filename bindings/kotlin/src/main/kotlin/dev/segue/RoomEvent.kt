package dev.segue

/** What happens in a room: what [Room.events] gives, for `when`. */
public sealed interface RoomEvent {
    /** This participant's own connection changed. Its end is [Disconnected]. */
    public data class ConnectionStateChanged(val state: ConnectionState) : RoomEvent

    /** This participant is out of the room for good; no event follows. */
    public data class Disconnected(val reason: LeaveReason, val code: String, val message: String) : RoomEvent

    /** Somebody came, or was there before us. */
    public data class ParticipantJoined(val participant: RemoteParticipant) : RoomEvent

    /** Somebody went; their tracks end with them. */
    public data class ParticipantLeft(val participant: RemoteParticipant, val reason: LeaveReason) : RoomEvent

    /** Somebody published a track. */
    public data class TrackPublished(val participant: RemoteParticipant, val track: RemoteTrack) : RoomEvent

    /** A track ended. */
    public data class TrackUnpublished(val participant: RemoteParticipant, val track: RemoteTrack) : RoomEvent

    /** A track was silenced by its publisher, or not any more. */
    public data class TrackMuted(val track: RemoteTrack, val muted: Boolean) : RoomEvent

    /** The room moved between mesh and relay. Tracks and participants stay the same objects. */
    public data class TopologyChanged(val from: Topology, val to: Topology, val reason: String) : RoomEvent

    /** The media of one direction between two participants moved. */
    public data class PathChanged(val publisher: Long, val subscriber: Long, val path: MediaPath, val reason: String) : RoomEvent

    /** A message of somebody. [sender] is null where they have left meanwhile. */
    public class DataReceived(
        public val sender: RemoteParticipant?,
        public val topic: String,
        public val payload: ByteArray,
        public val reliable: Boolean,
    ) : RoomEvent {
        override fun toString(): String = "DataReceived(sender=$sender, topic=$topic, ${payload.size} bytes, reliable=$reliable)"
    }

    /** Who speaks, loudest first. */
    public data class SpeakersChanged(val speakers: List<Speaker>) : RoomEvent

    /** The relay refused something that nobody waits for. */
    public data class RelayWarning(val code: String, val message: String) : RoomEvent
}
