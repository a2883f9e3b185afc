package dev.segue

import dev.segue.internal.LogRecord as NativeRecord
import dev.segue.internal.Logger as NativeLogger
import dev.segue.internal.setLogger
import java.util.logging.Level
import java.util.logging.Logger

/** How grave a line of the log is, and how much of it is wanted. */
public enum class LogLevel {
    /** Nothing. */
    OFF,

    /** Only what failed. */
    ERROR,

    /** And what is strange. */
    WARN,

    /** And what happens rarely. */
    INFO,

    /** And what a developer wants to know. */
    DEBUG,

    /** And every packet. */
    TRACE,
}

/** One line of the SDK's log. [target]: which part of it speaks. [missed]: lines left out before this one, because the application was behind. */
public data class LogRecord(val level: LogLevel, val target: String, val message: String, val missed: Long)

/** The application's logger. */
public fun interface LogSink {
    /** Takes one line, on a thread of the SDK that does nothing but call the application. What is thrown here is ignored. */
    public fun log(record: LogRecord)
}

/**
 * Hands what the SDK logs to [sink] from now on, in place of the one before; [LogLevel.OFF]: to nobody. Left out it goes to
 * `java.util.logging`, under names that begin with `segue`, which is logcat on Android.
 */
public fun enableLogging(level: LogLevel = LogLevel.INFO, sink: LogSink = JavaLogging): Unit =
    Native.call { setLogger(if (level == LogLevel.OFF) null else Sink(sink), level.named()) }

private class Sink(private val sink: LogSink) : NativeLogger {
    override fun log(record: NativeRecord) = sink.log(LogRecord(record.level.named(), record.target, record.message, record.missed.toLong()))
}

/** What has no level of its own there is nearest to these. */
private val JAVA_LEVELS =
    mapOf(
        LogLevel.OFF to Level.OFF,
        LogLevel.ERROR to Level.SEVERE,
        LogLevel.WARN to Level.WARNING,
        LogLevel.INFO to Level.INFO,
        LogLevel.DEBUG to Level.FINE,
        LogLevel.TRACE to Level.FINER,
    )

private object JavaLogging : LogSink {
    override fun log(record: LogRecord) {
        val logger = Logger.getLogger(record.target.replace("::", "."))
        if (record.missed > 0) logger.warning("${record.missed} lines left out")
        logger.log(JAVA_LEVELS.getValue(record.level), record.message)
    }
}
