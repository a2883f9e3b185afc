package dev.segue

import dev.segue.internal.CancelToken
import dev.segue.internal.ConnectOptions
import dev.segue.internal.ConnectionState as NativeState
import dev.segue.internal.Room as NativeRoom
import dev.segue.internal.Subscription
import dev.segue.internal.TokenProvider as NativeTokenProvider
import java.util.ArrayDeque
import kotlin.time.Duration
import kotlin.time.Duration.Companion.days
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Deferred
import kotlinx.coroutines.ExperimentalCoroutinesApi
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.async
import kotlinx.coroutines.channels.BufferOverflow
import kotlinx.coroutines.flow.MutableSharedFlow
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.SharedFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.onSubscription
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext

/** Events that may wait for a reader: a room of 512 joins and publishes within this. The newest win. */
private const val MAX_EVENTS = 4_096

/** Gives join tokens: asked when a room is joined, and whenever the connection to the relay is lost. */
public fun interface TokenProvider {
    /** A fresh token for the same room and identity. */
    public suspend fun token(): String
}

/** How a room is joined. What is left out is chosen well for a call between people. */
public data class RoomOptions(
    /** Shown to others; empty: the token's name. */
    val name: String = "",
    /** The application's own, shown to others; at most 4 KiB. */
    val metadata: String = "",
    /** Which paths are allowed. */
    val topology: TopologyPolicy = TopologyPolicy.AUTO,
    /** Which local addresses are used for media. */
    val interfaces: Interfaces = Interfaces.AUTOMATIC,
    /** Only candidates of TURN servers are used and told. */
    val turnOnly: Boolean = false,
    /** Every track is received from the moment it is published. */
    val autoSubscribe: Boolean = true,
    /** May build legs to other participants; false: everything through the relay. */
    val direct: Boolean = true,
    /** Any certificate of the relay is taken. For development. */
    val trustAnyCertificate: Boolean = false,
    /** How long connecting may take. */
    val connectTimeout: Duration = 15.seconds,
)

/**
 * A call. Mesh, mixed or relayed, it is one room with the same participants and tracks from the first second to the last:
 * ```
 * Room.connect("wss://relay.example/v1/connect", token).use { room ->
 *     room.events.collect { event -> when (event) { is RoomEvent.TrackPublished -> ...; else -> Unit } }
 * }
 * ```
 * Everything in it may be used from any thread. It is left by [leave] and by [close], or when nobody holds it any more.
 */
public class Room private constructor(private val native: NativeRoom) : AutoCloseable {
    private val lock = Any()
    private val everybody = LinkedHashMap<UInt, RemoteParticipant>()
    private val early = ArrayDeque<RoomEvent>()
    private var listened = false
    @Volatile private var subscription: Subscription? = null
    @Volatile private var closed = false

    private val mutableState = MutableStateFlow(native.state().toPublic())
    private val mutableTopology = MutableStateFlow<Topology>(native.topology().named())
    private val mutableParticipants = MutableStateFlow<List<RemoteParticipant>>(emptyList())
    private val mutableEvents =
        MutableSharedFlow<RoomEvent>(extraBufferCapacity = MAX_EVENTS, onBufferOverflow = BufferOverflow.DROP_OLDEST)

    /** Name of the room, from the token. */
    public val name: String = native.name()

    /** This participant. */
    public val localParticipant: LocalParticipant = LocalParticipant(this, native.localParticipant())

    /** This participant's connection. */
    public val state: StateFlow<ConnectionState> = mutableState.asStateFlow()

    /** Mesh, mixed or relayed, as it stands. */
    public val topology: StateFlow<Topology> = mutableTopology.asStateFlow()

    /** The others. */
    public val participants: StateFlow<List<RemoteParticipant>> = mutableParticipants.asStateFlow()

    /**
     * What happens from the moment it is collected; the first collector is also told what happened since [connect]. The flow does not end:
     * the last event is [RoomEvent.Disconnected].
     */
    public val events: SharedFlow<RoomEvent> = mutableEvents.onSubscription { takeEarly().forEach { emit(it) } }

    /** One of the others, by identity. */
    public fun participant(identity: String): RemoteParticipant? = participants.value.find { it.identity == identity }

