package dev.segue

import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.atomic.AtomicInteger
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.nanoseconds
import kotlin.time.Duration.Companion.seconds
import kotlin.time.TimeSource
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.transformWhile
import kotlinx.coroutines.job
import kotlinx.coroutines.launch

private const val PICTURES = 15
private const val TONES = 10

/** What one participant saw and heard of another. */
class Perception {
    val pictures = AtomicInteger()
    val tones = AtomicInteger()
    val strange = AtomicInteger()
    val backwards = AtomicInteger()
    @Volatile var last = -1
}

/** A participant of a test: it notes what it is told, watches and listens to everybody, and can publish what is recognised. */
class Player(val room: Room) {
    val identity = room.localParticipant.identity
    val events = CopyOnWriteArrayList<RoomEvent>()
    val publications = ConcurrentHashMap<String, LocalTrackPublication>()
    private val perceived = ConcurrentHashMap<String, Perception>()
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)

    /** Ends with the events. */
    val observing: Job = scope.launch(start = CoroutineStart.UNDISPATCHED) { observe() }

    private fun perception(of: String) = perceived.computeIfAbsent(of) { Perception() }

    private suspend fun observe() {
        room.events.transformWhile { emit(it); it !is RoomEvent.Disconnected }.collect { event ->
            events += event
            if (event is RoomEvent.TrackPublished) {
                perception(event.participant.identity).last = -1
                when (val track = event.track) {
                    is RemoteVideoTrack -> scope.launch { watch(track, event.participant.identity) }
                    is RemoteAudioTrack -> scope.launch { listen(track, event.participant.identity) }
                }
            }
        }
    }

    private suspend fun watch(track: RemoteVideoTrack, whom: String) {
        track.frames().collect { frame ->
            val (source, number) = frame.use { Recognised.read(it.y) } ?: return@collect
            val seen = perception(whom)
            when {
                source != Recognised.source(whom) -> seen.strange.incrementAndGet()
                number > seen.last -> {
                    seen.last = number
                    seen.pictures.incrementAndGet()
                }
                else -> seen.backwards.incrementAndGet()
            }
        }
    }

    private suspend fun listen(track: RemoteAudioTrack, whom: String) {
        val window = ArrayList<Short>()
        track.frames().collect { frame ->
            if (frame.playout != Playout.DECODED) {
                window.clear()
                return@collect
            }
            val samples = frame.samples
            while (samples.hasRemaining()) window += samples.get()
            if (window.size >= Recognised.WINDOW) {
                if (Recognised.hasTone(window, whom)) perception(whom).tones.incrementAndGet()
                window.clear()
            }
        }
    }

    suspend fun publish() {
        val pictures = VideoSource(Recognised.WIDTH, Recognised.HEIGHT, Recognised.FPS.toFloat(), encodings = 1, maxKbps = Recognised.MAX_KBPS)
        val sound = AudioSource()
        publications["video"] = room.localParticipant.publish(pictures)
        publications["audio"] = room.localParticipant.publish(sound)
        scope.launch { ticks(1.seconds / Recognised.FPS) { pictures.push(Recognised.draw(identity, it)) } }
        scope.launch { ticks(20.milliseconds) { sound.push(Recognised.tone(identity, it)) } }
    }

    suspend fun sees(whom: String) {
        val seen = perception(whom)
        val before = seen.pictures.get()
        until("$identity seeing $whom") { seen.pictures.get() >= before + PICTURES }
        check(seen.strange.get() == 0 && seen.backwards.get() == 0) { "${seen.strange} pictures of others, ${seen.backwards} out of order" }
    }

    suspend fun hears(whom: String) {
        val heard = perception(whom)
        val before = heard.tones.get()
        until("$identity hearing $whom") { heard.tones.get() >= before + TONES }
    }

    fun tracks(): Map<Int, RemoteTrack> = room.participants.value.flatMap { it.tracks.value }.associateBy { it.id }

    suspend fun end() {
        scope.coroutineContext.job.cancelAndJoin()
        room.leave()
        room.close()
    }

    /** Counts, at a pace; what a busy machine misses is made up for. */
    private suspend fun ticks(interval: Duration, tick: (Int) -> Unit) {
        val began = TimeSource.Monotonic.markNow()
        var number = 0
        while (true) {
            tick(number++)
            delay((interval * number - began.elapsedNow()).coerceAtLeast(0.nanoseconds))
        }
    }
}

/** Runs a test with players who leave at its end. */
suspend fun <T> withPlayers(work: suspend (MutableList<Player>) -> T): T {
    val players = CopyOnWriteArrayList<Player>()
    try {
        return work(players)
    } finally {
        players.forEach { it.end() }
    }
}
