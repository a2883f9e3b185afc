package dev.segue

import java.nio.ByteBuffer
import java.nio.ReadOnlyBufferException
import java.nio.file.Files
import java.nio.file.Path
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.atomic.AtomicInteger
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertIs
import kotlin.test.assertTrue
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

/** Every misuse gets an exception of this library, with a sentence that says what to do. */
class MisuseTest {
    private inline fun <reified T : SegueException> fails(part: String, work: () -> Unit): T {
        val failure = assertFailsWith<T> { work() }
        assertTrue(part in failure.message.orEmpty(), failure.message)
        return failure
    }

    private fun play(work: suspend CoroutineScope.(room: String, players: MutableList<Player>) -> Unit) =
        runBlocking(Dispatchers.Default) { withPlayers { work(Stage.room(), it) } }

    private suspend fun MutableList<Player>.join(room: String) = Player(Stage.join(room, "bob")).also { this += it }

    private suspend inline fun <reified T : RemoteTrack> Player.track(): T =
        eventually("a track") { tracks().values.filterIsInstance<T>().firstOrNull() }

    @Test
    fun `addresses and times that cannot be used`() = runBlocking {
        for (url in listOf("", "nonsense", "ftp://relay.example")) {
            fails<InvalidArgumentException>("address") { Room.connect(url, "x") }
        }
        fails<InvalidArgumentException>("timeout") { Room.connect("ws://localhost", "x", RoomOptions(connectTimeout = -1.seconds)) }
        Unit
    }

    @Test
    fun `a relay that does not answer`() = runBlocking {
        for (place in listOf(Stage.place("dead"), "ws://127.0.0.1:9/v1/connect")) {
            val late = fails<ConnectTimeoutException>("check its address") {
                Room.connect(place, "token", LOOPBACK.copy(connectTimeout = 500.milliseconds))
            }
            assertEquals("timeout", late.code)
        }
    }

    @Test
    fun `sources of a shape that cannot be`() {
        for ((width, height) in listOf(33 to 16, 0 to 0, 10_000 to 16, -2 to 16)) {
            assertFailsWith<InvalidArgumentException> { VideoSource(width, height) }
        }
        fails<InvalidArgumentException>("frame rate") { VideoSource(64, 64, fps = 0f) }
        fails<InvalidArgumentException>("encodings") { VideoSource(64, 64, encodings = 4) }
        fails<InvalidArgumentException>("channels") { AudioSource(3) }
        fails<InvalidArgumentException>("even") { VideoBuffer(3, 3) }
        fails<InvalidArgumentException>("encodings") { EncodedVideoSource(emptyList()) }
        fails<InvalidArgumentException>("pixels") { EncodedVideoSource(listOf(VideoEncoding(-1, 16, 100))) }
    }

    @Test
    fun `encoded frames of a wrong shape`() {
        val pictures = EncodedVideoSource(listOf(VideoEncoding(64, 32, 100)))
        fails<InvalidArgumentException>("count from 0") { pictures.push(byteArrayOf(1), 0, keyframe = true, encoding = 1) }
        fails<InvalidArgumentException>("an encoding of -1") { pictures.push(byteArrayOf(1), 0, keyframe = true, encoding = -1) }
        fails<InvalidArgumentException>("a distance of 256") { pictures.push(byteArrayOf(1), 0, keyframe = false, refersBack = 256) }
        fails<InvalidArgumentException>("0 bytes") { pictures.push(byteArrayOf(), 0, keyframe = true) }
        fails<InvalidArgumentException>("count from 0") { pictures.push(byteArrayOf(1), -5, keyframe = true) }
        assertFalse(pictures.push(ByteBuffer.allocateDirect(20_000), 0, keyframe = true), "not published")
        assertFalse(pictures.push(ByteArray(20_000), 0, keyframe = true), "not published")
        val sound = EncodedAudioSource()
        fails<InvalidArgumentException>("a level of 128") { sound.push(byteArrayOf(1), 0, level = 128) }
        fails<InvalidArgumentException>("bytes") { sound.push(ByteArray(5_000_000), 0) }
        assertFalse(sound.push(byteArrayOf(1), 0))
    }

    @Test
    fun `tokens that no relay takes`() {
        val token = AccessToken("key", "s".repeat(32), room = "standup")
        assertEquals(2, token.toJwt().count { it == '.' })
        fails<InvalidArgumentException>("32") { AccessToken("key", "short", room = "standup").toJwt() }
        fails<InvalidArgumentException>("room") { AccessToken("key", "s".repeat(32)).toJwt() }
        fails<InvalidArgumentException>("time to live") { token.copy(ttl = 0.seconds).toJwt() }
        assertFalse("s".repeat(32) in token.toString())
    }