    /** Which path each direction between this participant and another takes, and why. */
    public val paths: List<PathInfo>
        get() = ask { room -> room.pathInfo().map { it.toPublic() } }

    /** What the room measures about itself. */
    public suspend fun stats(): RoomStats = ask { it.stats().toPublic() }

    /** The network of this host changed (another Wi-Fi): every path is sought anew at once, before its loss is noticed. */
    public suspend fun networkChanged(): Unit = ask { it.networkChanged() }

    /**
     * Leaves, after telling the relay and the others so: also where the coroutine is cancelled meanwhile. Leaving twice does no harm. What
     * the room knows can still be read.
     */
    public suspend fun leave() {
        if (closed) return
        withContext(NonCancellable) {
            try {
                ask { it.leave() }
            } catch (_: RoomLeftException) {
                // Closed meanwhile: that leaves, too.
            }
        }
    }

    /** Leaves without waiting for it and frees what the SDK keeps. Closing twice does no harm. */
    override fun close() {
        synchronized(lock) {
            if (closed) return
            closed = true
        }
        val room = native
        // The events end by themselves once the room is left; the last of them still comes.
        Native.scope.launch { room.use { Native.call { room.leave() } } }
    }

    override fun toString(): String = "Room($name, ${state.value})"

    /** Asks the native room, or says that there is none any more. */
    internal inline fun <T> ask(work: (NativeRoom) -> T): T {
        if (closed) throw left()
        try {
            return Native.call { work(native) }
        } catch (cancelled: CancellationException) {
            throw cancelled
        } catch (destroyed: IllegalStateException) {
            // What generated code throws where its object is gone.
            throw if (closed) left() else destroyed
        }
    }

    private fun left() = RoomLeftException("this room was closed: connect again")

    private fun begin() {
        synchronized(lock) {
            native.participants().forEach { participant(it) }
            native.tracks().forEach { track(it) }
        }
        subscription = native.addListener(Listener(this))
    }

    private fun takeEarly(): List<RoomEvent> =
        synchronized(lock) {
            listened = true
            early.toList().also { early.clear() }
        }

    /** Called on the SDK's thread, one after the other. */
    internal fun take(event: dev.segue.internal.RoomEvent) {
        synchronized(lock) {
            val converted = convert(event) ?: return
            if (listened) {
                mutableEvents.tryEmit(converted)
            } else {
                if (early.size == MAX_EVENTS) early.removeFirst()
                early.addLast(converted)
            }
        }
    }

    /** Nothing follows. */
    internal fun ended() {
        subscription?.destroy()
    }

    private fun convert(event: dev.segue.internal.RoomEvent): RoomEvent? =
        when (event) {
            is dev.segue.internal.RoomEvent.ConnectionStateChanged -> stateChanged(event.state)
            is dev.segue.internal.RoomEvent.ParticipantJoined -> RoomEvent.ParticipantJoined(participant(event.participant))
            is dev.segue.internal.RoomEvent.ParticipantLeft -> gone(event)
            is dev.segue.internal.RoomEvent.TrackPublished -> {
                participant(event.participant)
                track(event.track)?.let { RoomEvent.TrackPublished(it.participant, it) }
            }
            is dev.segue.internal.RoomEvent.TrackUnpublished -> {
                val track = track(event.track)
                track?.participant?.forget(track)
                track?.let { RoomEvent.TrackUnpublished(it.participant, it) }
            }
            is dev.segue.internal.RoomEvent.TrackMuted -> track(event.track)?.let { RoomEvent.TrackMuted(it, event.muted) }
            is dev.segue.internal.RoomEvent.TopologyChanged -> {
                mutableTopology.value = event.current.named()
                RoomEvent.TopologyChanged(event.previous.named(), event.current.named(), event.reason)
            }
            is dev.segue.internal.RoomEvent.PathChanged ->
                RoomEvent.PathChanged(event.publisher.toLong(), event.subscriber.toLong(), event.path.named(), event.reason)
            is dev.segue.internal.RoomEvent.DataReceived ->
                RoomEvent.DataReceived(everybody[event.sender], event.topic, event.payload, event.reliable)
            is dev.segue.internal.RoomEvent.SpeakersChanged ->
                RoomEvent.SpeakersChanged(event.speakers.map { Speaker(it.participant.toLong(), it.level.toInt()) })
            is dev.segue.internal.RoomEvent.Warning -> RoomEvent.RelayWarning(event.code, event.detail)
        }

