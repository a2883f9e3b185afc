package dev.segue

import kotlin.math.PI
import kotlin.math.cos
import kotlin.math.sin

/** Pictures and tones that say whose they are (tests/e2e/README.md). */
object Recognised {
    const val WIDTH = 320
    const val HEIGHT = 192
    const val FPS = 15
    const val MAX_KBPS = 250
    const val FRAME = SAMPLE_RATE / 50
    const val WINDOW = SAMPLE_RATE / 10

    private val NAMES = listOf("ada", "bob", "cyd", "dan", "eve", "fay")
    private const val COLUMNS = 32
    private const val ROWS = 2
    private const val BLACK: Byte = 24
    private const val WHITE: Byte = 226.toByte()
    private const val MIDDLE = 125
    private const val AMPLITUDE = 0.15 * Short.MAX_VALUE

    fun place(identity: String): Int = NAMES.indexOf(identity).let { if (it < 0) NAMES.size else it }

    fun source(identity: String): Int = 100 + place(identity)

    private fun crc(content: Long): Int {
        var crc = 0xffff
        for (at in 0 until 6) {
            crc = crc xor ((content ushr (8 * at)).toInt() and 0xff shl 8)
            repeat(8) { crc = (if (crc and 0x8000 != 0) crc shl 1 xor 0x1021 else crc shl 1) and 0xffff }
        }
        return crc
    }

    fun draw(identity: String, number: Int): VideoBuffer {
        val picture = VideoBuffer(WIDTH, HEIGHT)
        val content = (number xor (number ushr 1)).toLong() and 0xffffffffL or (source(identity).toLong() shl 32)
        val cells = content or (crc(content).toLong() shl 48)
        val side = WIDTH / COLUMNS
        for (y in 0 until HEIGHT) {
            for (x in 0 until WIDTH) {
                val row = y / side
                val sample =
                    if (row < ROWS) (if (cells ushr (row * COLUMNS + x / side) and 1L == 1L) WHITE else BLACK)
                    else ((x / 2 + y / 3 + number) % 128 + 60).toByte()
                picture.y.buffer.put(y * WIDTH + x, sample)
            }
        }
        return picture
    }

    /** Source and number of a picture; null where it cannot be read. */
    fun read(luma: Plane): Pair<Int, Int>? {
        if (luma.width % COLUMNS != 0 || luma.width < 64) return null
        val side = luma.width / COLUMNS
        val first = (side + 3) / 4
        val inner = first until maxOf(side * 3 / 4, first + 1)
        var cells = 0L
        for (cell in 0 until COLUMNS * ROWS) {
            val (left, top) = cell % COLUMNS * side to cell / COLUMNS * side
            val sum = inner.sumOf { y -> inner.sumOf { x -> luma[left + x, top + y] } }
            if (sum > MIDDLE * inner.count() * inner.count()) cells = cells or (1L shl cell)
        }
        val content = cells and (1L shl 48) - 1
        if (crc(content) != (cells ushr 48).toInt()) return null
        var number = (content and 0xffffffffL).toInt()
        for (shift in listOf(16, 8, 4, 2, 1)) number = number xor (number ushr shift)
        return (content ushr 32).toInt() to number
    }

    private fun turn(identity: String) = 2 * PI * (300 + 200 * place(identity)) / SAMPLE_RATE

    /** 20 ms of somebody's tone. */
    fun tone(identity: String, frame: Int): ShortArray =
        ShortArray(FRAME) { (AMPLITUDE * sin(turn(identity) * (it + FRAME.toLong() * frame))).toInt().toShort() }

    /** More than half of the power is at somebody's frequency. */
    fun hasTone(samples: List<Short>, identity: String): Boolean {
        val power = samples.sumOf { it.toDouble() * it }
        val real = samples.withIndex().sumOf { (at, sample) -> sample * cos(turn(identity) * at) }
        val imaginary = samples.withIndex().sumOf { (at, sample) -> sample * sin(turn(identity) * at) }
        return power > 0 && 2 * (real * real + imaginary * imaginary) / (power * samples.size) > 0.5
    }
}