    @Test
    fun `a token that was made here opens the room it names`() = play { room, players ->
        val places = Stage.ask("places")
        val key = AccessToken(places["key"].asString, places["secret"].asString, room = room, name = "Bob")
        val player = Player(Room.connect(Stage.place(), key.copy(identity = "bob").toJwt(), LOOPBACK)).also { players += it }
        assertEquals(Triple(room, "bob", "Bob"), player.room.localParticipant.let { Triple(player.room.name, it.identity, it.name) })
    }

    @Test
    fun `a logger that fails ends nothing, and hears everything on one thread`() = play { room, _ ->
        val (targets, threads) = ConcurrentHashMap.newKeySet<String>() to ConcurrentHashMap.newKeySet<Thread>()
        try {
            enableLogging(LogLevel.DEBUG) {
                targets += it.target
                threads += Thread.currentThread()
                error("no disk")
            }
            val joined = Stage.join(room, "bob")
            joined.stats()
            joined.use { it.leave() }
            until("something being logged") { targets.isNotEmpty() }
        } finally {
            enableLogging(LogLevel.OFF)
        }
        assertTrue(targets.all { it.startsWith("segue") }, "$targets")
        // Attached when it began, not for each call: it would be another thread of the machine each time.
        assertEquals(listOf("segue" to true), threads.map { it.name to it.isDaemon })
    }

    @Test
    fun `the log goes to the logger of the platform`() = play { room, _ ->
        val heard = ConcurrentHashMap.newKeySet<String>()
        val logger = java.util.logging.Logger.getLogger("segue")
        val handler = object : java.util.logging.Handler() {
            override fun publish(record: java.util.logging.LogRecord) = Unit.also { heard += record.loggerName }
            override fun flush() = Unit
            override fun close() = Unit
        }
        try {
            logger.level = java.util.logging.Level.ALL
            logger.useParentHandlers = false
            logger.addHandler(handler)
            enableLogging(LogLevel.DEBUG)
            Stage.join(room, "bob").use { it.leave() }
            until("something being logged") { heard.isNotEmpty() }
        } finally {
            enableLogging(LogLevel.OFF)
            logger.removeHandler(handler)
        }
        assertTrue(heard.all { it.startsWith("segue") && ':' !in it }, "$heard")
    }

    @Test
    fun `pictures and sound of a wrong shape`() {
        val source = VideoSource(64, 32)
        for (length in listOf(0, 64 * 32, 7)) {
            fails<InvalidArgumentException>("3072") { source.push(ByteBuffer.allocateDirect(length)) }
        }
        fails<InvalidArgumentException>("allocateDirect") { source.push(ByteBuffer.allocate(3_072)) }
        val luma = Plane(ByteBuffer.allocateDirect(64 * 32), 64, 32)
        val chroma = Plane(ByteBuffer.allocateDirect(32 * 16), 32, 16)
        assertFalse(source.pushPlanes(luma, chroma, chroma))
        fails<InvalidArgumentException>("plane") { source.pushPlanes(luma, luma, chroma) }
        for (stride in listOf(63, 65, 0, -64, Int.MAX_VALUE)) {
            fails<InvalidArgumentException>("rows") { source.pushPlanes(Plane(luma.buffer, 64, 32, stride), chroma, chroma) }
        }
        val sound = AudioSource(2)
        fails<InvalidArgumentException>("whole samples") { sound.push(ByteBuffer.allocateDirect(3)) }
        fails<InvalidArgumentException>("allocateDirect") { sound.push(ByteBuffer.allocate(8)) }
        fails<InvalidArgumentException>("array of 4") { sound.push(ShortArray(4), 2, 3) }
        assertFailsWith<InvalidArgumentException> { sound.push(ShortArray(3)) }
    }

    @Test
    fun `publishing twice`() = play { room, players ->
        val local = players.join(room).room.localParticipant
        val source = AudioSource()
        val publication = local.publish(source)
        val twice = fails<InvalidStateException>("unpublish it first") { local.publish(source) }
        assertEquals("already_published", twice.code)
        publication.unpublish()
        until("the source being free again") { !source.isPublished }
        local.publish(source)
    }

    @Test
    fun `times that do not grow`() = play { room, players ->
        val source = VideoSource(Recognised.WIDTH, Recognised.HEIGHT)
        players.join(room).room.localParticipant.publish(source)
        assertTrue(source.push(Recognised.draw("bob", 0), 1_000))
        fails<InvalidArgumentException>("grow") { source.push(Recognised.draw("bob", 1), 1_000) }
        assertTrue(source.push(Recognised.draw("bob", 2), 50_000))
    }

