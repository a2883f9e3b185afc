package dev.segue

import com.google.gson.JsonObject
import com.google.gson.JsonParser
import java.nio.file.Files
import java.nio.file.Path
import java.util.concurrent.atomic.AtomicInteger
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertIs
import kotlin.test.assertSame
import kotlin.test.assertTrue
import kotlin.time.Duration.Companion.milliseconds
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withContext
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.TestFactory

/** The script all languages play (tests/e2e/conformance.json), through this library. */
class ConformanceTest {
    @TestFactory
    fun scenarios(): List<DynamicTest> {
        val top = Path.of(System.getenv("SEGUE_TOP") ?: "../..")
        val script = JsonParser.parseString(Files.readString(top.resolve("tests/e2e/conformance.json"))).asJsonObject
        return script["scenarios"].asJsonArray.map { it.asJsonObject }.map { scenario ->
            DynamicTest.dynamicTest(scenario["name"].asString) {
                runBlocking(Dispatchers.Default) {
                    withPlayers { players ->
                        val runner = Runner(Stage.room(), players)
                        scenario["steps"].asJsonArray.forEach { runner.play(it.asJsonObject) }
                    }
                }
            }
        }
    }
}

/** Plays one scenario. */
private class Runner(private val room: String, private val everybody: MutableList<Player>) {
    private val cast = HashMap<String, Player>()
    private val remembered = HashMap<String, Map<Int, RemoteTrack>>()

    suspend fun play(step: JsonObject) {
        val who = step["as"]?.asString.orEmpty()
        val word = { name: String -> step[name].asString }
        when (val what = word("do")) {
            "stage" -> stage(step["ask"].asJsonObject)
            "join" -> cast[who] = Player(Stage.join(room, who)).also { everybody += it }
            "join_fails" -> joinFails(who, word("token"), word("code"))
            "cancel_join" -> cancelJoin(who, step["after_ms"].asInt, step["at"]?.asString ?: "url")
            "publish" -> player(who).publish()
            "sees" -> player(who).sees(word("whom"))
            "hears" -> player(who).hears(word("whom"))
            "mute" -> player(who).publications.getValue(word("kind")).setMuted(step["muted"].asBoolean)
            "told_muted" -> toldMuted(who, word("whom"), word("kind"), step["muted"].asBoolean)
            "send" -> player(who).room.localParticipant.sendData(word("text"), word("topic"), step["reliable"].asBoolean)
            "receives" -> receives(who, word("from"), word("topic"), step["texts"].asJsonArray.map { it.asString })
            "topology" -> topology(who, word("is"))
            "told_state" -> toldStates(who, step["states"].asJsonArray.map { it.asString })
            "remember_tracks" -> remembered[who] = player(who).tracks().also { assertTrue(it.isNotEmpty()) }
            "same_tracks" -> sameTracks(who)
            "leave" -> player(who).room.leave()
            "ended" -> ended(who)
            "call_fails" -> callFails(who, word("call"), word("code"))
            "cycles" -> cycles(who, step["count"].asInt, step["at_once"].asInt, step["megabytes"].asDouble)
            else -> error("this runner does not know the step $what: see tests/e2e/README.md")
        }
    }

    private fun player(who: String) = cast.getValue(who)

    private suspend fun stage(ask: JsonObject) {
        val request = ask.deepCopy()
        if (request["room"]?.asString == "\$room") request.addProperty("room", room)
        Stage.ask(request)
    }

    private suspend fun joinFails(who: String, kind: String, code: String) {
        val token = Stage.token(room, who, kind)
        val refused = assertFailsWith<RefusedException> { Room.connect(Stage.place(), token, LOOPBACK) }
        assertEquals(code, refused.code)
    }

    private suspend fun cancelJoin(who: String, afterMs: Int, at: String) = coroutineScope {
        val (place, token) = Stage.place(at) to Stage.token(room, who)
        val joining = async { Room.connect(place, token, LOOPBACK) }
        delay(afterMs.milliseconds)
        joining.cancelAndJoin()
        if (!joining.isCancelled) joining.await().leave()
    }

