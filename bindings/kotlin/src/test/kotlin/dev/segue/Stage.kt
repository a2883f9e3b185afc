package dev.segue

import com.google.gson.JsonObject
import com.google.gson.JsonParser
import java.io.BufferedReader
import java.net.Socket
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicInteger
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlin.time.TimeSource
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.delay
import kotlinx.coroutines.withContext

/** How long anything may take on a busy machine. Nothing is measured by it. */
private val PATIENCE = 60.seconds

val LOOPBACK = RoomOptions(interfaces = Interfaces.LOOPBACK_ONLY)

/** What the suite plays on (tests/e2e/README.md): a process of its own with a relay in it, started once. */
object Stage {
    private val rooms = AtomicInteger()

    private val address: Pair<String, Int> by lazy {
        val told = System.getenv("SEGUE_STAGE") ?: start()
        told.substringBefore(':') to told.substringAfter(':').toInt()
    }

    private fun start(): String {
        val program = System.getenv("SEGUE_STAGE_PROGRAM") ?: error("no stage to play on: run the suite by `cargo xtask test --only kotlin`")
        // It ends when its standard input does, which is when this process ends.
        val process = ProcessBuilder(program).redirectError(ProcessBuilder.Redirect.INHERIT).start()
        Runtime.getRuntime().addShutdownHook(Thread {
            process.outputStream.close()
            if (!process.waitFor(PATIENCE.inWholeSeconds, TimeUnit.SECONDS)) process.destroy()
        })
        val line = process.inputStream.bufferedReader().readLine() ?: error("the stage did not start")
        return JsonParser.parseString(line).asJsonObject["stage"].asString
    }

    /** A name no other test has. */
    fun room(): String = "kotlin-${ProcessHandle.current().pid()}-${rooms.incrementAndGet()}"

    suspend fun ask(request: JsonObject): JsonObject =
        withContext(Dispatchers.IO) {
            Socket(address.first, address.second).use { socket ->
                socket.getOutputStream().write("$request\n".encodeToByteArray())
                val answer = socket.getInputStream().bufferedReader().use(BufferedReader::readLine)
                JsonParser.parseString(answer).asJsonObject.also { check(!it.has("error")) { "$request: ${it["error"]}" } }
            }
        }

    suspend fun ask(what: String, vararg words: Pair<String, Any>): JsonObject {
        val request = JsonObject().apply { addProperty("do", what) }
        words.forEach { (name, value) ->
            when (value) {
                is Boolean -> request.addProperty(name, value)
                is Number -> request.addProperty(name, value)
                is List<*> -> request.add(name, com.google.gson.JsonArray().apply { value.forEach { add(it.toString()) } })
                else -> request.addProperty(name, value.toString())
            }
        }
        return ask(request)
    }

    suspend fun place(name: String = "url"): String = ask("places")[name].asString

    suspend fun token(room: String, identity: String, kind: String = "good"): String =
        ask("token", "room" to room, "identity" to identity, "kind" to kind)["token"].asString

    suspend fun join(room: String, identity: String): Room = Room.connect(place(), token(room, identity), LOOPBACK)
}

/** Waits for a condition, never for a time. */
suspend fun <T : Any> eventually(what: String, look: () -> T?): T {
    val began = TimeSource.Monotonic.markNow()
    while (true) {
        look()?.let { return it }
        check(began.elapsedNow() < PATIENCE) { "$what did not happen" }
        delay(20.milliseconds)
    }
}

/** The same of something that is so or not. */
suspend fun until(what: String, look: () -> Boolean) {
    eventually(what) { if (look()) Unit else null }
}
