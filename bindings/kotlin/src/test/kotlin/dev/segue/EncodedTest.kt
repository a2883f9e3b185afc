package dev.segue

import java.util.concurrent.atomic.AtomicBoolean
import kotlin.test.assertEquals
import kotlin.test.assertTrue
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Test

/** Frames that the application encodes and decodes itself. */
class EncodedTest {
    /** Bob takes what ada encoded and publishes it as it came; cyd sees and hears ada through bob. */
    @Test
    fun `what somebody encoded is sent on as it came`() = runBlocking(Dispatchers.Default) {
        withPlayers { players ->
            val name = Stage.room()
            Stage.ask("guest_join", "room" to name, "name" to "ada")
            val (bob, cyd) = listOf("bob", "cyd").map { Player(Stage.join(name, it)).also { player -> players += player } }
            val (seen, heard) = AtomicBoolean() to AtomicBoolean()
            val playing =
                launch {
                    launch { pictures(bob, bob.track("ada")) }
                    launch { sound(bob, bob.track("ada")) }
                    launch { seen.set(sees(cyd.track("bob"))) }
                    launch { heard.set(hears(cyd.track("bob"))) }
                }
            until("cyd seeing ada through bob") { seen.get() }
            until("cyd hearing ada through bob") { heard.get() }
            playing.cancelAndJoin()
        }
    }

    private suspend inline fun <reified T : RemoteTrack> Player.track(of: String): T =
        eventually("a track of $of") { tracks().values.filterIsInstance<T>().find { it.participant.identity == of } }

    private suspend fun pictures(player: Player, track: RemoteVideoTrack) {
        val source = EncodedVideoSource(track.encodings)
        val publication = player.room.localParticipant.publish(source)
        assertEquals(TrackKind.VIDEO, publication.kind)
        var first = true
        track.encodedFrames().collect { frame ->
            if (first) assertTrue(frame.isKeyframe, "$frame")
            first = false
            assertEquals(TrackKind.VIDEO, frame.kind)
            source.push(frame.payload, frame.timestampUs, frame.isKeyframe, frame.encoding, frame.temporal)
            if (source.takeKeyframeRequests().isNotEmpty()) track.requestKeyframe()
        }
    }

    private suspend fun sound(player: Player, track: RemoteAudioTrack) {
        val source = EncodedAudioSource()
        player.room.localParticipant.publish(source)
        track.encodedFrames().collect { frame ->
            assertEquals(TrackKind.AUDIO, frame.kind)
            source.push(frame.payload, frame.timestampUs)
        }
    }

    private suspend fun sees(track: RemoteVideoTrack): Boolean {
        track.frames().first { frame -> frame.use { Recognised.read(it.y)?.first == Recognised.source("ada") } }
        return true
    }

    private suspend fun hears(track: RemoteAudioTrack): Boolean {
        val window = ArrayList<Short>()
        track.frames().first { frame ->
            if (frame.playout != Playout.DECODED) window.clear()
            val samples = frame.samples
            while (frame.playout == Playout.DECODED && samples.hasRemaining()) window += samples.get()
            val whole = window.size >= Recognised.WINDOW
            (whole && Recognised.hasTone(window, "ada")).also { if (whole) window.clear() }
        }
        return true
    }
}