    @Test
    fun `messages that are too long`() = play { room, players ->
        val local = players.join(room).room.localParticipant
        for ((size, reliable) in listOf(60_001 to true, 16_000 to false)) {
            val long = fails<InvalidArgumentException>("split it") { local.sendData(ByteArray(size), reliable = reliable) }
            assertEquals("data_too_long", long.code)
        }
    }

    @Test
    fun `a token provider that fails`() = play { _, _ ->
        val failure = fails<CallbackException>("nobody is logged in") {
            Room.connect(Stage.place(), { error("nobody is logged in") }, LOOPBACK)
        }
        assertEquals("token_provider", failure.code)
    }

    @Test
    fun `a token provider is asked at first and again`() = play { room, players ->
        val asked = AtomicInteger()
        val tokens = TokenProvider {
            asked.incrementAndGet()
            Stage.token(room, "bob")
        }
        val player = Player(Room.connect(Stage.place(), tokens, LOOPBACK)).also { players += it }
        assertEquals("bob" to 1, player.room.localParticipant.identity to asked.get())
        Stage.ask("tear")
        until("the provider being asked again") { asked.get() >= 2 }
        player.room.state.first { it == ConnectionState.Connected }
    }

    @Test
    fun `frames that were closed`() = play { room, players ->
        Stage.ask("guest_join", "room" to room, "name" to "ada")
        val track = players.join(room).track<RemoteVideoTrack>()
        fails<InvalidArgumentException>("queue") { track.frames(0) }
        fails<InvalidArgumentException>("queue") { track.frames(Int.MAX_VALUE) }
        val frame = track.frames().first()
        val view = frame.y
        val seen = ByteArray(view.buffer.capacity()).also { view.buffer.duplicate().get(it) }
        fails<InvalidArgumentException>("buffer that can be written") { frame.copyTo(ByteBuffer.allocateDirect(frame.size - 1)) }
        val (looked, row) = view[3, 5] to ByteArray(frame.width).also { view.copyRow(5, it) }
        assertEquals(looked, row[3].toInt() and 0xff)
        assertFailsWith<IndexOutOfBoundsException> { view[0, frame.height] }
        assertFailsWith<ReadOnlyBufferException> { view.buffer.put(0, 1) }
        val lent = frame.lend { y, u, v ->
            assertFailsWith<ReadOnlyBufferException> { y.buffer.put(0, 1) }
            assertEquals(listOf(frame.width / 2, frame.height / 2), listOf(u.width, v.height))
            y.buffer.also { assertEquals(looked, y[3, 5]) }
        }
        frame.close()
        frame.close()
        fails<InvalidStateException>("closed") { frame.y }
        fails<InvalidStateException>("closed") { view[3, 5] }
        fails<InvalidStateException>("closed") { view.copyRow(5, row) }
        fails<InvalidStateException>("closed") { frame.lend { _, _, _ -> } }
        fails<InvalidStateException>("closed") { frame.copyTo(ByteBuffer.allocateDirect(frame.size)) }
        fails<InvalidStateException>("closed") { frame.toI420() }
        fails<InvalidStateException>("closed") { VideoSource(frame.width, frame.height).push(frame) }
        // The view keeps the memory: it is neither freed nor written over.
        track.frames().take(5).toList().forEach { it.close() }
        assertEquals(ByteBuffer.wrap(seen), view.buffer.duplicate().clear())
        val early = track.frames().first().use { it.y }
        fails<InvalidStateException>("closed") { early.buffer }
        // What was lent may show another picture by now, but it is there.
        ByteArray(lent.capacity()).also { lent.duplicate().get(it) }
    }

