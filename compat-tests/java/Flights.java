import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Kafka's Java client: writes and reads the flights.
 *
 * <pre>
 * Flights write BOOTSTRAP TOPIC CODEC INPUT_DIR
 * Flights read  BOOTSTRAP TOPIC OUTPUT_DIR
 * </pre>
 *
 * The partition is left to the client's default partitioner; the suite computed the same one for its files.
 */
public class Flights {
    public static void main(String[] args) throws Exception {
        if (args[0].equals("write")) {
            write(args[1], args[2], args[3], Path.of(args[4]));
        } else {
            read(args[1], args[2], Path.of(args[3]));
        }
    }

    static void write(String bootstrap, String topic, String codec, Path source) throws Exception {
        Map<String, Object> config = Map.of(
            "bootstrap.servers", bootstrap, "compression.type", codec, "acks", "all", "enable.idempotence", true, "linger.ms", 20);
        AtomicReference<Exception> failure = new AtomicReference<>();
        Map<Integer, Long> nextOffset = new HashMap<>();
        try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            int partitions = producer.partitionsFor(topic).size();
            for (int file = 0; file < partitions; file++) {
                try (var lines = Files.lines(source.resolve(file + ".tsv"), StandardCharsets.UTF_8)) {
                    for (String line : (Iterable<String>) lines::iterator) {
                        String[] column = line.split("\t", 3);
                        int expected = file;
                        var row = new ProducerRecord<>(
                            topic, null, Long.parseLong(column[0]), bytes(column[1]), bytes(column[2]));
                        // Callbacks run on one thread of the client's, so the map needs no lock.
                        producer.send(row, (metadata, error) -> {
                            if (error != null) {
                                failure.compareAndSet(null, error);
                                return;
                            }
                            long offset = nextOffset.merge(metadata.partition(), 1L, Long::sum) - 1;
                            if (metadata.partition() != expected || metadata.offset() != offset) {
                                failure.compareAndSet(null, new IllegalStateException(
                                    "acknowledged as " + metadata + " instead of " + expected + "@" + offset));
                            }
                        });
                    }
                }
            }
        }
        if (failure.get() != null) {
            throw failure.get();
        }
    }

    static void read(String bootstrap, String topic, Path target) throws IOException {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "enable.auto.commit", false, "check.crcs", true);
        try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions = new ArrayList<>();
            consumer.partitionsFor(topic).forEach(info -> partitions.add(new TopicPartition(topic, info.partition())));
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            long left = consumer.endOffsets(partitions).values().stream().mapToLong(Long::longValue).sum();
            Map<Integer, OutputStream> files = new HashMap<>();
            for (TopicPartition partition : partitions) {
                Path path = target.resolve(partition.partition() + ".tsv");
                files.put(partition.partition(), new BufferedOutputStream(Files.newOutputStream(path)));
            }
            while (left > 0) {
                var fetched = consumer.poll(Duration.ofSeconds(30));
                if (fetched.isEmpty()) {
                    throw new IllegalStateException("30 s without a record, " + left + " missing");
                }
                left -= fetched.count();
                for (ConsumerRecord<byte[], byte[]> row : fetched) {
                    OutputStream file = files.get(row.partition());
                    file.write(bytes(row.offset() + "\t" + row.timestamp() + "\t"));
                    file.write(row.key());
                    file.write('\t');
                    file.write(row.value());
                    file.write('\n');
                }
            }
            for (OutputStream file : files.values()) {
                file.close();
            }
        }
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
