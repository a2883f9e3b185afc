package dev.segue

import com.sun.jna.Pointer
import dev.segue.internal.measureAudio
import dev.segue.internal.measureFrame
import dev.segue.internal.measureSound
import dev.segue.internal.measureVideo
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.file.Files
import java.nio.file.Path
import org.junit.jupiter.api.Test

private const val WIDTH = 1_280
private const val HEIGHT = 720

/** The figure is the minimum of this many medians: the machine is never quiet, but sometimes for a moment. */
private const val RUNS = 5
private const val CALLS = 2_000
private const val PAGE = 4_096
private const val DEFAULT_FRAMES = 1_000_000

/** What crossing the seam costs in Kotlin: one line of JSON per path. `cargo xtask bench bindings`; the suite leaves it out. */
class Bench {
    @Test
    fun seam() {
        val source = VideoSource(WIDTH, HEIGHT).also { measureVideo(it.native) }
        val buffer = ByteBuffer.allocateDirect(WIDTH * HEIGHT * 3 / 2)
        val target = ByteBuffer.allocateDirect(buffer.capacity())
        val received = frame()
        line("720p in, direct buffer", 80.0) { source.push(buffer) }
        line("720p in, a frame that was received", 80.0) { source.push(received) }
        line("720p out, UniFFI handle and view", 40.0) { uniffiView() }
        line("720p out, handle and view", 5.0) { frame().use { it.y[0, 0] } }
        line("720p out, handle and three buffers", 5.0) { frame().use { it.lend { y, u, v -> y.buffer.get(0) + u.buffer.get(0) + v.buffer.get(0) } } }
        // No figure is asked of it: what a loop keeps and drops faster than the collector looks is copied.
        line("720p out, handle and a buffer to keep", null) { frame().use { it.y.buffer.get(0) } }
        line("720p out, handle and copy", 80.0) { frame().use { it.copyTo(target.clear()) } }
        val sound = AudioSource().also { measureAudio(it.native) }
        val samples = ShortArray(SAMPLE_RATE / 50)
        line("20 ms of audio in", 20.0) { sound.push(samples) }
        line("20 ms of audio out", 20.0) { AudioFrame.of(measureSound()).samples }
        memory(System.getenv("SEGUE_FRAMES")?.toInt() ?: DEFAULT_FRAMES)
    }

    private val layout = LongArray(Media.LAYOUT)

    /** As a stream gives one. */
    private fun frame() = VideoFrame(Media.sampleFrame(WIDTH, HEIGHT, layout), layout)

    private val words = ByteBuffer.allocateDirect(Media.LAYOUT * Long.SIZE_BYTES).order(ByteOrder.nativeOrder())

    /** The same without the media module, by what UniFFI generates and JNA alone: nothing watches over how this view is used. */
    private fun uniffiView() =
        measureFrame(WIDTH.toUInt(), HEIGHT.toUInt()).use {
            it.writeLayout(words.address().toULong())
            Pointer(words.getLong(2 * Long.SIZE_BYTES)).getByteBuffer(0, words.getLong(3 * Long.SIZE_BYTES)).get(0)
        }

    private fun line(path: String, limit: Double?, call: () -> Unit) {
        val medians = List(RUNS) {
            LongArray(CALLS) { System.nanoTime().let { start -> call().let { System.nanoTime() - start } } }.sorted()[CALLS / 2]
        }
        val us = medians.min() / 100 / 10.0
        print("""{"bench": "bindings", "language": "kotlin", "path": "$path", "us": $us, "limit_us": $limit, "met": ${limit?.let { us <= it }}}""" + "\n")
    }

    /** Frames in and out: memory stays as it is. */
    private fun memory(frames: Int) {
        val source = VideoSource(WIDTH, HEIGHT).also { measureVideo(it.native) }
        val picture = VideoBuffer(WIDTH, HEIGHT)
        var first = 0.0
        repeat(frames) { number ->
            frame().use { it.y[0, 0] }
            if (number % 16 == 0) source.push(picture)
            if (number == frames / 10) first = residentMegabytes()
        }
        val grown = residentMegabytes() - first
        print("""{"bench": "bindings", "language": "kotlin", "path": "$frames frames", "grown_mb": ${Math.round(grown * 100) / 100.0}}""" + "\n")
    }

    private fun residentMegabytes(): Double {
        System.gc()
        return Files.readString(Path.of("/proc/self/statm")).split(' ')[1].toLong() * PAGE / 1e6
    }
}
