import java.nio.channels.FileChannel;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.Map;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Kafka's Java consumer as a member of a group, until the file JOURNAL.stop appears.
 *
 * <pre>
 * Member BOOTSTRAP GROUP TOPIC STYLE JOURNAL [INSTANCE]
 * </pre>
 *
 * STYLE is what the suite calls a way of being a member: `eager`, `cooperative` and `regex` speak the classic protocol,
 * `consumer`, `consumer-regex` and `consumer-regex-quoted` the one of KIP-848. With INSTANCE the member is static.
 * `groups/journal.py` says what the journal holds.
 */
public class Member implements ConsumerRebalanceListener {
    private final KafkaConsumer<byte[], byte[]> consumer;
    private final String topic;
    private final FileChannel journal;
    private final Map<TopicPartition, OffsetAndMetadata> pending = new HashMap<>();

    public static void main(String[] args) throws Exception {
        String instance = args.length > 5 ? args[5] : null;
        new Member(args[0], args[1], args[2], args[3], args[4], instance).run(args[3], Path.of(args[4] + ".stop"));
    }

    Member(String bootstrap, String group, String topic, String style, String journal, String instance) throws Exception {
        Map<String, Object> config = new HashMap<>(Map.of(
            "bootstrap.servers", bootstrap,
            "group.id", group,
            "enable.auto.commit", false,
            "auto.offset.reset", "earliest",
            "max.poll.records", 50,
            "metadata.max.age.ms", 1000,
            // Members come and go here: one that waits for a killed one must not wait for this long.
            "max.poll.interval.ms", 60_000));
        if (style.startsWith("consumer")) {
            config.put("group.protocol", "consumer");
        } else {
            config.put("group.protocol", "classic");
            config.put("session.timeout.ms", 6000);
            config.put("heartbeat.interval.ms", 500);
            String assignor = style.equals("cooperative") ? "CooperativeStickyAssignor" : "RangeAssignor";
            config.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor);
        }
        if (instance != null) {
            config.put("group.instance.id", instance);
        }
        this.topic = topic;
        this.journal = FileChannel.open(Path.of(journal), StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        this.consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    void run(String style, Path stop) throws Exception {
        switch (style) {
            case "regex" -> consumer.subscribe(Pattern.compile(topic + "(-late)?"), this);
            case "consumer-regex" -> consumer.subscribe(new SubscriptionPattern(topic + "(-late)?"), this);
            // What users do about names with dots; the broker's syntax is that of RE2, which knows \Q and \E as well.
            case "consumer-regex-quoted" -> consumer.subscribe(new SubscriptionPattern(Pattern.quote(topic) + "(-late)?"), this);
            default -> consumer.subscribe(java.util.List.of(topic), this);
        }
        while (!Files.exists(stop)) {
            var records = consumer.poll(Duration.ofMillis(200));
            StringBuilder rows = new StringBuilder();
            for (var record : records) {
                var partition = new TopicPartition(record.topic(), record.partition());
                rows.append(row("record", partition, record.offset()));
                pending.put(partition, new OffsetAndMetadata(record.offset() + 1));
            }
            write(rows);
            try {
                commit(new HashMap<>(pending));
            } catch (RebalanceInProgressException | CommitFailedException later) {
                // The next poll says which partitions are still this member's; those are committed then.
            }
        }
        consumer.close();
    }

    private void commit(Map<TopicPartition, OffsetAndMetadata> offsets) {
        if (offsets.isEmpty()) {
            return;
        }
        write(rows("committing", offsets));
        consumer.commitSync(offsets);
        write(rows("committed", offsets));
        pending.entrySet().removeAll(offsets.entrySet());
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        changed("assigned", partitions);
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        var theirs = new HashMap<>(pending);
        theirs.keySet().retainAll(partitions);
        try {
            commit(theirs);
        } catch (RebalanceInProgressException | CommitFailedException repeated) {
            // Whoever gets the partition handles these records once more.
            System.err.println("a commit before a revocation failed: " + repeated);
        }
        pending.keySet().removeAll(partitions);
        changed("revoked", partitions);
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> partitions) {
        pending.keySet().removeAll(partitions);
        changed("lost", partitions);
    }

    private void changed(String event, Collection<TopicPartition> partitions) {
        StringBuilder rows = new StringBuilder();
        partitions.forEach(partition -> rows.append(row(event, partition, -1)));
        write(rows);
    }

    private StringBuilder rows(String event, Map<TopicPartition, OffsetAndMetadata> offsets) {
        StringBuilder rows = new StringBuilder();
        offsets.forEach((partition, offset) -> rows.append(row(event, partition, offset.offset())));
        return rows;
    }

    /** On Linux, nanoTime is CLOCK_MONOTONIC. Partitions of another topic that a pattern matched count from 100. */
    private String row(String event, TopicPartition partition, long offset) {
        int number = partition.partition() + (partition.topic().equals(topic) ? 0 : 100);
        return System.nanoTime() + " " + event + " " + number + (offset < 0 ? "" : " " + offset) + "\n";
    }

    private void write(StringBuilder rows) {
        try {
            ByteBuffer bytes = ByteBuffer.wrap(rows.toString().getBytes(StandardCharsets.UTF_8));
            while (bytes.hasRemaining()) {
                journal.write(bytes);
            }
        } catch (java.io.IOException broken) {
            throw new java.io.UncheckedIOException(broken);
        }
    }
}