    @Test
    fun `native methods refuse what would crash`() {
        Native.require()
        val layout = LongArray(Media.LAYOUT)
        fails<InvalidStateException>("closed") { Media.nextFrame(0, layout) }
        fails<InvalidStateException>("closed") { Media.memory(0) }
        fails<InvalidStateException>("closed") { Media.pushFrame(0, 0, 0) }
        fails<InvalidArgumentException>("15") { Media.sampleFrame(15, 16, layout) }
        VideoFrame(Media.sampleFrame(64, 32, layout), layout).lendHandle { frame ->
            fails<InvalidArgumentException>("allocateDirect") { Media.copyTo(frame, ByteBuffer.allocate(3_072), 0) }
            for (position in listOf(1, 3_072, Int.MAX_VALUE, -1)) {
                fails<InvalidArgumentException>("3072") { Media.copyTo(frame, ByteBuffer.allocateDirect(3_072), position) }
            }
        }
        val source = VideoSource(64, 32)
        val (whole, short) = ByteBuffer.allocateDirect(64 * 32) to ByteBuffer.allocateDirect(7)
        source.native.uniffiCloneHandle().let { handle ->
            fails<InvalidArgumentException>("2048") { Media.pushPlanes(handle, short, whole, whole, 64, 32, 0) }
            fails<InvalidArgumentException>("rows -64") { Media.pushPlanes(handle, whole, whole, whole, -64, 32, 0) }
            fails<InvalidArgumentException>("512") { Media.pushPlanes(handle, whole, whole, short, 64, 32, 0) }
            fails<InvalidArgumentException>("allocateDirect") { Media.pushPlanes(handle, whole, ByteBuffer.allocate(512), whole, 64, 32, 0) }
            Media.freeSource(handle)
        }
    }

    @Test
    fun `two rooms at once`() = play { name, players ->
        val names = List(2) { "$name-$it" }
        for (room in names) {
            Stage.ask("guest_join", "room" to room, "name" to "ada")
            players.join(room)
        }
        players.forEach { it.publish() }
        players.forEach { it.sees("ada") }
        players[0].room.leave()
        players[1].hears("ada")
    }

    @Test
    fun `a room that was closed is left, says so, and its events end`() = play { name, players ->
        Stage.ask("guest_join", "room" to name, "name" to "ada", "silent" to true)
        val player = players.join(name)
        player.room.close()
        player.room.close()
        fails<RoomLeftException>("connect again") { player.room.stats() }
        fails<RoomLeftException>("connect again") { player.room.localParticipant.publish(AudioSource()) }
        player.room.leave()
        player.observing.join()
        assertIs<RoomEvent.Disconnected>(player.events.last())
        Stage.ask("guest_knows", "room" to name, "name" to "ada", "identities" to emptyList<String>())
    }

    @Test
    fun `a room that nobody holds any more is left`() = play { name, _ ->
        Stage.ask("guest_join", "room" to name, "name" to "ada", "silent" to true)
        Stage.join(name, "bob")
        val collecting = launch {
            while (true) {
                System.gc()
                delay(100.milliseconds)
            }
        }
        Stage.ask("guest_knows", "room" to name, "name" to "ada", "identities" to emptyList<String>())
        collecting.cancel()
    }

    @Test
    fun `a collector that throws ends itself only`() = play { name, players ->
        Stage.ask("guest_join", "room" to name, "name" to "ada")
        val player = players.join(name)
        val thrown = runCatching { player.track<RemoteVideoTrack>().frames().collect { frame -> frame.use { error("my mistake") } } }
        assertEquals("my mistake", thrown.exceptionOrNull()?.message)
        player.sees("ada")
    }

    @Test
    fun `library and bindings of different builds`(@TempDir folder: Path) {
        val stale = Native.mismatch("0.1.0+00000001", "0.1.0+00000002")
        assertTrue("one build" in stale?.message.orEmpty())
        // Some other library by this name, found before the one in the jar.
        val resource = "/com/sun/jna/${com.sun.jna.Platform.RESOURCE_PREFIX}/libjnidispatch.so"
        val other = com.sun.jna.Native::class.java.getResourceAsStream(resource) ?: error("no $resource")
        other.use { Files.copy(it, folder.resolve(System.mapLibraryName("segue_ffi"))) }
        val (code, out, _) = program(listOf("-Djna.library.path=$folder"), "library")
        assertEquals(0, code)
        assertTrue(out.startsWith("build: ") && "one build" in out, out)
    }

    @Test
    fun `a process that ends in the middle of a call ends quietly`() = runBlocking {
        val (code, out, errors) = program(emptyList(), "call", Stage.place(), Stage.token(Stage.room(), "bob"))
        assertEquals(Triple(0, "in the room", ""), Triple(code, out.trim(), errors.trim()))
    }

    private fun program(flags: List<String>, vararg arguments: String): Triple<Int, String, String> {
        val java = Path.of(System.getProperty("java.home"), "bin", "java").toString()
        val command = listOf(java) + flags + listOf("-cp", System.getProperty("java.class.path"), "dev.segue.ProgramKt") + arguments
        val errors = Files.createTempFile("segue", "stderr")
        try {
            val process = ProcessBuilder(command).redirectError(errors.toFile()).start()
            val out = process.inputStream.bufferedReader().readText()
            return Triple(process.waitFor(), out, Files.readString(errors))
        } finally {
            Files.delete(errors)
        }
    }
}