    private fun stateChanged(native: NativeState): RoomEvent {
        val state = native.toPublic()
        mutableState.value = state
        return if (state is ConnectionState.Disconnected) RoomEvent.Disconnected(state.reason, state.code, state.message)
        else RoomEvent.ConnectionStateChanged(state)
    }

    private fun gone(event: dev.segue.internal.RoomEvent.ParticipantLeft): RoomEvent {
        val who = participant(event.participant)
        everybody.remove(event.participant.id)
        mutableParticipants.value = everybody.values.toList()
        return RoomEvent.ParticipantLeft(who, event.reason.named())
    }

    private fun participant(info: dev.segue.internal.ParticipantInfo): RemoteParticipant =
        everybody[info.id]
            ?: RemoteParticipant(info).also {
                everybody[info.id] = it
                mutableParticipants.value = everybody.values.toList()
            }

    /** The track this handle is of; the handle is freed where another is kept. Null: its publisher is not here. */
    private fun track(handle: dev.segue.internal.RemoteTrack): RemoteTrack? {
        val owner = everybody[handle.info().participant]
        val track = owner?.track(handle.id().toInt()) { RemoteTrack.of(handle, owner) }
        if (track?.native !== handle) handle.destroy()
        return track
    }

    public companion object {
        /**
         * Joins the room a token is for, at the relay [url] (`wss://`, `https://`; `ws://` and `http://` for development). Returns once the
         * relay has let this participant in. Cancelled, it leaves nobody behind in the room.
         */
        public suspend fun connect(url: String, token: String, options: RoomOptions = RoomOptions()): Room =
            connect(url, token, null, options)

        /** The same with tokens of a provider. */
        public suspend fun connect(url: String, tokens: TokenProvider, options: RoomOptions = RoomOptions()): Room =
            connect(url, null, Provider(tokens), options)

        private suspend fun connect(url: String, token: String?, tokens: NativeTokenProvider?, options: RoomOptions): Room {
            Native.require()
            val chosen = options.toNative()
            // Whoever cancels cancels the call by its token and lets it end by itself: between its end and the moment it is taken there may be a
            // room already, and a call dropped then would keep it for ever.
            val cancel = CancelToken()
            val joining = Native.scope.async { NativeRoom.connect(url, token, tokens, chosen, cancel) }
            try {
                return Native.call { Room(joining.await()) }.also { it.begin() }
            } catch (cancelled: CancellationException) {
                cancel.cancel()
                letGo(joining)
                throw cancelled
            }
        }

        /** Nobody waits for a join any more: a room that came of it is left. */
        @OptIn(ExperimentalCoroutinesApi::class)
        private fun letGo(joining: Deferred<NativeRoom>) {
            joining.invokeOnCompletion { failure -> if (failure == null) joining.getCompleted().destroy() }
        }
    }
}

/** The application's provider as the seam asks it. */
private class Provider(private val tokens: TokenProvider) : NativeTokenProvider {
    override suspend fun token(): String = tokens.token()
}

private fun RoomOptions.toNative(): ConnectOptions {
    if (connectTimeout <= Duration.ZERO || connectTimeout >= 1.days) {
        throw InvalidArgumentException("a timeout of $connectTimeout: give more than 0 and less than a day", "timeout")
    }
    return ConnectOptions(
        name = name,
        metadata = metadata,
        policy = topology.named(),
        interfaces = interfaces.named(),
        turnOnly = turnOnly,
        autoSubscribe = autoSubscribe,
        direct = direct,
        trustAnyCertificate = trustAnyCertificate,
        connectTimeoutMs = connectTimeout.inWholeMilliseconds.toULong(),
    )
}

internal fun NativeState.toPublic(): ConnectionState =
    when (this) {
        is NativeState.Connecting -> ConnectionState.Connecting
        is NativeState.Connected -> ConnectionState.Connected
        is NativeState.Reconnecting -> ConnectionState.Reconnecting
        is NativeState.Disconnected -> ConnectionState.Disconnected(reason.named(), code, detail)
    }
