package dev.segue

import dev.segue.internal.TokenClaims
import dev.segue.internal.signToken
import kotlin.time.Duration
import kotlin.time.Duration.Companion.hours
import kotlin.time.Duration.Companion.seconds

/**
 * A join token, for servers: made with a key of the relay's configuration (its `id` and its `secret`) and signed by [toJwt].
 * ```
 * val key = AccessToken("key-1", secret, room = "standup")
 * val token = key.copy(identity = "ada").toJwt()
 * ```
 */
public data class AccessToken(
    public val keyId: String,
    private val secret: String,
    /** The one room it opens. */
    public val room: String = "",
    /** Who it is for: one session per identity is in the room. Empty: for anyone who has it. */
    public val identity: String = "",
    /** Shown to others. */
    public val name: String = "",
    /** The application's own, shown to others. */
    public val metadata: String = "",
    /** How long it opens the room, from the moment it is signed. */
    public val ttl: Duration = 1.hours,
    /** Its holder may publish. */
    public val publish: Boolean = true,
    /** Its holder may receive. */
    public val subscribe: Boolean = true,
    /** Its holder may moderate. */
    public val admin: Boolean = false,
) {
    /** Signs it. */
    public fun toJwt(): String {
        if (ttl < 1.seconds || ttl.isInfinite()) {
            throw InvalidArgumentException("a token that opens something for $ttl: give it a time to live of a second or more", "token_claims")
        }
        return Native.call {
            val claims =
                TokenClaims(
                    room = room,
                    identity = identity,
                    name = name,
                    metadata = metadata,
                    validSeconds = ttl.inWholeSeconds.toULong(),
                    publish = publish,
                    subscribe = subscribe,
                    admin = admin,
                )
            signToken(keyId, secret, claims)
        }
    }

    /** Without the secret. */
    override fun toString(): String = "AccessToken($keyId, room=$room, identity=$identity)"
}
