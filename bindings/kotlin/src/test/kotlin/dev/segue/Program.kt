package dev.segue

import kotlinx.coroutines.runBlocking

/** What the suite runs as a process of its own. */
fun main(arguments: Array<String>) {
    when (arguments[0]) {
        "library" ->
            try {
                println("loaded ${VideoSource(64, 64)}")
            } catch (failure: NativeLibraryException) {
                println("${failure.code}: ${failure.message}")
            }
        "call" -> runBlocking {
            val room = Room.connect(arguments[1], arguments[2], LOOPBACK)
            val sound = AudioSource()
            room.localParticipant.publish(sound)
            sound.push(ShortArray(4_800))
            println("in the room")
        }
    }
}
