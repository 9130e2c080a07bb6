import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Properties;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * A Kafka Streams application that adds up the delays of each carrier's flights, exactly once, until the file STOP exists.
 *
 * <pre>
 * Delays BOOTSTRAP APPLICATION INPUT OUTPUT STATE_DIR CLEANUP_POLICY TRANSACTION_TIMEOUT_MS STOP
 * </pre>
 *
 * Each flight whose delay is known becomes one record of OUTPUT: the carrier, and `COUNT SUM` with this flight. CLEANUP_POLICY
 * is that of the topic in which the sums are kept.
 */
public class Delays {
    private static final Pattern DELAY = Pattern.compile("\"arr_delay\":(-?\\d+)");
    private static final Pattern CARRIER = Pattern.compile("\"carrier\":\"(\\w+)\"");

    public static void main(String[] args) throws Exception {
        var config = new Properties();
        config.putAll(Map.of(
            StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0],
            StreamsConfig.APPLICATION_ID_CONFIG, args[1],
            StreamsConfig.STATE_DIR_CONFIG, args[4],
            StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2,
            StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100,
            StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2,
            StreamsConfig.REPLICATION_FACTOR_CONFIG, 1,
            StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class,
            StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class,
            // Each flight's own record, and not only the last of a while.
            StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0));
        config.put("session.timeout.ms", 6000);
        config.put("heartbeat.interval.ms", 500);
        config.put("auto.offset.reset", "earliest");
        config.put("transaction.timeout.ms", Integer.parseInt(args[6]));
        config.put("max.poll.records", 200);
        config.put("reconnect.backoff.max.ms", 500);

        var sums = Materialized.<String, String, KeyValueStore<Bytes, byte[]>>as("sums").withLoggingEnabled(Map.of("cleanup.policy", args[5]));
        var builder = new StreamsBuilder();
        builder.<String, String>stream(args[2])
            .filter((key, flight) -> DELAY.matcher(flight).find())
            // By something out of the value, so that there is a topic in between.
            .groupBy((key, flight) -> found(CARRIER, flight))
            .aggregate(() -> "0 0", (carrier, flight, sum) -> {
                String[] words = sum.split(" ");
                return (Long.parseLong(words[0]) + 1) + " " + (Long.parseLong(words[1]) + Long.parseLong(found(DELAY, flight)));
            }, sums)
            .toStream()
            .to(args[3]);

        var streams = new KafkaStreams(builder.build(), config);
        streams.setUncaughtExceptionHandler(failure -> {
            failure.printStackTrace();
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        streams.start();
        while (!Files.exists(Path.of(args[7]))) {
            Thread.sleep(50);
        }
        streams.close();
    }

    private static String found(Pattern pattern, String text) {
        Matcher matcher = pattern.matcher(text);
        matcher.find();
        return matcher.group(1);
    }
}