    private suspend fun toldMuted(who: String, whom: String, kind: String, muted: Boolean) {
        until("$who being told") {
            val told = player(who).events.filterIsInstance<RoomEvent.TrackMuted>().lastOrNull {
                it.track.participant.identity == whom && it.track.kind.name.lowercase() == kind
            }
            told != null && told.muted == muted && told.track.isMuted == muted
        }
    }

    private suspend fun receives(who: String, from: String, topic: String, texts: List<String>) {
        fun found() =
            player(who).events.filterIsInstance<RoomEvent.DataReceived>()
                .filter { it.topic == topic && it.sender?.identity == from }
                .map { it.payload.decodeToString() }
        until("$who receiving $texts") { found().size >= texts.size }
        assertEquals(texts, found())
    }

    private suspend fun topology(who: String, wanted: String) {
        val room = player(who).room
        val path = mapOf("mesh" to MediaPath.DIRECT, "relayed" to MediaPath.RELAYED)[wanted]
        until("$who being in a room that is $wanted") {
            val paths = room.paths
            val settled = paths.all { it.active && !it.moving && (path == null || it.path == path) }
            room.topology.value.name.lowercase() == wanted && settled && paths.size >= 2 * room.participants.value.size
        }
    }

    private suspend fun toldStates(who: String, states: List<String>) {
        until("$who being told $states") {
            val told = player(who).events.filterIsInstance<RoomEvent.ConnectionStateChanged>().map { it.state.toString().lowercase() }
            told.windowed(states.size).any { it == states }
        }
    }

    private fun sameTracks(who: String) {
        val now = player(who).tracks()
        remembered.getValue(who).forEach { (id, track) ->
            assertSame(track, now[id])
            assertTrue(!track.hasEnded)
        }
    }

    private suspend fun ended(who: String) {
        player(who).observing.join()
        assertIs<RoomEvent.Disconnected>(player(who).events.last())
        assertIs<ConnectionState.Disconnected>(player(who).room.state.value)
    }

    private suspend fun callFails(who: String, call: String, code: String) {
        val room = player(who).room
        val failure = assertFailsWith<RoomLeftException> {
            when (call) {
                "publish" -> room.localParticipant.publish(AudioSource())
                "send" -> room.localParticipant.sendData("too late")
                "stats" -> room.stats()
                else -> error("no call $call")
            }
        }
        assertEquals(code, failure.code)
        assertTrue("connect again" in failure.message.orEmpty(), failure.message)
    }

    private suspend fun cycles(who: String, usual: Int, atOnce: Int, megabytes: Double) {
        val count = System.getenv("SEGUE_CYCLES")?.toInt() ?: usual
        val (url, next) = Stage.place() to AtomicInteger()
        var before = 0.0
        coroutineScope {
            repeat(atOnce) {
                launch {
                    while (true) {
                        val number = next.getAndIncrement()
                        if (number >= count) break
                        Room.connect(url, Stage.token("$room-${number % ROOMS}", who), LOOPBACK).use { it.leave() }
                        if (number == count / 5) before = residentMegabytes()
                    }
                }
            }
        }
        val now = residentMegabytes()
        println("$count cycles: memory grew by ${now - before} MB after the first fifth, $now MB now")
        assertTrue(now - before < megabytes, "memory grew by ${now - before} MB")
    }

    /** RSS after what can be collected is collected. */
    private suspend fun residentMegabytes(): Double =
        withContext(Dispatchers.IO) {
            System.gc()
            Files.readString(Path.of("/proc/self/statm")).split(' ')[1].toLong() * PAGE / 1e6
        }

    private companion object {
        const val PAGE = 4_096

        /** A relay has a thousand at most, and keeps those that were left for a while: more cycles than these come to the same ones again. */
        const val ROOMS = 500
    }
}
