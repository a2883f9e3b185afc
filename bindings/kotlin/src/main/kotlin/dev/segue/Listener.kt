package dev.segue

import dev.segue.internal.RoomEvent as NativeEvent
import dev.segue.internal.RoomListener
import java.lang.ref.WeakReference

/** Takes events on the SDK's thread. The SDK holds the listener: a room that nobody else holds goes, and leaves. */
internal class Listener(room: Room) : RoomListener {
    private val room = WeakReference(room)

    override fun onEvent(event: NativeEvent) {
        val room = room.get()
        if (room == null) event.destroy() else room.take(event)
    }

    override fun onEnd() {
        room.get()?.ended()
    }
}
